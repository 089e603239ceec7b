//! One model over time: its windows, its series, and what it looks like at a tick.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};

use super::evaluate::seconds;
use super::model::Model;
use super::report::{
    BaselineReport, FeatureReport, FeatureWindow, ModelReport, ModelWindow, RoleCounts, ScoreReport,
    ViolationReport,
};
use super::shard::{MAX_UNEXPECTED, ModelCounts};
use crate::baseline::{ColumnKind, ColumnSpec, Role};
use crate::config::{EvaluationConfig, Identity, Window};
use crate::decode::ViolationReason;
use crate::drift::cause::{Cause, Finding, ModelVerdict};
use crate::drift::evidence::{Evidence, Level};
use crate::drift::score::Scores;
use crate::drift::verdict::{FeatureVerdict, Thresholds};
use crate::drift::window::{Added, DEFAULT_SLOTS, WindowRing, WindowState};
use crate::drift::{Histogram, Timestamp};
use crate::telemetry::model::{BinSeries, FeatureLabels, UNEXPECTED, WindowGauges, bin_label};
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
    windows: Vec<Judged>,
    rows: RoleCounts,
    last_row_at: Option<Timestamp>,
    violations: BTreeMap<(Option<usize>, ViolationReason), u64>,
    unexpected: BTreeSet<Box<str>>,
    last_unexpected_at: Option<Timestamp>,
}

/// One window over all columns, and what was last said of it.
#[derive(Debug)]
struct Judged {
    window: Window,
    ring: WindowRing,
    features: Vec<FeatureVerdict>,
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
            let n_rows = reference.baseline().total().max(1) as f64;
            let shares: Vec<_> = counts.iter().map(|&count| count as f64 / n_rows).collect();
            Some(series.bins(&labels, &edges, &shares))
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
        let labels = ModelLabels {
            namespace: context.identity.namespace.clone(),
            inferenceservice: context.identity.inferenceservice.clone(),
            model: model.name.clone(),
            version: model.version.clone(),
        };
        let series = context.metrics.of_model(labels, model.baseline.sha256());
        let columns = (0..model.references.len())
            .map(|idx| ColumnState::new(idx, &model, &series, context, process))
            .collect();
        let judged = |window: &Window| Judged {
            window: window.clone(),
            ring: WindowRing::new(
                window.length,
                DEFAULT_SLOTS,
                model.references.iter().map(|reference| reference.bins().n_bins()),
            ),
            features: vec![FeatureVerdict::Filling; model.references.len()],
            model: ModelVerdict::NoData,
        };
        Self {
            windows: context.evaluation.windows.iter().map(judged).collect(),
            series,
            columns,
            rows: RoleCounts::default(),
            last_row_at: None,
            violations: BTreeMap::new(),
            unexpected: BTreeSet::new(),
            last_unexpected_at: None,
            model,
        }
    }

    /// Moves what a shard counted into the windows.
    pub(super) fn absorb(&mut self, counts: &ModelCounts, now: Timestamp) {
        let [n_features, n_predictions] = counts.rows;
        for (&(column, reason), &n_rows) in &counts.violations {
            *self.violations.entry((column, reason)).or_default() += n_rows;
            let feature = column.map(|column| self.columns[column].labels.feature.as_str());
            self.series.add_violations(feature, reason, n_rows);
        }
        if !counts.unexpected.is_empty() {
            self.last_unexpected_at = Some(now);
        }
        for name in &counts.unexpected {
            if self.unexpected.len() < MAX_UNEXPECTED {
                self.unexpected.insert(name.clone());
            }
        }
        if n_features + n_predictions == 0 {
            return;
        }
        self.rows.feature += n_features;
        self.rows.prediction += n_predictions;
        self.series.add_rows(Role::Feature, n_features);
        self.series.add_rows(Role::Prediction, n_predictions);
        self.last_row_at = Some(now);
        self.series.set_last_row(seconds(now));
        for judged in &mut self.windows {
            let added = judged.ring.add(now, &counts.histograms);
            debug_assert_eq!(added, Added::Counted, "the clock does not run backwards");
        }
        for ((column, reference), histogram) in
            self.columns.iter().zip(&self.model.references).zip(&counts.histograms)
        {
            if let Some(series) = &column.series {
                series.add(
                    reference.fold(histogram).expect("shards count over the bins of the same reference"),
                );
            }
        }
    }

    /// One look: every window is scored, judged and exported.
    pub(super) fn judge(&mut self, now: Timestamp, context: &Context) -> ModelReport {
        for judged in &mut self.windows {
            judged.ring.advance(now);
        }
        // A version that nobody asks any more says nothing in its longer windows either.
        let is_stale = self
            .windows
            .first()
            .is_some_and(|shortest| shortest.ring.idle().is_some_and(|idle| idle >= shortest.ring.length()));
        let level = Level::shared_by(self.columns.len(), self.windows.len());
        let mut features: Vec<_> = (0..self.columns.len()).map(|idx| self.feature_report(idx)).collect();
        let mut windows = Vec::with_capacity(self.windows.len());
        for at in 0..self.windows.len() {
            windows.push(self.judge_window(
                at,
                (now, is_stale),
                level,
                &context.evaluation.thresholds,
                &mut features,
            ));
        }
        ModelReport {
            labels: self.series.labels().clone(),
            baseline: BaselineReport {
                sha256: self.model.baseline.sha256().to_owned(),
                rows: self.model.baseline.rows(),
            },
            rows: self.rows,
            last_row_at: self.last_row_at.map(seconds),
            windows,
            features,
            violations: self.violation_reports(),
            unexpected_features: self.unexpected.iter().cloned().collect(),
        }
    }

    fn judge_window(
        &mut self,
        at: usize,
        (now, is_stale): (Timestamp, bool),
        level: Level,
        thresholds: &Thresholds,
        reports: &mut [FeatureReport],
    ) -> ModelWindow {
        let label = self.windows[at].window.label.clone();
        let mut findings = Vec::with_capacity(self.columns.len());
        for (idx, report) in reports.iter_mut().enumerate() {
            let judged = &self.windows[at];
            let state =
                if is_stale { WindowState::Stale } else { judged.ring.state(idx, thresholds.min_samples) };
            let (finding, scores) = self.judge_feature(
                idx,
                &judged.ring.totals()[idx],
                state,
                level,
                thresholds,
                judged.features[idx],
            );
            self.log_change(idx, &label, judged.features[idx], finding.verdict, scores.as_ref());
            report.windows.push(self.export_feature(idx, at, finding.verdict, scores.as_ref(), thresholds));
            self.windows[at].features[idx] = finding.verdict;
            findings.push(finding);
        }
        let (features, predictions) = findings.split_at(self.model.schema.range(Role::Feature).len());
        let verdict = ModelVerdict::of(
            features,
            predictions,
            self.all_inputs_watched(self.windows[at].window.length, now),
            false,
        );
        self.export_verdict(at, verdict);
        let drifted = findings
            .iter()
            .zip(&self.columns)
            .filter(|(finding, _)| finding.verdict == FeatureVerdict::Drift);
        ModelWindow {
            window: label,
            verdict: verdict.as_str(),
            cause: verdict.cause().map(Cause::as_str),
            drifted: drifted.map(|(_, column)| column.labels.feature.clone()).collect(),
        }
    }

    fn judge_feature(
        &self,
        idx: usize,
        current: &Histogram,
        state: WindowState,
        level: Level,
        thresholds: &Thresholds,
        before: FeatureVerdict,
    ) -> (Finding, Option<Scores>) {
        if let Some(verdict) = FeatureVerdict::without_scores(state) {
            return (Finding { verdict, evident: false }, None);
        }
        match self.model.references[idx].score(current) {
            Ok(scores) => {
                let evidence = Evidence::of(&scores, level);
                let verdict = FeatureVerdict::judge(&scores, evidence, thresholds, before);
                (Finding { verdict, evident: evidence.any() }, Some(scores))
            }
            // Only a baseline without a single row gets here: there is nothing to be judged by.
            Err(_) => (Finding { verdict: FeatureVerdict::Filling, evident: false }, None),
        }
    }

    /// Text is watched through its length alone, and what the baseline does not know not at all: whether a window holds
    /// any of that.
    fn all_inputs_watched(&self, length: Duration, now: Timestamp) -> bool {
        let features = &self.model.schema.columns()[self.model.schema.range(Role::Feature)];
        let is_text = |spec: &ColumnSpec| matches!(spec.kind, ColumnKind::Text);
        self.last_unexpected_at.is_none_or(|at| now.since(at) > length) && !features.iter().any(is_text)
    }

    fn export_feature(
        &self,
        idx: usize,
        at: usize,
        verdict: FeatureVerdict,
        scores: Option<&Scores>,
        thresholds: &Thresholds,
    ) -> FeatureWindow {
        let (judged, column) = (&self.windows[at], &self.columns[idx]);
        let current = &judged.ring.totals()[idx];
        let scores = scores.map(|scores| ScoreReport::new(scores, thresholds));
        if column.series.is_some() {
            self.series.set_window(
                &column.labels,
                &judged.window.label,
                WindowGauges {
                    scores: &scores.map_or_else(Vec::new, super::report::ScoreReport::exported),
                    thresholds: &scores
                        .map_or_else(Vec::new, super::report::ScoreReport::exported_thresholds),
                    drifted: verdict.is_scored().then_some(verdict == FeatureVerdict::Drift),
                    n_samples: current.total(),
                },
            );
        }
        let counts =
            self.model.references[idx].fold(current).expect("the ring has the bins of the reference");
        FeatureWindow {
            window: judged.window.label.clone(),
            verdict: verdict.as_str(),
            samples: current.total(),
            min_samples: thresholds.min_samples,
            counts,
            scores,
        }
    }

    fn export_verdict(&mut self, at: usize, verdict: ModelVerdict) {
        let judged = &mut self.windows[at];
        let value = |cause| (verdict != ModelVerdict::NoData).then_some(verdict.cause() == Some(cause));
        self.series.set_causes(&judged.window.label, &Cause::ALL.map(|cause| (cause.as_str(), value(cause))));
        if judged.model != verdict {
            info!(
                model = %self.model.name,
                version = %self.model.version,
                window = %judged.window.label,
                verdict = verdict.as_str(),
                cause = verdict.cause().map_or("", Cause::as_str),
                "verdict changed"
            );
        }
        judged.model = verdict;
    }

    fn log_change(
        &self,
        idx: usize,
        window: &str,
        before: FeatureVerdict,
        after: FeatureVerdict,
        scores: Option<&Scores>,
    ) {
        let began = after == FeatureVerdict::Drift && before != after;
        let ended = before == FeatureVerdict::Drift && before != after;
        if !(began || ended) {
            return;
        }
        let (model, version) = (&self.model.name, &self.model.version);
        let FeatureLabels { feature, role } = &self.columns[idx].labels;
        let role = role.as_str();
        match scores {
            Some(scores) if began => {
                let (psi, ks, n_samples) = (scores.psi.0, scores.ks.map(|ks| ks.0), scores.n_samples);
                warn!(%model, %version, %feature, role, window, psi, ks, n_samples, "drift");
            }
            _ => info!(%model, %version, %feature, role, window, verdict = after.as_str(), "drift has ended"),
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

#[cfg(test)]
mod tests;
