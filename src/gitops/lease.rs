//! Which replica acts: a Lease of Kubernetes.
//!
//! A holder is dead once its Lease has not changed for a whole duration *as watched from here*: times written by other machines are
//! never compared with our clock. The holder itself stops well before that, by the time that has passed since it began its last
//! renewal, on both clocks: the monotonic one does not jump, and the wall clock counts what a suspended machine has slept through.
//! `leaseTransitions` grows with every holder and is the term that goes into the journal; the last fence is the remote, which takes
//! no push that is not on top of what it has.

use std::time::{Duration, SystemTime};

use chrono::{SecondsFormat, Utc};
use http::Method;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::config::KubernetesConfig;
use super::kubernetes::{Kubernetes, KubernetesError};

/// A Lease as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Record {
    holder: String,
    term: u64,
    duration: Duration,
    /// Changes with every renewal.
    version: String,
    object: Value,
}

/// What is to be done about a Lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Create,
    Renew,
    TakeOver,
    Wait,
}

/// When the Lease was last taken or renewed by us, before the request was sent, on both clocks.
#[derive(Clone, Copy, Debug)]
struct Held {
    term: u64,
    since: Instant,
    wall: SystemTime,
}

/// Takes part in the election.
#[derive(Debug)]
pub struct Election {
    kubernetes: Kubernetes,
    name: String,
    identity: String,
    duration: Duration,
    observed: Option<(Record, Instant)>,
    held: Option<Held>,
    term: watch::Sender<Option<u64>>,
}

impl Election {
    /// And the term while this replica is the active one.
    pub fn new(kubernetes: Kubernetes, config: &KubernetesConfig) -> (Self, watch::Receiver<Option<u64>>) {
        let (term, receiver) = watch::channel(None);
        let election = Self {
            kubernetes,
            name: config.lease.clone(),
            identity: config.identity.clone().unwrap_or_else(host_name),
            // A Lease holds whole seconds, and who watches it counts those.
            duration: Duration::from_secs(config.lease_duration.as_secs().max(1)),
            observed: None,
            held: None,
            term,
        };
        (election, receiver)
    }

    /// Until `stop`; then the Lease is given back, so that another replica need not wait.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            let pause = self.turn().await;
            let ends = self.held.map(|held| held.since + self.renew_deadline());
            tokio::select! {
                () = stop.cancelled() => break,
                () = sleep(pause) => (),
                () = until(ends) => self.tell(),
            }
        }
        self.term.send_replace(None);
        self.release().await;
    }

    /// One look at the Lease, and how long to wait before the next one.
    async fn turn(&mut self) -> Duration {
        let deadline = self.held.map(|held| held.since + self.renew_deadline());
        let result = tokio::select! {
            result = self.step() => result.map_err(|error| error.to_string()),
            () = until(deadline) => Err("no answer before the lease ends".to_owned()),
        };
        if let Err(error) = result {
            tracing::warn!(error, lease = self.name, "cannot look at the lease");
        }
        self.tell();
        self.duration * 2 / 15
    }

    async fn step(&mut self) -> Result<(), KubernetesError> {
        let found = match self.kubernetes.get(&self.path(), &[]).await {
            Ok(object) => Some(Record::read(object)),
            Err(error) if error.is_not_found() => None,
            Err(error) => return Err(error),
        };
        let began = (Instant::now(), SystemTime::now());
        let watched_for = self.watch(found.as_ref(), began.0);
        let is_held = self.valid().is_some();
        let step = decide(found.as_ref(), &self.identity, is_held, watched_for);
        let term = match (step, &found) {
            (Step::Wait, _) => {
                self.held = None;
                return Ok(());
            }
            (Step::Renew, Some(found)) => found.term,
            (_, Some(found)) => found.term + 1,
            (_, None) => 1,
        };
        match self.write(step, found.as_ref(), term).await {
            Ok(object) => {
                self.observed = Some((Record::read(object), began.0));
                self.held = Some(Held { term, since: began.0, wall: began.1 });
                Ok(())
            }
            Err(error) if error.is_conflict() => {
                // Somebody else was faster: who, is seen the next time.
                self.held = None;
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// For how long the Lease has been as it is, as watched from here.
    fn watch(&mut self, found: Option<&Record>, now: Instant) -> Duration {
        match (&self.observed, found) {
            (Some((known, since)), Some(found)) if known.version == found.version => {
                now.duration_since(*since)
            }
            (_, found) => {
                self.observed = found.map(|found| (found.clone(), now));
                Duration::ZERO
            }
        }
    }

    async fn write(&self, step: Step, found: Option<&Record>, term: u64) -> Result<Value, KubernetesError> {
        let now = Utc::now().to_rfc3339_opts(SecondsFormat::Micros, true);
        let path = self.path();
        let mut object = found.map_or_else(
            || {
                json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                    "metadata": {"name": self.name, "namespace": self.kubernetes.namespace()}, "spec": {}})
            },
            |found| found.object.clone(),
        );
        object["spec"]["holderIdentity"] = json!(self.identity);
        object["spec"]["leaseDurationSeconds"] = json!(self.duration.as_secs());
        object["spec"]["leaseTransitions"] = json!(term);
        object["spec"]["renewTime"] = json!(now);
        if step != Step::Renew {
            object["spec"]["acquireTime"] = json!(now);
        }
        match step {
            Step::Create => self.kubernetes.send(Method::POST, &path[..path.len() - 1], &object).await,
            _ => self.kubernetes.send(Method::PUT, &path, &object).await,
        }
    }

    /// Gives the Lease back, if it is ours.
    async fn release(&mut self) {
        let (Some(held), Some((record, _))) = (self.held.take(), self.observed.take()) else { return };
        let mut object = record.object;
        object["spec"]["holderIdentity"] = json!("");
        object["spec"]["leaseTransitions"] = json!(held.term);
        if let Err(error) = self.kubernetes.send(Method::PUT, &self.path(), &object).await {
            tracing::warn!(%error, "cannot give the lease back; another replica waits until it has run out");
        }
    }

    /// Two thirds: whoever watches from elsewhere waits the whole.
    fn renew_deadline(&self) -> Duration {
        self.duration * 2 / 3
    }

    fn valid(&self) -> Option<u64> {
        let held = self.held?;
        let slept = SystemTime::now().duration_since(held.wall).unwrap_or_default();
        (held.since.elapsed().max(slept) < self.renew_deadline()).then_some(held.term)
    }

    fn tell(&mut self) {
        let term = self.valid();
        if term.is_none() {
            self.held = None;
        }
        self.term.send_if_modified(|told| std::mem::replace(told, term) != term);
    }

    fn path(&self) -> [&str; 7] {
        let namespace = self.kubernetes.namespace();
        ["apis", "coordination.k8s.io", "v1", "namespaces", namespace, "leases", &self.name]
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// A Lease in our name that we do not hold is of a process before us: it may not have ended, so it is waited for like another one.
fn decide(found: Option<&Record>, me: &str, is_held: bool, watched_for: Duration) -> Step {
    match found {
        None => Step::Create,
        Some(found) if found.holder.is_empty() => Step::TakeOver,
        Some(found) if found.holder == me && is_held => Step::Renew,
        Some(found) if watched_for >= found.duration => Step::TakeOver,
        Some(_) => Step::Wait,
    }
}

impl Record {
    fn read(object: Value) -> Self {
        let spec = &object["spec"];
        Self {
            holder: spec["holderIdentity"].as_str().unwrap_or_default().to_owned(),
            term: spec["leaseTransitions"].as_u64().unwrap_or(0),
            duration: Duration::from_secs(spec["leaseDurationSeconds"].as_u64().unwrap_or(0)),
            version: object["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned(),
            object,
        }
    }
}

/// A pod's name, which is unique for as long as it lives.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { format!("driftd-{}", std::process::id()) } else { name.to_owned() }
}

#[cfg(test)]
mod tests;
