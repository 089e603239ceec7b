//! The end of a model that is watched no more, or that is watched against another baseline from now on.

use std::sync::Arc;

use super::{Cause, ColumnState, Context, Model, ModelLabels, ModelState, baseline_labels};
use crate::telemetry::ModelSeries;
use crate::telemetry::model::{FeatureNames, SeriesNames};

impl ModelState {
    /// The model.
    pub(in crate::pipeline) fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// What all series of the model are named by.
    pub(in crate::pipeline) fn labels(&self) -> &ModelLabels {
        self.series.labels()
    }

    /// Gives back what of `metrics.max_series` the model takes. Its series are still there, until [`Self::take_back_series`].
    pub(in crate::pipeline) fn give_back_budget(&self, context: &mut Context) {
        let n_windows = self.windows.len();
        let exported = self.columns.iter().filter(|column| column.series.is_some());
        context.series_left +=
            exported.map(|column| ModelSeries::n_series(column.n_groups(), n_windows)).sum::<usize>();
    }

    /// Takes the series from `/metrics`, but those that `others` with the same labels go on with: where a baseline is replaced, counters
    /// of the same bins count on.
    pub(in crate::pipeline) fn take_back_series<'a>(&self, others: impl Iterator<Item = &'a Self>) {
        let heirs = others.filter(|other| other.labels() == self.labels());
        let kept: Vec<_> = heirs.map(|heir| heir.series_names(|column| column.series.is_some())).collect();
        // A column that `metrics.max_series` has cut still counts what broke its contract.
        self.series.remove(&self.series_names(|_| true), &kept);
    }

    fn series_names(&self, is_wanted: impl Fn(&ColumnState) -> bool) -> SeriesNames {
        let columns = self.columns.iter().zip(self.model.schema.columns());
        let columns = columns.filter(|(column, _)| is_wanted(column));
        SeriesNames {
            features: columns
                .map(|(column, spec)| FeatureNames {
                    feature: column.labels.clone(),
                    edges: column.edges.clone(),
                    kind: spec.kind.as_str(),
                    n_groups: column.n_groups(),
                })
                .collect(),
            windows: self.windows.iter().map(|window| window.label.clone()).collect(),
            causes: Cause::ALL.map(Cause::as_str).to_vec(),
            baseline: baseline_labels(&self.model).values().map(str::to_owned),
        }
    }
}

impl ColumnState {
    /// PSI groups, without `missing` and `other`.
    fn n_groups(&self) -> usize {
        self.bins.len() - 2
    }
}
