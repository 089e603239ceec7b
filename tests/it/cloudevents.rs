//! The sink for KServe's logger: real HTTP, event by event, and the counts that come of it.

use std::io::Write;
use std::time::Duration;

use driftd::baseline::build::BuildOptions;
use driftd::config::{CloudEventsConfig, Config, ModelConfig, Taps};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

use crate::support::{self, Daemon, from_env, localhost, metric};

/// `amount` and `age` in, `score` out.
fn training() -> String {
    let rows = (0..500).map(|row| format!("{},{},{}\n", row % 50, 20 + row % 7, f64::from(row % 10) / 10.0));
    "amount,age,score\n".to_owned() + &rows.collect::<String>()
}

fn config(directory: &TempDir, change: impl FnOnce(&mut CloudEventsConfig)) -> Config {
    let options = BuildOptions {
        model: Some("credit".to_owned()),
        predictions: vec!["score".to_owned()],
        ..BuildOptions::default()
    };
    let baseline = support::baseline(directory.path(), &training(), &options);
    let nobody = "127.0.0.1:9".parse().unwrap();
    let mut config = support::config(nobody, &[]);
    config.models = vec![ModelConfig { namespace: Some("prod".to_owned()), ..ModelConfig::new(baseline) }];
    let mut sink = CloudEventsConfig::new(localhost());
    change(&mut sink);
    config.taps = Taps { cloudevents: Some(sink), ..Taps::default() };
    config
}

/// Sends events as KServe's logger does.
struct Logger {
    client: reqwest::Client,
    url: String,
}

impl Logger {
    fn to(daemon: &Daemon) -> Self {
        Self { client: reqwest::Client::new(), url: format!("http://{}/any/path", daemon.tap) }
    }

    async fn send(&self, id: &str, side: &str, content_type: &str, body: impl Into<reqwest::Body>) {
        let answer = self
            .client
            .post(&self.url)
            .header("Ce-Specversion", "1.0")
            .header("Ce-Id", id)
            .header("Ce-Type", format!("org.kubeflow.serving.inference.{side}"))
            .header("Ce-Source", "http://localhost:9081/")
            .header("Ce-Inferenceservicename", "credit")
            .header("Ce-Namespace", "prod")
            .header("Ce-Component", "predictor")
            .header("Ce-Metadata", r#"{"X-Request-Id":["abc"]}"#)
            .header("Content-Type", content_type)
            .body(body)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 200, "{id} {side}");
    }
}

fn exchanges(outcome: &str) -> String {
    format!(r#"driftd_tap_exchanges_total{{outcome="{outcome}",tap="cloudevents"}}"#)
}

fn dropped(reason: &str) -> String {
    format!(r#"driftd_tap_dropped_total{{reason="{reason}",tap="cloudevents"}}"#)
}

#[tokio::test]
async fn pairs_are_counted_in_any_order_and_format() {
    let directory = TempDir::new().unwrap();
    let daemon = Daemon::start(config(&directory, |_| ())).await;
    let logger = Logger::to(&daemon);
    let json = "application/json";
    // V1, the answer first.
    logger.send("1", "response", json, r#"{"predictions": [0.1, 0.2]}"#).await;
    logger.send("1", "request", json, r#"{"instances": [[1, 20], [2, 21]]}"#).await;
    // V2, another pair in between.
    let tensors = |key: &str, values: &Value| {
        json!({key: [{"name": "x", "shape": [1, values.as_array().unwrap().len()], "datatype": "FP64", "data": values}]}).to_string()
    };
    logger.send("2", "request", json, tensors("inputs", &json!([3, 22]))).await;
    // Gzip that nothing tells of.
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(br#"{"instances": [{"amount": 4, "age": 23}]}"#).unwrap();
    logger.send("3", "request", json, gzip.finish().unwrap()).await;
    logger.send("3", "response", json, r#"{"predictions": [0.4]}"#).await;
    // Binary tensors whose header is lost, and whose content type is the request's.
    let head = json!({"outputs": [{"name": "y", "shape": [1], "datatype": "FP64", "parameters": {"binary_data_size": 8}}]});
    logger.send("2", "response", json, [head.to_string().as_bytes(), &0.3f64.to_le_bytes()].concat()).await;
    // The same identifier again.
    logger.send("1", "request", json, r#"{"instances": [[5, 24]]}"#).await;
    logger.send("1", "response", json, r#"{"predictions": [0.5]}"#).await;

    let report = daemon.wait_for_rows(5).await;
    let model = &report.models[0];
    assert_eq!((model.rows.feature, model.rows.prediction), (5, 5));
    assert_eq!((&*model.labels.namespace, &*model.labels.model), ("prod", "credit"));
    assert_eq!(model.violations, []);
    let text = daemon.metrics().await;
    assert_eq!(metric(&text, &exchanges("mirrored")), Some(4.0));
    assert_eq!(metric(&text, &exchanges("dropped")), Some(0.0));
    daemon.stop().await;
}

#[tokio::test]
async fn what_is_lost_is_counted() {
    let directory = TempDir::new().unwrap();
    let daemon = Daemon::start(config(&directory, |sink| {
        sink.pair_timeout = Duration::from_millis(100);
        sink.max_pairs = 2;
        sink.max_body_bytes = 1000;
    }))
    .await;
    let logger = Logger::to(&daemon);
    let row = r#"{"instances": [[1, 20]]}"#;
    logger.send("early", "request", "application/json", row).await;
    daemon.wait_for_metric(&dropped("unpaired"), 1.0).await; // 100 ms later
    for id in ["a", "b", "c"] {
        logger.send(id, "request", "application/json", row).await;
    }
    daemon.wait_for_metric(&dropped("pairs_full"), 1.0).await;
    logger.send("long", "request", "application/json", vec![b'['; 1001]).await;
    daemon.wait_for_metric(&dropped("too_large"), 1.0).await;
    logger.send("health", "request", "application/json", "").await;
    daemon.wait_for_metric(&exchanges("unrecognised"), 1.0).await;
    // No event at all.
    assert_eq!(logger.client.post(&logger.url).body("hello").send().await.unwrap().status(), 200);
    daemon.wait_for_metric(&exchanges("unrecognised"), 2.0).await;
    for (id, body) in [("p", r#"{"what": "ever"}"#), ("q", row)] {
        logger.send(id, "request", "application/json", body).await;
        logger.send(id, "response", "application/json", r#"{"predictions": [1]}"#).await;
    }
    let unknown = r#"driftd_decode_errors_total{format="unknown",reason="unknown_format"}"#;
    daemon.wait_for_metric(unknown, 1.0).await;
    daemon.wait_for_rows(1).await;
    daemon.stop().await;
}

/// By the library that KServe itself is built with: binary and structured events, in no order.
#[tokio::test]
async fn events_of_the_cloudevents_library_are_counted_exactly() {
    let directory = TempDir::new().unwrap();
    let daemon = Daemon::start(config(&directory, |_| ())).await;
    let program = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/python/events.py");
    let sending = Command::new(from_env("DRIFTD_TEST_KSERVE_PYTHON"))
        .arg(program)
        .args([&format!("http://{}/", daemon.tap), "prod", "credit", "400"])
        .output();
    let output = tokio::time::timeout(Duration::from_mins(1), sending).await.unwrap().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let sent: Value = serde_json::from_slice(&output.stdout).unwrap();
    let rows = sent["rows"].as_u64().unwrap();
    let report = daemon.wait_for_rows(rows).await;
    let model = &report.models[0];
    assert_eq!((model.rows.feature, model.rows.prediction), (rows, rows));
    let counted = |name: &str| {
        let feature = model.features.iter().find(|feature| feature.name == name).unwrap();
        feature.windows[0].counts.iter().sum::<u64>()
            - feature.windows[0].counts.iter().rev().take(2).sum::<u64>()
    };
    assert_eq!(counted("amount"), sent["amounts"].as_u64().unwrap(), "the others are missing");
    daemon.stop().await;
}
