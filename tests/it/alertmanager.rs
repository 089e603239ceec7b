//! The route that ships, in the real Alertmanager.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use axum::extract::Request;
use axum::http::header::AUTHORIZATION;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

use crate::support::{self, from_env};

const CONTROLLER: &str = "http://driftd-controller.driftd-system:9465/api/v1/alerts";
const TOKEN_FILE: &str = "/etc/alertmanager/secrets/driftd-controller/token";
const TOKEN: &str = "not-a-secret";

fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("alerts/alertmanager.yaml")
}

/// An Alertmanager of its own with the route that ships, in front of a controller at `url`; killed when dropped.
pub struct Alertmanager {
    _process: Child,
    _directory: TempDir,
    pub addr: SocketAddr,
}

impl Alertmanager {
    /// `token` is what the controller is told.
    pub async fn start(url: &str, token: &str) -> Self {
        let directory = TempDir::new().unwrap();
        let (config, token_file) = (directory.path().join("config.yaml"), directory.path().join("token"));
        std::fs::write(&token_file, token).unwrap();
        let text = std::fs::read_to_string(shipped()).unwrap();
        assert_eq!((text.matches(CONTROLLER).count(), text.matches(TOKEN_FILE).count()), (1, 1));
        let text = text.replace(CONTROLLER, url).replace(TOKEN_FILE, token_file.to_str().unwrap());
        std::fs::write(&config, text).unwrap();
        // It takes no port 0: another process may take this one first, which fails the start loudly.
        let addr = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let process = Command::new(from_env("DRIFTD_TEST_ALERTMANAGER"))
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.path={}", directory.path().join("data").display()))
            .arg(format!("--web.listen-address={addr}"))
            .arg("--cluster.listen-address=") // alone
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("alertmanager starts");
        let alertmanager = Self { _process: process, _directory: directory, addr };
        let deadline = Instant::now() + support::PATIENCE;
        while reqwest::get(format!("http://{addr}/-/ready")).await.is_err() {
            assert!(Instant::now() < deadline, "alertmanager is not ready");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        alertmanager
    }

    /// Posts alerts as Prometheus does.
    pub async fn post(&self, alerts: &[Value]) {
        let url = format!("http://{}/api/v2/alerts", self.addr);
        let answer = reqwest::Client::new().post(url).json(alerts).send().await.unwrap();
        assert!(answer.status().is_success(), "{answer:?}");
    }
}

fn alert(service: &str, more: &[(&str, &str)]) -> Value {
    let mut labels =
        json!({"alertname": "DriftdModelDrift", "namespace": "prod", "inferenceservice": service});
    for (name, value) in more {
        labels[*name] = (*value).into();
    }
    json!({"labels": labels, "annotations": {"summary": "a test"}})
}

#[test]
fn amtool_takes_the_shipped_route() {
    let output = std::process::Command::new(from_env("DRIFTD_TEST_AMTOOL"))
        .arg("check-config")
        .arg(shipped())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("2 receivers"), "{said}");
}

/// `continue` alone does not do it: a route that has matched takes the place of the receiver on top.
#[test]
fn rollbacks_go_to_the_controller_and_to_people_and_the_rest_to_people_alone() {
    let receivers = |labels: &[&str]| {
        let mut amtool = std::process::Command::new(from_env("DRIFTD_TEST_AMTOOL"));
        amtool.args(["config", "routes", "test"]).arg(format!("--config.file={}", shipped().display()));
        let output = amtool.args(labels).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    assert_eq!(receivers(&["alertname=A", "driftd_action=rollback"]), "driftd-rollback,people");
    assert_eq!(receivers(&["alertname=A", "namespace=prod"]), "people");
}

/// Each service is a group of its own, so that no alert waits for the `group_interval` of another's.
#[tokio::test]
async fn a_rollback_is_sent_at_once_and_with_the_token() {
    let (sent, mut received) = mpsc::channel::<(String, Value)>(16);
    let controller = support::mock_model_server(move |request: Request| {
        let sent = sent.clone();
        async move {
            let token = request.headers()[AUTHORIZATION].to_str().unwrap().to_owned();
            let body = axum::body::to_bytes(request.into_body(), usize::MAX).await.unwrap();
            sent.send((token, serde_json::from_slice(&body).unwrap())).await.unwrap();
            axum::http::StatusCode::ACCEPTED.into_response() as Response
        }
    })
    .await;
    let alertmanager = Alertmanager::start(&format!("http://{controller}/api/v1/alerts"), TOKEN).await;
    let rollback = [("driftd_action", "rollback"), ("component", "predictor"), ("version", "3")];
    alertmanager.post(&[alert("page-only", &[])]).await;
    for service in ["credit", "fraud"] {
        alertmanager.post(&[alert(service, &rollback)]).await;
        let next = tokio::time::timeout(Duration::from_secs(10), received.recv());
        let (token, payload) = next.await.expect("long before `group_interval`").unwrap();
        assert_eq!(token, format!("Bearer {TOKEN}"));
        assert_eq!((&payload["version"], &payload["receiver"]), (&json!("4"), &json!("driftd-rollback")));
        let group = json!({"namespace": "prod", "inferenceservice": service, "component": "predictor"});
        assert_eq!(payload["groupLabels"], group);
        assert_eq!(payload["alerts"].as_array().unwrap().len(), 1);
        assert_eq!(payload["alerts"][0]["labels"]["version"], "3");
    }
}
