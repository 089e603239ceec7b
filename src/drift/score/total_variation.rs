//! Total variation distance.

use super::{ScoreError, shares};

/// Total variation distance: the share of observations that would have to move to another bin, 0..=1.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct TotalVariation(pub f64);

/// Total variation distance of two histograms over the same bins, `½ Σ |p_i − q_i|`, without smoothing.
///
/// # Errors
/// [`ScoreError`] if the lengths differ or a side is empty.
pub fn total_variation(baseline: &[u64], current: &[u64]) -> Result<TotalVariation, ScoreError> {
    let sum: f64 = shares(baseline, current)?.map(|(p, q)| (p - q).abs()).sum();
    Ok(TotalVariation((0.5 * sum).min(1.0)))
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::super::hellinger;
    use super::*;

    #[test]
    fn known_distances() {
        assert_eq!(total_variation(&[3, 1], &[300, 100]), Ok(TotalVariation(0.0)));
        assert_eq!(total_variation(&[8, 0], &[0, 3]), Ok(TotalVariation(1.0)));
        assert_eq!(total_variation(&[1, 1], &[3, 1]), Ok(TotalVariation(0.25)));
        assert_eq!(total_variation(&[1], &[0]), Err(ScoreError::Empty { side: "current window" }));
    }

    proptest! {
        /// Le Cam's inequalities, `H² ≤ TV ≤ H √(2 − H²)`, hold for every pair of histograms.
        #[test]
        fn total_variation_lies_between_its_hellinger_bounds(
            pairs in vec((0u64..1_000, 0u64..1_000_000), 1..40),
        ) {
            let (baseline, current): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
            prop_assume!(baseline.iter().any(|&b| b > 0) && current.iter().any(|&c| c > 0));
            let TotalVariation(tv) = total_variation(&baseline, &current).unwrap();
            let h = hellinger(&baseline, &current).unwrap().0;
            prop_assert!(h * h <= tv + 1e-12 && tv <= h * (2.0 - h * h).sqrt() + 1e-12);
        }
    }
}
