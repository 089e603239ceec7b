//! The tap's side of the queues.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::mpsc::{self, error::TrySendError};

use super::Exchange;

/// Where a tap leaves its exchanges, spread over the shards in turn. Never waits.
#[derive(Clone, Debug)]
pub struct Intake {
    queues: Arc<[mpsc::Sender<Exchange>]>,
    turn: Arc<AtomicUsize>,
}

/// Why an exchange was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The queue is full.
    Full,
    /// The daemon is shutting down.
    Closed,
}

impl Intake {
    /// In front of one queue a shard; without any, every exchange is refused as [`Refused::Closed`].
    pub fn new(queues: impl Into<Arc<[mpsc::Sender<Exchange>]>>) -> Self {
        Self { queues: queues.into(), turn: Arc::default() }
    }

    /// Offers an exchange. Serving traffic never waits for accounting: a full queue drops it, and the caller counts.
    ///
    /// # Errors
    /// [`Refused`] says why it was dropped.
    pub fn offer(&self, exchange: Exchange) -> Result<(), Refused> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let queue = self.queues.get(turn % self.queues.len().max(1)).ok_or(Refused::Closed)?;
        queue.try_send(exchange).map_err(|error| match error {
            TrySendError::Full(_) => Refused::Full,
            TrySendError::Closed(_) => Refused::Closed,
        })
    }
}
