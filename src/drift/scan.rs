//! Since when a column differs from its baseline, if it does: evidence within a budget of false alarms.
//!
//! At every look, every stretch of rows that ends now and begins at a block boundary is held against the baseline by
//! several two-sample statistics, and the level of each is such that, however columns and statistics depend on each other,
//! all of them together raise no more false alarms than the budget allows; stretches of one length overlap so much that
//! they count as one, which is not proved but measured (`docs/detection.md`). A stretch of `2^l` looks is held at every `2^l / 4`-th look
//! only, as it changes no faster, and may spend so much more.
//!
//! Both sides are samples: a baseline of few rows makes every statistic wider, and a stationary stream of any length
//! never adds up to evidence against the baseline's own sampling error. Rows that depend on each other make it wider
//! too, by the variance seen between stretches of the same length (`dispersion`).

mod blocks;
mod dispersion;
mod held;
mod null;
mod past;
mod rolling;

use std::borrow::Cow;
use std::ops::{AddAssign, Range};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::kernels::add;
use super::tail::{ln_rate, normal_quantile};
use super::{Reference, Timestamp};
use blocks::{Block, Blocks};
use dispersion::Dispersion;
pub use held::Change;
use held::Held;
use null::Null;
pub use null::Statistic;
pub use rolling::{Against, Pair, Rolling, RollingMemory};

/// Rows of an effect: fewer than these make it too uncertain to be held against a threshold.
pub const MIN_EFFECT_ROWS: f64 = 100.0;

/// Stretches of one length that count in the budget: the four or so that are looked at overlap, and raise alarms together.
const STRETCHES_PER_LEVEL: f64 = 1.0;

/// A column without evidence in this many times the rows that gave it is itself again.
const RECOVERY: f64 = 2.0;

/// What a row is worth to the mean rank over ten groups, where the mean of a normal feature has moved, of what it is worth
/// to a t-test: 3/π by ranks, and a little less by groups.
const LOCATION_EFFICIENCY: f64 = 0.93;

/// Where one pair of requests in a hundred is alike by chance, being alike says nothing.
const MAX_COLLISION: f64 = 0.01;

/// All columns of a model, watched for when they changed.
#[derive(Clone, Debug)]
pub struct Scan {
    columns: Vec<Column>,
    /// Where each column's cells begin.
    starts: Vec<usize>,
    blocks: Blocks,
    longest: Duration,
    /// Of one stretch of one column; a stretch of `2^l` looks has it as often as it is passed over.
    ln_level: f64,
    n_levels: i32,
    n_looks: u64,
    last_look: Option<Timestamp>,
    collision: f64,
    stretch: Vec<f64>,
}

#[derive(Clone, Debug)]
struct Column {
    null: Null,
    dispersion: Dispersion,
    state: State,
    /// Of the last look, what an alarm takes being 1.
    evidence: f64,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum State {
    /// No evidence in rows since then.
    Quiet {
        since: Timestamp,
    },
    Changed(Change),
}

/// All that a scan has learnt from traffic.
#[derive(Debug, Serialize, Deserialize)]
pub struct ScanMemory<'a> {
    columns: Vec<(Cow<'a, Dispersion>, State, f64)>,
    blocks: Cow<'a, Blocks>,
    n_looks: u64,
    last_look: Option<Timestamp>,
}

/// How many rows a look repeats: `Σ m² − Σ m` over requests seen `m` times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Repeats(pub f64);

impl AddAssign for Repeats {
    fn add_assign(&mut self, Self(more): Self) {
        self.0 += more;
    }
}

impl Scan {
    /// Over the columns of one model. A look may raise `alarms_per_look` false alarms on average; stretches of up to
    /// `longest` are held against the baseline, at looks `interval` apart.
    /// Of the columns, `n_features` are those of requests; they stand first.
    pub fn new(
        references: &[Reference],
        n_features: usize,
        alarms_per_look: f64,
        (interval, longest): (Duration, Duration),
    ) -> Self {
        let columns: Vec<_> = references
            .iter()
            .map(|reference| Column {
                null: Null::new(reference),
                dispersion: Dispersion::default(),
                state: State::Quiet { since: Timestamp::default() },
                evidence: 0.0,
            })
            .collect();
        let mut starts = vec![0];
        for column in &columns {
            starts.push(starts[starts.len() - 1] + column.null.n_cells());
        }
        let n_looks = (longest.as_secs_f64() / interval.as_secs_f64()).max(1.0);
        #[expect(clippy::cast_possible_truncation, reason = "a logarithm")]
        let n_levels = n_looks.log2() as i32 + 1;
        let n_tests = columns.len().max(1) as f64 * f64::from(n_levels) * STRETCHES_PER_LEVEL;
        Self {
            collision: references[..n_features].iter().map(collision).product(),
            stretch: vec![0.0; starts[columns.len()]],
            blocks: Blocks::new(starts[columns.len()]),
            columns,
            starts,
            longest,
            ln_level: (alarms_per_look / n_tests).ln(),
            n_levels,
            n_looks: 0,
            last_look: None,
        }
    }

    /// The same where rows are known not to depend on each other.
    #[must_use]
    pub fn of_independent_rows(mut self) -> Self {
        for column in &mut self.columns {
            column.dispersion = Dispersion::of_independent_rows();
        }
        self
    }

    /// Takes in what was counted since the last look, a folded histogram a column ([`Reference::fold`]), and looks.
    /// A look without rows changes nothing.
    pub fn look<'a>(
        &mut self,
        now: Timestamp,
        counted: impl IntoIterator<Item = &'a [u64]>,
        Repeats(excess): Repeats,
    ) {
        let from = self.last_look.replace(now).unwrap_or(now);
        let (columns, starts) = (&mut self.columns, &self.starts);
        self.blocks.push(
            (from, now),
            excess,
            |cells| {
                let mut n_rows = 0.0;
                for (counts, range) in counted.into_iter().zip(starts.windows(2)) {
                    let cells = &mut cells[range[0]..range[1]];
                    cells.iter_mut().zip(counts).for_each(|(cell, &count)| *cell = count as f64);
                    n_rows = f64::max(n_rows, cells.iter().sum());
                }
                n_rows
            },
            |history, older, newer| {
                for (column, range) in columns.iter_mut().zip(starts.windows(2)) {
                    let cells = range[0]..range[1];
                    let (older_cells, newer_cells) =
                        (&older.counts[cells.clone()], &newer.counts[cells.clone()]);
                    let history = &history[cells];
                    // What differs from its past for good would look like noise, and hide itself.
                    let changed = matches!(column.state, State::Changed(_));
                    let contrasts = if !changed && history.iter().any(|&count| count > 0.0) {
                        &[older_cells, newer_cells].map(|cells| column.null.contrast(history, cells))[..]
                    } else {
                        &[column.null.contrast(older_cells, newer_cells)]
                    };
                    column.dispersion.learn(older.level, contrasts);
                }
            },
        );
        self.blocks.forget(Timestamp::from_millis(
            now.as_millis().saturating_sub(u64::try_from(self.longest.as_millis()).unwrap_or(u64::MAX)),
        ));
        self.n_looks += 1;
        self.columns.iter_mut().for_each(|column| column.evidence = 0.0);
        self.hold_stretches(now);
        self.release();
    }

    /// What is to be kept over a restart.
    pub fn memory(&self) -> ScanMemory<'_> {
        ScanMemory {
            columns: self
                .columns
                .iter()
                .map(|column| (Cow::Borrowed(&column.dispersion), column.state, column.evidence))
                .collect(),
            blocks: Cow::Borrowed(&self.blocks),
            n_looks: self.n_looks,
            last_look: self.last_look,
        }
    }

    /// Whether a memory is one of a scan over the same columns.
    pub fn is_like(&self, memory: &ScanMemory<'_>) -> bool {
        self.columns.len() == memory.columns.len() && self.blocks.is_like(&memory.blocks)
    }

    /// Goes on where another one was, that [is like](Self::is_like) this.
    pub fn restore(&mut self, memory: ScanMemory<'_>) {
        for (column, (dispersion, state, evidence)) in self.columns.iter_mut().zip(memory.columns) {
            (column.dispersion, column.state, column.evidence) = (dispersion.into_owned(), state, evidence);
        }
        self.blocks = memory.blocks.into_owned();
        (self.n_looks, self.last_look) = (memory.n_looks, memory.last_look);
    }

    /// The evidence that a column differs, while it does.
    pub fn change(&self, column: usize) -> Option<&Change> {
        match &self.columns[column].state {
            State::Quiet { .. } => None,
            State::Changed(change) => Some(change),
        }
    }

    /// What was counted of a column since `from`, to the nearest block.
    pub fn since(&self, column: usize, from: Timestamp) -> Vec<u64> {
        let cells = self.starts[column]..self.starts[column + 1];
        let mut sum = vec![0; cells.len()];
        for block in self.blocks.iter().rev() {
            let middle = u64::midpoint(block.from.as_millis(), block.to.as_millis());
            if middle < from.as_millis() {
                break;
            }
            for (sum, count) in sum.iter_mut().zip(&block.counts[cells.clone()]) {
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "whole numbers, as counted"
                )]
                (*sum += *count as u64);
            }
        }
        sum
    }

    /// The share of one kind of cell in the baseline and in `counts`; `None` for a statistic that is no share.
    pub fn shares(&self, column: usize, statistic: Statistic, counts: &[u64]) -> Option<(f64, f64)> {
        let counts: Vec<_> = counts.iter().map(|&count| count as f64).collect();
        self.columns[column].null.shares(statistic, &counts)
    }

    /// The logarithm of the p-value of a share in `n_rows` rows, given the baseline's.
    pub fn ln_rate(&self, column: usize, (baseline_share, share): (f64, f64), n_rows: f64) -> f64 {
        let n = self.columns[column].null.n_rows();
        ln_rate(baseline_share * n, n, share * n_rows, n_rows)
    }

    /// What the last look's evidence in these columns, together, is of what an alarm takes. May be averaged over pods.
    pub fn evidence(&self, columns: Range<usize>) -> f64 {
        self.columns[columns].iter().map(|column| column.evidence).sum()
    }

    /// About how many rows, `rows_per_look` a look, show a normal feature's mean to have moved by `shift` standard deviations, half of the
    /// time; `None` if no number of rows does, against so small a baseline.
    pub fn rows_to_shift(&self, shift: f64, rows_per_look: f64) -> Option<f64> {
        let n = self.columns.iter().map(|column| column.null.n_rows()).fold(0.0, f64::max);
        (0..self.n_levels).find_map(|level| {
            let ln_level = self.ln_level + f64::from(i32::max(level - 2, 0)) * std::f64::consts::LN_2;
            let z = normal_quantile(ln_level + Statistic::Location.share(true).ln() - std::f64::consts::LN_2);
            let inverse = LOCATION_EFFICIENCY * (shift / z).powi(2) - 1.0 / n;
            let n_looks = (1.0 / (inverse * rows_per_look)).ceil();
            (inverse > 0.0 && n_looks < f64::powi(2.0, level + 1)).then_some(n_looks * rows_per_look)
        })
    }

    fn hold_stretches(&mut self, now: Timestamp) {
        self.stretch.fill(0.0);
        let usual = usual_repeats(self.blocks.iter());
        let mut requests = Requests::default();
        let mut n_looks = 0u64;
        for block in self.blocks.iter().rev() {
            let period = (1u64 << block.level) / 4;
            if period > 1 && !self.n_looks.is_multiple_of(period) {
                break; // older blocks are no shorter, and their periods multiples of this one
            }
            add(&mut self.stretch, &block.counts);
            requests += block;
            n_looks += 1 << block.level;
            let ln_level = self.ln_level + (period.max(1) as f64).ln();
            let repeated = requests.repeated(usual, self.collision);
            for (column, range) in self.columns.iter_mut().zip(self.starts.windows(2)) {
                let cells = &self.stretch[range[0]..range[1]];
                if let State::Quiet { since } = column.state
                    && block.from < since
                {
                    continue;
                }
                let divisors = column.null.with_repeats(column.dispersion.of_stretch(n_looks), repeated);
                let held = Held::new(&column.null, cells, &divisors, ln_level);
                column.evidence += held.evidence;
                let Some(found) = held.change(cells, (block.from, now)) else { continue };
                let is_stronger = match &column.state {
                    State::Quiet { .. } => true,
                    State::Changed(known) => known.found == now && found.excess() > known.excess(),
                };
                if is_stronger {
                    column.state = State::Changed(found);
                }
            }
        }
    }

    /// Lets go of columns that are themselves again.
    fn release(&mut self) {
        let usual = usual_repeats(self.blocks.iter());
        for (column, range) in self.columns.iter_mut().zip(self.starts.windows(2)) {
            let State::Changed(change) = column.state else { continue };
            let enough = (RECOVERY * change.n_rows).max(MIN_EFFECT_ROWS);
            let mut cells = vec![0.0; range[1] - range[0]];
            let (mut requests, mut n_looks) = (Requests::default(), 0u64);
            for block in self.blocks.iter().rev() {
                if block.from < change.found {
                    break;
                }
                add(&mut cells, &block.counts[range[0]..range[1]]);
                requests += block;
                n_looks += 1 << block.level;
                if cells.iter().sum::<f64>() < enough {
                    continue;
                }
                let repeated = requests.repeated(usual, self.collision);
                let divisors = column.null.with_repeats(column.dispersion.of_stretch(n_looks), repeated);
                if Held::new(&column.null, &cells, &divisors, 0.0).is_quiet() {
                    column.state = State::Quiet { since: block.from };
                }
                break;
            }
        }
    }
}

/// The chance that two independent rows fall into one fine bin: at least that of their having one value.
fn collision(reference: &Reference) -> f64 {
    let counts = reference.baseline().as_slice();
    let n_rows = reference.baseline().total().max(1) as f64;
    counts.iter().map(|&count| (count as f64 / n_rows).powi(2)).sum()
}

/// Rows of a stretch, and how many of them repeat others.
#[derive(Clone, Copy, Debug, Default)]
struct Requests {
    n_rows: f64,
    excess: f64,
}

impl AddAssign<&Block> for Requests {
    fn add_assign(&mut self, block: &Block) {
        self.n_rows += block.n_rows;
        self.excess += block.excess;
    }
}

impl Requests {
    /// By what repeated requests divide what a stretch is worth, beyond those that repeat anyway: `usual` ones a row, and
    /// never more than chance repeats values.
    fn repeated(self, usual: f64, collision: f64) -> f64 {
        let Self { n_rows: m, excess } = self;
        let expected = (m * usual).min(m * m * collision);
        if m <= 0.0 || collision > MAX_COLLISION { 1.0 } else { ((m + excess) / (m + expected)).max(1.0) }
    }
}

/// Repeats a row in the middle one of all rows: a burst that fills less than half of them is not usual.
fn usual_repeats<'a>(blocks: impl Iterator<Item = &'a Block>) -> f64 {
    let mut rates: Vec<_> = blocks
        .filter(|block| block.n_rows > 0.0)
        .map(|block| (block.excess / block.n_rows, block.n_rows))
        .collect();
    rates.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    let mut left = rates.iter().map(|(_, n_rows)| n_rows).sum::<f64>() / 2.0;
    for (rate, n_rows) in rates {
        left -= n_rows;
        if left <= 0.0 {
            return rate;
        }
    }
    0.0
}

#[cfg(test)]
mod tests;
