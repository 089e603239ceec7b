//! What the questions rest on: who serves, since when, how far from the baseline, and how the verdicts are.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta};

use super::{Prometheus, PrometheusError, ROLLBACK, Sample, matcher, selector, unix};
use crate::gitops::incident::Timestamp;
use crate::gitops::target::ServiceName;

pub(super) type Found<T> = Result<T, PrometheusError>;

/// What pods serve, by what their taps say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServingVersion {
    /// The model.
    pub model: String,
    /// Its version.
    pub version: String,
    /// `baseline::source::hash_of` of its URI; empty where the tap was not told.
    pub storage_uri_hash: String,
    /// `predictor`, or as the tap was told.
    pub component: String,
    /// Of Knative; empty elsewhere.
    pub revision: String,
    /// How many pods say so.
    pub n_pods: u64,
    /// Rows that all pods of this model and version have counted since they started.
    pub rows: u64,
}

/// The distance of a prediction from its baseline.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// Which prediction.
    pub feature: String,
    /// `psi`, `ks`, …
    pub statistic: String,
    /// Over which window.
    pub window: String,
    /// The largest of all pods.
    pub score: f64,
    /// From which it counts as drift.
    pub threshold: f64,
    /// Rows behind it, in all pods.
    pub samples: f64,
}

impl std::fmt::Display for Measured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { feature, statistic, window, score, threshold, samples } = self;
        write!(
            f,
            "{feature} {statistic}={score:.3} threshold={threshold:.3} window={window} samples={samples}"
        )
    }
}

/// When a version was there, within the window asked for.
pub(super) struct Seen {
    pub(super) first: Timestamp,
    pub(super) last: Timestamp,
    /// From the beginning of the window to `first`: next to nothing if it may have been there before.
    pub(super) since_begin: Duration,
}

/// The first and the last sample of something, and when that was asked.
struct Ends {
    first: Timestamp,
    last: Timestamp,
    now: Timestamp,
}

impl Ends {
    fn since(self, window: Duration) -> Seen {
        let begin = TimeDelta::from_std(window).ok().and_then(|window| self.now.checked_sub_signed(window));
        let since_begin = begin.and_then(|begin| self.first.signed_duration_since(begin).to_std().ok());
        Seen { first: self.first, last: self.last, since_begin: since_begin.unwrap_or_default() }
    }
}

/// In such steps the past is looked through.
pub(super) fn step_of(window: Duration) -> Duration {
    (window / 500).clamp(Duration::from_secs(1), Duration::from_mins(5))
}

impl Prometheus {
    /// Which versions the pods of a service serve now.
    ///
    /// # Errors
    /// [`PrometheusError`].
    pub async fn serving(&self, service: &ServiceName) -> Found<Vec<ServingVersion>> {
        let info = self.fresh(&selector("driftd_model_info", service, &[]));
        let by = "model, version, storage_uri_hash, component, revision";
        let info = self.query(&format!("count by ({by}) ({info})")).await?;
        let rows = self.fresh(&selector("driftd_rows_total", service, &[]));
        let rows = format!("max by (model, version) (sum by (model, version, role) ({rows}))");
        let rows: BTreeMap<_, _> = self
            .query(&rows)
            .await?
            .into_iter()
            .map(|sample| {
                ((sample.label("model").to_owned(), sample.label("version").to_owned()), count(sample.value))
            })
            .collect();
        let of = |sample: &Sample| {
            let label = |name| sample.label(name).to_owned();
            let (model, version) = (label("model"), label("version"));
            ServingVersion {
                storage_uri_hash: label("storage_uri_hash"),
                component: label("component"),
                revision: label("revision"),
                n_pods: count(sample.value),
                rows: rows.get(&(model.clone(), version.clone())).copied().unwrap_or(0),
                model,
                version,
            }
        };
        Ok(info.iter().map(of).collect())
    }

    /// When a version was first seen in the last `window`, to its five-hundredth part; `None` if not at all.
    ///
    /// # Errors
    /// [`PrometheusError`].
    pub async fn first_seen(
        &self,
        service: &ServiceName,
        version: &str,
        window: Duration,
    ) -> Found<Option<Timestamp>> {
        Ok(self.seen(service, version, window).await?.map(|seen| seen.first))
    }

    /// Services with an alert that asks for a rollback, pending or firing, and since when.
    ///
    /// # Errors
    /// [`PrometheusError`].
    pub async fn accused_services(&self) -> Found<Vec<(ServiceName, Timestamp)>> {
        let of = matcher(ROLLBACK.0, "=", ROLLBACK.1);
        // Its value is when the alert became active.
        let query = format!("max by (namespace, inferenceservice) (ALERTS_FOR_STATE{{{of}}})");
        let read = |sample: &Sample| {
            let service =
                ServiceName::new(sample.label("namespace"), sample.label("inferenceservice")).ok()?;
            Some((service, moment(sample.value)?))
        };
        Ok(self.query(&query).await?.iter().filter_map(read).collect())
    }

    /// How far its predictions are from its baseline now, the farthest over its threshold first.
    ///
    /// # Errors
    /// [`PrometheusError`].
    pub async fn measured(&self, service: &ServiceName, version: &str) -> Found<Vec<Measured>> {
        let of = [matcher("version", "=", version), matcher("role", "=", "prediction")];
        let by = async |aggregate: &str, metric: &str| {
            let series = self.fresh(&selector(metric, service, &of));
            self.query(&format!("{aggregate} by (feature, statistic, window) ({series})")).await
        };
        let thresholds = by("max", "driftd_drift_threshold").await?;
        let samples = by("sum", "driftd_window_samples").await?;
        let mut measured = Vec::new();
        for score in by("max", "driftd_drift_score").await? {
            let same = |other: &&Sample, names: &[&str]| {
                names.iter().all(|&name| other.label(name) == score.label(name))
            };
            let threshold = thresholds.iter().find(|other| same(other, &["feature", "statistic", "window"]));
            let behind = samples.iter().find(|other| same(other, &["feature", "window"]));
            measured.push(Measured {
                feature: score.label("feature").to_owned(),
                statistic: score.label("statistic").to_owned(),
                window: score.label("window").to_owned(),
                score: score.value,
                threshold: threshold.map_or(f64::INFINITY, |threshold| threshold.value),
                samples: behind.map_or(0.0, |samples| samples.value),
            });
        }
        measured.sort_by(|a, b| (b.score / b.threshold).total_cmp(&(a.score / a.threshold)));
        Ok(measured)
    }

    /// Pods whose tap watches the version now.
    pub(super) async fn n_pods(&self, service: &ServiceName, version: &str) -> Found<u64> {
        let info = self.fresh(&selector("driftd_model_info", service, &[matcher("version", "=", version)]));
        self.number(&format!("count(count by (job, instance) ({info}))")).await
    }

    /// In which share of the pods the shipped alert's condition holds, by model and window.
    pub(super) async fn conditions(&self, service: &ServiceName, version: &str) -> Found<Vec<Sample>> {
        let of = [matcher("version", "=", version), matcher("cause", "=", "model")];
        let series = self.fresh(&selector("driftd_model_drifted", service, &of));
        self.query(&format!("avg by (model, window) ({series})")).await
    }

    /// In which share of the pods it drifts, by model, window and cause.
    pub(super) async fn verdicts(&self, service: &ServiceName, version: &str) -> Found<Vec<Sample>> {
        let series =
            self.fresh(&selector("driftd_model_drifted", service, &[matcher("version", "=", version)]));
        self.query(&format!("avg by (model, window, cause) ({series})")).await
    }

    /// The largest such share of each cause in `span` before `at`.
    pub(super) async fn worst(
        &self,
        service: &ServiceName,
        version: &str,
        span: Duration,
        at: Timestamp,
    ) -> Found<Vec<Sample>> {
        let series = selector("driftd_model_drifted", service, &[matcher("version", "=", version)]);
        let range = range(span);
        let verdicts = format!("(avg by (model, window, cause) ({series})){range}");
        self.query_at(&format!("max by (cause) (max_over_time({verdicts}))"), Some(at)).await
    }

    /// Whether its baseline knows predictions.
    pub(super) async fn has_predictions(&self, service: &ServiceName, version: &str) -> Found<bool> {
        let of = [matcher("version", "=", version), matcher("role", "=", "prediction")];
        let series = self.fresh(&selector("driftd_baseline_rows", service, &of));
        Ok(self.number(&format!("count({series})")).await? > 0)
    }

    /// Rows that its pods have counted since then: of each pod what it has more, or all it has if it is younger or has started
    /// again. `increase` would not see what a new pod had counted when it was first scraped.
    pub(super) async fn rows_since(
        &self,
        service: &ServiceName,
        version: &str,
        role: &str,
        since: Timestamp,
    ) -> Found<u64> {
        let of = [matcher("version", "=", version), matcher("role", "=", role)];
        let series = selector("driftd_rows_total", service, &of);
        let (now, at) = (self.fresh(&series), unix(since));
        self.number(&format!("sum(({now} - {series} @ {at} >= 0) or {now})")).await
    }

    /// When the version was there. The window is looked through in steps that a young version may lie between, so its ends are looked
    /// at once more, closely.
    pub(super) async fn seen(
        &self,
        service: &ServiceName,
        version: &str,
        window: Duration,
    ) -> Found<Option<Seen>> {
        let info = selector("driftd_model_info", service, &[matcher("version", "=", version)]);
        let step = step_of(window);
        let Some(far) = self.ends(&info, window, None).await? else {
            let near = self.ends(&info, 2 * step, None).await?;
            return Ok(near.map(|near| near.since(window)));
        };
        let before = self.ends(&info, step, Some(far.first)).await?;
        let after = self.ends(&info, step, Some(far.last + step)).await?;
        let first = before.map_or(far.first, |before| before.first.min(far.first));
        let last = after.map_or(far.last, |after| after.last.max(far.last));
        Ok(Some(Ends { first, last, now: far.now }.since(window)))
    }

    /// The first and the last sample of it in the window before `at`, as far as its steps meet them.
    async fn ends(&self, info: &str, window: Duration, at: Option<Timestamp>) -> Found<Option<Ends>> {
        let range = range(window);
        let end = |name, aggregate| {
            format!(
                r#"label_replace({aggregate}({aggregate}_over_time(timestamp({info}){range})), "end", "{name}", "", "")"#
            )
        };
        let ends = self.query_at(&format!("{} or {}", end("first", "min"), end("last", "max")), at).await?;
        let end = |name| {
            let found = ends.iter().find(|sample| sample.label("end") == name)?;
            Some((moment(found.value)?, found.timestamp))
        };
        let (Some((first, now)), Some((last, _))) = (end("first"), end("last")) else { return Ok(None) };
        Ok(Some(Ends { first, last, now }))
    }

    async fn number(&self, promql: &str) -> Found<u64> {
        Ok(self.query(promql).await?.first().map_or(0, |sample| count(sample.value)))
    }
}

/// A subquery over it.
fn range(window: Duration) -> String {
    format!("[{}ms:{}ms]", window.as_millis().max(1), step_of(window).as_millis())
}

#[allow(clippy::cast_possible_truncation, reason = "seconds of Unix time, and checked by chrono")]
fn moment(seconds: f64) -> Option<Timestamp> {
    DateTime::from_timestamp_millis((seconds * 1000.0).round() as i64)
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count, and `as` saturates")]
fn count(value: f64) -> u64 {
    value.round() as u64
}
