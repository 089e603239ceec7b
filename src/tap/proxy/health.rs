//! Whether the model server can be reached, for readiness.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::uri::Authority;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

use super::upstream::connect;

/// How often an idle upstream is tried. A probe is a connection opened and closed.
const PROBE_INTERVAL: Duration = Duration::from_secs(2);

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
        let mut ticks = interval(PROBE_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if self.0.heard.swap(false, Ordering::Relaxed) {
                continue;
            }
            self.set(connect(upstream, connect_timeout).await.is_ok());
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
