//! What one column looks like while nothing has changed, and how unlikely a stretch of it is then.

use std::borrow::Cow;

use super::dispersion::Divisors;
use crate::drift::binning::is_far_out;
use crate::drift::kernels::StretchSums;
use crate::drift::score::{Bins, Reference};
use crate::drift::tail::{ln_chi_square, ln_normal, ln_rate};
use statrs::distribution::{ContinuousCDF, Normal};

/// In which way a stretch of one column differs from the baseline. Each is good at what the others are slow to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum Statistic {
    /// The mean rank: values moved up or down.
    Location,
    /// The mean squared normal score: values spread out or drew together.
    Spread,
    /// The likelihood ratio over all cells: anything else.
    Shape,
    /// The share of missing values.
    Missing,
    /// The share of values of the wrong type, or of categories the baseline has not seen.
    Other,
    /// The share of values far beyond the baseline's range, by half its width or more.
    Beyond,
}

impl Statistic {
    pub(super) const ALL: [Self; 6] =
        [Self::Location, Self::Spread, Self::Shape, Self::Missing, Self::Other, Self::Beyond];

    /// For the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Location => "location",
            Self::Spread => "spread",
            Self::Shape => "shape",
            Self::Missing => "missing",
            Self::Other => "other",
            Self::Beyond => "out_of_range",
        }
    }

    /// Its share of the budget of false alarms. What breaks all at once needs little of it, and categories have neither
    /// location nor spread.
    pub(super) const fn share(self, is_numeric: bool) -> f64 {
        match (self, is_numeric) {
            (Self::Location, _) => 0.4,
            (Self::Spread, _) => 0.2,
            (Self::Shape, true) => 0.25,
            (Self::Shape, false) => 0.9,
            (Self::Missing | Self::Other | Self::Beyond, _) => 0.05,
        }
    }
}

/// Screens are this many standard deviations wide: nothing they keep back could be evidence at any sensible budget.
const SCREEN: f64 = 3.0;

/// The baseline of one column over its cells: groups or categories, then missing, then other.
#[derive(Clone, Debug)]
pub(super) struct Null {
    baseline: Box<[f64]>,
    n: f64,
    is_numeric: bool,
    /// Numbers only: categories have no order.
    scores: Option<Scores>,
    sums: StretchSums,
    /// Cells that no row of the baseline is in and that lie far outside of its range.
    beyond: Box<[usize]>,
}

/// What every group counts for, with mean 0 and variance 1 over the baseline's numbers; 0 for missing and other.
#[derive(Clone, Debug)]
struct Scores {
    shares: Box<[f64]>,
    location: Box<[f64]>,
    spread: Option<Box<[f64]>>,
}

/// The tail of one statistic: the logarithm of its p-value, less that of its share of the budget.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Tail {
    pub statistic: Statistic,
    pub ln_p: f64,
    share: f64,
}

impl Tail {
    /// To be held against the logarithm of the level of the column as a whole.
    pub(super) fn ln_weighted(self) -> f64 {
        self.ln_p - self.share.ln()
    }
}

impl Null {
    pub(super) fn new(reference: &Reference) -> Self {
        let cells = reference.psi_bins();
        let baseline: Box<[f64]> = cells.iter().map(|&count| count as f64).collect();
        let n_groups = baseline.len() - 2;
        let beyond = match reference.bins() {
            Bins::Numeric { edges, groups, min, max, .. } => {
                let is_beyond =
                    |&at: &usize| baseline[at] == 0.0 && is_far_out(groups.span(at, edges), (*min, *max));
                (0..n_groups).filter(is_beyond).collect()
            }
            Bins::Categorical { .. } => Box::default(),
        };
        let scores = if reference.is_numeric() { Scores::new(&baseline[..n_groups]) } else { None };
        let location = scores.as_ref().map_or(&[][..], |scores| &scores.location);
        let spread = scores.as_ref().and_then(|scores| scores.spread.as_deref()).unwrap_or_default();
        Self {
            n: baseline.iter().sum(),
            is_numeric: reference.is_numeric(),
            sums: StretchSums::new(&baseline, location, spread),
            baseline,
            scores,
            beyond,
        }
    }

    /// Number of cells.
    pub(super) fn n_cells(&self) -> usize {
        self.baseline.len()
    }

    /// Rows of the baseline.
    pub(super) fn n_rows(&self) -> f64 {
        self.n
    }

    /// The share of one kind of cell, in the baseline and in `cells`; `None` for what is no share.
    pub(super) fn shares(&self, statistic: Statistic, cells: &[f64]) -> Option<(f64, f64)> {
        let count = |of: &[f64]| match statistic {
            Statistic::Missing => Some(of[of.len() - 2]),
            Statistic::Other => Some(of[of.len() - 1]),
            Statistic::Beyond => Some(self.beyond.iter().map(|&at| of[at]).sum()),
            _ => None,
        };
        let total: f64 = cells.iter().sum();
        Some((count(&self.baseline)? / self.n.max(1.0), count(cells)? / total.max(1.0)))
    }

    /// The tails of a stretch with counts `cells` that stand out at all; `divisors` divide what rows are worth.
    pub(super) fn tails(&self, cells: &[f64], divisors: &Divisors, mut found: impl FnMut(Tail)) {
        let sums = self.sums.of(cells);
        let m = sums.n_rows;
        if m <= 0.0 || self.n <= 0.0 {
            return;
        }
        let mut found = |statistic: Statistic, ln_p| {
            found(Tail { statistic, ln_p, share: statistic.share(self.is_numeric) });
        };
        let (missing, other) = (cells.len() - 2, cells.len() - 1);
        if let Some(scores) = &self.scores {
            let n_numbers = self.n - self.baseline[missing] - self.baseline[other];
            let m_numbers = m - cells[missing] - cells[other];
            if m_numbers > 0.0 && n_numbers > 0.0 {
                let effective = n_numbers * m_numbers / (n_numbers + m_numbers);
                let mut moved = |statistic, values: &[f64], sum: f64| {
                    let mean = sum / m_numbers;
                    let effective = effective / divisors.of_difference(statistic, n_numbers, m_numbers);
                    if mean * mean * effective > SCREEN * SCREEN {
                        let root = (2.0 * effective * tilt(&scores.shares, values, mean)).sqrt();
                        found(statistic, std::f64::consts::LN_2 + ln_normal(root));
                    }
                };
                moved(Statistic::Location, &scores.location, sums.location);
                if let Some(spread) = &scores.spread {
                    moved(Statistic::Spread, spread, sums.spread);
                }
            }
        }
        let mut rate = |statistic, b: f64, c: f64| {
            let expected = b * m / self.n;
            if (c - expected).powi(2) > SCREEN * SCREEN * (expected + c.min(1.0)) || (b == 0.0 && c > 0.0) {
                let by = divisors.stretch[statistic as usize];
                found(statistic, ln_rate(b, self.n, c / by, m / by));
            }
        };
        rate(Statistic::Missing, self.baseline[missing], cells[missing]);
        rate(Statistic::Other, self.baseline[other], cells[other]);
        let beyond: f64 = self.beyond.iter().map(|&at| cells[at]).sum();
        rate(Statistic::Beyond, 0.0, beyond);
        let by = divisors.of_difference(Statistic::Shape, self.n, m);
        let freedom = (sums.n_kept - 1.0).max(0.0);
        let noise = freedom + SCREEN * (2.0 * freedom).sqrt();
        // Logarithms only where the likelihood ratio can be more than noise.
        if sums.most_of_shape > by * noise {
            let ratio = likelihood_ratio(&self.baseline, self.n, cells, m);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a number of cells")]
            found(Statistic::Shape, ln_chi_square(ratio / by, freedom as usize));
        }
    }

    /// What repeated requests make of the divisors. A kind of value that the baseline never had breaks the contract
    /// however few requests bring it, so its rows count in full.
    pub(super) fn with_repeats<'a>(&self, divisors: &'a Divisors, repeated: f64) -> Cow<'a, Divisors> {
        if repeated <= 1.0 {
            return Cow::Borrowed(divisors);
        }
        let cells = self.baseline.len();
        let never = |statistic| match statistic {
            Statistic::Missing => self.baseline[cells - 2] == 0.0,
            Statistic::Other => self.baseline[cells - 1] == 0.0,
            Statistic::Beyond => true,
            Statistic::Location | Statistic::Spread | Statistic::Shape => false,
        };
        let mut divisors = *divisors;
        for statistic in Statistic::ALL.into_iter().filter(|&statistic| !never(statistic)) {
            divisors.stretch[statistic as usize] *= repeated;
        }
        Cow::Owned(divisors)
    }

    /// What two neighbouring stretches say of the variance between stretches: for each statistic 1 on average if rows
    /// are independent, `None` where the two cannot say.
    pub(super) fn contrast(&self, older: &[f64], newer: &[f64]) -> [Option<f64>; Statistic::ALL.len()] {
        let (n, m): (f64, f64) = (older.iter().sum(), newer.iter().sum());
        let mut contrast = [None; Statistic::ALL.len()];
        if n <= 0.0 || m <= 0.0 {
            return contrast;
        }
        let (missing, other) = (older.len() - 2, older.len() - 1);
        if let Some(scores) = &self.scores {
            let (n, m) = (n - older[missing] - older[other], m - newer[missing] - newer[other]);
            let squared = |values: &[f64]| {
                let difference = dot(values, older) / n - dot(values, newer) / m;
                (n > 0.0 && m > 0.0).then(|| difference * difference / (1.0 / n + 1.0 / m))
            };
            let directions =
                [(Statistic::Location, Some(&scores.location)), (Statistic::Spread, scores.spread.as_ref())];
            for (statistic, values) in directions {
                contrast[statistic as usize] = values.and_then(|values| squared(values));
            }
        }
        let rate = |b: f64, c: f64| (b + c > 0.0).then(|| (m * b - n * c).powi(2) / (n * m * (b + c)));
        let beyond = |of: &[f64]| self.beyond.iter().map(|&at| of[at]).sum();
        contrast[Statistic::Missing as usize] = rate(older[missing], newer[missing]);
        contrast[Statistic::Other as usize] = rate(older[other], newer[other]);
        contrast[Statistic::Beyond as usize] = rate(beyond(older), beyond(newer));
        let (statistic, n_kept) = chi_square(older, n, newer, m);
        contrast[Statistic::Shape as usize] = (n_kept > 1.0).then(|| statistic / (n_kept - 1.0));
        contrast
    }
}

impl Scores {
    fn new(groups: &[f64]) -> Option<Self> {
        let n: f64 = groups.iter().sum();
        let smoothed = n + 0.5 * groups.len() as f64;
        let shares: Box<[f64]> = groups.iter().map(|count| (count + 0.5) / smoothed).collect();
        let mut below = 0.0;
        let ranks: Vec<_> = groups
            .iter()
            .map(|&count| {
                below += count;
                (count > 0.0).then(|| (below - 0.5 * count) / n)
            })
            .collect();
        // What is beyond the baseline counts like what is just within: that it is beyond is for another statistic.
        let mut before = ranks.iter().flatten().next().copied()?;
        let ranks: Vec<_> = ranks
            .into_iter()
            .map(|rank| {
                before = rank.unwrap_or(before);
                before
            })
            .collect();
        let normal = Normal::standard();
        let squares: Vec<_> = ranks.iter().map(|&rank| normal.inverse_cdf(rank).powi(2)).collect();
        let location = standardised(&shares, ranks)?;
        let along: f64 = (0..groups.len()).map(|at| shares[at] * location[at] * squares[at]).sum();
        let spread =
            squares.iter().zip(&location).map(|(square, location)| square - along * location).collect();
        let with_extra = |scores: Vec<f64>| scores.into_iter().chain([0.0, 0.0]).collect();
        Some(Self {
            spread: standardised(&shares, spread).map(with_extra),
            location: with_extra(location),
            shares,
        })
    }
}

/// With mean 0 and variance 1 over `shares`; `None` if all are alike.
fn standardised(shares: &[f64], mut values: Vec<f64>) -> Option<Vec<f64>> {
    let mean = dot(shares, &values);
    for value in &mut values {
        *value -= mean;
    }
    let variance: f64 = shares.iter().zip(&values).map(|(share, value)| share * value * value).sum();
    for value in &mut values {
        *value /= variance.sqrt();
    }
    (variance > 1e-9).then_some(values)
}

/// The sum of products, as far as the shorter one goes.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// `sup λ·mean − ln Σ share · exp(λ · value)`: how unlikely a mean is, a row. Cramér's rate: exact for lopsided and
/// lumpy scores, where a normal approximation is off by orders of magnitude.
fn tilt(shares: &[f64], values: &[f64], mean: f64) -> f64 {
    let (mut lambda, mut best) = (0.0, 0.0);
    for _ in 0..20 {
        let (mut sum, mut first, mut second) = (0.0, 0.0, 0.0);
        for (share, value) in shares.iter().zip(values) {
            let weight = share * (lambda * value).exp();
            sum += weight;
            first += weight * value;
            second += weight * value * value;
        }
        let (tilted_mean, variance) = (first / sum, second / sum - (first / sum).powi(2));
        best = f64::max(best, lambda * mean - sum.ln());
        let step = (mean - tilted_mean) / variance.max(1e-6);
        // Beyond the largest score the supremum is infinite; by then it is large enough.
        if step.abs() < 1e-6 || lambda.abs() > 50.0 {
            break;
        }
        lambda += step.clamp(-1.0, 1.0);
    }
    best
}

/// Pearson's statistic of two samples over the same cells, and the number of cells that are not empty on both sides.
fn chi_square(a: &[f64], n: f64, b: &[f64], m: f64) -> (f64, f64) {
    let (mut sum, mut n_kept) = (0.0, 0.0);
    for (&a, &b) in a.iter().zip(b) {
        let (both, difference) = (a + b, m * a - n * b);
        sum += difference * difference / both.max(1.0); // whole numbers: below 1 is 0, and so is the difference
        n_kept += if both > 0.0 { 1.0 } else { 0.0 };
    }
    (sum / (n * m), n_kept)
}

/// Twice the logarithm of the likelihood ratio of two samples having one distribution or two.
fn likelihood_ratio(a: &[f64], n: f64, b: &[f64], m: f64) -> f64 {
    let term = |count: f64, of: f64| if count > 0.0 { count * (count / of).ln() } else { 0.0 };
    let sum: f64 = a
        .iter()
        .zip(b)
        .map(|(&a, &b)| {
            let pooled = (a + b) / (n + m);
            term(a, n * pooled) + term(b, m * pooled)
        })
        .sum();
    2.0 * sum
}
