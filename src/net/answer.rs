//! From an error to the answer its caller gets.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode};

/// Whose fault an error of an exchange is. Decides the log level: only ours needs a person to look at `driftd`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The caller's.
    Downstream,
    /// The model server's.
    Upstream,
    /// Ours.
    Ours,
}

/// `{"error": "driftd: …"}`: in a trace of a failing call, the name tells our answers from the model server's.
pub fn json_error(status: StatusCode, text: &str) -> Response<Bytes> {
    let body = serde_json::json!({ "error": format!("driftd: {text}") }).to_string();
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
