//! A model, with what its baseline says of it.

use std::collections::BTreeMap;

use crate::baseline::{Baseline, Schema};
use crate::config::{FeatureThresholds, ModelConfig};
use crate::drift::kernels::Recorder;
use crate::drift::score::{Bins, Reference};

/// Whose baseline a model is held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Its own, from its training.
    Own,
    /// Another version's, for want of its own.
    Borrowed,
    /// Its own traffic's, from when it was first seen.
    Learnt,
}

/// A model and its baseline, made ready for the hot path. Never changes.
#[derive(Debug)]
pub struct Model {
    /// Label `model`; empty where neither configuration nor baseline has a name.
    pub name: String,
    /// Label `version`.
    pub version: String,
    /// What the model looked like in training.
    pub baseline: Baseline,
    /// Whose that is.
    pub origin: Origin,
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
    pub fn new(config: &ModelConfig, baseline: Baseline, origin: Origin) -> Self {
        let schema = baseline.schema();
        let references = baseline.references();
        let recorder = |reference: &Reference| match reference.bins() {
            Bins::Numeric { edges, .. } => Some(Recorder::new(edges)),
            Bins::Categorical { .. } => None,
        };
        let recorders = references.iter().map(recorder).collect();
        let given = |configured: &Option<String>, own: Option<&str>, default: Option<&str>| {
            configured.clone().or_else(|| own.or(default).map(str::to_owned)).unwrap_or_default()
        };
        Self {
            name: given(&config.name, baseline.model(), config.default_name.as_deref()),
            version: given(&config.version, baseline.version(), None),
            baseline,
            origin,
            schema,
            references,
            recorders,
            thresholds: config.thresholds.clone(),
            namespace: config.namespace.clone(),
            inferenceservice: config.inferenceservice.clone(),
        }
    }
}
