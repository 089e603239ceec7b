//! Exchanges into counts: which model one is for, its bodies into columns, its columns into histograms.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use tracing::{debug, error};
use twox_hash::XxHash3_64;

use super::exchange::{Message, Part};
use super::learn::{Key, Learner};
use super::model::Model;
use super::models::{Asked, Found, Models};
use crate::baseline::Role;
use crate::decode::{self, Batch, Body, Column, DecodeError, Format, Route, ViolationReason};
use crate::drift::repeats::RepeatCounter;
use crate::drift::scan::Repeats;
use crate::drift::{Histogram, kernels};
use crate::telemetry::process::{NO_BASELINE, UNKNOWN, UNKNOWN_FORMAT, UNKNOWN_MODEL};

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
    /// Exchanges.
    pub n_exchanges: u64,
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
            n_exchanges: 0,
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
        self.n_exchanges += 1;
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
        (self.n_exchanges, self.rows) = (0, [0; 2]);
        self.violations.clear();
        self.unexpected.clear();
        self.repeats = Repeats::default();
    }
}

impl ShardCounts {
    /// None yet, of these models.
    pub fn of(models: &Arc<Models>) -> Self {
        Self { of: Arc::clone(models), ..Self::default() }
    }

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

/// What is made of messages, one after another, by one thread. Keeps the memory of its columns from message to message.
#[derive(Debug)]
pub struct Decoder {
    models: Arc<Models>,
    batches: Vec<Option<Batch>>,
    /// One a model.
    repeats: Vec<RepeatCounter>,
    max_inflated: usize,
    /// Where traffic of unknown models goes, if they are learnt.
    learner: Option<Learner>,
}

/// What [`Decoder::decode`] made of a message, for [`Decoder::record`]: between them, a lock may be taken.
#[derive(Debug)]
pub enum Decoded {
    /// Rows of the model in this place, and what was not understood of either side.
    Rows(usize, &'static str, [Option<&'static str>; 2]),
    /// Nothing, in this format, for this reason.
    Nothing(&'static str, &'static str),
    /// Rows of a model that nobody knows.
    Unknown(Format, Key),
}

impl Decoder {
    /// A body is at most `max_body_bytes` on the wire. What no model has asked for is `learner`'s.
    pub fn new(max_body_bytes: usize, learner: Option<Learner>) -> Self {
        Self {
            models: Arc::default(),
            batches: Vec::new(),
            repeats: Vec::new(),
            max_inflated: max_body_bytes.saturating_mul(MAX_INFLATION),
            learner,
        }
    }

    /// The models that messages are read for.
    pub fn models(&self) -> &Arc<Models> {
        &self.models
    }

    /// Goes over to other models; those that stay keep what is known of their traffic.
    pub fn change_to(&mut self, models: Arc<Models>) {
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

    /// Reads both bodies of a message.
    pub fn decode(&mut self, message: &Message<'_>) -> Decoded {
        // One exchange that finds a bug in a decoder must not end the counting of all others.
        catch_unwind(AssertUnwindSafe(|| self.read(message))).unwrap_or_else(|_| {
            let format = message.route.map_or(UNKNOWN, |route| route.format.as_str());
            error!(format, service = ?message.service, "decoder panicked, exchange not counted");
            self.batches.clear();
            Decoded::Nothing(format, "panic")
        })
    }

    /// Counts what was decoded last; `counts` are of the same [models](Self::models).
    pub fn record(&mut self, message: &Message<'_>, decoded: Decoded, counts: &mut ShardCounts) {
        let mut count = |format, reason| *counts.errors.entry((format, reason)).or_default() += 1;
        let idx = match decoded {
            Decoded::Nothing(format, reason) => return count(format, reason),
            Decoded::Unknown(format, key) => {
                if let Err(reason) = self.learn(message, format, key) {
                    count(format.as_str(), reason);
                }
                return;
            }
            Decoded::Rows(idx, format, errors) => {
                errors.into_iter().flatten().for_each(|reason| count(format, reason));
                idx
            }
        };
        let n_models = self.models.len();
        let (Some(model), Some(Some(batch))) = (self.models.get(idx), self.batches.get(idx)) else { return };
        counts.models.resize_with(n_models, || None);
        let of_model = counts.models[idx].get_or_insert_with(|| ModelCounts::new(model));
        of_model.record(model, batch);
        self.repeats.resize_with(n_models, RepeatCounter::default);
        if let Some(request) = &message.request {
            let repeats = &mut self.repeats[idx];
            repeats.see(XxHash3_64::oneshot(request.bytes), batch.n_feature_rows as u64);
            of_model.repeats += repeats.take();
        }
    }

    fn read(&mut self, message: &Message<'_>) -> Decoded {
        let max_inflated = self.max_inflated;
        let request = message.request.map(|part| Inflated::new(part, max_inflated));
        let response = message.response.map(|part| Inflated::new(part, max_inflated));
        let body = [&request, &response].into_iter().flatten().find_map(|inflated| inflated.body().ok());
        let format = match (message.route, &body) {
            (Some(route), _) => Some(route.format),
            (None, body) => body.as_ref().and_then(Format::of_body),
        };
        let Some(format) = format else { return Decoded::Nothing(UNKNOWN, UNKNOWN_FORMAT) };
        let named = match (message.route, body) {
            (Some(Route { model: Some(model), version, .. }), _) => Some((model.clone(), version.clone())),
            (_, body) => body.and_then(|body| decode::names_in(format, &body)),
        };
        let asked = Asked {
            service: message.service,
            model: message.model.or(named.as_ref().map(|(model, _)| &**model)),
            version: message.version.or(named.as_ref().and_then(|(_, version)| version.as_deref())),
        };
        let label = format.as_str();
        let (idx, model) = match self.models.find(asked) {
            Found::Model(idx, model) => (idx, model),
            Found::NoBaseline => return Decoded::Nothing(label, NO_BASELINE),
            Found::Unknown => {
                let key = self.learner.as_ref().and_then(|_| Key::of(asked));
                return key
                    .map_or(Decoded::Nothing(label, UNKNOWN_MODEL), |key| Decoded::Unknown(format, key));
            }
        };
        self.batches.resize_with(self.models.len(), || None);
        let batch = self.batches[idx].get_or_insert_with(|| Batch::new(&model.schema));
        batch.clear();
        let sides = [(Role::Feature, request), (Role::Prediction, response)];
        let errors = sides.map(|(role, inflated)| {
            let read = match role {
                Role::Feature => decode::decode_request,
                Role::Prediction => decode::decode_response,
            };
            let error = inflated?.body().and_then(|body| read(format, &body, &model.schema, batch)).err()?;
            debug!(%error, model = %model.name, role = role.as_str(), "body not understood");
            Some(error.kind())
        });
        Decoded::Rows(idx, label, errors)
    }

    fn learn(&self, message: &Message<'_>, format: Format, key: Key) -> Result<(), &'static str> {
        let Some(learner) = &self.learner else { return Err(UNKNOWN_MODEL) };
        let request = message.request.map(|part| Inflated::new(part, self.max_inflated));
        let response = message.response.map(|part| Inflated::new(part, self.max_inflated));
        learner.offer(key, Instant::now(), &mut |role, schema, batch| {
            let (read, side): (fn(_, &_, &_, &mut _) -> _, _) = match role {
                Role::Feature => (decode::decode_request, &request),
                Role::Prediction => (decode::decode_response, &response),
            };
            side.as_ref().map_or(Ok(()), |side| read(format, &side.body()?, schema, batch))
        })
    }
}

/// A body without its content encoding.
struct Inflated<'a> {
    part: Part<'a>,
    bytes: Result<Cow<'a, [u8]>, DecodeError>,
    max_bytes: usize,
}

impl<'a> Inflated<'a> {
    fn new(part: Part<'a>, max_bytes: usize) -> Self {
        let bytes = decode::decode_content(part.headers.content_encoding(), part.bytes, max_bytes);
        Self { part, bytes, max_bytes }
    }

    fn body(&self) -> Result<Body<'_>, DecodeError> {
        let bytes = self.bytes.as_ref().map_err(|error| *error)?;
        Ok(self.part.headers.body(bytes, self.max_bytes))
    }
}
