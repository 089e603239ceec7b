//! One tick of a model of 1,000 features and three windows: counts in, verdicts out, and the scores for `/metrics` beside.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use driftd::drift::binning::{edges_from_weighted, groups_from_counts};
use driftd::drift::monitor::{Look, Monitor, Settings};
use driftd::drift::scan::Against;
use driftd::drift::verdict::Thresholds;
use driftd::drift::{Bins, Histogram, Recorder, Reference, Timestamp};

const N_FEATURES: usize = 1_000;
/// Of traffic before the measurement: every length of stretch that the longest window allows has come up.
const N_LOOKS: u64 = 10_000;
const INTERVAL_MILLIS: u64 = 10_000;
const ROWS_PER_LOOK: usize = 200;
/// Looks at a feature before they repeat: together many more rows than the baseline has, or that would be a change.
const N_DIFFERENT_LOOKS: usize = 1_000;

fn values(random: &mut fastrand::Rng, n: usize) -> Vec<f64> {
    (0..n).map(|_| (0..12).map(|_| random.f64() - 0.5).sum()).collect()
}

/// A normal feature, and the counts of some looks at rows like it.
fn feature(random: &mut fastrand::Rng) -> (Reference, Vec<Histogram>) {
    let mut baseline = values(random, 20_000);
    baseline.sort_by(f64::total_cmp);
    let weighted: Vec<_> = baseline.iter().map(|&value| (value, 1)).collect();
    let edges = edges_from_weighted(&weighted, 128);
    let recorder = Recorder::new(&edges);
    let count = |values: &[f64]| {
        let mut counts = Histogram::new(edges.n_bins());
        recorder.record(values, &mut counts);
        counts
    };
    let counts = count(&baseline);
    let groups = groups_from_counts(counts.bins(), 10);
    let (min, max) = (baseline[0], baseline[baseline.len() - 1]);
    let looks = (0..N_DIFFERENT_LOOKS).map(|_| count(&values(random, ROWS_PER_LOOK))).collect();
    let bins = Bins::Numeric { edges: edges.clone(), groups, min, max, std: 1.0 };
    (Reference::new(bins, counts).expect("counted over these bins"), looks)
}

fn verdict_benches(criterion: &mut Criterion) {
    let mut random = fastrand::Rng::with_seed(3);
    let few: Vec<_> = (0..20).map(|_| feature(&mut random)).collect();
    let references: Vec<_> = (0..N_FEATURES).map(|at| few[at % few.len()].0.clone()).collect();
    let settings = Settings {
        windows: vec![Duration::from_mins(5), Duration::from_hours(1), Duration::from_hours(24)],
        interval: Duration::from_millis(INTERVAL_MILLIS),
        alarms_per_look: 1e-6,
        thresholds: vec![Thresholds::default(); N_FEATURES],
        rows_depend: true,
        against: Against::Baseline,
        min_features: 1,
    };
    let mut monitor = Monitor::new(&references, N_FEATURES, settings);
    let mut n_looks = 0;
    let mut counts: Vec<_> =
        references.iter().map(|reference| Histogram::new(reference.bins().n_bins())).collect();
    // What a look costs, without what it takes to make up its counts.
    let mut tick = |monitor: &mut Monitor| {
        n_looks += 1;
        let now = Timestamp::from_millis(n_looks * INTERVAL_MILLIS);
        for (at, counts) in counts.iter_mut().enumerate() {
            let look = usize::try_from(n_looks).unwrap_or(0) + 37 * (at / few.len());
            counts.as_mut_slice().copy_from_slice(few[at % few.len()].1[look % N_DIFFERENT_LOOKS].as_slice());
        }
        let started = Instant::now();
        let _counted = monitor.add(now, &counts);
        monitor.look(now, &references, Look { all_inputs_watched: true, ..Look::default() });
        started.elapsed()
    };
    for _ in 0..N_LOOKS {
        tick(&mut monitor);
    }
    let mut group = criterion.benchmark_group("verdict");
    group.bench_function("1,000 features × 3 windows", |bench| {
        bench.iter_custom(|n| (0..n).map(|_| tick(&mut monitor)).sum());
    });
    let windows: Vec<_> = (0..3).map(|window| monitor.counts(window).to_vec()).collect();
    group.bench_function("their scores", |bench| {
        bench.iter(|| {
            for window in &windows {
                for (reference, counts) in references.iter().zip(window) {
                    black_box(reference.score(counts).ok());
                }
            }
        });
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().measurement_time(Duration::from_secs(5));
    targets = verdict_benches
}
criterion_main!(benches);
