//! What one comparison of a column shows: evidence, and a change where that is enough.

use super::dispersion::Divisors;
use super::null::{Null, Statistic, Tail};
use crate::drift::Timestamp;
use crate::drift::tail::ln_e_value;

/// p-value above which rows look like the baseline.
const RECOVERED_P: f64 = 0.01;

/// Evidence that a column differs from its baseline.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Change {
    /// The statistic that gave most of it.
    pub statistic: Statistic,
    /// About when it began, to within a quarter of how long that had been when it was found.
    pub onset: Timestamp,
    /// When it was found.
    pub found: Timestamp,
    /// Rows it took.
    pub n_rows: f64,
    /// What those were worth as independent ones.
    pub n_effective: f64,
    /// The logarithm of its p-value.
    pub ln_p: f64,
    /// The logarithm of the p-value it took.
    pub ln_level: f64,
}

impl Change {
    /// How much more evidence there was than it took, as a logarithm.
    pub(super) fn excess(&self) -> f64 {
        self.ln_level - self.ln_p
    }
}

/// What holding one stretch of one column against its null gave.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    /// The statistic that stands out most, and by what its rows were divided.
    worst: Option<(Tail, f64)>,
    pub evidence: f64,
    /// The smallest p-value, no statistic weighing more than another.
    least_ln_p: f64,
    ln_level: f64,
}

impl Held {
    pub(super) fn new(null: &Null, cells: &[f64], divisors: &Divisors, ln_level: f64) -> Self {
        let mut worst: Option<(Tail, f64)> = None;
        let (mut evidence, mut least_ln_p) = (0.0, 0.0);
        null.tails(cells, divisors, |tail| {
            least_ln_p = f64::min(least_ln_p, tail.ln_p);
            evidence += (ln_level + ln_e_value(tail.ln_p) + (tail.ln_p - tail.ln_weighted())).exp();
            if worst.is_none_or(|(worst, _)| tail.ln_weighted() < worst.ln_weighted()) {
                worst = Some((tail, divisors.stretch[tail.statistic as usize]));
            }
        });
        Self { worst, evidence, least_ln_p, ln_level }
    }

    /// The change that it shows, if the evidence is enough: in rows `cells` from `onset` to `found`.
    pub(super) fn change(&self, cells: &[f64], (onset, found): (Timestamp, Timestamp)) -> Option<Change> {
        let (tail, by) = self.worst.filter(|(tail, _)| tail.ln_weighted() <= self.ln_level)?;
        let n_rows: f64 = cells.iter().sum();
        Some(Change {
            statistic: tail.statistic,
            onset,
            found,
            n_rows,
            n_effective: n_rows / by,
            ln_p: tail.ln_weighted(),
            ln_level: self.ln_level,
        })
    }

    /// Whether nothing stands out.
    pub(super) fn is_quiet(&self) -> bool {
        self.least_ln_p > RECOVERED_P.ln()
    }
}
