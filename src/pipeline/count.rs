//! Exchanges into counts: which model one is for, its bodies into columns, its columns into histograms.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tracing::{debug, error};
use twox_hash::XxHash3_64;

use super::exchange::{Message, Part};
use super::model::{Asked, Found, Model, Models};
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
                (Column::Numbers { .. }, None) => debug!("column without edges"),
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
    /// Forgets the counts and keeps the memory.
    pub fn clear(&mut self) {
        self.models.iter_mut().flatten().for_each(ModelCounts::clear);
        self.errors.clear();
    }
}

/// What is made of messages, one after another, by one thread. Keeps the memory of its columns from message to message.
#[derive(Debug)]
pub struct Decoder {
    models: Arc<Models>,
    batches: Vec<Option<Batch>>,
    /// One a configured model.
    repeats: Vec<RepeatCounter>,
    max_body_bytes: usize,
}

/// What [`Decoder::decode`] made of a message, for [`Decoder::record`]: between them, a lock may be taken.
#[derive(Debug, Default)]
pub struct Decoded {
    /// The model whose columns now hold the rows.
    model: Option<(usize, Arc<Model>)>,
    errors: Vec<(&'static str, &'static str)>,
}

impl Decoder {
    /// A body is at most `max_body_bytes` on the wire.
    pub fn new(models: Arc<Models>, max_body_bytes: usize) -> Self {
        Self { models, batches: Vec::new(), repeats: Vec::new(), max_body_bytes }
    }

    /// Reads both bodies of a message.
    pub fn decode(&mut self, message: &Message<'_>) -> Decoded {
        // One exchange that finds a bug in a decoder must not end the counting of all others.
        catch_unwind(AssertUnwindSafe(|| self.read(message))).unwrap_or_else(|_| {
            let format = message.route.map_or(UNKNOWN, |route| route.format.as_str());
            error!(format, service = ?message.service, "decoder panicked, exchange not counted");
            self.batches.clear();
            Decoded { model: None, errors: vec![(format, "panic")] }
        })
    }

    /// Counts what was decoded last.
    pub fn record(&mut self, decoded: Decoded, counts: &mut ShardCounts) {
        for error in decoded.errors {
            *counts.errors.entry(error).or_default() += 1;
        }
        let Some((idx, model)) = decoded.model else { return };
        let Some(batch) = self.batches.get(idx).and_then(Option::as_ref) else { return };
        counts.models.resize_with(self.models.len(), || None);
        let of_model = counts.models[idx].get_or_insert_with(|| ModelCounts::new(&model));
        of_model.record(&model, batch);
        of_model.repeats += self.repeats[idx].take();
    }

    fn read(&mut self, message: &Message<'_>) -> Decoded {
        let error = |format, reason| Decoded { model: None, errors: vec![(format, reason)] };
        let max_inflated = self.max_body_bytes.saturating_mul(MAX_INFLATION);
        let (request, response) = (
            message.request.map(|part| Inflated::new(part, max_inflated)),
            message.response.map(|part| Inflated::new(part, max_inflated)),
        );
        let body = [&request, &response].into_iter().flatten().find_map(|inflated| inflated.body().ok());
        let format = match (message.route, &body) {
            (Some(route), _) => Some(route.format),
            (None, body) => body.as_ref().and_then(Format::of_body),
        };
        let Some(format) = format else { return error(UNKNOWN, UNKNOWN_FORMAT) };
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
            Found::Model(idx, model) => (idx, Arc::clone(model)),
            Found::NoBaseline => return error(label, NO_BASELINE),
            Found::Unknown => return error(label, UNKNOWN_MODEL),
        };
        self.batches.resize_with(self.models.len(), || None);
        let batch = self.batches[idx].get_or_insert_with(|| Batch::new(&model.schema));
        batch.clear();
        let mut errors = Vec::new();
        for (role, inflated) in [(Role::Feature, &request), (Role::Prediction, &response)] {
            let Some(inflated) = inflated else { continue };
            let read = match role {
                Role::Feature => decode::decode_request,
                Role::Prediction => decode::decode_response,
            };
            if let Err(error) = inflated.body().and_then(|body| read(format, &body, &model.schema, batch)) {
                debug!(%error, model = %model.name, role = role.as_str(), "body not understood");
                errors.push((label, error.kind()));
            }
        }
        self.repeats.resize_with(self.models.len(), RepeatCounter::default);
        if let Some(request) = &message.request {
            self.repeats[idx].see(XxHash3_64::oneshot(request.bytes), batch.n_feature_rows as u64);
        }
        Decoded { model: Some((idx, model)), errors }
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
