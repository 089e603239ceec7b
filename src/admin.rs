//! The admin listener: `/metrics`, `/livez`, `/readyz` and the JSON API. It answers from what the last tick left and
//! never asks the data path for anything.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use prometheus::{Encoder, Registry, TextEncoder};
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tracing::error;

use crate::pipeline::Report;

/// Says whether traffic can be served, and if not, why.
pub type Readiness = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// What the admin listener answers from.
#[derive(Clone)]
pub struct Admin {
    /// Every series we export.
    pub registry: Registry,
    /// What the last tick found.
    pub report: watch::Receiver<Arc<Report>>,
    /// Whether traffic can be served.
    pub readiness: Readiness,
}

/// How often it is looked whether the model server is still there.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

const INDEX: &str = "driftd\n
/metrics        series for Prometheus
/livez          200 while the process runs
/readyz         200 while it listens and the model server can be reached
/api/v1/drift   scores, samples, thresholds, verdicts and counts; ?model= ?version= ?feature= narrow it
";

impl Admin {
    /// Binds the listener.
    ///
    /// # Errors
    /// If the address cannot be bound.
    pub async fn bind(self, addr: SocketAddr) -> io::Result<BoundAdmin> {
        Ok(BoundAdmin { listener: TcpListener::bind(addr).await?, router: self.router() })
    }

    /// The routes.
    pub fn router(self) -> Router {
        Router::new()
            .route("/", get(|| async { INDEX }))
            .route("/metrics", get(metrics))
            .route("/livez", get(|| async { "ok\n" }))
            .route("/readyz", get(readyz))
            .route("/api/v1/drift", get(drift))
            .route("/wait-for-upstream-end", get(wait_for_upstream_end))
            .fallback(|| async { (StatusCode::NOT_FOUND, "not found; GET / lists what there is\n") })
            .with_state(self)
    }
}

/// An admin listener that has its port.
#[derive(Debug)]
pub struct BoundAdmin {
    listener: TcpListener,
    router: Router,
}

impl BoundAdmin {
    /// Where it listens.
    ///
    /// # Errors
    /// If the operating system does not say.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers until `stop`.
    ///
    /// # Errors
    /// If the listener fails.
    pub async fn run(self, stop: impl Future<Output = ()> + Send + 'static) -> io::Result<()> {
        // Not axum's graceful shutdown: a dashboard that keeps its connection would keep us from ending.
        tokio::select! {
            served = axum::serve(self.listener, self.router) => served,
            () = stop => Ok(()),
        }
    }
}

async fn metrics(State(admin): State<Admin>) -> Response {
    exposition(&admin.registry)
}

/// All series, for a scraper.
pub(crate) fn exposition(registry: &Registry) -> Response {
    let mut text = Vec::new();
    match TextEncoder::new().encode(&registry.gather(), &mut text) {
        Ok(()) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => {
            error!(%error, "cannot encode metrics");
            (StatusCode::INTERNAL_SERVER_ERROR, "cannot encode metrics\n").into_response()
        }
    }
}

async fn readyz(State(admin): State<Admin>) -> Response {
    match (admin.readiness)() {
        Ok(()) => "ready\n".into_response(),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {reason}\n")).into_response(),
    }
}

/// Answers once the model server is gone: as a `preStop` hook of the sidecar, it keeps the sidecar for as long as the server's own hook
/// keeps the server. Kubernetes ends both when the pod's grace is over.
async fn wait_for_upstream_end(State(admin): State<Admin>) -> &'static str {
    while (admin.readiness)().is_ok() {
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
    "the model server is gone\n"
}

/// What `/api/v1/drift` can be narrowed to.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DriftQuery {
    model: Option<String>,
    version: Option<String>,
    feature: Option<String>,
}

async fn drift(
    State(admin): State<Admin>,
    query: Result<Query<DriftQuery>, axum::extract::rejection::QueryRejection>,
) -> Response {
    let Query(query) = match query {
        Ok(query) => query,
        Err(error) => {
            return (
                StatusCode::BAD_REQUEST,
                format!("{}; use ?model= ?version= ?feature=\n", error.body_text()),
            )
                .into_response();
        }
    };
    let report = Arc::clone(&admin.report.borrow());
    let asked = |wanted: &Option<String>, is: &str| wanted.as_deref().is_none_or(|wanted| wanted == is);
    if query.model.is_none() && query.version.is_none() && query.feature.is_none() {
        return Json(&*report).into_response();
    }
    let mut report = Report::clone(&report);
    report.models.retain(|model| {
        asked(&query.model, &model.labels.model) && asked(&query.version, &model.labels.version)
    });
    for model in &mut report.models {
        model.features.retain(|feature| asked(&query.feature, &feature.name));
    }
    Json(report).into_response()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[tokio::test]
    async fn the_hook_answers_when_the_model_server_is_gone_and_not_before() {
        crate::storage::install_tls();
        let is_there = Arc::new(AtomicBool::new(true));
        let seen = Arc::clone(&is_there);
        let readiness = move || if seen.load(Ordering::Relaxed) { Ok(()) } else { Err("gone".to_owned()) };
        let report = watch::channel(Arc::default()).1;
        let admin = Admin { registry: Registry::new(), report, readiness: Arc::new(readiness) };
        let admin = admin.bind(([127, 0, 0, 1], 0).into()).await.unwrap();
        let url = format!("http://{}/wait-for-upstream-end", admin.local_addr().unwrap());
        let serving = tokio::spawn(admin.run(std::future::pending()));
        let mut asked = tokio::spawn(async move { reqwest::get(url).await.unwrap().text().await.unwrap() });
        assert!(tokio::time::timeout(3 * LOOK_INTERVAL, &mut asked).await.is_err(), "it is still there");
        is_there.store(false, Ordering::Relaxed);
        let answer = tokio::time::timeout(Duration::from_secs(30), asked).await.unwrap().unwrap();
        assert_eq!(answer, "the model server is gone\n");
        serving.abort();
    }
}
