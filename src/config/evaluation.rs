//! The section `evaluation`.

use std::time::Duration;

use serde::Deserialize;

use super::{ConfigError, HumanDuration};
use crate::drift::verdict::Thresholds;

/// When and over which windows drift is judged.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawEvaluation {
    /// Time between two looks. Default `10s`.
    pub interval: HumanDuration,
    /// Windows that are scored side by side, shortest first. Default `[5m, 1h, 24h]`.
    pub windows: Vec<HumanDuration>,
    /// Rows a window needs before it has a score. Default 500.
    pub min_samples: u64,
    /// Effects above which a feature has drifted.
    pub thresholds: RawThresholds,
}

/// Effects above which a feature has drifted; either is enough.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawThresholds {
    /// Population stability index in nats, its null expectation taken off. Default 0.2: the field's "has shifted";
    /// a normal feature reaches it when its mean moves by about 0.46 standard deviations.
    pub psi: f64,
    /// Kolmogorov–Smirnov statistic. Default 0.1: one row in ten lies elsewhere.
    pub ks: f64,
}

impl Default for RawThresholds {
    fn default() -> Self {
        let Thresholds { psi, ks, .. } = Thresholds::default();
        Self { psi, ks }
    }
}

impl Default for RawEvaluation {
    fn default() -> Self {
        let secs = |secs| HumanDuration(Duration::from_secs(secs));
        Self {
            interval: secs(10),
            windows: vec![secs(300), secs(3600), secs(24 * 3600)],
            min_samples: Thresholds::default().min_samples,
            thresholds: RawThresholds::default(),
        }
    }
}

/// A window and its name in labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// Its length.
    pub length: Duration,
    /// Its length as people write it.
    pub label: String,
}

/// When and over which windows drift is judged.
#[derive(Clone, Debug)]
pub struct EvaluationConfig {
    /// Time between two looks.
    pub interval: Duration,
    /// Shortest first, at least one.
    pub windows: Vec<Window>,
    /// Effects above which a feature has drifted, and the rows it takes to say so.
    pub thresholds: Thresholds,
}

impl Default for EvaluationConfig {
    fn default() -> Self {
        Self::try_from(RawEvaluation::default())
            .expect("the defaults are within their own bounds, a test builds them")
    }
}

impl TryFrom<RawEvaluation> for EvaluationConfig {
    type Error = ConfigError;

    fn try_from(raw: RawEvaluation) -> Result<Self, ConfigError> {
        let interval = raw.interval.0;
        if interval < Duration::from_millis(10) {
            return Err(ConfigError::invalid("evaluation.interval", "must be at least 10ms"));
        }
        if raw.windows.is_empty() {
            return Err(ConfigError::invalid(
                "evaluation.windows",
                "is empty; write at least one, like `[5m]`",
            ));
        }
        let mut windows = Vec::with_capacity(raw.windows.len());
        for length in raw.windows {
            if length.0 < interval {
                return Err(ConfigError::invalid(
                    "evaluation.windows",
                    format!("has {length}, shorter than `evaluation.interval` {}", raw.interval),
                ));
            }
            windows.push(Window { length: length.0, label: length.to_string() });
        }
        windows.sort_by_key(|window| window.length);
        if let Some(pair) = windows.windows(2).find(|pair| pair[0].length == pair[1].length) {
            return Err(ConfigError::invalid("evaluation.windows", format!("has {} twice", pair[0].label)));
        }
        let RawThresholds { psi, ks } = raw.thresholds;
        if !(psi.is_finite() && psi > 0.0) {
            return Err(ConfigError::invalid(
                "evaluation.thresholds.psi",
                format!("is {psi}, must be above 0"),
            ));
        }
        if !(ks > 0.0 && ks <= 1.0) {
            return Err(ConfigError::invalid(
                "evaluation.thresholds.ks",
                format!("is {ks}, must be in (0, 1]"),
            ));
        }
        if raw.min_samples == 0 {
            return Err(ConfigError::invalid("evaluation.min_samples", "must be at least 1"));
        }
        Ok(Self { interval, windows, thresholds: Thresholds { psi, ks, min_samples: raw.min_samples } })
    }
}
