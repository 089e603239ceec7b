//! What happened, in the order in which it happened: written and on the disk before anything is done, each event chained to the one
//! before by its hash, so that what was taken out or changed later shows.

pub mod read;
mod store;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::incident::{Incident, Timestamp};
use super::target::ServiceName;
use store::Store;

pub use read::{Event, Note, Page, Verified, read_only};

/// The file in `state_dir`.
pub const FILE: &str = "journal.sqlite";

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// An incident, whole, as it is from then on.
    Incident,
    /// A version served well.
    Verdict,
    /// A version is not gone back to.
    Denied,
    /// All pauses of the API, as they are from then on.
    Pause,
    /// The circuit breaker opened.
    Circuit,
    /// This replica became the active one.
    Leader,
    /// Alerts that are about nothing of ours.
    Delivery,
}

impl Kind {
    /// As the journal has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Incident => "incident",
            Self::Verdict => "verdict",
            Self::Denied => "denied",
            Self::Pause => "pause",
            Self::Circuit => "circuit",
            Self::Leader => "leader",
            Self::Delivery => "delivery",
        }
    }
}

/// Why the journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The folder cannot be made, or its lock not be opened.
    #[error("cannot use {}; check `state_dir` and its volume", .path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Another process has it.
    #[error("{} belongs to another driftd that runs; each needs a `state_dir` of its own", .path.display())]
    Taken {
        /// The journal.
        path: PathBuf,
    },
    /// There is none.
    #[error("there is no journal {}", .path.display())]
    Missing {
        /// The journal.
        path: PathBuf,
    },
    /// It was made by another driftd.
    #[error("{} has format {found}, and this driftd writes {known}; use the driftd that made it, or another `state_dir`", .path.display())]
    Format {
        /// The journal.
        path: PathBuf,
        /// Its format.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// `SQLite` cannot read or write.
    #[error("the journal cannot be read or written")]
    Sqlite(#[from] rusqlite::Error),
    /// An event says what this driftd does not understand.
    #[error("event {seq} of the journal cannot be read")]
    Payload {
        /// Which.
        seq: u64,
        /// Why.
        source: serde_json::Error,
    },
    /// The chain is broken.
    #[error("event {seq} of the journal was changed, or one before it taken out: {what}")]
    Broken {
        /// The first that does not fit.
        seq: u64,
        /// What does not fit.
        what: &'static str,
    },
    /// The thread that writes it has ended.
    #[error("the journal's thread has ended; this is a bug")]
    Thread,
}

/// The journal of one controller. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Journal(Arc<Mutex<Store>>);

impl Journal {
    /// Opens or makes the one in `state_dir`, for this process alone.
    ///
    /// # Errors
    /// [`JournalError`] if it cannot be used, or its last events do not fit together.
    pub fn open(state_dir: &Path) -> Result<Self, JournalError> {
        Ok(Self(Arc::new(Mutex::new(Store::open(state_dir)?))))
    }

    /// Writes a new incident, and gives it its number.
    ///
    /// # Errors
    /// [`JournalError`] if it is not on the disk.
    pub async fn begin(&self, incident: Incident, note: &str) -> Result<Incident, JournalError> {
        let note = note.to_owned();
        self.with(move |store| store.begin(incident, &note)).await
    }

    /// Writes an incident as it is from now on.
    ///
    /// # Errors
    /// [`JournalError`] if it is not on the disk.
    pub async fn record(&self, incident: &Incident, note: &str) -> Result<u64, JournalError> {
        let (incident, note) = (incident.clone(), note.to_owned());
        self.with(move |store| store.record(&incident, &note)).await
    }

    /// Writes anything else.
    ///
    /// # Errors
    /// [`JournalError`] if it is not on the disk.
    pub async fn note(&self, kind: Kind, subject: &str, payload: Value) -> Result<u64, JournalError> {
        let subject = subject.to_owned();
        self.with(move |store| store.append(kind, &subject, "", None, &payload)).await
    }

    /// The incidents that have not ended, as they are, oldest first.
    ///
    /// # Errors
    /// [`JournalError`] if it cannot be read.
    pub async fn open_incidents(&self) -> Result<Vec<Incident>, JournalError> {
        let mut incidents = self.incidents(None).await?;
        incidents.retain(|incident| !incident.state.is_terminal());
        incidents.reverse();
        Ok(incidents)
    }

    /// All incidents, of one service or of all, as they are, newest first.
    ///
    /// # Errors
    /// [`JournalError`] if it cannot be read.
    pub async fn incidents(&self, service: Option<&ServiceName>) -> Result<Vec<Incident>, JournalError> {
        self.page(service, Page::default()).await
    }

    /// Some of them, newest first.
    ///
    /// # Errors
    /// [`JournalError`] if it cannot be read.
    pub async fn page(
        &self,
        service: Option<&ServiceName>,
        page: Page,
    ) -> Result<Vec<Incident>, JournalError> {
        let service = service.cloned();
        self.with(move |store| read::page(&store.connection, service.as_ref(), page)).await
    }

    /// The newest incident of a service.
    ///
    /// # Errors
    /// [`JournalError`] if it cannot be read.
    pub async fn last_incident(&self, service: &ServiceName) -> Result<Option<Incident>, JournalError> {
        let service = service.clone();
        self.with(move |store| read::last_incident(&store.connection, &service)).await
    }

    /// One incident, by its number or by its action.
    ///
    /// # Errors
    /// [`JournalError`] if it cannot be read.
    pub async fn incident(&self, id: &str) -> Result<Option<Incident>, JournalError> {
        let id = id.to_owned();
        self.with(move |store| read::incident(&store.connection, &id)).await
    }

    /// All that happened to an incident.
    ///
    /// # Errors
    /// [`JournalError`] if it cannot be read.
    pub async fn events(&self, id: u64) -> Result<Vec<Event>, JournalError> {
        self.with(move |store| read::events(&store.connection, id)).await
    }

    /// All else of one kind, oldest first.
    ///
    /// # Errors
    /// [`JournalError`] if it cannot be read.
    pub async fn notes(&self, kind: Kind) -> Result<Vec<Note>, JournalError> {
        self.with(move |store| read::notes(&store.connection, kind)).await
    }

    /// Reads the whole chain.
    ///
    /// # Errors
    /// [`JournalError::Broken`] names the first event that does not fit.
    pub async fn verify(&self) -> Result<Verified, JournalError> {
        self.with(|store| read::verify(&store.connection)).await
    }

    /// `SQLite` waits for the disk, so it is called where waiting holds up nobody.
    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Store) -> Result<T, JournalError> + Send + 'static,
    ) -> Result<T, JournalError> {
        let store = Arc::clone(&self.0);
        // A panic in the middle leaves a transaction, which SQLite has rolled back.
        let work = move || work(&mut store.lock().unwrap_or_else(PoisonError::into_inner));
        tokio::task::spawn_blocking(work).await.map_err(|_| JournalError::Thread)?
    }
}

/// When an event was written, to the microsecond that is kept.
fn now() -> Timestamp {
    let now = chrono::Utc::now();
    chrono::DateTime::from_timestamp_micros(now.timestamp_micros()).unwrap_or(now)
}

#[cfg(test)]
mod tests;
