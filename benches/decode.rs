//! From the bytes of a request to counts in bins, beside reading the same numbers into a `Vec<f64>` and no more:
//! `cargo bench --bench decode`.

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
    media_type: Option<&'static str>,
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
    Case { name, format: Format::V1, media_type: None, bytes: text.into(), n_values: rows.len() * N_FEATURES }
}

fn v2(name: &'static str, n_bytes: usize) -> Case {
    let rows = numbers(n_bytes);
    let mut text = format!(
        r#"{{"inputs":[{{"name":"input-0","shape":[{},{N_FEATURES}],"datatype":"FP64","data":["#,
        rows.len()
    );
    write!(text, "{}]}}]}}", joined(&rows.concat())).unwrap();
    Case { name, format: Format::V2, media_type: None, bytes: text.into(), n_values: rows.len() * N_FEATURES }
}

/// Tensors behind the JSON, each value in as many bytes as `cell` makes of it.
fn v2_binary<const N: usize>(
    name: &'static str,
    datatype: &str,
    n_values: usize,
    cell: impl Fn(f64) -> [u8; N],
) -> Case {
    let mut rng = fastrand::Rng::with_seed(64);
    let rows = n_values / N_FEATURES;
    let head = format!(
        r#"{{"inputs":[{{"name":"input-0","shape":[{rows},{N_FEATURES}],"datatype":"{datatype}","parameters":{{"binary_data_size":{}}}}}]}}"#,
        N * n_values
    );
    let mut bytes = head.into_bytes();
    bytes.extend((0..n_values).flat_map(|_| cell((rng.f64() - 0.5) * 1000.0)));
    Case { name, format: Format::V2, media_type: None, bytes, n_values }
}

fn csv(name: &'static str, n_bytes: usize) -> Case {
    let rows = numbers(n_bytes);
    let names: Vec<_> = (0..N_FEATURES).map(|at| format!("x{at}")).collect();
    let lines: Vec<_> = rows.iter().map(|row| joined(row)).collect();
    let text = format!("{}\n{}\n", names.join(","), lines.join("\n"));
    Case {
        name,
        format: Format::Mlflow,
        media_type: Some("text/csv"),
        bytes: text.into(),
        n_values: rows.len() * N_FEATURES,
    }
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
    #[expect(clippy::cast_possible_truncation, reason = "what FP32 is")]
    let single = |number: f64| (number as f32).to_le_bytes();
    let cents = |number: f64| single((number * 100.0).round() / 100.0);
    for body in [
        v1("v1_1KiB", 1 << 10),
        v1("v1_64KiB", 64 << 10),
        v2("v2_1MiB", 1 << 20),
        v2_binary("v2_fp64_1MiB", "FP64", 1 << 17, f64::to_le_bytes),
        v2_binary("v2_fp32_cents_1MiB", "FP32", 1 << 18, cents),
        v2_binary("v2_fp32_1MiB", "FP32", 1 << 18, single),
        csv("mlflow_csv_1MiB", 1 << 20),
    ] {
        let mut group = criterion.benchmark_group(body.name);
        group.throughput(Throughput::Elements(body.n_values as u64));
        group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
        let bytes = &*body.bytes;
        let message = |bytes| Body { media_type: body.media_type, ..Body::new(bytes) };
        let mut batch = Batch::new(&schema);
        let mut histograms = vec![Histogram::new(edges.n_bins()); N_FEATURES];
        group.bench_function("driftd, decode and record", |bencher| {
            bencher.iter(|| {
                batch.clear();
                decode_request(body.format, &message(black_box(bytes)), &schema, &mut batch).unwrap();
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
                decode_request(body.format, &message(black_box(bytes)), &schema, &mut batch).unwrap();
            });
        });
        if body.format == Format::V1 || body.name == "v2_1MiB" {
            // The numbers alone, in one flat list: what no real body is, and the least that a library can be asked for.
            let flat = format!("[{}]", joined(&numbers(bytes.len() - 64).concat()));
            group.bench_function("sonic-rs, the numbers alone into Vec<f64>", |bencher| {
                bencher.iter(|| sonic_rs::from_slice::<Vec<f64>>(black_box(flat.as_bytes())).unwrap());
            });
            group.bench_function("serde_json, the numbers alone into Vec<f64>", |bencher| {
                bencher.iter(|| serde_json::from_slice::<Vec<f64>>(black_box(flat.as_bytes())).unwrap());
            });
        }
        match (body.format, body.name) {
            (Format::V1, _) => {
                group.bench_function("sonic-rs, the body", |bencher| {
                    bencher.iter(|| sonic_rs::from_slice::<Rows>(black_box(bytes)).unwrap().instances);
                });
                group.bench_function("serde_json, the body", |bencher| {
                    bencher.iter(|| serde_json::from_slice::<Rows>(black_box(bytes)).unwrap().instances);
                });
            }
            (Format::V2, "v2_1MiB") => {
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
            (Format::Mlflow, _) => {
                group.bench_function("csv and fast-float2, the body", |bencher| {
                    bencher.iter(|| {
                        let mut reader = csv::Reader::from_reader(black_box(bytes));
                        let rows = reader.byte_records().flat_map(|row| {
                            let row = row.unwrap();
                            row.iter()
                                .map(|cell| fast_float2::parse::<f64, _>(cell).unwrap())
                                .collect::<Vec<_>>()
                        });
                        rows.collect::<Vec<_>>()
                    });
                });
            }
            _ => {
                group.bench_function("the values copied into Vec<f64>", |bencher| {
                    bencher.iter(|| {
                        let tail = &black_box(bytes)[bytes.len() - bytes.len() / 8 * 8..];
                        let cells = tail.as_chunks::<8>().0.iter().map(|cell| f64::from_le_bytes(*cell));
                        cells.collect::<Vec<_>>()
                    });
                });
            }
        }
        group.finish();
    }
}

criterion_group!(benches, decode);
criterion_main!(benches);
