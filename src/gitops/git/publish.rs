//! Getting a change onto the branch. Others push as well, so on every new tip the line is read anew and what may forbid it asked: nothing
//! is rebased, nothing forced, and what became of a push is read back, whatever the push itself said.

use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use tokio::time::sleep;

use super::command::advised;
use super::{GitError, Message, Repository};
use crate::telemetry::ControllerMetrics;
use crate::telemetry::controller::{PushResult, Stage};

/// Attempts at most, in one go.
const MAX_ATTEMPTS: u32 = 8;
/// And for so long.
const MAX_TIME: Duration = Duration::from_mins(1);
/// The wait after the first race; it doubles, and a random part of it is waited.
const BACK_OFF: Duration = Duration::from_millis(200);
const MAX_BACK_OFF: Duration = Duration::from_secs(5);

/// What a server says that could not take a push at the moment, and has nothing against it: another one holds the lock of the branch.
const LOCKED: [&str; 2] = ["failed to update ref", "cannot lock ref"];
/// And one whose disk is full, or that broke down in the middle.
const BROKEN: &str = "unpacker error";

/// The line does not say any more what the change was made for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Superseded(pub String);

/// From what a file says to what it is to say.
pub type Make<'a> = dyn Fn(&[u8]) -> Result<Vec<u8>, Superseded> + Sync + 'a;

/// What may forbid a change. It is asked on every new tip: a pause may have come with it, or the line have got another meaning.
pub trait Hold: Sync {
    /// Whether anything may be written on top of this commit; the error says why not.
    fn allows<'a>(&'a self, tip: &'a str) -> BoxFuture<'a, Result<(), PublishError>>;
}

/// A change of one file.
pub struct Change<'a> {
    /// Its id in the trailers: there is one commit of that name at most.
    pub id: &'a str,
    /// The file.
    pub file: &'a str,
    /// What the commit says.
    pub message: &'a Message,
    /// From what the file says at the tip to what it is to say.
    pub make: &'a Make<'a>,
    /// What forbids it at the tip.
    pub hold: &'a dyn Hold,
    /// How many lines that changes, or takes away.
    pub n_lines: usize,
    /// A branch of its own, for a pull request; absent: the branch itself.
    pub branch: Option<&'a str>,
}

/// The commit that is on the branch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// Its hash.
    pub commit: String,
    /// The commit it follows.
    pub parent: String,
    /// What it changes.
    pub diff: String,
    /// Whether it was there before: pushed in an earlier life, or by another replica.
    pub was_there: bool,
}

/// Why it is not on the branch.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// Somebody has changed the line.
    #[error("the line has changed: {0}")]
    Superseded(String),
    /// It is forbidden where it would be written.
    #[error("held back: {0}")]
    Held(String),
    /// It was decided on too long ago.
    #[error("the decision is older than `policy.decision_expires`")]
    Late,
    /// Nobody can say now whether it may be written.
    #[error("not pushed: {0}")]
    Unknown(String),
    /// The remote refuses it, and will do so again: a hook, a protected branch, a signature it wants.
    #[error("the remote refuses the push: {0}")]
    Rejected(String),
    /// It could not be done now.
    #[error("not pushed")]
    Failed(#[from] GitError),
}

/// What one attempt came to.
enum Attempt {
    Published(Published),
    /// Another commit was there first.
    Raced(String),
}

impl Repository {
    /// Gets a change onto the branch, or finds that it is there.
    ///
    /// # Errors
    /// [`PublishError`]. After `Failed` it may be there all the same: calling again finds it.
    pub async fn publish(
        &self,
        change: &Change<'_>,
        metrics: &ControllerMetrics,
    ) -> Result<Published, PublishError> {
        let (began, mut wait) = (Instant::now(), BACK_OFF);
        let mut last = String::new();
        for _ in 0..MAX_ATTEMPTS {
            let waited = Instant::now();
            let one = self.0.one_at_a_time.lock().await;
            metrics.git_lock_wait.observe(waited.elapsed().as_secs_f64());
            match self.attempt(change, metrics).await? {
                Attempt::Published(published) => return Ok(published),
                Attempt::Raced(text) => last = text,
            }
            drop(one);
            if began.elapsed() > MAX_TIME {
                break;
            }
            sleep(wait.mul_f64(fastrand::f64())).await;
            wait = (wait * 2).min(MAX_BACK_OFF);
        }
        Err(GitError::Failed { what: "push", text: format!("others were faster each time: {last}") }.into())
    }

    async fn attempt(
        &self,
        change: &Change<'_>,
        metrics: &ControllerMetrics,
    ) -> Result<Attempt, PublishError> {
        let tip = self.fetch_alone().await?;
        let branch = change.branch.unwrap_or(&self.0.config.branch);
        // On the branch, or on the pull request's from an earlier life.
        let mut places = vec![tip.clone()];
        if change.branch.is_some() {
            places.extend(self.fetch_branch(branch).await?);
        }
        for place in places {
            if let Some(found) = self.find(&place, change.id).await? {
                let diff = self.diff(&found.commit).await?;
                let (commit, parent) = (found.commit, found.parent);
                return Ok(Attempt::Published(Published { commit, parent, diff, was_there: true }));
            }
        }
        change.hold.allows(&tip).await?;
        let began = Instant::now();
        let gone = || PublishError::Superseded(format!("{} is not there any more", change.file));
        let bytes = self.read(&tip, change.file).await?.ok_or_else(gone)?;
        let new = (change.make)(&bytes).map_err(|Superseded(found)| PublishError::Superseded(found))?;
        if new == bytes {
            return Err(PublishError::Superseded("it says so already".to_owned()));
        }
        let commit = self.commit(&tip, change.file, &new, change.message, change.n_lines).await?;
        metrics.observe_stage(Stage::Commit, began.elapsed());
        let pushed = self.push(&commit, branch).await;
        let there = self.remote(branch).await;
        if let Ok(Some(there)) = &there
            && self.holds(there, branch, &commit).await
        {
            metrics.count_push(PushResult::Ok);
            let diff = self.diff(&commit).await?;
            return Ok(Attempt::Published(Published { commit, parent: tip, diff, was_there: false }));
        }
        let (is_refused, text) = match pushed {
            Ok((code, text)) => {
                (code != 0 && text.contains("[remote rejected]") && !text.contains(BROKEN), text)
            }
            Err(error) => {
                metrics.count_push(PushResult::Failed);
                return Err(error.into());
            }
        };
        let there = there?;
        let has_moved = if change.branch.is_some() { there.is_some() } else { there.as_ref() != Some(&tip) };
        let is_locked = LOCKED.iter().any(|words| text.contains(words));
        // Whatever the words: where the branch has moved, that was the reason.
        if has_moved || is_locked {
            metrics.count_push(PushResult::Race);
            return Ok(Attempt::Raced(text));
        }
        if is_refused {
            metrics.count_push(PushResult::Rejected);
            return Err(PublishError::Rejected(text));
        }
        metrics.count_push(PushResult::Failed);
        Err(GitError::Failed { what: "push", text: advised(text) }.into())
    }

    async fn push(&self, commit: &str, branch: &str) -> Result<(i32, String), GitError> {
        let refspec = format!("{commit}:refs/heads/{branch}");
        self.0.git.exit("push", &["--porcelain", "--no-verify", &self.0.config.url, &refspec]).await
    }

    /// Where a branch is on the remote.
    async fn remote(&self, branch: &str) -> Result<Option<String>, GitError> {
        let name = format!("refs/heads/{branch}");
        let listed = self.0.git.text("ls-remote", &[&self.0.config.url, &name]).await?;
        let line = listed.lines().filter_map(|line| line.split_once('\t')).find(|(_, found)| *found == name);
        line.map(|(commit, _)| super::object_id("ls-remote", commit)).transpose()
    }

    async fn fetch_branch(&self, branch: &str) -> Result<Option<String>, GitError> {
        let Some(there) = self.remote(branch).await? else { return Ok(None) };
        let refspec = format!("+refs/heads/{branch}:refs/pull/{branch}");
        self.0
            .git
            .run("fetch", &["--quiet", "--no-tags", "--no-write-fetch-head", &self.0.config.url, &refspec])
            .await?;
        Ok(Some(there))
    }

    /// Whether the remote's branch has our commit, also where others have pushed on top of it.
    async fn holds(&self, there: &str, branch: &str, commit: &str) -> bool {
        if there == commit {
            return true;
        }
        let fetched = if branch == self.0.config.branch {
            self.fetch_alone().await.is_ok()
        } else {
            matches!(self.fetch_branch(branch).await, Ok(Some(_)))
        };
        fetched && self.contains(there, commit).await.unwrap_or(false)
    }
}
