//! What was done before, from the trailers of commits: Git alone is enough to know it.

use std::collections::BTreeMap;

use super::super::incident::{Accusation, ActionId, CommitRecord, Component, Edit, Plan, Recipe, Timestamp};
use super::super::target::ServiceName;
use super::message::decoded;
use super::{GitError, Repository, object_id, seconds};
use crate::baseline::source::version_of;

/// A commit of ours.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Action {
    /// Its hash.
    pub commit: String,
    /// The commit it was made on.
    pub parent: String,
    /// When it was committed.
    pub committed_at: Timestamp,
    /// The first line of its message.
    pub subject: String,
    /// Its trailers, each with all of its values.
    pub trailers: BTreeMap<String, Vec<String>>,
}

impl Repository {
    /// The newest commits of ours in the history of a commit, newest first; also those that came by a merge.
    ///
    /// # Errors
    /// [`GitError`] if they cannot be read.
    pub async fn actions(&self, at: &str, limit: usize) -> Result<Vec<Action>, GitError> {
        self.log_actions(&object_id("log", at)?, "^Drift-Action-Id: rb-", limit).await
    }

    /// The commit of ours with this id, in the history of a commit.
    ///
    /// # Errors
    /// [`GitError`] if it cannot be read.
    pub async fn find(&self, at: &str, id: &str) -> Result<Option<Action>, GitError> {
        let pattern = format!("^Drift-Action-Id: {id}$");
        let found = self.log_actions(&object_id("log", at)?, &pattern, 1).await?;
        Ok(found.into_iter().find(|action| action.is_called(id)))
    }

    async fn log_actions(&self, at: &str, pattern: &str, limit: usize) -> Result<Vec<Action>, GitError> {
        let (count, grep) = (format!("--max-count={limit}"), format!("--grep={pattern}"));
        let format = "--format=%H%x1f%P%x1f%ct%x1f%s%x1f%(trailers:only,unfold)%x1e";
        let log = self.0.git.text("log", &["--extended-regexp", &count, &grep, format, at]).await?;
        log.split('\x1e').map(str::trim).filter(|line| !line.is_empty()).map(parse).collect()
    }
}

fn parse(text: &str) -> Result<Action, GitError> {
    let unexpected = || GitError::Answer { what: "log", text: text.chars().take(100).collect() };
    let [commit, parents, at, subject, trailers] = text.split('\x1f').collect::<Vec<_>>()[..] else {
        return Err(unexpected());
    };
    let mut read: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in trailers.lines().filter_map(|line| line.split_once(": ")) {
        read.entry(name.to_owned()).or_default().push(value.to_owned());
    }
    Ok(Action {
        commit: object_id("log", commit)?,
        parent: parents.split(' ').next().unwrap_or_default().to_owned(),
        committed_at: seconds(at).ok_or_else(unexpected)?,
        subject: subject.to_owned(),
        trailers: read,
    })
}

impl Action {
    /// A trailer's first value, as it stands there: safe to print, and not always what was meant.
    pub fn trailer(&self, name: &str) -> Option<&str> {
        self.trailers.get(name)?.first().map(String::as_str)
    }

    /// Whether it has this id; a commit that is a revert of ours quotes it in its text.
    pub fn is_called(&self, id: &str) -> bool {
        self.trailer("Drift-Action-Id") == Some(id)
    }

    /// Whether it moved traffic, as opposed to cleaning up.
    pub fn is_rollback(&self) -> bool {
        self.trailer("Drift-Action") == Some("rollback")
    }

    /// `rb-…`, with the number of the commit.
    pub fn action_id(&self) -> Option<&str> {
        self.trailer("Drift-Action-Id")
    }

    /// `cluster`, service and component.
    fn target(&self) -> Option<(&str, ServiceName, Component)> {
        let [cluster, namespace, name, component] =
            self.trailer("Drift-Target")?.split('/').collect::<Vec<_>>()[..]
        else {
            return None;
        };
        let component = match component.strip_prefix("canary:") {
            Some(name) => Component::Canary(name.to_owned()),
            None => Component::Predictor,
        };
        Some((cluster, ServiceName::new(namespace, name).ok()?, component))
    }

    /// `rb-…`, without it.
    pub fn action(&self) -> Option<&str> {
        let id = self.action_id()?;
        Some(id.rsplit_once('-').map_or(id, |(action, _)| action))
    }

    /// By the controller of which cluster it was made.
    pub fn cluster(&self) -> Option<&str> {
        self.target().map(|(cluster, _, _)| cluster)
    }

    /// Which service it is about.
    pub fn service(&self) -> Option<ServiceName> {
        self.target().map(|(_, service, _)| service)
    }

    /// What it rolled back from.
    pub fn from_uri(&self) -> Option<String> {
        self.trailer("Drift-From-Uri").map(decoded)
    }

    /// The accused version, by the label that its pods had.
    pub fn from_version(&self) -> String {
        self.trailer("Drift-From-Version").map(decoded).unwrap_or_default()
    }

    /// Whether it put this version away.
    pub fn is_from(&self, version: &str) -> bool {
        self.from_version() == version || self.from_uri().is_some_and(|uri| version_of(&uri) == version)
    }

    /// What it rolled back to.
    pub fn to_uri(&self) -> Option<String> {
        self.trailer("Drift-To-Uri").map(decoded)
    }

    /// The alerts that it was made for, as much of them as it says.
    pub fn accusations(&self, seen: Timestamp) -> Vec<Accusation> {
        let read = |text: &String| {
            let text = decoded(text);
            let (rest, since) = text.rsplit_once(" firing-since=")?;
            let (name, fingerprint) = rest.rsplit_once(" fp=")?;
            Some(Accusation {
                name: name.to_owned(),
                fingerprint: fingerprint.to_owned(),
                labels: BTreeMap::new(),
                starts_at: since.parse().ok()?,
                first_seen: seen,
                last_seen: seen,
                n_seen: 0,
            })
        };
        self.trailers.get("Drift-Alert").into_iter().flatten().filter_map(read).collect()
    }

    /// As much of plan and commit as can be read back, for a replica that has not made them.
    pub fn as_plan(&self) -> Option<(Plan, CommitRecord)> {
        let (cluster, service, component) = self.target()?;
        let text = |name| self.trailer(name).map(decoded);
        let (bad_uri, good_uri) = (text("Drift-From-Uri")?, text("Drift-To-Uri")?);
        let introduced_by = text("Drift-Bad-Commit")?;
        let action = ActionId::new(cluster, &service, &component, &bad_uri, &introduced_by);
        let id = self.action_id()?.to_owned();
        let recipe = match text("Drift-Recipe")?.as_str() {
            "uri" => Recipe::Uri,
            "knative_canary" => Recipe::KnativeCanary,
            "standard_canary" => Recipe::StandardCanary,
            _ => return None,
        };
        let fields = self.trailers.get("Drift-Field")?;
        let field = |idx: usize| fields.get(idx).map(|field| decoded(field));
        let uri = |idx| Some(Edit { path: field(idx)?, from: bad_uri.clone(), to: good_uri.clone() });
        let percent =
            || Some(Edit { path: field(0)?, from: text("Drift-From-Percent")?, to: "0".to_owned() });
        let edits = match recipe {
            Recipe::Uri => vec![uri(0)?],
            Recipe::KnativeCanary => vec![percent()?, uri(1)?],
            Recipe::StandardCanary => vec![percent()?],
        };
        let commit = CommitRecord {
            id,
            commit: self.commit.clone(),
            parent: self.parent.clone(),
            diff: String::new(),
            pushed_at: self.committed_at,
        };
        let plan = Plan {
            action,
            file: text("Drift-File")?,
            document: 0,
            found_by: "index".to_owned(),
            edits,
            recipe,
            component,
            bad_uri,
            good_uri,
            is_verified: true,
            introduced_by,
            introduced_at: self.committed_at,
            good_commit: text("Drift-Good-Commit").unwrap_or_default(),
            coupled: Vec::new(),
            tip: self.parent.clone(),
        };
        Some((plan, commit))
    }
}
