//! The tick: takes what the shards counted, hands it to each model's state, and publishes what they make of it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use tokio::sync::watch;
use tracing::info;

use super::MirrorBudget;
use super::loader::Catalog;
use super::models::Models;
use super::report::Report;
use super::shard::{ShardCounts, ShardHandle};
use super::state::{Context, ModelState};
use crate::drift::Timestamp;
use crate::telemetry::ProcessMetrics;

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
    /// Over the counts of `shards`, which count for the models of `catalog` from now on, publishing to `publish`.
    pub fn new(
        catalog: watch::Receiver<Arc<Catalog>>,
        shards: Vec<ShardHandle>,
        context: Context,
        process: ProcessMetrics,
        budgets: Vec<MirrorBudget>,
        publish: watch::Sender<Arc<Report>>,
    ) -> Self {
        let clock = Clock { started: SystemTime::now(), since: Instant::now() };
        let mut evaluator = Self {
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
        };
        evaluator.absorb(evaluator.clock.now());
        evaluator
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
        let models = self.states.iter_mut().flatten().map(|state| state.judge(now)).collect();
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
                    state.absorb(counts, now);
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
            *state = Some(ModelState::new(Arc::clone(model), &mut self.context, &self.process));
        }
        self.states = states;
        self.models = models;
    }
}

/// Seconds since the Unix epoch.
pub(super) fn seconds(at: Timestamp) -> f64 {
    at.as_millis() as f64 / 1000.0
}

#[cfg(test)]
mod tests;
