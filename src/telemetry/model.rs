//! Series of the models: rows, bins, scores, verdicts. Every one carries the model's four identity labels.

mod remove;

use prometheus::core::{Atomic, Collector, GenericGaugeVec};
use prometheus::{Gauge, GaugeVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use crate::baseline::Role;
use crate::decode::ViolationReason;
pub use remove::{FeatureNames, SeriesNames};

/// Label `feature` of everything that the baseline does not know: names from traffic never become label values.
pub const UNEXPECTED: &str = "_unexpected";

/// The labels of a model that every series of it carries.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ModelLabels {
    /// Kubernetes namespace; empty where unknown.
    pub namespace: String,
    /// `InferenceService`; empty where unknown.
    pub inferenceservice: String,
    /// Model name.
    pub model: String,
    /// Model version.
    pub version: String,
}

impl ModelLabels {
    const NAMES: [&str; 4] = ["namespace", "inferenceservice", "model", "version"];

    fn with<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        let identity = [&*self.namespace, &*self.inferenceservice, &*self.model, &*self.version];
        identity.into_iter().chain(more.iter().copied()).collect()
    }
}

/// The families of all models.
#[derive(Clone, Debug)]
pub struct ModelMetrics {
    rows: IntCounterVec,
    bin_observations: IntCounterVec,
    baseline_bin_share: GaugeVec,
    baseline_rows: IntGaugeVec,
    score: GaugeVec,
    threshold: GaugeVec,
    samples: IntGaugeVec,
    drifted: IntGaugeVec,
    evidence: GaugeVec,
    model_drifted: IntGaugeVec,
    violations: IntCounterVec,
    last_row: GaugeVec,
    baseline_info: IntGaugeVec,
    model_info: IntGaugeVec,
}

/// The label values of one feature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeatureLabels {
    /// Its name in the baseline.
    pub feature: String,
    /// Feature or prediction.
    pub role: Role,
}

impl ModelMetrics {
    /// Registers all families.
    ///
    /// # Errors
    /// If the registry has them already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        fn names(more: &[&'static str]) -> Vec<&'static str> {
            ModelLabels::NAMES.iter().chain(more).copied().collect()
        }
        fn add<C: Collector + Clone + 'static>(
            registry: &Registry,
            family: prometheus::Result<C>,
        ) -> prometheus::Result<C> {
            let family = family?;
            registry.register(Box::new(family.clone()))?;
            Ok(family)
        }
        let counter = |name: &str, help: &str, more: &[&'static str]| {
            add(registry, IntCounterVec::new(Opts::new(name, help), &names(more)))
        };
        let gauge = |name: &str, help: &str, more: &[&'static str]| {
            add(registry, GaugeVec::new(Opts::new(name, help), &names(more)))
        };
        let whole = |name: &str, help: &str, more: &[&'static str]| {
            add(registry, IntGaugeVec::new(Opts::new(name, help), &names(more)))
        };
        Ok(Self {
            rows: counter("driftd_rows_total", "Rows counted.", &["role"])?,
            bin_observations: counter(
                "driftd_bin_observations_total",
                "Observations per PSI group, missing and other included; edges identifies the cut points.",
                &["feature", "role", "edges", "bin"],
            )?,
            baseline_bin_share: gauge(
                "driftd_baseline_bin_share",
                "Share of the baseline's rows in the same bin, 0 to 1.",
                &["feature", "role", "edges", "bin"],
            )?,
            baseline_rows: whole(
                "driftd_baseline_rows",
                "Rows of the baseline behind those shares; kind says how values are read, numeric and text have an order.",
                &["feature", "role", "edges", "kind"],
            )?,
            score: gauge(
                "driftd_drift_score",
                "Distance between window and baseline: psi (nats), ks, js (0 to 1), wasserstein (baseline standard deviations).",
                &["feature", "role", "statistic", "window"],
            )?,
            threshold: gauge(
                "driftd_drift_threshold",
                "Score from which the effect counts as drift, at the window's present sample size.",
                &["feature", "role", "statistic", "window"],
            )?,
            samples: whole(
                "driftd_window_samples",
                "Rows in the window, that is behind its scores.",
                &["feature", "role", "window"],
            )?,
            drifted: whole(
                "driftd_drifted",
                "1 if the feature has drifted, 0 if not; absent while the window is filling or stale.",
                &["feature", "role", "window"],
            )?,
            evidence: gauge(
                "driftd_evidence",
                "Evidence of drift over what an alarm takes (1); its mean over pods is evidence of the fleet.",
                &["role"],
            )?,
            model_drifted: whole(
                "driftd_model_drifted",
                "1 for the cause of a model's drift, 0 for the others; absent while there is no verdict.",
                &["cause", "window"],
            )?,
            violations: counter(
                "driftd_contract_violations_total",
                "Rows that broke the model's contract, by feature and reason.",
                &["feature", "reason"],
            )?,
            last_row: gauge(
                "driftd_last_row_timestamp_seconds",
                "When the last row was counted, Unix time.",
                &[],
            )?,
            baseline_info: whole(
                "driftd_baseline_info",
                "Always 1; sha256 identifies the baseline in use, borrowed says whether it is another version's, learnt whether it was made from traffic.",
                &["sha256", "borrowed", "learnt"],
            )?,
            model_info: whole(
                "driftd_model_info",
                "Always 1; which pods serve the model: component, revision, and a hash of the URI that it comes from.",
                &["component", "revision", "storage_uri_hash"],
            )?,
        })
    }

    /// The series of one model, which exist from now on.
    pub fn of_model(
        &self,
        labels: ModelLabels,
        baseline: BaselineLabels<'_>,
        served: ServedLabels,
    ) -> ModelSeries {
        self.baseline_info.with_label_values(&labels.with(&baseline.values())).set(1);
        self.model_info.with_label_values(&labels.with(&served.values())).set(1);
        let rows = [Role::Feature, Role::Prediction]
            .map(|role| self.rows.with_label_values(&labels.with(&[role.as_str()])));
        let series = ModelSeries { families: self.clone(), labels, rows, served };
        for reason in [ViolationReason::UnexpectedFeature, ViolationReason::Shape] {
            series.add_violations(None, reason, 0);
        }
        series
    }
}

/// What `driftd_baseline_info` says of a baseline.
#[derive(Clone, Copy, Debug)]
pub struct BaselineLabels<'a> {
    /// SHA-256 of its file.
    pub sha256: &'a str,
    /// Whether it is another version's.
    pub is_borrowed: bool,
    /// Whether it was made from traffic.
    pub is_learnt: bool,
}

impl<'a> BaselineLabels<'a> {
    /// In the order of the labels.
    pub fn values(self) -> [&'a str; 3] {
        let said = |is_so| if is_so { "true" } else { "false" };
        [self.sha256, said(self.is_borrowed), said(self.is_learnt)]
    }
}

/// What `driftd_model_info` says of who serves the models of a process; empty where nobody says.
#[derive(Clone, Debug, Default)]
pub struct ServedLabels {
    /// Which part of an `InferenceService` it is.
    pub component: String,
    /// Which revision of it.
    pub revision: String,
    /// 8 hex digits of the SHA-256 of where it is served from.
    pub storage_uri_hash: String,
}

impl ServedLabels {
    /// In the order of the labels.
    pub fn values(&self) -> [&str; 3] {
        [&*self.component, &*self.revision, &*self.storage_uri_hash]
    }
}

/// The series of one model.
#[derive(Clone, Debug)]
pub struct ModelSeries {
    families: ModelMetrics,
    labels: ModelLabels,
    rows: [IntCounter; 2],
    served: ServedLabels,
}

/// The bin counters of one feature.
#[derive(Clone, Debug)]
pub struct BinSeries(Vec<IntCounter>);

impl BinSeries {
    /// Adds counts per group, `missing` and `other` last.
    pub fn add(&self, groups: impl IntoIterator<Item = u64>) {
        for (counter, count) in self.0.iter().zip(groups) {
            counter.inc_by(count);
        }
    }
}

/// The gauges of one feature in one window, as they should read now.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct WindowGauges<'a> {
    /// Scores by statistic.
    pub scores: &'a [(&'static str, f64)],
    /// Thresholds in force by statistic.
    pub thresholds: &'a [(&'static str, f64)],
    /// Drifted or not; `None` while there is no verdict.
    pub drifted: Option<bool>,
    /// Rows in the window.
    pub n_samples: u64,
}

/// Ways in which a feature that the baseline knows can break the contract.
const OF_FEATURE: [ViolationReason; 4] = [
    ViolationReason::MissingFeature,
    ViolationReason::Type,
    ViolationReason::Shape,
    ViolationReason::UnseenCategory,
];

/// Every value of the label `statistic`.
pub const STATISTICS: [&str; 4] = ["psi", "ks", "js", "wasserstein"];

/// The label value of a PSI group: zero-padded so that it sorts, wide enough for all `n_groups`.
pub fn bin_label(idx: usize, n_groups: usize) -> String {
    let width = if n_groups > 100 { 3 } else { 2 };
    match idx.checked_sub(n_groups) {
        None => format!("{idx:0width$}"),
        Some(0) => "missing".to_owned(),
        Some(_) => "other".to_owned(),
    }
}

impl ModelSeries {
    /// The model's identity labels.
    pub fn labels(&self) -> &ModelLabels {
        &self.labels
    }

    /// Counts rows.
    pub fn add_rows(&self, role: Role, n_rows: u64) {
        self.rows[role as usize].inc_by(n_rows);
    }

    /// Sets the evidence of one role over what an alarm takes.
    pub fn set_evidence(&self, role: Role, evidence: f64) {
        self.families.evidence.with_label_values(&self.labels.with(&[role.as_str()])).set(evidence);
    }

    /// Sets when the last row was counted, in seconds since the Unix epoch.
    pub fn set_last_row(&self, unix_seconds: f64) {
        let gauge: Gauge = self.families.last_row.with_label_values(&self.labels.with(&[]));
        gauge.set(unix_seconds);
    }

    /// Creates a feature's counters at 0: its bins, with the baseline's shares beside them, and the ways in which it can
    /// break the contract (a rate is blind to the event that a counter begins with). `baseline` has one entry a PSI
    /// group, then `missing`, then `other`.
    pub fn bins(&self, feature: &FeatureLabels, edges: &str, kind: &str, baseline: &[u64]) -> BinSeries {
        let n_groups = baseline.len().saturating_sub(2);
        let n_rows = baseline.iter().sum::<u64>();
        let labels = self.labels.with(&[&feature.feature, feature.role.as_str(), edges, kind]);
        let rows: IntGauge = self.families.baseline_rows.with_label_values(&labels);
        rows.set(i64::try_from(n_rows).unwrap_or(i64::MAX));
        for reason in OF_FEATURE {
            self.add_violations(Some(&feature.feature), reason, 0);
        }
        let counters = baseline.iter().enumerate().map(|(idx, &count)| {
            let share = count as f64 / n_rows.max(1) as f64;
            let bin = bin_label(idx, n_groups);
            let labels = self.labels.with(&[&feature.feature, feature.role.as_str(), edges, &bin]);
            self.families.baseline_bin_share.with_label_values(&labels).set(share);
            self.families.bin_observations.with_label_values(&labels)
        });
        BinSeries(counters.collect())
    }

    /// Series that [`Self::bins`] and [`Self::set_window`] make for one feature.
    pub const fn n_series(n_groups: usize, n_windows: usize) -> usize {
        1 + 2 * (n_groups + 2) + OF_FEATURE.len() + n_windows * (2 * STATISTICS.len() + 2)
    }

    /// Sets a feature's gauges for one window; what has no value now has no series either.
    pub fn set_window(&self, feature: &FeatureLabels, window: &str, gauges: WindowGauges<'_>) {
        let key = [&feature.feature, feature.role.as_str()];
        let samples: IntGauge =
            self.families.samples.with_label_values(&self.labels.with(&[key[0], key[1], window]));
        samples.set(i64::try_from(gauges.n_samples).unwrap_or(i64::MAX));
        let drifted = self.labels.with(&[key[0], key[1], window]);
        set_or_remove(&self.families.drifted, &drifted, gauges.drifted.map(i64::from));
        for statistic in STATISTICS {
            let labels = self.labels.with(&[key[0], key[1], statistic, window]);
            let value =
                |of: &[(&str, f64)]| of.iter().find(|(name, _)| *name == statistic).map(|&(_, value)| value);
            set_or_remove(&self.families.score, &labels, value(gauges.scores));
            set_or_remove(&self.families.threshold, &labels, value(gauges.thresholds));
        }
    }

    /// Sets the model's verdict for one window: 1 for its cause, 0 for the others; `None` while there is none.
    pub fn set_causes(&self, window: &str, causes: &[(&'static str, Option<bool>)]) {
        for (cause, value) in causes {
            set_or_remove(
                &self.families.model_drifted,
                &self.labels.with(&[cause, window]),
                value.map(i64::from),
            );
        }
    }

    /// Counts rows that broke the contract; `None` is a feature the baseline does not know.
    pub fn add_violations(&self, feature: Option<&str>, reason: ViolationReason, n_rows: u64) {
        let labels = self.labels.with(&[feature.unwrap_or(UNEXPECTED), reason.as_str()]);
        self.families.violations.with_label_values(&labels).inc_by(n_rows);
    }
}

fn set_or_remove<P: Atomic>(family: &GenericGaugeVec<P>, labels: &[&str], value: Option<P::T>) {
    match value {
        Some(value) => family.with_label_values(labels).set(value),
        // Removed anew at every tick without a value: that it was not there is fine.
        None => drop(family.remove_label_values(labels)),
    }
}
