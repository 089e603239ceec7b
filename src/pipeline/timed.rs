//! Rows that have a time of their own: counted by that time, and handed to the evaluator together with how far their source was read.

use std::collections::BTreeMap;
use std::time::Duration;

use super::count::ShardCounts;
use crate::config::EvaluationConfig;
use crate::drift::Timestamp;
use crate::drift::window::{DEFAULT_SLOTS, slot_ms};

/// How far a source has read: what each of its marks stands for is its own affair.
pub type Marks = BTreeMap<u64, Box<[u8]>>;

/// What a source has counted since the last time, and how far it has read by then.
#[derive(Debug, Default)]
pub struct Counted {
    /// Its place among the sources.
    pub source: usize,
    /// The latest time of any row so far: what "now" is for its models.
    pub watermark: Timestamp,
    /// By when it was, oldest first.
    pub slots: BTreeMap<Timestamp, ShardCounts>,
    /// Marks that are other than before; `None` where one is of no more use.
    pub moved: Vec<(u64, Option<Box<[u8]>>)>,
}

/// A source, as the evaluator knows it.
#[derive(Debug, Default)]
pub(super) struct Source {
    pub(super) watermark: Timestamp,
    pub(super) marks: Marks,
}

impl Source {
    pub(super) fn advance(&mut self, counted: &mut Counted) {
        self.watermark = self.watermark.max(counted.watermark);
        for (mark, position) in counted.moved.drain(..) {
            match position {
                Some(position) => self.marks.insert(mark, position),
                None => self.marks.remove(&mark),
            };
        }
    }
}

/// Which rows may be counted together: those that no window and no look tells apart.
#[derive(Clone, Debug)]
pub struct Slots {
    periods_ms: Vec<u64>,
    interval_ms: u64,
}

impl Slots {
    /// For models that are judged so.
    pub fn new(evaluation: &EvaluationConfig) -> Self {
        let interval_ms = slot_ms(evaluation.interval, 1);
        let of_windows = evaluation.windows.iter().map(|window| slot_ms(window.length, DEFAULT_SLOTS));
        Self { periods_ms: of_windows.chain([interval_ms]).collect(), interval_ms }
    }

    /// When the stretch begins that `at` is in, at whose borders no window's slot and no look begins or ends.
    pub fn of(&self, at: Timestamp) -> Timestamp {
        let at = at.as_millis();
        Timestamp::from_millis(self.periods_ms.iter().map(|period| at - at % period).max().unwrap_or(at))
    }

    /// Whether a look is due between two times.
    pub fn is_look_between(&self, earlier: Timestamp, later: Timestamp) -> bool {
        later.as_millis() / self.interval_ms > earlier.as_millis() / self.interval_ms
    }

    /// Time between two looks.
    pub fn interval(&self) -> Duration {
        Duration::from_millis(self.interval_ms)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::Window;

    proptest! {
        /// Rows of one stretch are in one slot of every window.
        #[test]
        fn a_stretch_lies_in_one_slot_of_every_window(
            lengths in proptest::collection::btree_set(50u64..100_000, 1..4),
            (a, b) in (0u64..10_000_000, 0u64..10_000_000),
        ) {
            let window = |&length: &u64| Window { length: Duration::from_millis(length), label: String::new() };
            let windows = lengths.iter().map(window).collect();
            let evaluation = EvaluationConfig { interval: Duration::from_millis(50), windows, ..EvaluationConfig::default() };
            let slots = Slots::new(&evaluation);
            let [start_a, start_b] = [a, b].map(|at| slots.of(Timestamp::from_millis(at)));
            prop_assert!(start_a.as_millis() <= a);
            if start_a == start_b {
                for &length in &lengths {
                    let slot = slot_ms(Duration::from_millis(length), DEFAULT_SLOTS);
                    prop_assert_eq!(a / slot, b / slot);
                }
                prop_assert!(!slots.is_look_between(Timestamp::from_millis(a.min(b)), Timestamp::from_millis(a.max(b))));
            }
        }
    }
}
