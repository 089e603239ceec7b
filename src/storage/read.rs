//! Reading a location: into memory within a bound, or into a file; and finding out which there are.

use std::fs;
use std::future::Future;
use std::io::{self, Seek, Write};
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;

use super::cache::{Cache, Downloaded};
use super::error::Reason;
use super::location::{Kind, Location, Object, Place};
use super::mlflow::Tracking;
use super::open::{Interrupted, Opened, Reader};
use super::revision::Revision;
use super::settings::Settings;
use super::{Fetched, Progress, StorageError, web};

impl Location {
    /// [`Location::fetch`] with settings of one's own.
    ///
    /// # Errors
    /// As there.
    pub fn fetch_with(&self, known: Option<&Revision>, settings: &Settings) -> Result<Fetched, StorageError> {
        if let Kind::Place(Place::File(path)) = &self.kind {
            return fetch_file(path, self, known, settings);
        }
        waited(Some(settings.limits.fetch_timeout), self, async {
            let place = self.place(settings).await?;
            if let Place::File(path) = &place {
                return fetch_file(path, self, known, settings);
            }
            let shown = self.to_string();
            let reader = Reader { place: &place, settings, shown: &shown };
            let mut sink =
                Memory { bytes: Vec::new(), limit: settings.limits.max_fetched_bytes, shown: &shown };
            Ok(match copy(&reader, known, &mut sink).await? {
                Some(revision) => Fetched::New { bytes: sink.bytes.into(), revision },
                None => Fetched::NotModified,
            })
        })
    }

    /// A file here with what is there, whose name ends as that there does: kept for the next time, and then used again
    /// if it is still the same.
    ///
    /// # Errors
    /// [`StorageError`]: after some further attempts, where that may help.
    pub fn download(&self, settings: &Settings, progress: Progress<'_>) -> Result<Downloaded, StorageError> {
        if let Kind::Place(Place::File(path)) = &self.kind {
            return Ok(Downloaded::of_file(path.clone()));
        }
        waited(None, self, async {
            let place = self.place(settings).await?;
            if let Place::File(path) = place {
                return Ok(Downloaded::of_file(path));
            }
            let shown = self.to_string();
            let reader = Reader { place: &place, settings, shown: &shown };
            let extension =
                Path::new(self.file_name()).extension().and_then(|end| end.to_str()).unwrap_or("");
            let Some(cache) = Cache::open(settings.cache_folder(), settings.limits.max_cached_bytes) else {
                let folder = std::env::temp_dir();
                let mut file = tempfile::Builder::new()
                    .prefix("driftd-")
                    .suffix(&format!(".{extension}"))
                    .tempfile_in(&folder)
                    .map_err(|source| StorageError::Io { path: folder, source })?;
                copy(&reader, None, &mut Disk { file: &mut file, n_done: 0, progress }).await?;
                return Ok(Downloaded::temporary(file));
            };
            let slot = cache.slot(&reader.id(), extension);
            let mut file = slot.begin()?;
            let known = slot.known().cloned();
            match copy(&reader, known.as_ref(), &mut Disk { file: &mut file, n_done: 0, progress }).await? {
                Some(revision) => slot.keep(file, &revision),
                None => slot.take().ok_or_else(|| StorageError::unasked(shown.clone())),
            }
        })
    }

    /// The locations that this stands for, in order: those that match it where it is a pattern, those below it where it
    /// ends in a slash (without what begins with `_` or `.`, which is how Spark marks what is no data), else itself.
    ///
    /// # Errors
    /// [`StorageError`] if nothing is there, or the place cannot be listed.
    pub fn list(&self, settings: &Settings) -> Result<Vec<Self>, StorageError> {
        let shown = self.to_string();
        let has_pattern = shown.contains(['*', '?', '[']);
        let is_web = matches!(self.kind, Kind::Place(Place::Http(_) | Place::File(_)));
        if is_web || !(has_pattern || shown.ends_with('/')) {
            return Ok(vec![self.clone()]);
        }
        let found = waited(Some(settings.limits.fetch_timeout * 10), self, async {
            let place = self.place(settings).await?;
            let key = match &place {
                Place::Object(Object { key, .. }) | Place::Artifact { path: key, .. } => key.clone(),
                Place::File(path) => {
                    // An MLflow server may keep its artifacts on a disk that is this machine's too.
                    return Ok(vec![Self::at(path.display().to_string(), place)]);
                }
                Place::Http(_) => return Ok(vec![self.clone()]),
            };
            let fixed = key.split(['*', '?', '[']).next().unwrap_or_default();
            let folder = fixed.rsplit_once('/').map_or("", |(folder, _)| folder);
            let reader = Reader { place: &place, settings, shown: &shown };
            let mut keys = reader.list(folder).await?;
            let is_wanted = wanted(&key, has_pattern)
                .map_err(|problem| StorageError::Uri { uri: shown.clone(), problem })?;
            keys.retain(|key| is_wanted(key));
            keys.sort();
            Ok(keys.into_iter().map(|key| self.sibling(&place, key)).collect())
        })?;
        if found.is_empty() {
            return Err(StorageError::NotFound { uri: shown, detail: "no object matches".to_owned() });
        }
        Ok(found)
    }

    /// Another key of the same store, named as the user would have named it.
    fn sibling(&self, place: &Place, key: String) -> Self {
        let shown = self.to_string();
        let own = match place {
            Place::Object(Object { key, .. }) | Place::Artifact { path: key, .. } => key.as_str(),
            Place::File(_) | Place::Http(_) => "",
        };
        // What both have in common is what the user wrote; a pattern may begin within the last folder of it.
        let n_common = own.bytes().zip(key.bytes()).take_while(|(a, b)| a == b).count();
        let n_common = key[..n_common].rfind('/').map_or(0, |slash| slash + 1);
        let n_written = shown.len() - (own.len() - n_common);
        let shown = format!("{}{}", &shown[..n_written], &key[n_common..]);
        let place = match place {
            Place::Object(Object { store, .. }) => Place::Object(Object { store: store.clone(), key }),
            Place::Artifact { server, .. } => Place::Artifact { server: server.clone(), path: key },
            place => place.clone(),
        };
        Self::at(shown, place)
    }

    async fn place(&self, settings: &Settings) -> Result<Place, StorageError> {
        match &self.kind {
            Kind::Place(place) => Ok(place.clone()),
            Kind::Mlflow(uri) => Tracking::new(settings, &self.to_string())?.resolve(uri).await,
        }
    }
}

/// Whether a key is one of those that a pattern or a folder means.
fn wanted(key: &str, has_pattern: bool) -> Result<impl Fn(&str) -> bool, String> {
    let pattern = has_pattern.then(|| glob::Pattern::new(key)).transpose();
    let pattern = pattern.map_err(|error| format!("{error}; quote special characters like `[[]`"))?;
    let options = glob::MatchOptions { require_literal_separator: true, ..glob::MatchOptions::new() };
    let folder = key.to_owned();
    Ok(move |candidate: &str| match &pattern {
        Some(pattern) => pattern.matches_with(candidate, options),
        None => candidate.strip_prefix(&folder).is_some_and(|below| {
            !below.is_empty() && !below.split('/').any(|name| name.starts_with(['_', '.']))
        }),
    })
}

/// Where bytes go; cleared where a body has to be read again.
trait Sink {
    fn clear(&mut self) -> Result<(), StorageError>;
    fn add(&mut self, bytes: &[u8], n_bytes: Option<u64>) -> Result<(), StorageError>;
}

struct Memory<'a> {
    bytes: Vec<u8>,
    limit: u64,
    shown: &'a str,
}

impl Sink for Memory<'_> {
    fn clear(&mut self) -> Result<(), StorageError> {
        self.bytes.clear();
        Ok(())
    }

    fn add(&mut self, bytes: &[u8], n_bytes: Option<u64>) -> Result<(), StorageError> {
        let n_after = (self.bytes.len() + bytes.len()) as u64;
        if n_after.max(n_bytes.unwrap_or(0)) > self.limit {
            return Err(StorageError::TooLarge { uri: self.shown.to_owned(), limit: self.limit });
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }
}

struct Disk<'a> {
    file: &'a mut tempfile::NamedTempFile,
    n_done: u64,
    progress: Progress<'a>,
}

impl Disk<'_> {
    fn error(&self, source: io::Error) -> StorageError {
        StorageError::Io { path: self.file.path().to_owned(), source }
    }
}

impl Sink for Disk<'_> {
    fn clear(&mut self) -> Result<(), StorageError> {
        self.n_done = 0;
        let cleared = self.file.as_file().set_len(0).and_then(|()| self.file.rewind());
        cleared.map_err(|source| self.error(source))
    }

    fn add(&mut self, bytes: &[u8], n_bytes: Option<u64>) -> Result<(), StorageError> {
        let written = self.file.write_all(bytes);
        written.map_err(|source| self.error(source))?;
        self.n_done += bytes.len() as u64;
        (self.progress)(self.n_done, n_bytes.unwrap_or(self.n_done));
        Ok(())
    }
}

/// All bytes into a sink, again from the beginning where they break off; `None` if they are what is known.
async fn copy(
    reader: &Reader<'_>,
    known: Option<&Revision>,
    sink: &mut (dyn Sink + Send),
) -> Result<Option<Revision>, StorageError> {
    let limits = &reader.settings.limits;
    let mut attempt = 0;
    loop {
        let mut body = match reader.open(known).await? {
            Opened::NotModified => return Ok(None),
            Opened::Body(body) => body,
        };
        sink.clear()?;
        let n_bytes = body.n_bytes;
        loop {
            match body.next(reader).await {
                Ok(Some(bytes)) => sink.add(&bytes, n_bytes)?,
                Ok(None) => return Ok(Some(body.revision)),
                Err(Interrupted(error)) if attempt >= limits.n_retries => return Err(error),
                Err(Interrupted(_)) => break,
            }
        }
        web::pause(limits, attempt).await;
        attempt += 1;
    }
}

fn fetch_file(
    path: &Path,
    location: &Location,
    known: Option<&Revision>,
    settings: &Settings,
) -> Result<Fetched, StorageError> {
    use std::io::Read;
    let error = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => {
            StorageError::NotFound { uri: location.to_string(), detail: String::new() }
        }
        _ => StorageError::Io { path: path.to_owned(), source },
    };
    let file = fs::File::open(path).map_err(error)?;
    // Of the open file: a path may name another one by now.
    let metadata = file.metadata().map_err(error)?;
    let revision = Revision::of_file(path.display().to_string(), &metadata);
    if known.is_some_and(|known| known.is(&revision)) {
        return Ok(Fetched::NotModified);
    }
    let limit = settings.limits.max_fetched_bytes;
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(error)?;
    if bytes.len() as u64 > limit {
        return Err(StorageError::TooLarge { uri: location.to_string(), limit });
    }
    Ok(Fetched::New { bytes: Bytes::from(bytes), revision })
}

/// Waits for work of the network, on a thread of its own: the caller's may belong to a runtime, where none may be started.
fn waited<T: Send>(
    limit: Option<Duration>,
    location: &Location,
    work: impl Future<Output = Result<T, StorageError>> + Send,
) -> Result<T, StorageError> {
    let failed = |reason: String| StorageError::Unavailable {
        uri: location.to_string(),
        advice: "",
        source: Reason::new(reason),
    };
    let run = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| failed(format!("no runtime: {error}")))?;
        runtime.block_on(async {
            match limit {
                None => work.await,
                Some(limit) => tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
                    Err(failed(format!("it was not done within {}", humantime::format_duration(limit))))
                }),
            }
        })
    };
    std::thread::scope(|scope| {
        match std::thread::Builder::new().name("driftd-storage".to_owned()).spawn_scoped(scope, run) {
            Ok(thread) => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            Err(error) => Err(failed(format!("no thread: {error}"))),
        }
    })
}
