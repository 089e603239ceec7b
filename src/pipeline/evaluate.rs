//! The tick: takes what the shards counted, hands it to each model's state, and publishes what they make of it. Where rows have
//! times of their own, their sources say when to look, and the tick publishes what was seen.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::watch;
use tracing::info;

use super::MirrorBudget;
use super::count::ShardCounts;
use super::keeper::Keeper;
use super::loader::Catalog;
use super::models::Models;
use super::report::{ModelReport, Report};
use super::shard::ShardHandle;
use super::snapshot::StateDir;
use super::state::{Context, ModelState};
use super::timed::{Counted, Marks, Source};
use crate::drift::Timestamp;
use crate::drift::window::Added;
use crate::telemetry::{ProcessMetrics, TapMetrics};

/// Everything a tick touches. It lives in one place at a time, so nothing in it is locked.
#[derive(Debug)]
pub struct Evaluator {
    /// What is to be watched, as the loader finds it.
    catalog: watch::Receiver<Arc<Catalog>>,
    /// What the shards count for.
    models: Arc<Models>,
    shards: Vec<ShardHandle>,
    spare: ShardCounts,
    /// One a model.
    states: Vec<Option<ModelState>>,
    /// What is watched no more since the last tick: its series may be scraped once more.
    retired: Vec<ModelState>,
    context: Context,
    process: ProcessMetrics,
    budgets: Vec<MirrorBudget>,
    publish: watch::Sender<Arc<Report>>,
    clock: Clock,
    timed: Option<Timed>,
    keeper: Option<Keeper>,
    has_changed: bool,
}

/// What is other where rows have times of their own.
#[derive(Debug)]
struct Timed {
    sources: Vec<Source>,
    metrics: TapMetrics,
}

/// Wall-clock time that never runs backwards: the process's start plus the time since.
#[derive(Clone, Copy, Debug)]
struct Clock {
    started: SystemTime,
    since: Instant,
}

impl Clock {
    fn now(self) -> Timestamp {
        (self.started + self.since.elapsed()).into()
    }
}

impl Evaluator {
    /// Over the counts of `shards`, which count for the models of `catalog` once it [begins](Self::begin), publishing to `publish`.
    pub fn new(
        catalog: watch::Receiver<Arc<Catalog>>,
        shards: Vec<ShardHandle>,
        context: Context,
        process: ProcessMetrics,
        budgets: Vec<MirrorBudget>,
        publish: watch::Sender<Arc<Report>>,
    ) -> Self {
        let clock = Clock { started: SystemTime::now(), since: Instant::now() };
        Self {
            catalog,
            models: Arc::default(),
            shards,
            spare: ShardCounts::default(),
            states: Vec::new(),
            retired: Vec::new(),
            context,
            process,
            budgets,
            publish,
            clock,
            timed: None,
            keeper: None,
            has_changed: false,
        }
    }

    /// Of rows that have times of their own, from `n_sources` sources; what is late is counted in `metrics`.
    pub fn of_timed_rows(&mut self, n_sources: usize, metrics: TapMetrics) {
        let sources = std::iter::repeat_with(Source::default).take(n_sources).collect();
        self.timed = Some(Timed { sources, metrics });
    }

    /// Keeps the windows in a folder, and goes on with those that are in it; `keys` tell the sources of timed rows apart.
    pub fn keep_in(&mut self, folder: StateDir, keys: &[String]) {
        let sources = self.timed.as_mut().map_or(&mut [][..], |timed| &mut timed.sources);
        let (keeper, saved_at) = Keeper::new(folder, keys, sources, &self.process);
        // A wall clock that was set back in between would make all that comes late.
        let saved_at = SystemTime::UNIX_EPOCH + Duration::from_millis(saved_at.as_millis());
        self.clock.started = self.clock.started.max(saved_at);
        self.keeper = Some(keeper);
    }

    /// Watches what is loaded.
    pub fn begin(&mut self) {
        self.absorb(self.clock.now());
    }

    /// How far a source had been read, and the time of its latest row, when what we know of it was kept.
    pub fn read_so_far(&self, source: usize) -> (Marks, Timestamp) {
        let source = self.timed.as_ref().and_then(|timed| timed.sources.get(source));
        source.map(|source| (source.marks.clone(), source.watermark)).unwrap_or_default()
    }

    /// Takes in what a source has counted, and looks at its models as of its latest row.
    pub fn take_in(&mut self, mut counted: Counted) {
        self.follow();
        let Some(timed) = &mut self.timed else { return };
        let Some(source) = timed.sources.get_mut(counted.source) else { return };
        let started = Instant::now();
        source.advance(&mut counted);
        self.has_changed = true;
        if counted.slots.is_empty() {
            return;
        }
        for (at, counts) in counted.slots {
            for (idx, of_model) in counts.models.iter().enumerate() {
                let (Some(of_model), Some(model)) = (of_model, counts.of.get(idx)) else { continue };
                // Its place may be another by now, or it may have just been replaced.
                let mut states = self.states.iter_mut().flatten().chain(&mut self.retired);
                let Some(state) = states.find(|state| Arc::ptr_eq(state.model(), model)) else { continue };
                state.fed_by.insert(counted.source);
                if state.absorb(of_model, at) == Added::Late {
                    timed.metrics.count_late(of_model.n_exchanges);
                }
            }
            for (&(format, reason), &n) in &counts.errors {
                self.process.count_decode_errors(format, reason, n);
            }
        }
        for state in self.states.iter_mut().flatten().filter(|state| state.fed_by.contains(&counted.source)) {
            state.look(source.watermark);
        }
        self.process.evaluation_seconds.observe(started.elapsed().as_secs_f64());
    }

    /// One look, now.
    pub fn tick(&mut self) {
        let started = Instant::now();
        let now = self.clock.now();
        let retired = std::mem::take(&mut self.retired);
        self.absorb(now);
        for old in &retired {
            old.take_back_series(self.states.iter().flatten());
        }
        let models = match &self.timed {
            Some(timed) => reports_of_timed(&timed.sources, &mut self.states),
            None => self.states.iter_mut().flatten().map(|state| state.judge(now)).collect(),
        };
        self.keep(now);
        let evaluated_at = seconds(now);
        self.publish.send_replace(Arc::new(Report {
            evaluated_at,
            models,
            baseline_errors: self.catalog.borrow().problems.clone(),
            learning: self.catalog.borrow().learning.clone(),
        }));
        let held_bytes = self.budgets.iter().map(MirrorBudget::held_bytes).sum::<usize>();
        self.process.mirrored_bytes.set(i64::try_from(held_bytes).unwrap_or(i64::MAX));
        self.process.evaluation_seconds.observe(started.elapsed().as_secs_f64());
    }

    /// Moves what the shards counted since the last tick into the windows. Where there are other models from now on, each shard
    /// gets them in the moment in which its counts are taken, so every row is counted once, for one set of models.
    fn absorb(&mut self, now: Timestamp) {
        let next = Arc::clone(&self.catalog.borrow_and_update().models);
        for shard in &self.shards {
            self.spare.reset(&next);
            shard.take(&mut self.spare);
            for (state, counts) in self.states.iter_mut().zip(&self.spare.models) {
                if let (Some(state), Some(counts)) = (state, counts) {
                    let added = state.absorb(counts, now);
                    debug_assert_eq!(added, Added::Counted, "the clock does not run backwards");
                    self.has_changed = true;
                }
            }
            for (&(format, reason), &n) in &self.spare.errors {
                self.process.count_decode_errors(format, reason, n);
            }
        }
        if !Arc::ptr_eq(&next, &self.models) {
            self.change_to(next);
        }
    }

    /// Watches what is loaded by now. Logs are counted for it as soon, and no shard counts where they are read.
    fn follow(&mut self) {
        let next = Arc::clone(&self.catalog.borrow_and_update().models);
        if !Arc::ptr_eq(&next, &self.models) {
            self.change_to(next);
        }
    }

    fn keep(&mut self, now: Timestamp) {
        let Some(keeper) = &mut self.keeper else { return };
        let sources = self.timed.as_ref().map_or(&[][..], |timed| &timed.sources);
        keeper.keep((now, self.has_changed), self.states.iter().flatten(), sources, &self.process);
        self.has_changed = false;
    }

    /// Watches other models from now on. Those that stay keep their windows; a model whose baseline is another begins anew, since its
    /// bins may be others.
    fn change_to(&mut self, models: Arc<Models>) {
        let mut known: HashMap<_, _> =
            self.states.drain(..).flatten().map(|state| (Arc::as_ptr(state.model()), state)).collect();
        let mut states: Vec<_> = (0..models.len())
            .map(|idx| models.get(idx).and_then(|model| known.remove(&Arc::as_ptr(model))))
            .collect();
        for old in known.into_values() {
            info!(model = %old.model().name, version = %old.model().version, sha256 = old.model().baseline.sha256(), "watching no more");
            old.give_back_budget(&mut self.context);
            self.retired.push(old);
        }
        for (idx, state) in states.iter_mut().enumerate() {
            let (None, Some(model)) = (&state, models.get(idx)) else { continue };
            info!(model = %model.name, version = %model.version, n_columns = model.schema.columns().len(), sha256 = model.baseline.sha256(), "watching");
            let state = state.insert(ModelState::new(Arc::clone(model), &mut self.context, &self.process));
            if let Some(keeper) = &mut self.keeper {
                keeper.restore(state, &self.process);
            }
        }
        self.states = states;
        self.models = models;
    }
}

/// What was last said of each model; before its first row, a model has no time yet. One that was kept is as of the latest row of its
/// sources.
fn reports_of_timed(sources: &[Source], states: &mut [Option<ModelState>]) -> Vec<ModelReport> {
    let report = |state: &mut ModelState| {
        let fed_by = state.fed_by.iter().filter_map(|&source| sources.get(source));
        let now = fed_by.map(|source| source.watermark).max().unwrap_or_default();
        state.last_report(now)
    };
    states.iter_mut().flatten().map(report).collect()
}

/// Seconds since the Unix epoch.
pub(super) fn seconds(at: Timestamp) -> f64 {
    at.as_millis() as f64 / 1000.0
}

#[cfg(test)]
mod tests;
