//! URIs as people write them, and what they name.

use std::fmt;
use std::path::{Path, PathBuf};

use percent_encoding::percent_decode_str;
use url::Url;

use super::StorageError;
use super::mlflow::MlflowUri;

/// What a baseline is called that lies beside its model.
pub const BASELINE_NAME: &str = "driftd-baseline.json";

/// What can be read, for those who wrote something else.
const KNOWN: &str = "write a path, s3://bucket/key, gs://bucket/key, az://container/key, https://…, mlflow:models:/name/version \
                     or mlflow:runs:/id/path";

/// Where data or a baseline is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    shown: String,
    pub(super) kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Place(Place),
    /// To be looked up in a tracking server.
    Mlflow(MlflowUri),
}

/// Where bytes are: nothing is left to look up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    File(PathBuf),
    Object(Object),
    Http(Url),
    /// A file that an MLflow server hands on, by its path there.
    Artifact {
        server: Url,
        path: String,
    },
}

/// An object, or with a pattern or an empty last segment as its key several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Object {
    pub(super) store: Store,
    pub(super) key: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Store {
    S3 {
        bucket: String,
    },
    Gs {
        bucket: String,
    },
    /// `account` is the environment's where the URI has none. By `https://` it may also be open to everybody.
    Azure {
        container: String,
        account: Option<String>,
        is_https: bool,
    },
}

impl Location {
    /// Reads a URI or a path.
    ///
    /// # Errors
    /// [`StorageError::Uri`] if it is a URI, but none that we read.
    pub fn parse(text: &str) -> Result<Self, StorageError> {
        let error = |problem: String| StorageError::Uri { uri: without_credentials(text), problem };
        let location = |kind| Self { shown: without_credentials(text), kind };
        let place = |place| Ok(location(Kind::Place(place)));
        let Some((scheme, rest)) = scheme(text) else { return place(Place::File(text.into())) };
        let authority = rest.strip_prefix("//");
        match (scheme.as_str(), authority) {
            ("mlflow" | "models" | "runs" | "mlflow-artifacts", _) => {
                let uri = MlflowUri::parse(text).map_err(error)?;
                Ok(location(Kind::Mlflow(uri)))
            }
            ("file", _) => {
                let path = authority.unwrap_or(rest);
                let path =
                    path.strip_prefix("localhost").filter(|path| path.starts_with('/')).unwrap_or(path);
                if !path.starts_with('/') {
                    return Err(error(
                        "a file is written with three slashes, like file:///data/x.csv".to_owned(),
                    ));
                }
                place(Place::File(percent_decode_str(path).decode_utf8_lossy().as_ref().into()))
            }
            ("s3" | "s3a" | "s3n", Some(rest)) => {
                let (bucket, key) = bucket(rest).map_err(error)?;
                place(Place::Object(Object { store: Store::S3 { bucket }, key }))
            }
            ("gs" | "gcs", Some(rest)) => {
                let (bucket, key) = bucket(rest).map_err(error)?;
                place(Place::Object(Object { store: Store::Gs { bucket }, key }))
            }
            ("az" | "azure" | "adl" | "abfs" | "abfss" | "wasb" | "wasbs", Some(rest)) => {
                place(Place::Object(azure(rest).map_err(error)?))
            }
            ("http" | "https", Some(_)) => {
                let url = Url::parse(text).map_err(|problem| error(format!("{problem}; {KNOWN}")))?;
                place(azure_over_https(&url).map_or(Place::Http(url), Place::Object))
            }
            ("pvc", Some(_)) => Err(error("mount the volume and write the path it is mounted at".to_owned())),
            (_, Some(_)) => Err(error(format!("`{scheme}:` is no storage that driftd knows; {KNOWN}"))),
            // A colon in the name of a file.
            (_, None) => place(Place::File(text.into())),
        }
    }

    /// Its path, if it is a file of this machine.
    pub fn local_path(&self) -> Option<&Path> {
        match &self.kind {
            Kind::Place(Place::File(path)) => Some(path),
            _ => None,
        }
    }

    /// The same with `name` below it.
    #[must_use]
    pub fn join(&self, name: &str) -> Self {
        let kind = match &self.kind {
            Kind::Place(place) => Kind::Place(place.join(name)),
            Kind::Mlflow(uri) => Kind::Mlflow(uri.join(name)),
        };
        Self { shown: joined(&self.shown, name), kind }
    }

    pub(super) fn join_if_any(self, path: &str) -> Self {
        if path.is_empty() { self } else { self.join(path) }
    }

    /// Its folder; `None` at the top.
    fn parent(&self) -> Option<Self> {
        let (shown, _) = self.shown.trim_end_matches('/').rsplit_once('/')?;
        let kind = match &self.kind {
            Kind::Place(place) => Kind::Place(place.parent()?),
            Kind::Mlflow(uri) => Kind::Mlflow(uri.parent()?),
        };
        Some(Self { shown: shown.to_owned(), kind })
    }

    /// Where `name` may be that belongs to the model here, the likeliest first: in the folder that this is, or in that of
    /// the file which it may be as well.
    pub fn beside(&self, name: &str) -> Vec<Self> {
        let mut candidates = vec![self.join(name)];
        if self.has_extension() {
            candidates.extend(self.parent().map(|folder| folder.join(name)));
        }
        candidates
    }

    /// Where the baseline may be that this stands for: here, or [`BASELINE_NAME`] beside a model that is here. What ends
    /// in `.json` is a baseline; of a path on this machine the file system knows whether it is a folder.
    pub fn baselines(&self) -> Vec<Self> {
        let is_itself = match &self.kind {
            Kind::Place(Place::File(path)) => !path.is_dir(),
            _ => self.file_name().to_ascii_lowercase().ends_with(".json"),
        };
        if is_itself { vec![self.clone()] } else { self.beside(BASELINE_NAME) }
    }

    /// The name of the file, if it is one.
    pub(crate) fn file_name(&self) -> &str {
        self.shown.rsplit('/').next().unwrap_or_default()
    }

    /// Like `model.joblib`, and not like the folder `v1.2`.
    fn has_extension(&self) -> bool {
        self.file_name().rsplit_once('.').is_some_and(|(stem, extension)| {
            !stem.is_empty() && extension.starts_with(|first: char| first.is_ascii_alphabetic())
        })
    }

    pub(super) fn at(shown: String, place: Place) -> Self {
        Self { shown, kind: Kind::Place(place) }
    }
}

/// As the user wrote it, without credentials.
impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl Place {
    pub(super) fn join(&self, name: &str) -> Self {
        match self {
            Self::File(path) => Self::File(path.join(name)),
            Self::Object(Object { store, key }) => {
                Self::Object(Object { store: store.clone(), key: joined(key, name) })
            }
            Self::Http(url) => {
                let mut url = url.clone();
                let path = joined(url.path(), name);
                url.set_path(&path);
                Self::Http(url)
            }
            Self::Artifact { server, path } => {
                Self::Artifact { server: server.clone(), path: joined(path, name) }
            }
        }
    }

    fn parent(&self) -> Option<Self> {
        let folder = |path: &str| {
            path.trim_end_matches('/').rsplit_once('/').map_or(String::new(), |(folder, _)| folder.to_owned())
        };
        Some(match self {
            Self::File(path) => Self::File(path.parent()?.to_owned()),
            Self::Object(Object { key, .. }) | Self::Artifact { path: key, .. } if key.is_empty() => {
                return None;
            }
            Self::Object(Object { store, key }) => {
                Self::Object(Object { store: store.clone(), key: folder(key) })
            }
            Self::Artifact { server, path } => Self::Artifact { server: server.clone(), path: folder(path) },
            Self::Http(url) if url.path() == "/" => return None,
            Self::Http(url) => {
                let mut url = url.clone();
                let path = folder(url.path());
                url.set_path(&path);
                Self::Http(url)
            }
        })
    }
}

/// The scheme in lower case, and what follows its colon.
fn scheme(text: &str) -> Option<(String, &str)> {
    let (scheme, rest) = text.split_once(':')?;
    let is_scheme = scheme.len() > 1
        && scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.chars().all(|one| one.is_ascii_alphanumeric() || "+-.".contains(one));
    is_scheme.then(|| (scheme.to_ascii_lowercase(), rest))
}

/// Bucket and key. A key is taken as it is written, as all programs of these clouds do: `%20` in it is not a space.
fn bucket(rest: &str) -> Result<(String, String), String> {
    let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
    if bucket.contains('@') {
        return Err("credentials do not belong into a URI; set them in the environment".to_owned());
    }
    if bucket.is_empty() {
        return Err("it names no bucket; write it like s3://bucket/key".to_owned());
    }
    Ok((bucket.to_owned(), key.to_owned()))
}

/// `container/key`, `container@account/key`, `container@account.dfs.core.windows.net/key`.
fn azure(rest: &str) -> Result<Object, String> {
    let (authority, key) = rest.split_once('/').unwrap_or((rest, ""));
    let (container, host) =
        authority.split_once('@').map_or((authority, None), |(name, host)| (name, Some(host)));
    if container.is_empty() || container.contains(':') || host.is_some_and(str::is_empty) {
        return Err("write it like az://container/key or abfss://container@account.dfs.core.windows.net/key"
            .to_owned());
    }
    let account = host.map(|host| host.split('.').next().unwrap_or(host).to_owned());
    let store = Store::Azure { container: container.to_owned(), account, is_https: false };
    Ok(Object { store, key: key.to_owned() })
}

/// `https://account.blob.core.windows.net/container/key`, as KServe writes it. With a signature in its query any HTTP client reads it.
fn azure_over_https(url: &Url) -> Option<Object> {
    let (account, domain) = url.host_str()?.split_once('.')?;
    let is_azure = ["blob.core.windows.net", "dfs.core.windows.net"].contains(&domain);
    let path = percent_decode_str(url.path().strip_prefix('/')?).decode_utf8().ok()?.into_owned();
    let (container, key) = path.split_once('/')?;
    if !is_azure || url.scheme() != "https" || url.query().is_some() || container.is_empty() {
        return None;
    }
    let store =
        Store::Azure { container: container.to_owned(), account: Some(account.to_owned()), is_https: true };
    Some(Object { store, key: key.to_owned() })
}

/// One below the other, with one slash between them.
pub(super) fn joined(folder: &str, name: &str) -> String {
    if folder.is_empty() {
        name.to_owned()
    } else {
        format!("{}/{name}", folder.strip_suffix('/').unwrap_or(folder))
    }
}

/// A URI as it may be shown: no password before the host, and no query behind the path, where signatures are.
pub fn without_credentials(text: &str) -> String {
    let Some((scheme, rest)) = scheme(text) else { return text.to_owned() };
    let Some(rest) = rest.strip_prefix("//") else { return text.to_owned() };
    let is_http = scheme == "http" || scheme == "https";
    let rest = if is_http { rest.split(['?', '#']).next().unwrap_or(rest) } else { rest };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    // Before Azure's `@` is the container; a password would be behind a colon.
    let authority = match authority.rsplit_once('@') {
        Some((user, host)) if is_http || user.contains(':') => host,
        Some((_, host)) if scheme.starts_with('s') || scheme.starts_with('g') => host,
        _ => authority,
    };
    format!("{scheme}://{authority}{path}")
}

#[cfg(test)]
mod tests;
