//! Models that nobody has configured: their first rows, held until there are enough for a baseline.

mod sample;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::models::Asked;
use super::report::LearningReport;
use crate::baseline::{Role, Schema};
use crate::config::{LearnConfig, ModelConfig};
use crate::decode::{Batch, DecodeError, Found};
use crate::telemetry::process::{LEARNING_FULL, UNKNOWN_MODEL};
pub use sample::Sample;

/// A model that has begun and had no rows for so long gives its place to another: names are what callers please.
const IDLE_AFTER: Duration = Duration::from_hours(1);

/// Longer names are those of nothing in Kubernetes, where 253 bytes are the most.
const MAX_NAME_LEN: usize = 253;

/// What an unknown model is known by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    namespace: Option<Box<str>>,
    service: Option<Box<str>>,
    model: Box<str>,
}

impl Key {
    /// `None` where traffic names nothing that it could be known by.
    pub fn of(asked: Asked<'_>) -> Option<Self> {
        let named = |name: &str| (!name.is_empty() && name.len() <= MAX_NAME_LEN).then(|| Box::from(name));
        let service = match asked.service {
            Some(service) => Some(named(&service.name)?),
            None => None,
        };
        let model = match asked.model {
            Some(model) => named(model)?,
            None => service.clone()?,
        };
        let namespace = asked.service.and_then(|service| named(&service.namespace));
        Some(Self { namespace, service, model })
    }

    /// The model as if it had been configured.
    pub fn config(&self) -> ModelConfig {
        let text = |name: &Option<Box<str>>| name.as_deref().map(str::to_owned);
        ModelConfig {
            name: Some(self.model.to_string()),
            namespace: text(&self.namespace),
            inferenceservice: text(&self.service),
            places: Vec::new(),
            ..ModelConfig::new("")
        }
    }

    /// Of a file that [`Self::path_in`] gives.
    pub fn of_file(namespace: Option<&str>, stem: &str) -> Self {
        let service = namespace.is_some().then(|| stem.into());
        Self { namespace: namespace.map(Into::into), service, model: stem.into() }
    }

    /// The file that its baseline is kept in; `None` where its names are none of a file, or not told by one. They come from
    /// traffic: whoever may send events must not choose where we write.
    pub fn path_in(&self, folder: &Path) -> Option<PathBuf> {
        let is_safe = |name: &str| {
            let is_plain = |char: char| char.is_ascii_alphanumeric() || "-_.".contains(char);
            !name.starts_with('.') && name.len() <= 200 && name.chars().all(is_plain)
        };
        if *self != Self::of_file(self.namespace.as_deref(), &self.model) || !is_safe(&self.model) {
            return None;
        }
        let folder = match self.namespace.as_deref() {
            Some(namespace) if !is_safe(namespace) => return None,
            Some(namespace) => folder.join(namespace),
            None => folder.to_owned(),
        };
        Some(folder.join(format!("{}.json", self.model)))
    }

    /// What its traffic asks for.
    pub fn with_asked<T>(&self, then: impl FnOnce(Asked<'_>) -> T) -> T {
        let namespace = self.namespace.clone().unwrap_or_default();
        let service = self.service.clone().map(|name| super::Service { namespace, name });
        then(Asked { service: service.as_ref(), model: Some(&self.model), version: None })
    }
}

/// Shared by all shards, which come here with traffic of unknown models alone.
#[derive(Clone, Debug)]
pub struct Learner(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    config: LearnConfig,
    models: HashMap<Key, Progress>,
}

#[derive(Debug)]
enum Progress {
    Collecting {
        sample: Sample,
        last: Instant,
    },
    Ready(Sample),
    /// A baseline was made of it, or could not be.
    Done,
}

/// Reads one side of an exchange into the columns that are known so far.
pub type Read<'a> = dyn FnMut(Role, &Schema, &mut Batch) -> Result<(), DecodeError> + 'a;

impl Learner {
    /// That has seen nothing.
    pub fn new(config: LearnConfig) -> Self {
        Self(Arc::new(Mutex::new(State { config, models: HashMap::new() })))
    }

    /// Whole after every call: rows are added once both sides are read, wherever a decoder may have panicked.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the rows of an exchange.
    ///
    /// # Errors
    /// Why they are not kept, as a label value.
    pub fn offer(&self, key: Key, now: Instant, read: &mut Read<'_>) -> Result<(), &'static str> {
        let mut state = self.state();
        let LearnConfig { rows, max_bytes_each, .. } = state.config;
        if !state.models.contains_key(&key) && !state.make_room(now) {
            return Err(UNKNOWN_MODEL);
        }
        let begun = || Progress::Collecting { sample: Sample::default(), last: now };
        let progress = state.models.entry(key).or_insert_with(begun);
        let Progress::Collecting { sample, last } = progress else { return Err(LEARNING_FULL) };
        *last = now;
        let added = sample.add(read, rows, max_bytes_each);
        let has_enough = sample.n_rows() >= rows;
        let is_cut = added == Err(LEARNING_FULL) && sample.n_rows() >= LearnConfig::MIN_ROWS;
        if has_enough || is_cut {
            *progress = Progress::Ready(std::mem::take(sample));
        }
        added
    }

    /// Models that there are rows enough of, to be made a baseline of.
    pub fn take_ready(&self) -> Vec<(Key, Sample)> {
        let mut ready = Vec::new();
        for (key, progress) in &mut self.state().models {
            if let Progress::Ready(sample) = progress {
                ready.push((key.clone(), std::mem::take(sample)));
                *progress = Progress::Done;
            }
        }
        ready
    }

    /// Makes a model one that has been learnt already, if there is room for it.
    pub fn mark_learnt(&self, key: &Key) -> bool {
        let mut state = self.state();
        let has_room = state.models.len() < state.config.max_models;
        if has_room {
            state.models.insert(key.clone(), Progress::Done);
        }
        has_room
    }

    /// Where what is learnt is kept, and how many models that may be.
    pub fn kept(&self) -> (Option<PathBuf>, usize) {
        let config = &self.state().config;
        (config.dir.clone(), config.max_models)
    }

    /// Makes a model one that was never seen.
    pub fn forget(&self, key: &Key) {
        self.state().models.remove(key);
    }

    /// How far each model is that is being learnt, by name.
    pub fn report(&self) -> Vec<LearningReport> {
        let state = self.state();
        let report = |(key, progress): (&Key, &Progress)| {
            let (Progress::Collecting { sample, .. } | Progress::Ready(sample)) = progress else {
                return None;
            };
            let text = |name: &Option<Box<str>>| name.as_deref().unwrap_or_default().to_owned();
            Some(LearningReport {
                namespace: text(&key.namespace),
                inferenceservice: text(&key.service),
                model: key.model.to_string(),
                rows: sample.n_rows(),
                rows_wanted: state.config.rows,
            })
        };
        let mut reports: Vec<_> = state.models.iter().filter_map(report).collect();
        reports.sort_by(|a, b| {
            (&a.namespace, &a.inferenceservice, &a.model).cmp(&(&b.namespace, &b.inferenceservice, &b.model))
        });
        reports
    }
}

impl State {
    /// Whether one more model may begin.
    fn make_room(&mut self, now: Instant) -> bool {
        if self.models.len() < self.config.max_models {
            return true;
        }
        let idle = self.models.iter().find_map(|(key, progress)| match progress {
            Progress::Collecting { last, .. } if now.duration_since(*last) >= IDLE_AFTER => Some(key.clone()),
            _ => None,
        });
        idle.and_then(|key| self.models.remove(&key)).is_some()
    }
}

/// Columns that nobody has named.
fn is_anything(found: &Found) -> bool {
    !found.names.is_empty() || found.width > 0
}

#[cfg(test)]
mod tests;
