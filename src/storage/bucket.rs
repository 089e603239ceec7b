//! A bucket that is looked into again and again: which objects are there, and what they hold. Unlike the rest of this module it
//! waits for nobody's thread: whoever looks in again and again has a runtime, and keeps its connections.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::StreamExt;
use object_store::path::Path;
use object_store::{Error, ObjectMeta, ObjectStore, ObjectStoreExt};
use tokio::time::timeout;

use super::error::Reason;
use super::list::{SPECIAL, wanted};
use super::location::{Kind, Location, Object, Place};
use super::settings::Settings;
use super::{StorageError, objects};

/// Objects that one look may find; past it the list would grow without a bound.
const MAX_FOUND: usize = 100_000;

/// A list of very many objects takes a while, a large object too; what takes longer has failed.
const TIMEOUT: Duration = Duration::from_mins(10);

/// The objects below a folder or of a pattern.
pub struct Bucket {
    location: Location,
    object: Object,
    store: Arc<dyn ObjectStore>,
    settings: Settings,
}

/// An object as it was when it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its name, as the user would write it.
    pub uri: String,
    /// Tells its content from what was or will be there under this name.
    pub revision: String,
    /// How long it is.
    pub n_bytes: u64,
    /// When it was written.
    pub modified: SystemTime,
    path: Path,
}

impl Location {
    /// Whether it is in an object store, where a [`Bucket`] can be made of it.
    ///
    /// # Errors
    /// [`StorageError::Uri`] if it is elsewhere, or a pattern that is none.
    pub fn is_in_bucket(&self) -> Result<(), StorageError> {
        is_wanted(self.object()?).map_err(|problem| self.problem(problem)).map(drop)
    }

    fn object(&self) -> Result<&Object, StorageError> {
        match &self.kind {
            Kind::Place(Place::Object(object)) => Ok(object),
            _ => Err(self.problem(
                "only objects can be looked for again and again; write s3://bucket/folder/, gs://bucket/folder/ or \
                 az://container/folder/, or the path of a file"
                    .to_owned(),
            )),
        }
    }

    fn problem(&self, problem: String) -> StorageError {
        StorageError::Uri { uri: self.to_string(), problem }
    }
}

impl Bucket {
    /// Without asking it anything yet.
    ///
    /// # Errors
    /// [`StorageError`] if a setting of the environment is wrong, or the location is in no bucket.
    pub fn open(location: &Location, settings: &Settings) -> Result<Self, StorageError> {
        let object = location.object()?.clone();
        let store = objects::store(&object, settings, &location.to_string())?;
        Ok(Self { location: location.clone(), object, store, settings: settings.clone() })
    }

    /// What is there now, in no order: below the folder where the location ends in a slash, what matches it where it is a pattern,
    /// the one object otherwise. Nothing is no error: there may be something later.
    ///
    /// # Errors
    /// [`StorageError`] if the bucket cannot be listed, or holds more than one look may find.
    pub async fn list(&self) -> Result<Vec<Stored>, StorageError> {
        let uri = self.location.to_string();
        timeout(TIMEOUT, self.try_list()).await.unwrap_or_else(|_| Err(too_long(uri)))
    }

    /// What an object holds; `None` if by now that is something else than what was found, or nothing.
    ///
    /// # Errors
    /// [`StorageError`] if it cannot be had.
    pub async fn fetch(&self, stored: &Stored) -> Result<Option<Bytes>, StorageError> {
        timeout(TIMEOUT, self.try_fetch(stored)).await.unwrap_or_else(|_| Err(too_long(stored.uri.clone())))
    }

    async fn try_list(&self) -> Result<Vec<Stored>, StorageError> {
        let key = &self.object.key;
        let fixed = key.split(SPECIAL).next().unwrap_or_default();
        let folder = fixed.rsplit_once('/').map_or("", |(folder, _)| folder);
        let prefix = objects::path(folder, &self.location.to_string())?;
        let is_wanted = is_wanted(&self.object).map_err(|problem| self.location.problem(problem))?;
        let (mut listed, mut found) = (self.store.list(Some(&prefix)), Vec::new());
        while let Some(meta) = listed.next().await {
            let meta = meta.map_err(|error| self.explained(&error, &self.location.to_string()))?;
            if !is_wanted(meta.location.as_ref()) {
                continue;
            }
            if found.len() == MAX_FOUND {
                return Err(self.location.problem(format!(
                    "more than {MAX_FOUND} objects are there; name a smaller folder, or let the bucket delete old ones (a \
                     lifecycle rule)"
                )));
            }
            found.push(self.stored(meta));
        }
        Ok(found)
    }

    async fn try_fetch(&self, stored: &Stored) -> Result<Option<Bytes>, StorageError> {
        let is_it = |meta: &ObjectMeta| revision(meta) == stored.revision && meta.size == stored.n_bytes;
        let got = match self.store.get(&stored.path).await {
            Ok(got) if is_it(&got.meta) => got,
            Ok(_) | Err(Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(self.explained(&error, &stored.uri)),
        };
        let bytes = got.bytes().await;
        bytes.map(Some).map_err(|error| self.explained(&error, &stored.uri))
    }

    fn stored(&self, meta: ObjectMeta) -> Stored {
        let place = Place::Object(self.object.clone());
        let uri = self.location.sibling(&place, &self.object.key, meta.location.to_string()).to_string();
        Stored {
            uri,
            revision: revision(&meta),
            n_bytes: meta.size,
            modified: meta.last_modified.into(),
            path: meta.location,
        }
    }

    fn explained(&self, error: &Error, uri: &str) -> StorageError {
        objects::explained(error, &self.object, &self.settings, uri)
    }
}

fn too_long(uri: String) -> StorageError {
    StorageError::Unavailable { uri, advice: "", source: Reason::new("it was not done within ten minutes") }
}

/// What a store says of a state of an object. Azure puts an entity tag in quotes where it sends the object, and not where it lists it;
/// S3 lists times by the millisecond and sends them by the second.
fn revision(meta: &ObjectMeta) -> String {
    match &meta.e_tag {
        Some(tag) => tag.trim_start_matches("W/").trim_matches('"').to_owned(),
        None => format!("{} {}", meta.last_modified.timestamp(), meta.size),
    }
}

fn is_wanted(object: &Object) -> Result<impl Fn(&str) -> bool + use<>, String> {
    let key = object.key.clone();
    let is_wanted = wanted(&key)?;
    let is_one = !key.is_empty() && !key.ends_with('/') && !key.contains(SPECIAL);
    Ok(move |candidate: &str| if is_one { candidate == key } else { is_wanted(candidate) })
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bucket").field("location", &self.location).finish_non_exhaustive()
    }
}
