//! Pull requests, where a person decides or the branch takes no push: opened or found again, looked at, and said something under.
//!
//! A forge is a dialect (`Dialect`): which address is asked with which text, and how the answer is read. All that is sent goes
//! one after the other, and after a "too many requests" nothing for a minute: GitHub punishes those who go on.

mod gitea;
mod github;
mod gitlab;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tracing::{debug, warn};
use url::Url;

use super::config::{ForgeConfig, ForgeKind};
use super::http::{Access, HttpError, Scheme, Service};
use super::incident::PullRequest;

/// For one exchange; forges check a new pull request before they answer.
const TIMEOUT: Duration = Duration::from_secs(20);
/// How long nothing is asked after the forge has said that it was too much. GitHub asks for a minute at least.
const QUIET: Duration = Duration::from_mins(1);
/// Pages of a list at most: a thousand pull requests that are newer than ours.
const MAX_PAGES: u32 = 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ForgeError {
    /// The forge does not answer, or says no.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// It has said that it was too much, and is left alone.
    #[error("{who} was asked too often; it is left alone for {} s", .left.as_secs() + 1)]
    Quiet {
        /// Which.
        who: &'static str,
        /// For how long still.
        left: Duration,
    },
    /// It answered with something else than documented.
    #[error("{who} answered without {what}")]
    Answer {
        /// Which.
        who: &'static str,
        /// What is missing.
        what: &'static str,
    },
}

/// How a pull request is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look {
    /// It waits for a person, or for checks.
    Open,
    /// It is on the branch.
    Merged {
        /// The commit on the branch that brought it.
        commit: String,
    },
    /// A person has said no.
    Closed {
        /// Who, where the forge says.
        by: Option<String>,
    },
}

/// What is asked.
#[derive(Debug)]
struct Ask {
    method: Method,
    segments: Vec<String>,
    query: Vec<(&'static str, String)>,
    body: Option<Value>,
    /// To the other interface of GitHub.
    is_graphql: bool,
}

impl Ask {
    fn get(segments: Vec<String>, query: Vec<(&'static str, String)>) -> Self {
        Self { method: Method::GET, segments, query, body: None, is_graphql: false }
    }

    fn send(method: Method, segments: Vec<String>, body: Value) -> Self {
        Self { method, segments, query: Vec::new(), body: Some(body), is_graphql: false }
    }
}

/// One of a list.
#[derive(Debug)]
struct Listed {
    pull_request: PullRequest,
    is_open: bool,
}

/// A pull request as the forge has it.
#[derive(Debug)]
struct Found {
    look: Look,
    number: u64,
    /// The newest commit of its branch: nothing but this is asked to be merged.
    head: String,
    /// GitHub's other name of it.
    node: Option<String>,
}

/// How one kind of forge is asked and understood. Pure.
trait Dialect: Debug + Send + Sync {
    fn who(&self) -> &'static str;
    /// Pull requests from this branch to that, of any state, newest first.
    fn list(&self, branch: &str, base: &str, page: u32) -> Ask;
    /// One of the list, if it is from this branch of this very project: a fork may have a branch of the same name.
    fn listed(&self, item: &Value, branch: &str, base: &str) -> Option<Listed>;
    fn create(&self, branch: &str, base: &str, title: &str, description: &str) -> Ask;
    fn created(&self, answer: &Value, branch: &str) -> Option<PullRequest>;
    /// What is answered where there is one, and for other reasons too.
    fn conflict(&self) -> StatusCode;
    fn read(&self, number: u64) -> Ask;
    fn found(&self, answer: &Value) -> Option<Found>;
    /// Who closed it, where that takes another question.
    fn closed_by(&self, number: u64) -> Option<Ask>;
    fn who_closed(&self, answer: &Value) -> Option<String>;
    fn comment(&self, number: u64, text: &str) -> Ask;
    /// What has to be known to label: names to ids.
    fn known_labels(&self) -> Option<Ask>;
    fn label(&self, number: u64, labels: &[String], known: &Value) -> Option<Ask>;
    /// Ways to ask for a merge once checks have passed, to be tried in turn: a project allows some.
    fn merges(&self, found: &Found) -> Vec<Ask>;
    /// Whether such a request was heard, by an answer of success.
    fn is_heard(&self, answer: &Value) -> bool;
    /// By which it was refused as there is nothing to wait for; then these are tried.
    fn merges_now(&self, found: &Found, answer: &Value) -> Vec<Ask>;
}

/// A forge. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Forge(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    dialect: Box<dyn Dialect>,
    service: Service,
    graphql: Service,
    labels: Vec<String>,
    auto_merge: bool,
    expires_after: Duration,
    one_at_a_time: Mutex<()>,
    quiet_until: std::sync::Mutex<Option<Instant>>,
    /// Those that the forge has promised to merge.
    promised: std::sync::Mutex<BTreeSet<u64>>,
}

impl Forge {
    /// Without asking it anything yet.
    ///
    /// # Errors
    /// [`HttpError`] if the authorities cannot be read.
    pub fn new(config: &ForgeConfig) -> Result<Self, HttpError> {
        let project: Vec<String> = config.project.split('/').map(str::to_owned).collect();
        let (dialect, scheme): (Box<dyn Dialect>, _) = match config.kind {
            ForgeKind::Github => (Box::new(github::GitHub { project }), Scheme::Bearer),
            ForgeKind::Gitlab => {
                let dialect =
                    gitlab::GitLab { project: config.project.clone(), labels: config.labels.clone() };
                (Box::new(dialect), Scheme::Bearer)
            }
            ForgeKind::Gitea => (Box::new(gitea::Gitea { project }), Scheme::Token),
        };
        let service = |url: &Url| {
            Service::new(&Access {
                who: dialect.who(),
                url,
                token: Some((scheme, &config.token_file)),
                ca_file: config.ca_file.as_deref(),
                timeout: TIMEOUT,
            })
        };
        Ok(Self(Arc::new(Inner {
            service: service(&config.url)?,
            graphql: service(&github::graphql_url(&config.url))?,
            dialect,
            labels: config.labels.clone(),
            auto_merge: config.auto_merge,
            expires_after: config.expires_after,
            one_at_a_time: Mutex::default(),
            quiet_until: std::sync::Mutex::default(),
            promised: std::sync::Mutex::default(),
        })))
    }

    /// How long one is followed.
    pub fn expires_after(&self) -> Duration {
        self.0.expires_after
    }

    /// Opens one from `branch` to `base`, or finds that there is one: from an earlier life of ours, as the branch has the name
    /// of the action. One that is closed or merged already is found too: it has its answer, and is not opened again.
    ///
    /// # Errors
    /// [`ForgeError`]. It may be open all the same: asking again finds it.
    pub async fn open(
        &self,
        branch: &str,
        base: &str,
        title: &str,
        description: &str,
    ) -> Result<PullRequest, ForgeError> {
        let dialect = &self.0.dialect;
        if let Some(found) = self.find(branch, base).await? {
            return Ok(found);
        }
        let answer = match self.ask(&dialect.create(branch, base, title, description)).await {
            Ok(answer) => answer,
            // Opened meanwhile, by whoever was the active replica before; if not, it was another reason.
            Err(ForgeError::Http(error)) if error.status() == Some(dialect.conflict()) => {
                return self.find(branch, base).await?.ok_or(ForgeError::Http(error));
            }
            Err(error) => return Err(error),
        };
        let opened = dialect.created(&answer, branch).ok_or_else(|| self.without("a number and a page"))?;
        if let Err(error) = self.label(opened.number).await {
            warn!(%error, "the pull request has no labels");
        }
        Ok(opened)
    }

    /// How it is. While it is open, a forge that is to merge by itself and has not promised it yet is asked again: it may
    /// refuse as long as it has not looked at the branch.
    ///
    /// # Errors
    /// [`ForgeError`].
    pub async fn look(&self, pull_request: &PullRequest) -> Result<Look, ForgeError> {
        let dialect = &self.0.dialect;
        let answer = self.ask(&dialect.read(pull_request.number)).await?;
        let found = dialect.found(&answer).ok_or_else(|| self.without("the state of a pull request"))?;
        match found.look {
            Look::Open if self.0.auto_merge => {
                self.ask_to_merge(&found).await;
                Ok(Look::Open)
            }
            Look::Closed { by: None } => {
                let by = match dialect.closed_by(pull_request.number) {
                    Some(ask) => self.ask(&ask).await.ok().and_then(|answer| dialect.who_closed(&answer)),
                    None => None,
                };
                Ok(Look::Closed { by })
            }
            look => Ok(look),
        }
    }

    /// Says something under it.
    ///
    /// # Errors
    /// [`ForgeError`].
    pub async fn comment(&self, pull_request: &PullRequest, text: &str) -> Result<(), ForgeError> {
        self.ask(&self.0.dialect.comment(pull_request.number, text)).await.map(|_| ())
    }

    async fn find(&self, branch: &str, base: &str) -> Result<Option<PullRequest>, ForgeError> {
        let dialect = &self.0.dialect;
        let mut closed = None;
        for page in 1..=MAX_PAGES {
            let answer = self.ask(&dialect.list(branch, base, page)).await?;
            let items = answer.as_array().ok_or_else(|| self.without("a list"))?;
            if items.is_empty() {
                break;
            }
            for listed in items.iter().filter_map(|item| dialect.listed(item, branch, base)) {
                if listed.is_open {
                    return Ok(Some(listed.pull_request));
                }
                closed = closed.or(Some(listed.pull_request));
            }
        }
        Ok(closed)
    }

    async fn label(&self, number: u64) -> Result<(), ForgeError> {
        if self.0.labels.is_empty() {
            return Ok(());
        }
        let known = match self.0.dialect.known_labels() {
            Some(ask) => self.ask(&ask).await?,
            None => Value::Null,
        };
        match self.0.dialect.label(number, &self.0.labels, &known) {
            Some(ask) => self.ask(&ask).await.map(|_| ()),
            None => Ok(()),
        }
    }

    /// Nothing depends on it: a person can merge as well.
    async fn ask_to_merge(&self, found: &Found) {
        let promised = || self.0.promised.lock().unwrap_or_else(PoisonError::into_inner);
        if promised().contains(&found.number) {
            return;
        }
        let mut asks = self.0.dialect.merges(found);
        asks.reverse();
        while let Some(ask) = asks.pop() {
            match self.ask(&ask).await {
                Ok(answer) if self.0.dialect.is_heard(&answer) => {
                    promised().insert(found.number);
                    return;
                }
                Ok(answer) => {
                    let now = self.0.dialect.merges_now(found, &answer);
                    asks.extend(now.into_iter().rev());
                    debug!(%answer, "the forge does not promise to merge");
                }
                Err(error) if error.to_string().contains("already scheduled") => {
                    promised().insert(found.number); // in an earlier life
                    return;
                }
                Err(error) => debug!(%error, "the forge does not promise to merge"),
            }
        }
    }

    async fn ask(&self, ask: &Ask) -> Result<Value, ForgeError> {
        let _one = self.0.one_at_a_time.lock().await;
        let quiet = || self.0.quiet_until.lock().unwrap_or_else(PoisonError::into_inner);
        let left = quiet().map(|until| until.saturating_duration_since(Instant::now()));
        if let Some(left) = left.filter(|left| !left.is_zero()) {
            return Err(ForgeError::Quiet { who: self.0.dialect.who(), left });
        }
        let service = if ask.is_graphql { &self.0.graphql } else { &self.0.service };
        let segments: Vec<&str> = ask.segments.iter().map(String::as_str).collect();
        let query: Vec<(&str, &str)> =
            ask.query.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let answer = service.send(ask.method.clone(), &segments, &query, ask.body.as_ref()).await;
        if let Err(HttpError::Status { status, message, .. }) = &answer
            && is_too_much(*status, message)
        {
            *quiet() = Some(Instant::now() + QUIET);
        }
        Ok(answer?)
    }

    fn without(&self, what: &'static str) -> ForgeError {
        ForgeError::Answer { who: self.0.dialect.who(), what }
    }
}

/// GitHub says so with 403, and in words.
fn is_too_much(status: StatusCode, message: &str) -> bool {
    status == StatusCode::TOO_MANY_REQUESTS
        || (status == StatusCode::FORBIDDEN && message.to_ascii_lowercase().contains("rate limit"))
}

/// A text at a place of an answer.
fn text(value: &Value, pointer: &str) -> Option<String> {
    value.pointer(pointer)?.as_str().map(str::to_owned)
}

fn of(parts: &[&str]) -> Vec<String> {
    parts.iter().map(|part| (*part).to_owned()).collect()
}
