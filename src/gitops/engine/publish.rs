//! The commits: the one that moves traffic, and for a canary the one that cleans up behind it.

use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use futures_util::future::BoxFuture;
use tokio::time::sleep;

use super::super::forge::Look;
use super::super::git::{Change, Hold, Make, PublishError, Superseded};
use super::super::incident::{CommitRecord, Incident, Plan, Recipe, State};
use super::super::message::{self, Purpose};
use super::super::target::ServiceName;
use super::case::{Turn, is_late};
use super::resolve::still_means;
use super::rewrite::{clean, rewrite};
use super::{Context, LOOK_EVERY, PullRequests};
use crate::net::chain;

/// How often a pull request is looked at. In the beginning, while a forge that merges by itself may be at it, sooner.
const PULL_REQUEST_EVERY: Duration = Duration::from_secs(10);
const PULL_REQUEST_FIRST: Duration = Duration::from_secs(1);

/// Commits and pushes. On every new tip the line is read again: the splice is made there, or not at all.
pub async fn commit(context: &Context, incident: &Incident) -> Turn {
    let Some(plan) = &incident.plan else { return no_plan() };
    let mut last = None;
    loop {
        let error = match publish_traffic(context, incident, plan, None).await {
            Ok(commit) => return pushed(context, incident, commit),
            Err(PublishError::Late) => return too_late(last),
            Err(PublishError::Superseded(found)) => {
                return Turn::to(State::Superseded, format!("the line has changed meanwhile: {found}"));
            }
            // A pause that came in the meantime holds, and the decision with it.
            Err(PublishError::Held(why)) => return Turn::to(State::Suppressed, why),
            Err(PublishError::Unknown(why)) => why,
            Err(PublishError::Rejected(text)) if context.forge.is_some() => {
                return Turn::to(State::PrOpen, format!("the remote refuses the push ({text})"));
            }
            Err(PublishError::Rejected(text)) => {
                return Turn::to(State::NeedsHuman, format!("the remote refuses the push: {text}"));
            }
            Err(PublishError::Failed(error)) => chain(&error),
        };
        if is_late(incident) {
            return too_late(Some(error));
        }
        tracing::warn!(error, "not pushed yet, trying again");
        last = Some(error);
        sleep(LOOK_EVERY).await;
    }
}

/// What could not be done; `None`: it was not tried, by who was away.
fn too_late(error: Option<String>) -> Turn {
    let error = error.map_or_else(String::new, |error| format!(": {error}"));
    Turn::to(State::NeedsHuman, format!("could not be pushed within `policy.decision_expires`{error}"))
}

fn no_plan() -> Turn {
    Turn::to(State::NeedsHuman, "there is no plan to act on; this is a bug")
}

fn pushed(context: &Context, incident: &Incident, commit: CommitRecord) -> Turn {
    context.measure.committed(incident, commit.pushed_at);
    Turn::to(State::Pushed, format!("{} is on {}", commit.commit, context.config.git.branch))
        .with(move |incident| incident.commit = Some(commit))
}

/// On the branch itself, or on one of its own for a pull request.
async fn publish_traffic(
    context: &Context,
    incident: &Incident,
    plan: &Plan,
    branch: Option<&str>,
) -> Result<CommitRecord, PublishError> {
    let is_field = context.config.is_field(&incident.service);
    let make = |bytes: &[u8]| rewrite(bytes, &incident.service, plan, is_field);
    let message = message::of(context.config.cluster.as_str(), incident, plan, Purpose::Traffic);
    let id = plan.action.of_commit(1);
    let n_lines = plan.edits.len();
    let hold = Meant { free: Free { context, service: &incident.service }, incident, plan };
    let change =
        Change { id: &id, file: &plan.file, message: &message, make: &make, hold: &hold, n_lines, branch };
    publish(context, &change).await
}

/// No pause, in the repository or of the API.
struct Free<'a> {
    context: &'a Context,
    service: &'a ServiceName,
}

impl Hold for Free<'_> {
    fn allows<'a>(&'a self, tip: &'a str) -> BoxFuture<'a, Result<(), PublishError>> {
        Box::pin(async move {
            let paused = self.context.book.paused(self.context, tip, self.service, Utc::now()).await;
            paused.map_or(Ok(()), |why| Err(PublishError::Held(format!("pause: {why}"))))
        })
    }
}

/// And a decision that is not too old, and a tip on which the plan means what it meant: it may have waited for hours. What is on the branch
/// already is found before this is asked, however late it is.
struct Meant<'a> {
    free: Free<'a>,
    incident: &'a Incident,
    plan: &'a Plan,
}

impl Hold for Meant<'_> {
    fn allows<'a>(&'a self, tip: &'a str) -> BoxFuture<'a, Result<(), PublishError>> {
        Box::pin(async move {
            if is_late(self.incident) {
                return Err(PublishError::Late);
            }
            self.free.allows(tip).await?;
            if tip == self.plan.tip {
                return Ok(());
            }
            still_means(self.free.context, self.free.service, self.plan, tip).await
        })
    }
}

async fn publish(context: &Context, change: &Change<'_>) -> Result<CommitRecord, PublishError> {
    let published = context.repository.publish(change, &context.measure.metrics).await?;
    Ok(CommitRecord {
        id: change.id.to_owned(),
        commit: published.commit,
        parent: published.parent,
        diff: published.diff,
        pushed_at: Utc::now(),
    })
}

/// Opens the pull request, or finds the one that is open, and waits for what people make of it.
pub async fn follow_pull_request(context: &Context, incident: &Incident) -> Turn {
    let (Some(plan), Some(forge)) = (&incident.plan, &context.forge) else { return no_plan() };
    let branch = format!("drift/{}", plan.action);
    let (mut was_changed, mut wait, mut last) = (false, PULL_REQUEST_FIRST, None);
    loop {
        match step_pull_request(context, incident, plan, &**forge, &branch).await {
            Ok(Step::Turn(turn)) => return turn,
            Ok(Step::Changed(found)) if was_changed => {
                let why = format!("the line has changed meanwhile: {found}");
                tell(forge, incident, &format!("{why}. driftd does not follow this any more.")).await;
                return Turn::to(State::Superseded, why);
            }
            // A forge moves the branch before it says that it has merged: it may be ours.
            Ok(Step::Changed(_)) => {
                (was_changed, wait, last) = (true, PULL_REQUEST_EVERY, None);
            }
            Ok(Step::Wait) => (was_changed, last) = (false, None),
            Ok(Step::Late) => return too_late(last),
            Err(error) => {
                tracing::warn!(error, "the pull request cannot be followed yet, trying again");
                last = Some(error);
            }
        }
        if is_late(incident) {
            return too_late(last);
        }
        let opened = incident.entered.get(&State::PrOpen).copied().unwrap_or_else(Utc::now);
        if (Utc::now() - opened).to_std().unwrap_or_default() > forge.expires_after() {
            tell(forge, incident, "Nobody has merged this in time; driftd does not follow it any more.")
                .await;
            let what = match &incident.pull_request {
                Some(pull_request) => format!("nobody has merged {} in time", pull_request.url),
                None => "there is no pull request in time".to_owned(),
            };
            return Turn::to(
                State::NeedsHuman,
                last.map_or(what.clone(), |error| format!("{what}: {error}")),
            );
        }
        sleep(wait).await;
        wait = (wait * 2).min(PULL_REQUEST_EVERY);
    }
}

/// What one look at a pull request came to.
enum Step {
    Turn(Turn),
    Wait,
    /// It was decided on too long ago to be opened.
    Late,
    /// It is open still, and on the branch the line does not say any more what it was made for.
    Changed(String),
}

/// Says something under the pull request, for people; nothing depends on it.
async fn tell(forge: &Arc<dyn PullRequests>, incident: &Incident, text: &str) {
    if let Some(pull_request) = &incident.pull_request
        && let Err(error) = forge.comment(pull_request, text).await
    {
        tracing::warn!(error, "the pull request has no comment");
    }
}

async fn step_pull_request(
    context: &Context,
    incident: &Incident,
    plan: &Plan,
    forge: &dyn PullRequests,
    branch: &str,
) -> Result<Step, String> {
    if incident.pull_request.is_none() {
        if let Err(error) = publish_traffic(context, incident, plan, Some(branch)).await {
            let turn = match error {
                PublishError::Superseded(found) => {
                    Turn::to(State::Superseded, format!("the line has changed meanwhile: {found}"))
                }
                PublishError::Held(why) => Turn::to(State::Suppressed, why),
                PublishError::Late => return Ok(Step::Late),
                PublishError::Rejected(text) => {
                    Turn::to(State::NeedsHuman, format!("the remote refuses the branch {branch}: {text}"))
                }
                PublishError::Unknown(why) => return Err(why),
                PublishError::Failed(error) => return Err(chain(&error)),
            };
            return Ok(Step::Turn(turn));
        }
        let message = message::of(context.config.cluster.as_str(), incident, plan, Purpose::Traffic);
        let pull_request = forge
            .open(
                branch,
                &context.config.git.branch,
                &message.subject,
                &message.description(&incident.reason),
            )
            .await?;
        let reason = format!("{} waits for a person: {}", pull_request.url, incident.reason);
        return Ok(Step::Turn(
            Turn::to(State::PrOpen, reason).with(move |incident| incident.pull_request = Some(pull_request)),
        ));
    }
    let tip = context.repository.fetch().await.map_err(|error| chain(&error))?;
    if let Some(found) =
        context.repository.find(&tip, &plan.action.of_commit(1)).await.map_err(|error| chain(&error))?
    {
        let record = record_of(plan, 1, found.commit);
        return Ok(Step::Turn(pushed(context, incident, record)));
    }
    let Some(pull_request) = &incident.pull_request else { return Ok(Step::Wait) };
    match forge.look(pull_request).await? {
        Look::Open => changed(context, incident, plan, &tip).await,
        // Squashed, with a message of the forge's: the value says that it is ours.
        Look::Merged { commit } => {
            let record = record_of(plan, 1, commit);
            Ok(Step::Turn(pushed(context, incident, record)))
        }
        Look::Closed { by } => {
            let by = by.unwrap_or_else(|| "somebody".to_owned());
            Ok(Step::Turn(Turn::to(
                State::NeedsHuman,
                format!("{by} closed {} without merging it", pull_request.url),
            )))
        }
    }
}

/// Whether the line of an open pull request still says on the branch what it was made for.
async fn changed(context: &Context, incident: &Incident, plan: &Plan, tip: &str) -> Result<Step, String> {
    let read = context.repository.read(tip, &plan.file).await.map_err(|error| chain(&error))?;
    let Some(bytes) = read else { return Ok(Step::Changed(format!("{} is not there any more", plan.file))) };
    let rewritten = rewrite(&bytes, &incident.service, plan, context.config.is_field(&incident.service));
    Ok(rewritten.map_or_else(|Superseded(found)| Step::Changed(found), |_| Step::Wait))
}

fn record_of(plan: &Plan, number: u8, commit: String) -> CommitRecord {
    let diff =
        plan.edits.iter().map(|edit| format!("-{}: {}\n+{}: {}\n", edit.path, edit.from, edit.path, edit.to));
    CommitRecord {
        id: plan.action.of_commit(number),
        commit,
        parent: plan.tip.clone(),
        diff: diff.collect(),
        pushed_at: Utc::now(),
    }
}

/// Drops what a stopped canary has left in the manifest, once that moves no traffic.
pub async fn clean_up(context: &Context, incident: &Incident) -> Turn {
    let Some(plan) = &incident.plan else { return no_plan() };
    loop {
        let error = match step_clean_up(context, incident, plan).await {
            Ok(turn) => return turn,
            Err(error) => error,
        };
        if is_late(incident) {
            let why = format!(
                "the canary is stopped and the model well; what is left in {} stays: {error}",
                plan.file
            );
            return Turn::to(State::Recovered, why);
        }
        tracing::info!(error, "not cleaned up yet");
        sleep(LOOK_EVERY).await;
    }
}

async fn step_clean_up(context: &Context, incident: &Incident, plan: &Plan) -> Result<Turn, String> {
    if plan.recipe == Recipe::KnativeCanary {
        let Some(cluster) = &context.cluster else {
            return Err("without `kubernetes` nobody can say when the percent may be dropped".to_owned());
        };
        cluster.may_drop_percent(&incident.service, &plan.good_uri).await?;
    }
    let is_field = context.config.is_field(&incident.service);
    let make = |bytes: &[u8]| clean(bytes, &incident.service, plan, is_field);
    let n_lines = count_lines(context, plan, &make).await?;
    let message = message::of(context.config.cluster.as_str(), incident, plan, Purpose::CleanUp);
    let id = plan.action.of_commit(2);
    let hold = Free { context, service: &incident.service };
    let (file, message) = (&*plan.file, &message);
    let change = Change { id: &id, file, message, make: &make, hold: &hold, n_lines, branch: None };
    match publish(context, &change).await {
        Ok(commit) => {
            Ok(Turn::to(State::Recovered, "the model is well, and the canary is out of the manifest")
                .with(move |incident| incident.cleanup = Some(commit)))
        }
        Err(PublishError::Superseded(found)) => Ok(Turn::to(
            State::Recovered,
            format!(
                "the model is well; what the canary had left is left alone, as somebody has changed it ({found})"
            ),
        )),
        Err(PublishError::Held(why) | PublishError::Unknown(why)) => Err(why),
        Err(error @ PublishError::Late) => Err(error.to_string()),
        Err(PublishError::Rejected(text)) => Err(format!("the remote refuses the push: {text}")),
        Err(PublishError::Failed(error)) => Err(chain(&error)),
    }
}

/// How many lines the clean-up takes away: one for a percent, as many as it has for an entry.
async fn count_lines(context: &Context, plan: &Plan, make: &Make<'_>) -> Result<usize, String> {
    let read = async {
        let tip = context.repository.fetch().await?;
        context.repository.read(&tip, &plan.file).await
    };
    let bytes = read.await.map_err(|error| chain(&error))?;
    let bytes = bytes.ok_or_else(|| format!("there is no {} any more", plan.file))?;
    let n_of = |bytes: &[u8]| memchr::memchr_iter(b'\n', bytes).count();
    // Superseded here is told by the push itself.
    Ok(make(&bytes).map_or(1, |after| n_of(&bytes) - n_of(&after)))
}
