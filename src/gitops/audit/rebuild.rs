//! What Git alone knows: each action, from the trailers of its commits.

use std::collections::BTreeMap;

use serde::Serialize;

use super::super::git::Action;
use super::super::incident::Timestamp;

/// An action as its commits tell it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Rebuilt {
    /// `rb-…`.
    pub action: String,
    /// `cluster/namespace/name/component`.
    pub target: String,
    /// What was rolled back, and is not gone back to.
    pub from_uri: String,
    /// What was put back.
    pub to_uri: String,
    /// The commit that had brought what was rolled back.
    pub bad_commit: String,
    /// The commit that had brought what was put back.
    pub good_commit: Option<String>,
    /// The file.
    pub file: Option<String>,
    /// Why.
    pub reason: String,
    /// The alerts, with their fingerprints and since when they fired.
    pub alerts: Vec<String>,
    /// What was seen before it was done.
    pub evidence: Vec<String>,
    /// Who had asked, if it was a person.
    pub requested_by: Option<String>,
    /// Who had said yes, if somebody was asked.
    pub approved_by: Option<String>,
    /// The commit that moved traffic. Absent: it is not in what was read.
    pub commit: Option<String>,
    /// When that was committed.
    pub at: Option<Timestamp>,
    /// The commit that cleaned up.
    pub cleanup: Option<String>,
}

impl Rebuilt {
    /// The columns of a list.
    pub const COLUMNS: [&str; 7] = ["action", "at", "target", "from", "to", "commit", "why"];

    /// One line of a list.
    pub fn row(&self) -> [String; Self::COLUMNS.len()] {
        let who = [("asked by", &self.requested_by), ("approved by", &self.approved_by)];
        let who = who.iter().filter_map(|(what, who)| Some(format!(", {what} {}", who.as_ref()?)));
        [
            self.action.clone(),
            self.at.map_or_else(String::new, |at| at.format("%F %T").to_string()),
            self.target.clone(),
            self.from_uri.clone(),
            self.to_uri.clone(),
            self.commit.as_deref().unwrap_or_default().chars().take(10).collect(),
            format!("{}{}", self.reason, who.collect::<String>()),
        ]
        .map(super::on_one_line)
    }
}

/// Commits of ours, in any order, to actions, newest first. An action has one commit or two: `rb-…-1` moved traffic, `rb-…-2` cleaned up. Of
/// several commits with one id (a branch that was cherry-picked) the oldest is the one that did it.
pub fn rebuild(commits: &[Action]) -> Vec<Rebuilt> {
    let mut by_action: BTreeMap<String, Rebuilt> = BTreeMap::new();
    let mut commits: Vec<&Action> = commits.iter().collect();
    commits.sort_by_key(|commit| commit.committed_at);
    for commit in commits {
        let Some((action, number)) = commit.action_id().and_then(|id| id.rsplit_once('-')) else { continue };
        let rebuilt = by_action.entry(action.to_owned()).or_insert_with(|| told(commit, action));
        match (number, commit.trailer("Drift-Action")) {
            ("1", Some("rollback")) if rebuilt.commit.is_none() => {
                *rebuilt = Rebuilt { cleanup: rebuilt.cleanup.take(), ..told(commit, action) };
                rebuilt.commit = Some(commit.commit.clone());
                rebuilt.at = Some(commit.committed_at);
            }
            ("2", Some("cleanup")) if rebuilt.cleanup.is_none() => {
                rebuilt.cleanup = Some(commit.commit.clone());
            }
            _ => (),
        }
    }
    let mut actions: Vec<Rebuilt> = by_action
        .into_values()
        .filter(|action| action.commit.is_some() || action.cleanup.is_some())
        .collect();
    actions.sort_by(|a, b| b.at.cmp(&a.at).then_with(|| a.action.cmp(&b.action)));
    actions
}

fn told(commit: &Action, action: &str) -> Rebuilt {
    let text = |name| commit.trailer(name).map(str::to_owned);
    let all = |name| commit.trailers.get(name).cloned().unwrap_or_default();
    Rebuilt {
        action: action.to_owned(),
        target: text("Drift-Target").unwrap_or_default(),
        from_uri: text("Drift-From-Uri").unwrap_or_default(),
        to_uri: text("Drift-To-Uri").unwrap_or_default(),
        bad_commit: text("Drift-Bad-Commit").unwrap_or_default(),
        good_commit: text("Drift-Good-Commit"),
        file: text("Drift-File"),
        reason: text("Drift-Reason").unwrap_or_default(),
        alerts: all("Drift-Alert"),
        evidence: all("Drift-Evidence"),
        requested_by: text("Drift-Requested-By"),
        approved_by: text("Drift-Approved-By"),
        commit: None,
        at: None,
        cleanup: None,
    }
}
