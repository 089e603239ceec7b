//! Chi-square test of homogeneity, for categories.

use std::iter::zip;

use statrs::function::gamma::gamma_ur;

use super::{PValue, ScoreError, totals};

/// Pearson's chi-square test that both histograms come from one distribution: a 2 × `n_bins` contingency table, bins
/// empty on both sides left out.
///
/// The expected counts use both sides, so an unseen category has a finite term; there is no continuity correction
/// (SciPy's `chi2_contingency` applies one to 2 × 2 tables only). A single occupied bin leaves nothing to test: 1.
/// * Source: Pearson (1900), Philos. Mag. 50, 157–175.
///
/// # Errors
/// [`ScoreError`] if the lengths differ or a side is empty.
pub fn chi_square_p(baseline: &[u64], current: &[u64]) -> Result<PValue, ScoreError> {
    let (n_baseline, n_current) = totals(baseline, current)?;
    // For two rows the sum over both of (observed − expected)² / expected is, with N and M the totals,
    // Σ (M b − N c)² / (N M (b + c)).
    let sum: f64 = zip(baseline, current)
        .filter(|&(b, c)| b | c != 0)
        .map(|(&b, &c)| {
            let (b, c) = (b as f64, c as f64);
            (n_current * b - n_baseline * c).powi(2) / (b + c)
        })
        .sum();
    let n_kept = super::n_kept(baseline, current);
    Ok(upper_tail(sum / (n_baseline * n_current), n_kept - 1))
}

/// The probability that χ² with `freedom` degrees of freedom is above `statistic`; 1 without any freedom.
pub(in crate::drift) fn upper_tail(statistic: f64, freedom: usize) -> PValue {
    if freedom == 0 || statistic <= 0.0 {
        return PValue(1.0);
    }
    PValue(gamma_ur(freedom as f64 / 2.0, statistic / 2.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_tail(statistic: f64, freedom: usize, expected: f64) {
        let PValue(actual) = upper_tail(statistic, freedom);
        assert!((actual / expected - 1.0).abs() < 1e-9, "tail is {actual:e}, expected {expected:e}");
    }

    #[test]
    fn tails_of_known_quantiles() {
        check_tail(9.0, 2, (-4.5f64).exp());
        check_tail(500.0, 2, (-250f64).exp());
        check_tail(16.918_977_604_620_448, 9, 0.05);
        check_tail(3.841_458_820_694_124, 1, 0.05);
        assert_eq!(upper_tail(0.0, 3), PValue(1.0));
        assert_eq!(upper_tail(1e6, 3), PValue(0.0));
    }

    #[test]
    fn empty_bins_add_no_freedom() {
        let dense = chi_square_p(&[30, 50, 20], &[20, 50, 30]).unwrap();
        assert_eq!(chi_square_p(&[30, 0, 50, 20, 0], &[20, 0, 50, 30, 0]), Ok(dense));
        assert_eq!(dense, upper_tail(4.0, 2)); // (10² + 10²) · (1/50 · 1) by hand: 2 + 0 + 2
    }

    #[test]
    fn one_category_leaves_nothing_to_test() {
        assert_eq!(chi_square_p(&[30, 0], &[20, 0]), Ok(PValue(1.0)));
        assert_eq!(chi_square_p(&[0, 0], &[20, 0]), Err(ScoreError::Empty { side: "baseline" }));
    }
}
