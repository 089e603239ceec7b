use super::*;
use crate::drift::evidence::{Level, psi_p_value};
use crate::drift::score::{PValue, Reference};
use crate::drift::{BinEdges, Bins, Groups, Histogram};

/// Ten bins that are ten groups, with counts as given.
fn reference(counts: &[u64; 10]) -> Reference {
    let bins = Bins::Numeric {
        edges: BinEdges::new((1..10).map(f64::from).collect::<Vec<_>>()).unwrap(),
        groups: Groups::one_per_bin(10),
        min: 0.0,
        max: 10.0,
        std: 3.0,
    };
    Reference::new(bins, Histogram::from_parts(counts, 0, 0)).unwrap()
}

/// Scores of a window whose mass is tilted: `first` rows in the first bin, `rest` in each other.
fn scores(first: u64, rest: u64) -> Scores {
    let counts: [u64; 10] = std::array::from_fn(|bin| if bin == 0 { first } else { rest });
    reference(&[1_000; 10]).score(&Histogram::from_parts(&counts, 0, 0)).unwrap()
}

#[track_caller]
fn check(scores: &Scores, before: FeatureVerdict, expected: FeatureVerdict) {
    let evidence = Evidence::of(scores, Level::shared_by(100, 3));
    let actual = FeatureVerdict::judge(scores, evidence, &Thresholds::default(), before);
    assert_eq!(actual, expected, "{evidence:?} {scores:?}");
}

#[test]
fn drift_needs_effect_and_evidence() {
    check(&scores(100, 100), FeatureVerdict::Ok, FeatureVerdict::Ok);
    check(&scores(2_000, 400), FeatureVerdict::Ok, FeatureVerdict::Drift); // both
    check(&scores(10, 2), FeatureVerdict::Ok, FeatureVerdict::Ok); // the same shares in 28 rows: no evidence
    let slight = scores(107_000, 100_000);
    let certain = Evidence { psi: true, ks: true };
    let verdict = FeatureVerdict::judge(&slight, certain, &Thresholds::default(), FeatureVerdict::Ok);
    assert_eq!(verdict, FeatureVerdict::Ok, "no effect that matters");
}

#[test]
fn half_an_effect_warns() {
    let half = scores(180, 100); // ks 0.065
    assert!(half.ks.unwrap().0 < 0.1 && half.ks.unwrap().0 > 0.05);
    check(&half, FeatureVerdict::Ok, FeatureVerdict::Ok); // 1,080 rows: no evidence at this level
    check(&scores(18_000, 10_000), FeatureVerdict::Ok, FeatureVerdict::Warning);
}

#[test]
fn a_verdict_holds_until_the_effect_has_clearly_gone() {
    let near = scores(20_000, 9_500); // ks 0.090, 0.081 above noise: below the threshold, above 0.8 of it
    assert!((0.08..0.1).contains(&near.ks.unwrap().0), "{:?}", near.ks);
    check(&near, FeatureVerdict::Ok, FeatureVerdict::Warning);
    check(&near, FeatureVerdict::Drift, FeatureVerdict::Drift);
    let far = scores(15_800, 10_000); // ks 0.049, 0.040 above noise: below half, above 0.8 of half
    assert!((0.04..0.05).contains(&far.ks.unwrap().0), "{:?}", far.ks);
    check(&far, FeatureVerdict::Ok, FeatureVerdict::Ok);
    check(&far, FeatureVerdict::Warning, FeatureVerdict::Warning);
    check(&far, FeatureVerdict::Drift, FeatureVerdict::Warning);
}

#[test]
fn a_window_without_rows_is_not_judged() {
    let filling = WindowState::Filling { n_seen: 3, n_needed: 500 };
    assert_eq!(FeatureVerdict::without_scores(filling), Some(FeatureVerdict::Filling));
    assert_eq!(FeatureVerdict::without_scores(WindowState::Stale), Some(FeatureVerdict::Stale));
    assert_eq!(FeatureVerdict::without_scores(WindowState::Ready), None);
    assert!(!FeatureVerdict::Stale.is_scored() && FeatureVerdict::Ok.is_scored());
}

#[test]
fn the_threshold_in_force_rises_with_the_noise() {
    let thresholds = Thresholds::default();
    let (few, many) = (scores(50, 50), scores(50_000, 50_000));
    let Psi(of_few) = thresholds.psi_in_force(few.psi_null);
    let Psi(of_many) = thresholds.psi_in_force(many.psi_null);
    assert!((of_few - (0.2 + 9.0 * (1.0 / 10_000.0 + 1.0 / 500.0))).abs() < 1e-12);
    assert!(of_many < of_few);
}

/// Without drift the p-values of PSI must not be smaller than they claim, for even bins, rare bins and sparse categories;
/// the seed is fixed, so this is a check of the formula and not of luck.
#[test]
fn psi_evidence_is_rare_without_drift() {
    let mut random = fastrand::Rng::with_seed(11);
    let zipf: Vec<f64> = (1..=50).map(|rank| 1.0 / f64::from(rank)).collect();
    let mut rare = vec![0.1; 10];
    rare.push(0.001);
    for (weights, n_baseline, n_current) in
        [(vec![1.0; 10], 2_000, 500), (rare, 2_000, 500), (zipf, 2_000, 500), (vec![0.99, 0.01], 500, 500)]
    {
        let n_trials = 2_000;
        let mut n_below = [0; 2];
        for _ in 0..n_trials {
            let baseline = draw(&mut random, &weights, n_baseline);
            let current = draw(&mut random, &weights, n_current);
            let bins = Bins::Categorical { n_categories: weights.len() };
            let scores = Reference::new(bins, baseline).unwrap().score(&current).unwrap();
            let PValue(p) = psi_p_value(&scores);
            n_below[0] += u32::from(p <= 0.05);
            n_below[1] += u32::from(p <= 0.005);
        }
        // 100 and 10 are expected; four standard deviations above.
        assert!(n_below[0] <= 140 && n_below[1] <= 23, "{n_below:?} of {n_trials} for {weights:?}");
    }
}

fn draw(random: &mut fastrand::Rng, weights: &[f64], n: usize) -> Histogram {
    let total: f64 = weights.iter().sum();
    let mut histogram = Histogram::new(weights.len());
    for _ in 0..n {
        let mut left = random.f64() * total;
        let bin = weights.iter().position(|weight| {
            left -= weight;
            left < 0.0
        });
        histogram.as_mut_slice()[bin.unwrap_or(0)] += 1;
    }
    histogram
}
