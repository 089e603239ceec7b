//! How far the current window is from the baseline: one statistic a file, and all of them at once for one feature.
//!
//! Every statistic is a function of two count vectors over the same bins. PSI, Jensen–Shannon, Hellinger and total
//! variation are taken over the groups of a numeric feature (the categories of a categorical one) followed by `missing`
//! and `other`; Kolmogorov–Smirnov and Wasserstein over the fine bins of the numbers alone, as only those have an order.

mod chi_square;
mod hellinger;
mod jensen_shannon;
mod ks;
mod psi;
mod reference;
mod total_variation;
mod wasserstein;

#[cfg(test)]
mod golden;

pub use chi_square::chi_square_p;
pub(in crate::drift) use chi_square::upper_tail;
pub use hellinger::{Hellinger, hellinger};
pub use jensen_shannon::{JensenShannon, jensen_shannon, js_null_expectation};
pub use ks::{KsStatistic, ks, ks_null_expectation, ks_p_value};
pub use psi::{PSEUDO_COUNT, Psi, n_kept, null_expectation, psi, psi_of_pairs};
pub use reference::{Bins, Reference, ReferenceError, Scores};
pub use total_variation::{TotalVariation, total_variation};
pub use wasserstein::{Wasserstein, wasserstein};

/// A probability that the observed difference, or a larger one, is sampling noise: small means drift, unlike a distance.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct PValue(pub f64);

/// Why two histograms have no score.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScoreError {
    /// The two sides are not over the same bins.
    #[error("the baseline has {baseline} bins and the current window {current}")]
    ShapeMismatch {
        /// Bins of the baseline.
        baseline: usize,
        /// Bins of the current window.
        current: usize,
    },
    /// A side has no observations: a score of nothing would read as "no drift".
    #[error("the {side} has no observations")]
    Empty {
        /// Which side.
        side: &'static str,
    },
}

/// Both totals, once it is known that the two sides can be compared.
fn totals(baseline: &[u64], current: &[u64]) -> Result<(f64, f64), ScoreError> {
    let (n_baseline, n_current) = (baseline.iter().sum(), current.iter().sum());
    check(baseline, n_baseline, current, n_current)?;
    Ok((n_baseline as f64, n_current as f64))
}

/// Whether two sides with these totals can be compared.
pub(in crate::drift) fn check(
    baseline: &[u64],
    n_baseline: u64,
    current: &[u64],
    n_current: u64,
) -> Result<(), ScoreError> {
    if baseline.len() != current.len() {
        return Err(ScoreError::ShapeMismatch { baseline: baseline.len(), current: current.len() });
    }
    match (n_baseline, n_current) {
        (0, _) => Err(ScoreError::Empty { side: "baseline" }),
        (_, 0) => Err(ScoreError::Empty { side: "current window" }),
        _ => Ok(()),
    }
}

/// The shares of both sides, bin by bin, without smoothing.
fn shares(baseline: &[u64], current: &[u64]) -> Result<impl Iterator<Item = (f64, f64)>, ScoreError> {
    let (n_baseline, n_current) = totals(baseline, current)?;
    Ok(std::iter::zip(baseline, current).map(move |(&b, &c)| (b as f64 / n_baseline, c as f64 / n_current)))
}
