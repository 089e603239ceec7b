//! Why an exchange was answered by us instead of the model server.

use std::io;
use std::time::Duration;

use http::StatusCode;
use http::uri::Authority;

use crate::net::Fault;

/// Why the request could not be forwarded, or was not answered.
#[derive(Debug, thiserror::Error)]
pub(super) enum ForwardError {
    #[error("cannot reach the model server at {upstream}: {}; is it running, and is `upstream` right?", brief(.source))]
    Connect { upstream: Authority, source: io::Error },
    #[error(
        "cannot reach the model server at {upstream}: no connection within {}; is it running, and is `upstream` right?",
        humantime::format_duration(*.timeout)
    )]
    ConnectTimeout { upstream: Authority, timeout: Duration },
    #[error(
        "the model server at {upstream} did not answer within {}; see `upstream_timeout`",
        humantime::format_duration(*.timeout)
    )]
    Timeout { upstream: Authority, timeout: Duration },
    #[error("the model server at {upstream} broke off before it answered: {source}")]
    Broke { upstream: Authority, source: hyper::Error },
    #[error("the request body broke off: {source}")]
    Request { source: hyper::Error },
    #[error("CONNECT is not supported: this is a reverse proxy in front of one model server")]
    Connected,
}

impl ForwardError {
    pub(super) fn fault(&self) -> Fault {
        match self {
            Self::Request { .. } | Self::Connected => Fault::Downstream,
            Self::Connect { .. }
            | Self::ConnectTimeout { .. }
            | Self::Timeout { .. }
            | Self::Broke { .. } => Fault::Upstream,
        }
    }

    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Connect { .. } | Self::ConnectTimeout { .. } | Self::Broke { .. } => {
                StatusCode::BAD_GATEWAY
            }
            Self::Timeout { .. } => StatusCode::GATEWAY_TIMEOUT,
            Self::Request { .. } => StatusCode::BAD_REQUEST,
            Self::Connected => StatusCode::NOT_IMPLEMENTED,
        }
    }
}

/// `connection refused` rather than `Connection refused (os error 111)`: the text is for callers.
fn brief(error: &io::Error) -> String {
    if error.raw_os_error().is_some() { error.kind().to_string() } else { error.to_string() }
}
