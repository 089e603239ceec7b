//! Where the models come from that are watched: configured ones and those of `models_dir`, their baselines read again when they change.
//!
//! All of it happens on a thread of its own, which may wait for a slow store as long as it takes: the tick finds what is ready in a
//! place that holds one [`Catalog`], the newest. Files are looked at once an interval, by what the file system says of them. Not by
//! `inotify`: it tells nothing of network file systems and FUSE, watches inodes where a Kubernetes volume swaps a link to a folder, drops
//! events when its queue is full, and has a limit of watches that all processes of a user share. Asking for a thousand files takes
//! a few milliseconds.

mod entry;
mod folder;
mod kept;
mod learning;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tracing::{info, warn};

use super::Learner;
use super::model::Model;
use super::models::{Models, Slot};
use super::report::{BaselineProblem, LearningReport};
use crate::baseline::BaselineError;
use crate::config::ModelConfig;
use crate::telemetry::ProcessMetrics;
use entry::Entry;
use folder::{Key, Listing};
use kept::Kept;
use learning::Learning;

/// What is to be watched, as of the last time anything changed.
#[derive(Debug, Default)]
pub struct Catalog {
    /// The models, those without a baseline among them.
    pub models: Arc<Models>,
    /// What could not be loaded, and why.
    pub problems: Vec<BaselineProblem>,
    /// Models that are being learnt.
    pub learning: Vec<LearningReport>,
}

/// Keeps a [`Catalog`] up to date.
#[derive(Debug)]
pub struct Loader {
    /// In the order of the configuration.
    configured: Vec<Entry>,
    folder: Option<PathBuf>,
    /// In the order of their names, so that which one is asked first does not depend on when it came.
    of_folder: BTreeMap<Key, Entry>,
    max_models: usize,
    interval: Duration,
    process: ProcessMetrics,
    /// What is wrong with more than one baseline.
    told: Vec<BaselineProblem>,
    in_force: Vec<Slot>,
    /// Models that nobody has configured, if they are to be learnt.
    learning: Option<Learning>,
    publish: watch::Sender<Arc<Catalog>>,
}

/// What the loader is to load.
#[derive(Clone, Debug)]
pub struct LoaderConfig {
    /// Configured models.
    pub models: Vec<ModelConfig>,
    /// A folder of baselines, one a model.
    pub models_dir: Option<PathBuf>,
    /// Models at most, of both kinds.
    pub max_models: usize,
    /// Time between two looks.
    pub interval: Duration,
    /// Where the rows of unknown models are, if they are to be learnt.
    pub learner: Option<Learner>,
    /// A folder for baselines that lie elsewhere, to start with while they cannot be had.
    pub kept_in: Option<PathBuf>,
}

impl Loader {
    /// Loads what is on this machine, kept copies of what is not among it; the latter follow once it [`run`](Self::run)s.
    pub fn new(config: LoaderConfig, process: ProcessMetrics) -> Self {
        let LoaderConfig { models, models_dir, max_models, interval, learner, kept_in } = config;
        let kept = kept_in.map(Kept::new);
        let (publish, _) = watch::channel(Arc::default());
        let mut loader = Self {
            configured: models.into_iter().map(|model| Entry::new(Arc::new(model), kept.clone())).collect(),
            folder: models_dir,
            of_folder: BTreeMap::new(),
            max_models,
            interval,
            process,
            told: Vec::new(),
            in_force: Vec::new(),
            learning: learner.map(Learning::new),
            publish,
        };
        loader.round(Instant::now(), true);
        loader
    }

    /// Where the newest catalog is.
    pub fn catalog(&self) -> watch::Receiver<Arc<Catalog>> {
        self.publish.subscribe()
    }

    /// Looks at once, as what lies elsewhere was not asked for yet, and then once an interval, until the other end of `stop` is gone.
    pub fn run(mut self, stop: &Receiver<()>) {
        self.round(Instant::now(), false);
        while let Err(RecvTimeoutError::Timeout) = stop.recv_timeout(self.interval) {
            self.round(Instant::now(), false);
        }
    }

    /// One look at every source that may have changed.
    fn round(&mut self, now: Instant, only_local: bool) {
        let mut problems = Vec::new();
        let listed = self.list();
        if let Err(error) = &listed {
            self.process.count_baseline_error(error.kind());
            problems.push(BaselineProblem::new(self.folder_name(), error, true));
        }
        for entry in self.configured.iter_mut().chain(self.of_folder.values_mut()) {
            if only_local && !entry.is_local() {
                entry.use_kept();
                continue;
            }
            entry.look(now, self.interval, &self.process);
        }
        let mut slots = self.slots(&mut problems);
        if let Some(learning) = &mut self.learning {
            learning.add_to(&mut slots);
        }
        let learning = self.learning.as_ref().map(Learning::report).unwrap_or_default();
        for problem in problems.iter().filter(|problem| !self.told.contains(problem)) {
            let BaselineProblem { path, error, watched } = problem;
            warn!(%path, %error, watched, "baseline not loaded; it is tried again");
        }
        for mended in
            self.told.iter().filter(|told| !problems.iter().any(|problem| problem.path == told.path))
        {
            info!(path = %mended.path, "baseline loaded, or no longer asked for");
        }
        let before = Arc::clone(&self.publish.borrow());
        let models = if is_same(&slots, &self.in_force) {
            Arc::clone(&before.models)
        } else {
            Arc::new(Models::new(slots.clone()))
        };
        if !Arc::ptr_eq(&models, &before.models) || problems != before.problems || learning != before.learning
        {
            self.publish.send_replace(Arc::new(Catalog { models, problems: problems.clone(), learning }));
        }
        (self.in_force, self.told) = (slots, problems);
    }

    /// Takes in what has come to the folder, and lets go what is gone. A folder that cannot be listed says nothing of what is in it.
    fn list(&mut self) -> Result<(), BaselineError> {
        let Some(folder) = &self.folder else { return Ok(()) };
        let room = self.max_models.saturating_sub(self.configured.len());
        let Listing { files, is_cut } = folder::list(folder, room)?;
        self.of_folder.retain(|key, _| files.contains_key(key));
        for (key, path) in files {
            let config = key.config(path);
            self.of_folder.entry(key).or_insert_with(|| Entry::new(Arc::new(config), None));
        }
        if is_cut { Err(BaselineError::TooMany { max_models: self.max_models }) } else { Ok(()) }
    }

    fn folder_name(&self) -> String {
        self.folder.as_ref().map(|folder| folder.display().to_string()).unwrap_or_default()
    }

    /// All models in their order. Two that would have the same labels would have the same series: the first keeps them.
    fn slots(&self, problems: &mut Vec<BaselineProblem>) -> Vec<Slot> {
        let mut slots = Vec::new();
        let mut sources: BTreeMap<[Option<String>; 4], String> = BTreeMap::new();
        for entry in self.configured.iter().chain(self.of_folder.values()) {
            problems.extend(entry.problems());
            let slot = entry.slot();
            if let Some(model) = &slot.model {
                let source = entry.source_in_force();
                if let Some(first) = sources.get(&labels(model)) {
                    let (model, version) = (model.name.clone(), model.version.clone());
                    let error = BaselineError::Twice { model, version, first: first.clone() };
                    if !self.told.iter().any(|told| told.path == source) {
                        self.process.count_baseline_error(error.kind());
                    }
                    problems.push(BaselineProblem::new(source, &error, false));
                    continue;
                }
                sources.insert(labels(model), source);
            }
            slots.push(slot);
        }
        slots
    }
}

fn labels(model: &Model) -> [Option<String>; 4] {
    let own = |text: &String| Some(text.clone());
    [model.namespace.clone(), model.inferenceservice.clone(), own(&model.name), own(&model.version)]
}

fn is_same(ours: &[Slot], theirs: &[Slot]) -> bool {
    let is_same_model = |ours: &Option<Arc<Model>>, theirs: &Option<Arc<Model>>| match (ours, theirs) {
        (Some(ours), Some(theirs)) => Arc::ptr_eq(ours, theirs),
        (ours, theirs) => ours.is_none() && theirs.is_none(),
    };
    ours.len() == theirs.len()
        && ours.iter().zip(theirs).all(|(ours, theirs)| {
            Arc::ptr_eq(&ours.config, &theirs.config) && is_same_model(&ours.model, &theirs.model)
        })
}

#[cfg(test)]
mod tests;
