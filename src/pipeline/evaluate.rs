//! The tick: takes what the shards counted, hands it to each model's state, and publishes what they make of it.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use tokio::sync::watch;
use tracing::{info, warn};

use super::MirrorBudget;
use super::count::ShardCounts;
use super::model::Models;
use super::report::{BaselineProblem, Report};
use super::shard::ShardHandle;
use super::state::{Context, ModelState};
use crate::drift::Timestamp;
use crate::telemetry::ProcessMetrics;

/// Everything a tick touches. It lives in one place at a time, so nothing in it is locked.
#[derive(Debug)]
pub struct Evaluator {
    models: Arc<Models>,
    shards: Vec<ShardHandle>,
    spare: ShardCounts,
    states: Vec<Option<ModelState>>,
    context: Context,
    process: ProcessMetrics,
    budgets: Vec<MirrorBudget>,
    publish: watch::Sender<Arc<Report>>,
    clock: Clock,
    problems: Vec<BaselineProblem>,
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
    /// Over the counts of `shards`, publishing to `publish`.
    pub fn new(
        models: Arc<Models>,
        shards: Vec<ShardHandle>,
        context: Context,
        process: ProcessMetrics,
        budgets: Vec<MirrorBudget>,
        publish: watch::Sender<Arc<Report>>,
    ) -> Self {
        let states = std::iter::repeat_with(|| None).take(models.len()).collect();
        let clock = Clock { started: SystemTime::now(), since: Instant::now() };
        let mut evaluator = Self {
            models,
            shards,
            spare: ShardCounts::default(),
            states,
            context,
            process,
            budgets,
            publish,
            clock,
            problems: Vec::new(),
        };
        evaluator.load_baselines();
        evaluator
    }

    /// One look, now.
    pub fn tick(&mut self) {
        let started = Instant::now();
        let now = self.clock.now();
        self.load_baselines();
        self.absorb(now);
        let models = self.states.iter_mut().flatten().map(|state| state.judge(now)).collect();
        let evaluated_at = seconds(now);
        self.publish.send_replace(Arc::new(Report {
            evaluated_at,
            models,
            baseline_errors: self.problems.clone(),
        }));
        let held_bytes = self.budgets.iter().map(MirrorBudget::held_bytes).sum::<usize>();
        self.process.mirrored_bytes.set(i64::try_from(held_bytes).unwrap_or(i64::MAX));
        self.process.evaluation_seconds.observe(started.elapsed().as_secs_f64());
    }

    /// Moves what the shards counted since the last tick into the windows.
    fn absorb(&mut self, now: Timestamp) {
        for shard in &self.shards {
            shard.take(&mut self.spare);
            for (state, counts) in self.states.iter_mut().zip(&self.spare.models) {
                if let (Some(state), Some(counts)) = (state, counts) {
                    state.absorb(counts, now);
                }
            }
            for (&(format, reason), &n) in &self.spare.errors {
                self.process.count_decode_errors(format, reason, n);
            }
            self.spare.clear();
        }
    }

    /// Reads the baselines that are not loaded yet, at every tick: a volume may be mounted late, a file be mended.
    fn load_baselines(&mut self) {
        if self.states.iter().all(Option::is_some) {
            return;
        }
        let mut problems = Vec::new();
        for (path, error) in self.models.load_missing() {
            self.process.count_baseline_error(error.kind());
            problems
                .push(BaselineProblem { path: path.display().to_string(), error: crate::net::chain(&error) });
        }
        for problem in problems.iter().filter(|problem| !self.problems.contains(problem)) {
            warn!(path = %problem.path, error = %problem.error, "baseline not loaded, its model is not watched; trying again at every tick");
        }
        self.problems = problems;
        for (idx, state) in self.states.iter_mut().enumerate() {
            let (None, Some(model)) = (&state, self.models.get(idx)) else { continue };
            info!(model = %model.name, version = %model.version, n_columns = model.schema.columns().len(), "watching");
            *state = Some(ModelState::new(Arc::clone(model), &mut self.context, &self.process));
        }
    }
}

/// Seconds since the Unix epoch.
pub(super) fn seconds(at: Timestamp) -> f64 {
    at.as_millis() as f64 / 1000.0
}
