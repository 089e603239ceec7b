//! Population stability index.

use std::iter::zip;

use super::{ScoreError, totals};

/// Population stability index, in nats: 0 for equal shares, without an upper bound.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Psi(pub f64);

/// Observations added to every bin that is not empty on both sides, so that a bin empty on one side gives a finite
/// term. Half a count is the Jeffreys prior; unlike a fixed share such as 0.0001 its weight shrinks as data come in.
pub const PSEUDO_COUNT: f64 = 0.5;

/// Population stability index of two histograms over the same bins.
///
/// `PSI = Σ (q_i − p_i) · ln(q_i / p_i)`, where `p_i = (b_i + ½) / (N + B/2)` and `q_i = (c_i + ½) / (M + B/2)` over the
/// `B` bins that are not empty on both sides.
/// * Shapes: both `[n_bins]`, observations per bin in the same order.
/// * Returns nats, 0 or more, 0 for equal counts, symmetric.
/// * Source: the divergence J of Kullback & Leibler (1951), Ann. Math. Statist. 22(1), 79–86.
///
/// # Errors
/// [`ScoreError`] if the lengths differ or a side is empty.
pub fn psi(baseline: &[u64], current: &[u64]) -> Result<Psi, ScoreError> {
    totals(baseline, current)?;
    Ok(psi_of_pairs(zip(baseline, current).map(|(&b, &c)| (b as f64, c as f64))))
}

/// The same of counts that need not be whole, as Prometheus extrapolates them: baseline and current, bin by bin. Not a
/// number if a side is empty.
pub fn psi_of_pairs(pairs: impl Iterator<Item = (f64, f64)> + Clone) -> Psi {
    let kept = pairs.filter(|&(b, c)| b + c > 0.0);
    let (n_baseline, n_current) =
        kept.clone().fold((0.0, 0.0), |(n, m), (b, c)| (n + b + PSEUDO_COUNT, m + c + PSEUDO_COUNT));
    let term = |(b, c): (f64, f64)| {
        let p = (b + PSEUDO_COUNT) / n_baseline;
        let q = (c + PSEUDO_COUNT) / n_current;
        (q - p) * (q / p).ln()
    };
    Psi(kept.map(term).sum())
}

/// Number of bins that are not empty on both sides: the `B` of [`psi`] and [`null_expectation`].
pub fn n_kept(baseline: &[u64], current: &[u64]) -> usize {
    zip(baseline, current).filter(|&(b, c)| b | c != 0).count()
}

/// What PSI is expected to be when nothing has drifted: `(B − 1)(1/N + 1/M)` for `B` bins and samples of `N` and `M`.
///
/// `PSI / (1/N + 1/M)` is then about χ² with `B − 1` degrees of freedom. Source: Yurdakul (2018), dissertation 3208,
/// Western Michigan University.
pub fn null_expectation(n_bins: usize, n_baseline: u64, n_current: u64) -> f64 {
    n_bins.saturating_sub(1) as f64 * (1.0 / n_baseline as f64 + 1.0 / n_current as f64)
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    #[track_caller]
    fn check(baseline: &[u64], current: &[u64], expected: f64) {
        let Psi(actual) = psi(baseline, current).unwrap();
        assert!((actual - expected).abs() < 1e-12, "psi is {actual}, expected {expected}");
    }

    #[test]
    fn psi_of_known_histograms() {
        check(&[5, 5], &[5, 5], 0.0);
        check(&[7], &[900], 0.0);
        check(&[90, 10], &[50, 50], 0.853_059_244_967_288_2);
        // (1.5/3 − 0.5/3) · ln 3, twice: totals of 2 + 2·½ = 3
        check(&[2, 0], &[0, 2], 4.0 / 3.0 * 5f64.ln());
    }

    #[test]
    fn bins_empty_on_both_sides_do_not_dilute() {
        assert_eq!(psi(&[90, 10], &[50, 50]), psi(&[0, 90, 0, 10, 0], &[0, 50, 0, 50, 0]));
        assert_eq!(n_kept(&[0, 90, 0, 10, 0], &[0, 50, 1, 50, 0]), 3);
    }

    #[test]
    fn nothing_is_not_no_drift() {
        assert_eq!(psi(&[0, 0], &[1, 0]), Err(ScoreError::Empty { side: "baseline" }));
        assert_eq!(psi(&[1, 0], &[0, 0]), Err(ScoreError::Empty { side: "current window" }));
        assert_eq!(psi(&[1], &[1, 1]), Err(ScoreError::ShapeMismatch { baseline: 1, current: 2 }));
    }

    #[test]
    fn null_expectation_is_that_of_the_paper() {
        // B = 10, M = 400, a baseline without error: 9 / 400
        assert!((null_expectation(10, u64::MAX, 400) - 0.0225).abs() < 1e-12);
        assert!((null_expectation(3, 100, 50) - 0.06).abs() < 1e-12);
        assert!(null_expectation(1, 100, 50).abs() < f64::EPSILON);
    }

    proptest! {
        #[test]
        fn psi_is_symmetric_finite_and_not_negative(
            pairs in vec((0u64..1_000_000, 0u64..1_000_000), 1..40),
        ) {
            let (baseline, current): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
            prop_assume!(baseline.iter().any(|&b| b > 0) && current.iter().any(|&c| c > 0));
            let Psi(there) = psi(&baseline, &current).unwrap();
            let Psi(back) = psi(&current, &baseline).unwrap();
            prop_assert!(there.is_finite() && there >= 0.0);
            prop_assert!((there - back).abs() <= 1e-12 * there.max(1.0));
            prop_assert_eq!(psi(&baseline, &baseline).unwrap(), Psi(0.0));
        }
    }
}
