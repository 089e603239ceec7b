//! Rows with features that the baseline does not know, over the shortest window.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::drift::Timestamp;
use crate::drift::tail::ln_rate;

/// Looks that are told apart; of more, neighbours become one.
const MAX_LOOKS: usize = 64;

/// How many such rows there were lately, and whether that is an accident.
#[derive(Clone, Debug)]
pub(super) struct Unexpected {
    window: Duration,
    alarms_per_look: f64,
    looks: VecDeque<Seen>,
    last_seen: Option<Timestamp>,
    is_broken: bool,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Seen {
    at: Timestamp,
    n_unexpected: u64,
    n_rows: u64,
}

/// What was seen.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct UnexpectedMemory {
    looks: VecDeque<Seen>,
    last_seen: Option<Timestamp>,
    is_broken: bool,
}

impl Unexpected {
    pub(super) fn new(window: Duration, alarms_per_look: f64) -> Self {
        Self { window, alarms_per_look, looks: VecDeque::new(), last_seen: None, is_broken: false }
    }

    /// Takes in one look; the contract is broken by a share of `threshold`, if that is more than a baseline of so many rows
    /// without any allows for.
    pub(super) fn look(
        &mut self,
        now: Timestamp,
        (n_unexpected, n_rows): (u64, u64),
        n_baseline: u64,
        threshold: f64,
    ) {
        if n_unexpected > 0 {
            self.last_seen = Some(now);
        }
        if n_rows + n_unexpected > 0 {
            self.looks.push_back(Seen { at: now, n_unexpected, n_rows: n_rows.max(n_unexpected) });
        }
        while self.looks.front().is_some_and(|seen| now.since(seen.at) > self.window) {
            self.looks.pop_front();
        }
        if self.looks.len() > MAX_LOOKS {
            let pairs = self.looks.make_contiguous().chunks(2);
            self.looks = pairs
                .map(|pair| pair.iter().copied().reduce(Seen::and).expect("chunks are not empty"))
                .collect();
        }
        let (mut unexpected, mut rows) = (0, 0);
        self.is_broken = self.looks.iter().rev().any(|seen| {
            unexpected += seen.n_unexpected;
            rows += seen.n_rows;
            let (c, m) = (unexpected as f64, rows as f64);
            c >= threshold * m && ln_rate(0.0, n_baseline as f64, c, m) <= self.alarms_per_look.ln()
        });
    }

    /// What is to be kept over a restart.
    pub(super) fn memory(&self) -> UnexpectedMemory {
        UnexpectedMemory { looks: self.looks.clone(), last_seen: self.last_seen, is_broken: self.is_broken }
    }

    /// Goes on where another one was.
    pub(super) fn restore(&mut self, memory: UnexpectedMemory) {
        let UnexpectedMemory { looks, last_seen, is_broken } = memory;
        (self.looks, self.last_seen, self.is_broken) = (looks, last_seen, is_broken);
    }

    /// Whether there are more of them than by accident.
    pub(super) fn is_broken(&self) -> bool {
        self.is_broken
    }

    /// When the last one came.
    pub(super) fn last_seen(&self) -> Option<Timestamp> {
        self.last_seen
    }
}

impl Seen {
    /// Both as one, as old as the newer.
    fn and(self, newer: Self) -> Self {
        Self {
            at: newer.at,
            n_unexpected: self.n_unexpected + newer.n_unexpected,
            n_rows: self.n_rows + newer.n_rows,
        }
    }
}
