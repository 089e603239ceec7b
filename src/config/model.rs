//! The section `models`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use super::{ConfigError, FeatureThresholds};
use crate::baseline::BaselineSource;
use crate::baseline::source::version_of;
use crate::storage::{Location, StorageError};

/// One entry of `models`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawModel {
    /// The model's name in request paths. Absent: the baseline's; and where that has none, every name is this model.
    pub name: Option<String>,
    /// The label `version`, and the version in request paths where they carry one. Absent: that of `storage_uri`, else the baseline's.
    pub version: Option<String>,
    /// The label `namespace`; where a tap hears several, only events of this namespace are for this model. Absent: that of the process.
    pub namespace: Option<String>,
    /// The label `inferenceservice`, likewise. Absent: events of the service that is named as the model.
    pub inferenceservice: Option<String>,
    /// The baseline, from `driftd baseline build`: a path or a `file://` URI, read again when it changes. Absent: the one beside
    /// the model, else that of the first entry of the same name which has one, borrowed until the version has its own.
    pub baseline: Option<String>,
    /// Where the model is served from; its baseline may lie there, as `driftd-baseline.json`.
    pub storage_uri: Option<String>,
    /// Thresholds of single features and predictions, by name; what is not given is that of `evaluation.thresholds`.
    #[serde(default)]
    pub thresholds: BTreeMap<String, FeatureThresholds>,
}

/// A model to watch.
#[derive(Clone, Debug)]
pub struct ModelConfig {
    /// Its name in request paths, if not the baseline's.
    pub name: Option<String>,
    /// Its name where neither the configuration nor the baseline has one.
    pub default_name: Option<String>,
    /// Its version, if not the baseline's.
    pub version: Option<String>,
    /// Its namespace, if not the process's.
    pub namespace: Option<String>,
    /// Its `InferenceService`, if not the process's.
    pub inferenceservice: Option<String>,
    /// Where its baseline is looked for: the first of these where there is one.
    pub places: Vec<BaselinePlace>,
    /// Thresholds of single columns, by name.
    pub thresholds: BTreeMap<String, FeatureThresholds>,
}

/// Where a baseline may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaselinePlace {
    /// The place.
    pub source: BaselineSource,
    /// Whether what is there is another version's.
    pub is_borrowed: bool,
}

impl BaselinePlace {
    const fn own(source: BaselineSource) -> Self {
        Self { source, is_borrowed: false }
    }
}

impl ModelConfig {
    /// Named as its baseline says.
    pub fn new(baseline: impl Into<PathBuf>) -> Self {
        Self::of_places(vec![BaselinePlace::own(BaselineSource::File(baseline.into()))])
    }

    /// The same, of a path or a URI.
    ///
    /// # Errors
    /// If it is a URI, but none that is read.
    pub fn at(baseline: &str) -> Result<Self, StorageError> {
        Location::parse(baseline)?;
        Ok(Self::of_places(vec![BaselinePlace::own(BaselineSource::parse(baseline))]))
    }

    /// The same for a model whose baseline lies beside it, if there is one.
    pub fn beside(storage_uri: &str) -> Self {
        let place = BaselinePlace::own(BaselineSource::beside(storage_uri));
        Self { version: Some(version_of(storage_uri)), ..Self::of_places(vec![place]) }
    }

    fn of_places(places: Vec<BaselinePlace>) -> Self {
        Self {
            name: None,
            default_name: None,
            version: None,
            namespace: None,
            inferenceservice: None,
            places,
            thresholds: BTreeMap::new(),
        }
    }

    /// All models of a file.
    pub(super) fn all(mut raw: Vec<RawModel>) -> Result<Vec<Self>, ConfigError> {
        for model in &mut raw {
            // Environment variables that are substituted before we read the file may be empty.
            model.storage_uri.take_if(|uri| uri.is_empty());
            if model.version.is_none() {
                model.version = model.storage_uri.as_deref().map(version_of);
            }
        }
        let own = |model: &RawModel| own_place(model.baseline.as_deref(), model.storage_uri.as_deref());
        let lenders: Vec<_> =
            raw.iter().filter_map(|model| Some((model.name.clone()?, own(model)?))).collect();
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

    fn of(raw: RawModel, lenders: &[(String, BaselineSource)]) -> Result<Self, ConfigError> {
        let RawModel { name, version, namespace, inferenceservice, baseline, storage_uri, thresholds } = raw;
        for (feature, thresholds) in &thresholds {
            thresholds.check(&format!("models.thresholds.{feature}"))?;
        }
        let own = own_place(baseline.as_deref(), storage_uri.as_deref());
        if let (Some(_), Some(BaselineSource::Unreadable(uri))) = (&baseline, &own)
            && let Err(error) = Location::parse(uri)
        {
            return Err(ConfigError::invalid("models.baseline", error.to_string()));
        }
        let of_stable = lenders
            .iter()
            .find(|(lender, _)| baseline.is_none() && Some(lender) == name.as_ref())
            .filter(|(_, source)| Some(source) != own.as_ref());
        let borrowed =
            of_stable.map(|(_, source)| BaselinePlace { source: source.clone(), is_borrowed: true });
        let places: Vec<_> = own.map(BaselinePlace::own).into_iter().chain(borrowed).collect();
        if places.is_empty() {
            return Err(ConfigError::invalid(
                "models.baseline",
                format!(
                    "is missing for model `{}`, and no entry of that name has one to borrow; write its path",
                    name.unwrap_or_default()
                ),
            ));
        }
        if places[0].is_borrowed && version.is_none() {
            return Err(ConfigError::invalid(
                "models.version",
                "is missing where the baseline is borrowed; write the version that has none of its own",
            ));
        }
        Ok(Self { name, default_name: None, version, namespace, inferenceservice, places, thresholds })
    }
}

/// A version's own baseline: what is configured goes before what lies beside the model.
fn own_place(baseline: Option<&str>, storage_uri: Option<&str>) -> Option<BaselineSource> {
    baseline.map(BaselineSource::parse).or_else(|| storage_uri.map(BaselineSource::beside))
}
