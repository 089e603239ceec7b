//! Which line of which file is accused, which commit brought it, and what was good before.

use std::collections::BTreeSet;

use chrono::Utc;
use tokio::time::sleep;

use super::super::artifact::{self, Artifact};
use super::super::choose::{Candidate, Run, choose, named};
use super::super::config::TargetConfig;
use super::super::git::{Action, GitError, Version};
use super::super::history::{changed_together, runs, value_of};
use super::super::incident::{ActionId, Component, Edit, Incident, Origin, Plan, Recipe, State};
use super::super::manifest::{Located, Service, locate};
use super::case::{Turn, is_late};
use super::past::Past;
use super::{Context, LOOK_EVERY};
use crate::baseline::source::{hash_of, version_of};
use crate::net::chain;

/// How far back the file is read.
const MAX_VERSIONS: usize = 500;
/// Among how many of the newest commits actions are looked for.
pub const MAX_ACTIONS: usize = 1000;

/// File, key and URIs at most, in bytes. Object stores know keys of 1,024.
const MAX_NAME_BYTES: usize = 4096;

/// Why there is no plan.
enum NoPlan {
    /// The clone cannot be brought up to date or read; it may pass.
    Git(GitError),
    /// The incident takes another turn.
    Turn(Turn),
}

impl From<GitError> for NoPlan {
    fn from(error: GitError) -> Self {
        Self::Git(error)
    }
}

impl From<Turn> for NoPlan {
    fn from(turn: Turn) -> Self {
        Self::Turn(turn)
    }
}

fn human(why: impl Into<String>) -> NoPlan {
    Turn::to(State::NeedsHuman, why).into()
}

/// Plans the rollback, or says why there is none. While Git does not answer it is asked again, until the decision is too old.
pub async fn resolve(context: &Context, incident: &Incident) -> Turn {
    loop {
        let error = match plan(context, incident).await {
            Ok(plan) => {
                let reason = format!("{} → {}, by {}", plan.bad_uri, plan.good_uri, plan.action);
                return Turn::to(State::Gating, reason).with(move |incident| incident.plan = Some(plan));
            }
            Err(NoPlan::Turn(turn)) => return turn,
            Err(NoPlan::Git(error)) => chain(&error),
        };
        if is_late(incident) {
            return Turn::to(State::NeedsHuman, format!("the repository cannot be read: {error}"));
        }
        tracing::warn!(error, "the repository cannot be read yet, trying again");
        sleep(LOOK_EVERY).await;
    }
}

/// The accused part of a service.
struct Accused {
    component: Component,
    uri: String,
}

async fn plan(context: &Context, incident: &Incident) -> Result<Plan, NoPlan> {
    let service = &incident.service;
    let target = context
        .config
        .target(service)
        .ok_or_else(|| human("the configuration has no such target any more"))?;
    let tip = context.repository.fetch().await?;
    let located = find(context, &tip, target).await?;
    let actions = context.repository.actions(&tip, MAX_ACTIONS).await?;
    let Some(accused) = accused(context, incident, &located.service).await else {
        return Err(superseded(context, incident, &located.service, &actions));
    };
    let versions = context.repository.history(&tip, &located.file, MAX_VERSIONS).await?;
    let selector = &located.selector;
    let ours: BTreeSet<&str> = actions.iter().map(|action| &*action.commit).collect();
    let runs = runs(&versions, selector, &accused.component, |commit| ours.contains(commit));
    let Some(current) = runs.first().filter(|run| run.value == accused.uri) else {
        return Err(human(format!("the history of {} does not begin with what stands there", located.file)));
    };
    let recipe = recipe(context, incident, &located.service, &accused).await;
    let good = match recipe {
        Recipe::StandardCanary => stable(&located.service)?,
        Recipe::Uri | Recipe::KnativeCanary => {
            good(context, incident, &runs, recipe, &Past(&actions)).await?
        }
    };
    if good.uri == accused.uri {
        return Err(Turn::to(State::Superseded, format!("{} is what stands there", good.uri)).into());
    }
    let edits = edits(&located.service, &accused, recipe, &good.uri)?;
    let paths: Vec<&str> = edits.iter().map(|edit| &*edit.path).collect();
    nameable(&located.file, &edits, [&accused.uri, &good.uri])?;
    Ok(Plan {
        action: ActionId::new(
            &context.config.cluster,
            service,
            &accused.component,
            &accused.uri,
            &current.introduced_by,
        ),
        // What a canary serves beside is served now: nothing else could be tested better.
        is_verified: good.verdict.is_some() || recipe != Recipe::Uri,
        coupled: coupled(&versions, &current.introduced_by, located.document, &paths, recipe),
        file: located.file,
        document: located.document,
        found_by: located.found_by.to_string(),
        edits,
        recipe,
        component: accused.component,
        bad_uri: accused.uri,
        good_uri: good.uri,
        introduced_by: current.introduced_by.clone(),
        introduced_at: current.introduced_at,
        good_commit: good.commit,
        tip,
    })
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

async fn find(context: &Context, tip: &str, target: &TargetConfig) -> Result<Located, NoPlan> {
    locate_at(context, tip, target).await?.map_err(human)
}

/// Which part of the service has the accused version. By the version's name, which is made from the URI; where it has another name, by
/// the hash of the URI that its pods export. A person who names none means the predictor.
async fn accused(context: &Context, incident: &Incident, service: &Service) -> Option<Accused> {
    let parts = || {
        let canaries = service.canaries.iter().map(|entry| Component::Canary(entry.name.clone()));
        let all = canaries.chain([Component::Predictor]);
        all.filter_map(|component| value_of(service, &component).map(|uri| Accused { component, uri }))
    };
    if incident.version.is_empty() {
        return parts().next_back();
    }
    if let Some(part) = parts().find(|part| version_of(&part.uri) == incident.version) {
        return Some(part);
    }
    let serving = context.witness.serving(&incident.service).await.ok()?;
    let hashes: BTreeSet<String> = serving
        .into_iter()
        .filter(|serving| serving.version == incident.version)
        .map(|serving| serving.storage_uri_hash)
        .collect();
    parts().find(|part| hashes.contains(&hash_of(part.uri.trim_end_matches('/'))))
}

/// The accused version does not stand there. If we have put it away ourselves, in an earlier life or as another replica, then what
/// came of that is still to be seen.
fn superseded(context: &Context, incident: &Incident, service: &Service, actions: &[Action]) -> NoPlan {
    let found = service.uri.as_ref().map_or("nothing", |field| &*field.value);
    let why = format!("the manifest has {found}, not version {}", incident.version);
    let ours = actions.iter().find(|action| {
        action.service().as_ref() == Some(&incident.service)
            && action.from_uri().is_some_and(|uri| version_of(&uri) == incident.version)
            && (Utc::now() - action.committed_at).to_std().unwrap_or_default()
                < context.config.policy.decision_expires.0
    });
    match ours.and_then(Action::as_plan) {
        Some((plan, commit)) => Turn::to(State::Pushed, format!("{} is in Git already", commit.id))
            .with(move |incident| {
                incident.plan = Some(plan);
                incident.commit = Some(commit);
            })
            .into(),
        None => Turn::to(State::Superseded, why).into(),
    }
}

async fn recipe(context: &Context, incident: &Incident, service: &Service, accused: &Accused) -> Recipe {
    if matches!(accused.component, Component::Canary(_)) {
        return Recipe::StandardCanary;
    }
    let percent = service.canary_percent.as_ref().and_then(|field| field.value.parse::<u8>().ok());
    if !percent.is_some_and(|percent| (1..100).contains(&percent)) {
        return Recipe::Uri;
    }
    // Percent 0 leads all traffic to what was rolled out last. If that is the accused version as well, it must not be pinned.
    let rolled_out = match &context.cluster {
        Some(cluster) => cluster.rolled_out_uri(&incident.service).await.ok().flatten(),
        None => None,
    };
    if rolled_out.is_some_and(|uri| uri == accused.uri) { Recipe::Uri } else { Recipe::KnativeCanary }
}

fn asked_for(incident: &Incident) -> Option<&str> {
    match &incident.origin {
        Origin::Person { to, .. } => to.as_deref(),
        Origin::Alert | Origin::TakeOver => None,
    }
}

fn stable(service: &Service) -> Result<Candidate, NoPlan> {
    let uri = service.uri.as_ref().ok_or_else(|| human("the predictor has no storageUri"))?;
    Ok(Candidate { uri: uri.value.clone(), commit: String::new(), verdict: None })
}

/// The best candidate whose artifact is there, and is what it was.
async fn good(
    context: &Context,
    incident: &Incident,
    runs: &[Run],
    recipe: Recipe,
    past: &Past<'_>,
) -> Result<Candidate, NoPlan> {
    let mut ledger = context.book.ledger(&incident.service).await;
    past.deny(&incident.service, &mut ledger);
    let asked = asked_for(incident);
    if recipe == Recipe::KnativeCanary {
        // It serves the rest of the traffic: it is there, and there is no other choice.
        let before = runs.get(1).filter(|run| !run.value.is_empty());
        let before = before.ok_or_else(|| human("the canary has no version before it"))?;
        if asked.is_some_and(|uri| uri != before.value) {
            return Err(human(format!(
                "a canary is only taken back to what serves beside it, {}",
                before.value
            )));
        }
        let verdict = ledger.good.get(&before.value).cloned();
        return Ok(Candidate { uri: before.value.clone(), commit: before.introduced_by.clone(), verdict });
    }
    let choice = match asked {
        Some(uri) => named(runs, &ledger, uri),
        None => choose(runs, &ledger, &context.config.policy, Utc::now()),
    };
    let mut refused = choice.refused;
    for candidate in choice.candidates {
        if !context.config.policy.check_artifacts {
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
    Err(human(format!("there is no version to go back to: {why}")))
}

fn edits(service: &Service, accused: &Accused, recipe: Recipe, good_uri: &str) -> Result<Vec<Edit>, NoPlan> {
    let uri = || {
        let field = service.uri.as_ref().ok_or_else(|| human("the predictor has no storageUri"))?;
        Ok::<_, NoPlan>(Edit { path: field.path.clone(), from: field.value.clone(), to: good_uri.to_owned() })
    };
    let percent = |field: Option<&super::super::manifest::Field>| -> Result<Edit, NoPlan> {
        let field = field.ok_or_else(|| human("the canary has no percent to set to 0"))?;
        if field.value == "0" {
            return Err(Turn::to(State::Superseded, "the canary gets no traffic already").into());
        }
        Ok(Edit { path: field.path.clone(), from: field.value.clone(), to: "0".to_owned() })
    };
    match recipe {
        Recipe::Uri => Ok(vec![uri()?]),
        Recipe::KnativeCanary => Ok(vec![percent(service.canary_percent.as_ref())?, uri()?]),
        Recipe::StandardCanary => {
            let Component::Canary(name) = &accused.component else {
                unreachable!("only canaries have this recipe")
            };
            let entry = service.canaries.iter().find(|entry| entry.name == *name);
            Ok(vec![percent(entry.and_then(|entry| entry.percent.as_ref()))?])
        }
    }
}

/// All that an action is read back from stands in the commit's trailers whole, and what is longer than any name is none.
fn nameable(file: &str, edits: &[Edit], uris: [&String; 2]) -> Result<(), NoPlan> {
    let names = edits.iter().map(|edit| &*edit.path).chain(uris.map(String::as_str)).chain([file]);
    match names.filter(|name| name.len() > MAX_NAME_BYTES).map(str::len).max() {
        Some(n_bytes) => Err(human(format!(
            "a commit has to name file, key and both URIs in full, and one of them has {n_bytes} bytes; {MAX_NAME_BYTES} are the limit"
        ))),
        None => Ok(()),
    }
}

/// A canary's other changes leave with it, or stay with what never had them.
fn coupled(
    versions: &[Version],
    introduced_by: &str,
    document: usize,
    except: &[&str],
    recipe: Recipe,
) -> Vec<String> {
    if recipe == Recipe::StandardCanary {
        return Vec::new();
    }
    let mut except = except.to_vec();
    except.push("spec.predictor.canaryTrafficPercent");
    changed_together(versions, introduced_by, document, &except)
}
