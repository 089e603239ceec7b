//! Requests over HTTP: tried again where that may help, and with errors that say what to do.

use std::error::Error;
use std::time::Duration;

use http::StatusCode;
use reqwest::{Client, RequestBuilder, Response};

use super::StorageError;
use super::error::Reason;
use super::settings::{Limits, Settings};

/// The most that is read of an answer which is not the file itself.
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// Statuses that may be others the next time.
const PASSING: [StatusCode; 6] = [
    StatusCode::REQUEST_TIMEOUT,
    StatusCode::TOO_MANY_REQUESTS,
    StatusCode::INTERNAL_SERVER_ERROR,
    StatusCode::BAD_GATEWAY,
    StatusCode::SERVICE_UNAVAILABLE,
    StatusCode::GATEWAY_TIMEOUT,
];

/// A client with our bounds.
#[derive(Debug)]
pub(super) struct Web {
    client: Client,
    limits: Limits,
}

/// For whom and of what a request is, for messages.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) uri: &'a str,
    /// Where the credentials come from.
    pub(super) advice: &'static str,
}

impl Web {
    pub(super) fn new(settings: &Settings, insecure: bool) -> Result<Self, StorageError> {
        install_tls();
        let limits = settings.limits.clone();
        let client = Client::builder()
            .connect_timeout(limits.connect_timeout)
            .read_timeout(limits.idle_timeout)
            .user_agent(concat!("driftd/", env!("CARGO_PKG_VERSION")))
            .tls_danger_accept_invalid_certs(insecure)
            .build()
            .map_err(|error| StorageError::Unavailable {
                uri: "anything over HTTP".to_owned(),
                advice: "",
                source: Reason::innermost(&error),
            })?;
        Ok(Self { client, limits })
    }

    /// The answer, if it is one of success or `304 Not Modified`.
    pub(super) async fn get(
        &self,
        asked: Asked<'_>,
        request: impl Fn(&Client) -> RequestBuilder,
    ) -> Result<Response, StorageError> {
        let mut attempt = 0;
        loop {
            let sent = request(&self.client).send().await;
            let may_pass = match &sent {
                Ok(response) => PASSING.contains(&response.status()),
                Err(error) => !error.is_builder() && !error.is_redirect(),
            };
            if may_pass && attempt < self.limits.n_retries {
                pause(&self.limits, attempt).await;
                attempt += 1;
                continue;
            }
            return match sent {
                Ok(response) if response.status().is_success() => Ok(response),
                Ok(response) if response.status() == StatusCode::NOT_MODIFIED => Ok(response),
                Ok(response) => Err(refusal(asked, response).await),
                Err(error) => Err(no_answer(asked, error)),
            };
        }
    }

    /// A small answer in JSON.
    pub(super) async fn json(
        &self,
        asked: Asked<'_>,
        request: impl Fn(&Client) -> RequestBuilder,
    ) -> Result<serde_json::Value, StorageError> {
        let mut response = self.get(asked, request).await?;
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| no_answer(asked, error))? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > MAX_ANSWER_BYTES {
                let source = Reason::new(format!("an answer of more than {MAX_ANSWER_BYTES} bytes"));
                return Err(StorageError::Refused { uri: asked.uri.to_owned(), source });
            }
        }
        serde_json::from_slice(&bytes).map_err(|error| StorageError::Refused {
            uri: asked.uri.to_owned(),
            source: Reason::new(format!("no JSON in its answer: {error}")),
        })
    }
}

/// Twice as long each time, and not for all callers the same.
pub(super) async fn pause(limits: &Limits, attempt: u32) {
    let longest = limits.first_pause.saturating_mul(1 << attempt.min(6)).min(Duration::from_secs(10));
    tokio::time::sleep(longest.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
}

/// What a client says who got no answer, or none to the end.
pub(super) fn no_answer(asked: Asked<'_>, error: reqwest::Error) -> StorageError {
    let source = if error.is_timeout() {
        Reason::new("it did not answer in time")
    } else {
        Reason::innermost(&error.without_url()) // an address may carry a signature
    };
    StorageError::Unavailable { uri: asked.uri.to_owned(), advice: "", source }
}

/// What a status other than success means.
async fn refusal(asked: Asked<'_>, mut response: Response) -> StorageError {
    let status = response.status();
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        body.extend_from_slice(&chunk[..chunk.len().min(4096)]);
        if body.len() >= 4096 {
            break;
        }
    }
    let message = message(&body);
    let uri = asked.uri.to_owned();
    let source = Reason::new(format!("{status} {message}"));
    match status {
        StatusCode::NOT_FOUND | StatusCode::GONE => StorageError::NotFound { uri, detail: message },
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            StorageError::Denied { uri, advice: asked.advice, source }
        }
        _ if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS => {
            StorageError::Refused { uri, source }
        }
        _ => StorageError::Unavailable { uri, advice: "", source },
    }
}

/// What MLflow and others say in JSON; a page for people says nothing to ours.
fn message(body: &[u8]) -> String {
    let json: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let message = json.as_ref().and_then(|json| json.get("message")?.as_str()).unwrap_or_default();
    Reason::new(message).to_string()
}

/// Gives TLS its cryptography, for all of this process. Without it no client of HTTP can be made, not even one for
/// `http://` alone; twice does no harm.
pub fn install_tls() {
    // An error says that it is there already.
    drop(rustls::crypto::ring::default_provider().install_default());
}

/// Whether an error of a library is one of time.
pub(super) fn is_timeout(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.downcast_ref::<reqwest::Error>().is_some_and(reqwest::Error::is_timeout) {
            return true;
        }
        next = error.source();
    }
    false
}
