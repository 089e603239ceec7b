use proptest::{collection::vec, prelude::*};

use super::*;
use crate::drift::kernels::available;

/// What vectors may be off by, in PSI and in the square of the distance.
const ERROR: f64 = 1e-13;

fn differ(baseline: &[u64], current: &[u64]) -> Option<String> {
    let (Psi(psi), JensenShannon(js)) =
        (psi(baseline, current).unwrap(), jensen_shannon(baseline, current).unwrap());
    for &kernel in available() {
        let actual = Divergence::with_kernel(baseline, kernel).score(current).unwrap();
        let psi_error = (actual.psi.0 - psi).abs() / psi.max(1.0);
        let js_error = (actual.js.0.powi(2) - js.powi(2)).abs();
        if psi_error > ERROR || js_error > ERROR || actual.n_kept != n_kept(baseline, current) {
            return Some(format!("{kernel:?}: {actual:?}, not {psi} and {js}"));
        }
    }
    None
}

#[track_caller]
fn check(baseline: &[u64], current: &[u64]) {
    if let Some(difference) = differ(baseline, current) {
        panic!("{difference}");
    }
}

#[test]
fn known_histograms_score_as_the_definitions_do() {
    check(&[90, 10], &[50, 50]);
    check(&[2, 0], &[0, 2]);
    check(&[0, 90, 0, 10, 0], &[0, 50, 1, 50, 0]);
    check(&[1], &[u64::from(u32::MAX)]);
    check(&[1 << 50, 1, 0], &[0, 1, 1 << 50]);
    check(&[5; 200], &[7; 200]);
}

#[test]
fn equal_counts_score_nothing_at_all() {
    for &kernel in available() {
        for counts in [&[7, 0, 3, 900, 1][..], &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]] {
            let divergences = Divergence::with_kernel(counts, kernel).score(counts).unwrap();
            assert_eq!((divergences.psi, divergences.js), (Psi(0.0), JensenShannon(0.0)), "{kernel:?}");
        }
    }
}

#[test]
fn sides_that_cannot_be_compared_have_no_score() {
    for &kernel in available() {
        let score =
            |baseline: &[u64], current: &[u64]| Divergence::with_kernel(baseline, kernel).score(current);
        assert_eq!(score(&[0, 0], &[1, 0]), Err(ScoreError::Empty { side: "baseline" }));
        assert_eq!(score(&[1, 0], &[0, 0]), Err(ScoreError::Empty { side: "current window" }));
        assert_eq!(score(&[1], &[1, 1]), Err(ScoreError::ShapeMismatch { baseline: 1, current: 2 }));
    }
}

/// Counts of every size, and many zeros.
fn count() -> impl Strategy<Value = u64> {
    prop_oneof![3 => 0u64..20, 2 => 0u64..1_000_000, 1 => Just(0), 1 => (0u32..50).prop_map(|bit| 1 << bit)]
}

proptest! {
    #[test]
    fn kernels_score_as_the_definitions_do(pairs in vec((count(), count()), 1..90)) {
        let (baseline, current): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
        prop_assume!(baseline.iter().any(|&b| b > 0) && current.iter().any(|&c| c > 0));
        let difference = differ(&baseline, &current);
        prop_assert!(difference.is_none(), "{}", difference.unwrap());
    }
}
