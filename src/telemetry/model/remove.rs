//! Taking a model's series back.

use std::collections::HashSet;

use super::{FeatureLabels, ModelSeries, STATISTICS, UNEXPECTED, bin_label};
use crate::baseline::Role;
use crate::decode::ViolationReason;

/// What the series of one model are named by, beside the model's own labels.
#[derive(Clone, Debug, Default)]
pub struct SeriesNames {
    /// Its features and predictions.
    pub features: Vec<FeatureNames>,
    /// Labels `window`.
    pub windows: Vec<String>,
    /// Labels `cause`.
    pub causes: Vec<&'static str>,
    /// Other labels of `driftd_baseline_info`.
    pub baseline: [String; 3],
}

/// What the series of one feature are named by.
#[derive(Clone, Debug)]
pub struct FeatureNames {
    /// Name and role.
    pub feature: FeatureLabels,
    /// Label `edges`.
    pub edges: String,
    /// Label `kind`.
    pub kind: &'static str,
    /// PSI groups, `missing` and `other` not among them.
    pub n_groups: usize,
}

const REASONS: [ViolationReason; 5] = [
    ViolationReason::MissingFeature,
    ViolationReason::UnexpectedFeature,
    ViolationReason::Type,
    ViolationReason::Shape,
    ViolationReason::UnseenCategory,
];

/// The families, each under the labels that it has beside the model's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Family {
    Rows,
    BinObservations,
    BaselineBinShare,
    BaselineRows,
    Score,
    Threshold,
    Samples,
    Drifted,
    Evidence,
    ModelDrifted,
    Violations,
    LastRow,
    BaselineInfo,
}

impl SeriesNames {
    /// Every series that a model of these names may have.
    fn all(&self) -> HashSet<(Family, Vec<String>)> {
        let mut all = HashSet::new();
        let mut add = |family, labels: &[&str]| {
            all.insert((family, labels.iter().map(|label| (*label).to_owned()).collect()));
        };
        add(Family::LastRow, &[]);
        add(Family::BaselineInfo, &self.baseline.each_ref().map(String::as_str));
        for role in [Role::Feature, Role::Prediction] {
            add(Family::Rows, &[role.as_str()]);
            add(Family::Evidence, &[role.as_str()]);
        }
        for (cause, window) in
            self.causes.iter().flat_map(|cause| self.windows.iter().map(move |window| (cause, window)))
        {
            add(Family::ModelDrifted, &[cause, window]);
        }
        let features = self.features.iter().map(|names| names.feature.feature.as_str());
        for feature in features.chain([UNEXPECTED]) {
            for reason in REASONS {
                add(Family::Violations, &[feature, reason.as_str()]);
            }
        }
        for FeatureNames { feature: FeatureLabels { feature, role }, edges, kind, n_groups } in &self.features
        {
            let role = role.as_str();
            add(Family::BaselineRows, &[feature, role, edges, kind]);
            for bin in (0..n_groups + 2).map(|bin| bin_label(bin, *n_groups)) {
                add(Family::BinObservations, &[feature, role, edges, &bin]);
                add(Family::BaselineBinShare, &[feature, role, edges, &bin]);
            }
            for window in &self.windows {
                add(Family::Samples, &[feature, role, window]);
                add(Family::Drifted, &[feature, role, window]);
                for statistic in STATISTICS {
                    add(Family::Score, &[feature, role, statistic, window]);
                    add(Family::Threshold, &[feature, role, statistic, window]);
                }
            }
        }
        all
    }
}

impl ModelSeries {
    /// Takes back the series of a model that is watched no more, but those that `heirs` of its labels go on with.
    pub fn remove(&self, names: &SeriesNames, heirs: &[SeriesNames]) {
        if heirs.is_empty() {
            // One a process and model, whatever its baseline.
            drop(self.families.model_info.remove_label_values(&self.labels.with(&self.served.values())));
        }
        let kept: HashSet<_> = heirs.iter().flat_map(SeriesNames::all).collect();
        for (family, labels) in names.all().difference(&kept) {
            let labels: Vec<_> = labels.iter().map(String::as_str).collect();
            let labels = self.labels.with(&labels);
            let families = &self.families;
            // Not every series came to be: that one was not there is fine.
            drop(match family {
                Family::Rows => families.rows.remove_label_values(&labels),
                Family::BinObservations => families.bin_observations.remove_label_values(&labels),
                Family::BaselineBinShare => families.baseline_bin_share.remove_label_values(&labels),
                Family::BaselineRows => families.baseline_rows.remove_label_values(&labels),
                Family::Score => families.score.remove_label_values(&labels),
                Family::Threshold => families.threshold.remove_label_values(&labels),
                Family::Samples => families.samples.remove_label_values(&labels),
                Family::Drifted => families.drifted.remove_label_values(&labels),
                Family::Evidence => families.evidence.remove_label_values(&labels),
                Family::ModelDrifted => families.model_drifted.remove_label_values(&labels),
                Family::Violations => families.violations.remove_label_values(&labels),
                Family::LastRow => families.last_row.remove_label_values(&labels),
                Family::BaselineInfo => families.baseline_info.remove_label_values(&labels),
            });
        }
    }
}
