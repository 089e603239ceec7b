//! One thread that decodes exchanges and counts their rows. It owns its counters: the only lock is its own, taken once
//! an exchange and contended once a tick.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc::{self, error::TryRecvError};

use super::Exchange;
use super::count::{Decoder, ShardCounts};
use super::learn::Learner;

/// How long an idle shard naps before it looks again. Waking a thread costs the tap a system call an exchange; a look
/// every few milliseconds costs nothing and is a thousandth of the tick.
const NAP: Duration = Duration::from_millis(2);
/// Naps without work before the shard waits to be woken: a quiet pod burns no cycles.
const N_NAPS: u32 = 25;

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
    /// For the models of `counts`, as of the last exchange.
    decoder: Decoder,
    counts: Arc<Mutex<ShardCounts>>,
}

impl Shard {
    /// Behind `queue`; a body is at most `max_body_bytes` on the wire. What no model has asked for is `learner`'s.
    pub fn new(queue: mpsc::Receiver<Exchange>, max_body_bytes: usize, learner: Option<Learner>) -> Self {
        Self { queue, decoder: Decoder::new(max_body_bytes, learner), counts: Arc::default() }
    }

    /// Where the evaluator takes the counts.
    pub fn handle(&self) -> ShardHandle {
        ShardHandle(Arc::clone(&self.counts))
    }

    /// Counts until every intake is gone and the queue is empty.
    pub fn run(mut self) {
        while let Some(exchange) = self.next() {
            self.count(&exchange);
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
        let message = exchange.as_message();
        loop {
            let decoded = self.decoder.decode(&message);
            let mut counts = lock(&self.counts);
            if Arc::ptr_eq(&counts.of, self.decoder.models()) {
                return self.decoder.record(&message, decoded, &mut counts);
            }
            let models = Arc::clone(&counts.of);
            drop(counts);
            self.decoder.change_to(models);
        }
    }
}
