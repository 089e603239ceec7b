//! From the bytes of a JSON request to counts in bins, beside reading the same numbers into a `Vec<f64>` and no more:
//! `cargo bench --bench decode`. All formats in one table: `cargo bench --bench formats`.

use std::fmt::Write;
use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use driftd::baseline::{ColumnKind, ColumnSpec, Role, Schema};
use driftd::decode::{Batch, Body, Column, Format, decode_request};
use driftd::drift::{BinEdges, Histogram, Recorder};
use serde::Deserialize;

const N_FEATURES: usize = 16;
const N_FINE_EDGES: usize = 127;

/// Whatever wraps the numbers, read as a library's user would.
#[derive(Deserialize)]
struct Rows {
    instances: Vec<Vec<f64>>,
}

#[derive(Deserialize)]
struct Tensors {
    inputs: Vec<Tensor>,
}

#[derive(Deserialize)]
struct Tensor {
    data: Vec<f64>,
}

struct Case {
    name: &'static str,
    format: Format,
    bytes: Vec<u8>,
    n_values: usize,
}

/// Rows of full-precision numbers, as Python writes them.
fn numbers(n_bytes: usize) -> Vec<[f64; N_FEATURES]> {
    let mut rng = fastrand::Rng::with_seed(64);
    let (mut rows, mut len) = (Vec::new(), 0);
    while len < n_bytes {
        let row = [(); N_FEATURES].map(|()| (rng.f64() - 0.5) * 1000.0);
        len += row.iter().map(|number| number.to_string().len() + 1).sum::<usize>();
        rows.push(row);
    }
    rows
}

fn joined(row: &[f64]) -> String {
    row.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

fn v1(name: &'static str, n_bytes: usize) -> Case {
    let rows = numbers(n_bytes);
    let lists: Vec<_> = rows.iter().map(|row| format!("[{}]", joined(row))).collect();
    let text = format!("{{\"instances\":[{}]}}", lists.join(","));
    Case { name, format: Format::V1, bytes: text.into(), n_values: rows.len() * N_FEATURES }
}

fn v2(name: &'static str, n_bytes: usize) -> Case {
    let rows = numbers(n_bytes);
    let mut text = format!(
        r#"{{"inputs":[{{"name":"input-0","shape":[{},{N_FEATURES}],"datatype":"FP64","data":["#,
        rows.len()
    );
    write!(text, "{}]}}]}}", joined(&rows.concat())).unwrap();
    Case { name, format: Format::V2, bytes: text.into(), n_values: rows.len() * N_FEATURES }
}

fn schema() -> Schema {
    Schema::new((0..N_FEATURES).map(|at| ColumnSpec {
        name: format!("x{at}").into(),
        role: Role::Feature,
        kind: ColumnKind::Number,
    }))
}

fn decode(criterion: &mut Criterion) {
    let schema = schema();
    let edges: Vec<f64> =
        (1..=N_FINE_EDGES).map(|at| at as f64 * 1000.0 / (N_FINE_EDGES + 1) as f64 - 500.0).collect();
    let edges = BinEdges::new(edges).unwrap();
    let recorder = Recorder::new(&edges);
    for body in [v1("v1_1KiB", 1 << 10), v1("v1_64KiB", 64 << 10), v2("v2_1MiB", 1 << 20)] {
        let mut group = criterion.benchmark_group(body.name);
        group.throughput(Throughput::Elements(body.n_values as u64));
        group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
        let bytes = &*body.bytes;
        let mut batch = Batch::new(&schema);
        let mut histograms = vec![Histogram::new(edges.n_bins()); N_FEATURES];
        group.bench_function("driftd, decode and record", |bencher| {
            bencher.iter(|| {
                batch.clear();
                decode_request(body.format, &Body::new(black_box(bytes)), &schema, &mut batch).unwrap();
                for (column, histogram) in batch.columns.iter().zip(&mut histograms) {
                    if let Column::Numbers { values, .. } = column {
                        recorder.record(values, histogram);
                    }
                }
            });
        });
        group.bench_function("driftd, decode", |bencher| {
            bencher.iter(|| {
                batch.clear();
                decode_request(body.format, &Body::new(black_box(bytes)), &schema, &mut batch).unwrap();
            });
        });
        // The numbers alone, in one flat list: what no real body is, and the least that a library can be asked for.
        let flat = format!("[{}]", joined(&numbers(bytes.len() - 64).concat()));
        group.bench_function("sonic-rs, the numbers alone into Vec<f64>", |bencher| {
            bencher.iter(|| sonic_rs::from_slice::<Vec<f64>>(black_box(flat.as_bytes())).unwrap());
        });
        group.bench_function("serde_json, the numbers alone into Vec<f64>", |bencher| {
            bencher.iter(|| serde_json::from_slice::<Vec<f64>>(black_box(flat.as_bytes())).unwrap());
        });
        if body.format == Format::V1 {
            group.bench_function("sonic-rs, the body", |bencher| {
                bencher.iter(|| sonic_rs::from_slice::<Rows>(black_box(bytes)).unwrap().instances);
            });
            group.bench_function("serde_json, the body", |bencher| {
                bencher.iter(|| serde_json::from_slice::<Rows>(black_box(bytes)).unwrap().instances);
            });
        } else {
            group.bench_function("sonic-rs, the body", |bencher| {
                bencher.iter(|| {
                    sonic_rs::from_slice::<Tensors>(black_box(bytes)).unwrap().inputs.remove(0).data
                });
            });
            group.bench_function("serde_json, the body", |bencher| {
                bencher.iter(|| {
                    serde_json::from_slice::<Tensors>(black_box(bytes)).unwrap().inputs.remove(0).data
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, decode);
criterion_main!(benches);
