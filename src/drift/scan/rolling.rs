//! Traffic held against its own past: the window before, or the same hours of the day before.
//!
//! A window is compared as a whole with one as long that ended `lag` earlier. Both are full slots, so they never overlap and
//! see the same hours of the day. How much such pairs differ while nothing changes (batches, rhythm) is learnt from
//! earlier pairs. Every comparison has its share of the budget, however much it repeats the one before.

use std::borrow::Cow;
use std::ops::Range;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::dispersion::Dispersion;
use super::held::{Change, Held};
use super::null::Null;
use super::past::Past;

use crate::drift::{Reference, Timestamp};

const DAY: Duration = Duration::from_hours(24);

/// Slots of a window: it moves on by so much of its length at a time.
const SLOTS_PER_WINDOW: u32 = 30;

/// Slots of a lag at most: bounds what is kept of a day for a window of minutes.
const SLOTS_PER_LAG: u32 = 288;

/// What traffic is held against.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Against {
    /// The training baseline.
    #[default]
    Baseline,
    /// The window before this one.
    PreviousWindow,
    /// What was in the window a day ago; for windows longer than a day, the one before.
    SameHourYesterday,
}

impl Against {
    /// For the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Baseline => "baseline",
            Self::PreviousWindow => "previous_window",
            Self::SameHourYesterday => "same_hour_yesterday",
        }
    }

    /// By how much earlier ended what a window of `length` is held against; `None` if that is no stretch of time.
    fn lag(self, length: Duration) -> Option<Duration> {
        match self {
            Self::Baseline => None,
            Self::PreviousWindow => Some(length),
            Self::SameHourYesterday => Some(length.max(DAY)),
        }
    }
}

/// One window of one model and what it is held against.
#[derive(Clone, Debug)]
pub struct Rolling {
    columns: Vec<Column>,
    past: Past,
    /// Slots of the window.
    n_slots: u64,
    /// Slots from the window back to what it is held against.
    n_lag: u64,
    /// Of one column in one comparison.
    ln_level: f64,
    /// The first slot with rows, which may have been under way.
    first: Option<u64>,
    /// The slot that was being filled when the window was last compared.
    compared: u64,
    /// The same of the last comparison that was learnt from.
    learnt: u64,
}

#[derive(Clone, Debug)]
struct Column {
    /// The training baseline over the PSI bins: which values they hold.
    baseline: Reference,
    min_samples: u64,
    pair: Option<Pair>,
    dispersion: Dispersion,
    change: Option<Change>,
    evidence: f64,
}

/// A window and what it is held against, with rows enough on both sides.
#[derive(Clone, Debug)]
pub struct Pair {
    /// What was counted then, over the PSI bins.
    pub reference: Reference,
    /// What was counted in the window, over the same bins.
    pub counts: Vec<u64>,
}

/// All that a comparison with the past has learnt from traffic.
#[derive(Debug, Serialize, Deserialize)]
pub struct RollingMemory<'a> {
    columns: Vec<ColumnMemory<'a>>,
    past: Cow<'a, Past>,
    first: Option<u64>,
    compared: u64,
    learnt: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct ColumnMemory<'a> {
    /// Counts now and then.
    pair: Option<(Vec<u64>, Vec<u64>)>,
    dispersion: Cow<'a, Dispersion>,
    change: Option<Change>,
    evidence: f64,
}

impl<'a> ColumnMemory<'a> {
    fn of(column: &'a Column) -> Self {
        let counts = |pair: &Pair| (pair.counts.clone(), pair.reference.psi_bins().to_vec());
        Self {
            pair: column.pair.as_ref().map(counts),
            dispersion: Cow::Borrowed(&column.dispersion),
            change: column.change,
            evidence: column.evidence,
        }
    }
}

impl Rolling {
    /// A window of `length` over the columns of one model; `None` if it is held against no past. A look, `interval` after the
    /// one before, may raise `alarms_per_look` false alarms on average. Either side of a comparison takes `min_samples` rows,
    /// given for each column.
    pub fn new<'a>(
        against: Against,
        length: Duration,
        columns: impl IntoIterator<Item = (&'a Reference, u64)>,
        (interval, alarms_per_look): (Duration, f64),
    ) -> Option<Self> {
        let lag = against.lag(length)?;
        let slot = (length / SLOTS_PER_WINDOW).max(lag / SLOTS_PER_LAG).max(interval);
        let slots = |of: Duration| of.as_secs_f64() / slot.as_secs_f64();
        let columns: Vec<_> = columns.into_iter().map(Column::new).collect();
        let n_cells = columns.iter().map(|column| column.baseline.psi_bins().len()).sum();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some hundreds")]
        let (n_slots, n_lag) = (slots(length).ceil() as u64, slots(lag).ceil() as u64);
        let alarms_per_comparison = alarms_per_look * slots(interval).recip();
        Some(Self {
            past: Past::new(slot, n_slots + n_lag, n_cells),
            n_slots,
            n_lag,
            ln_level: (alarms_per_comparison / columns.len().max(1) as f64).ln(),
            first: None,
            compared: 0,
            learnt: 0,
            columns,
        })
    }

    /// Takes in what was counted since the last look, a folded histogram a column ([`Reference::fold`]), and looks, if a slot has
    /// become full since.
    pub fn look<'a>(&mut self, now: Timestamp, counted: impl IntoIterator<Item = &'a [u64]>) {
        self.past.add(now, counted.into_iter().flatten());
        let filling = self.past.slot_of(now);
        let first = *self.first.get_or_insert(filling);
        if filling == self.compared {
            return;
        }
        self.compared = filling;
        let window = filling.saturating_sub(self.n_slots)..filling;
        let then = window.start.saturating_sub(self.n_lag)..window.end.saturating_sub(self.n_lag);
        if then.start <= first {
            return; // a part of a day is not like a day
        }
        let (counts, reference) = (self.past.sum(&window), self.past.sum(&then));
        // Windows that overlap say the same of how much windows differ.
        let learns = filling - self.learnt >= self.n_slots;
        let began = self.past.start_of(window.start);
        let (mut counts, mut reference) = (&*counts, &*reference);
        for column in &mut self.columns {
            let n_cells = column.baseline.psi_bins().len();
            let (own, own_reference);
            (own, counts) = counts.split_at(n_cells);
            (own_reference, reference) = reference.split_at(n_cells);
            column.compare(own, own_reference, (began, now), self.ln_level);
            if learns {
                column.learn();
            }
        }
        if learns {
            self.learnt = filling;
        }
    }

    /// What is to be kept over a restart.
    pub fn memory(&self) -> RollingMemory<'_> {
        RollingMemory {
            columns: self.columns.iter().map(ColumnMemory::of).collect(),
            past: Cow::Borrowed(&self.past),
            first: self.first,
            compared: self.compared,
            learnt: self.learnt,
        }
    }

    /// Whether a memory is one of the same comparison.
    pub fn is_like(&self, memory: &RollingMemory<'_>) -> bool {
        let is_alike = |(column, memory): (&Column, &ColumnMemory<'_>)| {
            let n_cells = column.baseline.psi_bins().len();
            memory.pair.as_ref().is_none_or(|(now, then)| now.len() == n_cells && then.len() == n_cells)
        };
        self.columns.len() == memory.columns.len()
            && self.past.is_like(&memory.past)
            && self.columns.iter().zip(&memory.columns).all(is_alike)
    }

    /// Goes on where another one was, that [is like](Self::is_like) this.
    pub fn restore(&mut self, memory: RollingMemory<'_>) {
        for (column, memory) in self.columns.iter_mut().zip(memory.columns) {
            column.pair = memory
                .pair
                .map(|(counts, reference)| Pair { reference: column.baseline.of_groups(&reference), counts });
            column.dispersion = memory.dispersion.into_owned();
            (column.change, column.evidence) = (memory.change, memory.evidence);
        }
        self.past = memory.past.into_owned();
        (self.first, self.compared, self.learnt) = (memory.first, memory.compared, memory.learnt);
    }

    /// What a column was last compared with; `None` while there is too little on either side.
    pub fn pair(&self, column: usize) -> Option<&Pair> {
        self.columns[column].pair.as_ref()
    }

    /// The evidence that a column differs, while it does.
    pub fn change(&self, column: usize) -> Option<&Change> {
        self.columns[column].change.as_ref()
    }

    /// What the last comparison's evidence in these columns, together, is of what an alarm takes. May be averaged over pods.
    pub fn evidence(&self, columns: Range<usize>) -> f64 {
        self.columns[columns].iter().map(|column| column.evidence).sum()
    }
}

impl Column {
    fn new((baseline, min_samples): (&Reference, u64)) -> Self {
        Self {
            baseline: baseline.of_groups(baseline.psi_bins()),
            min_samples,
            pair: None,
            dispersion: Dispersion::default(),
            change: None,
            evidence: 0.0,
        }
    }

    fn compare(
        &mut self,
        counts: &[u64],
        reference: &[u64],
        (began, now): (Timestamp, Timestamp),
        ln_level: f64,
    ) {
        let enough = |counts: &[u64]| counts.iter().sum::<u64>() >= self.min_samples.max(1);
        if !(enough(counts) && enough(reference)) {
            (self.pair, self.change, self.evidence) = (None, None, 0.0);
            return;
        }
        let pair = Pair { reference: self.baseline.of_groups(reference), counts: counts.to_vec() };
        let cells = cells(counts);
        let null = Null::new(&pair.reference);
        let held = Held::new(&null, &cells, &self.dispersion.of_stretch(1).of_equals(), ln_level);
        self.evidence = held.evidence;
        match held.change(&cells, (began, now)) {
            Some(change) => self.change = self.change.or(Some(change)),
            None if held.is_quiet() => self.change = None,
            None => {}
        }
        self.pair = Some(pair);
    }

    /// Takes the pair in as one of those where nothing has changed, if so.
    fn learn(&mut self) {
        let (Some(pair), None) = (&self.pair, &self.change) else { return };
        let null = Null::new(&pair.reference);
        let contrast = null.contrast(&cells(pair.reference.psi_bins()), &cells(&pair.counts));
        self.dispersion.learn(0, &[contrast]);
    }
}

fn cells(counts: &[u64]) -> Vec<f64> {
    counts.iter().map(|&count| count as f64).collect()
}
