//! In the places of Argo CD and Prometheus: the one applies the branch when it is asked to look, the other answers the controller's queries
//! as if pods served what is applied, of which version 2 drifts and version 1 does not.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use axum::Json;
use axum::extract::Request;
use axum::http::Uri;
use axum::response::{IntoResponse, Response};
use chrono::{SecondsFormat, Utc};
use driftd::baseline::source::version_of;
use serde_json::{Value, json};

use crate::rollback::remote::run;
use crate::support::mock_model_server;

pub fn uri(version: u8) -> String {
    format!("s3://models/credit/{version}")
}

/// Of the model that they know.
pub fn manifest(version: u8) -> String {
    format!(
        "apiVersion: serving.kserve.io/v1beta1\nkind: InferenceService\nmetadata: {{name: credit, namespace: prod}}\nspec:\n  predictor:\n    \
         model:\n      modelFormat: {{name: sklearn}}\n      storageUri: {}\n",
        uri(version)
    )
}

/// The alert on version 2, as Alertmanager delivers it.
pub fn alert() -> Value {
    json!({
        "status": "firing", "startsAt": "2026-11-26T12:00:00Z", "fingerprint": "00000000000000a1",
        "labels": {
            "alertname": "DriftdModelDrift", "driftd_action": "rollback", "namespace": "prod",
            "inferenceservice": "credit", "version": version_of(&uri(2)),
        },
    })
}

pub struct StandIns {
    pub argocd: SocketAddr,
    pub prometheus: SocketAddr,
}

/// The revision that is applied.
#[derive(Clone)]
struct Cluster {
    repository: PathBuf,
    revision: Arc<Mutex<String>>,
}

impl StandIns {
    /// What applies the branch `main` of a bare repository.
    pub async fn start(repository: &Path) -> Self {
        let revision = Arc::new(Mutex::new(run(repository, &["rev-parse", "main"])));
        let cluster = Cluster { repository: repository.to_owned(), revision };
        let of_argocd = cluster.clone();
        let argocd = mock_model_server(move |request: Request| {
            let cluster = of_argocd.clone();
            async move { cluster.application(request.uri()) }
        });
        let of_prometheus = cluster.clone();
        let prometheus = mock_model_server(move |request: Request| {
            let cluster = of_prometheus.clone();
            async move { cluster.metrics(request.uri()) }
        });
        Self { argocd: argocd.await, prometheus: prometheus.await }
    }
}

impl Cluster {
    fn served(&self) -> u8 {
        let revision = self.revision.lock().unwrap().clone();
        let manifest = run(&self.repository, &["show", &format!("{revision}:credit.yaml")]);
        manifest.trim().rsplit('/').next().unwrap().parse().unwrap()
    }

    fn application(&self, uri: &Uri) -> Response {
        if uri.path().ends_with("/syncwindows") {
            return Json(json!({ "canSync": true })).into_response();
        }
        if uri.query().is_some_and(|query| query.contains("refresh=normal")) {
            *self.revision.lock().unwrap() = run(&self.repository, &["rev-parse", "main"]);
        }
        let (revision, at) =
            (self.revision.lock().unwrap().clone(), Utc::now().to_rfc3339_opts(SecondsFormat::Secs, true));
        let operation = json!({
            "phase": "Succeeded", "startedAt": at, "finishedAt": at, "message": "successfully synced",
            "operation": {"sync": {"revision": revision}}, "syncResult": {"revision": revision, "resources": []},
        });
        let spec =
            json!({"source": {"repoURL": "x", "path": "."}, "syncPolicy": {"automated": {"selfHeal": true}}});
        let status = json!({
            "sync": {"status": "Synced", "revision": revision}, "health": {"status": "Healthy"},
            "operationState": operation, "reconciledAt": at,
        });
        Json(json!({ "metadata": {"name": "models"}, "spec": spec, "status": status })).into_response()
    }

    fn metrics(&self, uri: &Uri) -> Response {
        let data = if uri.path() == "/api/v1/alerts" {
            let firing =
                json!({"labels": alert()["labels"], "state": "firing", "activeAt": alert()["startsAt"]});
            json!({ "alerts": if self.served() == 2 { vec![firing] } else { Vec::new() } })
        } else {
            let mut asked = url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
            let query = asked.find(|(name, _)| name == "query").map(|(_, query)| query.into_owned()).unwrap();
            #[allow(clippy::cast_precision_loss, reason = "seconds of now")]
            let now = Utc::now().timestamp() as f64;
            let samples = samples(&query, self.served(), now).into_iter();
            let samples =
                samples.map(|(metric, value)| json!({"metric": metric, "value": [now, value.to_string()]}));
            json!({ "resultType": "vector", "result": samples.collect::<Vec<_>>() })
        };
        Json(json!({ "status": "success", "data": data })).into_response()
    }
}

/// What a query gives; each is known by how it begins, or by what it is about.
fn samples(query: &str, served: u8, now: f64) -> Vec<(Value, f64)> {
    let is_of = |version: u8| query.contains(&format!("version=\"{}\"", version_of(&uri(version))));
    let drifts = f64::from(u8::from(is_of(2)));
    let begins = |with: &str| query.starts_with(with);
    match query {
        _ if query.contains("ALERTS{") && is_of(2) => {
            vec![(json!({"alertname": "DriftdModelDrift", "alertstate": "firing"}), 1.0)]
        }
        // Both have been there for a while, version 1 for longer.
        _ if begins("label_replace(") => {
            let (first, last) = if is_of(2) { (now - 600.0, now) } else { (now - 3600.0, now - 601.0) };
            vec![(json!({"end": "first"}), first), (json!({"end": "last"}), last)]
        }
        _ if begins("max by (cause)") => vec![(json!({"cause": "model"}), drifts)],
        _ if begins("count by (borrowed)") => vec![(json!({"borrowed": "false"}), 1.0)],
        _ if begins("count by (model, version") => {
            let version = version_of(&uri(served));
            let hash = version.rsplit('-').next().unwrap(); // which a version's name ends with
            let labels = json!({"model": "credit", "version": version, "storage_uri_hash": hash, "component": "predictor"});
            vec![(labels, 1.0)]
        }
        _ if begins("max by (model, version)") => {
            vec![(json!({"model": "credit", "version": version_of(&uri(served))}), 5000.0)]
        }
        _ if begins("avg by (model, window, cause)") => {
            vec![(json!({"window": "5m", "cause": "model"}), drifts)]
        }
        _ if begins("avg by (model, window)") => vec![(json!({"window": "5m"}), drifts)],
        _ if begins("avg by (window)") => vec![(json!({"window": "5m"}), drifts)],
        _ if begins("count(count by (job, instance)") || begins("count((driftd_baseline_rows") => {
            vec![(json!({}), 1.0)]
        }
        _ if begins("sum((") => vec![(json!({}), 5000.0)],
        // Alerts on others, and taps that lose something: there are none.
        _ => Vec::new(),
    }
}
