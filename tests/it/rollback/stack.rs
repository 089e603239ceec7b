//! All of it together.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::remote::{PASSWORD, Remote, USER};
use super::serving::{StandInArgoCd, call, train, uri};
use crate::alertmanager::Alertmanager;
use crate::controller::{ALERTS_TOKEN, Controller, OPERATOR_TOKEN};
use crate::real::Prometheus;

/// All of a rollback, on a machine that does much else.
const PATIENCE: Duration = Duration::from_mins(2);

pub struct Stack {
    pub remote: Remote,
    folder: TempDir,
    argocd: Arc<StandInArgoCd>,
    prometheus: Prometheus,
    _alertmanager: Alertmanager,
    controller: Controller,
    is_shifted: Arc<AtomicBool>,
    callers: JoinHandle<()>,
}

impl Drop for Stack {
    fn drop(&mut self) {
        self.callers.abort();
    }
}

fn manifest(models: &Path, version: u8) -> String {
    format!(
        "apiVersion: serving.kserve.io/v1beta1\nkind: InferenceService\nmetadata:\n  name: credit\n  namespace: prod\nspec:\n  \
         predictor:\n    model:\n      modelFormat:\n        name: sklearn\n      storageUri: {}\n",
        uri(models, version)
    )
}

impl Stack {
    /// With version 1 served, and callers.
    pub async fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let models = folder.path().join("models");
        for version in [1, 2, 3] {
            train(&models, version);
        }
        let remote = Remote::start("credit.yaml", &manifest(&models, 1)).await;
        let targets = folder.path().join("targets.json");
        let (argocd, argocd_addr) = StandInArgoCd::start(&models, &remote, &targets).await;
        let is_shifted = Arc::new(AtomicBool::new(false));
        let callers = tokio::spawn(call(Arc::clone(&argocd), Arc::clone(&is_shifted)));

        // Who delivers to whom is a circle: the controller's port is taken first.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let alertmanager = Alertmanager::start(&format!("http://{port}/api/v1/alerts"), ALERTS_TOKEN).await;
        let prometheus = Prometheus::of_pods(&targets, alertmanager.addr);
        let config = configure(folder.path(), port, &prometheus.url(), &remote, argocd_addr);
        let controller = Controller::start(&config).await;
        Self {
            remote,
            folder,
            argocd,
            prometheus,
            _alertmanager: alertmanager,
            controller,
            is_shifted,
            callers,
        }
    }

    /// As a person does it; the stand-in is not told, as nobody would have told Argo CD: it looks by itself.
    pub async fn deploy(&self, version: u8) {
        self.remote.write("credit.yaml", &manifest(&self.folder.path().join("models"), version));
        self.argocd.apply().await;
    }

    pub fn serving(&self) -> u8 {
        self.argocd.serving()
    }

    pub fn shift_inputs(&self) {
        self.is_shifted.store(true, Ordering::Relaxed);
    }

    /// Waits until the controller has seen a version serve well.
    pub async fn verdict(&self, version: u8) {
        let note = format!("/{version}");
        let deadline = Instant::now() + PATIENCE;
        let journal = self.folder.path().join("state");
        loop {
            let connection = driftd::gitops::journal::read_only(&journal).unwrap();
            let mut statement =
                connection.prepare("SELECT payload FROM events WHERE kind = 'verdict'").unwrap();
            let found: Vec<String> =
                statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
            if found.iter().any(|payload| payload.contains(&note)) {
                return;
            }
            assert!(Instant::now() < deadline, "version {version} has no verdict: {found:?}");
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// Waits until so many rows of a version are counted.
    pub async fn rows(&self, version: u8, n_rows: f64) {
        let query =
            format!("sum(driftd_rows_total{{version=~\"{version}-.*\",role=\"prediction\"}}) >= {n_rows}");
        let deadline = Instant::now() + PATIENCE;
        while self.prometheus.query(&query).await.is_empty() {
            assert!(Instant::now() < deadline, "version {version} has too few rows");
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// How many alerts of that name fire.
    pub async fn alerts(&self, name: &str) -> usize {
        let query = format!("ALERTS{{alertname=\"{name}\",alertstate=\"firing\"}}");
        self.prometheus.query(&query).await.len()
    }

    pub async fn get(&self, path: &str) -> Value {
        self.controller.get(path).await
    }

    pub async fn incidents(&self) -> Vec<Value> {
        self.controller.incidents().await
    }

    /// The one incident, once it has ended so.
    pub async fn ended(&self, state: &str) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let incidents = self.incidents().await;
            assert!(incidents.len() <= 1, "{incidents:#?}");
            let incident = incidents.into_iter().next().unwrap_or_default();
            if incident["state"] == state {
                return incident;
            }
            assert!(Instant::now() < deadline, "not {state} in time: {incident:#}");
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// For `--nocapture`: what took how long.
    pub fn print_timeline(incident: &Value) {
        let entered: BTreeMap<String, String> = serde_json::from_value(incident["entered"].clone()).unwrap();
        let mut entered: Vec<_> = entered.into_iter().collect();
        entered.sort_by(|a, b| a.1.cmp(&b.1));
        println!("firing     {}", incident["accusations"][0]["starts_at"]);
        for (state, at) in entered {
            println!("{state:<10} {at}");
        }
    }
}

fn configure(
    folder: &Path,
    listen: SocketAddr,
    prometheus: &str,
    remote: &Remote,
    argocd: SocketAddr,
) -> std::path::PathBuf {
    let file = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let config = json!({
        "listen": listen,
        "state_dir": folder.join("state"),
        "alerts": {"bearer_token_file": file("alerts.token", ALERTS_TOKEN)},
        "api": {"operators": [{"name": "ann", "token_file": file("operator.token", OPERATOR_TOKEN)}]},
        "prometheus": {"url": prometheus, "max_age": "5s"},
        "git": {
            "url": remote.url(), "username": USER, "token_file": file("git.token", PASSWORD),
            "author": "driftd <driftd@example.com>", "fetch_interval": "1s",
        },
        "argocd": {"url": format!("http://{argocd}"), "token_file": file("argocd.token", "argocd-not-a-secret")},
        // At the speed of a test.
        "policy": {
            "soak": "5s", "soak_rows": 300, "attribution_window": "10m", "recovery_settle": "3s", "recovery_rows": 300,
        },
        "targets": [{"namespace": "prod", "name": "credit", "path": "credit.yaml", "application": "models"}],
    });
    file("controller.yaml", &config.to_string()) // JSON is YAML
}
