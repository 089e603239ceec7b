//! The repository, through the `git` program on a bare clone: whoever has set up access for Argo CD has set it up for us. There is no work
//! tree, nothing is ever forced, and nothing is pushed from a clone that is not whole.

mod actions;
mod command;
mod commit;
mod message;
mod publish;
mod read;

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use super::config::GitConfig;
use super::incident::Timestamp;
use crate::telemetry::ControllerMetrics;
use command::{Git, advised};

pub use actions::Action;
pub use message::Message;
pub use publish::{Change, Hold, Make, PublishError, Published, Superseded};
pub use read::Version;

/// Why Git did not do it.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// The program is not there, or cannot be started.
    #[error("cannot run `git`; install it, or name its folder in PATH")]
    Run(#[source] std::io::Error),
    /// It said no.
    #[error("git {what}: {text}")]
    Failed {
        /// The subcommand.
        what: &'static str,
        /// Its words, without credentials, on one line.
        text: String,
    },
    /// It did not end.
    #[error("git {what} took longer than `git.timeout`")]
    Timeout {
        /// The subcommand.
        what: &'static str,
    },
    /// It answered what nobody expects.
    #[error("git {what} answered {text:?}")]
    Answer {
        /// The subcommand.
        what: &'static str,
        /// The answer.
        text: String,
    },
    /// A file that must not be edited by bytes.
    #[error("`{path}` is a {kind} in the repository; name the file it stands for with `path`")]
    NoFile {
        /// Which.
        path: String,
        /// `symbolic link`, `submodule` or `folder`.
        kind: &'static str,
    },
    /// There is no such branch, or no commit at all.
    #[error("the repository has no branch `{0}`; check `git.branch`, or make its first commit")]
    NoBranch(String),
    /// The clone is empty still.
    #[error("nothing was fetched from the repository yet")]
    NotFetched,
    /// The clone lacks history.
    #[error("the clone {} is shallow; remove it, it is made again", .0.display())]
    Shallow(PathBuf),
    /// The remote lacks history.
    #[error(
        "the remote repository is shallow, and a good version is looked for in its whole history; serve a whole one"
    )]
    ShallowRemote,
    /// The folder of the clone cannot be made.
    #[error("cannot use {}; check `state_dir`", .path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// One branch of one repository. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Repository(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    git: Git,
    config: GitConfig,
    metrics: ControllerMetrics,
    /// Whoever fetches or pushes has the clone for himself.
    one_at_a_time: Mutex<()>,
    reached_at: std::sync::Mutex<Instant>,
}

impl Repository {
    /// In `state_dir`, made if it is not there. Nothing is fetched yet.
    ///
    /// # Errors
    /// [`GitError`] if there is no `git`, or the clone cannot be made or is not whole.
    pub async fn open(
        config: &GitConfig,
        state_dir: &Path,
        metrics: &ControllerMetrics,
    ) -> Result<Self, GitError> {
        let git = Git::new(config, state_dir)?;
        // Also beside a clone: without the program, every fetch would fail for ever.
        git.run("version", &[]).await?;
        if !git.folder().join("HEAD").exists() {
            git.run("init", &["--quiet", "--bare", "."]).await?;
        }
        if git.folder().join("shallow").exists() {
            return Err(GitError::Shallow(git.folder().to_owned()));
        }
        Ok(Self(Arc::new(Inner {
            git,
            config: config.clone(),
            metrics: metrics.clone(),
            one_at_a_time: Mutex::default(),
            reached_at: std::sync::Mutex::new(Instant::now()),
        })))
    }

    /// Brings the clone up to date. Returns the tip of the branch.
    ///
    /// # Errors
    /// [`GitError`] if the remote does not answer, or has no such branch.
    pub async fn fetch(&self) -> Result<String, GitError> {
        let waited = Instant::now();
        let _one = self.0.one_at_a_time.lock().await;
        self.0.metrics.git_lock_wait.observe(waited.elapsed().as_secs_f64());
        self.fetch_alone().await
    }

    async fn fetch_alone(&self) -> Result<String, GitError> {
        let Inner { git, config, .. } = &*self.0;
        // Forced into our clone alone: a branch that was rewritten is taken as it is, and pushes are never forced.
        let refspec = format!("+refs/heads/{0}:refs/heads/{0}", config.branch);
        let arguments = ["--quiet", "--no-tags", "--no-write-fetch-head", &config.url, &refspec];
        let fetched = match git.exit("fetch", &arguments).await {
            // Git says in passing that it has left the branch as it was, and ends well.
            Ok((0, text)) if text.contains("shallow roots are not allowed") => Err(GitError::ShallowRemote),
            Ok((0, _)) => Ok(()),
            Ok((_, text)) if text.contains("couldn't find remote ref") => {
                Err(GitError::NoBranch(config.branch.clone()))
            }
            Ok((_, text)) => Err(GitError::Failed { what: "fetch", text: advised(text) }),
            Err(error) => Err(error),
        };
        self.0.metrics.set_git_unreachable(self.unreachable_for(fetched.is_ok()));
        fetched?;
        self.tip().await
    }

    /// How long no fetch has worked, after one that did or did not.
    fn unreachable_for(&self, is_reached: bool) -> Duration {
        let mut reached_at = self.0.reached_at.lock().unwrap_or_else(PoisonError::into_inner);
        if is_reached {
            *reached_at = Instant::now();
        }
        reached_at.elapsed().mul_f64(f64::from(u8::from(!is_reached)))
    }

    /// The tip of the branch in the clone, without asking the remote.
    ///
    /// # Errors
    /// [`GitError`] if nothing was fetched yet.
    pub async fn tip(&self) -> Result<String, GitError> {
        let branch = format!("refs/heads/{}^{{commit}}", self.0.config.branch);
        match self.0.git.exit("rev-parse", &["--verify", "--quiet", &branch]).await? {
            (0, answer) => object_id("rev-parse", &answer),
            _ => Err(GitError::NotFetched),
        }
    }

    /// Whether the clone has a commit.
    ///
    /// # Errors
    /// [`GitError`] if it cannot be read, or this is no commit's name.
    pub async fn knows(&self, commit: &str) -> Result<bool, GitError> {
        let name = format!("{}^{{commit}}", object_id("cat-file", commit)?);
        Ok(self.0.git.exit("cat-file", &["-e", &name]).await?.0 == 0)
    }

    /// Whether `ancestor` is in the history of `descendant`.
    ///
    /// # Errors
    /// [`GitError`] if one of them is not in the clone.
    pub async fn contains(&self, descendant: &str, ancestor: &str) -> Result<bool, GitError> {
        for commit in [descendant, ancestor] {
            object_id("merge-base", commit)?;
        }
        match self.0.git.exit("merge-base", &["--is-ancestor", ancestor, descendant]).await? {
            (0, _) => Ok(true),
            (1, _) => Ok(false),
            (_, text) => Err(GitError::Failed { what: "merge-base", text }),
        }
    }
}

/// A whole hash, so that nothing that looks like an option or a range gets onto a command line.
fn object_id(what: &'static str, text: &str) -> Result<String, GitError> {
    let text = text.trim();
    if matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        Ok(text.to_owned())
    } else {
        Err(GitError::Answer { what, text: text.chars().take(100).collect() })
    }
}

fn seconds(text: &str) -> Option<Timestamp> {
    chrono::DateTime::from_timestamp(text.parse().ok()?, 0)
}
