//! From the pushed commit to the proof that it helped: applied, served, well. The absence of data is never a proof.

use chrono::{TimeDelta, Utc};
use tokio::time::sleep;

use super::super::argocd::{At, History, Sync, SyncWatch};
use super::super::config::TargetConfig;
use super::super::git::GitError;
use super::super::incident::{Edit, Incident, Plan, Recipe, State};
use super::super::manifest::{self, Selector};
use super::super::prometheus::Answer;
use super::super::serving::Serving;
use super::case::{Turn, is_late};
use super::rewrite::document;
use super::weigh::version_label;
use super::{Context, LOOK_EVERY};
use crate::baseline::source::hash_of;
use crate::net::chain;
use crate::telemetry::controller::RefreshResult;

/// The accused version is not gone back to, whatever comes of this.
pub async fn refresh(context: &Context, incident: &Incident) -> Turn {
    let Some(plan) = &incident.plan else { return no_plan() };
    context.book.deny(context, &incident.service, &plan.bad_uri, plan.action.as_str()).await;
    match (&context.argocd, application(context, incident)) {
        (Some(_), Some(application)) => {
            Turn::to(State::Syncing, format!("waiting for Argo CD's {application}"))
        }
        _ => Turn::to(State::Serving, "no Application is configured; waiting for the pods"),
    }
}

fn no_plan() -> Turn {
    Turn::to(State::NeedsHuman, "there is no plan to verify; this is a bug")
}

fn application<'a>(context: &'a Context, incident: &Incident) -> Option<&'a str> {
    context.config.target(&incident.service).and_then(|target: &TargetConfig| target.application.as_deref())
}

/// Until Argo CD has applied a revision that holds the commit. It is told to look, again and again: a single refresh may be lost.
pub async fn sync(context: &Context, incident: &Incident) -> Turn {
    let (Some(argocd), Some(application)) = (&context.argocd, application(context, incident)) else {
        return Turn::to(State::Serving, "no Application is configured any more; waiting for the pods");
    };
    let (Some(commit), Some(plan)) = (&incident.commit, &incident.plan) else { return no_plan() };
    let branch = Branch { context, incident, plan, commit: &commit.commit };
    let mut watch = SyncWatch::new(argocd.clone(), application.to_owned());
    let mut told = String::new();
    loop {
        let n_refreshed = watch.n_refreshed;
        let looked = watch.look(&branch).await;
        if watch.n_refreshed > n_refreshed {
            let result = if looked.is_ok() { RefreshResult::Ok } else { RefreshResult::Failed };
            context.measure.metrics.count_refresh(result);
        }
        context.measure.metrics.set_operation_blocked(watch.blocked_for());
        let waiting = match looked {
            Ok(Sync::Applied { revision }) => {
                return Turn::to(State::Serving, format!("{application} has applied {revision}"));
            }
            Ok(Sync::Superseded { revision }) => {
                return Turn::to(
                    State::Superseded,
                    format!("{revision} has changed the line after our commit"),
                );
            }
            Ok(Sync::Waiting(why)) => why,
            Ok(Sync::Blocked { why, command }) => {
                tell(&mut told, format!("{why}; `{command}`"), "not applied, and not by itself")
            }
            Err(error) => format!("Argo CD does not answer: {}", chain(&error)),
        };
        if is_late(incident) {
            return Turn::to(State::NeedsHuman, format!("the commit is pushed and not applied: {waiting}"));
        }
        tracing::debug!(waiting, "not applied yet");
        sleep(LOOK_EVERY).await;
    }
}

/// Says in the log, once, what a person could do something about before the time is over.
fn tell(told: &mut String, why: String, what: &'static str) -> String {
    if *told != why {
        tracing::warn!(why, "{what}");
        told.clone_from(&why);
    }
    why
}

/// What the repository says of revisions that Argo CD names.
struct Branch<'a> {
    context: &'a Context,
    incident: &'a Incident,
    plan: &'a Plan,
    commit: &'a str,
}

impl History for Branch<'_> {
    async fn at(&self, revision: &str) -> At {
        match self.look(revision).await {
            Ok(at) => at,
            Err(error) => At::Unknown(chain(&error)),
        }
    }
}

impl Branch<'_> {
    async fn look(&self, revision: &str) -> Result<At, GitError> {
        let repository = &self.context.repository;
        if !repository.knows(revision).await? {
            repository.fetch().await?; // somebody has pushed since
        }
        let holds_ours = repository.contains(revision, self.commit).await?;
        let says = |value: String, expected: fn(&Edit) -> &String| {
            let first = self.plan.edits.first();
            first.is_some_and(|edit| *expected(edit) == value)
        };
        let value = self.value(revision).await?;
        Ok(match (holds_ours, value) {
            (true, Some(value)) if says(value.clone(), |edit| &edit.to) => At::Ours,
            (true, _) => At::Changed,
            (false, value) => {
                At::Before { is_accused: value.is_some_and(|value| says(value, |edit| &edit.from)) }
            }
        })
    }

    /// What stands at the place that was changed first.
    async fn value(&self, revision: &str) -> Result<Option<String>, GitError> {
        let Some(bytes) = self.context.repository.read(revision, &self.plan.file).await? else {
            return Ok(None);
        };
        let path = self.plan.edits.first().map(|edit| edit.path.clone()).unwrap_or_default();
        let service = &self.incident.service;
        let document = document(&bytes, service, self.plan, self.context.config.is_field(service)).ok();
        let selector = Selector::Field { document, path };
        let read = manifest::read(&bytes, &selector).ok().flatten();
        Ok(read.and_then(|service| service.uri).map(|field| field.value))
    }
}

/// Until pods serve the good version, and none the bad one.
pub async fn serving(context: &Context, incident: &Incident) -> Turn {
    let Some(plan) = &incident.plan else { return no_plan() };
    let mut told = String::new();
    loop {
        let waiting = match look(context, incident, plan).await {
            Serving::Ready => return Turn::to(State::Observing, format!("{} is served", plan.good_uri)),
            Serving::Failed(why) => {
                return Turn::to(State::NeedsHuman, format!("{} cannot be served: {why}", plan.good_uri));
            }
            Serving::Hung(why) => tell(&mut told, why, "not served, and not by itself"),
            Serving::Waiting(why) => why,
        };
        if is_late(incident) {
            return Turn::to(State::NeedsHuman, format!("{} is not served: {waiting}", plan.good_uri));
        }
        tracing::debug!(waiting, "not served yet");
        sleep(LOOK_EVERY).await;
    }
}

async fn look(context: &Context, incident: &Incident, plan: &Plan) -> Serving {
    if let Some(cluster) = &context.cluster {
        return cluster.serving(&incident.service, plan).await;
    }
    let (good, bad) =
        (hash_of(plan.good_uri.trim_end_matches('/')), hash_of(plan.bad_uri.trim_end_matches('/')));
    match context.witness.serving(&incident.service).await {
        Ok(serving) if serving.is_empty() => Serving::Waiting("no pod says what it serves".to_owned()),
        Ok(serving) if serving.iter().any(|each| each.storage_uri_hash == bad) => {
            Serving::Waiting("a pod says that it serves the accused version".to_owned())
        }
        Ok(serving) if serving.iter().any(|each| each.storage_uri_hash == good) => Serving::Ready,
        Ok(_) => Serving::Waiting("no pod says that it serves the good version".to_owned()),
        Err(error) => Serving::Waiting(format!("Prometheus does not answer: {error}")),
    }
}

/// Whether the good version is well: by rows that it has seen since it serves alone, for as long as alerts look back.
pub async fn observe(context: &Context, incident: &Incident) -> Turn {
    let Some(plan) = &incident.plan else { return no_plan() };
    let since = incident.entered.get(&State::Observing).copied().unwrap_or_else(Utc::now);
    let settle = TimeDelta::from_std(context.config.policy.recovery_settle.0).unwrap_or_default();
    loop {
        let version = version_label(context, &incident.service, &plan.good_uri).await;
        let min_rows = context.config.policy.recovery_rows;
        let health = context.witness.is_well(&incident.service, &version, since, min_rows).await;
        let waiting = match health {
            Answer::Yes(evidence) if Utc::now() >= since + settle => {
                context.measure.verified(incident, Utc::now());
                return well(plan, evidence);
            }
            Answer::Yes(_) => "it is well so far".to_owned(),
            Answer::No(why) => {
                context.book.deny(context, &incident.service, &plan.good_uri, plan.action.as_str()).await;
                return Turn::to(State::NotRecovered, format!("{} is accused as well: {why}", plan.good_uri));
            }
            Answer::Unknown(why) => why,
        };
        if is_late(incident) {
            return Turn::to(State::Inconclusive, format!("nobody can say whether it helped: {waiting}"));
        }
        sleep(LOOK_EVERY).await;
    }
}

fn well(plan: &Plan, evidence: String) -> Turn {
    let turn = match plan.recipe {
        Recipe::Uri => Turn::to(State::Recovered, format!("{} serves, and is well", plan.good_uri)),
        Recipe::KnativeCanary | Recipe::StandardCanary => Turn::to(
            State::Cleaning,
            format!("{} serves, and is well; what the canary left is removed", plan.good_uri),
        ),
    };
    turn.with(move |incident| {
        incident.evidence.insert("recovered".to_owned(), evidence);
    })
}
