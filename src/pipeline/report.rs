//! What the last tick found, as `/api/v1/drift` shows it.

use serde::Serialize;

use super::evaluate::seconds;
use crate::baseline::Role;
use crate::drift::monitor::Judgement;
use crate::drift::scan::Change;
use crate::drift::score::Scores;
use crate::drift::verdict::{Effect, Thresholds};
use crate::telemetry::ModelLabels;

/// All models, as of one tick.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    /// When, in seconds since the Unix epoch; 0 before the first tick.
    pub evaluated_at: f64,
    /// One a loaded model.
    pub models: Vec<ModelReport>,
    /// Baselines that could not be loaded, and why.
    pub baseline_errors: Vec<BaselineProblem>,
    /// Models that nobody has configured, while their first rows are collected.
    pub learning: Vec<LearningReport>,
}

/// A model whose first rows are to become its baseline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LearningReport {
    /// Its namespace; empty where unknown.
    pub namespace: String,
    /// Its `InferenceService`; empty where unknown.
    pub inferenceservice: String,
    /// Its name.
    pub model: String,
    /// Rows so far.
    pub rows: u64,
    /// Rows it takes.
    pub rows_wanted: u64,
}

/// A baseline that could not be loaded.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BaselineProblem {
    /// The file.
    pub path: String,
    /// What is wrong with it, and what to do.
    pub error: String,
    /// Whether its model is watched all the same, against the baseline that was there before, or a borrowed one.
    pub watched: bool,
}

/// One model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModelReport {
    /// Its identity.
    #[serde(flatten)]
    pub labels: ModelLabels,
    /// What it is held against.
    pub baseline: BaselineReport,
    /// What drift is measured from: `baseline`, `previous_window` or `same_hour_yesterday`.
    pub reference: &'static str,
    /// Rows counted since the start, or since the first one where `state_dir` keeps them.
    pub rows: RoleCounts,
    /// Rows of logs that were older than every window by the time they were read: in no window, and not in `rows`.
    pub late: RoleCounts,
    /// When this version's first row was counted here, in seconds since the Unix epoch: a change with its onset about then
    /// came with the version.
    pub first_row_at: Option<f64>,
    /// When the last row was counted, in seconds since the Unix epoch.
    pub last_row_at: Option<f64>,
    /// The verdict in each window, shortest first.
    pub windows: Vec<ModelWindow>,
    /// Every feature and prediction, in the order of the baseline.
    pub features: Vec<FeatureReport>,
    /// Rows that broke the contract since the start.
    pub violations: Vec<ViolationReport>,
    /// Names of features in the traffic that the baseline does not know, at most a few dozen.
    pub unexpected_features: Vec<Box<str>>,
}

/// Identity of a baseline.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BaselineReport {
    /// SHA-256 of the file.
    pub sha256: String,
    /// Rows it was built from.
    pub rows: u64,
    /// Whether it is another version's, for want of its own.
    pub borrowed: bool,
    /// Whether it was made from the first traffic of a model that nobody had configured.
    pub learnt: bool,
}

/// A count for each role.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct RoleCounts {
    /// Inputs of the model.
    pub feature: u64,
    /// Outputs of the model.
    pub prediction: u64,
}

/// A model in one window.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModelWindow {
    /// The window.
    pub window: String,
    /// `no_data` (no feature has a verdict), `ok`, `warning`, `drift` or `schema`.
    pub verdict: &'static str,
    /// Why, while the verdict is `drift` or `schema`.
    pub cause: Option<&'static str>,
    /// Features and predictions that drifted.
    pub drifted: Vec<String>,
}

impl ModelWindow {
    /// Whether people should hear of it.
    pub fn is_alarm(&self) -> bool {
        self.cause.is_some()
    }
}

/// One feature or prediction.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FeatureReport {
    /// Its name.
    pub name: String,
    /// Feature or prediction.
    pub role: Role,
    /// How its values are read.
    pub kind: &'static str,
    /// Identifies its cut points, as the label `edges`.
    pub edges: String,
    /// What each PSI group holds, then `missing`, then `other`: the order of all counts here.
    pub bins: Vec<String>,
    /// Rows of the baseline in each.
    pub baseline: Vec<u64>,
    /// Each window, shortest first.
    pub windows: Vec<FeatureWindow>,
}

/// A feature in one window.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FeatureWindow {
    /// The window.
    pub window: String,
    /// `filling`, `stale`, `ok`, `warning`, `drift` or `schema`.
    pub verdict: &'static str,
    /// Rows in the window.
    pub samples: u64,
    /// Rows it needs before it has scores.
    pub min_samples: u64,
    /// Rows of the window in each bin.
    pub counts: Vec<u64>,
    /// The same of the past that it is held against, where that is not the baseline, once there is enough of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub past: Option<Vec<u64>>,
    /// Scores of the window as a whole, once there are enough rows.
    pub scores: Option<ScoreReport>,
    /// The evidence that it differs from the baseline, while it does.
    pub change: Option<ChangeReport>,
}

/// Since when a feature differs from its baseline, and by how much since then.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ChangeReport {
    /// The statistic that found it: `location`, `spread`, `shape`, `missing`, `other` or `out_of_range`.
    pub statistic: &'static str,
    /// About when it began, in seconds since the Unix epoch.
    pub onset: f64,
    /// When it was found, in seconds since the Unix epoch.
    pub found_at: f64,
    /// Natural logarithm of the p-value it was found by.
    pub ln_p_value: f64,
    /// Natural logarithm of the p-value it took: the budget of false alarms, shared out.
    pub ln_level: f64,
    /// Rows it took.
    pub rows: f64,
    /// How many independent rows those were worth.
    pub effective_samples: f64,
    /// Rows since its onset, or in the window if that is shorter: those of `psi` and `ks` here.
    pub rows_since: u64,
    /// Population stability index of those rows, less what is expected without drift, nats.
    pub psi: Option<f64>,
    /// Kolmogorov–Smirnov statistic of those rows over the PSI groups; numbers only.
    pub ks: Option<f64>,
    /// While the verdict is `schema`: `missing`, `other`, `out_of_range` or `constant`.
    pub breach: Option<&'static str>,
    /// Share of such rows since the onset, 0 to 1.
    pub breach_share: Option<f64>,
    /// Share of such rows in the baseline, 0 to 1.
    pub baseline_share: Option<f64>,
}

impl ChangeReport {
    pub(super) fn new(change: &Change, judgement: &Judgement) -> Self {
        Self {
            statistic: change.statistic.as_str(),
            onset: seconds(change.onset),
            found_at: seconds(change.found),
            ln_p_value: change.ln_p,
            ln_level: change.ln_level,
            rows: change.n_rows,
            effective_samples: change.n_effective,
            rows_since: judgement.n_rows,
            psi: judgement.effect.map(|effect| effect.psi.0 - effect.psi_null),
            ks: judgement.effect.and_then(|effect| effect.ks).map(|ks| ks.0),
            breach: judgement.breach.map(|breach| breach.kind.as_str()),
            breach_share: judgement.breach.map(|breach| breach.share),
            baseline_share: judgement.breach.map(|breach| breach.baseline_share),
        }
    }
}

/// Scores and what they are held against.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ScoreReport {
    /// Population stability index over the groups, nats.
    pub psi: f64,
    /// What `psi` is expected to be without any drift, at these sample sizes.
    pub psi_null: f64,
    /// `psi` from which the effect counts.
    pub psi_threshold: f64,
    /// Kolmogorov–Smirnov statistic over the fine bins; numbers only.
    pub ks: Option<f64>,
    /// Its asymptotic p-value.
    pub ks_p_value: Option<f64>,
    /// `ks` from which the effect counts; numbers only.
    pub ks_threshold: Option<f64>,
    /// Jensen–Shannon distance, base 2, 0 to 1.
    pub js: f64,
    /// `js` from which the effect counts, where it is asked for.
    pub js_threshold: Option<f64>,
    /// Wasserstein-1 distance in standard deviations of the baseline; numbers only.
    pub wasserstein: Option<f64>,
    /// `wasserstein` from which the effect counts, where it is asked for.
    pub wasserstein_threshold: Option<f64>,
    /// Hellinger distance, 0 to 1.
    pub hellinger: f64,
    /// Total variation distance, 0 to 1.
    pub total_variation: f64,
    /// p-value of the chi-square test; categories only.
    pub chi_square_p_value: Option<f64>,
}

impl ScoreReport {
    /// Beside what they are held against.
    pub fn new(scores: &Scores, thresholds: &Thresholds) -> Self {
        let effect = Effect::from(scores);
        let threshold = |statistic| {
            let mut all = effect.held_against(thresholds);
            all.find(|(name, ..)| *name == statistic).map(|(_, _, threshold)| threshold)
        };
        Self {
            psi: scores.psi.0,
            psi_null: scores.psi_null,
            psi_threshold: thresholds.psi_in_force(scores.psi_null).0,
            ks: scores.ks.map(|ks| ks.0),
            ks_p_value: scores.ks_p.map(|p| p.0),
            ks_threshold: threshold("ks"),
            js: scores.js.0,
            js_threshold: threshold("js"),
            wasserstein: scores.wasserstein.map(|distance| distance.0),
            wasserstein_threshold: threshold("wasserstein"),
            hellinger: scores.hellinger.0,
            total_variation: scores.total_variation.0,
            chi_square_p_value: scores.chi_square_p.map(|p| p.0),
        }
    }

    /// The scores that have a series, by the label `statistic`.
    pub(super) fn exported(self) -> Vec<(&'static str, f64)> {
        let scores = [
            ("psi", Some(self.psi)),
            ("ks", self.ks),
            ("js", Some(self.js)),
            ("wasserstein", self.wasserstein),
        ];
        scores.into_iter().filter_map(|(statistic, score)| Some((statistic, score?))).collect()
    }

    /// The thresholds that have a series, by the label `statistic`.
    pub(super) fn exported_thresholds(self) -> Vec<(&'static str, f64)> {
        let thresholds = [
            ("psi", Some(self.psi_threshold)),
            ("ks", self.ks_threshold),
            ("js", self.js_threshold),
            ("wasserstein", self.wasserstein_threshold),
        ];
        thresholds.into_iter().filter_map(|(statistic, threshold)| Some((statistic, threshold?))).collect()
    }
}

/// Rows that broke the contract in one way.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ViolationReport {
    /// The feature; `_unexpected` for those the baseline does not know.
    pub feature: String,
    /// In which way.
    pub reason: &'static str,
    /// In how many rows.
    pub rows: u64,
}
