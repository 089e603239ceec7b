//! Wasserstein distance, in standard deviations of the baseline.

use std::iter::zip;

use super::{ScoreError, totals};
use crate::drift::BinEdges;

/// Wasserstein distance of order 1 divided by the baseline's standard deviation: a plain shift by half a standard
/// deviation is 0.5.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Wasserstein(pub f64);

/// The area between the two cumulative distributions, in units of `std`.
///
/// The values of a bin are taken to be spread evenly over it; the outer bins end at `min` and `max` of the baseline.
/// * Shapes: both `[edges.n_bins()]`, observations per bin, numbers only; `std` above 0.
/// * Error: spreading moves the mass of a bin of width `w_i` by `w_i / 2` at most on average, so the result is within
///   `½ Σ w_i (p_i + q_i) / std` of the distance of the values behind the counts, once values outside of `min..max` are
///   counted as if at its ends: how far beyond they lie is not in the counts, so a shift out of range is understated.
/// * Source: Vallender (1974), Theory Probab. Appl. 18(4), 784–786, for the area form.
///
/// # Errors
/// [`ScoreError`] if the lengths differ or a side is empty.
pub fn wasserstein(
    edges: &BinEdges,
    (min, max): (f64, f64),
    std: f64,
    baseline: &[u64],
    current: &[u64],
) -> Result<Wasserstein, ScoreError> {
    let (n_baseline, n_current) = totals(baseline, current)?;
    let edges = edges.as_slice();
    // An end inside the edges, as with the guard bins of a discrete feature, leaves its outer bin no width.
    let first = edges.first().map_or(min, |&edge| edge.min(min));
    let last = edges.last().map_or(max, |&edge| edge.max(max));
    let lefts = [first].into_iter().chain(edges.iter().copied());
    let rights = edges.iter().copied().chain([last]);
    let (mut below_baseline, mut below_current, mut gap, mut area) = (0u64, 0u64, 0.0f64, 0.0);
    for ((left, right), (b, c)) in zip(zip(lefts, rights), zip(baseline, current)) {
        below_baseline += b;
        below_current += c;
        let next = below_baseline as f64 / n_baseline - below_current as f64 / n_current;
        area += (right - left) / std * mean_size(gap, next);
        gap = next;
    }
    Ok(Wasserstein(area))
}

/// The mean of `|x|` as `x` goes evenly from `from` to `to`.
fn mean_size(from: f64, to: f64) -> f64 {
    let sum = from.abs() + to.abs();
    if from * to >= 0.0 { 0.5 * sum } else { 0.5 * (from * from + to * to) / sum }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn edges(edges: &[f64]) -> BinEdges {
        BinEdges::new(edges).unwrap()
    }

    #[track_caller]
    fn check(edge_list: &[f64], range: (f64, f64), baseline: &[u64], current: &[u64], expected: f64) {
        let Wasserstein(actual) = wasserstein(&edges(edge_list), range, 2.0, baseline, current).unwrap();
        assert!((actual - expected).abs() < 1e-12, "distance is {actual}, expected {expected}");
    }

    #[test]
    fn known_distances() {
        check(&[1.0, 2.0], (0.0, 3.0), &[3, 3, 3], &[1, 1, 1], 0.0);
        // all of [0, 1) to [1, 2): one unit, half a standard deviation
        check(&[1.0, 2.0], (0.0, 3.0), &[9, 0, 0], &[0, 4, 0], 0.5);
        check(&[1.0, 2.0], (0.0, 3.0), &[9, 0, 0], &[0, 0, 4], 1.0);
        // the gap goes from +½ to −½ across the middle bin and so is ¼ wide there on average
        check(&[1.0, 2.0], (0.0, 3.0), &[1, 0, 1], &[0, 2, 0], (0.25 + 0.25 + 0.25) / 2.0);
    }

    #[test]
    fn bins_outside_of_the_baseline_have_no_width() {
        // a constant 5 with its guard bins: nothing is known of how far below or above the others are
        check(&[5.0, 5.0f64.next_up()], (5.0, 5.0), &[0, 7, 0], &[7, 0, 0], 0.0);
        check(&[], (0.0, 1.0), &[3], &[5], 0.0);
    }

    #[test]
    fn nothing_has_no_distance() {
        let result = wasserstein(&edges(&[1.0]), (0.0, 2.0), 1.0, &[1, 1], &[0, 0]);
        assert_eq!(result, Err(ScoreError::Empty { side: "current window" }));
    }

    /// `∫ |F − G|` of the values themselves, piece by piece between neighbouring values.
    fn exact(baseline: &[f64], current: &[f64]) -> f64 {
        let mut points: Vec<f64> = baseline.iter().chain(current).copied().collect();
        points.sort_by(f64::total_cmp);
        let share = |side: &[f64], at: f64| {
            side.iter().filter(|&&value| value <= at).count() as f64 / side.len() as f64
        };
        let piece =
            |pair: &[f64]| (share(baseline, pair[0]) - share(current, pair[0])).abs() * (pair[1] - pair[0]);
        points.windows(2).map(piece).sum()
    }

    proptest! {
        #[test]
        fn the_distance_is_within_its_stated_error(
            baseline in vec(0.0f64..100.0, 1..60),
            current in vec(-50.0f64..150.0, 1..60),
            cuts in prop::collection::btree_set(1i32..100, 0..12),
        ) {
            let edges = edges(&cuts.into_iter().map(f64::from).collect::<Vec<_>>());
            let (min, max) = (0.0, 100.0);
            let count = |values: &[f64]| {
                let mut counts = vec![0u64; edges.n_bins()];
                values.iter().filter_map(|&value| edges.bin_of(value)).for_each(|bin| counts[bin] += 1);
                counts
            };
            let (b, c) = (count(&baseline), count(&current));
            let Wasserstein(binned) = wasserstein(&edges, (min, max), 1.0, &b, &c).unwrap();
            let clamped: Vec<f64> = current.iter().map(|value| value.clamp(min, max)).collect();
            let ends: Vec<f64> =
                [min].into_iter().chain(edges.as_slice().iter().copied()).chain([max]).collect();
            let bound: f64 = (0..b.len())
                .map(|i| {
                    let shares = b[i] as f64 / baseline.len() as f64 + c[i] as f64 / current.len() as f64;
                    0.5 * (ends[i + 1] - ends[i]) * shares
                })
                .sum();
            let exact = exact(&baseline, &clamped);
            prop_assert!((binned - exact).abs() <= bound + 1e-9, "{binned}, exact {exact}, bound {bound}");
        }
    }
}
