//! What the engine says of itself: each state that is entered or left, in the words of the metrics.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use chrono::{TimeDelta, Utc};

use super::super::config::{Policy, TargetConfig};
use super::super::decide;
use super::super::incident::{Incident, State, Timestamp};
use super::super::pause::{Pauses, Scope};
use super::super::target::ServiceName;
use crate::telemetry::ControllerMetrics;
use crate::telemetry::controller::{GLOBAL, IncidentOutcome, OpenState, Stage};

/// The controller's metrics, and what is open at the moment.
#[derive(Debug)]
pub struct Measure {
    /// The series.
    pub metrics: ControllerMetrics,
    open: Mutex<BTreeMap<u64, State>>,
}

impl Measure {
    /// Around these series.
    pub fn new(metrics: ControllerMetrics) -> Self {
        Self { metrics, open: Mutex::default() }
    }

    /// An incident began, or goes on after a restart.
    pub fn opened(&self, incident: &Incident) {
        self.tell(incident);
    }

    /// An incident went from `left` to the state it is in.
    pub fn turned(&self, incident: &Incident, left: State) {
        let entered = incident.entered.get(&left).copied();
        if let (Some(stage), Some(entered)) = (stage(left), entered) {
            self.metrics.observe_stage(stage, (Utc::now() - entered).to_std().unwrap_or_default());
        }
        if let Some(outcome) = IncidentOutcome::from_label(incident.state.as_str()) {
            self.metrics.count_ended(outcome);
        }
        self.tell(incident);
    }

    /// Nothing is open here any more: another replica acts.
    pub fn closed_all(&self) {
        self.open().clear();
        for state in OpenState::ALL {
            self.metrics.set_open(state, 0);
        }
        // Where nothing is done, nothing is held back either.
        self.metrics.forget_holds();
    }

    /// What is paused: in the scopes that the targets have, so that their number is bounded.
    pub fn pauses(&self, pauses: &Pauses, targets: &[TargetConfig], now: Timestamp) {
        let held = pauses.holding(now);
        self.metrics.set_paused(GLOBAL, held.contains(&Scope::Fleet));
        for target in targets {
            let service = &target.service;
            let of_namespace = Scope::Namespace(service.namespace().to_owned());
            self.metrics.set_paused(service.namespace(), held.contains(&of_namespace));
            self.metrics.set_paused(&service.to_string(), held.contains(&Scope::Service(service.clone())));
        }
    }

    fn tell(&self, incident: &Incident) {
        let state = OpenState::from_label(incident.state.as_str());
        let service = &incident.service;
        self.metrics.set_target_state(service.namespace(), service.name(), state);
        let mut open = self.open();
        match state {
            Some(_) => open.insert(incident.id, incident.state),
            None => open.remove(&incident.id),
        };
        for state in OpenState::ALL {
            let n_open = open.values().filter(|open| open.as_str() == state.as_str()).count();
            self.metrics.set_open(state, n_open);
        }
    }

    fn open(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, State>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A gate said no.
    pub fn gate_denied(&self, gate: &str) {
        if let Some(gate) = decide::gate_names().find(|name| *name == gate) {
            self.metrics.count_gate_denied(gate);
        }
    }

    /// What may still be done, after what was.
    pub fn budgets(&self, done: &[(ServiceName, Timestamp)], policy: &Policy, now: Timestamp) {
        let window = TimeDelta::from_std(policy.budget_window.0).unwrap_or_default();
        let mut by_namespace: BTreeMap<&str, usize> = BTreeMap::new();
        for (service, at) in done {
            let n_done = by_namespace.entry(service.namespace()).or_default();
            *n_done += usize::from(now - *at <= window);
        }
        let n_all: usize = by_namespace.values().sum();
        self.metrics.set_budget_remaining(GLOBAL, (policy.global_budget as usize).saturating_sub(n_all));
        for (namespace, n_done) in by_namespace {
            self.metrics
                .set_budget_remaining(namespace, (policy.namespace_budget as usize).saturating_sub(n_done));
        }
    }

    /// The branch holds the commit.
    pub fn committed(&self, incident: &Incident, at: Timestamp) {
        if let Some(took) = since_alert(incident, at) {
            self.metrics.time_to_commit.observe(took);
        }
    }

    /// It is proved that it helped.
    pub fn verified(&self, incident: &Incident, at: Timestamp) {
        if let Some(took) = since_alert(incident, at) {
            self.metrics.time_to_verified.observe(took);
        }
    }
}

/// From the start of the first alert, in seconds.
fn since_alert(incident: &Incident, at: Timestamp) -> Option<f64> {
    let started = incident.accusations.iter().map(|accusation| accusation.starts_at).min()?;
    Some((at - started).to_std().unwrap_or_default().as_secs_f64())
}

const fn stage(state: State) -> Option<Stage> {
    Some(match state {
        State::Confirming => Stage::Confirm,
        State::Resolving | State::Gating => Stage::Plan,
        State::Committing => Stage::Push,
        State::Syncing => Stage::Sync,
        State::Serving => Stage::Serve,
        State::Observing => Stage::Verify,
        _ => return None,
    })
}
