//! `webhook.yaml`: what the file may say ([`RawWebhookConfig`]), and what the webhook runs on ([`WebhookConfig`]).

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::quantity::Resources;
use super::sidecar;
use super::wiring::{Mode, Place, Tap};
use crate::config::{ByteSize, ConfigError, HumanDuration};

/// The file of `driftd webhook --config`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawWebhookConfig {
    /// Where the API server calls, over TLS. Default `0.0.0.0:9443`.
    #[serde(default = "default_listen")]
    pub listen: SocketAddr,
    /// Where `/metrics`, `/livez` and `/readyz` are. Default `0.0.0.0:9464`.
    #[serde(default = "default_admin")]
    pub admin: SocketAddr,
    /// The certificate.
    #[serde(default)]
    pub tls: RawTls,
    /// A longer review is let through without a patch. Default `4MiB`; the API server takes objects of 3 MiB at most.
    #[serde(default = "default_max_body_bytes")]
    pub max_body_bytes: ByteSize,
    /// Connections at most; others wait to be accepted. Default 256.
    #[serde(default = "default_max_connections")]
    pub max_connections: usize,
    /// Reviews at most that are read at the same time; others wait. Default 1024.
    #[serde(default = "default_max_in_flight")]
    pub max_in_flight: usize,
    /// How long it goes on after SIGTERM, until the last API server knows that it is leaving. Default `5s`.
    #[serde(default = "default_shutdown_delay")]
    pub shutdown_delay: HumanDuration,
    /// Components of an `InferenceService` whose pods get a sidecar. Default `[predictor]`.
    #[serde(default = "default_components")]
    pub components: Vec<String>,
    /// How the sidecar gets into pods of each kind.
    #[serde(default)]
    pub modes: Modes,
    /// What is put into them.
    pub sidecar: SidecarConfig,
}

/// The section `tls`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawTls {
    /// The certificate and those that signed it, PEM. Default `/etc/driftd/tls/tls.crt`.
    pub certificate: PathBuf,
    /// Its key, PEM. Default `/etc/driftd/tls/tls.key`.
    pub key: PathBuf,
    /// How often the files are looked at. Default `10s`.
    pub reload_interval: HumanDuration,
}

impl Default for RawTls {
    fn default() -> Self {
        Self {
            certificate: "/etc/driftd/tls/tls.crt".into(),
            key: "/etc/driftd/tls/tls.key".into(),
            reload_interval: HumanDuration(Duration::from_secs(10)),
        }
    }
}

/// The section `modes`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Modes {
    /// Behind the queue-proxy: `user_port` or `none`.
    pub knative: ModeConfig,
    /// Behind the agent behind the queue-proxy: `component_port` or `none`.
    pub knative_with_agent: ModeConfig,
    /// Straight behind a Service: `move_port` or `none`.
    pub standard: ModeConfig,
    /// Behind the agent: `component_port` or `none`.
    pub standard_with_agent: ModeConfig,
}

/// How the sidecar gets into pods of one kind.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModeConfig {
    /// Into the path of requests.
    pub tap: Tap,
    /// Into the pod. Default `container`.
    #[serde(default, rename = "as")]
    pub form: Form,
}

/// What the sidecar is among the containers of its pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// One of `containers`: known to every Kubernetes.
    #[default]
    Container,
    /// One of `initContainers` with `restartPolicy: Always`: starts before the server and ends after it, from Kubernetes 1.29 on.
    Native,
}

impl Default for Modes {
    fn default() -> Self {
        let with = |tap| ModeConfig { tap, form: Form::Container };
        Self {
            knative: with(Tap::UserPort),
            knative_with_agent: with(Tap::ComponentPort),
            standard: with(Tap::MovePort),
            standard_with_agent: with(Tap::ComponentPort),
        }
    }
}

impl Modes {
    /// Of one of them.
    pub const fn of(self, mode: Mode) -> ModeConfig {
        match mode {
            Mode::Knative => self.knative,
            Mode::KnativeWithAgent => self.knative_with_agent,
            Mode::Standard => self.standard,
            Mode::StandardWithAgent => self.standard_with_agent,
        }
    }

    fn check(self) -> Result<(), ConfigError> {
        let possible = [
            (Mode::Knative, Tap::UserPort),
            (Mode::KnativeWithAgent, Tap::ComponentPort),
            (Mode::Standard, Tap::MovePort),
            (Mode::StandardWithAgent, Tap::ComponentPort),
        ];
        for (mode, tap) in possible {
            let configured = self.of(mode).tap;
            if configured != tap && configured != Tap::None {
                return Err(ConfigError::invalid(
                    format!("modes.{}.tap", mode.as_str()),
                    format!(
                        "is `{}`, which such pods have no place for; write `{}` or `none`",
                        configured.as_str(),
                        tap.as_str()
                    ),
                ));
            }
        }
        Ok(())
    }
}

/// The section `sidecar`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SidecarConfig {
    /// Its image, of the same version as the webhook's: the webhook checks the configuration that it will read.
    pub image: String,
    /// As in a pod. Default: what Kubernetes makes of the image's tag.
    #[serde(default)]
    pub image_pull_policy: Option<PullPolicy>,
    /// Its user. Default 65532; `null`: the image's.
    #[serde(default = "default_user")]
    pub run_as_user: Option<u32>,
    /// Its ports.
    #[serde(default)]
    pub ports: Ports,
    /// What it asks for.
    #[serde(default)]
    pub resources: Resources,
    /// Whether pods without annotations for Prometheus get them. Default `false`: a `PodMonitor` would scrape twice.
    #[serde(default)]
    pub scrape_annotations: bool,
    /// Whether windows outlive a restart of the container. Default `true`.
    #[serde(default = "default_state")]
    pub state: bool,
    /// The section `evaluation` of its configuration.
    #[serde(default)]
    pub evaluation: Map<String, Value>,
    /// The section `metrics` of its configuration.
    #[serde(default)]
    pub metrics: Map<String, Value>,
    /// The section `pipeline` of its configuration.
    #[serde(default)]
    pub pipeline: Map<String, Value>,
}

/// When an image is pulled.
#[derive(Clone, Copy, Debug, Deserialize, serde::Serialize)]
pub enum PullPolicy {
    /// At every start.
    Always,
    /// Where it is not there.
    IfNotPresent,
    /// It has to be there.
    Never,
}

/// Ports that are added to a pod, on whose network all its containers are.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ports {
    /// Where the sidecar takes requests, but in the place of a server that moved. Default 18080.
    pub proxy: u16,
    /// Where a server moves to. Default 18081.
    pub model: u16,
    /// Where the sidecar has its metrics and health. Default 9464.
    pub admin: u16,
}

impl Default for Ports {
    fn default() -> Self {
        Self { proxy: 18080, model: 18081, admin: 9464 }
    }
}

fn default_listen() -> SocketAddr {
    SocketAddr::from(([0, 0, 0, 0], 9443))
}

fn default_admin() -> SocketAddr {
    SocketAddr::from(([0, 0, 0, 0], 9464))
}

const fn default_max_body_bytes() -> ByteSize {
    ByteSize(4 << 20)
}

const fn default_max_connections() -> usize {
    256
}

const fn default_max_in_flight() -> usize {
    1024
}

const fn default_shutdown_delay() -> HumanDuration {
    HumanDuration(Duration::from_secs(5))
}

fn default_components() -> Vec<String> {
    vec!["predictor".to_owned()]
}

#[expect(clippy::unnecessary_wraps, reason = "serde wants the field's type")]
const fn default_user() -> Option<u32> {
    Some(65532)
}

const fn default_state() -> bool {
    true
}

/// A configuration that has been checked as a whole.
#[derive(Clone, Debug)]
pub struct WebhookConfig {
    /// Where the API server calls.
    pub listen: SocketAddr,
    /// Where metrics and health are.
    pub admin: SocketAddr,
    /// The certificate.
    pub tls: RawTls,
    /// A longer review is let through.
    pub max_body_bytes: usize,
    /// Connections at most.
    pub max_connections: usize,
    /// Reviews in memory at most.
    pub max_in_flight: usize,
    /// How long it goes on after the stop signal.
    pub shutdown_delay: Duration,
    /// What it does with pods.
    pub inject: InjectConfig,
}

/// What is done with pods: all that [`review`](super::review) knows.
#[derive(Clone, Debug)]
pub struct InjectConfig {
    /// Components whose pods get a sidecar.
    pub components: Vec<String>,
    /// How it gets into them.
    pub modes: Modes,
    /// What it is.
    pub sidecar: SidecarConfig,
}

impl WebhookConfig {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// [`ConfigError`] names the file, the key and what to do.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        Self::parse(&text, path)
    }

    /// The same from text; `path` is for errors.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let raw: RawWebhookConfig = serde_saphyr::from_str(text)
            .map_err(|error| ConfigError::Parse { path: path.to_owned(), message: error.to_string() })?;
        Self::try_from(raw)
    }
}

impl TryFrom<RawWebhookConfig> for WebhookConfig {
    type Error = ConfigError;

    fn try_from(raw: RawWebhookConfig) -> Result<Self, ConfigError> {
        raw.modes.check()?;
        let bounds = [
            ("max_connections", raw.max_connections, 100_000),
            ("max_in_flight", raw.max_in_flight, 100_000),
            ("max_body_bytes", raw.max_body_bytes.0, 64 << 20),
        ];
        for (key, value, max) in bounds {
            if !(1..=max).contains(&value) {
                return Err(ConfigError::invalid(
                    key,
                    format!("is {value}; write a number between 1 and {max}"),
                ));
            }
        }
        if raw.tls.reload_interval.0.is_zero() {
            return Err(ConfigError::invalid("tls.reload_interval", "is zero; write `10s`"));
        }
        let sidecar = &raw.sidecar;
        if sidecar.image.is_empty() || sidecar.image.trim() != sidecar.image {
            return Err(ConfigError::invalid(
                "sidecar.image",
                "is not an image; write `registry/driftd:0.1.0`",
            ));
        }
        let Ports { proxy, model, admin } = sidecar.ports;
        if [proxy, model, admin].contains(&0) || proxy == model || proxy == admin || model == admin {
            return Err(ConfigError::invalid("sidecar.ports", "must be three different ports"));
        }
        if sidecar.run_as_user.is_some_and(|user| user == 0 || user == 1337) {
            let problem = "must not be 0, as it is no root, nor 1337, whose traffic Istio lets pass by";
            return Err(ConfigError::invalid("sidecar.run_as_user", problem));
        }
        let refuse = |key: &'static str| move |problem: String| ConfigError::invalid(key, problem);
        sidecar.resources.check().map_err(refuse("sidecar.resources"))?;
        // What no annotation can mend is found here and not in every pod.
        let place = Place { tap: Tap::UserPort, listen: proxy, upstream: 8080 };
        sidecar::check_text(&sidecar::plainest_text(sidecar, place)).map_err(|error| {
            ConfigError::invalid("sidecar", format!("gives a configuration that is refused: {error}"))
        })?;
        Ok(Self {
            listen: raw.listen,
            admin: raw.admin,
            tls: raw.tls,
            max_body_bytes: raw.max_body_bytes.0,
            max_connections: raw.max_connections,
            max_in_flight: raw.max_in_flight,
            shutdown_delay: raw.shutdown_delay.0,
            inject: InjectConfig { components: raw.components, modes: raw.modes, sidecar: raw.sidecar },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_refused(yaml: &str, expected: &str) {
        let error =
            WebhookConfig::parse(yaml, Path::new("webhook.yaml")).expect_err("must be refused").to_string();
        assert!(error.contains(expected), "error is {error:?}, expected it to contain {expected:?}");
    }

    #[test]
    fn the_smallest_file_gets_the_documented_defaults() {
        let config = WebhookConfig::parse("sidecar: {image: driftd:1}", Path::new("webhook.yaml")).unwrap();
        assert_eq!(config.listen.port(), 9443);
        assert_eq!(config.max_body_bytes, 4 << 20);
        assert_eq!(config.inject.components, ["predictor"]);
        assert_eq!(config.inject.modes.standard.tap, Tap::MovePort);
        assert_eq!(config.inject.sidecar.run_as_user, Some(65532));
    }

    #[test]
    fn the_file_of_the_documentation_says_the_defaults() {
        let page = include_str!("../../docs/webhook.md");
        let yaml = page.rsplit("```yaml\n").next().and_then(|rest| rest.split("```").next()).unwrap();
        let written = WebhookConfig::parse(yaml, Path::new("docs/webhook.md")).unwrap();
        let smallest = "sidecar: {image: driftd:0.1.0, image_pull_policy: IfNotPresent}";
        let defaults = WebhookConfig::parse(smallest, Path::new("webhook.yaml")).unwrap();
        assert_eq!(format!("{written:?}"), format!("{defaults:?}"));
    }

    #[test]
    fn errors_name_the_key_and_what_to_write() {
        check_refused("{}", "sidecar");
        check_refused("sidecar: {image: driftd:1, imagePullPolicy: Always}", "imagePullPolicy");
        check_refused("sidecar: {image: ' '}", "`sidecar.image` is not an image");
        check_refused("sidecar: {image: d, ports: {proxy: 9464}}", "three different ports");
        check_refused("sidecar: {image: d, run_as_user: 1337}", "Istio");
        check_refused("sidecar: {image: d, resources: {memory_request: 1Gi}}", "raise the limit");
        check_refused("sidecar: {image: d, resources: {cpu_limit: lots}}", "`lots` is not an amount");
        check_refused("sidecar: {image: d, evaluation: {intervall: 10s}}", "intervall");
        check_refused("{sidecar: {image: d}, modes: {knative: {tap: move_port}}}", "`user_port` or `none`");
        check_refused("{sidecar: {image: d}, max_in_flight: 0}", "`max_in_flight` is 0");
    }
}
