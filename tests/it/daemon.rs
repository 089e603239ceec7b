//! The whole daemon: real sockets in front, a mock model server behind, counts and verdicts out.

use std::fmt::Write;

use axum::Json;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use driftd::baseline::build::BuildOptions;
use driftd::pipeline::report::{ModelReport, ModelWindow};
use http::StatusCode;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{self, Daemon, metric};

/// Training rows: `amount` 5, 15 … 995 evenly, `grade` a or b, prediction `score` = amount / 1000.
const N_TRAINING: u32 = 2000;

fn training_table() -> String {
    let mut csv = "amount,grade,score\n".to_owned();
    for row in 0..N_TRAINING {
        let amount = amount(row);
        writeln!(csv, "{amount},{},{}", grade(row), score(amount)).unwrap();
    }
    csv
}

fn amount(row: u32) -> f64 {
    f64::from(row % 100 * 10 + 5)
}

fn grade(row: u32) -> &'static str {
    if row.is_multiple_of(4) { "a" } else { "b" }
}

fn score(amount: f64) -> f64 {
    amount / 1000.0
}

fn options() -> BuildOptions {
    BuildOptions {
        model: Some("credit".to_owned()),
        version: Some("1".to_owned()),
        predictions: vec!["score".to_owned()],
        ..BuildOptions::default()
    }
}

/// A server whose model is `predict`, over V1 rows of `[amount, grade]`.
async fn model_server(predict: fn(f64) -> f64) -> std::net::SocketAddr {
    support::mock_model_server(move |request: Request| async move { answer(request, predict).await }).await
}

async fn answer(request: Request, predict: fn(f64) -> f64) -> Response {
    let body = axum::body::to_bytes(request.into_body(), usize::MAX).await.unwrap();
    let Ok(body) = serde_json::from_slice::<Value>(&body) else {
        return (StatusCode::BAD_REQUEST, "not JSON").into_response();
    };
    let Some(rows) = body["instances"].as_array() else {
        return (StatusCode::BAD_REQUEST, "no instances").into_response();
    };
    let predictions: Vec<_> = rows.iter().map(|row| predict(row[0].as_f64().unwrap_or(0.0))).collect();
    Json(json!({ "predictions": predictions })).into_response()
}

/// Rows as the training table has them, in another order.
fn usual_rows(n: u32) -> Vec<Value> {
    let row = |idx: u32| {
        let at = idx * 7919 % N_TRAINING;
        json!([amount(at), grade(at)])
    };
    (0..n).map(row).collect()
}

async fn predict(daemon: &Daemon, rows: &[Value]) {
    let url = format!("http://{}/v1/models/credit:predict", daemon.tap);
    let response = reqwest::Client::new().post(url).json(&json!({ "instances": rows })).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let answer: Value = response.json().await.unwrap();
    assert_eq!(answer["predictions"].as_array().map(Vec::len), Some(rows.len()));
}

/// A daemon in front of a model that is `predict`.
async fn start(directory: &TempDir, predict: fn(f64) -> f64) -> Daemon {
    let file = support::baseline(directory.path(), &training_table(), &options());
    Daemon::start(support::config(model_server(predict).await, &[&file])).await
}

fn shortest(model: &ModelReport) -> &ModelWindow {
    &model.windows[0]
}

#[tokio::test]
async fn every_row_is_counted_once_in_its_bin() {
    let directory = TempDir::new().unwrap();
    let daemon = start(&directory, score).await;
    for rows in usual_rows(1000).chunks(50) {
        predict(&daemon, rows).await;
    }
    predict(&daemon, &[json!([null, "a"]), json!(["x", "c"])]).await;
    let report = daemon.wait_for_rows(1002).await;

    let model = &report.models[0];
    assert_eq!((model.rows.feature, model.rows.prediction), (1002, 1002));
    let amount = &model.features[0];
    // Half of the training rows; then one null, one of the wrong type. What lies outside of the training range would be
    // in the two groups at either end.
    let (groups, extra) = amount.windows[0].counts.split_at(14);
    assert_eq!(groups, [0, 0, 100, 100, 100, 100, 100, 100, 100, 100, 100, 100, 0, 0]);
    assert!(groups.iter().zip(&amount.baseline).all(|(now, then)| 2 * now == *then));
    assert_eq!(extra, [1, 1]);
    assert_eq!(amount.baseline.iter().sum::<u64>(), u64::from(N_TRAINING));

    let text = daemon.metrics().await;
    let series = |bin: &str| {
        let edges = &amount.edges;
        format!(
            r#"driftd_bin_observations_total{{bin="{bin}",edges="{edges}",feature="amount",inferenceservice="",model="credit",namespace="",role="feature",version="1"}}"#
        )
    };
    for (bin, count) in [("00", 0.0), ("02", 100.0), ("11", 100.0)] {
        assert_eq!(metric(&text, &series(bin)), Some(count), "bin {bin} in\n{text}");
    }
    assert_eq!(metric(&text, &series("missing")), Some(1.0));
    assert_eq!(metric(&text, &series("other")), Some(1.0));
    let violations = |feature: &str, reason: &str| {
        let found = model.violations.iter().find(|found| found.feature == feature && found.reason == reason);
        found.map(|found| found.rows)
    };
    assert_eq!(violations("amount", "type"), Some(1));
    assert_eq!(violations("grade", "unseen_category"), Some(1));
    daemon.stop().await;
}

#[tokio::test]
async fn a_window_without_enough_rows_has_no_score() {
    let directory = TempDir::new().unwrap();
    let daemon = start(&directory, score).await;
    predict(&daemon, &usual_rows(499)).await;
    let report = daemon.wait_for_rows(499).await;
    let amount = &report.models[0].features[0].windows[0];
    assert_eq!((amount.verdict, amount.samples, amount.min_samples), ("filling", 499, 500));
    assert!(amount.scores.is_none());
    assert!(!daemon.metrics().await.contains("driftd_drift_score{"));
    predict(&daemon, &usual_rows(1)).await;
    let report = daemon.wait_for_rows(500).await;
    assert_eq!(shortest(&report.models[0]).verdict, "ok");
    assert!(daemon.metrics().await.contains("driftd_drift_score{"));
    daemon.stop().await;
}

#[tokio::test]
async fn another_unit_is_a_broken_schema() {
    let directory = TempDir::new().unwrap();
    let daemon = drifting(&directory).await;
    let report = daemon.report.borrow().clone();
    let window = shortest(&report.models[0]);
    assert_eq!(window.cause, Some("schema"));
    assert!(
        window.drifted.contains(&"amount".to_owned()) && !window.drifted.contains(&"grade".to_owned()),
        "{window:?}"
    );
    let series = r#"driftd_model_drifted{cause="schema",inferenceservice="",model="credit",namespace="",version="1",window="5m"}"#;
    assert_eq!(metric(&daemon.metrics().await, series), Some(1.0));
    daemon.stop().await;
}

#[tokio::test]
async fn a_shifted_feature_is_drift_caused_by_input() {
    let directory = TempDir::new().unwrap();
    let daemon = start(&directory, score).await;
    let shifted = |row: Value| json!([row[0].as_f64().unwrap() * 0.5 + 450.0, row[1]]);
    predict(&daemon, &usual_rows(1000).into_iter().map(shifted).collect::<Vec<_>>()).await;
    let report = daemon
        .wait_for("drift", |report| report.models.iter().any(|model| shortest(model).verdict == "drift"))
        .await;
    let window = shortest(&report.models[0]);
    assert_eq!(
        (window.cause, window.drifted.as_slice()),
        (Some("input"), ["amount", "score"].map(str::to_owned).as_slice())
    );
    daemon.stop().await;
}

#[tokio::test]
async fn predictions_that_move_alone_are_caused_by_the_model() {
    let directory = TempDir::new().unwrap();
    let daemon = start(&directory, |amount| score(amount).powi(3)).await;
    predict(&daemon, &usual_rows(1000)).await;
    let report = daemon
        .wait_for("drift", |report| report.models.iter().any(|model| shortest(model).verdict == "drift"))
        .await;
    let window = shortest(&report.models[0]);
    assert_eq!((window.cause, window.drifted.as_slice()), (Some("model"), ["score".to_owned()].as_slice()));
    daemon.stop().await;
}

#[tokio::test]
async fn a_missing_baseline_stops_no_traffic_and_is_loaded_once_it_is_there() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("baseline.json");
    let daemon = Daemon::start(support::config(model_server(score).await, &[&file])).await;
    predict(&daemon, &usual_rows(3)).await;
    daemon.wait_for_metric(r#"driftd_decode_errors_total{format="v1",reason="no_baseline"}"#, 1.0).await;
    let (status, _) = daemon.get("/readyz").await;
    assert_eq!(status, 200);
    let (_, drift) = daemon.get("/api/v1/drift").await;
    assert!(drift.contains("baseline.json"), "{drift}");
    assert!(daemon.metrics().await.contains("driftd_baseline_errors_total{"));

    support::baseline(directory.path(), &training_table(), &options());
    daemon
        .wait_for("the model", |report| report.models.len() == 1 && report.baseline_errors.is_empty())
        .await;
    predict(&daemon, &usual_rows(3)).await;
    daemon.wait_for_rows(3).await;
    daemon.stop().await;
}

#[tokio::test]
async fn what_is_not_understood_is_passed_on_and_counted() {
    let directory = TempDir::new().unwrap();
    let daemon = start(&directory, score).await;
    let client = reqwest::Client::new();
    let post = async |path: &str, body: &'static str| {
        client.post(format!("http://{}{path}", daemon.tap)).body(body).send().await.unwrap().status()
    };
    assert_eq!(post("/v1/models/stranger:predict", r#"{"instances": [[1, "a"]]}"#).await, StatusCode::OK);
    assert_eq!(post("/v1/models/credit:explain", r#"{"instances": [[1, "a"]]}"#).await, StatusCode::OK);
    assert_eq!(post("/v1/models/credit:predict", "{").await, StatusCode::BAD_REQUEST);
    daemon.wait_for_metric(r#"driftd_decode_errors_total{format="v1",reason="unknown_model"}"#, 1.0).await;
    daemon.wait_for_metric(r#"driftd_tap_exchanges_total{outcome="unrecognised",tap="proxy"}"#, 1.0).await;
    daemon.wait_for_metric(r#"driftd_tap_exchanges_total{outcome="not_ok",tap="proxy"}"#, 1.0).await;
    daemon.stop().await;
}

#[tokio::test]
async fn ready_says_why_not() {
    let directory = TempDir::new().unwrap();
    let nobody = tokio::net::TcpListener::bind(support::localhost()).await.unwrap().local_addr().unwrap();
    let file = support::baseline(directory.path(), &training_table(), &options());
    let daemon = Daemon::start(support::config(nobody, &[&file])).await;
    let answer = reqwest::get(format!("http://{}/", daemon.tap)).await.unwrap();
    assert_eq!(answer.status(), StatusCode::BAD_GATEWAY);
    let (status, text) = daemon.get("/readyz").await;
    assert_eq!(status, 503);
    assert!(text.contains(&nobody.to_string()), "{text}");
    assert_eq!(daemon.get("/livez").await.0, 200);
    daemon.stop().await;
}

#[tokio::test]
async fn the_api_can_be_narrowed_and_refuses_what_it_does_not_know() {
    let directory = TempDir::new().unwrap();
    let daemon = start(&directory, score).await;
    daemon.wait_for("a tick", |report| report.evaluated_at > 0.0).await;
    let features = |text: &str| {
        serde_json::from_str::<Value>(text).unwrap()["models"][0]["features"].as_array().map(Vec::len)
    };
    assert_eq!(features(&daemon.get("/api/v1/drift").await.1), Some(3));
    assert_eq!(features(&daemon.get("/api/v1/drift?model=credit&feature=grade").await.1), Some(1));
    let (_, none) = daemon.get("/api/v1/drift?model=stranger").await;
    assert_eq!(serde_json::from_str::<Value>(&none).unwrap()["models"], json!([]));
    assert_eq!(daemon.get("/api/v1/drift?modle=credit").await.0, 400);
    assert_eq!(daemon.get("/nothing").await.0, 404);
    daemon.stop().await;
}

/// A daemon that has just found drift and met everything else that it counts, so that every series it can export exists.
pub async fn drifting(directory: &TempDir) -> Daemon {
    let file = support::baseline(directory.path(), &training_table(), &options());
    let missing = directory.path().join("not-there.json");
    let daemon = Daemon::start(support::config(model_server(score).await, &[&file, &missing])).await;
    let shifted = |row: Value| json!([row[0].as_f64().unwrap() * 100.0, row[1]]);
    predict(&daemon, &usual_rows(1000).into_iter().map(shifted).collect::<Vec<_>>()).await;
    predict(&daemon, &[json!(["x", "c"])]).await;
    let stranger = format!("http://{}/v1/models/stranger:predict", daemon.tap);
    let answer =
        reqwest::Client::new().post(stranger).json(&json!({"instances": [[1, "a"]]})).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    daemon
        .wait_for("the unit", |report| report.models.iter().any(|model| shortest(model).verdict == "schema"))
        .await;
    daemon.wait_for_metric(r#"driftd_decode_errors_total{format="v1",reason="no_baseline"}"#, 1.0).await;
    daemon
}
