//! Counting a column of `f64` into bins, every kernel beside a plain sum of the same column and beside the definition
//! (`slice::partition_point` a value). Columns are 8 MiB, larger than a second-level cache.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use driftd::drift::binning::edges_from_weighted;
use driftd::drift::{BinEdges, Histogram, Recorder, kernels};

const N_VALUES: usize = 1 << 20;

fn main_benches(criterion: &mut Criterion) {
    for (name, column) in columns() {
        let mut group = criterion.benchmark_group(format!("record/{name}"));
        group.throughput(Throughput::Elements(column.len() as u64));
        group.bench_function("sum", |b| b.iter(|| sum(black_box(&column))));
        for n_bins in [10, 64, 128] {
            let edges = quantile_edges(&column, n_bins);
            for &kernel in kernels::available() {
                let recorder = Recorder::with_kernel(&edges, kernel);
                let mut histogram = Histogram::new(edges.n_bins());
                let id = BenchmarkId::new(format!("{kernel:?}"), n_bins);
                group.bench_function(id, |b| b.iter(|| recorder.record(black_box(&column), &mut histogram)));
            }
        }
        group.finish();
    }
}

/// Batches as they come from one exchange, and categories.
fn small_benches(criterion: &mut Criterion) {
    let (_, column) = columns().swap_remove(1);
    let mut group = criterion.benchmark_group("record/batch");
    for n_values in [1, 8, 32, 128, 256, 512] {
        group.throughput(Throughput::Elements(n_values as u64));
        for n_bins in [10, 128] {
            let edges = quantile_edges(&column, n_bins);
            let recorder = Recorder::new(&edges);
            let mut histogram = Histogram::new(edges.n_bins());
            let values = &column[..n_values];
            let id = BenchmarkId::new(format!("{n_bins} bins"), n_values);
            group.bench_function(id, |b| b.iter(|| recorder.record(black_box(values), &mut histogram)));
        }
    }
    group.finish();
    let mut group = criterion.benchmark_group("record/codes");
    group.throughput(Throughput::Elements(N_VALUES as u64));
    let mut random = fastrand::Rng::with_seed(5);
    for (name, codes) in [
        ("random", (0..N_VALUES).map(|_| random.u32(0..20)).collect::<Vec<_>>()),
        ("constant", vec![3; N_VALUES]),
    ] {
        let mut histogram = Histogram::new(20);
        group.bench_function(name, |b| b.iter(|| kernels::record_codes(black_box(&codes), &mut histogram)));
    }
    group.finish();
}

fn columns() -> Vec<(&'static str, Vec<f64>)> {
    let mut random = fastrand::Rng::with_seed(7);
    let normal = |random: &mut fastrand::Rng| {
        (-2.0 * (1.0 - random.f64()).ln()).sqrt() * (std::f64::consts::TAU * random.f64()).cos()
    };
    let mut column = |draw: &dyn Fn(&mut fastrand::Rng) -> f64| -> Vec<f64> {
        (0..N_VALUES).map(|_| draw(&mut random)).collect()
    };
    vec![
        ("uniform", column(&|random| random.f64() * 100.0)),
        ("normal", column(&normal)),
        ("log-normal", column(&|random| (2.0 * normal(random)).exp())),
        ("heavy-tailed", column(&|random| (std::f64::consts::PI * (random.f64() - 0.5)).tan())),
        ("half zero", column(&|random| if random.bool() { 0.0 } else { random.f64().powi(3) * 1e4 })),
        ("constant", vec![3.5; N_VALUES]),
        ("integers", column(&|random| f64::from(random.u32(0..100)))),
    ]
}

fn quantile_edges(column: &[f64], n_bins: usize) -> BinEdges {
    let mut sorted: Vec<f64> = column.iter().copied().step_by(16).collect();
    sorted.sort_by(f64::total_cmp);
    let weighted: Vec<(f64, u64)> = sorted.into_iter().map(|value| (value, 1)).collect();
    edges_from_weighted(&weighted, n_bins)
}

/// A sum that is not held up by its own order: what reading the column costs.
fn sum(column: &[f64]) -> f64 {
    let (chunks, _) = column.as_chunks::<16>();
    let mut lanes = [0.0; 16];
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane += value;
        }
    }
    lanes.iter().sum()
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(600));
    targets = main_benches, small_benches
}
criterion_main!(benches);
