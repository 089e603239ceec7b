//! `Expect: 100-continue`, relayed (RFC 9110 §10.1.1).
//!
//! hyper's server tells the caller to continue as soon as someone reads the request body. So the body is not read
//! before the upstream has asked for it.

use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::{Sleep, sleep};

/// How long the upstream is given to say anything. A server that knows nothing of expectations waits for the body
/// silently; curl sends it after the same second.
const PATIENCE: Duration = Duration::from_secs(1);

const WAITING: u8 = 0;
const OPEN: u8 = 1;
const REFUSED: u8 = 2;

/// The side that hears from the upstream.
#[derive(Clone, Debug, Default)]
pub(super) struct Gate(Arc<State>);

#[derive(Debug, Default)]
struct State {
    position: AtomicU8,
    waker: Mutex<Option<Waker>>,
}

impl Gate {
    /// The upstream said 100: the body may be read.
    pub(super) fn open(&self) {
        self.set(OPEN);
        if let Some(waker) = self.0.waker.lock().unwrap_or_else(PoisonError::into_inner).take() {
            waker.wake();
        }
    }

    /// The upstream gave its final answer. Unless the gate was open by then, the body will never be read.
    pub(super) fn refuse(&self) {
        self.set(REFUSED);
    }

    /// Whether the final answer came before the body was asked for.
    pub(super) fn is_refused(&self) -> bool {
        self.0.position.load(Ordering::Acquire) == REFUSED
    }

    /// The first word counts.
    fn set(&self, position: u8) {
        let _ = self.0.position.compare_exchange(WAITING, position, Ordering::AcqRel, Ordering::Acquire);
    }
}

/// The side that holds the body back.
pub(super) struct HeldBack {
    gate: Gate,
    patience: Option<Pin<Box<Sleep>>>,
}

impl HeldBack {
    pub(super) fn behind(gate: Gate) -> Self {
        Self { gate, patience: None }
    }

    /// Ready once the body may be read.
    pub(super) fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // Registered before the position is read, so that a word between the two wakes us.
        *self.gate.0.waker.lock().unwrap_or_else(PoisonError::into_inner) = Some(cx.waker().clone());
        match self.gate.0.position.load(Ordering::Acquire) {
            OPEN => return Poll::Ready(()),
            REFUSED => return Poll::Pending,
            _ => (),
        }
        let patience = self.patience.get_or_insert_with(|| Box::pin(sleep(PATIENCE)));
        if patience.as_mut().poll(cx).is_ready() {
            self.gate.set(OPEN);
        }
        if self.gate.is_refused() || self.gate.0.position.load(Ordering::Acquire) == WAITING {
            return Poll::Pending;
        }
        Poll::Ready(())
    }
}
