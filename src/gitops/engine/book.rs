//! What is known beyond single incidents: which versions were good, which are not gone back to, what is paused, who is accused, which actions
//! have ended. In the journal, and of that what no commit has also in a `ConfigMap`, for the replica that takes over.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::super::choose::{Denial, Ledger, Verdict};
use super::super::decide::is_circuit_open;
use super::super::git::GitError;
use super::super::incident::{ActionId, State, Timestamp};
use super::super::journal::{Journal, JournalError, Kind};
use super::super::pause::{Pause, Pauses};
use super::super::target::ServiceName;
use super::Context;
use crate::net::chain;

/// Where the ledgers are in the `ConfigMap`.
const LEDGERS_KEY: &str = "ledgers.json";
/// Where the pauses are in it.
const PAUSES_KEY: &str = "pauses.json";
/// Where the actions that have ended are in it.
const ENDED_KEY: &str = "ended.json";
/// So many of them are kept, the newest.
const MAX_ENDED: usize = 100;

/// Shared by all steps.
#[derive(Debug, Default)]
pub struct Book {
    known: Mutex<Known>,
    /// Whoever decides has this until the decision is in the journal.
    deciding: Arc<Mutex<()>>,
}

#[derive(Debug, Default)]
struct Known {
    ledgers: BTreeMap<ServiceName, Ledger>,
    pauses: Vec<Pause>,
    /// Who was accused when last, for the circuit breaker.
    accused: BTreeMap<ServiceName, Timestamp>,
    circuit_opened: Option<Timestamp>,
    /// Actions that were followed to their end, the newest last.
    ended: Vec<String>,
    /// Why what the replica before has left cannot be read. Until it is, nothing is done, and nothing written over it.
    unread: Option<String>,
}

/// A verdict or denial as the journal has it.
#[derive(Debug, Serialize, Deserialize)]
struct Entry<T> {
    uri: String,
    #[serde(flatten)]
    entry: T,
}

/// What the `ConfigMap` holds.
struct Left {
    ledgers: Option<BTreeMap<ServiceName, Ledger>>,
    pauses: Option<Vec<Pause>>,
    ended: Option<Vec<String>>,
}

impl Left {
    fn of(state: &BTreeMap<String, String>) -> Result<Self, String> {
        Ok(Self {
            ledgers: parsed(state, LEDGERS_KEY)?,
            pauses: parsed(state, PAUSES_KEY)?,
            ended: parsed(state, ENDED_KEY)?,
        })
    }
}

fn parsed<T: DeserializeOwned>(state: &BTreeMap<String, String>, key: &str) -> Result<Option<T>, String> {
    let parse = |text: &String| serde_json::from_str(text).map_err(|error| format!("`{key}`: {error}"));
    state.get(key).map(parse).transpose()
}

impl Book {
    /// From the journal.
    ///
    /// # Errors
    /// If it cannot be read.
    pub async fn read(journal: &Journal) -> Result<Self, JournalError> {
        let mut known = Known::default();
        for note in journal.notes(Kind::Verdict).await? {
            if let (Ok(service), Ok(entry)) =
                (note.subject.parse(), serde_json::from_value::<Entry<Verdict>>(note.payload))
            {
                let ledger: &mut Ledger = known.ledgers.entry(service).or_default();
                ledger.good.insert(entry.uri, entry.entry);
            }
        }
        for note in journal.notes(Kind::Denied).await? {
            if let (Ok(service), Ok(entry)) =
                (note.subject.parse(), serde_json::from_value::<Entry<Denial>>(note.payload))
            {
                let ledger: &mut Ledger = known.ledgers.entry(service).or_default();
                ledger.denied.insert(entry.uri, entry.entry);
            }
        }
        for note in journal.notes(Kind::Pause).await? {
            if let Ok(pauses) = serde_json::from_value(note.payload) {
                known.pauses = pauses; // each note has all of them
            }
        }
        known.circuit_opened = journal.notes(Kind::Circuit).await?.last().map(|note| note.at);
        for incident in journal.incidents(None).await? {
            if let Some(at) = incident.entered.get(&State::Received) {
                let last = known.accused.entry(incident.service).or_insert(*at);
                *last = (*last).max(*at);
            }
        }
        Ok(Self { known: Mutex::new(known), deciding: Arc::default() })
    }

    /// Takes in what the replica before has left in the `ConfigMap`. Returns whether it could be read: until then everything counts as paused.
    pub async fn take_over(&self, context: &Context) -> bool {
        let Some(cluster) = &context.cluster else { return true };
        let read = cluster.state().await.and_then(|state| Left::of(&state));
        let mut known = self.known.lock().await;
        let left = match read {
            Ok(left) => left,
            Err(error) => {
                tracing::warn!(
                    error,
                    "what the replica before has left cannot be read: nothing is done until then"
                );
                known.unread = Some(error);
                return false;
            }
        };
        for (service, theirs) in left.ledgers.unwrap_or_default() {
            let ours = known.ledgers.entry(service).or_default();
            ours.good.extend(theirs.good);
            ours.denied.extend(theirs.denied);
        }
        // Where theirs could not be read at first ours stay, as some may have come since: a pause too many is seen, one too few is not.
        let ours_since =
            if known.unread.take().is_some() { std::mem::take(&mut known.pauses) } else { Vec::new() };
        if let Some(pauses) = left.pauses {
            known.pauses = pauses;
        }
        for pause in ours_since {
            if !known.pauses.contains(&pause) {
                known.pauses.push(pause);
            }
        }
        known.ended = left.ended.unwrap_or_else(|| std::mem::take(&mut known.ended));
        true
    }

    /// Whether that could be read.
    pub async fn is_read(&self) -> bool {
        self.known.lock().await.unread.is_none()
    }

    /// Nobody else decides while this is held.
    pub async fn decide_alone(&self) -> OwnedMutexGuard<()> {
        Arc::clone(&self.deciding).lock_owned().await
    }

    /// What is known of a service's versions.
    pub async fn ledger(&self, service: &ServiceName) -> Ledger {
        self.known.lock().await.ledgers.get(service).cloned().unwrap_or_default()
    }

    /// This version served well.
    pub async fn approve(&self, context: &Context, service: &ServiceName, uri: &str, verdict: Verdict) {
        let entry = Entry { uri: uri.to_owned(), entry: verdict.clone() };
        self.note(context, Kind::Verdict, service, &entry).await;
        let mut known = self.known.lock().await;
        known.ledgers.entry(service.clone()).or_default().good.insert(uri.to_owned(), verdict);
        drop(known);
        self.keep(context).await;
    }

    /// This version is not gone back to.
    pub async fn deny(&self, context: &Context, service: &ServiceName, uri: &str, action: &str) {
        if self.ledger(service).await.denied.contains_key(uri) {
            return;
        }
        let denial = Denial { action: action.to_owned(), at: Utc::now() };
        self.note(context, Kind::Denied, service, &Entry { uri: uri.to_owned(), entry: denial.clone() })
            .await;
        let mut known = self.known.lock().await;
        let ledger = known.ledgers.entry(service.clone()).or_default();
        ledger.good.remove(uri);
        ledger.denied.insert(uri.to_owned(), denial);
        drop(known);
        self.keep(context).await;
    }

    /// An action was followed to its end: whoever takes over has nothing to do about it.
    pub async fn end(&self, context: &Context, action: &ActionId) {
        let mut known = self.known.lock().await;
        known.ended.push(action.to_string());
        let n_old = known.ended.len().saturating_sub(MAX_ENDED);
        known.ended.drain(..n_old);
        drop(known);
        self.keep(context).await;
    }

    /// Actions that were followed to their end.
    pub async fn ended(&self) -> BTreeSet<String> {
        self.known.lock().await.ended.iter().cloned().collect()
    }

    /// All pauses of the API.
    pub async fn pauses(&self) -> Vec<Pause> {
        self.known.lock().await.pauses.clone()
    }

    /// Other pauses than before, by `by`.
    ///
    /// # Errors
    /// If the journal cannot be written; then all is as it was.
    pub async fn set_pauses(
        &self,
        context: &Context,
        by: &str,
        change: impl FnOnce(&mut Vec<Pause>),
    ) -> Result<(), JournalError> {
        let mut known = self.known.lock().await;
        let mut pauses = known.pauses.clone();
        change(&mut pauses);
        context.journal.note(Kind::Pause, by, serde_json::json!(pauses)).await?;
        known.pauses = pauses;
        drop(known);
        self.tell_pauses(context).await;
        self.keep(context).await;
        Ok(())
    }

    /// Why nothing may be done to `service` now, if it may not; also where nobody can say.
    pub async fn paused(
        &self,
        context: &Context,
        tip: &str,
        service: &ServiceName,
        now: Timestamp,
    ) -> Option<String> {
        self.all_pauses(context, Ok(tip.to_owned())).await.stops(service, now)
    }

    /// Says in the metrics what is paused now, as far as the clone knows.
    pub async fn tell_pauses(&self, context: &Context) {
        let pauses = self.all_pauses(context, context.repository.tip().await).await;
        context.measure.pauses(&pauses, &context.config.targets, Utc::now());
    }

    async fn all_pauses(&self, context: &Context, tip: Result<String, GitError>) -> Pauses {
        let mut pauses = Pauses::default();
        pauses.add_api(&self.pauses().await);
        if let Some(error) = &self.known.lock().await.unread {
            pauses.unreadable(&format!(
                "what the replica before has left in the ConfigMap cannot be read: {error}"
            ));
        }
        let read = async { context.repository.read(&tip?, &context.config.git.pause_file).await };
        match read.await {
            Ok(file) => pauses.add_file(file.as_deref()),
            Err(error) => pauses.unreadable(&format!("the pause file cannot be read: {}", chain(&error))),
        }
        pauses
    }

    /// It was accused just now.
    pub async fn accuse(&self, service: &ServiceName, at: Timestamp) {
        self.known.lock().await.accused.insert(service.clone(), at);
    }

    /// Who was accused, when last.
    pub async fn accused(&self) -> Vec<(ServiceName, Timestamp)> {
        self.known.lock().await.accused.clone().into_iter().collect()
    }

    /// Since when the circuit breaker is open, if it ever was.
    pub async fn circuit_opened(&self) -> Option<Timestamp> {
        self.known.lock().await.circuit_opened
    }

    /// Says in the metrics whether the circuit breaker is open now.
    pub async fn tell_circuit(&self, context: &Context) {
        let is_open = is_circuit_open(self.circuit_opened().await, Utc::now(), &context.config.policy);
        context.measure.metrics.set_circuit_open(is_open);
    }

    /// Too many are accused at once.
    pub async fn open_circuit(&self, context: &Context, now: Timestamp, n_accused: usize) {
        let payload = serde_json::json!({ "n_accused": n_accused });
        if let Err(error) = context.journal.note(Kind::Circuit, "fleet", payload).await {
            tracing::error!(error = %chain(&error), "cannot write that the circuit breaker opens");
        }
        tracing::warn!(n_accused, "the circuit breaker opens: nothing is done by itself for a while");
        self.known.lock().await.circuit_opened = Some(now);
        self.tell_circuit(context).await;
    }

    async fn note(&self, context: &Context, kind: Kind, service: &ServiceName, entry: &impl Serialize) {
        let mut wait = Duration::from_millis(100);
        while let Err(error) =
            context.journal.note(kind, &service.to_string(), serde_json::json!(entry)).await
        {
            tracing::error!(error = %chain(&error), "cannot write the journal, trying again");
            context.measure.metrics.journal_errors.inc();
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(Duration::from_secs(5));
        }
    }

    /// For the replica that takes over. What cannot be kept now is kept with the next change.
    async fn keep(&self, context: &Context) {
        let Some(cluster) = &context.cluster else { return };
        let state = {
            let known = self.known.lock().await;
            if known.unread.is_some() {
                return;
            }
            BTreeMap::from([
                (LEDGERS_KEY.to_owned(), serde_json::json!(known.ledgers).to_string()),
                (PAUSES_KEY.to_owned(), serde_json::json!(known.pauses).to_string()),
                (ENDED_KEY.to_owned(), serde_json::json!(known.ended).to_string()),
            ])
        };
        if let Err(error) = cluster.set_state(state).await {
            tracing::warn!(error, "verdicts and pauses are not in the ConfigMap yet");
        }
    }
}
