//! What the controller runs on.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use url::Url;

use super::{
    ForgeKind, Mode, Policy, RawArgoCd, RawControllerConfig, RawForge, RawGit, RawKubernetes, RawPrometheus,
    RawTarget, Signing,
};
use crate::config::ConfigError;
use crate::gitops::target::ServiceName;

/// A configuration that has been checked as a whole.
#[derive(Clone, Debug)]
pub struct ControllerConfig {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Where the journal and the clone are.
    pub state_dir: PathBuf,
    /// The name of the cluster.
    pub cluster: String,
    /// The token of those who deliver alerts.
    pub alerts_token_file: PathBuf,
    /// Who may ask, approve and pause.
    pub api: ApiConfig,
    /// Where metrics are.
    pub prometheus: PrometheusConfig,
    /// The repository.
    pub git: GitConfig,
    /// Who applies it.
    pub argocd: Option<ArgoCdConfig>,
    /// Where it is applied.
    pub kubernetes: Option<KubernetesConfig>,
    /// Where pull requests are opened.
    pub forge: Option<ForgeConfig>,
    /// When the controller acts by itself.
    pub policy: Policy,
    /// The services it acts on, each named once.
    pub targets: Vec<TargetConfig>,
}

/// Who may ask, approve and pause.
#[derive(Clone, Debug, Default)]
pub struct ApiConfig {
    /// Each named once.
    pub operators: Vec<Operator>,
}

/// One of those who may ask, approve and pause.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Operator {
    /// As audit and trailers call them.
    pub name: String,
    /// A file with their token; read again when it changes.
    pub token_file: PathBuf,
}

/// Where metrics are.
#[derive(Clone, Debug)]
pub struct PrometheusConfig {
    /// Its address.
    pub url: Url,
    /// A file with a token.
    pub bearer_token_file: Option<PathBuf>,
    /// Authorities, PEM.
    pub ca_file: Option<PathBuf>,
    /// How long one query may take.
    pub timeout: Duration,
    /// A series that is older says nothing.
    pub max_age: Duration,
}

/// Author and committer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Author {
    /// The name.
    pub name: String,
    /// The address.
    pub email: String,
}

/// The repository.
#[derive(Clone, Debug)]
pub struct GitConfig {
    /// As `git` takes it, without credentials.
    pub url: String,
    /// The branch.
    pub branch: String,
    /// The user of the token.
    pub username: String,
    /// A file with a token or password, for HTTP.
    pub token_file: Option<PathBuf>,
    /// A private key, for SSH.
    pub ssh_key_file: Option<PathBuf>,
    /// The keys of hosts, for SSH.
    pub known_hosts_file: Option<PathBuf>,
    /// Authorities, PEM.
    pub ca_file: Option<PathBuf>,
    /// Author and committer.
    pub author: Author,
    /// How commits are signed.
    pub signing: Option<Signing>,
    /// How often the clone is brought up to date.
    pub fetch_interval: Duration,
    /// How long one call of `git` may take.
    pub timeout: Duration,
    /// The file that pauses the controller.
    pub pause_file: String,
}

/// Who applies the repository.
#[derive(Clone, Debug)]
pub struct ArgoCdConfig {
    /// Its API server.
    pub url: Url,
    /// A file with a token.
    pub token_file: PathBuf,
    /// Authorities, PEM.
    pub ca_file: Option<PathBuf>,
    /// Whether a stuck sync may be ended.
    pub terminate_stuck: bool,
}

/// The cluster.
#[derive(Clone, Debug)]
pub struct KubernetesConfig {
    /// Absent: as a pod's account.
    pub kubeconfig: Option<PathBuf>,
    /// Where the lease and the `ConfigMap` are. Absent: the pod's own.
    pub namespace: Option<String>,
    /// The Lease.
    pub lease: String,
    /// The `ConfigMap`.
    pub config_map: String,
    /// This replica's name. Absent: the host name.
    pub identity: Option<String>,
    /// How long a replica that is not heard of stays the active one.
    pub lease_duration: Duration,
}

/// Where pull requests are opened.
#[derive(Clone, Debug)]
pub struct ForgeConfig {
    /// What it is.
    pub kind: ForgeKind,
    /// Its API.
    pub url: Url,
    /// The project.
    pub project: String,
    /// A file with a token.
    pub token_file: PathBuf,
    /// Authorities, PEM.
    pub ca_file: Option<PathBuf>,
    /// Labels of pull requests.
    pub labels: Vec<String>,
    /// Whether the forge is asked to merge.
    pub auto_merge: bool,
    /// How long one may be open.
    pub expires_after: Duration,
}

/// A service the controller acts on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetConfig {
    /// Which.
    pub service: ServiceName,
    /// Its file.
    pub path: Option<String>,
    /// Keys to the URI.
    pub field: Option<String>,
    /// Its Application in Argo CD.
    pub application: Option<String>,
    /// How far the controller goes.
    pub mode: Mode,
}

impl ControllerConfig {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// [`ConfigError`] names the file, the key and what to do.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        let raw: RawControllerConfig = serde_saphyr::from_str(&text)
            .map_err(|error| ConfigError::Parse { path: path.to_owned(), message: error.to_string() })?;
        Self::try_from(raw)
    }

    /// The target of that name.
    pub fn target(&self, service: &ServiceName) -> Option<&TargetConfig> {
        self.targets.iter().find(|target| target.service == *service)
    }

    /// Whether a service is a key of a file that is no `InferenceService`.
    pub fn is_field(&self, service: &ServiceName) -> bool {
        self.target(service).is_some_and(|target| target.field.is_some())
    }
}

impl TryFrom<RawControllerConfig> for ControllerConfig {
    type Error = ConfigError;

    fn try_from(raw: RawControllerConfig) -> Result<Self, ConfigError> {
        check_policy(&raw.policy)?;
        if !is_plain(&raw.cluster) {
            return Err(ConfigError::invalid("cluster", "must be letters, digits, `-`, `_` and `.`"));
        }
        let mut names = BTreeSet::new();
        for operator in &raw.api.operators {
            if !is_plain(&operator.name) || !names.insert(&operator.name) {
                let problem =
                    format!("`{}` is there twice, or not letters, digits, `-`, `_` and `.`", operator.name);
                return Err(ConfigError::invalid("api.operators", problem));
            }
        }
        let targets = raw.targets.into_iter().map(TargetConfig::try_from).collect::<Result<Vec<_>, _>>()?;
        let mut services = BTreeSet::new();
        for target in &targets {
            if !services.insert(&target.service) {
                return Err(ConfigError::invalid("targets", format!("has {} twice", target.service)));
            }
            if target.mode == Mode::PullRequest && raw.forge.is_none() {
                let problem = format!("of {} is `pull_request`, and there is no `forge`", target.service);
                return Err(ConfigError::invalid("targets.mode", problem));
            }
            if target.application.is_some() && raw.argocd.is_none() {
                let problem = format!("of {} is given, and there is no `argocd`", target.service);
                return Err(ConfigError::invalid("targets.application", problem));
            }
        }
        Ok(Self {
            listen: raw.listen,
            state_dir: raw.state_dir,
            cluster: raw.cluster,
            alerts_token_file: raw.alerts.bearer_token_file,
            api: ApiConfig { operators: raw.api.operators },
            prometheus: raw.prometheus.try_into()?,
            git: raw.git.try_into()?,
            argocd: raw.argocd.map(TryInto::try_into).transpose()?,
            kubernetes: raw.kubernetes.map(Into::into),
            forge: raw.forge.map(TryInto::try_into).transpose()?,
            policy: raw.policy,
            targets,
        })
    }
}

fn check_policy(policy: &Policy) -> Result<(), ConfigError> {
    if policy.max_depth == 0 {
        return Err(ConfigError::invalid("policy.max_depth", "must be at least 1"));
    }
    if policy.circuit_targets < 2 {
        return Err(ConfigError::invalid(
            "policy.circuit_targets",
            "must be at least 2, or nothing is ever done",
        ));
    }
    if policy.recovery_settle.0 >= policy.recovery_timeout.0 {
        let problem = format!("{} is not below `policy.recovery_timeout`", policy.recovery_settle);
        return Err(ConfigError::invalid("policy.recovery_settle", problem));
    }
    Ok(())
}

/// What may stand in a trailer, a label or a branch as it is.
fn is_plain(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

fn http_url(key: &str, text: &str) -> Result<Url, ConfigError> {
    let url = Url::parse(text)
        .map_err(|error| ConfigError::invalid(key, format!("`{text}` is no URL ({error})")))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(ConfigError::invalid(key, format!("`{text}` is not http://… or https://…")));
    }
    if url.password().is_some() || !url.username().is_empty() {
        return Err(ConfigError::invalid(key, "has credentials; put them into a file"));
    }
    Ok(url)
}

impl TryFrom<RawPrometheus> for PrometheusConfig {
    type Error = ConfigError;

    fn try_from(raw: RawPrometheus) -> Result<Self, ConfigError> {
        Ok(Self {
            url: http_url("prometheus.url", &raw.url)?,
            bearer_token_file: raw.bearer_token_file,
            ca_file: raw.ca_file,
            timeout: raw.timeout.0,
            max_age: raw.max_age.0,
        })
    }
}

impl TryFrom<RawGit> for GitConfig {
    type Error = ConfigError;

    fn try_from(raw: RawGit) -> Result<Self, ConfigError> {
        let invalid = |key: &str, problem: String| ConfigError::invalid(format!("git.{key}"), problem);
        let is_ssh = raw.url.starts_with("ssh://") || (raw.url.contains(':') && !raw.url.contains("://"));
        let is_known =
            is_ssh || ["https://", "http://", "file://"].iter().any(|scheme| raw.url.starts_with(scheme));
        if !is_known || raw.url.starts_with('-') {
            let problem = format!("`{}` is not https://, ssh://, user@host:path or file://", raw.url);
            return Err(invalid("url", problem));
        }
        if raw.url.starts_with("http") {
            http_url("git.url", &raw.url)?;
        }
        if is_ssh && raw.known_hosts_file.is_none() {
            return Err(invalid(
                "known_hosts_file",
                "is missing; without it any host could be ours".to_owned(),
            ));
        }
        let is_branch = !raw.branch.is_empty()
            && !raw.branch.starts_with(['-', '/', '.'])
            && !raw.branch.contains("..")
            && raw.branch.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte));
        if !is_branch {
            return Err(invalid("branch", format!("`{}` is no name of a branch", raw.branch)));
        }
        if !is_repository_path(&raw.pause_file) {
            return Err(invalid("pause_file", "must be a path inside the repository".to_owned()));
        }
        Ok(Self {
            author: raw.author.parse()?,
            url: raw.url,
            branch: raw.branch,
            username: raw.username,
            token_file: raw.token_file,
            ssh_key_file: raw.ssh_key_file,
            known_hosts_file: raw.known_hosts_file,
            ca_file: raw.ca_file,
            signing: raw.signing,
            fetch_interval: raw.fetch_interval.0,
            timeout: raw.timeout.0,
            pause_file: raw.pause_file,
        })
    }
}

impl std::str::FromStr for Author {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let parts = text.trim().strip_suffix('>').and_then(|text| text.split_once(" <"));
        match parts {
            Some((name, email))
                if !name.is_empty() && email.contains('@') && !text.contains(['\n', '\0']) =>
            {
                Ok(Self { name: name.to_owned(), email: email.to_owned() })
            }
            _ => Err(ConfigError::invalid("git.author", format!("`{text}` is not `name <address>`"))),
        }
    }
}

fn is_repository_path(path: &str) -> bool {
    !path.is_empty()
        && !path.starts_with('/')
        && !path.contains(['\n', '\0', '\\'])
        && path.split('/').all(|part| !matches!(part, "" | "." | ".." | ".git"))
}

impl TryFrom<RawArgoCd> for ArgoCdConfig {
    type Error = ConfigError;

    fn try_from(raw: RawArgoCd) -> Result<Self, ConfigError> {
        Ok(Self {
            url: http_url("argocd.url", &raw.url)?,
            token_file: raw.token_file,
            ca_file: raw.ca_file,
            terminate_stuck: raw.terminate_stuck,
        })
    }
}

impl From<RawKubernetes> for KubernetesConfig {
    fn from(raw: RawKubernetes) -> Self {
        Self {
            kubeconfig: raw.kubeconfig,
            namespace: raw.namespace,
            lease: raw.lease.unwrap_or_else(|| "driftd-controller".to_owned()),
            config_map: raw.config_map.unwrap_or_else(|| "driftd-controller-state".to_owned()),
            identity: raw.identity,
            lease_duration: raw.lease_duration.map_or(Duration::from_secs(15), |duration| duration.0),
        }
    }
}

impl TryFrom<RawForge> for ForgeConfig {
    type Error = ConfigError;

    fn try_from(raw: RawForge) -> Result<Self, ConfigError> {
        let parts: Vec<&str> = raw.project.split('/').collect();
        if parts.len() < 2 || parts.iter().any(|part| part.is_empty() || part.starts_with('.')) {
            return Err(ConfigError::invalid(
                "forge.project",
                format!("`{}` is not owner/repository", raw.project),
            ));
        }
        Ok(Self {
            kind: raw.kind,
            url: http_url("forge.url", &raw.url)?,
            project: raw.project,
            token_file: raw.token_file,
            ca_file: raw.ca_file,
            labels: raw.labels,
            auto_merge: raw.auto_merge,
            expires_after: raw.expires_after.0,
        })
    }
}

impl TryFrom<RawTarget> for TargetConfig {
    type Error = ConfigError;

    fn try_from(raw: RawTarget) -> Result<Self, ConfigError> {
        let service = ServiceName::new(&raw.namespace, &raw.name)
            .map_err(|error| ConfigError::invalid("targets", error.to_string()))?;
        if raw.path.as_deref().is_some_and(|path| !is_repository_path(path)) {
            return Err(ConfigError::invalid(
                "targets.path",
                format!("of {service} is no path inside the repository"),
            ));
        }
        if raw.field.is_some() && raw.path.is_none() {
            return Err(ConfigError::invalid("targets.field", format!("of {service} needs `path`")));
        }
        Ok(Self { service, path: raw.path, field: raw.field, application: raw.application, mode: raw.mode })
    }
}

#[cfg(test)]
mod tests;
