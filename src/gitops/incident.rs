//! One incident: what was accused, what was decided and why, what was done, and how it ended.

use std::collections::BTreeMap;
use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::target::ServiceName;

/// A moment, in UTC.
pub type Timestamp = DateTime<Utc>;

/// Where an incident is. Each is in the journal before the work of it begins; the terminal ones have none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum State {
    /// Journaled, nothing looked at yet.
    Received,
    /// Asking Prometheus whether it is still so.
    Confirming,
    /// Finding the line, the commit that introduced it, and what was good before.
    Resolving,
    /// Asking every gate.
    Gating,
    /// Waiting for `driftd approve`.
    AwaitingApproval,
    /// Building and pushing the commit.
    Committing,
    /// A pull request is open.
    PrOpen,
    /// The branch holds the commit.
    Pushed,
    /// Waiting for Argo CD to have applied it.
    Syncing,
    /// Waiting for pods that serve the good version, and none that serve the bad one.
    Serving,
    /// Watching whether the good version is well.
    Observing,
    /// The second commit of a canary, once it is safe.
    Cleaning,
    /// Terminal: the good version serves, and is well.
    Recovered,
    /// Terminal: it serves, and is accused as well. There is no second rollback.
    NotRecovered,
    /// Terminal: nobody can say whether it helped.
    Inconclusive,
    /// Terminal: not done, for the reason given.
    Suppressed,
    /// Terminal: somebody else has changed the line already.
    Superseded,
    /// Terminal: a person has to look.
    NeedsHuman,
    /// Terminal: what would have been done is written down.
    DryRunDone,
}

impl State {
    /// Every one, in the order above.
    pub const ALL: [Self; 19] = [
        Self::Received,
        Self::Confirming,
        Self::Resolving,
        Self::Gating,
        Self::AwaitingApproval,
        Self::Committing,
        Self::PrOpen,
        Self::Pushed,
        Self::Syncing,
        Self::Serving,
        Self::Observing,
        Self::Cleaning,
        Self::Recovered,
        Self::NotRecovered,
        Self::Inconclusive,
        Self::Suppressed,
        Self::Superseded,
        Self::NeedsHuman,
        Self::DryRunDone,
    ];

    /// Whether nothing follows.
    pub const fn is_terminal(self) -> bool {
        matches!(
            self,
            Self::Recovered
                | Self::NotRecovered
                | Self::Inconclusive
                | Self::Suppressed
                | Self::Superseded
                | Self::NeedsHuman
                | Self::DryRunDone
        )
    }

    /// As journal, metrics (`lower_case`) and people write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Confirming => "confirming",
            Self::Resolving => "resolving",
            Self::Gating => "gating",
            Self::AwaitingApproval => "awaiting_approval",
            Self::Committing => "committing",
            Self::PrOpen => "pr_open",
            Self::Pushed => "pushed",
            Self::Syncing => "syncing",
            Self::Serving => "serving",
            Self::Observing => "observing",
            Self::Cleaning => "cleaning",
            Self::Recovered => "recovered",
            Self::NotRecovered => "not_recovered",
            Self::Inconclusive => "inconclusive",
            Self::Suppressed => "suppressed",
            Self::Superseded => "superseded",
            Self::NeedsHuman => "needs_human",
            Self::DryRunDone => "dry_run_done",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which of the two things a service serves is meant.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Component {
    /// `spec.predictor`.
    #[default]
    Predictor,
    /// An entry of `spec.canary[]`, by its name.
    Canary(String),
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Predictor => f.write_str("predictor"),
            Self::Canary(name) => write!(f, "canary:{name}"),
        }
    }
}

/// The name of an action, the same for whoever computes it: what is changed, from what, and the commit that had brought that.
/// A person who deploys the same version again makes another commit, and so another action.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ActionId(String);

impl ActionId {
    /// `rb-` and 16 hex digits.
    pub fn new(
        cluster: &str,
        service: &ServiceName,
        component: &Component,
        bad_value: &str,
        introduced_by: &str,
    ) -> Self {
        let key = format!("{cluster}/{service}/{component}\0{bad_value}\0{introduced_by}");
        let digest = Sha256::digest(key.as_bytes());
        Self(format!("rb-{}", crate::baseline::schema::hex(&digest[..8])))
    }

    /// The id of one of its commits: `rb-…-1` moves traffic, `rb-…-2` cleans up.
    pub fn of_commit(&self, number: u8) -> String {
        format!("{}-{number}", self.0)
    }

    /// As it is.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ActionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An alert as it accuses a version. Alerts that differ in labels alone are of one incident.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accusation {
    /// `alertname`.
    pub name: String,
    /// Alertmanager's or Grafana's name of the label set.
    pub fingerprint: String,
    /// All of its labels.
    pub labels: BTreeMap<String, String>,
    /// Since when it fires, which may move to earlier.
    pub starts_at: Timestamp,
    /// When it came first.
    pub first_seen: Timestamp,
    /// When it came last.
    pub last_seen: Timestamp,
    /// How often.
    pub n_seen: u64,
}

/// Why there is an incident.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// An alert was delivered.
    Alert,
    /// An alert was found firing by a replica that has just become the active one.
    TakeOver,
    /// A person asked.
    Person {
        /// Who, as the operator's token says.
        by: String,
        /// Why, in their words.
        reason: String,
        /// To which URI, if not to the last good one.
        to: Option<String>,
        /// Only to be told what would be done.
        is_dry_run: bool,
    },
}

/// One scalar of a file: what stands there and what is to stand there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edit {
    /// Keys and indices from the root of the document, as `spec.predictor.model.storageUri`.
    pub path: String,
    /// What must stand there now.
    pub from: String,
    /// What is put there.
    pub to: String,
}

/// What is to be done, and by what it was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The action.
    pub action: ActionId,
    /// The file, from the root of the repository.
    pub file: String,
    /// Which document of it, from 0.
    pub document: usize,
    /// How it was found: `map`, `marker` or `index`.
    pub found_by: String,
    /// The scalars: one, or for a live Knative canary two.
    pub edits: Vec<Edit>,
    /// Why these.
    pub recipe: Recipe,
    /// Which part of the service.
    pub component: Component,
    /// The accused URI.
    pub bad_uri: String,
    /// What is served afterwards.
    pub good_uri: String,
    /// Whether the good one has a verdict, or is only what was there before.
    pub is_verified: bool,
    /// The commit that brought the accused value, on the first-parent line.
    pub introduced_by: String,
    /// When that was.
    pub introduced_at: Timestamp,
    /// The commit that had brought the good value.
    pub good_commit: String,
    /// What else the introducing commit changed in the same document, in words. Not empty: a person decides.
    pub coupled: Vec<String>,
    /// The tip that all of it was read at.
    pub tip: String,
}

/// What kind of change stops the accused version (KServe's modes and canaries need different ones).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Recipe {
    /// `storageUri` back: the accused version serves all traffic.
    Uri,
    /// Knative canary: `canaryTrafficPercent: 0` and `storageUri` back in one commit; later the percent is dropped.
    KnativeCanary,
    /// Standard canary: `spec.canary[].trafficPercent: 0`; later the entry is dropped.
    StandardCanary,
}

/// What one gate said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateAnswer {
    /// The gate.
    pub gate: String,
    /// Whether it lets pass.
    pub passes: bool,
    /// Why, with the figures.
    pub why: String,
}

/// A commit that was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitRecord {
    /// Its id in the trailers.
    pub id: String,
    /// Its hash.
    pub commit: String,
    /// The tip it was made on.
    pub parent: String,
    /// The change, as a diff without context.
    pub diff: String,
    /// When the remote had taken it.
    pub pushed_at: Timestamp,
}

/// A pull request that was opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PullRequest {
    /// Its number.
    pub number: u64,
    /// Its page.
    pub url: String,
    /// Its branch.
    pub branch: String,
}

/// All of it, as each event of the journal holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incident {
    /// Its number, from 1, in this journal.
    pub id: u64,
    /// Which service.
    pub service: ServiceName,
    /// The accused version, as the label `version` has it. A person who asks may leave it open: empty.
    pub version: String,
    /// Why there is one.
    pub origin: Origin,
    /// The alerts.
    pub accusations: Vec<Accusation>,
    /// Where it is.
    pub state: State,
    /// Why it is there, for people.
    pub reason: String,
    /// When each state was entered last.
    pub entered: BTreeMap<State, Timestamp>,
    /// Until when the present state may last.
    pub deadline: Option<Timestamp>,
    /// What Prometheus said, by the name of the question.
    pub evidence: BTreeMap<String, String>,
    /// What is to be done.
    pub plan: Option<Plan>,
    /// What the gates said.
    pub gates: Vec<GateAnswer>,
    /// Who approved.
    pub approved_by: Option<String>,
    /// When.
    #[serde(default)]
    pub approved_at: Option<Timestamp>,
    /// The pull request.
    pub pull_request: Option<PullRequest>,
    /// The commit that moved traffic.
    pub commit: Option<CommitRecord>,
    /// The commit that cleaned up.
    pub cleanup: Option<CommitRecord>,
}

impl Incident {
    /// The action, once it is known.
    pub fn action(&self) -> Option<&ActionId> {
        self.plan.as_ref().map(|plan| &plan.action)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_is_what_it_changes() {
        let service: ServiceName = "prod/credit".parse().unwrap();
        let id = |uri, commit| ActionId::new("main", &service, &Component::Predictor, uri, commit);
        assert_eq!(id("s3://a/2", "c1"), id("s3://a/2", "c1"));
        assert_ne!(id("s3://a/2", "c1"), id("s3://a/2", "c2"));
        assert_ne!(id("s3://a/2", "c1"), id("s3://a/3", "c1"));
        assert_eq!(id("s3://a/2", "c1").as_str().len(), 19);
        assert!(id("s3://a/2", "c1").of_commit(2).ends_with("-2"));
    }

    #[test]
    fn states_are_written_as_the_contract_has_them() {
        assert_eq!(serde_json::to_string(&State::NotRecovered).unwrap(), "\"NOT_RECOVERED\"");
        assert_eq!(State::ALL.iter().filter(|state| state.is_terminal()).count(), 7);
    }
}
