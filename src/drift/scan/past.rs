//! What was counted in equal slots of time, as far back as somebody asks.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

use crate::drift::Timestamp;

/// Counts of all columns, one column after another, slot by slot. Slot `k` is `[k · slot, (k + 1) · slot)` since the epoch.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub(super) struct Past {
    slot_ms: u64,
    n_kept: u64,
    stride: usize,
    /// The slot and its counts, oldest first; slots without rows are left out.
    slots: VecDeque<(u64, Box<[u32]>)>,
}

impl Past {
    /// The last `n_kept` full slots, of at least one millisecond, and the one that is being filled; `stride` counts in each.
    pub(super) fn new(slot: Duration, n_kept: u64, stride: usize) -> Self {
        let slot_ms = u64::try_from(slot.as_millis()).unwrap_or(u64::MAX).max(1);
        Self { slot_ms, n_kept, stride, slots: VecDeque::new() }
    }

    /// Whether both hold so many counts of such slots.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        (self.slot_ms, self.n_kept, self.stride) == (other.slot_ms, other.n_kept, other.stride)
            && other.slots.iter().all(|(_, counts)| counts.len() == self.stride)
    }

    /// The slot that a time is in.
    pub(super) fn slot_of(&self, at: Timestamp) -> u64 {
        at.as_millis() / self.slot_ms
    }

    /// When a slot begins.
    pub(super) fn start_of(&self, slot: u64) -> Timestamp {
        Timestamp::from_millis(slot.saturating_mul(self.slot_ms))
    }

    /// Adds what was counted at `now`, which does not run backwards.
    pub(super) fn add<'a>(&mut self, now: Timestamp, counted: impl IntoIterator<Item = &'a u64>) {
        let slot = self.slot_of(now);
        let oldest = slot.saturating_sub(self.n_kept);
        let mut spare = None;
        while self.slots.front().is_some_and(|&(slot, _)| slot < oldest) {
            spare = self.slots.pop_front().map(|(_, counts)| counts);
        }
        if self.slots.back().is_none_or(|&(newest, _)| newest < slot) {
            let mut counts = spare.unwrap_or_else(|| vec![0; self.stride].into());
            counts.fill(0);
            self.slots.push_back((slot, counts));
        }
        let Some((_, counts)) = self.slots.back_mut() else { return };
        for (count, &more) in counts.iter_mut().zip(counted) {
            *count = count.saturating_add(u32::try_from(more).unwrap_or(u32::MAX));
        }
    }

    /// The counts of some slots together.
    pub(super) fn sum(&self, slots: &Range<u64>) -> Vec<u64> {
        let mut sum = vec![0; self.stride];
        for (_, counts) in self.slots.iter().filter(|(slot, _)| slots.contains(slot)) {
            sum.iter_mut().zip(counts).for_each(|(sum, &count)| *sum += u64::from(count));
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_those_of_the_slots_and_old_ones_are_forgotten() {
        let mut past = Past::new(Duration::from_secs(1), 3, 2);
        for second in 0..10 {
            if second != 8 {
                past.add(Timestamp::from_millis(1_000 * second), &[1, second]);
                past.add(Timestamp::from_millis(1_000 * second + 999), &[1, 0]);
            }
        }
        assert_eq!(past.sum(&(7..9)), [2, 7]);
        assert_eq!(past.sum(&(0..10)), [6, 6 + 7 + 9], "the last three full slots and the newest");
        assert_eq!(past.start_of(past.slot_of(Timestamp::from_millis(7_300))), Timestamp::from_millis(7_000));
    }
}
