//! Hellinger distance.

use super::{ScoreError, shares};

/// Hellinger distance: 0 for equal shares, 1 for disjoint ones.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Hellinger(pub f64);

/// Hellinger distance of two histograms over the same bins, without smoothing.
///
/// `√(½ Σ (√p_i − √q_i)²)`, which equals `√(1 − Σ √(p_i q_i))` and keeps its digits where the shares are nearly equal.
/// * Source: Hellinger (1909), J. reine angew. Math. 136, 210–271.
///
/// # Errors
/// [`ScoreError`] if the lengths differ or a side is empty.
pub fn hellinger(baseline: &[u64], current: &[u64]) -> Result<Hellinger, ScoreError> {
    let sum: f64 = shares(baseline, current)?.map(|(p, q)| (p.sqrt() - q.sqrt()).powi(2)).sum();
    Ok(Hellinger((0.5 * sum).sqrt().min(1.0)))
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    #[test]
    fn known_distances() {
        assert_eq!(hellinger(&[3, 1], &[300, 100]), Ok(Hellinger(0.0)));
        assert_eq!(hellinger(&[8, 0], &[0, 3]), Ok(Hellinger(1.0)));
        let Hellinger(actual) = hellinger(&[4, 0], &[4, 4]).unwrap();
        assert!((actual - (1.0 - 0.5f64.sqrt()).sqrt()).abs() < 1e-12, "distance is {actual}");
        assert_eq!(hellinger(&[0], &[1]), Err(ScoreError::Empty { side: "baseline" }));
    }

    proptest! {
        /// Against the other form of the definition, by way of the Bhattacharyya coefficient.
        #[test]
        fn both_forms_agree(pairs in vec((0u64..1_000_000, 0u64..1_000_000), 1..40)) {
            let (baseline, current): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
            let (n, m): (u64, u64) = (baseline.iter().sum(), current.iter().sum());
            prop_assume!(n > 0 && m > 0);
            let affinity: f64 = baseline
                .iter()
                .zip(&current)
                .map(|(&b, &c)| (b as f64 / n as f64 * (c as f64 / m as f64)).sqrt())
                .sum();
            let Hellinger(distance) = hellinger(&baseline, &current).unwrap();
            prop_assert!((distance * distance - (1.0 - affinity)).abs() < 1e-12);
        }
    }
}
