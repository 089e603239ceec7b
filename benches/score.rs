//! Scoring 100 features of ten PSI groups (and missing and other) and 128 fine bins: the definitions beside the kernels.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use driftd::drift::binning::groups_from_counts;
use driftd::drift::kernels::{self, Divergence};
use driftd::drift::score::{Bins, Reference, jensen_shannon, ks, psi};
use driftd::drift::{BinEdges, Histogram};

const N_FEATURES: usize = 100;
const N_BINS: usize = 128;

/// Of a baseline of 50,000 rows and a window of 5,000 that has moved a little.
fn features() -> Vec<(Reference, Histogram)> {
    let mut random = fastrand::Rng::with_seed(11);
    let edges = BinEdges::new((1..N_BINS).map(|edge| edge as f64).collect::<Vec<_>>()).unwrap();
    let mut draw = |n_rows: u64, power: f64| {
        let mut histogram = Histogram::new(N_BINS);
        for _ in 0..n_rows {
            let value = random.f64().powf(power) * N_BINS as f64;
            histogram.as_mut_slice()[edges.bin_of(value).unwrap()] += 1;
        }
        histogram.as_mut_slice()[Histogram::missing_code(N_BINS)] = n_rows / 100;
        histogram
    };
    let mut feature = |_| {
        let (baseline, current) = (draw(50_000, 1.0), draw(5_000, 1.1));
        let groups = groups_from_counts(baseline.bins(), 10);
        let bins = Bins::Numeric { edges: edges.clone(), groups, min: 0.0, max: N_BINS as f64, std: 37.0 };
        (Reference::new(bins, baseline).unwrap(), current)
    };
    (0..N_FEATURES).map(&mut feature).collect()
}

/// A feature's counts on both sides.
type Pairs = Vec<(Vec<u64>, Vec<u64>)>;

fn score_benches(criterion: &mut Criterion) {
    let features = features();
    let ten: Pairs = features
        .iter()
        .map(|(reference, current)| {
            let folded = reference.fold(current).unwrap();
            (reference.psi_bins()[..10].to_vec(), folded[..10].to_vec())
        })
        .collect();
    let grouped: Pairs = features
        .iter()
        .map(|(reference, current)| (reference.psi_bins().to_vec(), reference.fold(current).unwrap()))
        .collect();
    let fine: Pairs = features
        .iter()
        .map(|(reference, current)| (reference.baseline().bins().to_vec(), current.bins().to_vec()))
        .collect();

    // The goal: three statistics over the same ten bins, and over ten groups with missing and other.
    three(criterion, "score/psi+ks+js of 10 bins", &ten, &ten);
    three(criterion, "score/psi+ks+js of 12 bins", &grouped, &grouped);
    // What a feature has: PSI and JS over twelve, KS over 128.
    three(criterion, "score/psi+js of 12, ks of 128 bins", &grouped, &fine);

    let mut group = criterion.benchmark_group("score/reference");
    group.throughput(Throughput::Elements(N_FEATURES as u64));
    group.bench_function("score, all statistics", |b| {
        b.iter(|| {
            for (reference, current) in black_box(&features) {
                black_box(reference.score(current).unwrap());
            }
        });
    });
    group.finish();
}

/// PSI and JS of `grouped` and KS of `fine`; throughput in bins of both (which is one, where they are the same).
fn three(criterion: &mut Criterion, name: &str, grouped: &Pairs, fine: &Pairs) {
    let n_grouped: usize = grouped.iter().map(|(baseline, _)| baseline.len()).sum();
    let n_fine: usize = fine.iter().map(|(baseline, _)| baseline.len()).sum();
    let n_bins = if std::ptr::eq(grouped, fine) { n_grouped } else { n_grouped + n_fine };
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Elements(n_bins as u64));
    group.bench_function("definitions", |b| {
        b.iter(|| {
            for ((baseline, current), (fine_baseline, fine_current)) in black_box(grouped).iter().zip(fine) {
                black_box((
                    psi(baseline, current).unwrap(),
                    jensen_shannon(baseline, current).unwrap(),
                    ks(fine_baseline, fine_current).unwrap(),
                ));
            }
        });
    });
    for &kernel in kernels::available() {
        let prepared: Vec<_> =
            grouped.iter().map(|(baseline, _)| Divergence::with_kernel(baseline, kernel)).collect();
        group.bench_function(BenchmarkId::new("kernel", format!("{kernel:?}")), |b| {
            b.iter(|| {
                for ((divergence, (_, current)), (fine_baseline, fine_current)) in
                    black_box(&prepared).iter().zip(grouped).zip(fine)
                {
                    black_box((divergence.score(current).unwrap(), ks(fine_baseline, fine_current).unwrap()));
                }
            });
        });
    }
    group.bench_function("ks alone", |b| {
        b.iter(|| {
            for (fine_baseline, fine_current) in black_box(fine) {
                black_box(ks(fine_baseline, fine_current).unwrap());
            }
        });
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(600));
    targets = score_benches
}
criterion_main!(benches);
