//! Jensen–Shannon distance.

use super::{ScoreError, shares};

/// Jensen–Shannon distance to base 2: the square root of the divergence, 0 for equal shares, 1 for disjoint ones.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct JensenShannon(pub f64);

/// Jensen–Shannon distance of two histograms over the same bins, without smoothing.
///
/// `√(½ Σ p_i log₂(p_i / m_i) + ½ Σ q_i log₂(q_i / m_i))` with `m_i = (p_i + q_i) / 2`. To base 2 the distance ends at 1;
/// with natural logarithms, as some tools have it, the same distance is smaller by the factor `√(ln 2)` = 0.8326.
/// * Source: Lin (1991), IEEE Trans. Inf. Theory 37(1), 145–151; Endres & Schindelin (2003) for the root being a metric.
///
/// # Errors
/// [`ScoreError`] if the lengths differ or a side is empty.
pub fn jensen_shannon(baseline: &[u64], current: &[u64]) -> Result<JensenShannon, ScoreError> {
    let divergence: f64 = shares(baseline, current)?
        .map(|(p, q)| {
            let mid = 0.5 * (p + q);
            0.5 * (toward(p, mid) + toward(q, mid))
        })
        .sum();
    Ok(JensenShannon::from_divergence(divergence))
}

impl JensenShannon {
    /// The distance of a divergence in bits, which rounding may have put a hair outside of 0..=1.
    pub(in crate::drift) fn from_divergence(bits: f64) -> Self {
        Self(bits.clamp(0.0, 1.0).sqrt())
    }
}

/// `share · log₂(share / mid)`, with its limit 0 for an empty bin.
fn toward(share: f64, mid: f64) -> f64 {
    if share == 0.0 { 0.0 } else { share * (share / mid).log2() }
}

/// About what the distance is expected to be when nothing has drifted, given what PSI is: without drift both are χ² to the first order,
/// and PSI is eight times the divergence.
pub fn js_null_expectation(psi_null: f64) -> f64 {
    (psi_null / (8.0 * std::f64::consts::LN_2)).sqrt()
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    #[track_caller]
    fn check(baseline: &[u64], current: &[u64], expected: f64) {
        let JensenShannon(actual) = jensen_shannon(baseline, current).unwrap();
        assert!((actual - expected).abs() < 1e-12, "distance is {actual}, expected {expected}");
    }

    #[test]
    fn known_distances() {
        check(&[3, 1], &[300, 100], 0.0);
        check(&[8, 0], &[0, 3], 1.0);
        // p = (1, 0), q = (½, ½): the divergence is ½ log₂(4/3) + ¼ log₂(2/3) + ¼
        check(&[4, 0], &[4, 4], 0.311_278_124_459_132_84_f64.sqrt());
    }

    proptest! {
        #[test]
        fn the_distance_is_a_bounded_metric(
            triples in vec((0u64..100_000, 0u64..100_000, 0u64..100_000), 1..30),
        ) {
            let (a, rest): (Vec<_>, Vec<_>) = triples.into_iter().map(|(a, b, c)| (a, (b, c))).unzip();
            let (b, c): (Vec<_>, Vec<_>) = rest.into_iter().unzip();
            prop_assume!([&a, &b, &c].iter().all(|side| side.iter().any(|&n| n > 0)));
            let distance = |x: &[u64], y: &[u64]| jensen_shannon(x, y).unwrap().0;
            prop_assert!((0.0..=1.0).contains(&distance(&a, &b)));
            prop_assert!((distance(&a, &b) - distance(&b, &a)).abs() < 1e-7);
            prop_assert!(distance(&a, &c) <= distance(&a, &b) + distance(&b, &c) + 1e-7);
            prop_assert_eq!(jensen_shannon(&a, &a), Ok(JensenShannon(0.0)));
        }
    }
}
