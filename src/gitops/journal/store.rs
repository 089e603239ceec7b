//! Writing: one transaction an event, on the disk when it returns.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OptionalExtension, params};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::super::incident::{Incident, Timestamp};
use super::{FILE, JournalError, Kind, now, read};
use crate::baseline::schema::hex;

/// Of the tables below. Another one is refused.
const FORMAT: i64 = 1;

/// How long the lock is waited for: a process that was killed leaves it, for a moment, to a child that was forked and has not begun its
/// own program yet.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);

/// The hash before the first event.
pub(super) const NOTHING: &str = "";

const TABLES: &str = "
CREATE TABLE events (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  at TEXT NOT NULL,
  kind TEXT NOT NULL,
  subject TEXT NOT NULL,
  state TEXT NOT NULL,
  incident INTEGER,
  action TEXT,
  payload TEXT NOT NULL,
  prev_hash TEXT NOT NULL,
  hash TEXT NOT NULL
) STRICT;
CREATE INDEX of_incident ON events (incident, seq);
CREATE INDEX of_kind ON events (kind, seq);
CREATE TRIGGER never_changed BEFORE UPDATE ON events BEGIN SELECT raise(ABORT, 'the journal is only added to'); END;
CREATE TRIGGER never_deleted BEFORE DELETE ON events BEGIN SELECT raise(ABORT, 'the journal is only added to'); END;
";

/// The open file.
#[derive(Debug)]
pub(super) struct Store {
    pub(super) connection: Connection,
    head: String,
    /// Held while the process lives.
    _lock: File,
}

/// What is hashed, and in which order.
pub(super) struct Hashed<'a> {
    pub(super) prev_hash: &'a str,
    pub(super) at: &'a str,
    pub(super) kind: &'a str,
    pub(super) subject: &'a str,
    pub(super) state: &'a str,
    pub(super) incident: Option<u64>,
    pub(super) payload: &'a str,
}

impl Hashed<'_> {
    pub(super) fn hash(&self) -> String {
        let incident = self.incident.map(|id| id.to_string()).unwrap_or_default();
        let mut hasher = Sha256::new();
        for part in [self.prev_hash, self.at, self.kind, self.subject, self.state, &incident, self.payload] {
            // With its length, so that nothing can move from one field to the next.
            hasher.update((part.len() as u64).to_be_bytes());
            hasher.update(part);
        }
        hex(&hasher.finalize())
    }
}

impl Store {
    pub(super) fn open(state_dir: &Path) -> Result<Self, JournalError> {
        let path = state_dir.join(FILE);
        let lock = lock(state_dir, &path)?;
        let connection = Connection::open(&path)?;
        connection.busy_timeout(Duration::from_secs(5))?; // readers of `driftd audit`
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "foreign_keys", "ON")?;
        if read::format(&connection)? == 0 {
            connection.execute_batch(&format!("BEGIN; {TABLES} PRAGMA user_version = {FORMAT}; COMMIT;"))?;
        }
        check_format(&connection, &path)?;
        let head = connection
            .query_row("SELECT hash FROM events ORDER BY seq DESC LIMIT 1", [], |row| row.get(0))
            .optional()?
            .unwrap_or_else(|| NOTHING.to_owned());
        Ok(Self { connection, head, _lock: lock })
    }

    pub(super) fn begin(&mut self, mut incident: Incident, note: &str) -> Result<Incident, JournalError> {
        let last: Option<u64> =
            self.connection.query_row("SELECT max(incident) FROM events", [], |row| row.get(0))?;
        incident.id = last.unwrap_or(0) + 1;
        self.record(&incident, note)?;
        Ok(incident)
    }

    pub(super) fn record(&mut self, incident: &Incident, note: &str) -> Result<u64, JournalError> {
        let payload = serde_json::json!({ "note": note, "incident": incident });
        self.append(
            Kind::Incident,
            &incident.service.to_string(),
            incident.state.as_str(),
            Some(incident),
            &payload,
        )
    }

    pub(super) fn append(
        &mut self,
        kind: Kind,
        subject: &str,
        state: &str,
        incident: Option<&Incident>,
        payload: &Value,
    ) -> Result<u64, JournalError> {
        let (at, payload) = (written(now()), payload.to_string());
        let id = incident.map(|incident| incident.id);
        let hashed = Hashed {
            prev_hash: &self.head,
            at: &at,
            kind: kind.as_str(),
            subject,
            state,
            incident: id,
            payload: &payload,
        };
        let hash = hashed.hash();
        let action = incident.and_then(Incident::action).map(|action| action.as_str().to_owned());
        // One statement is a transaction; with FULL it is on the disk when it returns.
        let seq: u64 = self.connection.query_row(
            "INSERT INTO events (at, kind, subject, state, incident, action, payload, prev_hash, hash)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) RETURNING seq",
            params![at, kind.as_str(), subject, state, id, action, payload, self.head, hash],
            |row| row.get(0),
        )?;
        self.head = hash;
        Ok(seq)
    }
}

/// The folder, for this process alone.
fn lock(state_dir: &Path, path: &Path) -> Result<File, JournalError> {
    let folder = |source| JournalError::Folder { path: state_dir.to_owned(), source };
    std::fs::create_dir_all(state_dir).map_err(folder)?;
    let file = File::options().create(true).append(true).open(state_dir.join("lock")).map_err(folder)?;
    let began = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(source)) => return Err(folder(source)),
            Err(TryLockError::WouldBlock) if began.elapsed() < LOCK_PATIENCE => {
                sleep(Duration::from_millis(20));
            }
            Err(TryLockError::WouldBlock) => return Err(JournalError::Taken { path: path.to_owned() }),
        }
    }
}

pub(super) fn check_format(connection: &Connection, path: &Path) -> Result<(), JournalError> {
    match read::format(connection)? {
        FORMAT => Ok(()),
        found => Err(JournalError::Format { path: path.to_owned(), found, known: FORMAT }),
    }
}

/// As it stands in the file, and is hashed.
pub(super) fn written(at: Timestamp) -> String {
    at.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}
