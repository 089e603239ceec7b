//! One thread that decodes exchanges and counts their rows. It owns its counters: the only lock is its own, taken once
//! an exchange and contended once a tick.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc::{self, error::TryRecvError};
use tracing::{debug, error};
use twox_hash::XxHash3_64;

use super::model::{Asked, Found, Model, Models};
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
    /// One a configured model, empty until its first exchange.
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
                (Column::Numbers { .. }, None) => debug!("column without edges"),
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
    /// Forgets the counts and keeps the memory.
    pub fn clear(&mut self) {
        self.models.iter_mut().flatten().for_each(ModelCounts::clear);
        self.errors.clear();
    }
}

/// The evaluator's side of a shard.
#[derive(Clone, Debug)]
pub struct ShardHandle(Arc<Mutex<ShardCounts>>);

impl ShardHandle {
    /// Swaps what was counted since the last call with `spare`, which must be cleared.
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
    models: Arc<Models>,
    counts: Arc<Mutex<ShardCounts>>,
    batches: Vec<Option<Batch>>,
    /// One a configured model.
    repeats: Vec<RepeatCounter>,
    max_body_bytes: usize,
}

impl Shard {
    /// Behind `queue`; a body is at most `max_body_bytes` on the wire.
    pub fn new(queue: mpsc::Receiver<Exchange>, models: Arc<Models>, max_body_bytes: usize) -> Self {
        Self {
            queue,
            models,
            counts: Arc::default(),
            batches: Vec::new(),
            repeats: Vec::new(),
            max_body_bytes,
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

    fn count(&mut self, exchange: &Exchange) {
        let models = Arc::clone(&self.models);
        let request = self.inflated(&exchange.request);
        let body = request.as_ref().ok().map(|request| self.body(&exchange.request, request));
        let format = match (&exchange.route, &body) {
            (Some(route), _) => Some(route.format),
            (None, body) => body.as_ref().and_then(Format::of_body),
        };
        let Some(format) = format else { return self.count_error(UNKNOWN, UNKNOWN_FORMAT) };
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
        let (idx, model) = match models.find(asked) {
            Found::Model(idx, model) => (idx, model),
            Found::NoBaseline => return self.count_error(label, NO_BASELINE),
            Found::Unknown => return self.count_error(label, UNKNOWN_MODEL),
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
        for (role, bytes) in [(Role::Feature, request), (Role::Prediction, self.inflated(&exchange.response))]
        {
            if let Err(error) = bytes.and_then(|bytes| read(role, &bytes, &mut batch)) {
                debug!(%error, model = %model.name, role = role.as_str(), "body not understood");
                self.count_error(label, error.kind());
            }
        }
        self.repeats.resize_with(models.len(), RepeatCounter::default);
        let repeats = &mut self.repeats[idx];
        repeats.see(XxHash3_64::oneshot(exchange.request.as_slice()), batch.n_feature_rows as u64);
        let mut counts = lock(&self.counts);
        counts.models.resize_with(models.len(), || None);
        let of_model = counts.models[idx].get_or_insert_with(|| ModelCounts::new(model));
        of_model.record(model, &batch);
        of_model.repeats += repeats.take();
        drop(counts);
        self.batches[idx] = Some(batch);
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
