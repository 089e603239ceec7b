//! Lines and events into counts, by the time of their rows.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use twox_hash::XxHash3_64;

use super::followed::EventAt;
use super::line::Line;
use crate::config::LogsConfig;
use crate::decode::{BodyHeaders, Route};
use crate::drift::Timestamp;
use crate::pipeline::count::{Decoder, ShardCounts};
use crate::pipeline::event::{Data, Event, Side};
use crate::pipeline::pairs::{Met, Pairs};
use crate::pipeline::timed::Slots;
use crate::pipeline::{Message, MirrorBudget, MirroredBody, Models, Service};
use crate::telemetry::{DropReason, Outcome, TapMetrics};

/// Stretches of time that are counted side by side; where rows come in less order, counts are handed on sooner.
const MAX_SLOTS: usize = 16;

/// What was counted and not handed on yet.
#[derive(Debug)]
pub(super) struct Counting {
    slots: Slots,
    decoder: Decoder,
    open: BTreeMap<Timestamp, ShardCounts>,
    watermark: Timestamp,
    pairs: Pairs<Key, Half>,
    budget: MirrorBudget,
    headers: BodyHeaders,
    metrics: TapMetrics,
    sample_rate: f64,
    component: String,
    /// Events that no longer wait.
    released: Vec<(u64, EventAt)>,
}

/// What a request and its response have in common.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Key {
    service: Service,
    id: Box<str>,
}

/// One of the two, and where it stood.
#[derive(Debug)]
struct Half {
    body: MirroredBody,
    at: Timestamp,
    mark: u64,
    event: EventAt,
    named: Named,
}

/// What a line says besides its bodies.
#[derive(Debug, Default)]
struct Named {
    model: Option<Box<str>>,
    version: Option<Box<str>>,
    route: Option<Route>,
    service: Option<Service>,
}

/// What became of a line or an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It is counted, or not to be counted.
    Done,
    /// It waits for its other half.
    Held,
}

impl Counting {
    pub(super) fn new(
        config: &LogsConfig,
        slots: Slots,
        decoder: Decoder,
        watermark: Timestamp,
        metrics: TapMetrics,
    ) -> Self {
        Self {
            slots,
            decoder,
            open: BTreeMap::new(),
            watermark,
            pairs: Pairs::new(config.max_pairs, config.pair_timeout),
            budget: MirrorBudget::new(config.max_mirrored_bytes, config.max_mirrored_bytes),
            headers: BodyHeaders::default(),
            metrics,
            sample_rate: config.sample_rate,
            component: config.component.clone(),
            released: Vec::new(),
        }
    }

    /// Counts for these models from now on; what was counted for others is handed on.
    pub(super) fn count_for(&mut self, models: Arc<Models>) {
        if !Arc::ptr_eq(self.decoder.models(), &models) {
            self.decoder.change_to(models);
        }
    }

    /// The latest time of any row.
    pub(super) fn watermark(&self) -> Timestamp {
        self.watermark
    }

    /// Whether what was counted is to be handed on before a row of this time is.
    pub(super) fn is_look_due(&self, at: Timestamp) -> bool {
        let is_new = self.open.len() >= MAX_SLOTS && !self.open.contains_key(&self.slots.of(at));
        !self.open.is_empty()
            && (is_new || at > self.watermark && self.slots.is_look_between(self.watermark, at))
    }

    /// What was counted since the last time, by when it was.
    pub(super) fn take(&mut self) -> BTreeMap<Timestamp, ShardCounts> {
        std::mem::take(&mut self.open)
    }

    /// Events that no longer wait.
    pub(super) fn take_released(&mut self) -> Vec<(u64, EventAt)> {
        std::mem::take(&mut self.released)
    }

    /// Takes in a line that was at `at`.
    pub(super) fn line(&mut self, line: Line<'_>, at: Timestamp, (mark, event): (u64, EventAt)) -> Taken {
        let side = match (&line.id, &line.request, &line.response) {
            (Some(_), Some(_), None) => Side::Request,
            (Some(_), None, Some(_)) => Side::Response,
            _ => {
                if self.is_sampled(line.id.as_deref().unwrap_or_default()) {
                    self.metrics.count(Outcome::Mirrored);
                    let message = line.as_message(&self.headers);
                    let counts = self
                        .open
                        .entry(self.slots.of(at))
                        .or_insert_with(|| ShardCounts::of(self.decoder.models()));
                    Self::count(&mut self.decoder, counts, &message);
                    self.watermark = self.watermark.max(at);
                }
                return Taken::Done;
            }
        };
        let Line { service, model, version, route, request, response, id, .. } = line;
        let key = Key { service: service.clone().unwrap_or_default(), id: id.unwrap_or_default().into() };
        let named = Named { model: model.map(Box::from), version: version.map(Box::from), route, service };
        let bytes = request.or(response).unwrap_or_default();
        self.half(key, side, (&bytes, BodyHeaders::default()), (at, mark, event, named))
    }

    /// Takes in one of KServe's records that was at `at`.
    pub(super) fn event(&mut self, stored: Event<'_>, at: Timestamp, (mark, event): (u64, EventAt)) -> Taken {
        let Event { id, side, service, component, media_type, data } = stored;
        let bytes = match data {
            Data::Within(bytes) => bytes,
            Data::Body => Cow::Borrowed(&[][..]),
        };
        // A request without a body asks for metadata or health.
        if bytes.is_empty() || !(component.is_empty() || *component == *self.component) {
            self.metrics.count(Outcome::Unrecognised);
            return Taken::Done;
        }
        let named = Named { service: Some(service.clone()), ..Named::default() };
        let headers = BodyHeaders::default().with_media_type(media_type.as_deref());
        self.half(Key { service, id }, side, (&bytes, headers), (at, mark, event, named))
    }

    /// Gives up those that have waited too long.
    pub(super) fn expire(&mut self, now: Instant) {
        for half in self.pairs.expire(now) {
            self.lose(&half, DropReason::Unpaired);
        }
    }

    /// Counts a line that is not read.
    pub(super) fn pass_over(&self, outcome: Outcome) {
        self.metrics.count(outcome);
    }

    /// Counts lines that are lost.
    pub(super) fn drop_lines(&self, reason: DropReason) {
        self.metrics.count_dropped(reason);
    }

    fn half(
        &mut self,
        key: Key,
        side: Side,
        (bytes, headers): (&[u8], BodyHeaders),
        (at, mark, event, named): (Timestamp, u64, EventAt, Named),
    ) -> Taken {
        if !self.is_sampled(&key.id) {
            self.metrics.count(Outcome::SampledOut);
            return Taken::Done;
        }
        let mut body = MirroredBody::new(self.budget.clone(), headers);
        if body.expect_len(bytes.len() as u64).and_then(|()| body.push(bytes)).is_err() {
            self.metrics.count_dropped(DropReason::OverBudget);
            return Taken::Done;
        }
        let half = Half { body, at, mark, event, named };
        match self.pairs.meet(key, side, half, Instant::now()) {
            Met::Neither => Taken::Held,
            Met::Displaced(lost) => {
                self.lose(&lost, DropReason::Unpaired);
                Taken::Held
            }
            Met::Crowded(lost) => {
                self.lose(&lost, DropReason::PairsFull);
                Taken::Held
            }
            Met::Both { request, response } => {
                self.both(&request, &response);
                for half in [&request, &response] {
                    self.released.push((half.mark, half.event));
                }
                Taken::Done
            }
        }
    }

    fn both(&mut self, request: &Half, response: &Half) {
        let named = [&request.named, &response.named];
        let message = Message {
            route: named.iter().find_map(|named| named.route.as_ref()),
            service: named.iter().find_map(|named| named.service.as_ref()),
            model: named.iter().find_map(|named| named.model.as_deref()),
            version: named.iter().find_map(|named| named.version.as_deref()),
            request: Some(request.body.as_part()),
            response: Some(response.body.as_part()),
        };
        self.metrics.count(Outcome::Mirrored);
        let slot = self.slots.of(request.at);
        let counts = self.open.entry(slot).or_insert_with(|| ShardCounts::of(self.decoder.models()));
        Self::count(&mut self.decoder, counts, &message);
        self.watermark = self.watermark.max(request.at);
    }

    fn count(decoder: &mut Decoder, counts: &mut ShardCounts, message: &Message<'_>) {
        let decoded = decoder.decode(message);
        decoder.record(message, decoded, counts);
    }

    fn lose(&mut self, half: &Half, reason: DropReason) {
        self.metrics.count_dropped(reason);
        self.released.push((half.mark, half.event));
    }

    /// Chosen by the identifier where there is one, so that both halves share their fate.
    fn is_sampled(&self, id: &str) -> bool {
        let share = || match id {
            "" => fastrand::f64(),
            id => XxHash3_64::oneshot(id.as_bytes()) as f64 / u64::MAX as f64,
        };
        self.sample_rate >= 1.0 || share() < self.sample_rate
    }
}
