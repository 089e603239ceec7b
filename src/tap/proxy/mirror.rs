//! The copy of an exchange, and the one count that every exchange gets.
//!
//! An [`Entry`] is shared by whoever holds a part of the exchange: the call itself, the request body on its way up and
//! the response body on its way down. When the last of them is gone, however that came about, the entry is settled.
//!
//! A gRPC stream is an exchange a pair of messages, handed on while it lasts: it may last for days. What is settled in
//! the end is what was left over.

mod copy;
mod messages;
mod pairs;

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::{HeaderMap, Method, StatusCode};
use tokio::time::Instant;

use crate::decode::Route;
use crate::pipeline::{Exchange, Intake, MirrorBudget, MirrorError, MirroredBody, Refused};
use crate::telemetry::{DropReason, Outcome, TapMetrics};
pub(super) use copy::{BodyCopy, Side};
use messages::Slot;
use pairs::Pairs;

/// What the exchanges of one tap have in common.
#[derive(Debug)]
pub(super) struct Mirror {
    pub(super) intake: Intake,
    pub(super) budget: MirrorBudget,
    pub(super) metrics: TapMetrics,
    pub(super) sample_rate: f64,
}

impl Mirror {
    /// Decides whether an exchange is copied. Chance comes first, so that it falls on every request alike.
    pub(super) fn open(self: &Arc<Self>, method: &Method, path: &str) -> Entry {
        let chosen = self.sample_rate >= 1.0 || fastrand::f64() < self.sample_rate;
        let plan = match chosen.then(|| Route::of(method, path)) {
            None => Plan::SampledOut,
            Some(None) => Plan::Unrecognised,
            Some(Some(route)) if Route::is_stream(path) => Plan::ByMessage(route),
            Some(Some(route)) => Plan::Copy(route),
        };
        let copying = matches!(plan, Plan::Copy(_) | Plan::ByMessage(_));
        Entry(Arc::new(Inner {
            mirror: Arc::clone(self),
            copying: AtomicBool::new(copying),
            upload: AtomicU8::new(Upload::SENDING),
            books: Mutex::new(Books { plan: Some(plan), ..Books::default() }),
        }))
    }

    fn offer(&self, exchange: Exchange) {
        match self.intake.offer(exchange) {
            Ok(()) => self.metrics.count(Outcome::Mirrored),
            Err(Refused::Full) => self.metrics.count_dropped(DropReason::QueueFull),
            Err(Refused::Closed) => self.metrics.count_dropped(DropReason::Closing),
        }
    }
}

/// One exchange, from its request head until its last holder is gone.
#[derive(Clone, Debug)]
pub(super) struct Entry(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    mirror: Arc<Mirror>,
    /// Cleared once the copy is of no more use, so that the other body stops copying too.
    copying: AtomicBool,
    upload: AtomicU8,
    books: Mutex<Books>,
}

#[derive(Debug, Default)]
struct Books {
    plan: Option<Plan>,
    status: Option<StatusCode>,
    /// Why the traffic itself failed; the first cause counts, others follow from it.
    failed: Option<Outcome>,
    dropped: Option<DropReason>,
    grpc_failed: bool,
    request: Option<MirroredBody>,
    response: Option<MirroredBody>,
    pairs: Pairs,
    request_sent: Option<Instant>,
    response_ended: bool,
}

#[derive(Debug)]
enum Plan {
    SampledOut,
    Unrecognised,
    Copy(Route),
    ByMessage(Route),
}

/// Where the request body stands, as far as the upstream's clock is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Upload {
    /// The upstream is to read it.
    Sending,
    /// The caller is to send more of it.
    AwaitingCaller,
    /// Sent whole, at this time.
    Sent(Instant),
}

impl Upload {
    const SENDING: u8 = 0;
    const AWAITING_CALLER: u8 = 1;
}

impl Entry {
    /// The upstream's answer. Anything but 200 holds no prediction, so the copy ends here.
    pub(super) fn answered(&self, status: StatusCode, headers: &HeaderMap) {
        let mut books = self.books();
        books.status = Some(status);
        books.grpc_failed |= grpc_failed(headers);
        if status != StatusCode::OK || books.grpc_failed {
            self.give_up(&mut books);
        }
    }

    /// Nothing came, or will come, from the upstream.
    pub(super) fn upstream_failed(&self) {
        self.fail(Outcome::UpstreamFailed);
    }

    /// The caller broke off.
    pub(super) fn downstream_gone(&self) {
        self.fail(Outcome::DownstreamGone);
    }

    /// The exchange ended with an answer in our own name, or as a tunnel: there is nothing to copy.
    pub(super) fn ended(&self, status: StatusCode) {
        let mut books = self.books();
        books.status = Some(status);
        books.response_ended = true;
        self.give_up(&mut books);
    }

    /// Whether the caller broke off before anything else went wrong.
    pub(super) fn is_downstream_gone(&self) -> bool {
        self.books().failed == Some(Outcome::DownstreamGone)
    }

    pub(super) fn upload(&self) -> Upload {
        if let Some(at) = self.books().request_sent {
            return Upload::Sent(at);
        }
        match self.0.upload.load(Ordering::Relaxed) {
            Upload::AWAITING_CALLER => Upload::AwaitingCaller,
            _ => Upload::Sending,
        }
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        // What is in there is whole after every statement, so a panic elsewhere does not spoil it.
        self.0.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fail(&self, outcome: Outcome) {
        let mut books = self.books();
        books.failed.get_or_insert(outcome);
        self.give_up(&mut books);
    }

    /// Releases what the copies hold of the budget at once. The body still on its way does so at its next frame.
    fn give_up(&self, books: &mut Books) {
        self.0.copying.store(false, Ordering::Relaxed);
        books.request = None;
        books.response = None;
        books.pairs = Pairs::default();
    }

    fn lose_copy(&self, error: MirrorError) {
        let mut books = self.books();
        books.dropped.get_or_insert(reason(error));
        self.give_up(&mut books);
    }

    /// A message of a stream, which is counted as soon as the other side's is there.
    fn meet(&self, side: Side, slot: Slot) {
        let mut books = self.books();
        let Some(met) = books.pairs.meet(side, slot) else { return };
        let Some(Plan::ByMessage(route)) = &books.plan else { return };
        let route = Some(route.clone());
        drop(books);
        let mirror = &self.0.mirror;
        match met {
            Ok((request, response)) => mirror.offer(Exchange { route, service: None, request, response }),
            Err(reason) => mirror.metrics.count_dropped(reason),
        }
    }

    /// The stream turned out to be of something else.
    fn not_messages(&self) {
        let mut books = self.books();
        books.plan = Some(Plan::Unrecognised);
        self.give_up(&mut books);
    }

    fn is_by_message(&self) -> bool {
        matches!(self.books().plan, Some(Plan::ByMessage(_)))
    }

    fn is_copying(&self) -> bool {
        self.0.copying.load(Ordering::Relaxed)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let books = std::mem::take(self.books.get_mut().unwrap_or_else(PoisonError::into_inner));
        let metrics = &self.mirror.metrics;
        match books.settle() {
            Ok(exchange) => self.mirror.offer(exchange),
            Err(Uncounted::Because(outcome)) => metrics.count(outcome),
            Err(Uncounted::Lost(reason)) => metrics.count_dropped(reason),
            Err(Uncounted::LeftOver(pairs)) => match pairs.left_over() {
                None => metrics.count(Outcome::Mirrored), // whole, and empty
                Some(left) => {
                    for (reason, n_lost) in left {
                        (0..n_lost).for_each(|_| metrics.count_dropped(reason));
                    }
                }
            },
        }
    }
}

/// Why an exchange does not go to the pipeline.
enum Uncounted {
    Because(Outcome),
    Lost(DropReason),
    /// A stream, counted while it lasted.
    LeftOver(Pairs),
}

impl Books {
    /// What became of the exchange. The traffic's own fate comes before the copy's: where the traffic failed, there
    /// was nothing to lose.
    fn settle(self) -> Result<Exchange, Uncounted> {
        let because = |outcome| Err(Uncounted::Because(outcome));
        if let Some(outcome) = self.failed {
            return because(outcome);
        }
        let Some(status) = self.status.filter(|_| self.response_ended) else {
            return because(Outcome::DownstreamGone);
        };
        let (route, by_message) = match self.plan {
            Some(Plan::Copy(route)) => (route, false),
            Some(Plan::ByMessage(route)) => (route, true),
            Some(Plan::SampledOut) => return because(Outcome::SampledOut),
            Some(Plan::Unrecognised) | None => return because(Outcome::Unrecognised),
        };
        if status != StatusCode::OK || self.grpc_failed {
            return because(Outcome::NotOk);
        }
        if let Some(reason) = self.dropped {
            return Err(Uncounted::Lost(reason));
        }
        if by_message {
            return Err(Uncounted::LeftOver(self.pairs));
        }
        match (self.request, self.response) {
            (Some(request), Some(response)) => {
                Ok(Exchange { route: Some(route), service: None, request, response })
            }
            // A whole answer to a request that the upstream did not read to its end: it hung up on the caller.
            _ => because(Outcome::UpstreamFailed),
        }
    }
}

fn reason(error: MirrorError) -> DropReason {
    match error {
        MirrorError::TooLarge => DropReason::TooLarge,
        MirrorError::OverBudget => DropReason::OverBudget,
    }
}

/// Whether a gRPC call failed: its HTTP status is 200 all the same.
fn grpc_failed(headers: &HeaderMap) -> bool {
    headers.get("grpc-status").is_some_and(|status| status != "0")
}
