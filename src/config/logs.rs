//! The section `taps: [logs: …]`.

use std::time::Duration;

use serde::Deserialize;

use super::{ByteSize, ConfigError, HumanDuration};
use crate::storage::Location;

/// Requests and responses that somebody else wrote into files.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawLogs {
    /// Files, as patterns like `/var/log/credit/*.jsonl*`; rotated and compressed ones (`.gz`, `.zst`) are read once, whatever
    /// they are called by then. `-` is standard input. `s3://bucket/prefix/`, `gs://…` and `az://…`, patterns of them too, are
    /// objects, each of which is read once.
    pub include: Vec<String>,
    /// Patterns of files to leave out.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// What the files hold. Default `jsonl`.
    #[serde(default)]
    pub format: RawLogFormat,
    /// What a line is wrapped in. Default `auto`: by its first bytes.
    #[serde(default)]
    pub lines: RawLines,
    /// The model's name, or where it stands in a line if it begins with `/`. Absent: told by the bodies, or the only one there is.
    pub model: Option<String>,
    /// Its version, likewise.
    pub version: Option<String>,
    /// Its namespace, likewise.
    pub namespace: Option<String>,
    /// Its `InferenceService`, likewise.
    pub inferenceservice: Option<String>,
    /// JSON pointer to the features of one row: an object by name, a list by position.
    pub features: Option<String>,
    /// JSON pointer to its prediction: a value, a list or an object.
    pub prediction: Option<String>,
    /// JSON pointer to a whole request in a wire format, as JSON or as a text that holds it, plain or in base64.
    pub request: Option<String>,
    /// JSON pointer to its response, likewise.
    pub response: Option<String>,
    /// JSON pointer to when it was: RFC 3339, or a number since 1970 in seconds, milli-, micro- or nanoseconds, told apart by its
    /// size. Absent: when the line was written (where lines are wrapped) or read.
    pub timestamp: Option<String>,
    /// JSON pointer to the request's path, which tells the wire format and the model.
    pub path: Option<String>,
    /// JSON pointer to the response's status; only answers of 200 are counted.
    pub status: Option<String>,
    /// JSON pointer to what a request and its response have in common, where they are lines of their own.
    pub id: Option<String>,
    /// Of KServe's records, those of other components are left out: each sees the traffic in its own form. Default `predictor`.
    #[serde(default = "default_component")]
    pub component: String,
    /// Where to begin in files that are there at the first start. Default `beginning`.
    #[serde(default)]
    pub read_from: RawReadFrom,
    /// Share of exchanges that are counted, 0 to 1. Default 1.
    #[serde(default = "default_sample_rate")]
    pub sample_rate: f64,
    /// A longer line is passed over: `too_large`. Default `1MiB`.
    #[serde(default = "default_max_line_bytes")]
    pub max_line_bytes: ByteSize,
    /// Files followed at most; the newest are. Default 10000.
    #[serde(default = "default_max_files")]
    pub max_files: usize,
    /// How often it is looked which objects there are. Default `30s`.
    #[serde(default = "default_list_interval")]
    pub list_interval: HumanDuration,
    /// A larger object is passed over: `too_large`. Twice as much is held at most. Default `64MiB`.
    #[serde(default = "default_max_object_bytes")]
    pub max_object_bytes: ByteSize,
    /// How long a request waits for its response, or the other way round; then it is lost as `unpaired`. Default `60s`.
    #[serde(default = "default_pair_timeout")]
    pub pair_timeout: HumanDuration,
    /// How many wait at most; past it the oldest is lost as `pairs_full`. Default 10000.
    #[serde(default = "default_max_pairs")]
    pub max_pairs: usize,
    /// Those that wait together; past it they are dropped as `over_budget`. Default `64MiB`.
    #[serde(default = "default_max_mirrored_bytes")]
    pub max_mirrored_bytes: ByteSize,
}

/// What a file of logs holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RawLogFormat {
    /// A JSON object a line, of which pointers say what is what.
    #[default]
    Jsonl,
    /// Envoy's or Istio's JSON access log: the same with `/path`, `/response_code`, `/start_time` unless said otherwise.
    Envoy,
    /// What KServe's logger stores: objects of one record or a batch, as JSON, CSV or Parquet; and its events as lines.
    KServe,
}

/// What lines are wrapped in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RawLines {
    /// Told by the first bytes of each file.
    #[default]
    Auto,
    /// In nothing.
    Plain,
    /// As container runtimes write them (`/var/log/containers`): time, stream, and whether more follows.
    Cri,
    /// As Docker's `json-file` driver does.
    Docker,
}

/// Where to begin in a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RawReadFrom {
    /// With its first line.
    #[default]
    Beginning,
    /// With what is written from now on.
    End,
}

fn default_component() -> String {
    "predictor".to_owned()
}

const fn default_sample_rate() -> f64 {
    1.0
}

const fn default_max_line_bytes() -> ByteSize {
    ByteSize(1 << 20)
}

const fn default_max_files() -> usize {
    10_000
}

const fn default_list_interval() -> HumanDuration {
    HumanDuration(Duration::from_secs(30))
}

const fn default_max_object_bytes() -> ByteSize {
    ByteSize(64 << 20)
}

const fn default_pair_timeout() -> HumanDuration {
    HumanDuration(Duration::from_mins(1))
}

const fn default_max_pairs() -> usize {
    10_000
}

const fn default_max_mirrored_bytes() -> ByteSize {
    ByteSize(64 << 20)
}

/// A name that is the same for all lines, or that each has its own of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named {
    /// Told by the bodies, if at all.
    Untold,
    /// This one.
    Always(String),
    /// What a JSON pointer leads to.
    At(String),
}

impl Named {
    fn new(raw: Option<String>) -> Self {
        match raw {
            None => Self::Untold,
            Some(pointer) if pointer.starts_with('/') => Self::At(pointer),
            Some(name) => Self::Always(name),
        }
    }

    /// The JSON pointer, if it is one.
    pub fn pointer(&self) -> Option<&str> {
        match self {
            Self::At(pointer) => Some(pointer),
            Self::Untold | Self::Always(_) => None,
        }
    }
}

/// Requests and responses that somebody else wrote into files.
#[derive(Clone, Debug)]
pub struct LogsConfig {
    /// As written: patterns of files, `-`, and URIs of [`Self::objects`].
    pub include: Vec<String>,
    /// Those of `include` that are in object stores.
    pub objects: Vec<Location>,
    /// Patterns of files and objects that are left out.
    pub exclude: Vec<glob::Pattern>,
    /// What they hold.
    pub format: RawLogFormat,
    /// What lines are wrapped in.
    pub lines: RawLines,
    /// Where the parts of a line stand.
    pub fields: Fields,
    /// Whose records are counted, of KServe's.
    pub component: String,
    /// Where to begin in files that are there at the first start.
    pub read_from: RawReadFrom,
    /// Share of exchanges that are counted.
    pub sample_rate: f64,
    /// A longer line is passed over.
    pub max_line_bytes: usize,
    /// Files followed at most.
    pub max_files: usize,
    /// How often it is looked which objects there are.
    pub list_interval: Duration,
    /// A larger object is passed over.
    pub max_object_bytes: u64,
    /// How long one half of an exchange waits for the other.
    pub pair_timeout: Duration,
    /// How many halves wait at most.
    pub max_pairs: usize,
    /// Those that wait together.
    pub max_mirrored_bytes: usize,
}

impl LogsConfig {
    /// What makes a source the same one after a restart.
    pub fn key(&self) -> String {
        format!("{} {:?} {:?}", self.include.join(" "), self.format, self.fields)
    }

    /// Patterns of files of this machine.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.include.iter().map(String::as_str).filter(|pattern| *pattern != "-" && !is_uri(pattern))
    }
}

/// Where the parts of a line stand, as JSON pointers.
#[derive(Clone, Debug)]
pub struct Fields {
    /// The model's name.
    pub model: Named,
    /// Its version.
    pub version: Named,
    /// Its namespace.
    pub namespace: Named,
    /// Its `InferenceService`.
    pub inferenceservice: Named,
    /// The features of one row.
    pub features: Option<String>,
    /// Its prediction.
    pub prediction: Option<String>,
    /// A whole request.
    pub request: Option<String>,
    /// A whole response.
    pub response: Option<String>,
    /// When it was.
    pub timestamp: Option<String>,
    /// The request's path.
    pub path: Option<String>,
    /// The response's status.
    pub status: Option<String>,
    /// What a request and its response have in common.
    pub id: Option<String>,
}

impl TryFrom<RawLogs> for LogsConfig {
    type Error = ConfigError;

    fn try_from(raw: RawLogs) -> Result<Self, ConfigError> {
        let invalid = |key: &str, problem: String| ConfigError::invalid(format!("logs.{key}"), problem);
        if raw.include.is_empty() {
            return Err(invalid(
                "include",
                "is empty; write a pattern like `/var/log/credit/*.jsonl`".into(),
            ));
        }
        let pattern = |key: &str, text: &str| {
            glob::Pattern::new(text).map_err(|error| invalid(key, format!("has `{text}`: {error}")))
        };
        let mut objects = Vec::new();
        for text in &raw.include {
            if is_uri(text) {
                objects.push(bucket(text).map_err(|problem| invalid("include", problem))?);
            } else {
                pattern("include", text)?;
            }
        }
        let exclude = raw.exclude.iter().map(|text| pattern("exclude", text)).collect::<Result<_, _>>()?;
        if !(0.0..=1.0).contains(&raw.sample_rate) {
            return Err(invalid(
                "sample_rate",
                format!("is {}, must be a share between 0 and 1", raw.sample_rate),
            ));
        }
        for (key, value) in [("max_files", raw.max_files), ("max_pairs", raw.max_pairs)] {
            if value == 0 {
                return Err(invalid(key, "must be at least 1".into()));
            }
        }
        if !(1024..=1 << 30).contains(&raw.max_line_bytes.0) {
            return Err(invalid("max_line_bytes", "must be between 1KiB and 1GiB".into()));
        }
        if raw.list_interval.0.is_zero() {
            return Err(invalid("list_interval", "must be more than 0".into()));
        }
        if !(1024..=1 << 32).contains(&raw.max_object_bytes.0) {
            return Err(invalid("max_object_bytes", "must be between 1KiB and 4GiB".into()));
        }
        let fields = Fields::new(&raw)?;
        Ok(Self {
            include: raw.include,
            objects,
            exclude,
            format: raw.format,
            lines: raw.lines,
            fields,
            component: raw.component,
            read_from: raw.read_from,
            sample_rate: raw.sample_rate,
            max_line_bytes: raw.max_line_bytes.0,
            max_files: raw.max_files,
            list_interval: raw.list_interval.0,
            max_object_bytes: raw.max_object_bytes.0 as u64,
            pair_timeout: raw.pair_timeout.0,
            max_pairs: raw.max_pairs,
            max_mirrored_bytes: raw.max_mirrored_bytes.0,
        })
    }
}

/// Whether it names no file: `s3://…`, also where it is one that we do not read.
fn is_uri(pattern: &str) -> bool {
    pattern.contains("://") && !pattern.starts_with('/')
}

/// An object, a folder of them or a pattern; what is wrong with it where it is none.
fn bucket(uri: &str) -> Result<Location, String> {
    let location = Location::parse(uri).map_err(|error| error.to_string())?;
    location.is_in_bucket().map_err(|error| error.to_string())?;
    Ok(location)
}

impl Fields {
    fn new(raw: &RawLogs) -> Result<Self, ConfigError> {
        let pointers = [
            ("features", &raw.features),
            ("prediction", &raw.prediction),
            ("request", &raw.request),
            ("response", &raw.response),
            ("timestamp", &raw.timestamp),
            ("path", &raw.path),
            ("status", &raw.status),
            ("id", &raw.id),
        ];
        for (key, pointer) in pointers {
            if let Some(pointer) = pointer
                && !pointer.starts_with('/')
            {
                let problem = format!("is `{pointer}`, must be a JSON pointer like `/{pointer}`");
                return Err(ConfigError::invalid(format!("logs.{key}"), problem));
            }
        }
        let (of_rows, of_bodies) = (
            raw.features.is_some() || raw.prediction.is_some(),
            raw.request.is_some() || raw.response.is_some(),
        );
        match (raw.format, of_rows, of_bodies) {
            (_, true, true) => Err(ConfigError::invalid(
                "logs.features",
                "and `prediction` are for lines of one row, `request` and `response` for lines of whole bodies; keep one of the two",
            )),
            (RawLogFormat::Jsonl, false, false) => Err(ConfigError::invalid(
                "logs",
                "says nothing of what a line holds; write `features: /features` and `prediction: /prediction`, or `request: /request` and `response: /response`",
            )),
            (RawLogFormat::KServe, ..) if pointers.iter().any(|(_, pointer)| pointer.is_some()) => {
                Err(ConfigError::invalid(
                    "logs.format",
                    "is `kserve`, whose records say themselves what is what; leave the JSON pointers out",
                ))
            }
            _ => Ok(Self {
                model: Named::new(raw.model.clone()),
                version: Named::new(raw.version.clone()),
                namespace: Named::new(raw.namespace.clone()),
                inferenceservice: Named::new(raw.inferenceservice.clone()),
                features: raw.features.clone(),
                prediction: raw.prediction.clone(),
                request: raw.request.clone(),
                response: raw.response.clone(),
                timestamp: raw.or_of_envoy(raw.timestamp.as_ref(), "/start_time"),
                path: raw.or_of_envoy(raw.path.as_ref(), "/path"),
                status: raw.or_of_envoy(raw.status.as_ref(), "/response_code"),
                id: raw.id.clone(),
            }),
        }
    }
}

impl RawLogs {
    fn or_of_envoy(&self, pointer: Option<&String>, of_envoy: &str) -> Option<String> {
        let of_envoy = || (self.format == RawLogFormat::Envoy).then(|| of_envoy.to_owned());
        pointer.cloned().or_else(of_envoy)
    }
}
