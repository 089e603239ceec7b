//! The section `taps: [proxy: …]`.

use std::net::SocketAddr;
use std::time::Duration;

use serde::Deserialize;

use super::{ByteSize, ConfigError, HumanDuration};

/// A reverse proxy in front of one model server.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawProxy {
    /// Where callers connect, like `0.0.0.0:8080`.
    pub listen: SocketAddr,
    /// The model server, like `http://127.0.0.1:8081`.
    pub upstream: String,
    /// Share of exchanges that are copied and counted, 0 to 1. Default 1. Chosen per exchange before anything is
    /// decoded, so shares and scores stay unbiased.
    #[serde(default = "default_sample_rate")]
    pub sample_rate: f64,
    /// A longer body is passed on untouched and counted as `too_large`. Default `1MiB`.
    #[serde(default = "default_max_body_bytes")]
    pub max_body_bytes: ByteSize,
    /// All copies together, in flight and queued; past it, copies are dropped as `over_budget`. Default `8MiB`.
    #[serde(default = "default_max_mirrored_bytes")]
    pub max_mirrored_bytes: ByteSize,
    /// To open a connection to the upstream; then the caller gets a 502. Default `5s`.
    #[serde(default = "default_connect_timeout")]
    pub connect_timeout: HumanDuration,
    /// From sending a request to the upstream's response head; then the caller gets a 504. Default `300s`: models
    /// may be slow, and a caller that is in a hurry has a timeout of its own.
    #[serde(default = "default_upstream_timeout")]
    pub upstream_timeout: HumanDuration,
    /// How long an unused upstream connection is kept. Default `4s`, below uvicorn's keep-alive of 5 s: we close first.
    #[serde(default = "default_upstream_idle_timeout")]
    pub upstream_idle_timeout: HumanDuration,
    /// After the stop signal, go on taking connections until the upstream takes none. Default `false`. For a sidecar,
    /// which is told to stop together with its server: it must not be the first of the two to go.
    #[serde(default)]
    pub stop_after_upstream: bool,
}

const fn default_sample_rate() -> f64 {
    1.0
}

const fn default_max_body_bytes() -> ByteSize {
    ByteSize(1 << 20)
}

const fn default_max_mirrored_bytes() -> ByteSize {
    ByteSize(8 << 20)
}

const fn default_connect_timeout() -> HumanDuration {
    HumanDuration(Duration::from_secs(5))
}

const fn default_upstream_timeout() -> HumanDuration {
    HumanDuration(Duration::from_mins(5))
}

const fn default_upstream_idle_timeout() -> HumanDuration {
    HumanDuration(Duration::from_secs(4))
}

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
    /// How long an unused upstream connection is kept.
    pub upstream_idle_timeout: Duration,
    /// After the stop signal, go on taking connections until the upstream takes none.
    pub stop_after_upstream: bool,
}

impl ProxyConfig {
    /// With every default, as `driftd run --listen --upstream` has it.
    ///
    /// # Errors
    /// [`ConfigError`] if `upstream` is not an `http://host:port`.
    pub fn new(listen: SocketAddr, upstream: &str) -> Result<Self, ConfigError> {
        Self::try_from(RawProxy {
            listen,
            upstream: upstream.to_owned(),
            sample_rate: default_sample_rate(),
            max_body_bytes: default_max_body_bytes(),
            max_mirrored_bytes: default_max_mirrored_bytes(),
            connect_timeout: default_connect_timeout(),
            upstream_timeout: default_upstream_timeout(),
            upstream_idle_timeout: default_upstream_idle_timeout(),
            stop_after_upstream: false,
        })
    }
}

impl TryFrom<RawProxy> for ProxyConfig {
    type Error = ConfigError;

    fn try_from(raw: RawProxy) -> Result<Self, ConfigError> {
        if !(0.0..=1.0).contains(&raw.sample_rate) {
            return Err(ConfigError::invalid(
                "proxy.sample_rate",
                format!("is {}, must be a share between 0 and 1", raw.sample_rate),
            ));
        }
        if raw.max_body_bytes.0 == 0 || raw.max_body_bytes.0 > raw.max_mirrored_bytes.0 {
            return Err(ConfigError::invalid(
                "proxy.max_body_bytes",
                "must be above 0 and not above `max_mirrored_bytes`, or no body of that size could ever be copied",
            ));
        }
        Ok(Self {
            listen: raw.listen,
            upstream: upstream_authority(&raw.upstream)?,
            sample_rate: raw.sample_rate,
            max_body_bytes: raw.max_body_bytes.0,
            max_mirrored_bytes: raw.max_mirrored_bytes.0,
            connect_timeout: raw.connect_timeout.0,
            upstream_timeout: raw.upstream_timeout.0,
            upstream_idle_timeout: raw.upstream_idle_timeout.0,
            stop_after_upstream: raw.stop_after_upstream,
        })
    }
}

/// The authority of `http://host:port`, with port 80 written out where the URL leaves it out.
fn upstream_authority(url: &str) -> Result<http::uri::Authority, ConfigError> {
    let problem = |why: &str| {
        ConfigError::invalid(
            "proxy.upstream",
            format!("`{url}` {why}; write it like `http://127.0.0.1:8081`"),
        )
    };
    let uri: http::Uri = url.parse().map_err(|error| problem(&format!("is not a URL ({error})")))?;
    if uri.scheme() != Some(&http::uri::Scheme::HTTP) {
        return Err(problem("is not plain http, and TLS to a model server in the same pod is not supported"));
    }
    if !matches!(uri.path_and_query().map(http::uri::PathAndQuery::as_str), None | Some("/")) {
        return Err(problem("has a path, but requests are passed on with the path they came with"));
    }
    let authority = uri.authority().ok_or_else(|| problem("has no host"))?;
    if authority.port().is_some() {
        return Ok(authority.clone());
    }
    format!("{authority}:80").parse().map_err(|_| problem("has no valid host"))
}
