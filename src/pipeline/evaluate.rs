//! The tick: takes what the shards counted, hands it to each model's state, and publishes what they make of it. Where rows have
//! times of their own, their sources say when to look, and the tick publishes what was seen.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::watch;
use tracing::{info, warn};

use super::MirrorBudget;
use super::count::ShardCounts;
use super::keeper::Keeper;
use super::model::Models;
use super::report::{BaselineProblem, ModelReport, Report};
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
    timed: Option<Timed>,
    keeper: Option<Keeper>,
    has_changed: bool,
}

/// What is other where rows have times of their own.
#[derive(Debug)]
struct Timed {
    sources: Vec<Source>,
    /// Of the last look at each model.
    reports: BTreeMap<usize, ModelReport>,
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
    /// Over the counts of `shards`, publishing to `publish`; no baseline is loaded before the first [`tick`](Self::tick) or
    /// [`load_baselines`](Self::load_baselines).
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
        Self {
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
            timed: None,
            keeper: None,
            has_changed: false,
        }
    }

    /// Keeps the windows in a folder, and goes on with those that are in it; `keys` tell the sources of timed rows apart.
    pub fn keep_in(&mut self, folder: StateDir, keys: &[String]) {
        let sources = self.timed.as_mut().map_or(&mut [][..], |timed| &mut timed.sources);
        let (keeper, saved_at) = Keeper::new(folder, keys, sources, &self.process);
        // A wall clock that was set back in between would make all that comes late.
        self.clock.started =
            self.clock.started.max(SystemTime::UNIX_EPOCH + Duration::from_millis(saved_at.as_millis()));
        self.keeper = Some(keeper);
    }

    /// Of rows that have times of their own, from `n_sources` sources; what is late is counted in `metrics`.
    pub fn of_timed_rows(&mut self, n_sources: usize, metrics: TapMetrics) {
        let sources = std::iter::repeat_with(Source::default).take(n_sources).collect();
        self.timed = Some(Timed { sources, reports: BTreeMap::new(), metrics });
    }

    /// One look, now.
    pub fn tick(&mut self) {
        let started = Instant::now();
        let now = self.clock.now();
        self.load_baselines();
        let models = if self.timed.is_some() {
            self.reports_of_timed()
        } else {
            self.absorb(now);
            self.states.iter_mut().flatten().map(|state| state.judge(now)).collect()
        };
        self.keep(now);
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

    /// How far a source had been read, and the time of its latest row, when what we know of it was kept.
    pub fn read_so_far(&self, source: usize) -> (Marks, Timestamp) {
        let source = self.timed.as_ref().and_then(|timed| timed.sources.get(source));
        source.map(|source| (source.marks.clone(), source.watermark)).unwrap_or_default()
    }

    /// Takes in what a source has counted, and looks at its models as of its latest row.
    pub fn take_in(&mut self, mut counted: Counted) {
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
                let (Some(of_model), Some(Some(state))) = (of_model, self.states.get_mut(idx)) else {
                    continue;
                };
                source.feeds.insert(idx);
                if state.absorb(of_model, at) == Added::Late {
                    timed.metrics.count_late(of_model.n_exchanges);
                }
            }
            for (&(format, reason), &n) in &counts.errors {
                self.process.count_decode_errors(format, reason, n);
            }
        }
        for &idx in &source.feeds {
            if let Some(Some(state)) = self.states.get_mut(idx) {
                timed.reports.insert(idx, state.judge(source.watermark));
            }
        }
        self.process.evaluation_seconds.observe(started.elapsed().as_secs_f64());
    }

    /// What was last said of each model. Before its first row, a model has no time yet.
    fn reports_of_timed(&mut self) -> Vec<ModelReport> {
        let Some(timed) = &mut self.timed else { return Vec::new() };
        let states = self.states.iter_mut().enumerate();
        let report = |(idx, state): (usize, &mut Option<ModelState>)| {
            let state = state.as_mut()?;
            // One that was kept is as of the latest row of its source.
            let fed_by = timed.sources.iter().filter(|source| source.feeds.contains(&idx));
            let now = fed_by.map(|source| source.watermark).max().unwrap_or_default();
            Some(timed.reports.entry(idx).or_insert_with(|| state.judge(now)).clone())
        };
        states.filter_map(report).collect()
    }

    /// Moves what the shards counted since the last tick into the windows.
    fn absorb(&mut self, now: Timestamp) {
        for shard in &self.shards {
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
            self.spare.clear();
        }
    }

    fn keep(&mut self, now: Timestamp) {
        let Some(keeper) = &mut self.keeper else { return };
        let sources = self.timed.as_ref().map_or(&[][..], |timed| &timed.sources);
        let states = self.states.iter().enumerate().filter_map(|(idx, state)| Some((idx, state.as_ref()?)));
        keeper.keep((now, self.has_changed), states, sources, &self.process);
        self.has_changed = false;
    }

    /// Reads the baselines that are not loaded yet, at every tick: a volume may be mounted late, a file be mended.
    pub fn load_baselines(&mut self) {
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
            let state = state.insert(ModelState::new(Arc::clone(model), &mut self.context, &self.process));
            let Some(keeper) = &mut self.keeper else { continue };
            for source in keeper.restore(state, &self.process) {
                if let Some(source) = self.timed.as_mut().and_then(|timed| timed.sources.get_mut(source)) {
                    source.feeds.insert(idx);
                }
            }
        }
    }
}

/// Seconds since the Unix epoch.
pub(super) fn seconds(at: Timestamp) -> f64 {
    at.as_millis() as f64 / 1000.0
}
