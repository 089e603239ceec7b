//! One model over time: its windows, its series, and what it looks like at a tick.

mod retire;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use super::count::{MAX_UNEXPECTED, ModelCounts};
use super::evaluate::seconds;
use super::model::{Model, Origin};
use super::report::{
    BaselineReport, ChangeReport, FeatureReport, FeatureWindow, ModelReport, ModelWindow, RoleCounts,
    ScoreReport, ViolationReport,
};
use crate::baseline::Role;
use crate::baseline::source::hash_of;
use crate::config::{EvaluationConfig, Identity, Window};
use crate::decode::ViolationReason;
use crate::drift::cause::{Cause, ModelVerdict};
use crate::drift::monitor::{Look, Memory, Monitor, NotLike};
use crate::drift::scan::{Against, Repeats};
use crate::drift::score::Scores;
use crate::drift::verdict::FeatureVerdict;
use crate::drift::window::Added;
use crate::drift::{Histogram, Timestamp};
use crate::telemetry::model::{
    BaselineLabels, BinSeries, FeatureLabels, ServedLabels, UNEXPECTED, WindowGauges, bin_label,
};
use crate::telemetry::{ModelLabels, ModelMetrics, ModelSeries, ProcessMetrics};

/// What is the same for every model.
#[derive(Debug)]
pub struct Context {
    /// When and over which windows drift is judged.
    pub evaluation: EvaluationConfig,
    /// Whose models these are.
    pub identity: Identity,
    /// The families of all models' series.
    pub metrics: ModelMetrics,
    /// Per-feature series that may still be exported.
    pub series_left: usize,
}

/// One model over time.
#[derive(Debug)]
pub(super) struct ModelState {
    model: Arc<Model>,
    series: ModelSeries,
    columns: Vec<ColumnState>,
    windows: Vec<Window>,
    against: Against,
    interval: Duration,
    monitor: Monitor,
    /// What the last look said, to tell what has changed.
    told: Vec<Told>,
    since_last_look: Look,
    rows: RoleCounts,
    late: RoleCounts,
    first_row_at: Option<Timestamp>,
    last_row_at: Option<Timestamp>,
    violations: BTreeMap<(Option<usize>, ViolationReason), u64>,
    unexpected: BTreeSet<Box<str>>,
    /// Sources of rows with times of their own that this model had any of: their time is its time.
    pub(super) fed_by: BTreeSet<usize>,
    /// Of the last look, where that is not asked for at once.
    last_report: Option<ModelReport>,
}

/// What is kept of a model over a restart.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ModelMemory<'a> {
    rows: RoleCounts,
    late: RoleCounts,
    first_row_at: Option<Timestamp>,
    last_row_at: Option<Timestamp>,
    violations: Vec<((Option<usize>, ViolationReason), u64)>,
    unexpected: Cow<'a, BTreeSet<Box<str>>>,
    /// Since the last look: rows with features that nobody knows, and rows that repeat others.
    since_last_look: (u64, Repeats),
    monitor: Memory<'a>,
}

/// The verdicts of one window.
#[derive(Clone, Debug)]
struct Told {
    columns: Vec<FeatureVerdict>,
    model: ModelVerdict,
}

/// One column, as it is exported.
#[derive(Debug)]
struct ColumnState {
    labels: FeatureLabels,
    edges: String,
    bins: Vec<String>,
    /// `None` where `metrics.max_series` has cut the column.
    series: Option<BinSeries>,
}

impl ColumnState {
    fn new(
        idx: usize,
        model: &Model,
        series: &ModelSeries,
        context: &mut Context,
        process: &ProcessMetrics,
    ) -> Self {
        let (spec, reference) = (&model.schema.columns()[idx], &model.references[idx]);
        let labels = FeatureLabels { feature: spec.name.to_string(), role: spec.role };
        let edges = model.baseline.features()[idx].edges_id();
        let counts = reference.psi_bins();
        let n_groups = counts.len() - 2;
        let n_series = ModelSeries::n_series(n_groups, context.evaluation.windows.len());
        let bin_series = if n_series <= context.series_left {
            context.series_left -= n_series;
            Some(series.bins(&labels, &edges, spec.kind.as_str(), counts))
        } else {
            process.series_cut.inc_by(n_series as u64);
            None
        };
        let bins = (0..counts.len()).map(|bin| bin_label(bin, n_groups)).collect();
        Self { labels, edges, bins, series: bin_series }
    }
}

impl ModelState {
    pub(super) fn new(model: Arc<Model>, context: &mut Context, process: &ProcessMetrics) -> Self {
        let given = |of_model: &Option<String>, of_process: &str| {
            of_model.clone().unwrap_or_else(|| of_process.to_owned())
        };
        let labels = ModelLabels {
            namespace: given(&model.namespace, &context.identity.namespace),
            inferenceservice: given(&model.inferenceservice, &context.identity.inferenceservice),
            model: model.name.clone(),
            version: model.version.clone(),
        };
        let served = served_labels(&context.identity);
        let series = context.metrics.of_model(labels, baseline_labels(&model), served);
        let columns = (0..model.references.len())
            .map(|idx| ColumnState::new(idx, &model, &series, context, process))
            .collect();
        let windows = context.evaluation.windows.clone();
        let n_columns = model.references.len();
        let n_features = model.schema.range(Role::Feature).len();
        let names = model.schema.columns().iter().map(|spec| &*spec.name);
        let settings = context.evaluation.settings(names, n_features, &model.thresholds);
        let told = Told { columns: vec![FeatureVerdict::Filling; n_columns], model: ModelVerdict::NoData };
        Self {
            monitor: Monitor::new(&model.references, n_features, settings),
            told: vec![told; windows.len()],
            windows,
            against: context.evaluation.against,
            interval: context.evaluation.interval,
            since_last_look: Look { all_inputs_watched: !has_text(&model), ..Look::default() },
            series,
            columns,
            rows: RoleCounts::default(),
            late: RoleCounts::default(),
            first_row_at: None,
            last_row_at: None,
            violations: BTreeMap::new(),
            unexpected: BTreeSet::new(),
            fed_by: BTreeSet::new(),
            last_report: None,
            model,
        }
    }

    /// Identity of its baseline.
    pub(super) fn baseline_sha256(&self) -> &str {
        self.model.baseline.sha256()
    }

    /// What its evidence depends on besides the baseline: looks that mean something else are no evidence here.
    pub(super) fn settings(&self) -> String {
        format!("every {:?} against {}", self.interval, self.against.as_str())
    }

    /// What is to be kept of it over a restart.
    pub(super) fn memory(&self) -> ModelMemory<'_> {
        ModelMemory {
            rows: self.rows,
            late: self.late,
            first_row_at: self.first_row_at,
            last_row_at: self.last_row_at,
            violations: self.violations.iter().map(|(&key, &n_rows)| (key, n_rows)).collect(),
            unexpected: Cow::Borrowed(&self.unexpected),
            since_last_look: (self.since_last_look.n_unexpected, self.since_last_look.repeats),
            monitor: self.monitor.memory(),
        }
    }

    /// Goes on where it was. Series begin at zero all the same: a counter that comes back with less than was scraped of it would be
    /// counted all over again.
    pub(super) fn restore(&mut self, memory: ModelMemory<'_>) -> Result<(), NotLike> {
        let n_columns = self.columns.len();
        if memory.violations.iter().any(|((column, _), _)| column.is_some_and(|column| column >= n_columns)) {
            return Err(NotLike);
        }
        self.monitor.restore(memory.monitor)?;
        (self.rows, self.late) = (memory.rows, memory.late);
        (self.first_row_at, self.last_row_at) = (memory.first_row_at, memory.last_row_at);
        self.violations = memory.violations.into_iter().collect();
        self.unexpected = memory.unexpected.into_owned();
        (self.since_last_look.n_unexpected, self.since_last_look.repeats) = memory.since_last_look;
        if let Some(last) = self.last_row_at {
            self.series.set_last_row(seconds(last));
        }
        Ok(())
    }

    /// Moves what was counted at `at` into the windows; what is older than all of them is late, and nothing else is said of it.
    pub(super) fn absorb(&mut self, counts: &ModelCounts, at: Timestamp) -> Added {
        let [n_features, n_predictions] = counts.rows;
        if n_features + n_predictions > 0 && self.monitor.add(at, &counts.histograms) == Added::Late {
            self.late.feature += n_features;
            self.late.prediction += n_predictions;
            return Added::Late;
        }
        for (&(column, reason), &n_rows) in &counts.violations {
            *self.violations.entry((column, reason)).or_default() += n_rows;
            let feature = column.map(|column| self.columns[column].labels.feature.as_str());
            self.series.add_violations(feature, reason, n_rows);
        }
        let unexpected = counts.violations.get(&(None, ViolationReason::UnexpectedFeature));
        let n_unexpected = unexpected.copied().unwrap_or(u64::from(!counts.unexpected.is_empty()));
        self.since_last_look.n_unexpected += n_unexpected;
        self.since_last_look.repeats += counts.repeats;
        for name in &counts.unexpected {
            if self.unexpected.len() < MAX_UNEXPECTED {
                self.unexpected.insert(name.clone());
            }
        }
        if n_features + n_predictions == 0 {
            return Added::Counted;
        }
        self.rows.feature += n_features;
        self.rows.prediction += n_predictions;
        self.series.add_rows(Role::Feature, n_features);
        self.series.add_rows(Role::Prediction, n_predictions);
        self.first_row_at = Some(self.first_row_at.map_or(at, |first| first.min(at)));
        let last = self.last_row_at.map_or(at, |last| last.max(at));
        self.last_row_at = Some(last);
        self.series.set_last_row(seconds(last));
        for ((column, reference), histogram) in
            self.columns.iter().zip(&self.model.references).zip(&counts.histograms)
        {
            if let Some(series) = &column.series {
                series.add(
                    reference.fold(histogram).expect("shards count over the bins of the same reference"),
                );
            }
        }
        Added::Counted
    }

    /// One look, of which is told when somebody asks.
    pub(super) fn look(&mut self, now: Timestamp) {
        self.last_report = Some(self.judge(now));
    }

    /// What the last look said; without any, what one says now.
    pub(super) fn last_report(&mut self, now: Timestamp) -> ModelReport {
        if let Some(report) = &self.last_report {
            return report.clone();
        }
        let report = self.judge(now);
        self.last_report.insert(report).clone()
    }

    /// One look: every window is judged, scored and exported.
    pub(super) fn judge(&mut self, now: Timestamp) -> ModelReport {
        self.monitor.look(now, &self.model.references, self.since_last_look);
        self.since_last_look =
            Look { all_inputs_watched: self.since_last_look.all_inputs_watched, ..Look::default() };
        for (role, of_predictions) in [(Role::Feature, false), (Role::Prediction, true)] {
            self.series.set_evidence(role, self.monitor.evidence(of_predictions));
        }
        let mut features: Vec<_> = (0..self.columns.len()).map(|idx| self.feature_report(idx)).collect();
        let windows = (0..self.windows.len()).map(|at| self.window_report(at, &mut features)).collect();
        ModelReport {
            labels: self.series.labels().clone(),
            baseline: BaselineReport {
                sha256: self.model.baseline.sha256().to_owned(),
                rows: self.model.baseline.rows(),
                borrowed: self.model.origin == Origin::Borrowed,
                learnt: self.model.origin == Origin::Learnt,
            },
            reference: self.against.as_str(),
            rows: self.rows,
            late: self.late,
            first_row_at: self.first_row_at.map(seconds),
            last_row_at: self.last_row_at.map(seconds),
            windows,
            features,
            violations: self.violation_reports(),
            unexpected_features: self.unexpected.iter().cloned().collect(),
        }
    }

    fn window_report(&mut self, at: usize, reports: &mut [FeatureReport]) -> ModelWindow {
        let mut drifted = Vec::new();
        for (idx, report) in reports.iter_mut().enumerate() {
            let verdict = self.monitor.judgement(at, idx).verdict;
            let scores = self.scores(at, idx);
            report.windows.push(self.export_feature(idx, at, scores.as_ref()));
            self.log_change(at, idx);
            self.told[at].columns[idx] = verdict;
            if verdict.is_alarm() {
                drifted.push(self.columns[idx].labels.feature.clone());
            }
        }
        let verdict = self.monitor.verdict(at);
        self.export_verdict(at, verdict);
        ModelWindow {
            window: self.windows[at].label.clone(),
            verdict: verdict.as_str(),
            cause: verdict.cause().map(Cause::as_str),
            drifted,
        }
    }

    /// How far a window as a whole is from what it is held against; `None` while it has too few rows, or too old ones, to say.
    fn scores(&self, at: usize, idx: usize) -> Option<Scores> {
        let current = &self.monitor.counts(at)[idx];
        let judgement = self.monitor.judgement(at, idx);
        let enough = current.total() >= self.monitor.thresholds(idx).min_samples;
        // Only a baseline without a single row has no score then: there is nothing to be judged by.
        if !(enough && judgement.verdict.is_scored()) {
            return None;
        }
        let baseline = &self.model.references[idx];
        match self.monitor.past(at, idx) {
            Some(past) => past.score(&Histogram::from_counts(baseline.fold(current).ok()?)).ok(),
            None => baseline.score(current).ok(),
        }
    }

    fn export_feature(&self, idx: usize, at: usize, scores: Option<&Scores>) -> FeatureWindow {
        let (column, window) = (&self.columns[idx], &self.windows[at].label);
        let (judgement, thresholds) = (self.monitor.judgement(at, idx), self.monitor.thresholds(idx));
        let current = &self.monitor.counts(at)[idx];
        let scores = scores.map(|scores| ScoreReport::new(scores, thresholds));
        let verdict = judgement.verdict;
        if column.series.is_some() {
            self.series.set_window(
                &column.labels,
                window,
                WindowGauges {
                    scores: &scores.map_or_else(Vec::new, ScoreReport::exported),
                    thresholds: &scores.map_or_else(Vec::new, ScoreReport::exported_thresholds),
                    drifted: verdict.is_scored().then_some(verdict.is_alarm()),
                    n_samples: current.total(),
                },
            );
        }
        let counts =
            self.model.references[idx].fold(current).expect("the ring has the bins of the reference");
        FeatureWindow {
            window: window.clone(),
            verdict: verdict.as_str(),
            samples: current.total(),
            min_samples: thresholds.min_samples,
            counts,
            past: self.monitor.past(at, idx).map(|past| past.psi_bins().to_vec()),
            scores,
            change: self.monitor.change(at, idx).map(|change| ChangeReport::new(change, judgement)),
        }
    }

    fn export_verdict(&mut self, at: usize, verdict: ModelVerdict) {
        let window = &self.windows[at].label;
        let value = |cause| (verdict != ModelVerdict::NoData).then_some(verdict.cause() == Some(cause));
        self.series.set_causes(window, &Cause::ALL.map(|cause| (cause.as_str(), value(cause))));
        if self.told[at].model != verdict {
            info!(
                model = %self.model.name,
                version = %self.model.version,
                %window,
                verdict = verdict.as_str(),
                cause = verdict.cause().map_or("", Cause::as_str),
                "verdict changed"
            );
        }
        self.told[at].model = verdict;
    }

    fn log_change(&self, at: usize, idx: usize) {
        let (judgement, before) = (self.monitor.judgement(at, idx), self.told[at].columns[idx]);
        let (is_alarm, was_alarm) = (judgement.verdict.is_alarm(), before.is_alarm());
        if judgement.verdict == before || !(is_alarm || was_alarm) {
            return;
        }
        let (model, version) = (&self.model.name, &self.model.version);
        let FeatureLabels { feature, role } = &self.columns[idx].labels;
        let (role, window, verdict) = (role.as_str(), &self.windows[at].label, judgement.verdict.as_str());
        match (&judgement.effect, self.monitor.change(at, idx)) {
            (Some(effect), Some(change)) if is_alarm => {
                let (psi, ks, n_rows) = (effect.psi.0, effect.ks.map(|ks| ks.0), judgement.n_rows);
                let (evidence, onset) = (change.statistic.as_str(), seconds(change.onset));
                warn!(%model, %version, %feature, role, %window, verdict, psi, ks, n_rows, evidence, onset, "drift");
            }
            _ => info!(%model, %version, %feature, role, %window, verdict, "drift has ended"),
        }
    }

    /// What does not depend on a window.
    fn feature_report(&self, idx: usize) -> FeatureReport {
        let (spec, column) = (&self.model.schema.columns()[idx], &self.columns[idx]);
        FeatureReport {
            name: column.labels.feature.clone(),
            role: spec.role,
            kind: spec.kind.as_str(),
            edges: column.edges.clone(),
            bins: column.bins.clone(),
            baseline: self.model.references[idx].psi_bins().to_vec(),
            windows: Vec::with_capacity(self.windows.len()),
        }
    }

    fn violation_reports(&self) -> Vec<ViolationReport> {
        let feature = |column: Option<usize>| match column {
            Some(column) => self.columns[column].labels.feature.clone(),
            None => UNEXPECTED.to_owned(),
        };
        let report = |(&(column, reason), &rows): (&(Option<usize>, ViolationReason), &u64)| {
            ViolationReport { feature: feature(column), reason: reason.as_str(), rows }
        };
        self.violations.iter().map(report).collect()
    }
}

fn baseline_labels(model: &Model) -> BaselineLabels<'_> {
    BaselineLabels {
        sha256: model.baseline.sha256(),
        is_borrowed: model.origin == Origin::Borrowed,
        is_learnt: model.origin == Origin::Learnt,
    }
}

/// A URI is long, and may hold credentials: its hash tells one from another.
fn served_labels(identity: &Identity) -> ServedLabels {
    let uri = Some(identity.storage_uri.trim_end_matches('/')).filter(|uri| !uri.is_empty());
    ServedLabels {
        component: identity.component.clone(),
        revision: identity.revision.clone(),
        storage_uri_hash: uri.map(hash_of).unwrap_or_default(),
    }
}

/// Text is watched through its length alone, a vector through its norm and distance.
fn has_text(model: &Model) -> bool {
    let features = &model.schema.columns()[model.schema.range(Role::Feature)];
    features.iter().any(|spec| spec.kind.is_watched_in_part())
}

#[cfg(test)]
mod tests;
