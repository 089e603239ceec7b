//! The models a daemon watches, each with what its baseline says of it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

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

    /// The model that an exchange is counted for: of those with its name (a model without a name answers to all, and an
    /// exchange without one is for the only model there is), the one with its version, else the first. A server's own version numbers
    /// need not be ours.
    pub fn find(&self, name: Option<&str>, version: Option<&str>) -> Found<'_> {
        let (mut first, mut first_name) = (None, None);
        for (idx, slot) in self.0.iter().enumerate() {
            let model = slot.model.get();
            let own_name = slot.config.name.as_deref().or_else(|| model.map(|model| model.name.as_str()));
            match (name, first_name) {
                (Some(name), _) if own_name.is_some_and(|own| !own.is_empty() && own != name) => continue,
                (None, Some(first)) if own_name != first => return Found::Unknown,
                _ => first_name = Some(own_name),
            }
            let own_version =
                slot.config.version.as_deref().or_else(|| model.map(|model| model.version.as_str()));
            let candidate = model.map_or(Found::NoBaseline, |model| Found::Model(idx, model));
            if version.is_some() && own_version == version {
                return candidate;
            }
            first.get_or_insert(candidate);
        }
        first.unwrap_or(Found::Unknown)
    }
}
