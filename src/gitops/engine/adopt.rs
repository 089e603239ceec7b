//! What is in Git and nobody here has seen the end of: the replica before has died, and its journal with it. No alert may tell of it any
//! more, as the commit has helped; whether it has is still to be seen, and a canary to be cleaned up.

use std::collections::BTreeSet;

use chrono::Utc;

use super::super::git::Action;
use super::super::incident::{Incident, Origin, State, Timestamp};
use super::case::{Turn, deadline};
use super::desk::{EngineHandle, Last};
use super::intake::begin;
use super::past::Past;
use super::plan::read_back;
use super::resolve::{actions_at, locate_at};
use super::{Context, Refused};
use crate::net::chain;

impl EngineHandle {
    /// Follows what was begun lately and has no end that anybody knows. Returns whether all of it was looked at: what is open now may end
    /// without having heard of it.
    ///
    /// # Errors
    /// If Git or the journal does not say; some may have been taken on.
    pub(super) async fn adopt(&self) -> Result<bool, Refused> {
        let context = self.context();
        let unavailable = |error| Refused::Unavailable(chain(&error));
        let tip = context.repository.fetch().await.map_err(unavailable)?;
        let actions = actions_at(context, &tip).await.map_err(unavailable)?;
        let (known, since) = (followed(context).await?, follows_since(context));
        let mut is_all = true;
        for target in &context.config.targets {
            let Some(action) = Past(&actions).unfinished(&target.service, &known, since) else { continue };
            let located = locate_at(context, &tip, target).await.map_err(unavailable)?.ok();
            let Some((plan, commit)) = read_back(action, located.as_ref()) else { continue };
            let mut desk = self.desk.lock().await;
            if let Last::Open(_) = self.last(&mut desk, &target.service).await? {
                is_all = false;
                continue;
            }
            // Under the lock: it may have been open, and have ended just now.
            if followed(context).await?.contains(plan.action.as_str()) {
                continue;
            }
            let reason = format!("{} is in Git, and nobody here knows what came of it", commit.id);
            let incident =
                Incident { plan: Some(plan), commit: Some(commit), reason, ..adopted(action, context) };
            let id = self.open(&mut desk, incident, "found in Git").await?;
            tracing::info!(incident = id, service = %target.service, "found in Git, and followed from here");
        }
        Ok(is_all)
    }
}

/// Where Prometheus does not confirm an alert since its pods are gone, and another replica had pushed the rollback: that is followed. An
/// alert that was delivered before [`EngineHandle::adopt`] had looked has an incident of its own, which would wait for ever.
pub(super) async fn pushed_by_another(context: &Context, incident: &Incident) -> Option<Turn> {
    let target = context.config.target(&incident.service)?;
    let tip = context.repository.fetch().await.ok()?;
    let actions = actions_at(context, &tip).await.ok()?;
    let (known, since) = (followed(context).await.ok()?, follows_since(context));
    let action = Past(&actions).unfinished(&incident.service, &known, since)?;
    if !action.is_from(&incident.version) {
        return None;
    }
    let located = locate_at(context, &tip, target).await.ok()?.ok();
    let (plan, commit) = read_back(action, located.as_ref())?;
    let found = Turn::to(State::Pushed, format!("{} is in Git already", commit.id));
    Some(found.with(move |incident| (incident.plan, incident.commit) = (Some(plan), Some(commit))))
}

/// Actions whose end is known, or looked for: those with a commit in our journal, and those that another replica has ended. That we once
/// planned one and let it go says nothing of what another has done.
pub(super) async fn followed(context: &Context) -> Result<BTreeSet<String>, Refused> {
    let mut followed = context.book.ended().await;
    let ours = context.journal.incidents(None).await?;
    let ours = ours.iter().filter(|incident| incident.commit.is_some());
    followed.extend(ours.filter_map(|incident| Some(incident.action()?.to_string())));
    Ok(followed)
}

/// Older commits are not followed any more: whoever pushed them would have ended by now. A pull request's may have waited to be merged.
pub(super) fn follows_since(context: &Context) -> Timestamp {
    let waited = context.forge.as_ref().map(|forge| forge.expires_after()).unwrap_or_default();
    Utc::now() - context.config.policy.follow_up() - waited
}

/// An incident whose commit is made.
fn adopted(action: &Action, context: &Context) -> Incident {
    let now = Utc::now();
    let service = action.service().expect("it was found by its service");
    let mut incident = begin(service, action.from_version(), Origin::TakeOver, now);
    incident.accusations = action.accusations(now);
    incident.state = State::Pushed;
    incident.entered.insert(State::Pushed, now);
    incident.deadline = deadline(&incident, &context.config.policy, now);
    incident
}
