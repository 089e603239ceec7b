//! Models that nobody has configured, from their first rows to the baseline that is made of them.

use std::sync::Arc;

use tracing::{info, warn};

use crate::net::chain;
use crate::pipeline::Learner;
use crate::pipeline::learn::{Key, Sample};
use crate::pipeline::model::{Model, Origin};
use crate::pipeline::models::{Found, Models, Slot};
use crate::pipeline::report::LearningReport;

/// What was learnt, beside what is being learnt.
#[derive(Debug)]
pub(super) struct Learning {
    learner: Learner,
    learnt: Vec<(Key, Slot)>,
}

impl Learning {
    pub(super) fn new(learner: Learner) -> Self {
        Self { learner, learnt: Vec::new() }
    }

    pub(super) fn report(&self) -> Vec<LearningReport> {
        self.learner.report()
    }

    /// Adds what was learnt behind what is configured. A model that has got a baseline of its own meanwhile is watched against that,
    /// and would be learnt anew if it lost it.
    pub(super) fn add_to(&mut self, slots: &mut Vec<Slot>) {
        for (key, sample) in self.learner.take_ready() {
            self.learnt.extend(learn(&key, sample).map(|slot| (key, slot)));
        }
        if self.learnt.is_empty() {
            return;
        }
        let configured = Models::new(slots.clone());
        let is_unknown = |key: &Key| key.with_asked(|asked| matches!(configured.find(asked), Found::Unknown));
        let learner = &self.learner;
        self.learnt.retain(|(key, _)| {
            let is_unknown = is_unknown(key);
            if !is_unknown {
                learner.forget(key);
            }
            is_unknown
        });
        slots.extend(self.learnt.iter().map(|(_, slot)| slot.clone()));
    }
}

fn learn(key: &Key, sample: Sample) -> Option<Slot> {
    let (config, n_rows) = (key.config(), sample.n_rows());
    match sample.into_baseline() {
        Ok(baseline) => {
            info!(model = ?key, n_rows, n_columns = baseline.features().len(), "learnt a baseline from traffic");
            let model = Some(Arc::new(Model::new(&config, baseline, Origin::Learnt)));
            Some(Slot { config: Arc::new(config), model })
        }
        Err(error) => {
            warn!(model = ?key, n_rows, error = chain(&error), "no baseline can be made of this traffic, its model is not watched");
            None
        }
    }
}
