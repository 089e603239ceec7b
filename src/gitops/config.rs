//! `controller.yaml`: what the file may say ([`RawControllerConfig`]), and what the controller runs on ([`ControllerConfig`]).

mod valid;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use valid::{
    ApiConfig, ArgoCdConfig, Author, ControllerConfig, ForgeConfig, GitConfig, KubernetesConfig, Operator,
    PrometheusConfig, TargetConfig,
};

use crate::config::HumanDuration;

/// The file of `driftd controller --config`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawControllerConfig {
    /// Where alerts come in, and `/metrics`, `/livez`, `/readyz` and the API are. Default `0.0.0.0:9465`.
    #[serde(default = "default_listen")]
    pub listen: SocketAddr,
    /// Where the journal and the clone are; a folder of this process alone.
    pub state_dir: PathBuf,
    /// The name of the cluster in ids and trailers, where one repository serves several. Default `main`.
    #[serde(default = "default_cluster")]
    pub cluster: String,
    /// Who may deliver alerts.
    pub alerts: RawAlerts,
    /// Who may ask, approve and pause. Absent: nobody.
    #[serde(default)]
    pub api: RawApi,
    /// Where it is asked whether an alert is true and a rollback has helped.
    pub prometheus: RawPrometheus,
    /// The repository.
    pub git: RawGit,
    /// Absent: nobody is told of a commit, and that it is applied shows in what is served.
    pub argocd: Option<RawArgoCd>,
    /// Absent: what is served shows in `driftd_model_info` alone, and there is one replica.
    pub kubernetes: Option<RawKubernetes>,
    /// Where pull requests are opened. Absent: none are, and what would need one waits for `driftd approve`.
    pub forge: Option<RawForge>,
    /// When the controller acts by itself.
    #[serde(default)]
    pub policy: Policy,
    /// The services it acts on; an alert about another one is recorded and left.
    pub targets: Vec<RawTarget>,
}

/// The section `alerts`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawAlerts {
    /// A file with the token that Alertmanager and Grafana send as `Authorization: Bearer …`; read again when it changes.
    pub bearer_token_file: PathBuf,
}

/// The section `api`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawApi {
    /// People and machines, each with a token.
    pub operators: Vec<Operator>,
}

/// The section `prometheus`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawPrometheus {
    /// Its address, with a path where it has one.
    pub url: String,
    /// A file with a token, if it wants one.
    pub bearer_token_file: Option<PathBuf>,
    /// Authorities, PEM, beyond the usual ones.
    pub ca_file: Option<PathBuf>,
    /// How long one query may take. Default `5s`.
    #[serde(default = "seconds::<5>")]
    pub timeout: HumanDuration,
    /// A series that is older says nothing. Default `2m`; more than the scrape interval.
    #[serde(default = "seconds::<120>")]
    pub max_age: HumanDuration,
}

/// The section `git`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawGit {
    /// `https://…`, `http://…`, `ssh://…`, `user@host:path` or `file://…`.
    pub url: String,
    /// The branch that Argo CD follows. Default `main`.
    #[serde(default = "default_branch")]
    pub branch: String,
    /// The user of the token. Default `driftd`; forges look at the token alone.
    #[serde(default = "default_username")]
    pub username: String,
    /// A file with a token or password, for HTTP.
    pub token_file: Option<PathBuf>,
    /// A private key, for SSH.
    pub ssh_key_file: Option<PathBuf>,
    /// The keys of hosts, for SSH; needed with it: a host nobody knows is not pushed to.
    pub known_hosts_file: Option<PathBuf>,
    /// Authorities, PEM, beyond the usual ones.
    pub ca_file: Option<PathBuf>,
    /// Author and committer, as `name <address>`.
    pub author: String,
    /// How commits are signed. Absent: not.
    pub signing: Option<Signing>,
    /// How often the clone is brought up to date while nothing happens. Default `30s`.
    #[serde(default = "seconds::<30>")]
    pub fetch_interval: HumanDuration,
    /// How long one call of `git` may take. Default `20s`.
    #[serde(default = "seconds::<20>")]
    pub timeout: HumanDuration,
    /// A file in the repository that pauses the controller while it is there and says so. Default `.drift/pause.yaml`.
    #[serde(default = "default_pause_file")]
    pub pause_file: String,
}

/// How commits are signed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signing {
    /// By what.
    pub format: SigningFormat,
    /// For `ssh` the file of the private key, for `openpgp` the id of the key.
    pub key: String,
    /// For `openpgp`: the folder of the key ring.
    pub gnupg_home: Option<PathBuf>,
}

/// What signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SigningFormat {
    /// `ssh-keygen`.
    Ssh,
    /// `gpg`.
    Openpgp,
}

/// The section `argocd`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawArgoCd {
    /// Its API server.
    pub url: String,
    /// A file with the token of an account that may `get` the applications.
    pub token_file: PathBuf,
    /// Authorities, PEM, beyond the usual ones.
    pub ca_file: Option<PathBuf>,
    /// Whether a running sync of the accused revision that keeps ours from being applied is ended; takes the right `sync`.
    /// Default `false`: a person is told how.
    #[serde(default)]
    pub terminate_stuck: bool,
}

/// The section `kubernetes`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawKubernetes {
    /// Absent: as a pod's account.
    pub kubeconfig: Option<PathBuf>,
    /// Where the lease and the `ConfigMap` are. Default: the pod's own, else `driftd-system`.
    pub namespace: Option<String>,
    /// The Lease that says which replica acts. Default `driftd-controller`.
    pub lease: Option<String>,
    /// The `ConfigMap` with verdicts, holds and pauses. Default `driftd-controller-state`.
    pub config_map: Option<String>,
    /// This replica's name in the lease. Default: the host name.
    pub identity: Option<String>,
    /// How long a replica that is not heard of stays the active one. Default `15s`.
    pub lease_duration: Option<HumanDuration>,
}

/// The section `forge`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawForge {
    /// What it is.
    pub kind: ForgeKind,
    /// Its API, as `https://api.github.com`, `https://gitlab.example`, `https://gitea.example`.
    pub url: String,
    /// `owner/repository`; in GitLab the whole path of the project.
    pub project: String,
    /// A file with a token that may open pull requests.
    pub token_file: PathBuf,
    /// Authorities, PEM, beyond the usual ones.
    pub ca_file: Option<PathBuf>,
    /// Put on pull requests where the forge knows them.
    #[serde(default)]
    pub labels: Vec<String>,
    /// Whether the forge is asked to merge once its checks have passed.
    #[serde(default)]
    pub auto_merge: bool,
    /// How long a pull request may be open. Default `24h`.
    #[serde(default = "seconds::<86_400>")]
    pub expires_after: HumanDuration,
}

/// Who runs the forge's API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ForgeKind {
    /// GitHub and GitHub Enterprise.
    Github,
    /// GitLab.
    Gitlab,
    /// Gitea and Forgejo.
    Gitea,
}

/// The section `policy`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// After a rollback of a service nothing more is done to it by itself for so long. Default `6h`.
    pub cool_down: HumanDuration,
    /// A version that has been there for longer is not the cause of a change. Default `24h`.
    pub attribution_window: HumanDuration,
    /// Rollbacks in `budget_window` at most, of one namespace. Default 3.
    pub namespace_budget: u32,
    /// Rollbacks in `budget_window` at most, of all. Default 5.
    pub global_budget: u32,
    /// Default `1h`.
    pub budget_window: HumanDuration,
    /// So many services accused in `circuit_window` are an event of data or monitoring, not of models. Default 3.
    pub circuit_targets: u32,
    /// Or this share of all targets, if that is more. Default 0.2.
    pub circuit_share: Share,
    /// Default `10m`.
    pub circuit_window: HumanDuration,
    /// How long nothing is done after that. Default `30m`.
    pub circuit_open: HumanDuration,
    /// How long a version has to serve without an alert to count as good. Default `30m`.
    pub soak: HumanDuration,
    /// And how many rows it has to have seen meanwhile. Default 1000.
    pub soak_rows: u64,
    /// How many distinct versions back the good one may be. Default 3.
    pub max_depth: usize,
    /// How old. Default `90d`.
    pub max_age: HumanDuration,
    /// Whether the artifact of a version is looked up in its store, by this process's credentials: one that is gone or has changed is not
    /// gone back to. Default `true`; what cannot be looked up counts as there.
    pub check_artifacts: bool,
    /// What is done where nothing earlier has a verdict yet. Default `approve`.
    pub unverified: Unverified,
    /// A decision that could not be pushed for so long is void. Default `20m`.
    pub decision_expires: HumanDuration,
    /// How long an approval is waited for. Default `60m`.
    pub approval_expires: HumanDuration,
    /// Rows that the good version has to have seen to be called well. Default 500.
    pub recovery_rows: u64,
    /// For so long after it serves it has to be well. Default `1m`; alerts look back that far.
    pub recovery_settle: HumanDuration,
    /// How long that is waited for. Default `10m`.
    pub recovery_timeout: HumanDuration,
    /// How long pods may take. Default `10m`; large models take a minute a GiB.
    pub serving_timeout: HumanDuration,
    /// How long Argo CD may take. Default `2m`.
    pub sync_timeout: HumanDuration,
}

/// A share, from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "f64")]
pub struct Share {
    /// In thousandths, so that it can be compared.
    pub permille: u32,
}

impl TryFrom<f64> for Share {
    type Error = String;

    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 1000")]
    fn try_from(share: f64) -> Result<Self, String> {
        if (0.0..=1.0).contains(&share) {
            Ok(Self { permille: (share * 1000.0).round() as u32 })
        } else {
            Err(format!("{share} is no share; write a number from 0 to 1"))
        }
    }
}

impl Policy {
    /// In which time a rollback that was pushed has ended, whichever way.
    pub fn follow_up(&self) -> Duration {
        let cleaning = self.decision_expires.0;
        self.sync_timeout.0 + self.serving_timeout.0 + self.recovery_timeout.0 + cleaning
    }
}

impl Default for Policy {
    fn default() -> Self {
        let of = |seconds| HumanDuration(Duration::from_secs(seconds));
        let (minute, hour, day) = (60, 3600, 86_400);
        Self {
            cool_down: of(6 * hour),
            attribution_window: of(day),
            namespace_budget: 3,
            global_budget: 5,
            budget_window: of(hour),
            circuit_targets: 3,
            circuit_share: Share { permille: 200 },
            circuit_window: of(10 * minute),
            circuit_open: of(30 * minute),
            soak: of(30 * minute),
            soak_rows: 1000,
            max_depth: 3,
            max_age: of(90 * day),
            check_artifacts: true,
            unverified: Unverified::Approve,
            decision_expires: of(20 * minute),
            approval_expires: of(hour),
            recovery_rows: 500,
            recovery_settle: of(minute),
            recovery_timeout: of(10 * minute),
            serving_timeout: of(10 * minute),
            sync_timeout: of(2 * minute),
        }
    }
}

/// What is done where the version before has no verdict of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unverified {
    /// A person approves: a pull request where there is a forge, else `driftd approve`.
    Approve,
    /// Nothing: a person has to look.
    Refuse,
    /// As if it had one.
    Commit,
}

/// How far the controller goes by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// It commits.
    #[default]
    Commit,
    /// It waits for `driftd approve`, then commits.
    Approve,
    /// It opens a pull request.
    PullRequest,
    /// It writes down what it would have done.
    DryRun,
}

/// One entry of `targets`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawTarget {
    /// The `InferenceService`'s namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its file in the repository. Absent: a line with the comment `# {"$drift": "NAMESPACE/NAME"}`, else the one document of
    /// that name.
    pub path: Option<String>,
    /// Keys to the URI, for files that are no `InferenceService`, as `models.credit.uri`. Needs `path`.
    pub field: Option<String>,
    /// Its Application in Argo CD.
    pub application: Option<String>,
    /// How far the controller goes by itself. Default `commit`.
    #[serde(default)]
    pub mode: Mode,
}

const fn seconds<const N: u64>() -> HumanDuration {
    HumanDuration(Duration::from_secs(N))
}

const fn default_listen() -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 9465)
}

fn default_cluster() -> String {
    "main".to_owned()
}

fn default_branch() -> String {
    "main".to_owned()
}

fn default_username() -> String {
    "driftd".to_owned()
}

fn default_pause_file() -> String {
    ".drift/pause.yaml".to_owned()
}
