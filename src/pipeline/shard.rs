//! One thread that decodes exchanges and counts their rows. It owns its counters: the only lock is its own, taken once
//! an exchange and contended once a tick.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{self, error::TryRecvError};
use tracing::{debug, error};
use twox_hash::XxHash3_64;

use super::learn::{Key, Learner};
use super::model::Model;
use super::models::{Asked, Found, Models};
use super::{Exchange, MirroredBody};
use crate::baseline::Role;
use crate::decode::{self, Batch, Body, Column, DecodeError, Format, Route, ViolationReason};
use crate::drift::repeats::RepeatCounter;
use crate::drift::scan::Repeats;
use crate::drift::{Histogram, kernels};
use crate::telemetry::process::{NO_BASELINE, UNKNOWN, UNKNOWN_FORMAT, UNKNOWN_MODEL};

/// How long an idle shard naps before it looks again. Waking a thread costs the tap a system call an exchange; a look
/// every few milliseconds costs nothing and is a thousandth of the tick.
const NAP: Duration = Duration::from_millis(2);
/// Naps without work before the shard waits to be woken: a quiet pod burns no cycles.
const N_NAPS: u32 = 25;
/// Names of unexpected features kept for one model.
pub(super) const MAX_UNEXPECTED: usize = 64;
/// A decoded body may be this many times as long as its copy on the wire may.
const MAX_INFLATION: usize = 8;

/// What one shard has counted since the last tick.
#[derive(Debug, Default)]
pub struct ShardCounts {
    /// The models that are counted for. The evaluator puts others here in the same moment in which it takes the counts, so
    /// that counts are always of one set of models, and none is lost between two.
    pub of: Arc<Models>,
    /// One a model, empty until its first exchange.
    pub models: Vec<Option<ModelCounts>>,
    /// What could not be counted, by format and reason.
    pub errors: HashMap<(&'static str, &'static str), u64>,
}

/// What one shard has counted for one model.
#[derive(Debug)]
pub struct ModelCounts {
    /// In the order of the schema.
    pub histograms: Vec<Histogram>,
    /// Rows of features and of predictions.
    pub rows: [u64; 2],
    /// Rows that broke the contract, by column (`None`: unknown to the baseline) and reason.
    pub violations: HashMap<(Option<usize>, ViolationReason), u64>,
    /// Names of features unknown to the baseline, for the API.
    pub unexpected: BTreeSet<Box<str>>,
    /// Rows that repeat others.
    pub repeats: Repeats,
}

impl ModelCounts {
    fn new(model: &Model) -> Self {
        let zero = |reference: &crate::drift::score::Reference| Histogram::new(reference.bins().n_bins());
        Self {
            histograms: model.references.iter().map(zero).collect(),
            rows: [0; 2],
            violations: HashMap::new(),
            unexpected: BTreeSet::new(),
            repeats: Repeats::default(),
        }
    }

    /// Counts the rows of one exchange.
    fn record(&mut self, model: &Model, batch: &Batch) {
        for ((column, recorder), histogram) in
            batch.columns.iter().zip(&model.recorders).zip(&mut self.histograms)
        {
            match (column, recorder) {
                (Column::Numbers { values, n_other }, Some(recorder)) => {
                    recorder.record(values, histogram);
                    histogram.missing_to_other(*n_other);
                }
                (Column::Codes(codes), _) => kernels::record_codes(codes, histogram),
                // A schema makes Numbers only where the reference has edges.
                (Column::Numbers { .. } | Column::Cells(_), _) => debug!("column without edges"),
            }
        }
        for role in [Role::Feature, Role::Prediction] {
            self.rows[role as usize] += batch.n_rows(role) as u64;
        }
        for violation in &batch.violations {
            *self.violations.entry((violation.column, violation.reason)).or_default() += violation.n_rows;
        }
        for name in &batch.unexpected {
            if self.unexpected.len() < MAX_UNEXPECTED && !self.unexpected.contains(name) {
                self.unexpected.insert(name.clone());
            }
        }
    }

    /// Forgets the counts and keeps the memory.
    fn clear(&mut self) {
        self.histograms.iter_mut().for_each(Histogram::clear);
        self.rows = [0; 2];
        self.violations.clear();
        self.unexpected.clear();
        self.repeats = Repeats::default();
    }
}

impl ShardCounts {
    /// Forgets the counts, and keeps the memory if they are to be of the same models.
    pub fn reset(&mut self, of: &Arc<Models>) {
        if Arc::ptr_eq(&self.of, of) {
            self.models.iter_mut().flatten().for_each(ModelCounts::clear);
        } else {
            self.of = Arc::clone(of);
            self.models.clear();
        }
        self.errors.clear();
    }
}

/// The evaluator's side of a shard.
#[derive(Clone, Debug)]
pub struct ShardHandle(Arc<Mutex<ShardCounts>>);

impl ShardHandle {
    /// Swaps what was counted since the last call with `spare`, which must be reset: what is counted from now on is for the
    /// models it was reset to.
    pub fn take(&self, spare: &mut ShardCounts) {
        std::mem::swap(&mut *lock(&self.0), spare);
    }
}

/// Counts are plain numbers, valid wherever a panic may have stopped: a poisoned lock is taken all the same.
fn lock(counts: &Mutex<ShardCounts>) -> MutexGuard<'_, ShardCounts> {
    counts.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A thread's worth of decoding and counting.
#[derive(Debug)]
pub struct Shard {
    queue: mpsc::Receiver<Exchange>,
    /// Those of `counts`, as of the last exchange.
    models: Arc<Models>,
    counts: Arc<Mutex<ShardCounts>>,
    batches: Vec<Option<Batch>>,
    /// One a model.
    repeats: Vec<RepeatCounter>,
    max_body_bytes: usize,
    /// Where traffic of unknown models goes, if they are learnt.
    learner: Option<Learner>,
}

/// What an exchange comes to.
enum Counted {
    /// Rows of a model, and what of them was not understood.
    Rows { idx: usize, batch: Batch, format: &'static str, errors: [Option<&'static str>; 2] },
    /// Nothing, and why.
    Nothing { format: &'static str, reason: &'static str },
    /// Rows of a model that nobody knows.
    Unknown { format: Format, key: Key },
}

impl Shard {
    /// Behind `queue`; a body is at most `max_body_bytes` on the wire. What no model has asked for is `learner`'s.
    pub fn new(queue: mpsc::Receiver<Exchange>, max_body_bytes: usize, learner: Option<Learner>) -> Self {
        Self {
            queue,
            models: Arc::default(),
            counts: Arc::default(),
            batches: Vec::new(),
            repeats: Vec::new(),
            max_body_bytes,
            learner,
        }
    }

    /// Where the evaluator takes the counts.
    pub fn handle(&self) -> ShardHandle {
        ShardHandle(Arc::clone(&self.counts))
    }

    /// Counts until every intake is gone and the queue is empty.
    pub fn run(mut self) {
        while let Some(exchange) = self.next() {
            // One exchange that finds a bug in a decoder must not end the counting of all others.
            let counted = catch_unwind(AssertUnwindSafe(|| self.count(&exchange)));
            if counted.is_err() {
                let format = exchange.route.as_ref().map_or(UNKNOWN, |route| route.format.as_str());
                error!(format, service = ?exchange.service, "decoder panicked, exchange not counted");
                self.count_error(format, "panic");
                self.batches.clear();
            }
        }
    }

    fn next(&mut self) -> Option<Exchange> {
        for _ in 0..N_NAPS {
            match self.queue.try_recv() {
                Ok(exchange) => return Some(exchange),
                Err(TryRecvError::Disconnected) => return None,
                Err(TryRecvError::Empty) => std::thread::sleep(NAP),
            }
        }
        self.queue.blocking_recv()
    }

    /// An exchange that was read for models which are no longer those that are counted for is read once more: that is once a
    /// change, which is looked for where the lock is taken in any case.
    fn count(&mut self, exchange: &Exchange) {
        loop {
            let counted = self.read(exchange);
            if self.record(exchange, counted) {
                return;
            }
        }
    }

    fn read(&mut self, exchange: &Exchange) -> Counted {
        let models = Arc::clone(&self.models);
        let request = self.inflated(&exchange.request);
        let body = request.as_ref().ok().map(|request| self.body(&exchange.request, request));
        let format = match (&exchange.route, &body) {
            (Some(route), _) => Some(route.format),
            (None, body) => body.as_ref().and_then(Format::of_body),
        };
        let Some(format) = format else {
            return Counted::Nothing { format: UNKNOWN, reason: UNKNOWN_FORMAT };
        };
        let asked = match (&exchange.route, body) {
            (Some(Route { model: Some(model), version, .. }), _) => Some((model.clone(), version.clone())),
            (_, body) => body.and_then(|body| decode::names_in(format, &body)),
        };
        let asked = Asked {
            service: exchange.service.as_ref(),
            model: asked.as_ref().map(|(model, _)| &**model),
            version: asked.as_ref().and_then(|(_, version)| version.as_deref()),
        };
        let label = format.as_str();
        let nothing = |reason| Counted::Nothing { format: label, reason };
        let (idx, model) = match models.find(asked) {
            Found::Model(idx, model) => (idx, model),
            Found::NoBaseline => return nothing(NO_BASELINE),
            Found::Unknown => {
                let key = self.learner.as_ref().and_then(|_| Key::of(asked));
                return key.map_or_else(|| nothing(UNKNOWN_MODEL), |key| Counted::Unknown { format, key });
            }
        };
        self.batches.resize_with(models.len(), || None);
        let mut batch = self.batches[idx].take().unwrap_or_else(|| Batch::new(&model.schema));
        batch.clear();
        let read = |role: Role, bytes: &[u8], batch: &mut Batch| match role {
            Role::Feature => {
                decode::decode_request(format, &self.body(&exchange.request, bytes), &model.schema, batch)
            }
            Role::Prediction => {
                decode::decode_response(format, &self.body(&exchange.response, bytes), &model.schema, batch)
            }
        };
        let sides = [(Role::Feature, request), (Role::Prediction, self.inflated(&exchange.response))];
        let errors = sides.map(|(role, bytes)| {
            let error = bytes.and_then(|bytes| read(role, &bytes, &mut batch)).err()?;
            debug!(%error, model = %model.name, role = role.as_str(), "body not understood");
            Some(error.kind())
        });
        Counted::Rows { idx, batch, format: label, errors }
    }

    /// `false` if it was read for other models than those that are counted for by now: nothing is counted then.
    fn record(&mut self, exchange: &Exchange, counted: Counted) -> bool {
        let mut counts = lock(&self.counts);
        if !Arc::ptr_eq(&counts.of, &self.models) {
            let models = Arc::clone(&counts.of);
            drop(counts);
            self.change_to(models);
            return false;
        }
        match counted {
            Counted::Unknown { format, key } => {
                drop(counts);
                if let Err(reason) = self.learn(exchange, format, key) {
                    self.count_error(format.as_str(), reason);
                }
            }
            Counted::Nothing { format, reason } => *counts.errors.entry((format, reason)).or_default() += 1,
            Counted::Rows { idx, batch, format, errors } => {
                for reason in errors.into_iter().flatten() {
                    *counts.errors.entry((format, reason)).or_default() += 1;
                }
                let (n_models, Some(model)) = (self.models.len(), self.models.get(idx)) else { return true };
                self.repeats.resize_with(n_models, RepeatCounter::default);
                let repeats = &mut self.repeats[idx];
                repeats.see(XxHash3_64::oneshot(exchange.request.as_slice()), batch.n_feature_rows as u64);
                counts.models.resize_with(n_models, || None);
                let of_model = counts.models[idx].get_or_insert_with(|| ModelCounts::new(model));
                of_model.record(model, &batch);
                of_model.repeats += repeats.take();
                drop(counts);
                self.batches[idx] = Some(batch);
            }
        }
        true
    }

    /// Goes over to other models; those that stay keep what is known of their traffic.
    fn change_to(&mut self, models: Arc<Models>) {
        let place = |models: &Models, idx| models.get(idx).map(Arc::as_ptr);
        let mut known: HashMap<_, _> = std::mem::take(&mut self.repeats)
            .into_iter()
            .enumerate()
            .filter_map(|(idx, repeats)| Some((place(&self.models, idx)?, repeats)))
            .collect();
        let of_place = |idx| place(&models, idx).and_then(|model| known.remove(&model)).unwrap_or_default();
        self.repeats = (0..models.len()).map(of_place).collect();
        self.batches.clear();
        self.models = models;
    }

    fn learn(&self, exchange: &Exchange, format: Format, key: Key) -> Result<(), &'static str> {
        let Some(learner) = &self.learner else { return Err(UNKNOWN_MODEL) };
        let request = self.inflated(&exchange.request).map_err(|error| error.kind())?;
        let response = self.inflated(&exchange.response).map_err(|error| error.kind())?;
        learner.offer(key, Instant::now(), &mut |role, schema, batch| match role {
            Role::Feature => {
                decode::decode_request(format, &self.body(&exchange.request, &request), schema, batch)
            }
            Role::Prediction => {
                decode::decode_response(format, &self.body(&exchange.response, &response), schema, batch)
            }
        })
    }

    fn inflated<'a>(&self, body: &'a MirroredBody) -> Result<Cow<'a, [u8]>, DecodeError> {
        decode::decode_content(body.headers.content_encoding(), body.as_slice(), self.max_inflated())
    }

    fn body<'a>(&self, body: &'a MirroredBody, inflated: &'a [u8]) -> Body<'a> {
        body.headers.body(inflated, self.max_inflated())
    }

    fn max_inflated(&self) -> usize {
        self.max_body_bytes.saturating_mul(MAX_INFLATION)
    }

    fn count_error(&self, format: &'static str, reason: &'static str) {
        *lock(&self.counts).errors.entry((format, reason)).or_default() += 1;
    }
}
