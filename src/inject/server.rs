//! The server around [`answer`]: TLS, bounds, and the end.

mod body;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use prometheus::Registry;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, info, warn};

use super::Reason;
use super::config::{InjectConfig, WebhookConfig};
use super::review::{Asked, Outcome, Reviewed, answer, let_through};
use crate::admin::exposition;
use crate::net::tls::{CertificateFiles, Looked, server_config};
use crate::net::{accept, chain};
use crate::telemetry::WebhookMetrics;
use body::{Bodies, ReadBody};

/// A peer that does not get on with TLS is let go.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection without a request is closed; the API server opens another.
const HEAD_TIMEOUT: Duration = Duration::from_mins(1);
/// Reviews on one HTTP/2 connection at the same time: what Go's client expects of a server at least.
const MAX_STREAMS: u32 = 250;
/// What is being answered at the end has this long.
const GRACE: Duration = Duration::from_secs(10);

/// Why the webhook cannot start.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// A listener cannot be bound.
    #[error(
        "cannot listen on {addr} for {what}; is another process there, or the address not of this machine?"
    )]
    Bind {
        /// What would have listened.
        what: &'static str,
        /// Where.
        addr: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// Two parts registered one series.
    #[error("metrics clash; this is a bug")]
    Metrics(#[from] prometheus::Error),
}

/// A webhook that has its ports.
#[derive(Debug)]
pub struct Webhook {
    listener: TcpListener,
    admin: TcpListener,
    files: CertificateFiles,
    config: WebhookConfig,
    shared: Arc<Shared>,
}

/// What every request needs.
#[derive(Debug)]
struct Shared {
    inject: InjectConfig,
    bodies: Bodies,
    metrics: WebhookMetrics,
    registry: Registry,
    is_leaving: AtomicBool,
}

impl Webhook {
    /// Binds both listeners.
    ///
    /// # Errors
    /// [`WebhookError`] if one cannot be bound. A certificate that is not there yet is waited for.
    pub async fn bind(config: WebhookConfig) -> Result<Self, WebhookError> {
        let registry = Registry::new();
        let metrics = WebhookMetrics::register(&registry)?;
        let ends = [
            Outcome::Injected,
            Outcome::Repaired,
            Outcome::Unchanged,
            Outcome::NotAsked,
            Outcome::Other,
            Outcome::Malformed,
            Outcome::TooLarge,
        ];
        for outcome in ends.into_iter().chain(Reason::ALL.map(Outcome::Skipped)) {
            metrics.expect(outcome.labels());
        }
        let bind = async |what, addr| {
            TcpListener::bind(addr).await.map_err(|source| WebhookError::Bind { what, addr, source })
        };
        let shared = Shared {
            inject: config.inject.clone(),
            bodies: Bodies::new(config.max_in_flight, config.max_body_bytes),
            metrics,
            registry,
            is_leaving: AtomicBool::new(false),
        };
        let mut webhook = Self {
            listener: bind("the API server", config.listen).await?,
            admin: bind("the admin listener", config.admin).await?,
            files: CertificateFiles::new(config.tls.certificate.clone(), config.tls.key.clone()),
            config,
            shared: Arc::new(shared),
        };
        look(&mut webhook.files, &webhook.shared.metrics, &mut None);
        Ok(webhook)
    }

    /// Where the API server calls.
    ///
    /// # Errors
    /// If the operating system does not say.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Where metrics and health are.
    ///
    /// # Errors
    /// If the operating system does not say.
    pub fn admin_addr(&self) -> io::Result<SocketAddr> {
        self.admin.local_addr()
    }

    /// Answers until `stop`, and for `shutdown_delay` after it, until every API server has been told that it is leaving.
    ///
    /// # Errors
    /// If a listener fails, or TLS cannot be set up.
    pub async fn run(self, stop: impl Future<Output = ()>) -> io::Result<()> {
        let Self { listener, admin, mut files, config, shared } = self;
        let certificate = files.current();
        let tls = server_config(Arc::clone(&certificate)).map_err(io::Error::other)?;
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        let graceful = GracefulShutdown::new();
        let connections = Arc::new(Semaphore::new(config.max_connections));

        let serve = async {
            loop {
                // The semaphore is never closed.
                let Ok(room) = Arc::clone(&connections).acquire_owned().await else { return };
                let (stream, peer) = accept(&listener).await;
                let (acceptor, shared) = (acceptor.clone(), Arc::clone(&shared));
                let watcher = graceful.watcher();
                tokio::spawn(async move {
                    let _room = room;
                    connection(stream, peer, acceptor, shared, watcher).await;
                });
            }
        };
        let reload = async {
            let mut ticks = interval(config.tls.reload_interval.0);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut told = None;
            loop {
                ticks.tick().await;
                look(&mut files, &shared.metrics, &mut told);
            }
        };
        let leave = async {
            stop.await;
            shared.is_leaving.store(true, Ordering::Relaxed);
            info!(delay = ?config.shutdown_delay, "stopping: not ready, still answering");
            sleep(config.shutdown_delay).await;
        };
        let health = {
            let (shared, certificate) = (Arc::clone(&shared), Arc::clone(&certificate));
            move || match (certificate.is_loaded(), shared.is_leaving.load(Ordering::Relaxed)) {
                (_, true) => Err("stopping"),
                (false, false) => Err("there is no certificate yet"),
                (true, false) => Ok(()),
            }
        };
        let admin = axum::serve(admin, admin_router(Arc::clone(&shared), health));
        tokio::select! {
            () = serve => (),
            () = reload => (),
            served = async { admin.await } => return served,
            () = leave => (),
        }
        drop(listener);
        if timeout(GRACE, graceful.shutdown()).await.is_err() {
            warn!("reviews still being answered, leaving them behind");
        }
        info!("stopped");
        Ok(())
    }
}

/// Looks at the certificate's files; what is wrong is told when it changes.
fn look(files: &mut CertificateFiles, metrics: &WebhookMetrics, told: &mut Option<String>) {
    match files.look() {
        Ok(Looked::Same) => (),
        Ok(Looked::Loaded) => {
            *told = None;
            metrics.count_certificate(true);
            info!("certificate loaded");
        }
        Err(error) => {
            let error = chain(&error);
            if told.as_ref() != Some(&error) {
                metrics.count_certificate(false);
                warn!(%error, "certificate refused, the one before stays in force");
                *told = Some(error);
            }
        }
    }
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    acceptor: TlsAcceptor,
    shared: Arc<Shared>,
    watcher: hyper_util::server::graceful::Watcher,
) {
    let stream = match timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            shared.metrics.handshake_errors.inc();
            return debug!(%error, %peer, "no TLS");
        }
        Err(_) => {
            shared.metrics.handshake_errors.inc();
            return debug!(%peer, "TLS takes too long");
        }
    };
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .keep_alive_interval(HEAD_TIMEOUT)
        .keep_alive_timeout(HANDSHAKE_TIMEOUT);
    let service = TowerToHyperService::new(router(shared));
    let served = builder.serve_connection(TokioIo::new(stream), service).into_owned();
    if let Err(error) = watcher.watch(served).await {
        debug!(error = %chain(&*error), %peer, "a connection broke off");
    }
}

fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/mutate", post(review).layer(Extension(Asked::ByPod)))
        .route("/mutate/namespace", post(review).layer(Extension(Asked::ByNamespace)))
        .fallback(|| async { (StatusCode::NOT_FOUND, "driftd: there are /mutate and /mutate/namespace\n") })
        .layer(DefaultBodyLimit::disable()) // a longer one is answered too
        .with_state(shared)
}

fn admin_router(
    shared: Arc<Shared>,
    health: impl Fn() -> Result<(), &'static str> + Clone + Send + Sync + 'static,
) -> Router {
    let readyz = move || {
        let found = health();
        async move {
            match found {
                Ok(()) => "ready\n".into_response(),
                Err(reason) => {
                    (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {reason}\n")).into_response()
                }
            }
        }
    };
    Router::new()
        .route("/metrics", get(move || async move { exposition(&shared.registry) }))
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .fallback(|| async { (StatusCode::NOT_FOUND, "not found; there are /metrics, /livez, /readyz\n") })
}

async fn review(
    State(shared): State<Arc<Shared>>,
    Extension(asked): Extension<Asked>,
    request: Request<Body>,
) -> Response {
    let metrics = &shared.metrics;
    let began = Instant::now();
    let mut stay = Stay::begin(metrics);
    let reviewed = match shared.bodies.read(request.into_body()).await {
        ReadBody::Whole(body) => {
            // On this thread, of which there are few: so many are parsed at the same time, and no more.
            let timer = metrics.review_seconds.start_timer();
            let reviewed = answer(&shared.inject, asked, &body);
            timer.observe_duration();
            reviewed
        }
        ReadBody::TooLarge(beginning) => let_through(&beginning, Outcome::TooLarge),
        ReadBody::BrokeOff => return StatusCode::BAD_REQUEST.into_response(),
        ReadBody::TooSlow => return StatusCode::REQUEST_TIMEOUT.into_response(),
    };
    stay.is_answered = true;
    let Reviewed { body, outcome, refusal } = reviewed;
    metrics.count(outcome.labels());
    if let Some(refusal) = refusal {
        warn!(reason = refusal.reason.as_str(), text = refusal.text, "a pod gets no sidecar");
    } else {
        debug!(outcome = outcome.labels()[0], "review");
    }
    metrics.request_seconds.observe(began.elapsed().as_secs_f64());
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// A review that is being read or answered. It may end anywhere: where its caller hangs up, its future is dropped.
struct Stay<'a> {
    metrics: &'a WebhookMetrics,
    is_answered: bool,
}

impl<'a> Stay<'a> {
    fn begin(metrics: &'a WebhookMetrics) -> Self {
        metrics.in_flight.inc();
        Self { metrics, is_answered: false }
    }
}

impl Drop for Stay<'_> {
    fn drop(&mut self) {
        self.metrics.in_flight.dec();
        if !self.is_answered {
            self.metrics.broken_off.inc();
        }
    }
}

#[cfg(test)]
mod tests;
