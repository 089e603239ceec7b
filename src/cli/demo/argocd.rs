//! A stand-in for Argo CD, with an Application that is synced automatically: what the branch says is applied to the pods when somebody
//! pushes and the repository tells it (`look`), and when the controller asks it to look (`refresh=normal`).

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::Context;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use chrono::Utc;
use serde::Deserialize;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::Mutex;

use super::pods::Pods;
use super::prometheus::moment;
use super::repository::{BRANCH, FILE, Repository};

/// The name of its Application.
pub const APPLICATION: &str = "models";

/// Applies a repository to pods.
#[derive(Debug)]
pub struct ArgoCd {
    repository: Repository,
    pods: Arc<Pods>,
    applied: Mutex<Applied>,
}

/// The commit that was applied last, and when.
#[derive(Clone, Debug)]
struct Applied {
    revision: String,
    at: String,
}

/// As much of an `InferenceService` as is needed.
#[derive(Deserialize)]
struct Manifest {
    spec: Spec,
}

#[derive(Deserialize)]
struct Spec {
    predictor: Predictor,
}

#[derive(Deserialize)]
struct Predictor {
    model: Model,
}

#[derive(Deserialize)]
struct Model {
    #[serde(rename = "storageUri")]
    storage_uri: String,
}

impl ArgoCd {
    /// Where the pods serve what the branch says. Returns where its API answers, until the runtime ends.
    ///
    /// # Errors
    /// If it cannot listen, or the repository not be read.
    pub async fn start(repository: Repository, pods: Arc<Pods>) -> anyhow::Result<(Arc<Self>, SocketAddr)> {
        let applied = Applied { revision: repository.tip().await?, at: now() };
        let argocd = Arc::new(Self { repository, pods, applied: Mutex::new(applied) });
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let addr = listener.local_addr()?;
        let application = format!("/api/v1/applications/{APPLICATION}");
        let router = Router::new()
            .route(&application, get(show))
            .route(&format!("{application}/syncwindows"), get(|| async { Json(json!({ "canSync": true })) }))
            .with_state(Arc::clone(&argocd));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok((argocd, addr))
    }

    /// Applies the newest commit, if it is not yet.
    ///
    /// # Errors
    /// If the repository cannot be read, or what it says not be served.
    pub async fn look(&self) -> anyhow::Result<()> {
        let mut applied = self.applied.lock().await;
        let revision = self.repository.tip().await?;
        if applied.revision != revision {
            let text = self.repository.git(&["show", &format!("{revision}:{FILE}")]).await?;
            let manifest: Manifest =
                serde_saphyr::from_str(&text).with_context(|| format!("reading {FILE}"))?;
            self.pods.serve(&manifest.spec.predictor.model.storage_uri).await?;
            *applied = Applied { revision, at: now() };
        }
        Ok(())
    }
}

#[derive(Deserialize)]
struct Asked {
    refresh: Option<String>,
}

async fn show(State(argocd): State<Arc<ArgoCd>>, Query(asked): Query<Asked>) -> Response {
    if asked.refresh.is_some()
        && let Err(error) = argocd.look().await
    {
        let error = format!("the demo's stand-in for Argo CD: {error:#}");
        return (StatusCode::INTERNAL_SERVER_ERROR, Json(json!({ "error": error }))).into_response();
    }
    let Applied { revision, at } = argocd.applied.lock().await.clone();
    let source = json!({ "path": "prod", "repoURL": argocd.repository.path(), "targetRevision": BRANCH });
    Json(json!({
        "metadata": { "name": APPLICATION },
        "spec": { "source": source, "syncPolicy": { "automated": { "selfHeal": true } } },
        "status": {
            "sync": { "status": "Synced", "revision": revision },
            "health": { "status": "Healthy" },
            "reconciledAt": now(),
            "operationState": {
                "phase": "Succeeded", "message": "successfully synced", "startedAt": at, "finishedAt": at,
                "operation": { "sync": { "revision": revision } },
                "syncResult": { "revision": revision, "resources": [] },
            },
        },
    }))
    .into_response()
}

fn now() -> String {
    moment(Utc::now().timestamp_millis())
}
