//! Values computed elsewhere, on data without chance in them: a reference of 5,000 logistic quantiles `x`, and current
//! windows of 2,000: A = 0.3 + 1.1 x, B = x (no drift), C = 4 + x. Numbers are those of SciPy 1.17.1 and of other
//! monitoring tools; each test says whose convention its number follows.

use super::*;
use crate::drift::{BinEdges, Histogram};

fn logistic(n: usize, shift: f64, scale: f64) -> Vec<f64> {
    (0..n)
        .map(|i| {
            let u = (i as f64 + 0.5) / n as f64;
            shift + scale * (u / (1.0 - u)).ln()
        })
        .collect()
}

fn reference() -> Vec<f64> {
    logistic(5_000, 0.0, 1.0)
}

fn set_a() -> Vec<f64> {
    logistic(2_000, 0.3, 1.1)
}

fn set_b() -> Vec<f64> {
    logistic(2_000, 0.0, 1.0)
}

fn set_c() -> Vec<f64> {
    logistic(2_000, 4.0, 1.0)
}

fn count(edges: &BinEdges, values: &[f64]) -> Histogram {
    let mut histogram = Histogram::new(edges.n_bins());
    for &value in values {
        histogram.as_mut_slice()[edges.bin_of(value).unwrap_or(edges.n_bins())] += 1;
    }
    histogram
}

/// Edges that give every value of both sides a bin of its own, without width.
fn one_bin_a_value(reference: &[f64], current: &[f64]) -> BinEdges {
    let mut edges: Vec<f64> =
        reference.iter().chain(current).flat_map(|&value| [value, value.next_up()]).collect();
    edges.sort_by(f64::total_cmp);
    edges.dedup();
    BinEdges::new(edges).unwrap()
}

#[track_caller]
fn check(actual: f64, expected: f64, relative: f64) {
    assert!((actual - expected).abs() <= relative * expected.abs(), "{actual:e}, expected {expected:e}");
}

#[track_caller]
fn check_ks(current: &[f64], expected: f64) -> PValue {
    let edges = one_bin_a_value(&reference(), current);
    let statistic = ks(count(&edges, &reference()).bins(), count(&edges, current).bins()).unwrap();
    check(statistic.0, expected, 1e-9);
    ks_p_value(statistic, 5_000, 2_000)
}

/// `scipy.stats.ks_2samp(method="asymp")`: statistic and p-value.
#[test]
fn ks_is_scipys_when_every_value_has_its_bin() {
    check(check_ks(&set_a(), 0.0786).0, 3.987_46e-8, 5e-5);
    check(check_ks(&set_b(), 0.0003).0, 1.0, 1e-12);
    assert!(check_ks(&set_c(), 0.7619).0 < 1e-300);
}

/// `scipy.stats.wasserstein_distance`, and the same over the reference's standard deviation (Evidently's norm).
#[test]
fn wasserstein_is_scipys_when_every_value_has_its_bin() {
    let reference = reference();
    let std = (reference.iter().map(|x| x * x).sum::<f64>() / 5_000.0).sqrt(); // the mean is 0
    for (current, raw, normed) in
        [(set_a(), 0.309_635, 0.170_788), (set_b(), 0.002_553_6, 0.001_408_5), (set_c(), 4.0, 2.206_31)]
    {
        let edges = one_bin_a_value(&reference, &current);
        let (b, c) = (count(&edges, &reference), count(&edges, &current));
        let range = (edges.as_slice()[0], edges.as_slice()[edges.n_bins() - 2]);
        check(wasserstein(&edges, range, 1.0, b.bins(), c.bins()).unwrap().0, raw, 4e-5);
        check(wasserstein(&edges, range, std, b.bins(), c.bins()).unwrap().0, normed, 4e-5);
    }
}

/// The `n - 1` inner quantiles of sorted values that cut them into `n` (type 7 of Hyndman & Fan).
fn quantiles(sorted: &[f64], n: usize) -> BinEdges {
    let cut = |i: usize| {
        let at = (sorted.len() - 1) * i;
        let (below, part) = (at / n, (at % n) as f64 / n as f64);
        sorted[below] + part * (sorted[below + 1] - sorted[below])
    };
    BinEdges::new((1..n).map(cut).collect::<Vec<_>>()).unwrap()
}

/// Scouter's convention: deciles of the reference, and 1e-10 added to every share of both sides.
fn psi_of_scouter(baseline: &[u64], current: &[u64]) -> f64 {
    shares(baseline, current)
        .unwrap()
        .map(|(p, q)| (p + 1e-10, q + 1e-10))
        .map(|(p, q)| (q - p) * (q / p).ln())
        .sum()
}

/// Ours differs from scouter's by its smoothing alone, so it is close where no bin is nearly empty.
#[test]
fn psi_over_deciles_next_to_scouters() {
    let edges = quantiles(&reference(), 10);
    let baseline = count(&edges, &reference());
    for (current, scouters, ours_within) in [(set_a(), 0.036_972_1, 6e-3), (set_c(), 3.765_21, 0.06)] {
        let current = count(&edges, &current);
        check(psi_of_scouter(baseline.bins(), current.bins()), scouters, 2e-6);
        check(psi(baseline.bins(), current.bins()).unwrap().0, scouters, ours_within);
    }
    let same = count(&edges, &set_b());
    assert!(psi_of_scouter(baseline.bins(), same.bins()).abs() < 1e-12);
    assert!(psi(baseline.bins(), same.bins()).unwrap().0 < 1e-6);
}

/// The convention of `NannyML` for numbers: fourteen bins of equal width (Doane) over the reference, everything outside of it
/// in one more. Its Jensen–Shannon distance is to base 2 and its shares are not smoothed, like ours.
#[test]
fn jensen_shannon_and_hellinger_over_the_bins_of_nannyml() {
    let reference = reference();
    let (min, max) = (reference[0], reference[4_999]);
    let inner = |i: i32| min + (max - min) * f64::from(i) / 14.0;
    let mut edges: Vec<f64> = (0..14).map(inner).collect();
    edges.push(max.next_up());
    let edges = BinEdges::new(edges).unwrap();
    let counts = |values: &[f64]| {
        let histogram = count(&edges, values);
        let mut counts = histogram.bins()[1..15].to_vec();
        counts.push(histogram.bins()[0] + histogram.bins()[15]);
        counts
    };
    let baseline = counts(&reference);
    for (current, js, h) in [
        (set_a(), 0.083_488, Some(0.070_170_2)),
        (set_b(), 0.004_278_17, None),
        (set_c(), 0.740_6, Some(0.660_26)),
    ] {
        let current = counts(&current);
        check(jensen_shannon(&baseline, &current).unwrap().0, js, 2e-5);
        if let Some(h) = h {
            check(hellinger(&baseline, &current).unwrap().0, h, 2e-5);
        }
    }
}

/// Categories a, b, c, and an unseen d in the current window, which is our `other`.
#[test]
fn categories_with_an_unseen_one() {
    let bins = Bins::Categorical { n_categories: 3 };
    let reference = Reference::new(bins, Histogram::from_parts(&[6_000, 3_000, 1_000], 0, 0)).unwrap();
    let scores = reference.score(&Histogram::from_parts(&[1_000, 600, 300], 0, 100)).unwrap();
    check(scores.total_variation.0, 0.1, 1e-12); // MLRun, NannyML's L-infinity
    check(scores.js.0, 0.178_646, 5e-6); // distance to base 2: NannyML
    check(scores.js.0 * std::f64::consts::LN_2.sqrt(), 0.148_733, 5e-6); // natural logarithm: Evidently
    check(scores.js.0 * scores.js.0, 0.031_914_6, 5e-6); // divergence: TensorFlow Data Validation
    check(scores.chi_square_p.unwrap().0, 1.41e-122, 5e-3); // scipy.stats.chi2_contingency
    assert_eq!((scores.n_psi_bins, scores.n_samples), (4, 2_000));
    // Scouter has no bin for d but counts it in the total: 0.0385 where a bin of its own gives about 0.5.
    let seen: f64 =
        [(0.6, 0.5), (0.3, 0.3), (0.1, 0.15f64)].iter().map(|(p, q)| (q - p) * (q / p).ln()).sum();
    check(seen, 0.038_505, 5e-5);
    check(scores.psi.0, seen + 0.05 * (0.05 / 0.000_05f64).ln(), 0.01);
}
