//! What axum refuses by itself (a query, a body or a method that it does not take), in the shape of all other errors.

use axum::body::to_bytes;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::Response;

use super::refusal;

/// A refusal may repeat what it refuses, which is as long as a body of an operator's at most.
const MAX_TEXT_BYTES: usize = 128 << 10;

pub(super) async fn in_our_shape(response: Response) -> Response {
    let (status, headers) = (response.status(), response.headers());
    let is_json = headers.get(CONTENT_TYPE).is_some_and(|value| value == "application/json");
    if !status.is_client_error() || is_json {
        return response;
    }
    let text = to_bytes(response.into_body(), MAX_TEXT_BYTES).await.unwrap_or_default();
    let text = match status {
        // Refused without a word; the header is added outside of this.
        StatusCode::METHOD_NOT_ALLOWED => {
            "not by this method; the header `allow` names those that it takes".into()
        }
        _ => String::from_utf8_lossy(&text),
    };
    refusal(status, &text)
}
