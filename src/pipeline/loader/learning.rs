//! Models that nobody has configured, from their first rows to the baseline that is made of them.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tracing::{info, warn};

use super::folder;
use crate::baseline::{Baseline, BaselineError};
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
    /// A folder that outlives the process.
    kept_in: Option<PathBuf>,
    learnt: Vec<(Key, Slot)>,
}

impl Learning {
    /// With what was learnt before, if it was kept.
    pub(super) fn new(learner: Learner) -> Self {
        let (kept_in, max_models) = learner.kept();
        let mut learning = Self { learner, kept_in, learnt: Vec::new() };
        if let Some(folder) = learning.kept_in.clone()
            && let Err(error) = learning.read(&folder, max_models)
        {
            warn!(path = %folder.display(), error = chain(&error), "cannot read what was learnt before, it is learnt anew");
        }
        learning
    }

    fn read(&mut self, folder: &Path, max_models: usize) -> Result<(), BaselineError> {
        let listing = match folder::list(folder, max_models) {
            Err(error) if error.is_absent() => return Ok(()), // nothing was learnt yet
            listing => listing?,
        };
        for (file, path) in listing.files {
            let key = Key::of_file(file.namespace.as_deref(), &file.stem);
            match Baseline::read(&path) {
                Ok(baseline) if self.learner.mark_learnt(&key) => {
                    let slot = slot(&key, baseline);
                    self.learnt.push((key, slot));
                }
                Ok(_) => (),
                Err(error) => {
                    warn!(path = %path.display(), error = chain(&error), "no baseline, its model is learnt anew");
                }
            }
        }
        Ok(())
    }

    pub(super) fn report(&self) -> Vec<LearningReport> {
        self.learner.report()
    }

    /// Adds what was learnt behind what is configured. A model that has got a baseline of its own meanwhile is watched against that,
    /// and would be learnt anew if it lost it.
    pub(super) fn add_to(&mut self, slots: &mut Vec<Slot>) {
        for (key, sample) in self.learner.take_ready() {
            if let Some(slot) = learn(&key, sample) {
                self.keep(&key, &slot);
                self.learnt.push((key, slot));
            }
        }
        if self.learnt.is_empty() {
            return;
        }
        let configured = Models::new(slots.clone());
        let is_unknown = |key: &Key| key.with_asked(|asked| matches!(configured.find(asked), Found::Unknown));
        let (learnt, superseded): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.learnt).into_iter().partition(|(key, _)| is_unknown(key));
        self.learnt = learnt;
        for (key, _) in superseded {
            self.learner.forget(&key);
            if let Some(path) = self.path(&key)
                && let Err(error) = std::fs::remove_file(&path)
                && error.kind() != io::ErrorKind::NotFound
            {
                warn!(path = %path.display(), %error, "cannot remove what was learnt of a model that has its own baseline");
            }
        }
        slots.extend(self.learnt.iter().map(|(_, slot)| slot.clone()));
    }

    fn path(&self, key: &Key) -> Option<PathBuf> {
        key.path_in(self.kept_in.as_deref()?)
    }

    /// The baseline has counts and hashes of categories, and no row.
    fn keep(&self, key: &Key, slot: &Slot) {
        let (Some(path), Some(model)) = (self.path(key), &slot.model) else { return };
        let folder = path.parent().map_or(Ok(()), std::fs::create_dir_all);
        let failed = |source| BaselineError::Write { path: path.clone(), source };
        if let Err(error) = folder.map_err(failed).and_then(|()| model.baseline.write(&path)) {
            warn!(error = chain(&error), "what was learnt is not kept, a restart learns it anew");
        }
    }
}

fn learn(key: &Key, sample: Sample) -> Option<Slot> {
    let n_rows = sample.n_rows();
    match sample.into_baseline() {
        Ok(baseline) => {
            info!(model = ?key, n_rows, n_columns = baseline.features().len(), "learnt a baseline from traffic");
            Some(slot(key, baseline))
        }
        Err(error) => {
            warn!(model = ?key, n_rows, error = chain(&error), "no baseline can be made of this traffic, its model is not watched");
            None
        }
    }
}

fn slot(key: &Key, baseline: Baseline) -> Slot {
    let config = key.config();
    let model = Some(Arc::new(Model::new(&config, baseline, Origin::Learnt)));
    Slot { config: Arc::new(config), model }
}
