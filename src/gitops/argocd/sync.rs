//! Waiting until a commit is applied: one look at a time, and each says what it waits for, or what a person would have to do.

use std::time::Duration;

use http::StatusCode;
use tokio::time::Instant;

use super::{Application, ArgoCd, Operation, Windows};
use crate::gitops::http::HttpError;
use crate::gitops::incident::Timestamp;
use crate::net::chain;

/// A refresh may be lost, so it is asked for again while an older commit is compared; and while ours waits to be applied, as Argo CD
/// looks again by itself only after minutes, also where the window that kept it has ended.
const REFRESH_EVERY: Duration = Duration::from_secs(5);

/// A sync that takes longer, of a commit without ours, keeps ours from being applied.
const STUCK_AFTER: Duration = Duration::from_secs(15);

/// What the repository says of a commit that Argo CD names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum At {
    /// Our commit is not in it.
    Before {
        /// And the accused value is.
        is_accused: bool,
    },
    /// Our commit is in it, and so is our value.
    Ours,
    /// Our commit is in it, and on top of it somebody has changed the value again.
    Changed,
    /// It is of another repository, or cannot be read.
    Unknown(String),
}

/// The repository, as far as it is asked here.
pub trait History: std::marker::Sync {
    /// What it knows of a commit that Argo CD names.
    fn at(&self, revision: &str) -> impl Future<Output = At> + Send;
}

/// What is known of our commit in Argo CD.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sync {
    /// It is under way.
    Waiting(String),
    /// It does not go on by itself.
    Blocked {
        /// Why.
        why: String,
        /// What a person can do about it.
        command: String,
    },
    /// It is applied.
    Applied {
        /// In this commit.
        revision: String,
    },
    /// What is applied is newer, and has another value.
    Superseded {
        /// By this commit.
        revision: String,
    },
}

/// Watches one commit on its way into the cluster.
#[derive(Debug)]
pub struct SyncWatch {
    argocd: ArgoCd,
    application: String,
    pub(super) refreshed_at: Option<Instant>,
    /// Since when, and when the sync itself says that it began.
    pub(super) stuck_since: Option<(Instant, Option<Timestamp>)>,
    /// Why this one may not be ended, once that was tried.
    refused: Option<String>,
    /// Times that Argo CD was asked to look again.
    pub n_refreshed: u64,
    /// Times that a stuck sync was ended.
    pub n_terminated: u64,
}

impl SyncWatch {
    /// Of an Application.
    pub const fn new(argocd: ArgoCd, application: String) -> Self {
        Self {
            argocd,
            application,
            refreshed_at: None,
            stuck_since: None,
            refused: None,
            n_refreshed: 0,
            n_terminated: 0,
        }
    }

    /// For how long a sync of something else has been in the way, as far as was watched.
    pub fn blocked_for(&self) -> Duration {
        self.stuck_since.map_or(Duration::ZERO, |(since, _)| since.elapsed())
    }

    /// Looks once.
    ///
    /// # Errors
    /// [`HttpError`]: ask again later where it may pass.
    pub async fn look(&mut self, history: &impl History) -> Result<Sync, HttpError> {
        let mut application = self.argocd.application(&self.application).await?;
        let mut compared = self.compared(&application, history).await;
        let is_due = self.refreshed_at.is_none_or(|last| last.elapsed() >= REFRESH_EVERY);
        let wants_refresh = match compared.0 {
            At::Before { .. } | At::Unknown(_) => true,
            At::Ours => application.is_idle(),
            At::Changed => false,
        };
        if wants_refresh && is_due {
            self.refreshed_at = Some(Instant::now());
            self.n_refreshed += 1;
            // One that takes too long is under way all the same: what there is now is looked at.
            match self.argocd.refresh(&self.application).await {
                Ok(refreshed) => application = refreshed,
                Err(HttpError::Unreachable { .. }) => (),
                Err(error) => return Err(error),
            }
            compared = self.compared(&application, history).await;
        }
        self.judge(&application, compared, history).await
    }

    /// The best that is known of what the Application was compared with; several sources may be of other repositories.
    async fn compared(&self, application: &Application, history: &impl History) -> (At, String) {
        best(&application.revisions, history).await
    }

    async fn judge(
        &mut self,
        application: &Application,
        (compared, revision): (At, String),
        history: &impl History,
    ) -> Result<Sync, HttpError> {
        let name = &self.application;
        if application.is_hydrated {
            let why = "it applies another branch than the one that was written (source hydrator)".to_owned();
            return Ok(Sync::Blocked { why, command: format!("argocd app get {name}") });
        }
        if let Some(operation) = application.operation.as_ref().filter(|operation| operation.is_running()) {
            return self.while_running(operation, history).await;
        }
        self.stuck_since = None;
        match compared {
            At::Changed => return Ok(Sync::Superseded { revision }),
            At::Before { .. } => return Ok(Sync::Waiting(self.why_old(application, &revision))),
            At::Unknown(why) => {
                return Ok(Sync::Waiting(format!("nothing is known of {}: {why}", short(&revision))));
            }
            At::Ours => (),
        }
        if application.sync_status == "Synced" {
            let finished = application.operation.as_ref().and_then(|operation| operation.finished_at);
            return Ok(if application.reconciled_at >= finished {
                Sync::Applied { revision }
            } else {
                Sync::Waiting("it was not compared since its last sync".to_owned())
            });
        }
        if application.is_busy {
            return Ok(Sync::Waiting("a sync has been asked for".to_owned()));
        }
        self.why_not_synced(application, &revision, history).await
    }

    /// A sync is under way, of ours or of something else.
    async fn while_running(
        &mut self,
        operation: &Operation,
        history: &impl History,
    ) -> Result<Sync, HttpError> {
        let (holds, revision) = best(&operation.revisions, history).await;
        let is_same = self.stuck_since.is_some_and(|(_, started)| started == operation.started_at);
        if matches!(holds, At::Ours) {
            self.stuck_since = None;
            return Ok(Sync::Waiting(format!("it is being applied: {}", one_line(&operation.message))));
        }
        if !is_same {
            (self.stuck_since, self.refused) = (Some((Instant::now(), operation.started_at)), None);
        }
        let what = format!("a sync of {} is under way: {}", short(&revision), one_line(&operation.message));
        if self.blocked_for() < STUCK_AFTER || operation.phase == "Terminating" {
            return Ok(Sync::Waiting(what));
        }
        let is_accused = matches!(holds, At::Before { is_accused: true });
        let command = format!("argocd app terminate-op {}", self.application);
        if !(self.argocd.may_terminate && is_accused) {
            return Ok(Sync::Blocked { why: what, command });
        }
        if let Some(why) = &self.refused {
            return Ok(Sync::Blocked { why: format!("{what}; {why}"), command });
        }
        match self.argocd.terminate(&self.application).await {
            Ok(()) => {
                self.n_terminated += 1;
                tracing::warn!(application = self.application, what, "ended what was in the way");
                // Once it is gone ours is compared anew.
                (self.refreshed_at, self.stuck_since) = (None, None);
                Ok(Sync::Waiting(format!("ended what was in the way: {what}")))
            }
            Err(error) if error.may_pass() => Err(error),
            Err(error) => {
                let is_forbidden = error.status() == Some(StatusCode::FORBIDDEN);
                let needed = if is_forbidden { ", which takes the right `sync`" } else { "" };
                let why = format!("it could not be ended{needed}: {}", chain(&error));
                let told = format!("{what}; {why}");
                self.refused = Some(why);
                Ok(Sync::Blocked { why: told, command })
            }
        }
    }

    fn why_old(&self, application: &Application, revision: &str) -> String {
        let told = application.conditions.iter().find(|(kind, _)| kind == "ComparisonError");
        let told = told.map_or_else(String::new, |(_, text)| format!("; {}", one_line(text)));
        format!("it is compared with {} (asked to look {} times){told}", short(revision), self.n_refreshed)
    }

    /// Ours is compared, differs from the cluster, and nobody is at it.
    async fn why_not_synced(
        &self,
        application: &Application,
        revision: &str,
        history: &impl History,
    ) -> Result<Sync, HttpError> {
        let name = &self.application;
        if let Some(operation) = &application.operation {
            let is_failed = ["Failed", "Error"].contains(&operation.phase.as_str());
            if is_failed && matches!(best(&operation.revisions, history).await.0, At::Ours) {
                let why = format!("its sync failed: {}", one_line(&operation.message));
                return Ok(Sync::Blocked { why, command: format!("argocd app get {name} --show-operation") });
            }
        }
        if let Some((_, text)) = application.conditions.iter().find(|(kind, _)| kind == "ComparisonError") {
            let why = format!("it cannot be compared: {}", one_line(text));
            return Ok(Sync::Blocked { why, command: format!("argocd app get {name} --hard-refresh") });
        }
        if !application.is_automated {
            let why = "automated sync is off".to_owned();
            let command = format!("argocd app sync {name} --revision {revision}");
            return Ok(Sync::Blocked { why, command });
        }
        if let Windows::Closed { why, is_open_by_hand } = self.argocd.windows(name).await? {
            let listed = format!("argocd proj windows list {}", application.project);
            // Argo CD takes no `--revision` of an Application that is synced automatically.
            let by_hand = format!("argocd app sync {name}");
            let command = if is_open_by_hand { by_hand } else { listed };
            return Ok(Sync::Blocked { why, command });
        }
        Ok(Sync::Waiting(format!("{} is {}", short(revision), application.sync_status)))
    }
}

/// Ours where one is, else the one that says most.
async fn best(revisions: &[String], history: &impl History) -> (At, String) {
    let mut best = (At::Unknown("it has not been compared with anything".to_owned()), String::new());
    for revision in revisions {
        let found = history.at(revision).await;
        let rank = |at: &At| match at {
            At::Ours => 3,
            At::Changed => 2,
            At::Before { .. } => 1,
            At::Unknown(_) => 0,
        };
        if rank(&found) > rank(&best.0) || best.1.is_empty() {
            best = (found, revision.clone());
        }
    }
    best
}

fn short(revision: &str) -> &str {
    revision.get(..12).unwrap_or(revision)
}

fn one_line(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().filter(|char| !char.is_control()).take(300).collect()
}
