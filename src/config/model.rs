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
    /// The label `namespace`; where a tap hears several, only events of this namespace are for this model. Absent: that of the process.
    pub namespace: Option<String>,
    /// The label `inferenceservice`, likewise. Absent: events of the service that is named as the model.
    pub inferenceservice: Option<String>,
    /// The baseline file, from `driftd baseline build`. Absent: that of the first entry of the same name which has one,
    /// borrowed until the version has its own.
    pub baseline: Option<PathBuf>,
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
    /// Its namespace, if not the process's.
    pub namespace: Option<String>,
    /// Its `InferenceService`, if not the process's.
    pub inferenceservice: Option<String>,
    /// Its baseline file.
    pub baseline: PathBuf,
    /// Whether that is another version's.
    pub is_borrowed: bool,
    /// Thresholds of single columns, by name.
    pub thresholds: BTreeMap<String, FeatureThresholds>,
}

impl ModelConfig {
    /// Named as its baseline says.
    pub fn new(baseline: impl Into<PathBuf>) -> Self {
        Self {
            name: None,
            version: None,
            namespace: None,
            inferenceservice: None,
            baseline: baseline.into(),
            is_borrowed: false,
            thresholds: BTreeMap::new(),
        }
    }

    /// All models of a file.
    pub(super) fn all(raw: Vec<RawModel>) -> Result<Vec<Self>, ConfigError> {
        let lenders: Vec<_> =
            raw.iter().filter_map(|model| Some((model.name.clone()?, model.baseline.clone()?))).collect();
        let models = raw.into_iter().map(|model| Self::of(model, &lenders)).collect::<Result<Vec<_>, _>>()?;
        for (idx, model) in models.iter().enumerate() {
            let is_alike = |other: &&Self| {
                (&other.namespace, &other.inferenceservice, &other.name, &other.version)
                    == (&model.namespace, &model.inferenceservice, &model.name, &model.version)
            };
            if models[..idx].iter().any(|other| is_alike(&other)) {
                return Err(ConfigError::invalid(
                    "models",
                    format!(
                        "names model `{}` version `{}` twice; give each its own `version`",
                        model.name.as_deref().unwrap_or(""),
                        model.version.as_deref().unwrap_or("")
                    ),
                ));
            }
        }
        Ok(models)
    }

    fn of(raw: RawModel, lenders: &[(String, PathBuf)]) -> Result<Self, ConfigError> {
        let RawModel { name, version, namespace, inferenceservice, baseline, thresholds } = raw;
        for (feature, thresholds) in &thresholds {
            thresholds.check(&format!("models.thresholds.{feature}"))?;
        }
        let is_borrowed = baseline.is_none();
        let of_stable = || lenders.iter().find(|(lender, _)| Some(lender) == name.as_ref());
        let Some(baseline) = baseline.or_else(|| Some(of_stable()?.1.clone())) else {
            return Err(ConfigError::invalid(
                "models.baseline",
                format!(
                    "is missing for model `{}`, and no entry of that name has one to borrow; write its path",
                    name.unwrap_or_default()
                ),
            ));
        };
        if is_borrowed && version.is_none() {
            return Err(ConfigError::invalid(
                "models.version",
                "is missing where the baseline is borrowed; write the version that has none of its own",
            ));
        }
        Ok(Self { name, version, namespace, inferenceservice, baseline, is_borrowed, thresholds })
    }
}
