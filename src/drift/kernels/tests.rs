use proptest::{collection::vec, prelude::*};

use super::*;

fn naive(edges: &BinEdges, values: &[f64]) -> Histogram {
    let mut histogram = Histogram::new(edges.n_bins());
    scalar::record(edges, values, histogram.as_mut_slice());
    histogram
}

/// Every way to count over these edges, whether or not it would be chosen for them.
fn recorders(edges: &BinEdges) -> Vec<Recorder> {
    let mut recorders = Vec::new();
    for &kernel in available() {
        recorders.push(Recorder::with_kernel(edges, kernel));
        let n_bins = edges.n_bins();
        if kernel == Kernel::Scalar {
            continue;
        }
        if edges.as_slice().len() < 32 {
            let plan = Plan::Compare(compare::thresholds(edges));
            recorders.push(Recorder { n_bins, kernel, plan });
        }
        for grid in Grid::every_map(edges) {
            recorders.push(Recorder { n_bins, kernel, plan: Plan::Grid(Box::new(grid)) });
        }
        recorders.push(Recorder { n_bins, kernel, plan: Plan::Search(Search::new(edges)) });
    }
    recorders
}

#[track_caller]
fn check(edges: &[f64], values: &[f64], expected: &[u64], missing: u64) {
    let edges = BinEdges::new(edges).unwrap();
    // Long enough for the tables, and once as it is.
    for n_times in [1, 100] {
        let values = values.repeat(n_times);
        for recorder in recorders(&edges) {
            let mut histogram = Histogram::new(edges.n_bins());
            recorder.record(&values, &mut histogram);
            let expected: Vec<u64> = expected.iter().map(|&count| count * n_times as u64).collect();
            assert_eq!(histogram.bins(), expected, "{recorder:?}");
            assert_eq!(histogram.missing(), missing * n_times as u64, "{recorder:?}");
            assert_eq!(histogram.other(), 0);
        }
    }
}

#[test]
fn a_value_on_an_edge_belongs_above_it() {
    check(&[1.0, 2.0, 3.0], &[0.5, 1.0, 1.5, 2.0, 3.0, 3.5], &[1, 2, 1, 2], 0);
}

#[test]
fn no_edges_are_one_bin() {
    check(&[], &[f64::NEG_INFINITY, 0.0, f64::INFINITY, f64::NAN], &[3], 1);
}

#[test]
fn nan_is_missing_and_infinities_lie_in_the_outer_bins() {
    check(&[-1.0, 1.0], &[f64::NAN, f64::NEG_INFINITY, f64::INFINITY, -f64::NAN], &[1, 0, 1], 2);
    check(&[f64::MIN, f64::MAX], &[f64::NEG_INFINITY, f64::MIN, 0.0, f64::MAX, f64::INFINITY], &[1, 2, 2], 0);
}

#[test]
fn negative_zero_is_zero() {
    check(&[-0.0, 1.0], &[0.0, -0.0, -f64::from_bits(1)], &[1, 2, 0], 0);
    check(&[0.0, 1.0], &[0.0, -0.0, -f64::from_bits(1)], &[1, 2, 0], 0);
}

#[test]
fn denormal_edges_tell_neighbours_apart() {
    let tiny = |bits| f64::from_bits(bits);
    check(&[tiny(1), tiny(2), tiny(3)], &[0.0, tiny(1), tiny(2), tiny(3), 1.0], &[1, 1, 1, 2], 0);
    check(&[1.0, 1.0f64.next_up()], &[1.0f64.next_down(), 1.0, 1.0f64.next_up()], &[1, 1, 1], 0);
}

#[test]
fn the_chosen_plans_cover_the_shapes_of_real_features() {
    let chosen = |edges: &[f64]| Recorder::with_kernel(&BinEdges::new(edges).unwrap(), Kernel::Portable).plan;
    let spread = |f: fn(f64) -> f64| (1..128).map(|i| f(f64::from(i) / 128.0)).collect::<Vec<_>>();
    let steps = |plan: Plan| match plan {
        Plan::Grid(grid) => grid.n_steps(),
        plan => panic!("no grid but {plan:?}"),
    };
    assert!(matches!(chosen(&[1.0, 2.0]), Plan::Compare(_)));
    assert_eq!(steps(chosen(&spread(|u| u))), 1);
    assert!(steps(chosen(&spread(|u| (u / (1.0 - u)).ln()))) <= 2);
    assert!(steps(chosen(&spread(|u| (3.0 * (u / (1.0 - u)).ln()).exp()))) <= 2);
    assert!(steps(chosen(&spread(|u| 1.0 / (1.0 - u).powi(3)))) <= 2);
    assert!(steps(chosen(&spread(|u| (std::f64::consts::PI * (u - 0.5)).tan() + 1e6))) <= 2);
    // Two clusters whose own width is lost in their distance, on both sides of everything that could be a centre.
    let clusters: Vec<f64> =
        (0..100).flat_map(|i| [1.0, 2.0, 3.0, 5.0].map(|at| at + f64::from(i) * 1e-13)).collect();
    let mut clusters = clusters;
    clusters.sort_by(f64::total_cmp);
    clusters.truncate(250);
    assert!(matches!(chosen(&clusters), Plan::Search(_)));
}

#[test]
fn more_bins_than_a_byte_are_searched() {
    let edges: Vec<f64> = (0..1_000).map(f64::from).collect();
    let edges = BinEdges::new(edges).unwrap();
    let values: Vec<f64> = (-5..1_005).map(|i| f64::from(i) + 0.5).chain([f64::NAN]).collect();
    for &kernel in available() {
        let mut histogram = Histogram::new(edges.n_bins());
        Recorder::with_kernel(&edges, kernel).record(&values, &mut histogram);
        assert_eq!(histogram, naive(&edges, &values), "{kernel:?}");
    }
}

#[test]
#[should_panic(expected = "histogram over other bins")]
fn counting_into_other_bins_is_refused() {
    Recorder::new(&BinEdges::new([1.0]).unwrap()).record(&[], &mut Histogram::new(3));
}

#[test]
fn codes_past_the_last_are_other() {
    for n_times in [1, 200] {
        for n_bins in [0, 2, 253, 254, 255, 1_000] {
            let mut histogram = Histogram::new(n_bins);
            let last = u32::try_from(n_bins + 1).unwrap();
            let codes = [last - 1, last, last + 1, u32::MAX, 255, 256].repeat(n_times);
            record_codes(&codes, &mut histogram);
            let mut expected = vec![0; n_bins + 2];
            for &code in &codes {
                expected[(code as usize).min(n_bins + 1)] += 1;
            }
            assert_eq!(histogram.as_slice(), expected, "{n_bins} bins");
        }
    }
}

/// Numbers of every kind: of one scale, of all scales, and next to each other.
fn number() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => -10.0f64..10.0,
        2 => (-20i32..20).prop_map(f64::from),
        2 => any::<f64>(),
        1 => any::<u64>().prop_map(f64::from_bits),
        1 => (0u64..40).prop_map(f64::from_bits),
        1 => (0i64..40).prop_map(|ulps| f64::from_bits(1.5f64.to_bits() + ulps.unsigned_abs())),
        1 => prop::sample::select(vec![
            f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX, f64::MIN, 0.0, -0.0, f64::MIN_POSITIVE,
        ]),
    ]
}

fn edges() -> impl Strategy<Value = BinEdges> {
    prop_oneof![vec(number(), 0..12), vec(number(), 12..160), vec(-3.0f64..3.0, 1..200)].prop_map(
        |mut edges| {
            edges.retain(|edge| edge.is_finite());
            edges.sort_by(f64::total_cmp);
            edges.dedup_by(|a, b| a <= b);
            BinEdges::new(edges).unwrap()
        },
    )
}

proptest! {
    /// For all edges and values, each kernel counts what the definition counts, by every plan.
    #[test]
    fn kernels_match_the_definition(
        edges in edges(), values in vec(number(), 0..700), near in vec((any::<prop::sample::Index>(), -2i32..3), 0..40),
    ) {
        let mut values = values;
        for (at, ulps) in near {
            if let Some(&edge) = edges.as_slice().get(at.index(edges.n_bins())) {
                let step = if ulps < 0 { f64::next_down } else { f64::next_up };
                values.push((0..ulps.abs()).fold(edge, |value, _| step(value)));
            }
        }
        let expected = naive(&edges, &values);
        for recorder in recorders(&edges) {
            let mut histogram = Histogram::new(edges.n_bins());
            recorder.record(&values, &mut histogram);
            prop_assert_eq!(&histogram, &expected, "{:?}", recorder.kernel);
        }
    }

    #[test]
    fn codes_are_counted_whatever_they_are(codes in vec(0u32..300, 0..600), n_bins in 0usize..280) {
        let mut histogram = Histogram::new(n_bins);
        record_codes(&codes, &mut histogram);
        let mut expected = Histogram::new(n_bins);
        for &code in &codes {
            expected.as_mut_slice()[(code as usize).min(n_bins + 1)] += 1;
        }
        prop_assert_eq!(histogram, expected);
    }
}
