//! The models a daemon watches, each with what its baseline says of it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use super::Service;
use crate::baseline::{Baseline, BaselineError, Schema};
use crate::config::{FeatureThresholds, ModelConfig};
use crate::drift::kernels::Recorder;
use crate::drift::score::{Bins, Reference};

/// A model and its baseline, made ready for the hot path. Never changes.
#[derive(Debug)]
pub struct Model {
    /// Label `model`; empty where neither configuration nor baseline has a name.
    pub name: String,
    /// Label `version`.
    pub version: String,
    /// What the model looked like in training.
    pub baseline: Baseline,
    /// Whether that was another version.
    pub is_borrowed: bool,
    /// Its columns, as decoders see them.
    pub schema: Schema,
    /// What each column is scored against, in the order of the schema.
    pub references: Vec<Reference>,
    /// How each column's values find their bins: `None` for codes, which are bins already.
    pub recorders: Vec<Option<Recorder>>,
    /// Thresholds of single columns, by name.
    pub thresholds: BTreeMap<String, FeatureThresholds>,
    /// Label `namespace`, where it is not the process's own.
    pub namespace: Option<String>,
    /// Label `inferenceservice`, likewise.
    pub inferenceservice: Option<String>,
}

impl Model {
    /// Prepares a baseline; names given in the configuration go before the baseline's own.
    pub fn new(config: &ModelConfig, baseline: Baseline) -> Self {
        let schema = baseline.schema();
        let references = baseline.references();
        let recorder = |reference: &Reference| match reference.bins() {
            Bins::Numeric { edges, .. } => Some(Recorder::new(edges)),
            Bins::Categorical { .. } => None,
        };
        let recorders = references.iter().map(recorder).collect();
        let given = |configured: &Option<String>, own: Option<&str>| {
            configured.clone().or_else(|| own.map(str::to_owned)).unwrap_or_default()
        };
        Self {
            name: given(&config.name, baseline.model()),
            version: given(&config.version, baseline.version()),
            baseline,
            is_borrowed: config.is_borrowed,
            schema,
            references,
            recorders,
            thresholds: config.thresholds.clone(),
            namespace: config.namespace.clone(),
            inferenceservice: config.inferenceservice.clone(),
        }
    }
}

/// The configured models. A baseline that cannot be read yet (a volume that is mounted late) leaves its place empty
/// until it can; traffic flows meanwhile.
#[derive(Debug)]
pub struct Models(Vec<Slot>);

#[derive(Debug)]
struct Slot {
    config: ModelConfig,
    model: OnceLock<Arc<Model>>,
}

/// What the route of an exchange leads to.
#[derive(Debug)]
pub enum Found<'a> {
    /// This model, by its place.
    Model(usize, &'a Arc<Model>),
    /// A configured model whose baseline is not loaded.
    NoBaseline,
    /// No configured model has this name.
    Unknown,
}

impl Models {
    /// None of them loaded.
    pub fn new(configs: Vec<ModelConfig>) -> Self {
        Self(configs.into_iter().map(|config| Slot { config, model: OnceLock::new() }).collect())
    }

    /// Number of configured models.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// How many of them have their baseline.
    pub fn n_loaded(&self) -> usize {
        self.0.iter().filter(|slot| slot.model.get().is_some()).count()
    }

    /// Whether none is configured.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The model in a place, once its baseline is loaded.
    pub fn get(&self, idx: usize) -> Option<&Arc<Model>> {
        self.0.get(idx)?.model.get()
    }

    /// Tries to read every baseline that is not loaded. Returns the files that failed, and why.
    pub fn load_missing(&self) -> Vec<(PathBuf, BaselineError)> {
        let mut failed = Vec::new();
        for slot in self.0.iter().filter(|slot| slot.model.get().is_none()) {
            match Baseline::read(&slot.config.baseline) {
                Ok(baseline) => {
                    slot.model.get_or_init(|| Arc::new(Model::new(&slot.config, baseline)));
                }
                Err(error) => failed.push((slot.config.baseline.clone(), error)),
            }
        }
        failed
    }

    /// The model that an exchange is counted for: of those that it may be for, the one with its version, else the first. A server's
    /// own version numbers need not be ours.
    pub fn find(&self, asked: Asked<'_>) -> Found<'_> {
        let (mut first, mut first_name) = (None, None);
        for (idx, slot) in self.0.iter().enumerate() {
            let model = slot.model.get();
            let name = slot.config.name.as_deref().or_else(|| model.map(|model| model.name.as_str()));
            if !asked.may_be(&slot.config, name) {
                continue;
            }
            // Who names nothing asks for the only model there is.
            if asked.service.is_none() && asked.model.is_none() && *first_name.get_or_insert(name) != name {
                return Found::Unknown;
            }
            let version =
                slot.config.version.as_deref().or_else(|| model.map(|model| model.version.as_str()));
            let candidate = model.map_or(Found::NoBaseline, |model| Found::Model(idx, model));
            if asked.version.is_some() && asked.version == version {
                return candidate;
            }
            first.get_or_insert(candidate);
        }
        first.unwrap_or(Found::Unknown)
    }
}

/// Which model an exchange is for, as far as it says.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked<'a> {
    /// Its `InferenceService`.
    pub service: Option<&'a Service>,
    /// Its name, by path or body.
    pub model: Option<&'a str>,
    /// Its version, likewise.
    pub version: Option<&'a str>,
}

impl Asked<'_> {
    /// Where services are told apart, a model without one configured is that of the service of its name; a model without any name
    /// answers to all.
    fn may_be(&self, config: &ModelConfig, name: Option<&str>) -> bool {
        let name = name.filter(|name| !name.is_empty());
        let by_name = self.model.is_none() || name.is_none() || name == self.model;
        let Some(service) = self.service else { return by_name };
        if config.namespace.as_deref().is_some_and(|namespace| *namespace != *service.namespace) {
            return false;
        }
        match &config.inferenceservice {
            Some(configured) => *configured == *service.name && by_name,
            None => name.is_none_or(|name| *name == *service.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_and_paths_lead_to_models() {
        let config = |name: &str, namespace: Option<&str>, service: Option<&str>| ModelConfig {
            name: Some(name.to_owned()),
            namespace: namespace.map(str::to_owned),
            inferenceservice: service.map(str::to_owned),
            ..ModelConfig::new("/nowhere/baseline.json")
        };
        let of = |namespace: &str, name: &str| Service { namespace: namespace.into(), name: name.into() };
        let credit = config("credit", None, None);
        let iris = config("iris", Some("prod"), Some("flowers"));
        let may_be = |config: &ModelConfig, service: Option<&Service>, model| {
            Asked { service, model, version: None }.may_be(config, config.name.as_deref())
        };
        assert!(may_be(&credit, None, Some("credit")) && !may_be(&credit, None, Some("iris")));
        assert!(may_be(&credit, Some(&of("any", "credit")), Some("whatever the server calls it")));
        assert!(!may_be(&credit, Some(&of("any", "iris")), None));
        let flowers = of("prod", "flowers");
        assert!(may_be(&iris, Some(&flowers), None) && may_be(&iris, Some(&flowers), Some("iris")));
        assert!(!may_be(&iris, Some(&flowers), Some("tulips")), "a service of several models");
        assert!(!may_be(&iris, Some(&of("test", "flowers")), None));
        assert!(!may_be(&iris, Some(&of("prod", "iris")), None));
        let models = Models::new(vec![credit, iris]);
        assert!(matches!(models.find(Asked::default()), Found::Unknown), "which of the two?");
        let asked = Asked { model: Some("credit"), ..Asked::default() };
        assert!(matches!(models.find(asked), Found::NoBaseline));
    }
}
