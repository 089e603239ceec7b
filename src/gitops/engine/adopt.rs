//! What is in Git and nobody here has seen the end of: the replica before has died, and its journal with it. No alert may tell of it any
//! more, as the commit has helped; whether it has is still to be seen, and a canary to be cleaned up.

use std::collections::BTreeSet;

use chrono::Utc;

use super::super::git::Action;
use super::super::incident::{Incident, Origin, State};
use super::case::{Turn, deadline};
use super::desk::{EngineHandle, Last};
use super::intake::begin;
use super::past::Past;
use super::resolve::actions_at;
use super::{Context, Refused};
use crate::baseline::source::version_of;
use crate::net::chain;

impl EngineHandle {
    /// Follows what was begun lately and has no end that anybody knows.
    ///
    /// # Errors
    /// If Git or the journal does not say; some may have been taken on.
    pub(super) async fn adopt(&self) -> Result<(), Refused> {
        let context = self.context();
        let unavailable = |error| Refused::Unavailable(chain(&error));
        let tip = context.repository.fetch().await.map_err(unavailable)?;
        let actions = actions_at(context, &tip).await.map_err(unavailable)?;
        let known = known(context).await?;
        let since = Utc::now() - context.config.policy.decision_expires.0;
        for target in &context.config.targets {
            let unfinished = Past(&actions).unfinished(&target.service, since);
            let Some(incident) = unfinished.and_then(|action| adopted(action, context)) else { continue };
            if incident.action().is_some_and(|action| known.contains(action.as_str())) {
                continue;
            }
            let mut desk = self.desk.lock().await;
            if let Last::Ended(_) = self.last(&mut desk, &target.service).await? {
                let id = self.open(&mut desk, incident, "found in Git").await?;
                tracing::info!(incident = id, service = %target.service, "found in Git, and followed from here");
            }
        }
        Ok(())
    }
}

/// Where Prometheus does not confirm an alert since its pods are gone, and another replica had pushed the rollback: that is followed. An
/// alert that was delivered before [`EngineHandle::adopt`] had looked has an incident of its own, which would wait for ever.
pub(super) async fn pushed_by_another(context: &Context, incident: &Incident) -> Option<Turn> {
    let tip = context.repository.fetch().await.ok()?;
    let actions = actions_at(context, &tip).await.ok()?;
    let since = Utc::now() - context.config.policy.decision_expires.0;
    let (plan, commit) = Past(&actions).unfinished(&incident.service, since)?.as_plan()?;
    let known = known(context).await.ok()?;
    if version_of(&plan.bad_uri) != incident.version || known.contains(plan.action.as_str()) {
        return None;
    }
    let reason = format!("{} is in Git already", commit.id);
    let found = Turn::to(State::Pushed, reason).with(move |incident| {
        (incident.plan, incident.commit) = (Some(plan), Some(commit));
    });
    Some(found)
}

/// Actions that our journal has, and those that another replica has ended.
async fn known(context: &Context) -> Result<BTreeSet<String>, Refused> {
    let mut known = context.book.ended().await;
    let ours = context.journal.incidents(None).await?;
    known.extend(ours.iter().filter_map(|incident| Some(incident.action()?.to_string())));
    Ok(known)
}

/// An incident whose commit is made.
fn adopted(action: &Action, context: &Context) -> Option<Incident> {
    let (now, service) = (Utc::now(), action.service()?);
    let (plan, commit) = action.as_plan()?;
    let mut incident = begin(service, version_of(&plan.bad_uri), Origin::TakeOver, now);
    incident.accusations = action.accusations(now);
    incident.state = State::Pushed;
    incident.reason = format!("{} is in Git, and nobody here knows what came of it", commit.id);
    incident.entered.insert(State::Pushed, now);
    incident.deadline = deadline(&incident, &context.config.policy, now);
    (incident.plan, incident.commit) = (Some(plan), Some(commit));
    Some(incident)
}
