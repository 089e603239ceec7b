//! The section `models`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use super::{ConfigError, FeatureThresholds};

/// One entry of `models`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawModel {
    /// The model's name in request paths. Absent: the baseline's; and where that has none, every name is this model.
    pub name: Option<String>,
    /// The label `version`, and the version in request paths where they carry one. Absent: the baseline's.
    pub version: Option<String>,
    /// The baseline file, from `driftd baseline build`.
    pub baseline: PathBuf,
    /// Thresholds of single features and predictions, by name; what is not given is that of `evaluation.thresholds`.
    #[serde(default)]
    pub thresholds: BTreeMap<String, FeatureThresholds>,
}

/// A model to watch.
#[derive(Clone, Debug)]
pub struct ModelConfig {
    /// Its name in request paths, if not the baseline's.
    pub name: Option<String>,
    /// Its version, if not the baseline's.
    pub version: Option<String>,
    /// Its baseline file.
    pub baseline: PathBuf,
    /// Thresholds of single columns, by name.
    pub thresholds: BTreeMap<String, FeatureThresholds>,
}

impl ModelConfig {
    /// Named as its baseline says.
    pub fn new(baseline: impl Into<PathBuf>) -> Self {
        Self { name: None, version: None, baseline: baseline.into(), thresholds: BTreeMap::new() }
    }
}

impl TryFrom<RawModel> for ModelConfig {
    type Error = ConfigError;

    fn try_from(RawModel { name, version, baseline, thresholds }: RawModel) -> Result<Self, ConfigError> {
        for (feature, thresholds) in &thresholds {
            thresholds.check(&format!("models.thresholds.{feature}"))?;
        }
        Ok(Self { name, version, baseline, thresholds })
    }
}
