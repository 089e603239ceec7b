//! What was counted lately in fine steps, and long ago in coarse ones.

use serde::{Deserialize, Serialize};

use crate::drift::Timestamp;
use crate::drift::kernels::add;

/// Blocks of one size that are kept before the two oldest become one of twice the size: the start of every stretch that
/// ends now is known to a quarter of its length or better.
const MAX_PER_LEVEL: usize = 4;

/// Counts of consecutive looks, oldest first. A block of level `l` holds `2^l` looks, so that any past takes a number of
/// blocks that grows with its logarithm.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Blocks {
    stride: usize,
    kept: Vec<Block>,
    #[serde(skip)]
    spare: Vec<Box<[f64]>>,
    /// Of all blocks.
    total: Box<[f64]>,
    history: Box<[f64]>,
}

/// One stretch of time.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Block {
    /// When its first look began.
    pub from: Timestamp,
    /// When its last look ended.
    pub to: Timestamp,
    /// It holds `2^level` looks.
    pub level: u8,
    /// Rows it holds.
    pub n_rows: f64,
    /// Rows that repeat others, as [`super::Repeats`] sums them up.
    pub excess: f64,
    /// The cells of all columns, one column after another. Whole numbers: `f64` counts exactly as far as any stream goes,
    /// and needs no conversion in the loops over it.
    pub counts: Box<[f64]>,
}

impl Blocks {
    pub(super) fn new(stride: usize) -> Self {
        Self {
            stride,
            kept: Vec::new(),
            spare: Vec::new(),
            total: vec![0.0; stride].into(),
            history: vec![0.0; stride].into(),
        }
    }

    /// Whether both hold so many cells.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        let all = other.kept.iter().map(|block| &block.counts).chain([&other.total, &other.history]);
        self.stride == other.stride && all.map(|counts| counts.len()).all(|len| len == self.stride)
    }

    /// Oldest first.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &Block> {
        self.kept.iter()
    }

    /// Appends a look, whose counts `fill` writes over zeros, returning the number of rows, and joins old blocks; before two become one, `joined` sees
    /// the counts of all that is older than both, and the two, the older one first.
    pub(super) fn push(
        &mut self,
        (from, to): (Timestamp, Timestamp),
        excess: f64,
        fill: impl FnOnce(&mut [f64]) -> f64,
        mut joined: impl FnMut(&[f64], &Block, &Block),
    ) {
        let mut counts = self.spare.pop().unwrap_or_else(|| vec![0.0; self.stride].into());
        counts.fill(0.0);
        let n_rows = fill(&mut counts);
        add(&mut self.total, &counts);
        self.kept.push(Block { from, to, level: 0, n_rows, excess, counts });
        for level in 0.. {
            let Some(oldest) = self.kept.iter().position(|block| block.level == level) else { break };
            let n_same = self.kept[oldest..].iter().take_while(|block| block.level == level).count();
            if n_same <= MAX_PER_LEVEL {
                break;
            }
            // Joins are most frequent where the blocks from there on are few.
            self.history.copy_from_slice(&self.total);
            for block in &self.kept[oldest..] {
                subtract(&mut self.history, &block.counts);
            }
            joined(&self.history, &self.kept[oldest], &self.kept[oldest + 1]);
            let newer = self.kept.remove(oldest + 1);
            let older = &mut self.kept[oldest];
            add(&mut older.counts, &newer.counts);
            older.to = newer.to;
            older.n_rows += newer.n_rows;
            older.excess += newer.excess;
            older.level += 1;
            self.spare.push(newer.counts);
        }
    }

    /// Forgets what ended before `oldest`.
    pub(super) fn forget(&mut self, oldest: Timestamp) {
        let n_old = self.kept.iter().take_while(|block| block.to < oldest).count();
        for block in self.kept.drain(..n_old) {
            subtract(&mut self.total, &block.counts);
            self.spare.push(block.counts);
        }
        self.spare.truncate(2);
    }
}

/// Takes counts off a sum again: exact, as counts are whole numbers.
fn subtract(sum: &mut [f64], counts: &[f64]) {
    for (sum, count) in sum.iter_mut().zip(counts) {
        *sum -= count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(look: u64) -> (Timestamp, Timestamp) {
        (Timestamp::from_millis(10 * look), Timestamp::from_millis(10 * look + 10))
    }

    #[test]
    fn nothing_is_lost_and_the_number_of_blocks_grows_with_the_logarithm() {
        let mut blocks = Blocks::new(1);
        let mut n_joined = 0;
        for look in 0..100_000 {
            let fill = |counts: &mut [f64]| {
                counts[0] = look as f64;
                counts[0]
            };
            blocks.push(at(look), 1.0, fill, |history, older, newer| {
                assert!(history[0] >= 0.0 && (older.from > at(0).0 || history[0] < 0.5));
                assert_eq!((older.level, older.to), (newer.level, newer.from));
                n_joined += 1;
            });
        }
        let sum: f64 = blocks.iter().map(|block| block.counts[0]).sum();
        assert!((sum - 99_999.0 * 50_000.0).abs() < f64::EPSILON);
        assert!((blocks.iter().map(|block| block.n_rows).sum::<f64>() - sum).abs() < f64::EPSILON);
        assert!((blocks.iter().map(|block| block.excess).sum::<f64>() - 1e5).abs() < f64::EPSILON);
        assert!(blocks.kept.len() <= MAX_PER_LEVEL * 17, "{}", blocks.kept.len());
        assert_eq!(n_joined + blocks.kept.len(), 100_000);
        assert!(
            blocks.kept.windows(2).all(|pair| pair[0].level >= pair[1].level && pair[0].to == pair[1].from)
        );
        blocks.forget(Timestamp::from_millis(500_000));
        assert!(blocks.iter().all(|block| block.to >= Timestamp::from_millis(500_000)));
        assert_eq!(blocks.iter().last().map(|block| block.to), Some(Timestamp::from_millis(1_000_000)));
    }
}
