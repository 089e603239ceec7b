//! The services the controller asks over HTTP: one address, a token that is read again when its file changes, bounds on time
//! and size, and errors that say who failed.

use std::error::Error as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::header::{AUTHORIZATION, HeaderValue};
use http::{Method, StatusCode};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, Response};
use serde::de::DeserializeOwned;
use url::Url;

/// The most that is read of an answer: ten thousand alerts with all their labels are some 10 MiB.
const MAX_ANSWER_BYTES: usize = 64 << 20;

/// The most that is repeated of an answer that is an error.
const MAX_MESSAGE_CHARS: usize = 300;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The client cannot be made.
    #[error("cannot use {}; it has to be readable and hold certificates in PEM", .path.display())]
    Authorities {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No client could be made at all.
    #[error("cannot make a client for {who}")]
    Client {
        /// Which service.
        who: &'static str,
        /// Why.
        source: reqwest::Error,
    },
    /// The token cannot be sent.
    #[error("cannot use the token for {who} in {}: {problem}", .path.display())]
    Token {
        /// Which service.
        who: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// Nobody answered, or not to the end, or not in time.
    #[error("{who} does not answer: {problem}")]
    Unreachable {
        /// Which service.
        who: &'static str,
        /// The innermost reason, without the address.
        problem: String,
    },
    /// It answered with an error.
    #[error("{who} answered {status}: {message}")]
    Status {
        /// Which service.
        who: &'static str,
        /// The status.
        status: StatusCode,
        /// What it says, on one line.
        message: String,
    },
    /// It answered with something else than asked for.
    #[error("{who} answered with something that is not understood: {problem}")]
    Answer {
        /// Which service.
        who: &'static str,
        /// What is wrong with it.
        problem: String,
    },
}

impl HttpError {
    /// The status, where there was an answer.
    pub const fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Status { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Whether the same request may be answered later: nobody answered, too many asked, or the service failed.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Status { status, .. } => {
                status.is_server_error()
                    || [StatusCode::TOO_MANY_REQUESTS, StatusCode::REQUEST_TIMEOUT].contains(status)
            }
            _ => false,
        }
    }

    /// As a label value.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Authorities { .. } | Self::Client { .. } => "client",
            Self::Token { .. } => "token",
            Self::Unreachable { .. } => "unreachable",
            Self::Status { .. } => "status",
            Self::Answer { .. } => "answer",
        }
    }
}

/// How a token is presented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `Authorization: Bearer …`.
    Bearer,
    /// `Authorization: token …`, which Gitea takes everywhere.
    Token,
}

/// One service: cheap to clone, keeps its connections.
#[derive(Clone, Debug)]
pub struct Service {
    who: &'static str,
    client: Client,
    base: Url,
    token: Option<(Scheme, PathBuf)>,
}

/// How to reach a service.
#[derive(Clone, Debug)]
pub struct Access<'a> {
    /// What messages call it.
    pub who: &'static str,
    /// Its address; a path is kept in front of those asked for.
    pub url: &'a Url,
    /// A file with a token.
    pub token: Option<(Scheme, &'a Path)>,
    /// Authorities, PEM, beyond the usual ones.
    pub ca_file: Option<&'a Path>,
    /// For a whole exchange.
    pub timeout: Duration,
}

impl Service {
    /// Without asking it anything yet.
    ///
    /// # Errors
    /// [`HttpError::Authorities`] or [`HttpError::Client`].
    pub fn new(access: &Access<'_>) -> Result<Self, HttpError> {
        crate::storage::install_tls();
        let mut builder = Client::builder()
            .connect_timeout(access.timeout)
            .timeout(access.timeout)
            // A token is for one service: where another one is named, an operator has to say so.
            .redirect(Policy::none())
            .user_agent(concat!("driftd/", env!("CARGO_PKG_VERSION")));
        if let Some(path) = access.ca_file {
            builder = builder.tls_certs_merge(authorities(path)?);
        }
        let client = builder.build().map_err(|source| HttpError::Client { who: access.who, source })?;
        Ok(Self {
            who: access.who,
            client,
            base: access.url.clone(),
            token: access.token.map(|(scheme, path)| (scheme, path.to_owned())),
        })
    }

    /// What messages call it.
    pub const fn who(&self) -> &'static str {
        self.who
    }

    /// The address of these segments below that of the service, each encoded, so that a name cannot leave its place.
    pub fn url(&self, segments: &[&str], query: &[(&str, &str)]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url
    }

    /// Asks, and reads what is answered.
    ///
    /// # Errors
    /// [`HttpError`] unless it is of success and of that type.
    pub async fn get<T: DeserializeOwned>(
        &self,
        segments: &[&str],
        query: &[(&str, &str)],
    ) -> Result<T, HttpError> {
        let body = self.exchange(Method::GET, segments, query, None).await?;
        self.parse(&body)
    }

    /// Tells it something, and reads what is answered; an empty answer is `null`.
    ///
    /// # Errors
    /// [`HttpError`] unless it is of success and of that type.
    pub async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        segments: &[&str],
        query: &[(&str, &str)],
        body: Option<&serde_json::Value>,
    ) -> Result<T, HttpError> {
        let body = self.exchange(method, segments, query, body).await?;
        self.parse(if body.is_empty() { b"null" } else { &body })
    }

    async fn exchange(
        &self,
        method: Method,
        segments: &[&str],
        query: &[(&str, &str)],
        body: Option<&serde_json::Value>,
    ) -> Result<Vec<u8>, HttpError> {
        let mut request = self.client.request(method, self.url(segments, query));
        if let Some((scheme, path)) = &self.token {
            request = request.header(AUTHORIZATION, self.authorization(*scheme, path).await?);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        let is_success = status.is_success();
        let limit = if is_success { MAX_ANSWER_BYTES } else { 64 << 10 };
        let (body, is_whole) = self.body(response, limit).await?;
        if !is_success {
            return Err(HttpError::Status { who: self.who, status, message: message(&body) });
        }
        if !is_whole {
            let problem = format!("it is longer than {limit} bytes");
            return Err(HttpError::Answer { who: self.who, problem });
        }
        Ok(body)
    }

    /// Up to the limit, and whether that was all.
    async fn body(&self, mut response: Response, limit: usize) -> Result<(Vec<u8>, bool), HttpError> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.unreachable(&error))? {
            body.extend_from_slice(&chunk);
            if body.len() > limit {
                body.truncate(limit);
                return Ok((body, false));
            }
        }
        Ok((body, true))
    }

    fn parse<T: DeserializeOwned>(&self, body: &[u8]) -> Result<T, HttpError> {
        serde_json::from_slice(body)
            .map_err(|error| HttpError::Answer { who: self.who, problem: error.to_string() })
    }

    /// Read for every request: tokens are replaced while we run, and a file is in memory anyway.
    async fn authorization(&self, scheme: Scheme, path: &Path) -> Result<HeaderValue, HttpError> {
        let invalid = |problem: String| HttpError::Token { who: self.who, path: path.to_owned(), problem };
        let text = tokio::fs::read_to_string(path).await.map_err(|error| invalid(error.to_string()))?;
        let token = text.trim();
        if token.is_empty() {
            return Err(invalid("it is empty".to_owned()));
        }
        let scheme = match scheme {
            Scheme::Bearer => "Bearer",
            Scheme::Token => "token",
        };
        let mut value = HeaderValue::try_from(format!("{scheme} {token}"))
            .map_err(|_| invalid("it holds characters that no header may have".to_owned()))?;
        value.set_sensitive(true);
        Ok(value)
    }

    fn unreachable(&self, error: &reqwest::Error) -> HttpError {
        HttpError::Unreachable { who: self.who, problem: innermost(error) }
    }
}

fn authorities(path: &Path) -> Result<Vec<Certificate>, HttpError> {
    let invalid = |source: Box<dyn std::error::Error + Send + Sync>| HttpError::Authorities {
        path: path.to_owned(),
        source,
    };
    let pem = std::fs::read(path).map_err(|error| invalid(error.into()))?;
    let found = Certificate::from_pem_bundle(&pem).map_err(|error| invalid(error.into()))?;
    if found.is_empty() {
        return Err(invalid("it holds none".into()));
    }
    Ok(found)
}

/// The layers around it repeat each other, and name an address.
fn innermost(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "not within the time it has".to_owned();
    }
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    let text = innermost.to_string();
    if error.source().is_none() { error.to_string().replace(" for url", "") } else { text }
}

/// What services say of an error, in the fields they say it in; else the text itself.
fn message(body: &[u8]) -> String {
    let json: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let said = json.as_ref().and_then(|json| {
        let fields = ["message", "error", "errors"].iter().filter_map(|&name| match json.get(name)? {
            serde_json::Value::Null => None,
            serde_json::Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        });
        // GitHub says "Validation Failed" in the one, and why in the other.
        Some(fields.collect::<Vec<_>>().join(": ")).filter(|said| !said.is_empty())
    });
    let text = said.unwrap_or_else(|| String::from_utf8_lossy(body).into_owned());
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().filter(|char| !char.is_control()).take(MAX_MESSAGE_CHARS).collect()
}

#[cfg(test)]
mod tests;
