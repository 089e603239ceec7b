//! The section `evaluation`.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use super::{Budget, ConfigError, HumanDuration};
use crate::drift::monitor::Settings;
use crate::drift::scan::Against;
use crate::drift::verdict::{Sensitivity, Thresholds};

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
    /// False alarms allowed for each model. Default `1 per 30d`.
    pub false_alarms: Budget,
    /// What is told. Default `practical`.
    pub sensitivity: RawSensitivity,
    /// What drift is measured from. Default `baseline`.
    pub reference: RawReference,
    /// Share of a model's features that must drift for the model to; one of them is enough at 0, the default.
    pub min_features: f64,
    /// Effects above which a feature has drifted.
    pub thresholds: FeatureThresholds,
}

/// What is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum RawSensitivity {
    /// An effect that matters, and evidence for it
    #[default]
    Practical,
    /// Evidence alone too, as a warning, however small the effect
    Evidence,
}

impl From<RawSensitivity> for Sensitivity {
    fn from(raw: RawSensitivity) -> Self {
        match raw {
            RawSensitivity::Practical => Self::Practical,
            RawSensitivity::Evidence => Self::Evidence,
        }
    }
}

/// What drift is measured from. The contract (missing, type, category, range) is the baseline's in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum RawReference {
    /// The training baseline
    #[default]
    Baseline,
    /// The window before this one
    PreviousWindow,
    /// What was in the window a day ago
    SameHourYesterday,
}

impl From<RawReference> for Against {
    fn from(raw: RawReference) -> Self {
        match raw {
            RawReference::Baseline => Self::Baseline,
            RawReference::PreviousWindow => Self::PreviousWindow,
            RawReference::SameHourYesterday => Self::SameHourYesterday,
        }
    }
}

/// Effects above which a feature has drifted; any is enough, and what is not given keeps its default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FeatureThresholds {
    /// Population stability index in nats, its null expectation taken off. Default 0.2: the field's "has shifted";
    /// a normal feature reaches it when its mean moves by about 0.46 standard deviations.
    pub psi: Option<f64>,
    /// Kolmogorov–Smirnov statistic. Default 0.1: one row in ten lies elsewhere.
    pub ks: Option<f64>,
    /// Jensen–Shannon distance, base 2. Not asked for by default.
    pub js: Option<f64>,
    /// Wasserstein distance in standard deviations of the baseline. Not asked for by default.
    pub wasserstein: Option<f64>,
    /// Share of rows, beyond the baseline's own, without a value, with one of the wrong type, an unseen category or one
    /// out of range. Default 0.05.
    pub violations: Option<f64>,
}

impl FeatureThresholds {
    /// What is given here over what is not.
    fn over(&self, default: Thresholds) -> Thresholds {
        Thresholds {
            psi: self.psi.unwrap_or(default.psi),
            ks: self.ks.unwrap_or(default.ks),
            js: self.js.unwrap_or(default.js),
            wasserstein: self.wasserstein.unwrap_or(default.wasserstein),
            violations: self.violations.unwrap_or(default.violations),
            ..default
        }
    }

    pub(super) fn check(&self, key: &str) -> Result<(), ConfigError> {
        for (name, distance) in [("psi", self.psi), ("wasserstein", self.wasserstein)] {
            if let Some(distance) = distance
                && !(distance.is_finite() && distance > 0.0)
            {
                return Err(ConfigError::invalid(
                    format!("{key}.{name}"),
                    format!("is {distance}, must be above 0"),
                ));
            }
        }
        for (name, share) in [("ks", self.ks), ("js", self.js), ("violations", self.violations)] {
            if let Some(share) = share
                && !(share > 0.0 && share <= 1.0)
            {
                return Err(ConfigError::invalid(
                    format!("{key}.{name}"),
                    format!("is {share}, must be in (0, 1]"),
                ));
            }
        }
        Ok(())
    }
}

impl Default for RawEvaluation {
    fn default() -> Self {
        let secs = |secs| HumanDuration(Duration::from_secs(secs));
        Self {
            interval: secs(10),
            windows: vec![secs(300), secs(3600), secs(24 * 3600)],
            min_samples: Thresholds::default().min_samples,
            false_alarms: Budget::default(),
            sensitivity: RawSensitivity::default(),
            reference: RawReference::default(),
            min_features: 0.0,
            thresholds: FeatureThresholds::default(),
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
    /// False alarms allowed for each model.
    pub false_alarms: Budget,
    /// What drift is measured from.
    pub against: Against,
    /// Share of a model's features that must drift for the model to.
    pub min_features: f64,
}

impl EvaluationConfig {
    /// How a model with these columns is judged.
    pub fn settings<'a>(
        &self,
        columns: impl IntoIterator<Item = &'a str>,
        n_features: usize,
        thresholds: &BTreeMap<String, FeatureThresholds>,
    ) -> Settings {
        let of_column =
            |column| thresholds.get(column).map_or(self.thresholds, |own| own.over(self.thresholds));
        Settings {
            windows: self.windows.iter().map(|window| window.length).collect(),
            interval: self.interval,
            alarms_per_look: self.false_alarms.per_look(self.interval, 0.0),
            thresholds: columns.into_iter().map(of_column).collect(),
            rows_depend: true,
            against: self.against,
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of them")]
            min_features: (self.min_features * n_features as f64).ceil() as usize,
        }
    }
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
        raw.thresholds.check("evaluation.thresholds")?;
        if raw.false_alarms.is_per_rows() {
            return Err(ConfigError::invalid(
                "evaluation.false_alarms",
                format!("is {}; a running daemon takes one per time, like `1 per 30d`", raw.false_alarms),
            ));
        }
        if !(0.0..=1.0).contains(&raw.min_features) {
            return Err(ConfigError::invalid(
                "evaluation.min_features",
                format!("is {}, must be a share, 0 to 1", raw.min_features),
            ));
        }
        if raw.min_samples == 0 {
            return Err(ConfigError::invalid("evaluation.min_samples", "must be at least 1"));
        }
        let default = Thresholds {
            min_samples: raw.min_samples,
            sensitivity: raw.sensitivity.into(),
            ..Thresholds::default()
        };
        let thresholds = raw.thresholds.over(default);
        Ok(Self {
            interval,
            windows,
            thresholds,
            false_alarms: raw.false_alarms,
            against: raw.reference.into(),
            min_features: raw.min_features,
        })
    }
}
