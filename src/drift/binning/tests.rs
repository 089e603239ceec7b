use proptest::{collection::vec, prelude::*};

use super::*;

#[track_caller]
fn check_edges(values: &[(f64, u64)], max_bins: usize, expected: &[f64]) {
    assert_eq!(edges_from_weighted(values, max_bins).as_slice(), expected);
}

fn evenly(values: impl IntoIterator<Item = f64>) -> Vec<(f64, u64)> {
    values.into_iter().map(|value| (value, 1)).collect()
}

#[test]
fn few_values_have_a_bin_each_and_guards() {
    check_edges(&evenly([0.0, 1.0, 5.0]), 128, &[-5.0, 0.0, 1.0, 5.0, 5.0f64.next_up(), 10.0]);
    check_edges(&[(0.0, 900), (1.0, 100)], 128, &[-1.0, 0.0, 1.0, 1.0f64.next_up(), 2.0]);
    check_edges(&evenly([1.0, 2.0, 3.0]), 7, &[-1.0, 1.0, 2.0, 3.0, 3.0f64.next_up(), 5.0]);
}

#[test]
fn a_constant_is_below_equal_above() {
    check_edges(&[(7.5, 1_000)], 128, &[7.5, 7.5f64.next_up()]);
    check_edges(&[(-0.0, 3), (0.0, 4)], 128, &[0.0, f64::from_bits(1)]);
    check_edges(&[(7.5, 1_000)], 0, &[7.5, 7.5f64.next_up()]);
}

#[test]
fn nothing_has_no_edges() {
    check_edges(&[], 128, &[]);
    check_edges(&[(f64::NEG_INFINITY, 3), (1.0, 0), (f64::INFINITY, 3), (f64::NAN, 3)], 128, &[]);
}

#[test]
fn the_largest_numbers_need_no_edge_above() {
    check_edges(&[(f64::MAX, 5)], 128, &[f64::MAX]);
    check_edges(&[(f64::MIN, 5), (f64::MAX, 5)], 128, &[f64::MIN, f64::MAX]);
}

#[test]
fn a_spread_is_cut_into_equal_bins() {
    let edges = edges_from_weighted(&evenly((0..1_000).map(f64::from)), 14);
    let inner = [100.0, 200.0, 300.0, 400.0, 500.0, 600.0, 700.0, 800.0, 900.0];
    assert_eq!(edges.as_slice()[2..11], inner);
    assert_eq!(edges.as_slice()[..2], [-999.0, 0.0]);
    assert_eq!(edges.as_slice()[11..], [999f64.next_up(), 1_998.0]);
}

#[test]
fn a_spike_has_its_own_bin() {
    let mut values = evenly((0..100).map(f64::from));
    values[50].1 = 40; // of 139, with a share of 13.9
    let edges = edges_from_weighted(&values, 10);
    let at = edges.bin_of(50.0).unwrap();
    assert_eq!(edges.as_slice()[at - 1..=at], [50.0, 50.0f64.next_up()]);
    assert_eq!(edges.n_bins(), 10);
}

#[test]
fn a_spike_at_an_end_has_a_guard_beyond_it() {
    let mut values = evenly((0..100).map(f64::from));
    values[0].1 = 400;
    let edges = edges_from_weighted(&values, 10);
    assert_eq!(edges.as_slice()[1..3], [0.0, f64::from_bits(1)]);
    assert_eq!((edges.bin_of(-1.0), edges.bin_of(-100.0)), (Some(1), Some(0)));
    assert!(edges.n_bins() <= 10);
}

#[track_caller]
fn check_groups(counts: &[u64], max_groups: usize, expected: &[usize]) {
    assert_eq!(groups_from_counts(counts, max_groups).starts(), expected);
}

#[test]
fn groups_have_equal_mass() {
    check_groups(&[5; 20], 10, &[0, 2, 4, 6, 8, 10, 12, 14, 16, 18]);
    check_groups(&[5; 4], 10, &[0, 1, 2, 3]);
    check_groups(&[1, 1, 1, 1, 96, 1, 1, 1, 1], 3, &[0, 4, 5]);
}

#[test]
fn guards_are_groups_of_their_own() {
    check_groups(&[0, 50, 50, 0], 10, &[0, 1, 2, 3]);
    check_groups(&[0, 5, 5, 5, 5, 5, 5, 5, 5, 0], 4, &[0, 1, 3, 5, 7, 9]);
    check_groups(&[0, 0, 5, 0, 5, 0], 10, &[0, 1, 2, 3, 4, 5]);
    check_groups(&[0, 0, 0, 5, 5, 0, 0, 0], 10, &[0, 1, 3, 4, 5, 7]);
    check_groups(&[0, 5, 0], 1, &[0, 1, 2]);
}

#[test]
fn a_feature_without_numbers_is_one_group() {
    check_groups(&[0], 10, &[0]);
    check_groups(&[0, 0, 0], 10, &[0]);
    check_groups(&[8], 10, &[0]);
}

fn weighted() -> impl Strategy<Value = Vec<(f64, u64)>> {
    let value = prop_oneof![
        any::<f64>().prop_filter("finite", |value| value.is_finite()),
        (-50i32..50).prop_map(f64::from),
        (-1.0f64..1.0).prop_map(|exponent| 10f64.powf(exponent * 300.0)),
        prop::sample::select(vec![f64::MAX, f64::MAX.next_down(), f64::MIN, 0.0, -0.0, f64::from_bits(1)]),
    ];
    let weight = prop_oneof![8 => 1u64..20, 1 => 20u64..100_000, 1 => (1u64 << 50)..(1 << 51)];
    vec((value, weight), 0..400).prop_map(|mut values| {
        values.sort_by(|a, b| a.0.total_cmp(&b.0));
        values
    })
}

proptest! {
    #[test]
    fn edges_hold_their_promises(values in weighted(), max_bins in 0usize..140) {
        let edges = edges_from_weighted(&values, max_bins);
        let max_bins = max_bins.max(MIN_BINS);
        prop_assert!(edges.n_bins() <= max_bins, "{} bins", edges.n_bins());
        let (distinct, weights) = distinct(&values);
        let total: u128 = weights.iter().map(|&weight| u128::from(weight)).sum();
        let few = distinct.len() + 4 <= max_bins;
        for (&value, &weight) in distinct.iter().zip(&weights) {
            let bin = edges.bin_of(value).unwrap();
            let alone = distinct.iter().filter(|&&other| edges.bin_of(other) == Some(bin)).count() == 1;
            if few || u128::from(weight) * (max_bins as u128).saturating_sub(4).max(1) >= 2 * total {
                prop_assert!(alone, "{value} weighs {weight} of {total} and shares its bin");
            }
        }
        if let (Some(&first), Some(&last)) = (distinct.first(), distinct.last()) {
            let bins = |value: f64| edges.bin_of(value).unwrap();
            prop_assert_eq!(bins(first.next_down()) + 1, bins(first));
            let range = (first, last);
            let ends = [f64::NEG_INFINITY].iter().chain(edges.as_slice()).chain(&[f64::INFINITY]).copied().collect::<Vec<_>>();
            let far: Vec<_> = ends.windows(2).map(|bin| is_far_out((bin[0], bin[1]), range)).collect();
            let span = last - first;
            if (first - span).is_finite() && first - span < first {
                prop_assert!(far[0] && !far[1], "{ends:?}");
            }
            if (last + span).is_finite() && last + span > last.next_up() {
                prop_assert!(far[far.len() - 1] && !far[far.len() - 2], "{ends:?}");
            }
            if last.next_up().is_finite() {
                prop_assert_eq!(bins(last.next_up()), bins(last) + 1);
            }
        }
    }

    #[test]
    fn parts_are_near_equal(weights in vec(0u64..1_000, 1..300), max_parts in 1usize..40) {
        let starts = partition(&weights, max_parts);
        prop_assert!(starts.len() <= max_parts && starts[0] == 0 && starts.is_sorted_by(|a, b| a < b));
        prop_assume!(weights.len() > max_parts);
        let total: u64 = weights.iter().sum();
        let ends = starts.iter().skip(1).copied().chain([weights.len()]);
        for (start, end) in starts.iter().copied().zip(ends) {
            let sum: u64 = weights[start..end].iter().sum();
            let largest = *weights[start..end].iter().max().unwrap();
            // Where bins go to spikes the rest share fewer, but a cut is never further off than one weight.
            let fair = end - start == 1 || sum <= 2 * total.div_ceil(max_parts as u64) + 2 * largest;
            prop_assert!(fair, "part {start}..{end} weighs {sum} of {total}");
        }
    }

    #[test]
    fn groups_hold_their_promises(
        counts in vec(prop_oneof![Just(0u64), 0u64..50, 1_000u64..2_000], 1..150), max_groups in 3usize..20,
    ) {
        let groups = groups_from_counts(&counts, max_groups);
        prop_assert!(groups.len() <= max_groups + 4);
        let folded = groups.fold(&counts);
        prop_assert_eq!(folded.iter().sum::<u64>(), counts.iter().sum::<u64>());
        let guard_last = counts.len() > 1 && counts[counts.len() - 1] == 0 && folded.len() > 1;
        if guard_last {
            prop_assert_eq!(folded[folded.len() - 1], 0, "values above the range must show");
        }
        if counts[0] == 0 {
            prop_assert_eq!(folded[0], 0, "values below the range must show");
        }
    }
}
