//! One incident while it is open: what moves it, and what may be added from outside meanwhile.

use std::sync::Arc;
use std::time::Duration;

use chrono::{TimeDelta, Utc};
use tokio::sync::{Mutex, Notify, OwnedMutexGuard};
use tracing::{error, info};

use super::super::config::Policy;
use super::super::incident::{Incident, State, Timestamp};
use super::Context;

/// An incident and whoever wants to add to it.
#[derive(Debug)]
pub struct Case {
    incident: Mutex<Incident>,
    /// Something was added.
    pub added: Notify,
}

/// Written into an incident as it turns.
type Written = Box<dyn FnOnce(&mut Incident) + Send>;

/// What follows from a step: another state, and what was found out on the way.
pub struct Turn {
    state: State,
    pub(super) reason: String,
    change: Option<Written>,
    alone: Option<OwnedMutexGuard<()>>,
}

impl Turn {
    /// To `state`, since `reason`.
    pub fn to(state: State, reason: impl Into<String>) -> Self {
        Self { state, reason: reason.into(), change: None, alone: None }
    }

    /// And with this written into the incident.
    pub fn with(mut self, change: impl FnOnce(&mut Incident) + Send + 'static) -> Self {
        self.change = Some(match self.change.take() {
            Some(first) => Box::new(move |incident| {
                first(incident);
                change(incident);
            }),
            None => Box::new(change),
        });
        self
    }

    /// And with this held until the state is in the journal.
    pub fn holding(mut self, alone: OwnedMutexGuard<()>) -> Self {
        self.alone = Some(alone);
        self
    }
}

impl Case {
    /// Of an incident that is in the journal.
    pub fn new(incident: Incident) -> Arc<Self> {
        Arc::new(Self { incident: Mutex::new(incident), added: Notify::new() })
    }

    /// As it is now.
    pub async fn snapshot(&self) -> Incident {
        self.incident.lock().await.clone()
    }

    /// Writes `change` into incident and journal; the state stays.
    ///
    /// # Errors
    /// If the journal cannot be written: then the incident is as it was.
    pub async fn add(
        &self,
        context: &Context,
        note: &str,
        change: impl FnOnce(&mut Incident),
    ) -> Result<(), super::JournalError> {
        let mut incident = self.incident.lock().await;
        let mut changed = incident.clone();
        change(&mut changed);
        context.journal.record(&changed, note).await?;
        *incident = changed;
        self.added.notify_waiters();
        Ok(())
    }

    /// Enters the state of `turn`. Returns only once the journal has it: nothing is done that is not written down.
    pub async fn enter(&self, context: &Context, turn: Turn) {
        let Turn { state, reason, change, alone: _until_it_is_written } = turn;
        let mut incident = self.incident.lock().await;
        let mut changed = incident.clone();
        if let Some(change) = change {
            change(&mut changed);
        }
        let now = Utc::now();
        let left = changed.state;
        changed.state = state;
        changed.reason = reason;
        changed.entered.insert(state, now);
        changed.deadline = deadline(&changed, &context.config.policy, now);
        let mut wait = Duration::from_millis(100);
        while let Err(error) = context.journal.record(&changed, &changed.reason).await {
            context.measure.metrics.journal_errors.inc();
            error!(error = %crate::net::chain(&error), "cannot write the journal; the incident waits");
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(Duration::from_secs(5));
        }
        info!(
            incident = changed.id, service = %changed.service, from = %left, state = %changed.state,
            reason = changed.reason, "incident"
        );
        context.measure.turned(&changed, left);
        *incident = changed;
    }
}

/// Until when a state may last. What depends on each other's time is counted from the moment of the decision.
pub fn deadline(incident: &Incident, policy: &Policy, now: Timestamp) -> Option<Timestamp> {
    let entered = |state| incident.entered.get(&state).copied().unwrap_or(now);
    let received = entered(State::Received);
    let after =
        |from: Timestamp, duration: Duration| TimeDelta::from_std(duration).ok().map(|delta| from + delta);
    match incident.state {
        State::Received | State::Confirming => after(received, policy.decision_expires.0),
        // From when it was confirmed, or asked for.
        State::Resolving | State::Gating => after(entered(State::Resolving), policy.decision_expires.0),
        State::AwaitingApproval => after(now, policy.approval_expires.0),
        // An approval or a decision, whichever came last, starts the clock.
        State::Committing => after(incident.approved_at.unwrap_or(now), policy.decision_expires.0),
        // One that is open is people's, who have longer.
        State::PrOpen if incident.pull_request.is_none() => after(now, policy.decision_expires.0),
        State::Cleaning => after(now, policy.decision_expires.0),
        State::Pushed | State::Syncing => after(now, policy.sync_timeout.0),
        State::Serving => after(now, policy.serving_timeout.0),
        State::Observing => after(now, policy.recovery_timeout.0),
        _ => None,
    }
}

/// Whether the time of the present state is over.
pub fn is_late(incident: &Incident) -> bool {
    incident.deadline.is_some_and(|deadline| Utc::now() >= deadline)
}
