//! Which version was good: from what the line said at each commit, and from what was seen of each version while it served. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::config::{Policy, Unverified};
use super::incident::Timestamp;

/// A stretch of commits in which the line had one value; the newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// What stood there.
    pub value: String,
    /// The commit that had brought it, on the first-parent line: the one that Argo CD applied.
    pub introduced_by: String,
    /// When that was.
    pub introduced_at: Timestamp,
    /// The action of ours that the commit is of.
    pub is_ours: bool,
}

/// What is known of the versions of one service, by URI.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// Those that served long enough, unaccused.
    pub good: BTreeMap<String, Verdict>,
    /// Those that were rolled back from, or turned out no better.
    pub denied: BTreeMap<String, Denial>,
}

/// Seen to serve well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Since when it served when the verdict was written.
    pub served_since: Timestamp,
    /// When the verdict was written, while it happened.
    pub at: Timestamp,
    /// How many rows it had seen.
    pub n_rows: u64,
    /// Of the artifact, where its store can say.
    pub digest: Option<String>,
}

/// Not to be gone back to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Denial {
    /// By which action.
    pub action: String,
    /// When.
    pub at: Timestamp,
}

/// A version that may be gone back to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its URI.
    pub uri: String,
    /// The commit that had brought it.
    pub commit: String,
    /// Its verdict, if it has one.
    pub verdict: Option<Verdict>,
}

/// Those that may be gone back to, the best first, and why each of the others may not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// The best first.
    pub candidates: Vec<Candidate>,
    /// In words, with the URI.
    pub refused: Vec<String>,
}

/// What `runs`, whose first is the accused value, allow to go back to.
///
/// The newest earlier value with a good verdict comes first. One without is offered where the policy has a way for it, and only if it
/// is the value just before: what is further back has had time to earn a verdict.
pub fn choose(runs: &[Run], ledger: &Ledger, policy: &Policy, now: Timestamp) -> Choice {
    let Some((accused, earlier)) = runs.split_first() else { return Choice::default() };
    let mut choice = Choice::default();
    let mut unverified = None;
    let mut seen: Vec<&str> = vec![&accused.value];
    for run in earlier {
        if seen.contains(&&*run.value) {
            continue;
        }
        seen.push(&run.value);
        let depth = seen.len() - 1;
        if let Some(why) = never(run, ledger, policy, depth, now) {
            choice.refused.push(format!("{}: {why}", run.value));
            continue;
        }
        let verdict = ledger.good.get(&run.value).cloned();
        let candidate = Candidate { uri: run.value.clone(), commit: run.introduced_by.clone(), verdict };
        if candidate.verdict.is_some() {
            choice.candidates.push(candidate);
        } else if depth == 1 && policy.unverified != Unverified::Refuse {
            unverified = Some(candidate);
        } else {
            choice.refused.push(format!("{}: was never seen to serve well", run.value));
        }
    }
    choice.candidates.extend(unverified);
    choice
}

/// The version that a person names: theirs to decide, be it old, without a verdict, or left before. It has stood there, though, so that a
/// slip of the pen is not committed, and means tomorrow what it means today.
pub fn named(runs: &[Run], ledger: &Ledger, uri: &str) -> Choice {
    let mut choice = Choice::default();
    match runs.iter().find(|run| run.value == uri && !uri.is_empty()) {
        None => choice.refused.push(format!("{uri:?}: has never stood there")),
        Some(_) if is_mutable(uri) => {
            choice.refused.push(format!("{uri}: may mean another model tomorrow; pin the version"));
        }
        Some(run) => choice.candidates.push(Candidate {
            uri: uri.to_owned(),
            commit: run.introduced_by.clone(),
            verdict: ledger.good.get(uri).cloned(),
        }),
    }
    choice
}

fn never(run: &Run, ledger: &Ledger, policy: &Policy, depth: usize, now: Timestamp) -> Option<String> {
    if run.value.is_empty() {
        return Some("is empty".to_owned());
    }
    if let Some(denial) = ledger.denied.get(&run.value) {
        return Some(format!("was rolled back from by {} at {}", denial.action, denial.at.format("%FT%TZ")));
    }
    if is_mutable(&run.value) {
        return Some("may mean another model tomorrow; pin the version".to_owned());
    }
    if depth > policy.max_depth {
        return Some(format!("is {depth} versions back, more than policy.max_depth ({})", policy.max_depth));
    }
    let age = (now - run.introduced_at).to_std().unwrap_or_default();
    (age > policy.max_age.0).then(|| format!("is older than policy.max_age ({})", policy.max_age))
}

/// Whether a URI names whatever is there at the moment: a stage, an alias, a tag that moves.
pub fn is_mutable(uri: &str) -> bool {
    let name = uri.trim_end_matches('/');
    let last = name.rsplit('/').next().unwrap_or_default();
    if let Some(model) = name.strip_prefix("models:/").or_else(|| name.strip_prefix("mlflow:models:/")) {
        // models:/NAME/3 is fixed; /Production, /latest and @alias are not.
        let version = model.rsplit('/').next().unwrap_or_default();
        return model.contains('@')
            || version.is_empty()
            || !version.bytes().all(|byte| byte.is_ascii_digit());
    }
    if name.starts_with("oci://") {
        let tag = last.split_once(':').map_or("latest", |(_, tag)| tag);
        return !last.contains("@sha256:") && tag == "latest";
    }
    last.eq_ignore_ascii_case("latest")
}

#[cfg(test)]
mod tests;
