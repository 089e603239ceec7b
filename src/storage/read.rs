//! Reading a location: into memory within a bound, or into a file.

use std::fs;
use std::future::Future;
use std::io::{self, Seek, Write};
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;

use super::cache::{Cache, Downloaded};
use super::error::Reason;
use super::location::{Kind, Location, Place};
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
        waited(Some(settings.limits.fetch_timeout), self, || {
            self.at_place(settings, async |place| {
                if let Place::File(path) = place {
                    return fetch_file(path, self, known, settings);
                }
                let shown = self.to_string();
                let reader = Reader { place, settings, shown: &shown };
                let mut sink =
                    Memory { bytes: Vec::new(), limit: settings.limits.max_fetched_bytes, shown: &shown };
                Ok(match copy(&reader, known, &mut sink).await? {
                    Some(revision) => Fetched::New { bytes: sink.bytes.into(), revision },
                    None => Fetched::NotModified,
                })
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
        waited(None, self, || {
            self.at_place(settings, async |place| match place {
                Place::File(path) => Ok(Downloaded::of_file(path.clone())),
                place => self.download_from(place, settings, progress).await,
            })
        })
    }

    async fn download_from(
        &self,
        place: &Place,
        settings: &Settings,
        progress: Progress<'_>,
    ) -> Result<Downloaded, StorageError> {
        let shown = self.to_string();
        let reader = Reader { place, settings, shown: &shown };
        let extension = Path::new(self.file_name()).extension().and_then(|end| end.to_str()).unwrap_or("");
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
    }

    /// Does something with the place that this is; where nothing is there, with the other one that it may be.
    pub(super) async fn at_place<T>(
        &self,
        settings: &Settings,
        work: impl AsyncFn(&Place) -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        let uri = match &self.kind {
            Kind::Place(place) => return work(place).await,
            Kind::Mlflow(uri) => uri,
        };
        let shown = self.to_string();
        let tracking = Tracking::new(settings, &shown)?;
        match work(&tracking.resolve(uri).await?).await {
            Err(error @ StorageError::NotFound { .. }) => match tracking.resolve_logged(uri).await? {
                Some(place) => work(&place).await,
                None => Err(error),
            },
            done => done,
        }
    }
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
    sink: &mut dyn Sink,
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
pub(super) fn waited<T: Send, F: Future<Output = Result<T, StorageError>>>(
    limit: Option<Duration>,
    location: &Location,
    work: impl FnOnce() -> F + Send,
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
                None => work().await,
                Some(limit) => tokio::time::timeout(limit, work()).await.unwrap_or_else(|_| {
                    Err(failed(format!("it was not done within {}", humantime::format_duration(limit))))
                }),
            }
        })
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("driftd-storage".to_owned()).spawn_scoped(scope, run);
        match thread {
            Ok(thread) => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            Err(error) => Err(failed(format!("no thread: {error}"))),
        }
    })
}
