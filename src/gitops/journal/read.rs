//! Reading, by the controller itself and by `driftd audit` beside it.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::incident::{Incident, Timestamp};
use super::super::target::ServiceName;
use super::store::{Hashed, NOTHING, check_format};
use super::{FILE, JournalError, Kind};

/// One event of an incident.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Its place in the journal.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// Why it was written.
    pub note: String,
    /// The incident from then on.
    pub incident: Incident,
}

/// Anything else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// Its place in the journal.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// Whom it is about.
    pub subject: String,
    /// What.
    pub payload: Value,
}

/// A chain that holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    /// How many events.
    pub n_events: u64,
    /// The hash of the last; whoever has written it down somewhere else knows later that nothing was cut off.
    pub head: String,
}

#[derive(Deserialize)]
struct Payload {
    note: String,
    incident: Incident,
}

/// Opens a journal beside the controller that writes it, or after it.
///
/// # Errors
/// [`JournalError`] if there is none, or it is of another driftd.
pub fn read_only(state_dir: &Path) -> Result<Connection, JournalError> {
    let path = state_dir.join(FILE);
    if !path.exists() {
        return Err(JournalError::Missing { path });
    }
    let connection = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    check_format(&connection, &path)?;
    Ok(connection)
}

pub(super) fn format(connection: &Connection) -> Result<i64, JournalError> {
    Ok(connection.query_row("PRAGMA user_version", [], |row| row.get(0))?)
}

/// The last event of each incident is what it is.
const LATEST: &str = "SELECT seq, payload FROM events WHERE kind = 'incident' AND seq IN
    (SELECT max(seq) FROM events WHERE kind = 'incident' GROUP BY incident)";

/// Which part of the incidents is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Those with a number below this one. Absent: from the newest on.
    pub before: Option<u64>,
    /// So many at most. Absent: all.
    pub limit: Option<u32>,
}

/// All incidents, newest first.
///
/// # Errors
/// [`JournalError`] if it cannot be read.
pub fn incidents(
    connection: &Connection,
    service: Option<&ServiceName>,
) -> Result<Vec<Incident>, JournalError> {
    page(connection, service, Page::default())
}

/// Some of them, newest first.
///
/// # Errors
/// [`JournalError`] if it cannot be read.
pub fn page(
    connection: &Connection,
    service: Option<&ServiceName>,
    page: Page,
) -> Result<Vec<Incident>, JournalError> {
    let sql = format!(
        "{LATEST} AND (?1 IS NULL OR subject = ?1) AND (?2 IS NULL OR incident < ?2) ORDER BY incident DESC LIMIT ?3"
    );
    let limit = page.limit.map_or(-1, i64::from); // SQLite's word for all
    let mut statement = connection.prepare(&sql)?;
    let rows = statement
        .query_map(params![service.map(ToString::to_string), page.before, limit], seq_and_payload)?;
    rows.map(|row| incident_of(row?)).collect()
}

/// The newest of a service.
///
/// # Errors
/// [`JournalError`] if it cannot be read.
pub fn last_incident(
    connection: &Connection,
    service: &ServiceName,
) -> Result<Option<Incident>, JournalError> {
    let sql = "SELECT seq, payload FROM events WHERE kind = 'incident' AND incident =
        (SELECT max(incident) FROM events WHERE kind = 'incident' AND subject = ?1) ORDER BY seq DESC LIMIT 1";
    let found =
        connection.prepare(sql)?.query_row(params![service.to_string()], seq_and_payload).optional()?;
    found.map(incident_of).transpose()
}

/// One, by its number or by its action (`rb-…`, also with the number of a commit).
///
/// # Errors
/// [`JournalError`] if it cannot be read.
pub fn incident(connection: &Connection, id: &str) -> Result<Option<Incident>, JournalError> {
    let number: Option<u64> = if let Ok(number) = id.parse() {
        Some(number)
    } else {
        let action =
            id.rsplit_once('-').filter(|(action, _)| action.contains('-')).map_or(id, |(action, _)| action);
        let sql = "SELECT max(incident) FROM events WHERE action = ?1";
        connection.query_row(sql, params![action], |row| row.get(0))?
    };
    let Some(number) = number else { return Ok(None) };
    let sql = "SELECT seq, payload FROM events WHERE incident = ?1 ORDER BY seq DESC LIMIT 1";
    let found = connection.query_row(sql, params![number], seq_and_payload).optional()?;
    found.map(incident_of).transpose()
}

/// All that happened to one.
///
/// # Errors
/// [`JournalError`] if it cannot be read.
pub fn events(connection: &Connection, id: u64) -> Result<Vec<Event>, JournalError> {
    let sql = "SELECT seq, payload, at FROM events WHERE incident = ?1 ORDER BY seq";
    let mut statement = connection.prepare(sql)?;
    let rows =
        statement.query_map(params![id], |row| Ok((seq_and_payload(row)?, row.get::<_, String>(2)?)))?;
    rows.map(|row| {
        let ((seq, payload), at) = row?;
        let Payload { note, incident } = parse(seq, &payload)?;
        Ok(Event { seq, at: time(seq, &at)?, note, incident })
    })
    .collect()
}

/// All else of one kind, oldest first.
///
/// # Errors
/// [`JournalError`] if it cannot be read.
pub fn notes(connection: &Connection, kind: Kind) -> Result<Vec<Note>, JournalError> {
    let sql = "SELECT seq, payload, at, subject FROM events WHERE kind = ?1 ORDER BY seq";
    let mut statement = connection.prepare(sql)?;
    let rows = statement.query_map(params![kind.as_str()], |row| {
        Ok((seq_and_payload(row)?, row.get::<_, String>(2)?, row.get::<_, String>(3)?))
    })?;
    rows.map(|row| {
        let ((seq, payload), at, subject) = row?;
        Ok(Note { seq, at: time(seq, &at)?, subject, payload: parse(seq, &payload)? })
    })
    .collect()
}

/// Reads the whole chain.
///
/// # Errors
/// [`JournalError::Broken`] names the first event that does not fit.
pub fn verify(connection: &Connection) -> Result<Verified, JournalError> {
    let sql =
        "SELECT seq, at, kind, subject, state, incident, payload, prev_hash, hash FROM events ORDER BY seq";
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([])?;
    let mut verified = Verified { n_events: 0, head: NOTHING.to_owned() };
    while let Some(row) = rows.next()? {
        let seq: u64 = row.get(0)?;
        let broken = |what| JournalError::Broken { seq, what };
        if seq != verified.n_events + 1 {
            return Err(broken("events before it are missing"));
        }
        let text = |idx| row.get_ref(idx)?.as_str().map_err(rusqlite::Error::from);
        if text(7)? != verified.head {
            return Err(broken("it does not follow the one before"));
        }
        let hashed = Hashed {
            prev_hash: &verified.head,
            at: text(1)?,
            kind: text(2)?,
            subject: text(3)?,
            state: text(4)?,
            incident: row.get(5)?,
            payload: text(6)?,
        };
        let hash = hashed.hash();
        if text(8)? != hash {
            return Err(broken("its content is not what was written"));
        }
        verified = Verified { n_events: seq, head: hash };
    }
    Ok(verified)
}

fn seq_and_payload(row: &Row<'_>) -> rusqlite::Result<(u64, String)> {
    Ok((row.get(0)?, row.get(1)?))
}

fn incident_of((seq, payload): (u64, String)) -> Result<Incident, JournalError> {
    Ok(parse::<Payload>(seq, &payload)?.incident)
}

fn parse<T: for<'a> Deserialize<'a>>(seq: u64, payload: &str) -> Result<T, JournalError> {
    serde_json::from_str(payload).map_err(|source| JournalError::Payload { seq, source })
}

fn time(seq: u64, text: &str) -> Result<Timestamp, JournalError> {
    let parsed = chrono::DateTime::parse_from_rfc3339(text);
    Ok(parsed.map_err(|_| JournalError::Broken { seq, what: "its time is none" })?.to_utc())
}
