//! Three versions of a model, and a stand-in for Argo CD and KServe: it serves what the repository says.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Json;
use axum::extract::Request;
use axum::http::Uri;
use axum::response::{IntoResponse, Response};
use chrono::{SecondsFormat, Utc};
use fastrand::Rng;
use serde_json::{Value, json};

use super::remote::Remote;
use crate::process::{Sidecar, driftd};
use crate::support;

/// Version 2 answers otherwise than what its baseline was made of; version 3 as its own says.
fn predict(version: u8, x: f64) -> f64 {
    match version {
        2 => x / 10.0 + 0.4,
        3 => 0.5 - x / 20.0,
        _ => x / 10.0,
    }
}

/// What the training of a version said.
fn trained(version: u8, x: f64) -> f64 {
    if version == 2 { x / 10.0 } else { predict(version, x) }
}

fn draw(rng: &mut Rng, shift: f64) -> f64 {
    (0..12).map(|_| rng.f64() - 0.5).sum::<f64>() + shift
}

/// The folder of a version's model, with its baseline in it.
pub fn train(folder: &Path, version: u8) {
    let mut rng = Rng::with_seed(u64::from(version));
    let mut csv = "x,y,score\n".to_owned();
    for _ in 0..5_000 {
        let (x, y) = (draw(&mut rng, 0.0), draw(&mut rng, 0.0));
        writeln!(csv, "{x},{y},{}", trained(version, x)).unwrap();
    }
    let model = folder.join(version.to_string());
    std::fs::create_dir_all(&model).unwrap();
    let table = folder.join(format!("{version}.csv"));
    std::fs::write(&table, csv).unwrap();
    let built = driftd()
        .args(["baseline", "build", "--model", "credit", "--prediction", "score", "--out"])
        .args([&model.join("driftd-baseline.json"), &table])
        .output()
        .unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
}

/// The pod: a model server of which version is served, and the sidecar of that version in front of it.
pub struct Pod {
    version: Arc<AtomicU8>,
    pub sidecar: Sidecar,
}

impl Pod {
    async fn start(models: &Path, version: u8) -> Self {
        let of_server = Arc::new(AtomicU8::new(version));
        let served = Arc::clone(&of_server);
        let server = support::mock_model_server(move |request: Request| {
            let version = served.load(Ordering::Relaxed);
            async move {
                let body = axum::body::to_bytes(request.into_body(), usize::MAX).await.unwrap();
                let request: Value = serde_json::from_slice(&body).unwrap();
                let rows = request["instances"].as_array().unwrap();
                let predictions: Vec<f64> =
                    rows.iter().map(|row| predict(version, row[0].as_f64().unwrap())).collect();
                Json(json!({ "predictions": predictions })).into_response()
            }
        })
        .await;
        let environment = BTreeMap::from([
            ("DRIFTD_NAMESPACE".to_owned(), "prod".to_owned()),
            ("DRIFTD_INFERENCESERVICE".to_owned(), "credit".to_owned()),
            ("DRIFTD_COMPONENT".to_owned(), "predictor".to_owned()),
            ("DRIFTD_STORAGE_URI".to_owned(), uri(models, version)),
        ]);
        let config = models.join("driftd.yaml");
        let settings = json!({
            "admin": "127.0.0.1:0",
            "models": [{"name": "credit"}],
            "evaluation": {"interval": "200ms", "windows": ["15s", "5m"], "min_samples": 300},
            "taps": [{"proxy": {"listen": "127.0.0.1:0", "upstream": format!("http://{server}")}}],
        });
        std::fs::write(&config, settings.to_string()).unwrap(); // JSON is YAML
        Self { version: of_server, sidecar: Sidecar::with_config(&config, &environment) }
    }
}

pub fn uri(models: &Path, version: u8) -> String {
    format!("file://{}/{version}", models.display())
}

/// Applies the branch to the pod when it is asked to look, as Argo CD and KServe together do.
pub struct StandInArgoCd {
    models: std::path::PathBuf,
    repository: std::path::PathBuf,
    targets: std::path::PathBuf,
    pod: Mutex<Option<Arc<Pod>>>,
    applied: Mutex<Applied>,
    pub n_refreshed: AtomicUsize,
}

#[derive(Clone, Default)]
struct Applied {
    revision: String,
    at: String,
}

impl StandInArgoCd {
    /// `targets` is the file that Prometheus reads pods from.
    pub async fn start(models: &Path, remote: &Remote, targets: &Path) -> (Arc<Self>, SocketAddr) {
        let stand_in = Arc::new(Self {
            models: models.to_owned(),
            repository: remote.path(),
            targets: targets.to_owned(),
            pod: Mutex::default(),
            applied: Mutex::default(),
            n_refreshed: AtomicUsize::new(0),
        });
        stand_in.apply().await;
        let api = Arc::clone(&stand_in);
        let addr = support::mock_model_server(move |request| {
            let (api, uri) = (Arc::clone(&api), request.uri().clone());
            async move { api.answer(&uri).await }
        })
        .await;
        (stand_in, addr)
    }

    pub fn pod(&self) -> Arc<Pod> {
        Arc::clone(self.pod.lock().unwrap().as_ref().unwrap())
    }

    pub fn serving(&self) -> u8 {
        self.pod().version.load(Ordering::Relaxed)
    }

    /// What the branch says is served, by a pod of its own.
    pub async fn apply(&self) {
        let revision = self.git(&["rev-parse", "main"]);
        if self.applied.lock().unwrap().revision == revision {
            return;
        }
        let manifest = self.git(&["show", "main:credit.yaml"]);
        let version = manifest.lines().find_map(|line| line.rsplit_once("storageUri: ")).unwrap().1;
        let version: u8 = version.rsplit('/').next().unwrap().parse().unwrap();
        if self.pod.lock().unwrap().as_ref().is_none_or(|pod| pod.version.load(Ordering::Relaxed) != version)
        {
            let pod = Pod::start(&self.models, version).await;
            let targets = json!([{ "targets": [pod.sidecar.admin], "labels": {} }]);
            std::fs::write(self.targets.with_extension("new"), targets.to_string()).unwrap();
            std::fs::rename(self.targets.with_extension("new"), &self.targets).unwrap();
            *self.pod.lock().unwrap() = Some(Arc::new(pod));
        }
        *self.applied.lock().unwrap() = Applied { revision, at: now() };
    }

    fn git(&self, arguments: &[&str]) -> String {
        let output =
            std::process::Command::new("git").current_dir(&self.repository).args(arguments).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    async fn answer(&self, uri: &Uri) -> Response {
        let path = uri.path();
        if path.ends_with("/syncwindows") {
            return Json(json!({ "canSync": true })).into_response();
        }
        assert_eq!(path, "/api/v1/applications/models");
        if uri.query().is_some_and(|query| query.contains("refresh=normal")) {
            self.n_refreshed.fetch_add(1, Ordering::Relaxed);
            self.apply().await;
        }
        let Applied { revision, at } = self.applied.lock().unwrap().clone();
        let operation = json!({
            "phase": "Succeeded", "startedAt": at, "finishedAt": at, "message": "successfully synced",
            "operation": {"sync": {"revision": revision}}, "syncResult": {"revision": revision, "resources": []},
        });
        let spec =
            json!({"source": {"repoURL": "x", "path": "."}, "syncPolicy": {"automated": {"selfHeal": true}}});
        let status = json!({
            "sync": {"status": "Synced", "revision": revision}, "health": {"status": "Healthy"},
            "operationState": operation, "reconciledAt": now(),
        });
        Json(json!({ "metadata": {"name": "models"}, "spec": spec, "status": status })).into_response()
    }
}

fn now() -> String {
    Utc::now().to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// Callers, until dropped.
pub async fn call(argocd: Arc<StandInArgoCd>, is_shifted: Arc<AtomicBool>) {
    let (mut rng, client) = (Rng::with_seed(11), reqwest::Client::new());
    loop {
        let shift = if is_shifted.load(Ordering::Relaxed) { 1.5 } else { 0.0 };
        let rows: Vec<_> = (0..10).map(|_| (draw(&mut rng, shift), draw(&mut rng, 0.0))).collect();
        let url = format!("http://{}/v1/models/credit:predict", argocd.pod().sidecar.proxy);
        // A pod that is replaced in this moment refuses it.
        drop(client.post(&url).json(&json!({ "instances": rows })).send().await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
