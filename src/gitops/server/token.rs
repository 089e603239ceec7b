//! A bearer token in a file, read again when it changes: secrets are rotated while we run.

use std::path::PathBuf;
use std::time::SystemTime;

use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, HeaderValue};
use subtle::ConstantTimeEq;
use tokio::sync::Mutex;

/// A token of less is no secret.
pub const MIN_TOKEN_BYTES: usize = 8;

/// Why nobody can be let in.
#[derive(Debug, thiserror::Error)]
pub(super) enum TokenError {
    #[error("cannot read the token {}", .path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("the token {} is shorter than {MIN_TOKEN_BYTES} characters", .path.display())]
    Short { path: PathBuf },
}

pub(super) struct Token {
    path: PathBuf,
    known: Mutex<Option<(SystemTime, Vec<u8>)>>,
}

impl Token {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, known: Mutex::default() }
    }

    /// Whether a request carries it. Compared in the same time wherever it differs.
    pub(super) async fn is_in(&self, headers: &HeaderMap) -> Result<bool, TokenError> {
        let sent = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes);
        let Some(sent) = sent.and_then(|value| value.strip_prefix(b"Bearer ")) else { return Ok(false) };
        let token = self.read().await?;
        Ok(bool::from(token.ct_eq(sent)))
    }

    async fn read(&self) -> Result<Vec<u8>, TokenError> {
        let failed = |source| TokenError::Read { path: self.path.clone(), source };
        // Through the links of a mounted secret, whose time changes with them.
        let modified =
            tokio::fs::metadata(&self.path).await.and_then(|found| found.modified()).map_err(failed)?;
        let mut known = self.known.lock().await;
        if let Some((at, token)) = &*known
            && *at == modified
        {
            return Ok(token.clone());
        }
        let bytes = tokio::fs::read(&self.path).await.map_err(failed)?;
        let token = bytes.trim_ascii().to_vec();
        if token.len() < MIN_TOKEN_BYTES {
            return Err(TokenError::Short { path: self.path.clone() });
        }
        *known = Some((modified, token.clone()));
        Ok(token)
    }
}
