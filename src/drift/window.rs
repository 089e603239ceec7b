//! Sliding windows: what was counted of every column of a model during the last so-and-so much time.

use std::time::Duration;

use super::{Histogram, Timestamp};

/// Slots of a window unless asked otherwise: rows leave a window in steps of 3 % of its length.
pub const DEFAULT_SLOTS: usize = 30;

/// A ring of equal slots over one stretch of time, holding every column of a model.
///
/// Slots are aligned to the epoch: slot `k` is `[k · slot, (k + 1) · slot)`. The window is the slot that time stands in
/// and the `n_slots` full ones before it, so it covers all of its length and up to one slot more: a row leaves when it
/// is between `length` and `length + slot` old. Time is the latest that [`Self::add`] or [`Self::advance`] was
/// given; an earlier one leaves it where it is, so a clock that steps back is harmless (but its rows are late until it
/// has caught up: live callers take `now` from a monotonic clock).
///
/// Slots keep 32-bit counts and the totals 64-bit ones, so scoring reads the totals only. A slot holds `u32::MAX`
/// observations a bin, 1.4 million a second into one bin of a 24-hour window; what is above that is counted in
/// [`Self::n_unheld`] and nowhere else.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct WindowRing {
    length: Duration,
    slot_ms: u64,
    /// Slots, each with the counts of all columns one after another; slot `k` is at `k % n`.
    slots: Box<[u32]>,
    /// What a column of a slot holds at most; clearing empty slots is most of what a long gap would cost.
    held: Box<[u64]>,
    totals: Box<[Histogram]>,
    now: Option<Timestamp>,
    last_row: Option<Timestamp>,
    n_unheld: u64,
}

/// What became of counts offered to a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Added {
    /// They are in the window.
    Counted,
    /// Their slot has left the window, so they are not.
    Late,
}

/// Whether a window has something to say about a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WindowState {
    /// Too few rows yet.
    Filling {
        /// Rows in the window.
        n_seen: u64,
        /// Rows it takes.
        n_needed: u64,
    },
    /// There were rows once, but none for the length of the window: silence is not "no drift".
    Stale,
    /// Enough rows to score.
    Ready,
}

/// Length of a slot where `length` is cut into `n_slots`, in milliseconds.
pub fn slot_ms(length: Duration, n_slots: usize) -> u64 {
    let length_ms = u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
    length_ms.div_ceil(n_slots.max(1) as u64).max(1)
}

impl WindowRing {
    /// A window of `length` in `n_slots` slots (at least 1) of whole milliseconds, rounded up; `n_bins` gives the
    /// number of bins of each column.
    pub fn new(length: Duration, n_slots: usize, n_bins: impl IntoIterator<Item = usize>) -> Self {
        let totals: Box<[Histogram]> = n_bins.into_iter().map(Histogram::new).collect();
        let n_slots = n_slots.max(1);
        let slot_ms = slot_ms(length, n_slots);
        let stride: usize = totals.iter().map(|total| total.as_slice().len()).sum();
        // One more for the slot that is being filled. Zeroed memory, so slots that are never used are never touched.
        let slots = vec![0; stride * (n_slots + 1)].into();
        let held = vec![0; n_slots + 1].into();
        Self { length, slot_ms, slots, held, totals, now: None, last_row: None, n_unheld: 0 }
    }

    /// Its length.
    pub fn length(&self) -> Duration {
        self.length
    }

    /// Whether it is a window of the same length over the same columns.
    pub fn is_like(&self, other: &Self) -> bool {
        let n_bins = |ring: &Self| ring.totals.iter().map(Histogram::n_bins).collect::<Vec<_>>();
        (self.length, self.slot_ms, self.slots.len(), self.held.len())
            == (other.length, other.slot_ms, other.slots.len(), other.held.len())
            && n_bins(self) == n_bins(other)
    }

    /// What the window holds, a histogram a column.
    pub fn totals(&self) -> &[Histogram] {
        &self.totals
    }

    /// Observations that a slot had no room for.
    pub fn n_unheld(&self) -> u64 {
        self.n_unheld
    }

    /// How long ago the latest row was; `None` before the first.
    pub fn idle(&self) -> Option<Duration> {
        Some(self.now?.since(self.last_row?))
    }

    /// Adds what was counted at `at`, a histogram a column. An older time than the latest is fine while its slot is
    /// in the window.
    ///
    /// # Panics
    /// If the histograms are not those of the window's columns.
    pub fn add(&mut self, at: Timestamp, counted: &[Histogram]) -> Added {
        assert_eq!(counted.len(), self.totals.len(), "histograms of another model");
        self.advance(at);
        let slot = self.slot_of(at);
        if self.newest() - slot >= self.held.len() as u64 {
            return Added::Late;
        }
        let largest = counted.iter().map(Histogram::total).max().unwrap_or(0);
        if largest == 0 {
            return Added::Counted;
        }
        let place = self.place(slot);
        self.held[place] = self.held[place].saturating_add(largest);
        let has_room = u32::try_from(self.held[place]).is_ok();
        self.last_row = self.last_row.max(Some(at));
        let stride = self.stride();
        let mut rest = &mut self.slots[place * stride..(place + 1) * stride];
        for (total, counted) in self.totals.iter_mut().zip(counted) {
            assert_eq!(total.n_bins(), counted.n_bins(), "histograms over different bins");
            let (counts, others) = rest.split_at_mut(counted.as_slice().len());
            let pairs = counts.iter_mut().zip(total.as_mut_slice()).zip(counted.as_slice());
            if has_room {
                for ((count, total), &more) in pairs {
                    #[expect(
                        clippy::cast_possible_truncation,
                        reason = "there is room for all of them together"
                    )]
                    (*count += more as u32);
                    *total += more;
                }
            } else {
                for ((count, total), &more) in pairs {
                    // What the slot cannot hold must not be in the total either, or it would never leave it.
                    let held = u32::try_from(more).unwrap_or(u32::MAX).min(u32::MAX - *count);
                    *count += held;
                    *total += u64::from(held);
                    self.n_unheld += more - u64::from(held);
                }
            }
            rest = others;
        }
        Added::Counted
    }

    /// Moves time on to `now`: slots older than the window are forgotten. Costs no more after a long gap than clearing
    /// every slot once.
    pub fn advance(&mut self, now: Timestamp) {
        let Some(before) = self.now else {
            self.now = Some(now);
            return;
        };
        let (newest, target) = (self.slot_of(before), self.slot_of(now));
        let n_entered = target.saturating_sub(newest).min(self.held.len() as u64);
        for slot in target - n_entered.min(target)..target {
            self.forget(self.place(slot + 1));
        }
        self.now = Some(now.max(before));
    }

    /// What the window can say of `column` when it takes `min_samples` rows to say something.
    pub fn state(&self, column: usize, min_samples: u64) -> WindowState {
        let n_seen = self.totals[column].total();
        if self.idle().is_some_and(|idle| idle >= self.length) {
            WindowState::Stale
        } else if n_seen < min_samples.max(1) {
            WindowState::Filling { n_seen, n_needed: min_samples.max(1) }
        } else {
            WindowState::Ready
        }
    }

    fn slot_of(&self, at: Timestamp) -> u64 {
        at.as_millis() / self.slot_ms
    }

    fn newest(&self) -> u64 {
        self.now.map_or(0, |now| self.slot_of(now))
    }

    #[expect(clippy::cast_possible_truncation, reason = "below the number of slots")]
    fn place(&self, slot: u64) -> usize {
        (slot % self.held.len() as u64) as usize
    }

    /// Counts in a slot.
    fn stride(&self) -> usize {
        self.slots.len() / self.held.len()
    }

    /// Takes a slot out of the totals.
    fn forget(&mut self, place: usize) {
        if std::mem::take(&mut self.held[place]) == 0 {
            return;
        }
        let stride = self.stride();
        let totals = self.totals.iter_mut().flat_map(Histogram::as_mut_slice);
        for (count, total) in self.slots[place * stride..(place + 1) * stride].iter_mut().zip(totals) {
            *total -= u64::from(std::mem::take(count));
        }
    }
}

#[cfg(test)]
mod tests;
