//! From the bytes of a body to counts in bins, in every format that is read, beside the usual parser of that format
//! reading the same bytes into numbers and no more: `cargo bench --bench formats` prints one table.
//!
//! What is beside it: `sonic-rs` and `serde_json` into types with `derive`, as a library's user would; messages of
//! `prost`; a copy of raw tensors; `csv` with `fast-float2`.

#[path = "formats/cases.rs"]
mod cases;
#[path = "formats/protobuf.rs"]
mod protobuf;

use std::hint::black_box;
use std::time::{Duration, Instant};

use driftd::decode::{Batch, Body, Column, decode_request, decode_response};
use driftd::drift::{BinEdges, Histogram, Recorder};

use cases::Case;

const N_SAMPLES: usize = 20;
const N_FINE_EDGES: usize = 127;

/// The time of one call, the median of [`N_SAMPLES`] samples that take `sample` each.
fn seconds(sample: Duration, mut call: impl FnMut()) -> f64 {
    let start = Instant::now();
    let mut n_calls = 0_u32;
    while n_calls == 0 || start.elapsed() < sample {
        call(); // warms caches, and tells how many calls fill a sample
        n_calls += 1;
    }
    let mut samples: Vec<f64> = (0..N_SAMPLES)
        .map(|_| {
            let start = Instant::now();
            (0..n_calls).for_each(|_| call());
            start.elapsed().as_secs_f64() / f64::from(n_calls)
        })
        .collect();
    samples.sort_by(f64::total_cmp);
    samples[N_SAMPLES / 2]
}

fn driftd(case: &Case, sample: Duration) -> f64 {
    let edges = (1..=N_FINE_EDGES).map(|at| at as f64 * 1000.0 / (N_FINE_EDGES + 1) as f64 - 500.0);
    let edges = BinEdges::new(edges.collect::<Vec<_>>()).unwrap();
    let recorder = Recorder::new(&edges);
    let mut batch = Batch::new(&case.schema);
    let mut histograms = vec![Histogram::new(edges.n_bins()); case.schema.columns().len()];
    let read = if case.is_response { decode_response } else { decode_request };
    seconds(sample, || {
        batch.clear();
        let body = Body { media_type: case.media_type, ..Body::new(black_box(&case.bytes)) };
        read(case.format, &body, &case.schema, &mut batch).unwrap();
        for (column, histogram) in batch.columns.iter().zip(&mut histograms) {
            if let Column::Numbers { values, .. } = column {
                recorder.record(values, histogram);
            }
        }
    })
}

fn main() {
    // `cargo test --benches` only wants to know that it runs.
    let sample = if std::env::args().any(|arg| arg == "--bench") { 50 } else { 0 };
    let sample = Duration::from_millis(sample);
    println!(
        "| body | KiB | numbers | driftd, decode and record: MB/s | ns a number | beside it | MB/s | ns a number | ÷ |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for case in cases::all() {
        let ours = driftd(&case, sample);
        let mut first = format!("{} | {} | {}", case.name, case.bytes.len() >> 10, case.n_values);
        let megabytes = |seconds: f64| case.bytes.len() as f64 / seconds / 1e6;
        let nanoseconds = |seconds: f64| seconds * 1e9 / case.n_values as f64;
        for (name, plain) in &case.beside {
            let theirs = seconds(sample, || plain(black_box(&case.bytes)));
            println!(
                "| {first} | {:.0} | {:.1} | {name} | {:.0} | {:.1} | {:.2} |",
                megabytes(ours),
                nanoseconds(ours),
                megabytes(theirs),
                nanoseconds(theirs),
                ours / theirs
            );
            first.clear();
            first.push_str("| |");
        }
    }
}
