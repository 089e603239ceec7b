//! The section `models`.

use std::path::PathBuf;

use serde::Deserialize;

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
}

impl From<RawModel> for ModelConfig {
    fn from(RawModel { name, version, baseline }: RawModel) -> Self {
        Self { name, version, baseline }
    }
}
