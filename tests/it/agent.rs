//! KServe's own agent (`cmd/agent`, from Go's module proxy) as the sender of events: it stands in front of a mock model
//! server and logs what passes to our sink, as `spec.predictor.logger` makes it do in a pod.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Stdio;

use axum::body::to_bytes;
use axum::response::{IntoResponse, Response};
use axum::{Json, extract::Request};
use driftd::baseline::build::BuildOptions;
use driftd::config::{CloudEventsConfig, ModelConfig, Taps};
use http::StatusCode;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::support::{self, Daemon, PATIENCE, from_env, localhost, metric};

/// An agent of its own; killed when dropped.
pub struct Agent {
    process: Child,
    pub url: String,
}

impl Agent {
    /// In front of a model server, logging to a URL: a sink's, or a bucket's, which `more` and `environment` are about.
    pub async fn start(
        model_server: SocketAddr,
        log_url: &str,
        more: &[&str],
        environment: &BTreeMap<String, String>,
    ) -> Self {
        // It takes no port 0: another process may take this one first, which fails the start loudly.
        let port = free_port();
        let process = Command::new(from_env("DRIFTD_TEST_KSERVE_AGENT"))
            .args(["--port", &port.to_string(), "--component-port", &model_server.port().to_string()])
            .args(["--log-url", log_url, "--log-mode", "all", "--workers", "5"])
            .args(more)
            .envs(environment)
            .args(["--inference-service", "credit", "--namespace", "prod", "--component", "predictor"])
            .args(["--endpoint", "default"])
            .env("SERVING_READINESS_PROBE", "")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("the agent starts");
        let mut agent = Self { process, url: format!("http://127.0.0.1:{port}") };
        let listening = async {
            while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
                assert_eq!(agent.process.try_wait().unwrap(), None, "the agent has ended");
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, listening).await.expect("the agent listens in time");
        agent
    }
}

pub fn free_port() -> u16 {
    std::net::TcpListener::bind(localhost()).unwrap().local_addr().unwrap().port()
}

/// Answers each row with a tenth of its first value, and refuses what has no rows.
pub async fn mock_scorer(request: Request) -> Response {
    let body = to_bytes(request.into_body(), 1 << 20).await.unwrap();
    let Ok(body) = serde_json::from_slice::<Value>(&body) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let scores =
        |rows: &Vec<Value>| rows.iter().map(|row| row[0].as_f64().unwrap() / 10.0).collect::<Vec<_>>();
    match body["instances"].as_array() {
        Some(rows) => Json(json!({"predictions": scores(rows)})).into_response(),
        None => StatusCode::UNPROCESSABLE_ENTITY.into_response(),
    }
}

/// How often each amount is in the training table, which is how often it is sent.
pub fn training() -> String {
    let rows = (0..500).map(|row| format!("{},{},{}\n", row % 50, 20 + row % 7, f64::from(row % 50) / 10.0));
    "amount,age,score\n".to_owned() + &rows.collect::<String>()
}

#[tokio::test]
async fn exchanges_that_kserves_agent_logs_are_counted_exactly() {
    const N_REQUESTS: u64 = 300;
    let directory = TempDir::new().unwrap();
    let options = BuildOptions {
        model: Some("credit".to_owned()),
        predictions: vec!["score".to_owned()],
        ..BuildOptions::default()
    };
    let baseline = support::baseline(directory.path(), &training(), &options);
    let mut config = support::config("127.0.0.1:9".parse().unwrap(), &[]);
    config.models = vec![ModelConfig { namespace: Some("prod".to_owned()), ..ModelConfig::new(baseline) }];
    config.taps = Taps { cloudevents: Some(CloudEventsConfig::new(localhost())), ..Taps::default() };
    let daemon = Daemon::start(config).await;
    let scorer = support::mock_model_server(mock_scorer).await;
    let agent = Agent::start(scorer, &format!("http://{}/", daemon.tap), &[], &BTreeMap::new()).await;

    let client = reqwest::Client::new();
    let send = async |body: String| {
        let url = format!("{}/v1/models/credit:predict", agent.url);
        let answer =
            client.post(url).header("content-type", "application/json").body(body).send().await.unwrap();
        (answer.status(), answer.bytes().await.unwrap())
    };
    let (mut n_rows, mut amounts) = (0, [0_u64; 50]);
    for request in 0..N_REQUESTS {
        let rows: Vec<_> = (0..=request % 3).map(|row| [(7 * request + row) % 50, 20 + row]).collect();
        n_rows += rows.len() as u64;
        for row in &rows {
            amounts[usize::try_from(row[0]).unwrap()] += 1;
        }
        let (status, answer) = send(json!({"instances": rows}).to_string()).await;
        assert_eq!(status, 200);
        let scores: Value = serde_json::from_slice(&answer).unwrap();
        assert_eq!(
            scores["predictions"].as_array().unwrap().len(),
            rows.len(),
            "the agent passes answers on"
        );
    }
    // The agent logs the request and no response where the answer is not 200: one that waits, and is no row.
    assert_eq!(send(json!({"inputs": []}).to_string()).await.0, StatusCode::UNPROCESSABLE_ENTITY);

    let report = daemon.wait_for_rows(n_rows).await;
    let mirrored = r#"driftd_tap_exchanges_total{outcome="mirrored",tap="cloudevents"}"#;
    daemon.wait_for_metric(mirrored, N_REQUESTS as f64).await;
    let model = &report.models[0];
    assert_eq!((model.rows.feature, model.rows.prediction), (n_rows, n_rows));
    assert_eq!((&*model.labels.namespace, &*model.labels.model), ("prod", "credit"));
    assert_eq!(model.violations, []);
    // Ten groups of five amounts each, in the table's order.
    let counted = &model.features.iter().find(|feature| feature.name == "amount").unwrap().windows[0].counts;
    let inner: Vec<u64> = counted.iter().copied().filter(|&count| count > 0).collect();
    let expected: Vec<u64> = amounts.chunks(5).map(|group| group.iter().sum()).collect();
    assert_eq!(inner, expected);
    let text = daemon.metrics().await;
    let dropped = r#"driftd_tap_exchanges_total{outcome="dropped",tap="cloudevents"}"#;
    assert_eq!(metric(&text, dropped), Some(0.0));
    daemon.stop().await;
}
