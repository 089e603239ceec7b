//! What the gates are told, and what follows from their answers.

use std::time::Duration;

use chrono::Utc;
use tokio::time::{sleep, timeout};

use super::super::config::Mode;
use super::super::decide::{
    Causality, Decision, Situation, accused_lately, circuit_limit, decide, is_circuit_open,
};
use super::super::incident::{Incident, Origin, Plan, State, Timestamp};
use super::super::prometheus::Answer;
use super::super::target::ServiceName;
use super::case::{Case, Turn, is_late};
use super::past::Past;
use super::resolve::actions_at;
use super::{Context, LOOK_EVERY};
use crate::baseline::source::{hash_of, version_of};
use crate::net::chain;

/// Asks every gate.
pub async fn weigh(context: &Context, incident: &Incident) -> Turn {
    let Some(plan) = &incident.plan else {
        return Turn::to(State::NeedsHuman, "there is no plan to decide on; this is a bug");
    };
    loop {
        let error = match decision(context, incident, plan).await {
            Ok(turn) => return turn,
            Err(error) => error,
        };
        if is_late(incident) {
            return Turn::to(
                State::NeedsHuman,
                format!("what was done before cannot be read from Git: {error}"),
            );
        }
        tracing::warn!(error, "what was done before cannot be read from Git yet, trying again");
        sleep(LOOK_EVERY).await;
    }
}

async fn decision(context: &Context, incident: &Incident, plan: &Plan) -> Result<Turn, String> {
    let causality = match &incident.origin {
        Origin::Person { by, .. } => Causality::Caused(format!("{by} says so")),
        Origin::Alert | Origin::TakeOver => causality(context, incident, plan).await,
    };
    // One after the other, until what was decided is in the journal: the next finds it there, and counts it.
    let alone = context.book.decide_alone().await;
    let tip = context.repository.fetch().await.map_err(|error| chain(&error))?;
    let actions = actions_at(context, &tip).await.map_err(|error| chain(&error))?;
    let open = context.journal.open_incidents().await.map_err(|error| chain(&error))?;
    let followed = context.forge.as_ref().map_or(Duration::ZERO, |forge| forge.expires_after());
    let before = Past(&actions).before(&incident.service, plan, &open, followed);
    let now = Utc::now();
    let paused = context.book.paused(context, &tip, &incident.service, now).await;
    let accused = accused(context, &incident.service, now).await;
    let circuit_opened = context.book.circuit_opened().await;
    let began = incident.accusations.iter().map(|accusation| accusation.starts_at).max();
    let began = began.unwrap_or(now).min(now);
    let situation = Situation {
        now,
        began,
        service: &incident.service,
        plan,
        origin: &incident.origin,
        mode: context.config.target(&incident.service).map_or(Mode::DryRun, |target| target.mode),
        has_forge: context.forge.is_some(),
        paused: paused.as_deref(),
        before,
        accused: &accused,
        circuit_opened,
        n_targets: context.config.targets.len(),
        causality,
    };
    let policy = &context.config.policy;
    let (decision, answers) = decide(&situation, policy);
    let n_accused = accused_lately(&accused, began, policy);
    // A person who only asks changes nothing.
    if decision != Decision::DryRun {
        if !is_circuit_open(circuit_opened, now, policy)
            && n_accused >= circuit_limit(context.config.targets.len(), policy)
        {
            context.book.open_circuit(context, now, n_accused).await;
        }
        for answer in answers.iter().filter(|answer| !answer.passes) {
            context.measure.gate_denied(&answer.gate);
        }
    }
    context.measure.budgets(&situation.before.done, policy, now);
    let turn = match decision {
        Decision::Commit => Turn::to(State::Committing, "every gate lets it pass"),
        Decision::Approve(why) => Turn::to(State::AwaitingApproval, why),
        Decision::PullRequest(why) => Turn::to(State::PrOpen, why),
        Decision::DryRun => Turn::to(State::DryRunDone, would_be(plan)),
        Decision::Suppress(gate, why) => Turn::to(State::Suppressed, format!("{gate}: {why}")),
        Decision::CallHuman(gate, why) => Turn::to(State::NeedsHuman, format!("{gate}: {why}")),
    };
    Ok(turn.with(move |incident| incident.gates = answers).holding(alone))
}

fn would_be(plan: &Plan) -> String {
    let edits = plan.edits.iter().map(|edit| format!("{}: {} → {}", edit.path, edit.from, edit.to));
    format!("would have changed {}: {}", plan.file, edits.collect::<Vec<_>>().join(", "))
}

/// Which services are accused, and since when: those that came in, and those whose alerts are pending or firing in Prometheus without
/// having come yet, so that the first of many is not acted on as if it were alone.
async fn accused(context: &Context, service: &ServiceName, now: Timestamp) -> Vec<(ServiceName, Timestamp)> {
    let mut accused = context.book.accused().await;
    match context.witness.accused_services().await {
        Ok(services) => accused.extend(services),
        Err(error) => tracing::warn!(error, "Prometheus does not say who else is accused"),
    }
    accused.push((service.clone(), now));
    accused
}

async fn causality(context: &Context, incident: &Incident, plan: &Plan) -> Causality {
    let (service, version) = (&incident.service, &*incident.version);
    match context.witness.is_trusted(service, version).await {
        Answer::Yes(_) => (),
        Answer::No(why) | Answer::Unknown(why) => return Causality::Unknown(why),
    }
    let before = version_label(context, service, &plan.good_uri).await;
    match context
        .witness
        .came_with(service, version, &before, context.config.policy.attribution_window.0)
        .await
    {
        Answer::Yes(why) => Causality::Caused(why),
        Answer::No(why) => Causality::NotCaused(why),
        Answer::Unknown(why) => Causality::Unknown(why),
    }
}

/// What the label `version` is for a URI: as pods that serve it say, else as it is made from it.
pub async fn version_label(context: &Context, service: &ServiceName, uri: &str) -> String {
    let hash = hash_of(uri.trim_end_matches('/'));
    let serving = context.witness.serving(service).await.unwrap_or_default();
    let found = serving.into_iter().find(|serving| serving.storage_uri_hash == hash);
    found.map_or_else(|| version_of(uri), |serving| serving.version)
}

/// Waits for `driftd approve`.
pub async fn await_approval(context: &Context, case: &Case) -> Turn {
    loop {
        let added = case.added.notified();
        let incident = case.snapshot().await;
        if let Some(by) = &incident.approved_by {
            return Turn::to(State::Committing, format!("approved by {by}"));
        }
        if is_late(&incident) {
            let why = format!("nobody approved it within {}", context.config.policy.approval_expires);
            return Turn::to(State::Suppressed, why);
        }
        let _ = timeout(LOOK_EVERY, added).await;
    }
}
