//! Incidents, each moved by a task of its own from state to state. One is open a service at most, so nothing races about a target
//! within a process; between processes there is the lease, and in the end the remote's own check that a push moves forward.

mod act;
mod adopt;
mod book;
mod case;
mod confirm;
mod desk;
mod finish;
mod intake;
mod measure;
mod outside;
mod past;
mod people;
mod plan;
mod publish;
mod resolve;
mod rewrite;
mod soak;
mod verify;
mod weigh;
mod witness;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use book::Book;
pub use desk::{Delivered, EngineHandle};
pub use measure::Measure;
pub use outside::{Cluster, PullRequests};
pub use witness::Witness;

use super::argocd::ArgoCd;
use super::config::ControllerConfig;
use super::git::Repository;
use super::journal::{Journal, JournalError};
use super::target::ServiceName;

/// How often something that is waited for is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Everything a step needs.
pub struct Context {
    /// The file.
    pub config: Arc<ControllerConfig>,
    /// What is written before it is done.
    pub journal: Journal,
    /// The clone.
    pub repository: Repository,
    /// Who knows whether it is true.
    pub witness: Arc<dyn Witness>,
    /// Who applies commits.
    pub argocd: Option<ArgoCd>,
    /// Where they are applied.
    pub cluster: Option<Arc<dyn Cluster>>,
    /// Where pull requests are opened.
    pub forge: Option<Arc<dyn PullRequests>>,
    /// What we say of ourselves.
    pub measure: Measure,
    /// Verdicts, denials and pauses.
    pub book: Book,
    /// The term of the lease while this replica is the active one.
    pub term: watch::Receiver<Option<u64>>,
}

/// What a person asks for.
#[derive(Clone, Debug)]
pub struct RollbackAsk {
    /// Of which service.
    pub service: ServiceName,
    /// To which URI; absent: the last good one.
    pub to: Option<String>,
    /// Why.
    pub reason: String,
    /// Who.
    pub by: String,
    /// Only to be told.
    pub is_dry_run: bool,
}

/// Why something was not taken on.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// Another replica acts.
    #[error("another replica is the active one; ask there")]
    NotLeader,
    /// It could not be written down.
    #[error("{0}")]
    Unavailable(String),
    /// It makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// There is nothing of that name.
    #[error("{0}")]
    NotFound(String),
}

impl From<JournalError> for Refused {
    fn from(error: JournalError) -> Self {
        Self::Unavailable(crate::net::chain(&error))
    }
}

impl Context {
    /// Whether this replica is the active one.
    pub fn leads(&self) -> bool {
        self.term.borrow().is_some()
    }
}

/// Runs until `stop`: opens what was open whenever this replica becomes the active one, keeps the clone warm, watches over versions
/// that serve well.
pub async fn run(handle: EngineHandle, stop: CancellationToken) {
    let context = Arc::clone(handle.context());
    let mut term = context.term.clone();
    loop {
        let led = term.borrow_and_update().is_some();
        context.measure.metrics.set_leader(led);
        if led {
            let terms_end = stop.child_token();
            let working = async {
                handle.begin_term(&terms_end).await;
                tokio::join!(soak::watch(&context), keep_warm(&context), beat(&context), handle.requery());
            };
            tokio::select! {
                () = working => (),
                Ok(_) = term.wait_for(Option::is_none) => tracing::warn!("not the active replica any more: nothing is done from here"),
                () = stop.cancelled() => (),
            }
            terms_end.cancel();
            handle.end_term().await;
        }
        tokio::select! {
            changed = term.changed() => if changed.is_err() { return stop.cancelled().await },
            () = stop.cancelled() => return,
        }
    }
}

/// So that a fetch in the middle of an incident has little to bring, and a repository that cannot be reached, or a pause in it, is known
/// before.
async fn keep_warm(context: &Context) {
    loop {
        if let Err(error) = context.repository.fetch().await {
            tracing::warn!(error = %crate::net::chain(&error), "cannot fetch the repository");
        }
        context.book.tell_pauses(context).await;
        tokio::time::sleep(context.config.git.fetch_interval).await;
    }
}

async fn beat(context: &Context) {
    loop {
        #[allow(clippy::cast_precision_loss, reason = "milliseconds of now")]
        let now = chrono::Utc::now().timestamp_millis() as f64 / 1000.0;
        context.measure.metrics.beat(now);
        context.book.tell_circuit(context).await;
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

#[cfg(test)]
mod tests;
