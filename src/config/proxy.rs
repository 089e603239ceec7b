//! The section `taps: [proxy: …]`.

use std::net::SocketAddr;
use std::time::Duration;

/// A reverse proxy in front of one model server.
#[derive(Clone, Debug)]
pub struct ProxyConfig {
    /// Where callers connect.
    pub listen: SocketAddr,
    /// `host:port` of the model server.
    pub upstream: http::uri::Authority,
    /// Share of exchanges that are copied, 0 to 1.
    pub sample_rate: f64,
    /// A longer body is passed on without a copy.
    pub max_body_bytes: usize,
    /// All copies together, in flight and queued.
    pub max_mirrored_bytes: usize,
    /// To open a connection to the upstream; then 502.
    pub connect_timeout: Duration,
    /// From sending the request to the upstream's response head; then 504.
    pub upstream_timeout: Duration,
    /// How long an unused upstream connection is kept. Below uvicorn's keep-alive of 5 s, so that we close first.
    pub upstream_idle_timeout: Duration,
}
