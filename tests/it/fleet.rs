//! What the rules make of several pods, on a real Prometheus: the same numbers that the library gives for the same counts.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use axum::Json;
use axum::response::IntoResponse;
use driftd::baseline::Role;
use driftd::drift::score::{KsStatistic, Psi, ks, psi_of_pairs};
use fastrand::Rng;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::process::{Sidecar, driftd};
use crate::real::Prometheus;
use crate::support;

const COLUMNS: &str = "namespace, inferenceservice, model, version, feature, role, edges";
const N_ROWS: usize = 1_500;

/// A row of features, and what a version makes of it.
fn row(rng: &mut Rng, shift: f64) -> (f64, &'static str) {
    let x = (0..12).map(|_| rng.f64() - 0.5).sum::<f64>() + shift;
    (x, if rng.f64() < 0.6 { "a" } else { "b" })
}

fn build(directory: &Path, version: &str, seed: u64, more: &[&str]) -> String {
    let mut rng = Rng::with_seed(seed);
    let mut csv = "x,grade,score\n".to_owned();
    for _ in 0..4_000 {
        let (x, grade) = row(&mut rng, 0.0);
        writeln!(csv, "{x},{grade},{}", x / 10.0).unwrap();
    }
    let (table, out) = (directory.join(format!("{version}.csv")), directory.join(format!("{version}.json")));
    std::fs::write(&table, csv).unwrap();
    let built = driftd()
        .args(["baseline", "build", "--model", "credit", "--prediction", "score", "--version", version])
        .args(more)
        .arg("--out")
        .args([&out, &table])
        .output()
        .unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    out.display().to_string()
}

/// A mock model server that answers `scale` tenths of the first feature.
async fn model_server(scale: f64) -> SocketAddr {
    support::mock_model_server(move |request: axum::extract::Request| async move {
        let body = axum::body::to_bytes(request.into_body(), usize::MAX).await.unwrap();
        let request: Value = serde_json::from_slice(&body).unwrap();
        let rows = request["instances"].as_array().unwrap();
        let predictions: Vec<_> = rows.iter().map(|row| scale * row[0].as_f64().unwrap() / 10.0).collect();
        Json(json!({ "predictions": predictions })).into_response()
    })
    .await
}

async fn traffic(sidecar: &Sidecar, seed: u64, shift: f64) {
    let mut rng = Rng::with_seed(seed);
    let url = format!("http://{}/v1/models/credit:predict", sidecar.proxy);
    let client = reqwest::Client::new();
    for _ in 0..N_ROWS / 25 {
        let rows: Vec<_> = (0..25).map(|_| row(&mut rng, shift)).collect();
        let answer = client.post(&url).json(&json!({ "instances": rows })).send().await.unwrap();
        assert!(answer.status().is_success());
        tokio::time::sleep(Duration::from_millis(40)).await;
    }
}

/// Two pods of a version, and one of another, which answers differently.
pub async fn pods(directory: &Path) -> [Sidecar; 3] {
    let first = build(directory, "1", 1, &[]);
    let second = build(directory, "2", 2, &["--edges-from", &first]);
    let (same, other) = (model_server(1.0).await, model_server(0.7).await);
    let start = |server, baseline: &str, revision: &str| {
        let who = ["--namespace", "prod", "--inferenceservice", "credit", "--component", "predictor"];
        Sidecar::start(server, &[&who[..], &["--revision", revision, "--baseline", baseline]].concat())
    };
    [
        start(same, &first, "credit-00001"),
        start(same, &first, "credit-00001"),
        start(other, &second, "credit-00002"),
    ]
}

pub async fn traffic_of_all(pods: &[Sidecar; 3]) {
    tokio::join!(traffic(&pods[0], 11, 0.0), traffic(&pods[1], 12, 0.3), traffic(&pods[2], 13, 0.1));
}

type Series = (BTreeMap<String, String>, f64);

/// Counts of the bins of one column, in order.
fn counts(series: &[Series], column: &BTreeMap<String, String>, version: &str) -> Vec<f64> {
    let of_column = series.iter().filter(|(labels, _)| {
        labels["version"] == version
            && ["feature", "role", "edges"].iter().all(|label| labels[*label] == column[*label])
    });
    let by_bin: BTreeMap<_, _> = of_column.map(|(labels, count)| (labels["bin"].clone(), *count)).collect();
    by_bin.into_values().collect()
}

/// KS is a matter of shares: whole numbers in proportion do for counts that are none.
fn grouped_ks(then: &[f64], now: &[f64]) -> f64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts, and few")]
    let whole = |counts: &[f64]| {
        counts[..counts.len() - 2].iter().map(|count| (count * 1e9).round() as u64).collect::<Vec<_>>()
    };
    let KsStatistic(ks) = ks(&whole(then), &whole(now)).unwrap();
    ks
}

fn near(what: &str, recorded: &[Series], column: &BTreeMap<String, String>, expected: f64) {
    let of_column = |(labels, _): &&Series| {
        column.iter().all(|(name, value)| name == "__name__" || labels.get(name) == Some(value))
    };
    let found: Vec<_> = recorded.iter().filter(of_column).collect();
    assert_eq!(found.len(), 1, "{what} of {column:?} in {recorded:?}");
    assert!(
        (found[0].1 - expected).abs() <= 1e-6,
        "{what} of {column:?} is {}, expected {expected}",
        found[0].1
    );
}

#[tokio::test]
async fn rules_over_pods_and_versions_are_the_librarys_numbers() {
    let directory = TempDir::new().unwrap();
    let pods = pods(directory.path()).await;
    let prometheus = Prometheus::start(&pods.each_ref().map(|pod| pod.admin));
    prometheus.wait_for("count(driftd_bin_observations_total{bin=\"00\"}) >= 6").await;
    traffic_of_all(&pods).await;
    prometheus.wait_for("min(driftd:versions_psi:5m) and count(driftd:psi:5m) == 6").await;

    let inputs = format!("sum by ({COLUMNS}, bin) (increase(driftd_bin_observations_total[5m]))");
    // A sample that is scraped before an instant may be stored after it, and then the same query answers a little more
    // than the rules saw: only an instant at which both are the same can be compared.
    let mut agreed = None;
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let at = prometheus.query("max(timestamp(driftd:psi:5m))").await[0].1;
        let (now, seen) = (
            prometheus.query_at(&inputs, at).await,
            prometheus.query_at("driftd:bin_observations:increase5m", at).await,
        );
        let all = |series: &[Series]| series.iter().map(|(_, count)| count).sum::<f64>();
        let is_equal = now.len() == seen.len() && (all(&now) - all(&seen)).abs() < 1e-9;
        let is_all_of_one_instant =
            prometheus.query_at("count(timestamp(driftd:versions_ks:5m) == time())", at).await;
        if is_equal && !is_all_of_one_instant.is_empty() {
            agreed = Some((at, now));
            break;
        }
    }
    let (at, now) = agreed.expect("an instant at which the query answers what the rules saw");
    let then = prometheus
        .query_at(
            "driftd_baseline_bin_share * ignoring(bin) group_left() sum without(kind) (driftd_baseline_rows)",
            at,
        )
        .await;
    let recorded = async |name: &str| prometheus.query_at(name, at).await;
    let (psi, expected, ks) = (
        recorded("driftd:psi:5m").await,
        recorded("driftd:psi_expected:5m").await,
        recorded("driftd:ks:5m").await,
    );
    let versions = (recorded("driftd:versions_psi:5m").await, recorded("driftd:versions_ks:5m").await);
    assert_eq!((psi.len(), ks.len(), versions.0.len(), versions.1.len()), (6, 4, 3, 2));

    let pairs = |then: &[f64], now: &[f64]| then.iter().copied().zip(now.iter().copied()).collect::<Vec<_>>();
    let psi_of = |then: &[f64], now: &[f64]| {
        let Psi(psi) = psi_of_pairs(pairs(then, now).into_iter());
        psi
    };
    for (column, _) in &psi {
        let version = &column["version"];
        // Several pods tell one baseline.
        let baseline: Vec<Series> = then
            .iter()
            .filter(|(labels, _)| labels["instance"] != pods[1].admin.to_string())
            .cloned()
            .collect();
        let (then, now) = (counts(&baseline, column, version), counts(&now, column, version));
        near("psi", &psi, column, psi_of(&then, &now));
        let n_bins = pairs(&then, &now).iter().filter(|(then, now)| then + now > 0.0).count();
        let (n, m): (f64, f64) = (then.iter().sum(), now.iter().sum());
        near("psi_expected", &expected, column, (n_bins as f64 - 1.0) * (1.0 / n + 1.0 / m));
        if column["feature"] != "grade" {
            near("ks", &ks, column, grouped_ks(&then, &now));
        }
    }
    for (column, _) in &versions.0 {
        assert_eq!(
            (column["version"].as_str(), column["against"].as_str()),
            ("2", "1"),
            "1 has most of the traffic"
        );
        let (stable, canary) = (counts(&now, column, "1"), counts(&now, column, "2"));
        near("versions_psi", &versions.0, column, psi_of(&stable, &canary));
        if column["feature"] != "grade" {
            near("versions_ks", &versions.1, column, grouped_ks(&stable, &canary));
        }
    }
    let role = Role::Prediction.as_str();
    let score = versions.0.iter().find(|(column, _)| column["role"] == role).unwrap();
    assert!(score.1 > 0.1, "the canary answers differently: {score:?}");
}
