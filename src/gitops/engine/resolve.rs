//! Brings what a plan is made of: from Git, from pods, from the book, and from where artifacts are kept.

use std::collections::BTreeSet;

use chrono::Utc;
use tokio::time::sleep;

use super::super::artifact::{self, Artifact};
use super::super::choose::{Candidate, Choice};
use super::super::config::TargetConfig;
use super::super::git::{Action, GitError, PublishError, Version};
use super::super::incident::{Incident, Origin, Plan, State};
use super::super::manifest::{Located, Service, locate};
use super::super::target::ServiceName;
use super::adopt::{followed, follows_since};
use super::case::{Turn, is_late};
use super::past::Past;
use super::plan::{Accused, Facts, human, shares_traffic};
use super::{Context, LOOK_EVERY};
use crate::net::chain;

/// How far back the file is read.
const MAX_VERSIONS: usize = 500;
/// Among how many of the newest commits actions are looked for.
const MAX_ACTIONS: usize = 1000;

/// Why there is no plan.
enum NoPlan {
    /// Somebody who has to be asked does not answer; it may pass.
    Later(String),
    /// The incident takes another turn.
    Turn(Turn),
}

impl From<GitError> for NoPlan {
    fn from(error: GitError) -> Self {
        Self::Later(format!("the repository cannot be read: {}", chain(&error)))
    }
}

impl From<Turn> for NoPlan {
    fn from(turn: Turn) -> Self {
        Self::Turn(turn)
    }
}

/// Plans the rollback, or says why there is none. While Git or Kubernetes does not answer it is asked again, until the decision is too old.
pub async fn resolve(context: &Context, incident: &Incident) -> Turn {
    loop {
        let error = match plan(context, incident).await {
            Ok(plan) => {
                let reason = format!("{} → {}, by {}", plan.bad_uri, plan.good_uri, plan.action);
                return Turn::to(State::Gating, reason).with(move |incident| incident.plan = Some(plan));
            }
            Err(NoPlan::Turn(turn)) => return turn,
            Err(NoPlan::Later(error)) => error,
        };
        if is_late(incident) {
            return Turn::to(State::NeedsHuman, error);
        }
        tracing::warn!(error, "no plan yet, trying again");
        sleep(LOOK_EVERY).await;
    }
}

async fn plan(context: &Context, incident: &Incident) -> Result<Plan, NoPlan> {
    let (service, policy) = (&incident.service, &context.config.policy);
    let tip = context.repository.fetch().await?;
    let read = Read::at(context, service, tip).await?;
    let facts = read.facts(context, service);
    let Some(accused) = accused(context, incident, &read.located.service).await else {
        return Err(facts.superseded(&incident.version, follows_since(context)).into());
    };
    let (ledger, asked) = (context.book.ledger(service).await, asked_for(incident));
    let mut options = facts.options(accused, &ledger, asked, policy, Utc::now())?;
    let choice = std::mem::take(&mut options.choice);
    let good = good(choice, policy.check_artifacts && !options.is_served()).await?;
    Ok(options.plan(good)?)
}

/// Whether a plan means at `tip` what it meant where it was made.
///
/// # Errors
/// What has changed, or who cannot say.
pub async fn still_means(
    context: &Context,
    service: &ServiceName,
    plan: &Plan,
    tip: &str,
) -> Result<(), PublishError> {
    let read = Read::at(context, service, tip.to_owned()).await.map_err(|no_plan| match no_plan {
        NoPlan::Later(why) => PublishError::Unknown(why),
        NoPlan::Turn(turn) => PublishError::Superseded(turn.reason),
    })?;
    let meant = read.facts(context, service).still_means(plan, &context.config.policy, Utc::now());
    // It is accused still, and nobody has answered that: it is decided on anew.
    meant.map_err(|why| PublishError::Held(format!("{why}; what still fires is decided on anew")))
}

/// What the branch says of a service at a commit, and Kubernetes now.
struct Read {
    tip: String,
    located: Located,
    versions: Vec<Version>,
    actions: Vec<Action>,
    rolled_out: Option<String>,
    followed: BTreeSet<String>,
}

impl Read {
    async fn at(context: &Context, service: &ServiceName, tip: String) -> Result<Self, NoPlan> {
        let target = context.config.target(service);
        let target = target.ok_or_else(|| human("the configuration has no such target any more"))?;
        let located = locate_at(context, &tip, target).await?.map_err(human)?;
        let versions = context.repository.history(&tip, &located.file, MAX_VERSIONS).await?;
        let actions = actions_at(context, &tip).await?;
        let rolled_out = match &context.cluster {
            Some(cluster) if shares_traffic(&located.service) => {
                cluster.rolled_out_uri(service).await.map_err(NoPlan::Later)?
            }
            _ => None,
        };
        let followed = followed(context).await.map_err(|error| NoPlan::Later(error.to_string()))?;
        Ok(Self { tip, located, versions, actions, rolled_out, followed })
    }

    fn facts<'a>(&'a self, context: &'a Context, service: &'a ServiceName) -> Facts<'a> {
        Facts {
            cluster: context.config.cluster.as_str(),
            service,
            tip: &self.tip,
            located: &self.located,
            versions: &self.versions,
            past: Past(&self.actions),
            rolled_out: self.rolled_out.as_deref(),
            followed: &self.followed,
        }
    }
}

/// The newest commits of ours, the newest first. Those of other clusters, which may follow the same branch, are theirs.
pub async fn actions_at(context: &Context, tip: &str) -> Result<Vec<Action>, GitError> {
    let mut actions = context.repository.actions(tip, MAX_ACTIONS).await?;
    actions.retain(|action| action.cluster() == Some(&context.config.cluster));
    Ok(actions)
}

/// The document that is meant, at `tip`.
pub async fn locate_at(
    context: &Context,
    tip: &str,
    target: &TargetConfig,
) -> Result<Result<Located, String>, GitError> {
    let files = match &target.path {
        Some(path) => match context.repository.read(tip, path).await? {
            Some(bytes) => vec![(path.clone(), bytes)],
            None => return Ok(Err(format!("there is no {path} in the repository"))),
        },
        None => context.repository.yaml_files(tip).await?,
    };
    Ok(locate(files.into_iter(), target).map_err(|error| chain(&error)))
}

/// Which part of the service has the accused version: by the version's name, or where it has another name, by what its pods export.
async fn accused(context: &Context, incident: &Incident, service: &Service) -> Option<Accused> {
    if let Some(accused) = Accused::by_version(service, &incident.version) {
        return Some(accused);
    }
    let serving = context.witness.serving(&incident.service).await.ok()?;
    let of_version = serving.into_iter().filter(|serving| serving.version == incident.version);
    Accused::by_hash(service, &of_version.map(|serving| serving.storage_uri_hash).collect())
}

fn asked_for(incident: &Incident) -> Option<&str> {
    match &incident.origin {
        Origin::Person { to, .. } => to.as_deref(),
        Origin::Alert | Origin::TakeOver => None,
    }
}

/// The best candidate; where `is_checked`, whose artifact is there, and is what it was.
async fn good(choice: Choice, is_checked: bool) -> Result<Candidate, NoPlan> {
    let mut refused = choice.refused;
    for candidate in choice.candidates {
        if !is_checked {
            return Ok(candidate);
        }
        let known = candidate.verdict.as_ref().and_then(|verdict| verdict.digest.as_ref());
        match (artifact::look(&candidate.uri).await, known) {
            (Artifact::Missing, _) => refused.push(format!("{}: is not there any more", candidate.uri)),
            (Artifact::Digest(digest), Some(known)) if digest != *known => {
                refused.push(format!("{}: has changed since it was good", candidate.uri));
            }
            (Artifact::Digest(_) | Artifact::Unknown(_), _) => return Ok(candidate),
        }
    }
    let why = if refused.is_empty() { "nothing stood there before".to_owned() } else { refused.join("; ") };
    Err(human(format!("there is no version to go back to: {why}")).into())
}
