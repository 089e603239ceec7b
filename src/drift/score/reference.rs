//! What one feature is scored against, and all of its scores.

use super::{
    Hellinger, JensenShannon, KsStatistic, PValue, Psi, ScoreError, TotalVariation, Wasserstein,
    chi_square_p, hellinger, ks, ks_null_expectation, ks_p_value, null_expectation, total_variation,
    wasserstein,
};
use crate::drift::kernels::{Divergence, Divergences};
use crate::drift::{BinEdges, Groups, Histogram};

/// How the values of a feature fall into bins.
#[derive(Clone, Debug, PartialEq)]
pub enum Bins {
    /// Numbers, by edges.
    Numeric {
        /// Cut points of the fine bins.
        edges: BinEdges,
        /// The fine bins joined for PSI.
        groups: Groups,
        /// Smallest finite number of the baseline, `NaN` if there is none.
        min: f64,
        /// Largest finite number of the baseline, `NaN` if there is none.
        max: f64,
        /// Standard deviation of the baseline's finite numbers, `NaN` if there is none.
        std: f64,
    },
    /// One of a known set; a category's code is its bin.
    Categorical {
        /// Number of categories.
        n_categories: usize,
    },
}

impl Bins {
    /// Number of fine bins, `missing` and `other` not among them.
    pub fn n_bins(&self) -> usize {
        match self {
            Self::Numeric { edges, .. } => edges.n_bins(),
            Self::Categorical { n_categories } => *n_categories,
        }
    }

    /// Number of bins that PSI is taken over, `missing` and `other` among them.
    pub fn n_psi_bins(&self) -> usize {
        2 + match self {
            Self::Numeric { groups, .. } => groups.len(),
            Self::Categorical { n_categories } => *n_categories,
        }
    }
}

/// Why bins and counts do not make a reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// The counts are not over the bins.
    #[error("there are {n_bins} bins and counts for {n_counts}")]
    CountMismatch {
        /// Bins there are.
        n_bins: usize,
        /// Bins that were counted.
        n_counts: usize,
    },
    /// A group starts past the last bin.
    #[error("group {at} starts past the last of {n_bins} bins")]
    GroupPastEnd {
        /// Index of the group.
        at: usize,
        /// Bins there are.
        n_bins: usize,
    },
}

/// The baseline of one feature, prepared for scoring.
#[derive(Clone, Debug)]
pub struct Reference {
    bins: Bins,
    baseline: Histogram,
    psi_bins: Box<[u64]>,
    divergence: Divergence,
}

/// How far one feature is from its baseline. Distances rise with drift, p-values fall.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scores {
    /// Observations in the current window, missing ones among them.
    pub n_samples: u64,
    /// Observations in the baseline, missing ones among them.
    pub n_baseline: u64,
    /// Over groups (or categories), missing and other.
    pub psi: Psi,
    /// What PSI is expected to be without drift.
    pub psi_null: f64,
    /// Bins that PSI was taken over: those not empty on both sides.
    pub n_psi_bins: usize,
    /// Over the fine bins of the numbers; `None` for categories, and where a side has no numbers.
    pub ks: Option<KsStatistic>,
    /// What it is expected to be when nothing has drifted; of no use where it is `None`.
    pub ks_null: f64,
    /// Of `ks`.
    pub ks_p: Option<PValue>,
    /// Over the same bins as PSI.
    pub js: JensenShannon,
    /// `None` where `ks` is, and where the baseline has no spread to measure it in.
    pub wasserstein: Option<Wasserstein>,
    /// Over the same bins as PSI.
    pub hellinger: Hellinger,
    /// Over the same bins as PSI.
    pub total_variation: TotalVariation,
    /// Of homogeneity, over the same bins as PSI; `None` for numbers.
    pub chi_square_p: Option<PValue>,
}

impl Reference {
    /// Prepares the baseline `histogram` of a feature, counted over `bins`.
    ///
    /// # Errors
    /// [`ReferenceError`] if the counts or the groups are not over the bins.
    pub fn new(bins: Bins, baseline: Histogram) -> Result<Self, ReferenceError> {
        let n_bins = bins.n_bins();
        if baseline.n_bins() != n_bins {
            return Err(ReferenceError::CountMismatch { n_bins, n_counts: baseline.n_bins() });
        }
        if let Bins::Numeric { groups, .. } = &bins
            && let Some(at) = groups.starts().iter().position(|&start| start >= n_bins)
        {
            return Err(ReferenceError::GroupPastEnd { at, n_bins });
        }
        let psi_bins: Box<[u64]> = fold(&bins, &baseline).into();
        let divergence = Divergence::new(&psi_bins);
        Ok(Self { bins, baseline, psi_bins, divergence })
    }

    /// The same bins, as coarse as PSI's, with other counts in place of the baseline's: `counts` over the groups or categories,
    /// then missing, then other.
    ///
    /// # Panics
    /// If the counts are not over the bins that PSI is taken over.
    #[must_use]
    pub fn of_groups(&self, counts: &[u64]) -> Self {
        let bins = match &self.bins {
            Bins::Numeric { edges, groups, min, max, std } => {
                let edges = groups.edges(edges);
                let groups = Groups::one_per_bin(edges.n_bins());
                Bins::Numeric { edges, groups, min: *min, max: *max, std: *std }
            }
            Bins::Categorical { n_categories } => Bins::Categorical { n_categories: *n_categories },
        };
        Self::new(bins, Histogram::from_counts(counts)).expect("a count for each bin that PSI is taken over")
    }

    /// How values fall into bins.
    pub fn bins(&self) -> &Bins {
        &self.bins
    }

    /// The baseline's counts.
    pub fn baseline(&self) -> &Histogram {
        &self.baseline
    }

    /// The baseline's counts over the bins that PSI is taken over: groups or categories, then missing, then other.
    pub fn psi_bins(&self) -> &[u64] {
        &self.psi_bins
    }

    /// The counts of `histogram` over the bins that PSI is taken over, in the order of [`Self::psi_bins`].
    ///
    /// # Errors
    /// [`ScoreError::ShapeMismatch`] if the histogram is over other bins.
    pub fn fold(&self, histogram: &Histogram) -> Result<Vec<u64>, ScoreError> {
        self.check_shape(histogram)?;
        Ok(fold(&self.bins, histogram))
    }

    /// Whether its bins have an order.
    pub fn is_numeric(&self) -> bool {
        matches!(self.bins, Bins::Numeric { .. })
    }

    /// Every statistic of `current` against the baseline.
    ///
    /// # Errors
    /// [`ScoreError`] if the histogram is over other bins or a side has no observations at all.
    pub fn score(&self, current: &Histogram) -> Result<Scores, ScoreError> {
        self.check_shape(current)?;
        let (baseline, folded) = (&*self.psi_bins, fold(&self.bins, current));
        let (n_baseline, n_samples) = (self.baseline.total(), current.total());
        let Divergences { psi, js, n_kept: n_psi_bins } = self.divergence.score(&folded)?;
        let n_numbers = |histogram: &Histogram| histogram.bins().iter().sum();
        let (ks, ks_p) = self.ks(current).unzip();
        let chi_square = matches!(self.bins, Bins::Categorical { .. });
        Ok(Scores {
            n_samples,
            n_baseline,
            psi,
            psi_null: null_expectation(n_psi_bins, n_baseline, n_samples),
            n_psi_bins,
            ks,
            ks_null: ks_null_expectation(n_numbers(&self.baseline), n_numbers(current)),
            ks_p,
            js,
            wasserstein: self.wasserstein(current),
            hellinger: hellinger(baseline, &folded)?,
            total_variation: total_variation(baseline, &folded)?,
            chi_square_p: chi_square.then(|| chi_square_p(baseline, &folded)).transpose()?,
        })
    }

    fn check_shape(&self, histogram: &Histogram) -> Result<(), ScoreError> {
        let (baseline, current) = (self.baseline.n_bins(), histogram.n_bins());
        if baseline == current { Ok(()) } else { Err(ScoreError::ShapeMismatch { baseline, current }) }
    }

    /// `None` for categories, and where a side has no numbers: missing values are a matter for PSI.
    fn ks(&self, current: &Histogram) -> Option<(KsStatistic, PValue)> {
        let Bins::Numeric { .. } = self.bins else { return None };
        let statistic = ks(self.baseline.bins(), current.bins()).ok()?;
        let n_numbers = |histogram: &Histogram| histogram.bins().iter().sum();
        Some((statistic, ks_p_value(statistic, n_numbers(&self.baseline), n_numbers(current))))
    }

    fn wasserstein(&self, current: &Histogram) -> Option<Wasserstein> {
        let Bins::Numeric { edges, min, max, std, .. } = &self.bins else { return None };
        if !(min.is_finite() && max.is_finite() && std.is_finite() && *std > 0.0) {
            return None;
        }
        let distance = wasserstein(edges, (*min, *max), *std, self.baseline.bins(), current.bins()).ok()?;
        distance.0.is_finite().then_some(distance)
    }
}

/// Groups or categories, then missing, then other.
fn fold(bins: &Bins, histogram: &Histogram) -> Vec<u64> {
    match bins {
        Bins::Numeric { groups, .. } => {
            let mut folded = groups.fold(histogram.bins());
            folded.extend([histogram.missing(), histogram.other()]);
            folded
        }
        Bins::Categorical { .. } => histogram.as_slice().to_vec(),
    }
}

#[cfg(test)]
mod tests;
