//! Whether the model server can be reached, for readiness.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::uri::Authority;
use tokio::time::sleep;
use tracing::{info, warn};

use super::upstream::connect;

/// How often an idle upstream is tried. A probe is a connection opened and closed.
const PROBE_INTERVAL: Duration = Duration::from_secs(2);

/// How often one that cannot be reached is: a pod that starts waits for this, and Knative's activator with a request in its hand.
const RETRY_INTERVAL: Duration = Duration::from_millis(200);

/// How often a server that is about to end is: what it takes until then is answered, what comes later is not.
const END_INTERVAL: Duration = Duration::from_millis(20);

/// A shared flag, kept by the traffic itself and, while there is none, by a probe.
#[derive(Clone, Debug, Default)]
pub struct UpstreamHealth(Arc<Flags>);

#[derive(Debug, Default)]
struct Flags {
    reachable: AtomicBool,
    /// Answers came since the last probe was due, which makes it unnecessary.
    heard: AtomicBool,
}

impl UpstreamHealth {
    /// Whether the last attempt to reach the model server succeeded; `false` before the first.
    pub fn is_reachable(&self) -> bool {
        self.0.reachable.load(Ordering::Relaxed)
    }

    /// The upstream sent something. Cheap when that is no news: on the hot path both flags are only read.
    pub(super) fn heard(&self) {
        if !self.0.heard.load(Ordering::Relaxed) {
            self.0.heard.store(true, Ordering::Relaxed);
        }
        self.set(true);
    }

    /// A connection could not be opened.
    pub(super) fn unreachable(&self) {
        self.set(false);
    }

    /// Probes for as long as it is polled.
    pub(super) async fn keep(&self, upstream: &Authority, connect_timeout: Duration) {
        loop {
            if !self.0.heard.swap(false, Ordering::Relaxed) {
                self.set(connect(upstream, connect_timeout).await.is_ok());
            }
            sleep(if self.is_reachable() { PROBE_INTERVAL } else { RETRY_INTERVAL }).await;
        }
    }

    fn set(&self, reachable: bool) {
        if self.0.reachable.load(Ordering::Relaxed) == reachable {
            return;
        }
        if self.0.reachable.swap(reachable, Ordering::Relaxed) != reachable {
            if reachable {
                info!("the model server can be reached");
            } else {
                warn!("the model server cannot be reached");
            }
        }
    }
}

/// Resolves once no connection to the server can be opened: it has closed its listener, or has ended.
pub(super) async fn gone(upstream: &Authority, connect_timeout: Duration) {
    while connect(upstream, connect_timeout).await.is_ok() {
        sleep(END_INTERVAL).await;
    }
}
