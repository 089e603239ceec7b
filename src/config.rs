//! What the configuration file may say ([`RawConfig`]), and what the daemon runs on ([`Config`]).
//!
//! The file is YAML and strict: a misspelt key is an error, never a silent default. Sizes and durations are written
//! with their units (`1MiB`, `10s`).

mod budget;
mod cloudevents;
mod evaluation;
mod logs;
mod model;
mod proxy;
mod units;
mod unknown;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

pub use budget::{Budget, BudgetError};
pub use cloudevents::{CloudEventsConfig, RawCloudEvents};
pub use evaluation::{
    EvaluationConfig, FeatureThresholds, RawEvaluation, RawReference, RawSensitivity, Window,
};
pub use logs::{Fields, LogsConfig, Named, RawLines, RawLogFormat, RawLogs, RawReadFrom};
pub use model::{BaselinePlace, ModelConfig, RawModel};
pub use proxy::{ProxyConfig, RawProxy};
pub use units::{ByteSize, HumanDuration};
pub use unknown::{LearnConfig, RawLearn, RawUnknownModels};

/// The file of `driftd run --config`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawConfig {
    /// Where `/metrics`, `/livez`, `/readyz` and the API are served. Default `0.0.0.0:9464`.
    #[serde(default = "default_admin")]
    pub admin: SocketAddr,
    /// Where windows are kept over a restart, together with how far logs have been read; a folder of this process alone. Absent:
    /// nothing is kept.
    #[serde(default)]
    pub state_dir: Option<PathBuf>,
    /// The models watched, each against its own baseline.
    #[serde(default)]
    pub models: Vec<RawModel>,
    /// A folder of baselines, each a model to watch: `<model>.json`, and `<namespace>/<inferenceservice>.json`. Looked at
    /// once an interval.
    pub models_dir: Option<PathBuf>,
    /// Models at most, those of `models` and of `models_dir` together. Default 1000. Each takes memory for its windows, most of it
    /// 4 bytes a bin, slot and window.
    #[serde(default = "default_max_models")]
    pub max_models: usize,
    /// What becomes of traffic for a model that is in neither: `ignore`, the default, or `{learn: {rows: 10000}}`.
    #[serde(default)]
    pub unknown_models: RawUnknownModels,
    /// When and over which windows drift is judged.
    #[serde(default)]
    pub evaluation: RawEvaluation,
    /// The ways traffic comes in.
    #[serde(default)]
    pub taps: Vec<RawTap>,
    /// Bounds of what `/metrics` shows.
    #[serde(default)]
    pub metrics: RawMetrics,
    /// The queue between taps and counting.
    #[serde(default)]
    pub pipeline: RawPipeline,
    /// How long requests in flight may take to complete after SIGTERM. Default `30s`.
    #[serde(default = "default_grace")]
    pub shutdown_grace: HumanDuration,
}

/// One entry of `taps`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RawTap {
    /// A reverse proxy in front of the model server.
    Proxy(RawProxy),
    /// A sink for KServe's inference logger.
    CloudEvents(RawCloudEvents),
    /// Files that somebody else writes requests and responses into.
    Logs(Box<RawLogs>),
}

/// The section `metrics`.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawMetrics {
    /// Series of features a process may export; features past it are still judged, and counted as cut. Default 20000.
    pub max_series: usize,
}

/// The section `pipeline`.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawPipeline {
    /// Threads that decode and count, each with its own queue and counters. Default 1, enough for a pod; a daemon wants more.
    pub shards: usize,
    /// Exchanges one shard's queue holds; more are dropped and counted. Default 4096. Memory is bounded by
    /// `max_mirrored_bytes` of the tap, not by this.
    pub queue_capacity: usize,
}

impl Default for RawMetrics {
    fn default() -> Self {
        Self { max_series: 20_000 }
    }
}

impl Default for RawPipeline {
    fn default() -> Self {
        Self { shards: 1, queue_capacity: 4096 }
    }
}

const fn default_admin() -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 9464)
}

const fn default_max_models() -> usize {
    1000
}

const fn default_grace() -> HumanDuration {
    HumanDuration(Duration::from_secs(30))
}

/// Who we watch for: not in the file, as in a pod the downward API knows it (`DRIFTD_NAMESPACE`, `DRIFTD_INFERENCESERVICE`).
#[derive(Clone, Debug, Default)]
pub struct Identity {
    /// Label `namespace` of every model series.
    pub namespace: String,
    /// Label `inferenceservice` of every model series.
    pub inferenceservice: String,
    /// Label `component` of `driftd_model_info`.
    pub component: String,
    /// Label `revision` of `driftd_model_info`.
    pub revision: String,
    /// Where the model is served from; in `driftd_model_info` as a hash.
    pub storage_uri: String,
}

/// The ways traffic comes in: at least one, of those that listen one of a kind at most, and logs by themselves: the time of
/// their rows is the clock of their models.
#[derive(Clone, Debug, Default)]
pub struct Taps {
    /// A reverse proxy in front of the model server.
    pub proxy: Option<ProxyConfig>,
    /// A sink for KServe's inference logger.
    pub cloudevents: Option<CloudEventsConfig>,
    /// Files.
    pub logs: Vec<LogsConfig>,
}

impl Taps {
    /// The longest body that any of those that listen hands on.
    pub fn max_body_bytes(&self) -> usize {
        let of_proxy = self.proxy.as_ref().map(|proxy| proxy.max_body_bytes);
        let of_sink = self.cloudevents.as_ref().map(|sink| sink.max_body_bytes);
        of_proxy.max(of_sink).unwrap_or_default()
    }
}

impl TryFrom<Vec<RawTap>> for Taps {
    type Error = ConfigError;

    fn try_from(raw: Vec<RawTap>) -> Result<Self, ConfigError> {
        if raw.is_empty() {
            return Err(ConfigError::invalid(
                "taps",
                "is empty; add `- proxy: {listen: 0.0.0.0:8080, upstream: http://127.0.0.1:8081}`",
            ));
        }
        let mut taps = Self::default();
        for tap in raw {
            let is_second = match tap {
                RawTap::Proxy(proxy) => taps.proxy.replace(proxy.try_into()?).is_some(),
                RawTap::CloudEvents(sink) => taps.cloudevents.replace(sink.try_into()?).is_some(),
                RawTap::Logs(logs) => {
                    taps.logs.push((*logs).try_into()?);
                    false
                }
            };
            if is_second {
                return Err(ConfigError::invalid("taps", "has two of one kind; run one driftd for each"));
            }
        }
        for (idx, logs) in taps.logs.iter().enumerate() {
            if taps.logs[..idx].iter().any(|other| other.key() == logs.key()) {
                return Err(ConfigError::invalid(
                    "taps",
                    format!("has two `logs` that read the same from {:?}; remove one of them", logs.include),
                ));
            }
        }
        if !taps.logs.is_empty() && (taps.proxy.is_some() || taps.cloudevents.is_some()) {
            return Err(ConfigError::invalid(
                "taps",
                "has `logs` beside a tap of live traffic; rows of logs have a time of their own: run one driftd for each",
            ));
        }
        Ok(taps)
    }
}

/// A configuration that has been checked as a whole.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the admin listener binds.
    pub admin: SocketAddr,
    /// Where windows are kept over a restart.
    pub state_dir: Option<PathBuf>,
    /// The models watched.
    pub models: Vec<ModelConfig>,
    /// A folder of more.
    pub models_dir: Option<PathBuf>,
    /// How many of both.
    pub max_models: usize,
    /// How models that are in neither are learnt, if they are.
    pub learn: Option<LearnConfig>,
    /// When and over which windows drift is judged.
    pub evaluation: EvaluationConfig,
    /// The ways traffic comes in.
    pub taps: Taps,
    /// Series of features a process may export.
    pub max_series: usize,
    /// Threads that decode and count.
    pub n_shards: usize,
    /// Exchanges one shard's queue holds.
    pub queue_capacity: usize,
    /// How long requests in flight may take after the stop signal.
    pub shutdown_grace: Duration,
}

/// Why a configuration cannot be run on.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read configuration {}; check `--config`", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not what [`RawConfig`] describes.
    #[error("configuration {}: {message}", .path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and what, in the parser's words.
        message: String,
    },
    /// A value is out of its range, or two contradict each other.
    #[error("`{key}` {problem}")]
    Invalid {
        /// The key, as written in the file.
        key: String,
        /// What is wrong and what to write instead.
        problem: String,
    },
}

impl ConfigError {
    pub(crate) fn invalid(key: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Invalid { key: key.into(), problem: problem.into() }
    }
}

impl Config {
    /// Every default, around one proxy: what the flags of `driftd run` can say.
    pub fn new(proxy: ProxyConfig, models: Vec<ModelConfig>) -> Self {
        let (metrics, pipeline) = (RawMetrics::default(), RawPipeline::default());
        Self {
            admin: default_admin(),
            state_dir: None,
            models,
            models_dir: None,
            max_models: default_max_models(),
            learn: None,
            evaluation: EvaluationConfig::default(),
            taps: Taps { proxy: Some(proxy), ..Taps::default() },
            max_series: metrics.max_series,
            n_shards: pipeline.shards,
            queue_capacity: pipeline.queue_capacity,
            shutdown_grace: default_grace().0,
        }
    }

    /// Reads and checks a file.
    ///
    /// # Errors
    /// [`ConfigError`] names the file, the key and what to do.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        Self::read_for(path, None)
    }

    /// The same in a pod that serves a model from `storage_uri`: where the file has one model and does not say where that is served
    /// from, it is there.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_for(path: &Path, storage_uri: Option<&str>) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        Self::parse_for(&text, path, storage_uri)
    }

    /// The same from text; `path` is for errors.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn parse_for(text: &str, path: &Path, storage_uri: Option<&str>) -> Result<Self, ConfigError> {
        let mut raw: RawConfig = serde_saphyr::from_str(text)
            .map_err(|error| ConfigError::Parse { path: path.to_owned(), message: error.to_string() })?;
        if let ([model], Some(uri)) = (&mut *raw.models, storage_uri) {
            model.storage_uri.get_or_insert_with(|| uri.to_owned());
        }
        Self::try_from(raw)
    }
}

impl TryFrom<RawConfig> for Config {
    type Error = ConfigError;

    fn try_from(raw: RawConfig) -> Result<Self, ConfigError> {
        let models = ModelConfig::all(raw.models)?;
        if models.len() > raw.max_models {
            return Err(ConfigError::invalid(
                "max_models",
                format!("is {}, and `models` has {} entries; raise it", raw.max_models, models.len()),
            ));
        }
        if !(1..=256).contains(&raw.pipeline.shards) {
            return Err(ConfigError::invalid("pipeline.shards", "must be between 1 and 256"));
        }
        if raw.pipeline.queue_capacity == 0 {
            return Err(ConfigError::invalid("pipeline.queue_capacity", "must be at least 1"));
        }
        Ok(Self {
            admin: raw.admin,
            state_dir: raw.state_dir,
            models,
            models_dir: raw.models_dir,
            max_models: raw.max_models,
            learn: LearnConfig::of(raw.unknown_models)?,
            evaluation: EvaluationConfig::try_from(raw.evaluation)?,
            taps: raw.taps.try_into()?,
            max_series: raw.metrics.max_series,
            n_shards: raw.pipeline.shards,
            queue_capacity: raw.pipeline.queue_capacity,
            shutdown_grace: raw.shutdown_grace.0,
        })
    }
}

#[cfg(test)]
mod tests;
