use super::*;
use crate::drift::score::{jensen_shannon, psi};

/// Edges 1, 2, 3 and groups of two bins.
fn numeric(min: f64, max: f64, std: f64) -> Bins {
    Bins::Numeric {
        edges: BinEdges::new([1.0, 2.0, 3.0]).unwrap(),
        groups: Groups::new([0, 2], 4).unwrap(),
        min,
        max,
        std,
    }
}

fn reference(bins: &[u64], missing: u64) -> Reference {
    Reference::new(numeric(0.0, 4.0, 1.0), Histogram::from_parts(bins, missing, 0)).unwrap()
}

#[test]
fn numbers_have_every_score_but_chi_square() {
    let reference = reference(&[10, 20, 30, 40], 0);
    let current = Histogram::from_parts(&[40, 30, 20, 10], 0, 0);
    let scores = reference.score(&current).unwrap();
    assert_eq!((scores.n_samples, scores.n_baseline, scores.n_psi_bins), (100, 100, 2));
    assert!((scores.psi.0 - psi(&[30, 70], &[70, 30]).unwrap().0).abs() < 1e-13);
    assert!((scores.js.0 - jensen_shannon(&[30, 70], &[70, 30]).unwrap().0).abs() < 1e-12);
    assert!((scores.psi_null - 0.02).abs() < 1e-12);
    assert!((scores.ks.unwrap().0 - 0.4).abs() < 1e-12);
    assert_eq!(scores.ks_p, Some(ks_p_value(scores.ks.unwrap(), 100, 100)));
    assert!((scores.total_variation.0 - 0.4).abs() < 1e-12);
    assert!((scores.wasserstein.unwrap().0 - 1.0).abs() < 1e-12);
    assert_eq!(scores.chi_square_p, None);
}

#[test]
fn a_feature_that_becomes_null_drifts() {
    let reference = reference(&[25, 25, 25, 25], 0);
    let scores = reference.score(&Histogram::from_parts(&[25, 25, 25, 25], 900, 0)).unwrap();
    assert!(scores.psi.0 > 4.0, "psi is {}", scores.psi.0);
    assert_eq!(scores.ks, Some(KsStatistic(0.0)), "the numbers themselves have not moved");
    let scores = reference.score(&Histogram::from_parts(&[0; 4], 900, 0)).unwrap();
    assert!(scores.psi.0 > 10.0, "psi is {}", scores.psi.0);
    assert_eq!((scores.ks, scores.ks_p, scores.wasserstein), (None, None, None));
}

#[test]
fn categories_have_no_order() {
    let bins = Bins::Categorical { n_categories: 2 };
    let reference = Reference::new(bins, Histogram::from_parts(&[50, 50], 0, 0)).unwrap();
    let scores = reference.score(&Histogram::from_parts(&[50, 30], 0, 20)).unwrap();
    assert_eq!((scores.ks, scores.wasserstein, scores.n_psi_bins), (None, None, 3));
    assert_eq!(scores.chi_square_p, Some(chi_square_p(&[50, 50, 0], &[50, 30, 20]).unwrap()));
    assert!((scores.total_variation.0 - 0.2).abs() < 1e-12);
}

#[test]
fn a_baseline_without_spread_has_no_wasserstein() {
    for (min, max, std) in
        [(2.0, 2.0, 0.0), (f64::NAN, f64::NAN, f64::NAN), (f64::MIN, f64::MAX, f64::INFINITY)]
    {
        let reference =
            Reference::new(numeric(min, max, std), Histogram::from_parts(&[0, 0, 9, 0], 0, 0)).unwrap();
        let scores = reference.score(&Histogram::from_parts(&[0, 9, 0, 0], 0, 0)).unwrap();
        assert_eq!((scores.wasserstein, scores.ks), (None, Some(KsStatistic(1.0))));
    }
}

#[test]
fn nothing_is_an_error() {
    let empty = Histogram::new(4);
    assert_eq!(reference(&[1, 0, 0, 0], 0).score(&empty), Err(ScoreError::Empty { side: "current window" }));
    assert_eq!(
        reference(&[0; 4], 0).score(&Histogram::from_parts(&[1, 0, 0, 0], 0, 0)),
        Err(ScoreError::Empty { side: "baseline" })
    );
    let other_bins = Histogram::new(3);
    assert_eq!(
        reference(&[1, 0, 0, 0], 0).score(&other_bins),
        Err(ScoreError::ShapeMismatch { baseline: 4, current: 3 })
    );
}

#[test]
fn one_row_has_scores() {
    let scores = reference(&[10, 20, 30, 40], 5).score(&Histogram::from_parts(&[0, 0, 1, 0], 0, 0)).unwrap();
    assert!(scores.psi.0.is_finite() && scores.psi_null > 1.0, "{scores:?}");
}

#[test]
fn counts_and_groups_must_be_over_the_bins() {
    let error = Reference::new(Bins::Categorical { n_categories: 3 }, Histogram::new(2)).unwrap_err();
    assert_eq!(error, ReferenceError::CountMismatch { n_bins: 3, n_counts: 2 });
    let bins = Bins::Numeric {
        edges: BinEdges::new([1.0]).unwrap(),
        groups: Groups::one_per_bin(3),
        min: 0.0,
        max: 2.0,
        std: 1.0,
    };
    assert_eq!(
        Reference::new(bins, Histogram::new(2)).unwrap_err(),
        ReferenceError::GroupPastEnd { at: 2, n_bins: 2 }
    );
}

#[test]
fn psi_bins_are_groups_then_missing_then_other() {
    let reference = reference(&[1, 2, 3, 4], 5);
    assert_eq!(reference.psi_bins(), [3, 7, 5, 0]);
    assert_eq!(reference.fold(&Histogram::from_parts(&[1, 0, 1, 1], 2, 7)).unwrap(), [1, 2, 2, 7]);
    assert_eq!(reference.bins().n_psi_bins(), 4);
}
