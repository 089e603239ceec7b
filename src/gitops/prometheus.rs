//! What Prometheus is asked, and how: instant queries whose label values are quoted here, and answers in which "no", "no data"
//! and "no answer" are three things.
//!
//! An instant query gives the last value of up to five minutes ago as if it were of now, so every selector that a decision
//! rests on goes through `Prometheus::fresh`.

mod facts;
mod questions;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use chrono::DateTime;
use serde::Deserialize;

use super::config::PrometheusConfig;
use super::http::{Access, HttpError, Scheme, Service};
use super::incident::Timestamp;
use super::target::ServiceName;
pub use facts::{Measured, ServingVersion};

/// The label and its value that a rule has whose alert may roll a version back.
pub const ROLLBACK: (&str, &str) = ("driftd_action", "rollback");

/// Why a query has no answer.
#[derive(Debug, thiserror::Error)]
pub enum PrometheusError {
    /// Nobody answered, or with an error.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// It answered with a part of what it should have: a store behind it failed.
    #[error("Prometheus answered in part: {0}")]
    Partial(String),
    /// It answered with something else than a vector.
    #[error("Prometheus answered with {0} where a vector was asked for")]
    Shape(String),
}

/// One series, and its value at the time of the query.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// All but the name.
    pub labels: BTreeMap<String, String>,
    /// Never NaN: a value that is none is no sample.
    pub value: f64,
    /// The time of the query.
    pub timestamp: Timestamp,
}

impl Sample {
    /// A label; one that is not there is empty, as Prometheus has it.
    pub fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }
}

/// An alert that fires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FiringAlert {
    /// `alertname`.
    pub name: String,
    /// All of its labels, its name among them; without the external ones, which Prometheus adds as it sends it.
    pub labels: BTreeMap<String, String>,
    /// Since when its expression holds, which is before it fired.
    pub active_at: Timestamp,
}

/// What is known of a question, with the figures it rests on, for the audit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// So it is.
    Yes(String),
    /// So it is not.
    No(String),
    /// Nobody can tell: no data, old data, no answer. Never a reason to act, and never one to be content.
    Unknown(String),
}

impl Answer {
    /// The figures.
    pub fn text(&self) -> &str {
        match self {
            Self::Yes(text) | Self::No(text) | Self::Unknown(text) => text,
        }
    }

    /// Whether it is so for certain.
    pub const fn is_yes(&self) -> bool {
        matches!(self, Self::Yes(_))
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let word = match self {
            Self::Yes(_) => "yes",
            Self::No(_) => "no",
            Self::Unknown(_) => "unknown",
        };
        write!(f, "{word}: {}", self.text())
    }
}

/// A Prometheus, or what speaks its API. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Prometheus {
    service: Service,
    timeout: Duration,
    max_age: Duration,
}

impl Prometheus {
    /// Without asking it anything yet.
    ///
    /// # Errors
    /// [`HttpError`] if the authorities cannot be read.
    pub fn new(config: &PrometheusConfig) -> Result<Self, HttpError> {
        let service = Service::new(&Access {
            who: "Prometheus",
            url: &config.url,
            token: config.bearer_token_file.as_deref().map(|path| (Scheme::Bearer, path)),
            ca_file: config.ca_file.as_deref(),
            timeout: config.timeout,
        })?;
        Ok(Self { service, timeout: config.timeout, max_age: config.max_age })
    }

    /// What an expression is now.
    ///
    /// # Errors
    /// [`PrometheusError`]; an empty vector is none.
    pub async fn query(&self, promql: &str) -> Result<Vec<Sample>, PrometheusError> {
        self.query_at(promql, None).await
    }

    /// What it was at a time; absent: now.
    ///
    /// # Errors
    /// As [`Self::query`].
    pub async fn query_at(
        &self,
        promql: &str,
        at: Option<Timestamp>,
    ) -> Result<Vec<Sample>, PrometheusError> {
        let timeout = format!("{}ms", self.timeout.as_millis());
        let time = at.map(unix);
        let mut query = vec![("query", promql), ("timeout", &timeout)];
        query.extend(time.as_deref().map(|time| ("time", time)));
        let answer: RawAnswer<RawData> = self.service.get(&["api", "v1", "query"], &query).await?;
        let data = answer.whole()?;
        if data.kind != "vector" {
            return Err(PrometheusError::Shape(data.kind));
        }
        Ok(data.result.into_iter().filter_map(RawSample::read).collect())
    }

    /// The alerts that fire and ask for a rollback, for a replica that has just become the active one: whoever delivers them
    /// does so again only after hours.
    ///
    /// # Errors
    /// As [`Self::query`].
    pub async fn firing_rollbacks(&self) -> Result<Vec<FiringAlert>, PrometheusError> {
        let answer: RawAnswer<RawAlerts> = self.service.get(&["api", "v1", "alerts"], &[]).await?;
        let alerts = answer.whole()?.alerts.into_iter();
        let is_meant = |alert: &RawAlert| {
            alert.state == "firing" && alert.labels.get(ROLLBACK.0).is_some_and(|action| action == ROLLBACK.1)
        };
        let read = |alert: RawAlert| FiringAlert {
            name: alert.labels.get("alertname").cloned().unwrap_or_default(),
            labels: alert.labels,
            active_at: alert.active_at,
        };
        Ok(alerts.filter(is_meant).map(read).collect())
    }

    /// The series of a selector whose last value is not old. A target that is gone has none at once (Prometheus marks them), one
    /// that is only slow, or behind a remote write that hangs, is told by its time stamp.
    fn fresh(&self, selector: &str) -> String {
        let max_age = self.max_age.as_secs_f64();
        format!("({selector} and (time() - timestamp({selector}) <= {max_age}))")
    }
}

/// `{namespace="…",inferenceservice="…"` and further matchers, for the series of a service.
fn selector(metric: &str, service: &ServiceName, more: &[String]) -> String {
    let mut matchers = vec![
        matcher("namespace", "=", service.namespace()),
        matcher("inferenceservice", "=", service.name()),
    ];
    matchers.extend_from_slice(more);
    format!("{metric}{{{}}}", matchers.join(","))
}

/// A matcher whose value is just this text, whatever it holds.
pub fn matcher(label: &str, operator: &str, value: &str) -> String {
    format!("{label}{operator}{}", quoted(value))
}

/// A matcher for any of these texts.
pub fn matcher_any(label: &str, values: &[&str]) -> String {
    let escape = |value: &&str| {
        let mut pattern = String::new();
        for char in value.chars() {
            if r"\.+*?()|[]{}^$".contains(char) {
                pattern.push('\\');
            }
            pattern.push(char);
        }
        pattern
    };
    matcher(label, "=~", &values.iter().map(escape).collect::<Vec<_>>().join("|"))
}

/// A string as PromQL writes it, which is as Go does.
fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for char in text.chars() {
        match char {
            '"' | '\\' => quoted.extend(['\\', char]),
            char if char.is_control() => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(char)); // to a string: cannot fail
            }
            char => quoted.push(char),
        }
    }
    quoted.push('"');
    quoted
}

fn unix(time: Timestamp) -> String {
    format!("{}.{:03}", time.timestamp(), time.timestamp_subsec_millis())
}

#[derive(Deserialize)]
struct RawAnswer<T> {
    data: T,
    #[serde(default)]
    warnings: Vec<String>,
}

impl<T> RawAnswer<T> {
    /// A part would read as "there are no others".
    fn whole(self) -> Result<T, PrometheusError> {
        match self.warnings.first() {
            Some(warning) => Err(PrometheusError::Partial(warning.chars().take(300).collect())),
            None => Ok(self.data),
        }
    }
}

#[derive(Deserialize)]
struct RawData {
    #[serde(rename = "resultType")]
    kind: String,
    #[serde(deserialize_with = "samples")]
    result: Vec<RawSample>,
}

/// A scalar's result is a pair and no list of series; its kind is told before that matters.
fn samples<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<RawSample>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Series(Vec<RawSample>),
        Other(#[allow(dead_code, reason = "read, so that the rest of the answer is")] serde::de::IgnoredAny),
    }
    Ok(match Either::deserialize(deserializer)? {
        Either::Series(series) => series,
        Either::Other(_) => Vec::new(),
    })
}

#[derive(Deserialize)]
struct RawSample {
    metric: BTreeMap<String, String>,
    value: (f64, String),
}

impl RawSample {
    fn read(self) -> Option<Sample> {
        let mut labels = self.metric;
        labels.remove("__name__");
        let value: f64 = self.value.1.parse().ok()?;
        #[allow(clippy::cast_possible_truncation, reason = "milliseconds of a time near now")]
        let timestamp = DateTime::from_timestamp_millis((self.value.0 * 1000.0).round() as i64)?;
        (!value.is_nan()).then_some(Sample { labels, value, timestamp })
    }
}

#[derive(Deserialize)]
struct RawAlerts {
    alerts: Vec<RawAlert>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawAlert {
    labels: BTreeMap<String, String>,
    state: String,
    active_at: Timestamp,
}

#[cfg(test)]
mod tests;
