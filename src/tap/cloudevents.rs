//! A sink for KServe's inference logger: requests and responses as `CloudEvents`, paired by their identifier.
//!
//! The logger waits for our answer without a time limit, holds what it has not sent in memory without a bound, and tries nothing
//! twice. So every event is answered as soon as its body is read, whatever becomes of it.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use http_body::Body;
use http_body_util::BodyExt;
use tokio::net::TcpListener;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::{debug, info};
use twox_hash::XxHash3_64;

use crate::config::CloudEventsConfig;
use crate::decode::BodyHeaders;
use crate::pipeline::event::{Data, Event, Side, events};
use crate::pipeline::pairs::{Met, Pairs};
use crate::pipeline::{Exchange, Intake, MirrorBudget, MirrorError, MirroredBody, Refused, Service};
use crate::telemetry::{DropReason, Outcome, TapMetrics};

/// For a sender to send an event; one that stalls keeps its connection and nothing else waiting.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// How often halves that have waited too long are looked for.
const EXPIRE_INTERVAL: Duration = Duration::from_secs(1);

/// A sink that listens, and serves once it is [`run`](Self::run).
#[derive(Debug)]
pub struct CloudEvents {
    listener: TcpListener,
    local_addr: SocketAddr,
    sink: Arc<Sink>,
}

#[derive(Debug)]
struct Sink {
    intake: Intake,
    budget: MirrorBudget,
    metrics: TapMetrics,
    sample_rate: f64,
    /// Events of other components are somebody else's.
    component: String,
    pairs: Mutex<Pairs<Key, MirroredBody>>,
}

/// What a request and its response have in common.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Key {
    service: Service,
    id: Box<str>,
}

impl CloudEvents {
    /// Starts to listen. Nothing is accepted before [`run`](Self::run).
    ///
    /// # Errors
    /// If the address cannot be listened on.
    pub async fn bind(config: &CloudEventsConfig, intake: Intake, metrics: TapMetrics) -> io::Result<Self> {
        let listener = TcpListener::bind(config.listen).await?;
        let local_addr = listener.local_addr()?;
        let sink = Sink {
            intake,
            budget: MirrorBudget::new(config.max_mirrored_bytes, config.max_body_bytes),
            metrics,
            sample_rate: config.sample_rate,
            component: config.component.clone(),
            pairs: Mutex::new(Pairs::new(config.max_pairs, config.pair_timeout)),
        };
        Ok(Self { listener, local_addr, sink: Arc::new(sink) })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// The memory that copies hold.
    pub fn budget(&self) -> MirrorBudget {
        self.sink.budget.clone()
    }

    /// Serves until `stop`, then answers what is being read and returns. What still waits for its other half is lost, and counted.
    ///
    /// # Errors
    /// If the listener fails.
    pub async fn run(self, stop: impl Future<Output = ()> + Send + 'static) -> io::Result<()> {
        let Self { listener, local_addr, sink } = self;
        info!(cloudevents = %local_addr, "taking in events");
        let router = Router::new().fallback(receive).with_state(Arc::clone(&sink));
        let upkeep = async {
            let mut ticks = interval(EXPIRE_INTERVAL);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                sink.expire();
            }
        };
        let served = tokio::select! {
            served = async { axum::serve(listener, router).with_graceful_shutdown(stop).await } => served,
            () = upkeep => Ok(()),
        };
        let n_waiting = sink.pairs().len();
        (0..n_waiting).for_each(|_| sink.metrics.count_dropped(DropReason::Closing));
        served
    }
}

/// KServe logs any answer but 200 as an error, and gives up the event in any case.
async fn receive(State(sink): State<Arc<Sink>>, request: Request) -> StatusCode {
    let (parts, body) = request.into_parts();
    let mut copy = MirroredBody::new(sink.budget.clone(), BodyHeaders::of(&parts.headers));
    // What waits for its other half takes no more room than it needs.
    let mut lost = body.size_hint().exact().and_then(|n_bytes| copy.expect_len(n_bytes).err());
    let reading = async {
        let mut body = body;
        while let Some(frame) = body.frame().await {
            // A body that is not kept is read all the same: its sender waits for the answer, and would send no other event.
            if let Some(chunk) = frame?.data_ref()
                && lost.is_none()
            {
                lost = copy.push(chunk).err();
            }
        }
        Ok::<_, axum::Error>(())
    };
    match timeout(READ_TIMEOUT, reading).await {
        Err(_) => {
            sink.metrics.count(Outcome::DownstreamGone);
            return StatusCode::REQUEST_TIMEOUT;
        }
        Ok(Err(error)) => {
            debug!(%error, "an event broke off");
            sink.metrics.count(Outcome::DownstreamGone);
            return StatusCode::BAD_REQUEST;
        }
        Ok(Ok(())) => (),
    }
    if let Some(error) = lost {
        drop(copy);
        sink.lose(error);
        return StatusCode::OK;
    }
    let Ok(found) = events(&parts.headers, copy.as_slice()) else {
        sink.metrics.count(Outcome::Unrecognised);
        return StatusCode::OK;
    };
    let kept: Vec<_> =
        found.into_iter().map(|event| sink.keep(event, &parts.headers, copy.as_slice().len())).collect();
    // A message is one event or holds several: what is the whole body is the copy that was made of it.
    let mut whole = Some(copy);
    for (key, side, part) in kept.into_iter().flatten() {
        if let Some(half) = part.or_else(|| whole.take()) {
            sink.take(key, side, half);
        }
    }
    StatusCode::OK
}

impl Sink {
    fn pairs(&self) -> MutexGuard<'_, Pairs<Key, MirroredBody>> {
        // Whole after every call, wherever one may have panicked.
        self.pairs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What an event is one half of, and a copy of that half where it is not the whole body; `None` if it is not to be counted.
    fn keep(
        &self,
        event: Event<'_>,
        headers: &HeaderMap,
        body_len: usize,
    ) -> Option<(Key, Side, Option<MirroredBody>)> {
        let Event { id, side, service, component, media_type, data } = event;
        let len = match &data {
            Data::Body => body_len,
            Data::Within(data) => data.len(),
        };
        // A request without a body asks for metadata or health.
        if len == 0 || !(component.is_empty() || *component == *self.component) {
            self.metrics.count(Outcome::Unrecognised);
            return None;
        }
        // Chosen by the identifier, so that both halves share their fate.
        let share = XxHash3_64::oneshot(id.as_bytes()) as f64 / u64::MAX as f64;
        if self.sample_rate < 1.0 && share >= self.sample_rate {
            self.metrics.count(Outcome::SampledOut);
            return None;
        }
        let key = Key { service, id };
        let Data::Within(data) = data else { return Some((key, side, None)) };
        let body_headers = BodyHeaders::of(headers).with_media_type(media_type.as_deref());
        let mut half = MirroredBody::new(self.budget.clone(), body_headers);
        let announced = half.expect_len(data.len() as u64);
        match announced.and_then(|()| half.push(&data)) {
            Ok(()) => Some((key, side, Some(half))),
            Err(error) => {
                self.lose(error);
                None
            }
        }
    }

    fn take(&self, key: Key, side: Side, half: MirroredBody) {
        let service = key.service.clone();
        let met = self.pairs().meet(key, side, half, Instant::now());
        match met {
            Met::Neither => (),
            Met::Displaced(_) => self.metrics.count_dropped(DropReason::Unpaired),
            Met::Crowded(_) => self.metrics.count_dropped(DropReason::PairsFull),
            Met::Both { request, response } => self.offer(service, request, response),
        }
    }

    fn offer(&self, service: Service, request: MirroredBody, response: MirroredBody) {
        let exchange = Exchange { route: None, service: Some(service), request, response };
        match self.intake.offer(exchange) {
            Ok(()) => self.metrics.count(Outcome::Mirrored),
            Err(Refused::Full) => self.metrics.count_dropped(DropReason::QueueFull),
            Err(Refused::Closed) => self.metrics.count_dropped(DropReason::Closing),
        }
    }

    fn lose(&self, error: MirrorError) {
        self.metrics.count_dropped(match error {
            MirrorError::TooLarge => DropReason::TooLarge,
            MirrorError::OverBudget => DropReason::OverBudget,
        });
    }

    fn expire(&self) {
        let n_expired = self.pairs().expire(Instant::now()).len();
        (0..n_expired).for_each(|_| self.metrics.count_dropped(DropReason::Unpaired));
    }
}
