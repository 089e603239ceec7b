//! The tap's side of the queue.

use super::Exchange;

/// Where a tap leaves its exchanges. Never waits.
#[derive(Clone, Debug)]
pub struct Intake {
    queue: tokio::sync::mpsc::Sender<Exchange>,
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
    /// In front of a queue.
    pub fn new(queue: tokio::sync::mpsc::Sender<Exchange>) -> Self {
        Self { queue }
    }

    /// Offers an exchange; a full queue drops it.
    ///
    /// # Errors
    /// [`Refused`] says why it was dropped.
    pub fn offer(&self, exchange: Exchange) -> Result<(), Refused> {
        self.queue.try_send(exchange).map_err(|error| match error {
            tokio::sync::mpsc::error::TrySendError::Full(_) => Refused::Full,
            tokio::sync::mpsc::error::TrySendError::Closed(_) => Refused::Closed,
        })
    }
}
