//! An Application, as far as it matters here. Only what Argo CD always writes is required: a field that is missing is one that
//! says nothing.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::gitops::incident::Timestamp;

/// Paths, apart by semicolons, whose changes alone Argo CD looks at.
const MANIFEST_PATHS: &str = "argocd.argoproj.io/manifest-generate-paths";

/// An Application of Argo CD.
#[allow(clippy::struct_excessive_bools, reason = "as Argo CD has them, and each is asked for by itself")]
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, from = "Raw")]
pub struct Application {
    /// Its name.
    pub name: String,
    /// Its `AppProject`.
    pub project: String,
    /// What it was compared with last, one commit a source.
    pub revisions: Vec<String>,
    /// `Synced`, `OutOfSync` or `Unknown`.
    pub sync_status: String,
    /// `Healthy`, `Progressing`, `Degraded`, …; of an `InferenceService` it says less than it seems to.
    pub health: String,
    /// When it was compared last.
    pub reconciled_at: Option<Timestamp>,
    /// The last operation, or the one under way.
    pub operation: Option<Operation>,
    /// Whether one has been asked for or is under way. While it is, nothing is synced automatically.
    pub is_busy: bool,
    /// Whether it applies new commits by itself.
    pub is_automated: bool,
    /// Whether it puts back what others change in the cluster.
    pub is_self_healing: bool,
    /// Whether another branch than the one people edit is applied.
    pub is_hydrated: bool,
    /// What was deployed, the newest last: commits, and when.
    pub history: Vec<(Vec<String>, Option<Timestamp>)>,
    /// What is wrong with it: type and text.
    pub conditions: Vec<(String, String)>,
    /// Folders in the repository that it is made of, one a source.
    pub paths: Vec<String>,
    /// [`MANIFEST_PATHS`].
    manifest_paths: Option<String>,
}

/// A sync.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Operation {
    /// `Running`, `Succeeded`, `Failed`, `Error` or `Terminating`.
    pub phase: String,
    /// What Argo CD says of it.
    pub message: String,
    /// To what, one commit a source.
    pub revisions: Vec<String>,
    /// When it began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

impl Operation {
    /// Whether it has not ended.
    pub fn is_running(&self) -> bool {
        ["Running", "Terminating"].contains(&self.phase.as_str())
    }
}

impl Application {
    /// Whether it is to apply commits by itself, has one to apply, and is not at it.
    pub fn is_idle(&self) -> bool {
        self.is_automated && !self.is_busy && self.sync_status != "Synced"
    }

    /// Whether a change of this file, named from the root of the repository, is one that Argo CD looks at. Where paths are
    /// given it passes over all other commits, rightly, and for ever.
    pub fn sees(&self, file: &str) -> bool {
        let Some(paths) = &self.manifest_paths else { return true };
        let bases = if self.paths.is_empty() { vec![String::new()] } else { self.paths.clone() };
        let below = |path: &str| {
            let is_pattern = path.contains(['*', '?', '[']);
            match glob::Pattern::new(path) {
                Ok(pattern) if is_pattern => pattern.matches(file),
                _ => {
                    path.is_empty()
                        || file == path
                        || file.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'))
                }
            }
        };
        let mut paths = paths.split(';').map(str::trim).filter(|path| !path.is_empty());
        paths.any(|path| match path.strip_prefix('/') {
            Some(from_root) => below(&joined("", from_root)),
            None => bases.iter().any(|base| below(&joined(base, path))),
        })
    }
}

/// A path below a folder, without `.`, `..` and doubled slashes.
fn joined(base: &str, path: &str) -> String {
    let mut parts = Vec::new();
    for part in base.split('/').chain(path.split('/')) {
        match part {
            "" | "." => (),
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Raw {
    metadata: RawMetadata,
    spec: RawSpec,
    operation: Option<serde_json::Value>,
    status: RawStatus,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawMetadata {
    name: String,
    annotations: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RawSpec {
    project: String,
    source: Option<RawSource>,
    sources: Vec<RawSource>,
    source_hydrator: Option<serde_json::Value>,
    sync_policy: RawPolicy,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawSource {
    path: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawPolicy {
    automated: Option<RawAutomated>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RawAutomated {
    enabled: Option<bool>,
    self_heal: bool,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RawStatus {
    sync: RawCompared,
    health: RawHealth,
    reconciled_at: Option<Timestamp>,
    operation_state: Option<RawState>,
    history: Vec<RawDeployed>,
    conditions: Vec<RawCondition>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawHealth {
    status: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawCompared {
    status: String,
    revision: String,
    revisions: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RawState {
    phase: String,
    message: String,
    operation: RawOperation,
    sync_result: Option<RawCompared>,
    started_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawOperation {
    sync: Option<RawCompared>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RawDeployed {
    revision: String,
    revisions: Vec<String>,
    deployed_at: Option<Timestamp>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawCondition {
    #[serde(rename = "type")]
    kind: String,
    message: String,
}

/// One source has its commit in `revision`, several have theirs in `revisions`.
fn all(one: String, several: Vec<String>) -> Vec<String> {
    if several.is_empty() { Some(one).filter(|one| !one.is_empty()).into_iter().collect() } else { several }
}

impl From<RawState> for Operation {
    fn from(raw: RawState) -> Self {
        let result = raw.sync_result.map(|result| all(result.revision, result.revisions));
        let asked = raw.operation.sync.map(|sync| all(sync.revision, sync.revisions));
        Self {
            phase: raw.phase,
            message: raw.message,
            // What came of it, else what was asked for, which may be a branch.
            revisions: result.filter(|found| !found.is_empty()).or(asked).unwrap_or_default(),
            started_at: raw.started_at,
            finished_at: raw.finished_at,
        }
    }
}

impl From<Raw> for Application {
    fn from(raw: Raw) -> Self {
        let Raw { metadata, spec, operation, status } = raw;
        let automated = spec.sync_policy.automated;
        let state: Option<Operation> = status.operation_state.map(Into::into);
        let sources = if spec.sources.is_empty() { spec.source.into_iter().collect() } else { spec.sources };
        Self {
            name: metadata.name,
            project: spec.project,
            revisions: all(status.sync.revision, status.sync.revisions),
            sync_status: status.sync.status,
            health: status.health.status,
            reconciled_at: status.reconciled_at,
            is_busy: operation.is_some() || state.as_ref().is_some_and(Operation::is_running),
            operation: state,
            is_automated: automated.as_ref().is_some_and(|policy| policy.enabled.unwrap_or(true)),
            is_self_healing: automated.is_some_and(|policy| policy.self_heal),
            is_hydrated: spec.source_hydrator.is_some(),
            history: status
                .history
                .into_iter()
                .map(|one| (all(one.revision, one.revisions), one.deployed_at))
                .collect(),
            conditions: status.conditions.into_iter().map(|one| (one.kind, one.message)).collect(),
            paths: sources.into_iter().map(|source: RawSource| joined("", &source.path)).collect(),
            manifest_paths: metadata.annotations.get(MANIFEST_PATHS).cloned(),
        }
    }
}
