//! Where the controller is reached: alerts come in, people ask, Prometheus scrapes. Everything that changes something needs a token, and
//! what is answered with 202 is in the journal.

mod operators;
mod shape;
mod token;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, Request, StatusCode, header};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use prometheus::Registry;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::{debug, info, warn};

use super::alert::Delivery;
use super::config::ControllerConfig;
use super::engine::{Delivered, EngineHandle, Refused};
use crate::admin::exposition;
use crate::net::{accept, chain};
use crate::telemetry::controller::AlertOutcome;
use token::Token;

pub use token::MIN_TOKEN_BYTES;

/// A longer payload is refused: ten thousand alerts of the shipped rules are less.
const MAX_BODY_BYTES: usize = 4 << 20;
/// Deliveries that are read at the same time; with more, Alertmanager is told to come again.
const MAX_DELIVERIES: usize = 32;

/// Connections at the same time; others wait to be accepted. Whoever opens one has shown no token yet.
const MAX_CONNECTIONS: usize = 512;
/// A connection on which no request comes is closed.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// A delivery that takes longer to arrive holds up others.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// What is not in the journal by then has to be sent again.
const DELIVER_TIMEOUT: Duration = Duration::from_secs(30);
/// What is being answered at the end has this long.
const GRACE: Duration = Duration::from_secs(10);

/// Why it does not listen.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {addr}; is another process there, or the address not of this machine?")]
pub struct BindError {
    /// Where.
    pub addr: SocketAddr,
    /// Why not.
    pub source: io::Error,
}

/// A server that has its port.
pub struct Server {
    listener: TcpListener,
    shared: Arc<Shared>,
}

struct Shared {
    handle: EngineHandle,
    registry: Registry,
    alerts_token: Token,
    operators: Vec<(String, Token)>,
    deliveries: Semaphore,
}

impl Server {
    /// Binds `listen`.
    ///
    /// # Errors
    /// [`BindError`] if it cannot be bound.
    pub async fn bind(
        config: &ControllerConfig,
        handle: EngineHandle,
        registry: Registry,
    ) -> Result<Self, BindError> {
        let addr = config.listen;
        let listener = TcpListener::bind(addr).await.map_err(|source| BindError { addr, source })?;
        let shared = shared(config, handle, registry);
        Ok(Self { listener, shared: Arc::new(shared) })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// If the operating system does not say.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers until `stop`, and then what is being answered.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let Self { listener, shared } = self;
        let graceful = GracefulShutdown::new();
        let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let router = router(shared);
        let serve = async {
            loop {
                // The semaphore is never closed.
                let Ok(room) = Arc::clone(&connections).acquire_owned().await else { return };
                let (stream, peer) = accept(&listener).await;
                let (router, watcher) = (router.clone(), graceful.watcher());
                tokio::spawn(async move {
                    let _room = room;
                    connection(stream, peer, router, watcher).await;
                });
            }
        };
        tokio::select! {
            () = serve => (),
            () = stop => (),
        }
        drop(listener);
        if timeout(GRACE, graceful.shutdown()).await.is_err() {
            warn!("requests still being answered, leaving them behind");
        }
    }
}

async fn connection(stream: TcpStream, peer: SocketAddr, router: Router, watcher: Watcher) {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(64).keep_alive_interval(HEAD_TIMEOUT);
    let service = TowerToHyperService::new(router);
    let served = builder.serve_connection(TokioIo::new(stream), service).into_owned();
    if let Err(error) = watcher.watch(served).await {
        debug!(error = %chain(&*error), %peer, "a connection broke off");
    }
}

fn shared(config: &ControllerConfig, handle: EngineHandle, registry: Registry) -> Shared {
    let operators = config.api.operators.iter();
    Shared {
        handle,
        registry,
        alerts_token: Token::new(config.alerts_token_file.clone()),
        operators: operators.map(|each| (each.name.clone(), Token::new(each.token_file.clone()))).collect(),
        deliveries: Semaphore::new(MAX_DELIVERIES),
    }
}

fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/api/v1/alerts", post(deliver))
        .route(
            "/metrics",
            get(|State(shared): State<Arc<Shared>>| async move { exposition(&shared.registry) }),
        )
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(|| async { "ready\n" }))
        .merge(operators::with_tokens(operators::routes(), &shared))
        .fallback(|| async {
            refusal(StatusCode::NOT_FOUND, "there is nothing here; docs/controller.md has the API")
        })
        .layer(map_response(shape::in_our_shape))
        .with_state(shared)
}

/// In our words, as JSON.
fn refusal(status: StatusCode, text: &str) -> Response {
    (status, Json(serde_json::json!({ "error": format!("driftd: {text}") }))).into_response()
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let status = match &self {
            Self::NotLeader | Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Invalid(_) => StatusCode::CONFLICT,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
        };
        let mut response = refusal(status, &self.to_string());
        if matches!(self, Self::NotLeader) {
            // Behind a Service, only another connection leads to another replica.
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// Alertmanager tries again after a 5xx alone, so whatever may pass is one; and an alert about a model that nobody knows is no error.
async fn deliver(State(shared): State<Arc<Shared>>, request: Request<Body>) -> Response {
    let metrics = &shared.handle.context().measure.metrics;
    let answer = |outcome: AlertOutcome, response: Response| {
        metrics.count_alerts(outcome);
        response
    };
    match shared.alerts_token.is_in(request.headers()).await {
        Ok(true) => (),
        Ok(false) => {
            let text = "the token is not the one of `alerts.bearer_token_file`";
            return answer(AlertOutcome::Unauthorized, refusal(StatusCode::UNAUTHORIZED, text));
        }
        Err(error) => {
            warn!(error = %chain(&error), "the token of those who deliver alerts cannot be read");
            let text = "the token cannot be checked";
            return answer(AlertOutcome::Unavailable, refusal(StatusCode::SERVICE_UNAVAILABLE, text));
        }
    }
    let Ok(_room) = shared.deliveries.try_acquire() else {
        let text = "too many deliveries at once; come again";
        return answer(AlertOutcome::Unavailable, refusal(StatusCode::SERVICE_UNAVAILABLE, text));
    };
    let body = Limited::new(request.into_body(), MAX_BODY_BYTES).collect();
    let body = match timeout(BODY_TIMEOUT, body).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            let text = "a payload has 4 MiB at most; set `max_alerts` in Alertmanager";
            return answer(AlertOutcome::TooLarge, refusal(StatusCode::PAYLOAD_TOO_LARGE, text));
        }
        Ok(Err(_)) => {
            return answer(AlertOutcome::Malformed, refusal(StatusCode::BAD_REQUEST, "the body broke off"));
        }
        Err(_) => {
            let text = "the body takes too long; come again";
            return answer(AlertOutcome::Unavailable, refusal(StatusCode::SERVICE_UNAVAILABLE, text));
        }
    };
    let delivery = match Delivery::parse(&body) {
        Ok(delivery) => delivery,
        Err(error) => {
            warn!(error = %chain(&error), "a delivery is refused");
            return answer(AlertOutcome::Malformed, refusal(StatusCode::BAD_REQUEST, &chain(&error)));
        }
    };
    // While an incident waits for a full disk, so does what is to be added to it.
    let Ok(delivered) = timeout(DELIVER_TIMEOUT, shared.handle.deliver(delivery)).await else {
        let text = "the journal cannot be written; come again";
        return answer(AlertOutcome::Unavailable, refusal(StatusCode::SERVICE_UNAVAILABLE, text));
    };
    match delivered {
        Ok(delivered) => {
            info!(?delivered, "alerts came");
            let outcome = if delivered.n_begun > 0 || delivered.n_added == 0 {
                AlertOutcome::Accepted
            } else {
                AlertOutcome::Duplicate
            };
            answer(outcome, (StatusCode::ACCEPTED, Json(said(delivered))).into_response())
        }
        Err(refused) => answer(AlertOutcome::Unavailable, refused.into_response()),
    }
}

fn said(delivered: Delivered) -> serde_json::Value {
    let Delivered { n_begun, n_added, n_other } = delivered;
    serde_json::json!({ "begun": n_begun, "added": n_added, "other": n_other })
}

#[cfg(test)]
mod tests;
