//! A reverse proxy in front of one model server. It forwards first and unchanged, and copies in passing.
//!
//! Unchanged means: status, end-to-end headers (names in their case, values, order), body bytes and trailers. HTTP/1.1
//! and HTTP/2 with prior knowledge come in on one port and leave in the version in which they came.
//!
//! ```text
//! caller ─▶ accept ─▶ connection ─▶ forward ─▶ upstream ─▶ model server
//!                                      │ body, as frames pass
//!                                      └─▶ mirror ─▶ Intake
//! ```
//!
//! Limits. A request or response head has at most 32 KiB and 100 lines (431; 414 for a target above 65,534 bytes).
//! Lines of one header name are forwarded together, at the place of the first. HTTP/1.1 trailers are forwarded if
//! `Trailer` announces them and, towards the caller, if it sent `TE: trailers`; their names become lower case. Of 1xx
//! answers only 100 and 101 are relayed. An HTTP/1.1 caller that closes its sending side is taken to be gone.
//!
//! Memory, besides copies: a connection holds at most 32 KiB read and not yet passed on, and as much written and not
//! yet taken, and so does its upstream connection; an HTTP/2 stream 256 KiB each way, of what it sends 1 MiB with all
//! streams of its connection. h2 takes thousands of unread frames of less than 171 bytes on one connection for an attack
//! and closes it.
//!
//! A reset before the response head is a 502, after it a reset with the same code, and so is one of the caller's.

mod body;
mod connection;
mod error;
mod forward;
mod gate;
mod headers;
mod health;
mod mirror;
mod tunnel;
mod upstream;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, error, info};

use crate::config::ProxyConfig;
use crate::net::{accept, backlog};
use crate::pipeline::{Intake, MirrorBudget};
use crate::telemetry::TapMetrics;
use forward::Forwarder;
pub use health::UpstreamHealth;
use mirror::Mirror;
use upstream::Upstream;

/// A head must fit in, and no more of a body is read ahead. nginx takes heads of this size, `HAProxy` half. It is also
/// what a connection holds while a body passes: a thousand of them held 188 MiB with twice this, and 113 MiB with this.
const MAX_BUF_SIZE: usize = 32 * 1024;

/// The same for HTTP/2.
const MAX_HEADER_LIST_SIZE: u32 = 64 * 1024;

/// Bytes of one HTTP/2 stream that may be on their way before they are passed on.
const STREAM_WINDOW: u32 = 256 * 1024;

/// How often idle upstream connections are looked through.
const EXPIRE_INTERVAL: Duration = Duration::from_secs(1);

/// A proxy that listens, and serves once it is [`run`](Self::run).
#[derive(Debug)]
pub struct Proxy {
    listener: TcpListener,
    local_addr: SocketAddr,
    forwarder: Arc<Forwarder>,
    connect_timeout: Duration,
    stop_after_upstream: bool,
}

impl Proxy {
    /// Starts to listen. Nothing is accepted before [`run`](Self::run); callers wait in the backlog.
    ///
    /// # Errors
    /// If the address cannot be listened on.
    pub async fn bind(config: &ProxyConfig, intake: Intake, metrics: TapMetrics) -> io::Result<Self> {
        let listener = TcpListener::bind(config.listen).await?;
        let local_addr = listener.local_addr()?;
        let mirror = Mirror {
            intake,
            budget: MirrorBudget::new(config.max_mirrored_bytes, config.max_body_bytes),
            metrics,
            sample_rate: config.sample_rate,
        };
        let forwarder = Forwarder {
            upstream: Arc::new(Upstream::new(config)),
            mirror: Arc::new(mirror),
            upstream_timeout: config.upstream_timeout,
            tunnels: TaskTracker::new(),
            closing: CancellationToken::new(),
        };
        Ok(Self {
            listener,
            local_addr,
            forwarder: Arc::new(forwarder),
            connect_timeout: config.connect_timeout,
            stop_after_upstream: config.stop_after_upstream,
        })
    }

    /// Where it listens; with port 0 in the configuration, the port that was given.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Whether the model server can be reached, kept up to date while the proxy runs.
    pub fn upstream_health(&self) -> UpstreamHealth {
        self.forwarder.upstream.health.clone()
    }

    /// The memory that copies hold.
    pub fn budget(&self) -> MirrorBudget {
        self.forwarder.mirror.budget.clone()
    }

    /// Serves until `stop`, then accepts no more, completes what is in flight and returns when the last connection is
    /// done. With `stop_after_upstream` it accepts until the upstream does not. Keep-alive connections are closed after their current exchange (`Connection: close`, GOAWAY); those that the
    /// kernel had taken in by then may still ask once.
    ///
    /// How long that may take is the caller's to say: dropping this future closes whatever is left. Upgraded
    /// connections have no end of their own, so they last until they close or the future is dropped.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let Self { listener, local_addr, forwarder, connect_timeout, stop_after_upstream } = self;
        info!(proxy = %local_addr, upstream = %forwarder.upstream.authority, "forwarding");
        let _close_tunnels = forwarder.closing.clone().drop_guard();
        let draining = CancellationToken::new();
        let mut connections = JoinSet::new();
        {
            let upkeep = upkeep(&forwarder.upstream, connect_timeout);
            let accepting = accept_all(&listener, &forwarder, &draining, &mut connections);
            let stopped = async {
                stop.await;
                if stop_after_upstream {
                    // From here on a connection ends with its exchange, so that callers go elsewhere.
                    draining.cancel();
                    health::gone(&forwarder.upstream.authority, connect_timeout).await;
                }
            };
            tokio::select! { () = stopped => (), () = upkeep => (), () = accepting => () }
        }
        for stream in backlog(listener) {
            connections.spawn(connection::serve(stream, Arc::clone(&forwarder), draining.clone()));
        }
        draining.cancel();
        info!(n_connections = connections.len(), "the proxy is draining");
        while let Some(ended) = connections.join_next().await {
            report(ended);
        }
        forwarder.tunnels.close();
        forwarder.tunnels.wait().await;
    }
}

async fn accept_all(
    listener: &TcpListener,
    forwarder: &Arc<Forwarder>,
    draining: &CancellationToken,
    connections: &mut JoinSet<()>,
) {
    loop {
        tokio::select! {
            (stream, peer) = accept(listener) => {
                let serving = connection::serve(stream, Arc::clone(forwarder), draining.clone());
                debug!(%peer, "accepted a connection");
                connections.spawn(serving);
            }
            Some(ended) = connections.join_next() => report(ended),
        }
    }
}

/// A panic is the end of its connection only; that it happened is ours to look at.
fn report(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        error!(%error, "a connection of the proxy panicked; please report this");
    }
}

async fn upkeep(upstream: &Upstream, connect_timeout: Duration) {
    let expire = async {
        let mut ticks = interval(EXPIRE_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            upstream.expire();
        }
    };
    let probe = upstream.health.keep(&upstream.authority, connect_timeout);
    tokio::select! { () = expire => (), () = probe => () }
}
