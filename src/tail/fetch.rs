//! The thread that looks into the object stores of one source and brings what was not there before, the oldest first. A slow store
//! keeps nobody waiting: local files are read meanwhile, and the end of the daemon does not wait for an answer.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use prometheus::IntCounter;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use super::objects::ObjectId;
use crate::config::{LogsConfig, RawReadFrom};
use crate::drift::Timestamp;
use crate::storage::{Bucket, Settings, StorageError, Stored};

/// Objects that are asked for at the same time: most are small, and a store takes its time for each.
const N_AT_ONCE: usize = 16;
/// Objects that are fetched before the first of them is read.
const MAX_CHUNK: usize = 64;

/// What the thread has found.
#[derive(Debug)]
pub(super) enum Brought {
    /// An object, to be read.
    Object(Object),
    /// One that is larger than it may be.
    TooLarge(ObjectId),
    /// Those that were there before us, and are not to be read.
    Passed(Vec<ObjectId>),
    /// Those that are no longer there.
    Gone(Vec<ObjectId>),
}

/// An object and all of its content.
#[derive(Debug)]
pub(super) struct Object {
    pub(super) id: ObjectId,
    pub(super) uri: String,
    pub(super) bytes: Bytes,
    pub(super) modified: Timestamp,
}

/// Where what it brings comes in.
#[derive(Debug)]
pub(super) struct Fetching {
    brought: Receiver<Brought>,
    unread_bytes: Arc<AtomicU64>,
}

/// What is known of earlier lives.
#[derive(Debug, Default)]
pub(super) struct Earlier {
    /// Objects that were read.
    pub(super) finished: HashSet<ObjectId>,
    /// Those that were not, or not wholly.
    pub(super) unfinished: HashSet<ObjectId>,
}

impl Fetching {
    /// Starts the thread, if the source has object stores. `read_from` is for what the first look finds.
    pub(super) fn start(
        config: &LogsConfig,
        earlier: Earlier,
        read_from: RawReadFrom,
        errors: IntCounter,
        stop: CancellationToken,
    ) -> Option<Self> {
        if config.objects.is_empty() {
            return None;
        }
        // Whoever brings an object waits until it is taken: what is held is a chunk here, and the one that is read.
        let (brings, brought) = sync_channel(0);
        let unread_bytes = Arc::new(AtomicU64::new(0));
        let fetcher = Fetcher {
            config: config.clone(),
            buckets: config.objects.iter().map(|_| None).collect(),
            settings: Settings::from_env(),
            seen: earlier.finished,
            unfinished: earlier.unfinished,
            is_end_wanted: read_from == RawReadFrom::End,
            brings,
            unread_bytes: Arc::clone(&unread_bytes),
            errors,
            warned: None,
        };
        let thread = std::thread::Builder::new().name("driftd-objects".to_owned());
        if let Err(error) = thread.spawn(move || fetcher.run(&stop)) {
            error!(%error, "no thread to read object stores with: their logs are not read");
        }
        Some(Self { brought, unread_bytes })
    }

    /// What there is now.
    pub(super) fn now(&self) -> Option<Brought> {
        self.brought.try_recv().ok()
    }

    /// What comes within this time.
    pub(super) fn within(&self, time: Duration) -> Option<Brought> {
        match self.brought.recv_timeout(time) {
            Ok(brought) => Some(brought),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => {
                std::thread::sleep(time);
                None
            }
        }
    }

    /// Bytes of objects that were found and not brought yet.
    pub(super) fn unread_bytes(&self) -> u64 {
        self.unread_bytes.load(Ordering::Relaxed)
    }
}

struct Fetcher {
    config: LogsConfig,
    /// Beside `config.objects`; `None` until it could be opened.
    buckets: Vec<Option<Bucket>>,
    settings: Settings,
    /// Objects that were read, or are being read.
    seen: HashSet<ObjectId>,
    unfinished: HashSet<ObjectId>,
    /// Whether what is found first is to be passed over.
    is_end_wanted: bool,
    brings: SyncSender<Brought>,
    unread_bytes: Arc<AtomicU64>,
    errors: IntCounter,
    warned: Option<String>,
}

/// Nobody takes objects any more.
struct Stopped;

/// What a look has found: an object, and the bucket it is in.
type Found = (ObjectId, Stored, usize);

impl Fetcher {
    fn run(mut self, stop: &CancellationToken) {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                return error!(%error, "no runtime to read object stores with: their logs are not read");
            }
        };
        runtime.block_on(stop.run_until_cancelled(self.watch()));
    }

    async fn watch(&mut self) -> Stopped {
        loop {
            let began = Instant::now();
            let (found, is_complete) = self.look().await;
            if self.tell(&found, is_complete).is_err() || self.bring(found).await.is_err() {
                return Stopped;
            }
            sleep_until(began + self.config.list_interval).await;
        }
    }

    /// All objects that are there, and whether every bucket could be looked into.
    async fn look(&mut self) -> (Vec<Found>, bool) {
        let (mut found, mut ids, mut is_complete) = (Vec::new(), HashSet::new(), true);
        for at in 0..self.buckets.len() {
            match self.list(at).await {
                Ok(listed) => {
                    for stored in listed {
                        let is_excluded =
                            self.config.exclude.iter().any(|pattern| pattern.matches(&stored.uri));
                        let id = ObjectId::of(&stored.uri, &stored.revision);
                        // Two patterns may lead to one object.
                        if !is_excluded && ids.insert(id) {
                            found.push((id, stored, at));
                        }
                    }
                }
                Err(error) => {
                    self.fail(&error);
                    is_complete = false;
                }
            }
        }
        (found, is_complete)
    }

    async fn list(&mut self, at: usize) -> Result<Vec<Stored>, StorageError> {
        let bucket = match &mut self.buckets[at] {
            Some(bucket) => bucket,
            none => none.insert(Bucket::open(&self.config.objects[at], &self.settings)?),
        };
        bucket.list().await
    }

    /// Tells what is no longer there, or was there before us and is not wanted.
    fn tell(&mut self, found: &[Found], is_complete: bool) -> Result<(), Stopped> {
        if !is_complete {
            return Ok(());
        }
        let there: HashSet<_> = found.iter().map(|(id, ..)| *id).collect();
        let gone: Vec<_> =
            self.seen.union(&self.unfinished).filter(|id| !there.contains(id)).copied().collect();
        for id in &gone {
            self.seen.remove(id);
            self.unfinished.remove(id);
        }
        self.bring_one(gone, Brought::Gone)?;
        let passed = if std::mem::take(&mut self.is_end_wanted) {
            there.iter().copied().collect()
        } else {
            Vec::new()
        };
        self.seen.extend(&passed);
        self.bring_one(passed, Brought::Passed)
    }

    fn bring_one(
        &self,
        ids: Vec<ObjectId>,
        as_what: impl Fn(Vec<ObjectId>) -> Brought,
    ) -> Result<(), Stopped> {
        if ids.is_empty() { Ok(()) } else { self.brings.send(as_what(ids)).map_err(|_| Stopped) }
    }

    /// Brings all that is new. Where a store fails, the rest is for the next look.
    async fn bring(&mut self, mut found: Vec<Found>) -> Result<(), Stopped> {
        found.retain(|(id, ..)| !self.seen.contains(id));
        found.sort_by(|(_, a, _), (_, b, _)| (a.modified, &a.uri).cmp(&(b.modified, &b.uri)));
        let mut n_unread: u64 = found.iter().map(|(_, stored, _)| stored.n_bytes).sum();
        let mut rest = &found[..];
        while !rest.is_empty() {
            self.unread_bytes.store(n_unread, Ordering::Relaxed);
            let (chunk, behind) = rest.split_at(self.chunk_len(rest));
            rest = behind;
            let mut has_failed = false;
            for ((id, stored, _), fetched) in chunk.iter().zip(self.fetch(chunk).await) {
                match fetched {
                    Ok(Some(brought)) => {
                        self.brings.send(brought).map_err(|_| Stopped)?;
                        self.seen.insert(*id);
                        self.unfinished.remove(id);
                        n_unread -= stored.n_bytes;
                    }
                    Ok(None) => (), // another one by now, or gone: the next look tells
                    Err(error) => {
                        self.fail(&error);
                        has_failed = true;
                    }
                }
            }
            if has_failed {
                break;
            }
        }
        self.unread_bytes.store(n_unread, Ordering::Relaxed);
        Ok(())
    }

    /// How many of these are held at a time: as many as are no longer than one may be.
    fn chunk_len(&self, found: &[Found]) -> usize {
        let mut n_bytes = 0;
        let fits = found.iter().take(MAX_CHUNK).take_while(|(_, stored, _)| {
            n_bytes += if stored.n_bytes > self.config.max_object_bytes { 0 } else { stored.n_bytes };
            n_bytes <= self.config.max_object_bytes
        });
        fits.count().max(1)
    }

    async fn fetch(&self, chunk: &[Found]) -> Vec<Result<Option<Brought>, StorageError>> {
        let max_bytes = self.config.max_object_bytes;
        let fetches = chunk.iter().map(async |(id, stored, at)| {
            if stored.n_bytes > max_bytes {
                warn!(
                    uri = stored.uri,
                    n_bytes = stored.n_bytes,
                    max_bytes,
                    "an object is larger than `logs.max_object_bytes`, it is left out"
                );
                return Ok(Some(Brought::TooLarge(*id)));
            }
            let Some(bucket) = &self.buckets[*at] else { return Ok(None) };
            let bytes = bucket.fetch(stored).await?;
            Ok(bytes.map(|bytes| {
                Brought::Object(Object {
                    id: *id,
                    uri: stored.uri.clone(),
                    bytes,
                    modified: stored.modified.into(),
                })
            }))
        });
        stream::iter(fetches).buffered(N_AT_ONCE).collect().await
    }

    /// Counted each time, said once: the next look tries again.
    fn fail(&mut self, error: &StorageError) {
        self.errors.inc();
        let problem = error.to_string();
        if self.warned.as_ref() == Some(&problem) {
            return debug!(kind = error.kind(), "logs in an object store still cannot be read");
        }
        let source = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
        warn!(%error, kind = error.kind(), source, "logs in an object store cannot be read, trying again");
        self.warned = Some(problem);
    }
}
