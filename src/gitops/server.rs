//! Where the controller is reached: alerts come in, people ask, Prometheus scrapes. Everything that changes something needs a token, and
//! what is answered with 202 is in the journal.

mod operators;
mod token;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{Request, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use prometheus::Registry;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tracing::{info, warn};

use super::alert::Delivery;
use super::config::ControllerConfig;
use super::engine::{Delivered, EngineHandle, Refused};
use crate::admin::exposition;
use crate::net::chain;
use crate::telemetry::controller::AlertOutcome;
use token::Token;

/// A longer payload is refused: ten thousand alerts of the shipped rules are less.
const MAX_BODY_BYTES: usize = 4 << 20;
/// Deliveries that are read at the same time; with more, Alertmanager is told to come again.
const MAX_DELIVERIES: usize = 32;

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
        let operators = config.api.operators.iter();
        let shared = Shared {
            handle,
            registry,
            alerts_token: Token::new(config.alerts_token_file.clone()),
            operators: operators
                .map(|each| (each.name.clone(), Token::new(each.token_file.clone())))
                .collect(),
            deliveries: Semaphore::new(MAX_DELIVERIES),
        };
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
    ///
    /// # Errors
    /// If the listener fails.
    pub async fn run(self, stop: impl Future<Output = ()> + Send + 'static) -> io::Result<()> {
        axum::serve(self.listener, router(self.shared)).with_graceful_shutdown(stop).await
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
        refusal(status, &self.to_string())
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
    let body = match Limited::new(request.into_body(), MAX_BODY_BYTES).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => {
            let text = "a payload has 4 MiB at most; set `max_alerts` in Alertmanager";
            return answer(AlertOutcome::TooLarge, refusal(StatusCode::PAYLOAD_TOO_LARGE, text));
        }
        Err(_) => {
            return answer(AlertOutcome::Malformed, refusal(StatusCode::BAD_REQUEST, "the body broke off"));
        }
    };
    let delivery = match Delivery::parse(&body) {
        Ok(delivery) => delivery,
        Err(error) => {
            warn!(error = %chain(&error), "a delivery is refused");
            return answer(AlertOutcome::Malformed, refusal(StatusCode::BAD_REQUEST, &chain(&error)));
        }
    };
    match shared.handle.deliver(delivery).await {
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
