//! What people may do, each by a token of their own, so that audit and commits say who it was.

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, Path, Query, Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Extension, Json, Router, middleware};
use serde::{Deserialize, Serialize};

use super::super::audit::Whole;
use super::super::engine::{Refused, RollbackAsk};
use super::super::incident::Timestamp;
use super::super::journal::{JournalError, Page};
use super::super::pause::{Pause, Scope};
use super::super::target::ServiceName;
use super::{Shared, refusal};
use crate::net::chain;

/// Incidents in one answer, unless another number is asked for.
const PAGE: u32 = 100;
/// And at most: each may have thousands of alerts.
const MAX_PAGE: u32 = 1000;

type Answer = Result<Response, Refused>;
type Caller = Extension<Operator>;

/// Who asks.
#[derive(Clone)]
struct Operator(String);

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/api/v1/status", get(status))
        .route("/api/v1/incidents", get(incidents))
        .route("/api/v1/incidents/{id}", get(incident))
        .route("/api/v1/incidents/{id}/approve", post(approve))
        .route("/api/v1/rollback", post(roll_back))
        .route("/api/v1/pauses", get(pauses).post(pause))
        .route("/api/v1/pauses/{*scope}", delete(resume))
        .route("/api/v1/verify", get(verify))
        .layer(DefaultBodyLimit::max(64 << 10))
        .layer(middleware::from_fn(no_cache))
}

/// Everything above needs a token; known by its path, since the router of a layer does not know its state.
pub(super) fn with_tokens(router: Router<Arc<Shared>>, shared: &Arc<Shared>) -> Router<Arc<Shared>> {
    router.layer(from_fn_with_state(Arc::clone(shared), by_token))
}

async fn no_cache(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let value = axum::http::HeaderValue::from_static("no-store");
    response.headers_mut().insert(axum::http::header::CACHE_CONTROL, value);
    response
}

async fn by_token(State(shared): State<Arc<Shared>>, mut request: Request, next: Next) -> Response {
    let mut caller = None;
    // All are compared, so that the time says nothing of who is known.
    for (name, token) in &shared.operators {
        match token.is_in(request.headers()).await {
            Ok(true) => caller = Some(name.clone()),
            Ok(false) => (),
            Err(error) => {
                tracing::warn!(operator = name, error = %chain(&error), "an operator's token cannot be read");
            }
        }
    }
    match caller {
        Some(name) => {
            request.extensions_mut().insert(Operator(name));
            next.run(request).await
        }
        None => refusal(StatusCode::UNAUTHORIZED, "the token is none of `api.operators`"),
    }
}

fn journal(error: &JournalError) -> Refused {
    Refused::Unavailable(chain(error))
}

#[derive(Serialize)]
struct Status {
    is_leader: bool,
    n_targets: usize,
    n_open: usize,
    pauses: Vec<Pause>,
}

async fn status(State(shared): State<Arc<Shared>>, _: Query<Nothing>) -> Answer {
    let context = shared.handle.context();
    let status = Status {
        is_leader: shared.handle.is_leader(),
        n_targets: context.config.targets.len(),
        n_open: context.journal.open_incidents().await.map_err(|error| journal(&error))?.len(),
        pauses: shared.handle.pauses().await,
    };
    Ok(Json(status).into_response())
}

/// Of a request that takes no query: `?dry_run=true` beside a body that does not say so must not be a rollback.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// Of the replica that is asked, also if it is a standby: its journal is another.
    #[serde(default)]
    here: bool,
}

impl Wanted {
    /// Each replica has a journal of its own; what is asked of "the controller" is asked of the active one.
    fn check(&self, shared: &Shared) -> Result<(), Refused> {
        if self.here || shared.handle.is_leader() { Ok(()) } else { Err(Refused::NotLeader) }
    }
}

/// Which incidents: the newest, or what is behind a number that was read before. Numbers are never given twice, so no page has an
/// incident of another, whatever comes meanwhile.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Listed {
    service: Option<ServiceName>,
    before: Option<u64>,
    #[serde(default = "default_limit")]
    limit: u32,
    #[serde(default)]
    here: bool,
}

const fn default_limit() -> u32 {
    PAGE
}

async fn incidents(State(shared): State<Arc<Shared>>, Query(listed): Query<Listed>) -> Answer {
    let Listed { service, before, limit, here } = listed;
    Wanted { here }.check(&shared)?;
    if !(1..=MAX_PAGE).contains(&limit) {
        let text = format!("`limit` is {limit}; give 1 to {MAX_PAGE}, and read on with `before`");
        return Ok(refusal(StatusCode::BAD_REQUEST, &text));
    }
    let page = Page { before, limit: Some(limit) };
    let found = shared.handle.context().journal.page(service.as_ref(), page).await;
    Ok(Json(found.map_err(|error| journal(&error))?).into_response())
}

async fn incident(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    Query(wanted): Query<Wanted>,
) -> Answer {
    wanted.check(&shared)?;
    let of_journal = &shared.handle.context().journal;
    let found = of_journal.incident(&id).await.map_err(|error| journal(&error))?;
    let incident = found.ok_or_else(|| Refused::NotFound(format!("there is no incident {id}")))?;
    let events = of_journal.events(incident.id).await.map_err(|error| journal(&error))?;
    Ok(Json(Whole { incident, events }).into_response())
}

async fn approve(
    State(shared): State<Arc<Shared>>,
    Extension(by): Caller,
    Path(id): Path<String>,
    _: Query<Nothing>,
) -> Answer {
    shared.handle.approve(&id, &by.0).await?;
    Ok(StatusCode::ACCEPTED.into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRollback {
    service: ServiceName,
    to: Option<String>,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    dry_run: bool,
}

async fn roll_back(
    State(shared): State<Arc<Shared>>,
    Extension(by): Caller,
    _: Query<Nothing>,
    Json(raw): Json<RawRollback>,
) -> Answer {
    let RawRollback { service, to, reason, dry_run } = raw;
    let ask = RollbackAsk { service, to, reason, by: by.0, is_dry_run: dry_run };
    let id = shared.handle.roll_back(ask).await?;
    Ok((StatusCode::ACCEPTED, Json(serde_json::json!({ "incident": id }))).into_response())
}

async fn pauses(State(shared): State<Arc<Shared>>, Query(wanted): Query<Wanted>) -> Answer {
    wanted.check(&shared)?;
    Ok(Json(shared.handle.pauses().await).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPause {
    scope: Scope,
    #[serde(default)]
    reason: String,
    until: Option<Timestamp>,
}

async fn pause(
    State(shared): State<Arc<Shared>>,
    Extension(by): Caller,
    _: Query<Nothing>,
    Json(raw): Json<RawPause>,
) -> Answer {
    let RawPause { scope, reason, until } = raw;
    let pause = Pause { scope, reason, by: by.0.clone(), since: chrono::Utc::now(), until };
    shared
        .handle
        .set_pauses(&by.0, move |pauses| {
            pauses.retain(|other| other.scope != pause.scope);
            pauses.push(pause);
        })
        .await?;
    Ok(StatusCode::ACCEPTED.into_response())
}

async fn resume(
    State(shared): State<Arc<Shared>>,
    Extension(by): Caller,
    Path(scope): Path<String>,
    _: Query<Nothing>,
) -> Answer {
    let scope: Scope = scope.parse().map_err(|error| Refused::NotFound(format!("{error}")))?;
    if !shared.handle.pauses().await.iter().any(|pause| pause.scope == scope) {
        return Err(Refused::NotFound(format!("{scope} is not paused here; a pause in Git ends in Git")));
    }
    shared.handle.set_pauses(&by.0, move |pauses| pauses.retain(|pause| pause.scope != scope)).await?;
    Ok(StatusCode::ACCEPTED.into_response())
}

async fn verify(State(shared): State<Arc<Shared>>, Query(wanted): Query<Wanted>) -> Answer {
    wanted.check(&shared)?;
    match shared.handle.context().journal.verify().await {
        Ok(verified) => Ok(Json(verified).into_response()),
        Err(error @ JournalError::Broken { .. }) => {
            Ok(refusal(StatusCode::INTERNAL_SERVER_ERROR, &chain(&error)))
        }
        Err(error) => Err(journal(&error)),
    }
}
