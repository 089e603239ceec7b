//! Opening what is at a place on the network, and listing a folder of it.

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use http::header::{ETAG, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED};
use http::{HeaderMap, HeaderValue, StatusCode};
use object_store::{Error, GetOptions};

use super::StorageError;
use super::location::{Object, Place};
use super::mlflow::Tracking;
use super::objects;
use super::revision::{Mark, Revision};
use super::settings::Settings;
use super::web::{self, Asked, Web};

/// Objects that one pattern may stand for; past it the list would grow without a bound.
const MAX_LISTED: usize = 100_000;

const ADVICE_HTTP: &str =
    "the server wants credentials; write them as https://user:password@host/…, or use a signed URL";

/// What opening came to.
pub(super) enum Opened {
    NotModified,
    Body(Body),
}

/// Bytes on their way.
pub(super) struct Body {
    pub(super) revision: Revision,
    pub(super) n_bytes: Option<u64>,
    chunks: Chunks,
}

enum Chunks {
    Http(Box<reqwest::Response>),
    Object(BoxStream<'static, object_store::Result<Bytes>>),
}

/// A body that ended before its end: worth another attempt.
pub(super) struct Interrupted(pub(super) StorageError);

impl Body {
    /// The next piece; `None` at the end.
    pub(super) async fn next(&mut self, reader: &Reader<'_>) -> Result<Option<Bytes>, Interrupted> {
        match &mut self.chunks {
            Chunks::Http(response) => {
                let asked = Asked { uri: reader.shown, advice: ADVICE_HTTP };
                response.chunk().await.map_err(|error| Interrupted(web::no_answer(asked, error)))
            }
            Chunks::Object(stream) => match stream.next().await {
                None => Ok(None),
                Some(Ok(bytes)) => Ok(Some(bytes)),
                Some(Err(error)) => Err(Interrupted(reader.object_error(&error))),
            },
        }
    }
}

/// Reads one place.
pub(super) struct Reader<'a> {
    pub(super) place: &'a Place,
    pub(super) settings: &'a Settings,
    /// As the user named it.
    pub(super) shown: &'a str,
}

impl Reader<'_> {
    /// Tells this place from all others.
    pub(super) fn id(&self) -> String {
        match self.place {
            Place::File(path) => path.display().to_string(),
            Place::Http(url) => url.to_string(),
            Place::Artifact { server, path } => format!("{server} {path}"),
            Place::Object(Object { store, key }) => {
                format!("{store:?} {} {key}", objects::endpoint(store, self.settings))
            }
        }
    }

    /// Asks for it, unless it is still what is known.
    pub(super) async fn open(&self, known: Option<&Revision>) -> Result<Opened, StorageError> {
        let place = super::cache::digest(self.id().as_bytes());
        let mark = known.and_then(|known| known.mark_at(&place));
        let opened = match self.place {
            Place::Object(object) => self.open_object(object, mark).await?,
            Place::Http(url) => {
                let web = Web::new(self.settings, false)?;
                let asked = Asked { uri: self.shown, advice: ADVICE_HTTP };
                let headers = conditions(mark);
                opened(web.get(asked, |client| client.get(url.clone()).headers(headers.clone())).await?)
            }
            Place::Artifact { server, path } => {
                let tracking = Tracking::new(self.settings, self.shown)?;
                opened(tracking.artifact(server, path, &conditions(mark)).await?)
            }
            Place::File(path) => {
                let source = std::io::ErrorKind::Unsupported.into();
                return Err(StorageError::Io { path: path.clone(), source });
            }
        };
        let Some((mark_now, n_bytes, chunks)) = opened else { return Ok(Opened::NotModified) };
        let revision = Revision { place, mark: mark_now };
        // Some servers know no conditions and send everything again.
        if known.is_some_and(|known| known.is(&revision)) {
            return Ok(Opened::NotModified);
        }
        Ok(Opened::Body(Body { revision, n_bytes, chunks }))
    }

    async fn open_object(
        &self,
        object: &Object,
        known: Option<&Mark>,
    ) -> Result<Option<(Mark, Option<u64>, Chunks)>, StorageError> {
        let store = objects::store(object, self.settings, self.shown)?;
        let path = objects::path(&object.key, self.shown)?;
        let if_none_match = match known {
            Some(Mark::ETag(etag)) => Some(etag.clone()),
            _ => None,
        };
        let options = GetOptions { if_none_match, ..GetOptions::default() };
        let got = match store.get_opts(&path, options).await {
            Ok(got) => got,
            Err(Error::NotModified { .. }) => return Ok(None),
            Err(error) => return Err(self.object_error(&error)),
        };
        let n_bytes = got.meta.size;
        let last_modified =
            || Mark::LastModified { at: got.meta.last_modified.to_rfc3339(), n_bytes: Some(n_bytes) };
        let mark = got.meta.e_tag.clone().map_or_else(last_modified, Mark::ETag);
        Ok(Some((mark, Some(n_bytes), Chunks::Object(got.into_stream()))))
    }

    fn object_error(&self, error: &Error) -> StorageError {
        match self.place {
            Place::Object(object) => objects::explained(error, object, self.settings, self.shown),
            _ => StorageError::Refused {
                uri: self.shown.to_owned(),
                source: super::error::Reason::innermost(error),
            },
        }
    }

    /// The keys of objects below a folder, or names of an MLflow server's files in it; not in order.
    pub(super) async fn list(&self, folder: &str) -> Result<Vec<String>, StorageError> {
        match self.place {
            Place::Object(object) => {
                let store = objects::store(object, self.settings, self.shown)?;
                let prefix = objects::path(folder, self.shown)?;
                let mut objects = store.list(Some(&prefix));
                let mut keys = Vec::new();
                while let Some(object) = objects.next().await {
                    keys.push(object.map_err(|error| self.object_error(&error))?.location.to_string());
                    if keys.len() > MAX_LISTED {
                        return Err(StorageError::Uri {
                            uri: self.shown.to_owned(),
                            problem: format!(
                                "more than {MAX_LISTED} objects are there; name a smaller folder"
                            ),
                        });
                    }
                }
                Ok(keys)
            }
            Place::Artifact { server, .. } => {
                let names = Tracking::new(self.settings, self.shown)?.list(server, folder).await?;
                Ok(names.iter().map(|name| super::location::joined(folder, name)).collect())
            }
            Place::Http(_) | Place::File(_) => Ok(Vec::new()),
        }
    }
}

/// What a server of HTTP says of what it sends; `None` where it is still what is known.
fn opened(response: reqwest::Response) -> Option<(Mark, Option<u64>, Chunks)> {
    if response.status() == StatusCode::NOT_MODIFIED {
        return None;
    }
    let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let n_bytes = response.content_length();
    let mark = match (header(ETAG), header(LAST_MODIFIED)) {
        (Some(etag), _) => Mark::ETag(etag),
        (None, Some(at)) => Mark::LastModified { at, n_bytes },
        (None, None) => Mark::Unknown,
    };
    Some((mark, n_bytes, Chunks::Http(Box::new(response))))
}

fn conditions(known: Option<&Mark>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let (name, value) = match known {
        Some(Mark::ETag(etag)) => (IF_NONE_MATCH, etag),
        Some(Mark::LastModified { at, .. }) => (IF_MODIFIED_SINCE, at),
        _ => return headers,
    };
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
    headers
}
