//! PSI and the Jensen–Shannon distance of one feature in one pass over its bins.
//!
//! [`crate::drift::score::psi`] and [`crate::drift::score::jensen_shannon`] are the definitions. What depends on the
//! baseline alone is prepared once here, so a window costs three logarithms a bin (of `c + ½`, of `q` and of the mean
//! share) instead of five and their ratios, all of them by vectors. Both sums are of differences of logarithms, so their
//! error is absolute where the definition's is relative: see [`Divergences`].

use std::f64::consts::LOG2_E;

use super::Kernel;
use super::ln::ln;
use crate::drift::score::{JensenShannon, PSEUDO_COUNT, Psi, ScoreError, check, jensen_shannon, n_kept, psi};

/// As many bins as the widest vectors hold side by side.
const MAX_LANES: usize = 4;

/// A baseline's counts and what follows from them. Slices of numbers are padded to whole vectors with bins that are empty
/// on both sides.
#[derive(Clone, Debug)]
pub struct Divergence {
    kernel: Kernel,
    baseline: Box<[u64]>,
    n_rows: u64,
    counts: Box<[f64]>,
    ln_smoothed: Box<[f64]>,
    shares: Box<[f64]>,
    ln_shares: Box<[f64]>,
}

/// How far a window is from a baseline. By vectors, PSI and the square of the distance are within 1e-13 of the
/// definitions (PSI above 1: of their value): nothing beside a threshold of 0.1 or the noise of counts. Equal counts give
/// exactly 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Divergences {
    /// Population stability index.
    pub psi: Psi,
    /// Jensen–Shannon distance.
    pub js: JensenShannon,
    /// Bins that are not empty on both sides.
    pub n_kept: usize,
}

impl Divergence {
    /// For the fastest kernel of this machine.
    pub fn new(baseline: &[u64]) -> Self {
        Self::with_kernel(baseline, Kernel::best())
    }

    /// For a kernel of [`super::available`].
    ///
    /// # Panics
    /// If this machine cannot run the kernel.
    pub fn with_kernel(baseline: &[u64], kernel: Kernel) -> Self {
        assert!(super::available().contains(&kernel), "this machine cannot run {kernel:?}");
        let n_rows: u64 = baseline.iter().sum();
        let mut counts: Vec<f64> = baseline.iter().map(|&count| count as f64).collect();
        counts.resize(baseline.len().next_multiple_of(MAX_LANES), 0.0);
        // An empty baseline has no shares, and nothing is compared with it.
        let per_row = 1.0 / n_rows.max(1) as f64;
        let shares: Box<[f64]> = counts.iter().map(|count| count * per_row).collect();
        Self {
            kernel,
            baseline: baseline.into(),
            n_rows,
            ln_smoothed: counts.iter().map(|count| ln(count + PSEUDO_COUNT)).collect(),
            ln_shares: shares.iter().map(|&share| ln(share)).collect(),
            counts: counts.into(),
            shares,
        }
    }

    /// The divergences of `current`, observations per bin of the same bins.
    ///
    /// # Errors
    /// [`ScoreError`] if the number of bins differs or a side has no observations.
    pub fn score(&self, current: &[u64]) -> Result<Divergences, ScoreError> {
        let n_current: u64 = current.iter().sum();
        check(&self.baseline, self.n_rows, current, n_current)?;
        Ok(match self.kernel {
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx2 => super::avx2::divergences(self, current, n_current),
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512 => super::avx512::divergences(self, current, n_current),
            #[cfg(target_arch = "aarch64")]
            Kernel::Neon => self.pass::<2>(current, n_current),
            Kernel::Scalar | Kernel::Portable => Divergences {
                psi: psi(&self.baseline, current)?,
                js: jensen_shannon(&self.baseline, current)?,
                n_kept: n_kept(&self.baseline, current),
            },
        })
    }

    /// [`Self::score`] for `N` bins side by side, `n_current` being the sum of `current`.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "takes the vector features of the kernel it is inlined into")]
    pub(super) fn pass<const N: usize>(&self, current: &[u64], n_current: u64) -> Divergences {
        let per_row = 1.0 / n_current as f64;
        let mut sums = Sums::<N>::new();
        let mut baseline = std::iter::zip(
            self.counts.as_chunks().0.iter().zip(self.ln_smoothed.as_chunks().0),
            self.shares.as_chunks().0.iter().zip(self.ln_shares.as_chunks().0),
        );
        let (whole, rest) = current.as_chunks();
        for (c, ((b, ln_b), (p, ln_p))) in whole.iter().zip(baseline.by_ref()) {
            sums.add(b, ln_b, p, ln_p, c, per_row);
        }
        if !rest.is_empty()
            && let Some(((b, ln_b), (p, ln_p))) = baseline.next()
        {
            // Lane by lane: a copy of so few is a call, and vectors wait for what was stored piecemeal.
            let c = std::array::from_fn(|lane| rest.get(lane).copied().unwrap_or(0));
            sums.add(b, ln_b, p, ln_p, &c, per_row);
        }
        let n_kept: u64 = sums.n_kept.iter().sum();
        let added = PSEUDO_COUNT * n_kept as f64;
        let over_current = sum(sums.over_current) / (n_current as f64 + added);
        let over_baseline = sum(sums.over_baseline) / (self.n_rows as f64 + added);
        Divergences {
            psi: Psi((over_current - over_baseline).max(0.0)),
            js: JensenShannon::from_divergence(0.5 * LOG2_E * sum(sums.jensen_shannon)),
            #[expect(clippy::cast_possible_truncation, reason = "no more than the bins of a slice")]
            n_kept: n_kept as usize,
        }
    }
}

/// Sums over bins, lane by lane.
struct Sums<const N: usize> {
    /// Of `(c + ½) ln((c + ½) / (b + ½))`, and the same over `b + ½`. The totals, by which these become the sums over
    /// shares, are known only when all bins are; their own logarithm drops out of the difference.
    over_current: [f64; N],
    over_baseline: [f64; N],
    jensen_shannon: [f64; N],
    n_kept: [u64; N],
}

impl<const N: usize> Sums<N> {
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "takes the vector features of the kernel it is inlined into")]
    fn new() -> Self {
        Self { over_current: [0.0; N], over_baseline: [0.0; N], jensen_shannon: [0.0; N], n_kept: [0; N] }
    }

    /// A bin that is empty on both sides adds nothing: its logarithms are the same, its shares nought.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "takes the vector features of the kernel it is inlined into")]
    fn add(
        &mut self,
        b: &[f64; N],
        ln_b: &[f64; N],
        p: &[f64; N],
        ln_p: &[f64; N],
        current: &[u64; N],
        per_row: f64,
    ) {
        for lane in 0..N {
            let c = current[lane] as f64;
            let ln_ratio = ln(c + PSEUDO_COUNT) - ln_b[lane];
            self.over_current[lane] += (c + PSEUDO_COUNT) * ln_ratio;
            self.over_baseline[lane] += (b[lane] + PSEUDO_COUNT) * ln_ratio;
            let q = c * per_row;
            let ln_mean = ln(0.5 * (p[lane] + q));
            let ln_q = ln(q);
            self.jensen_shannon[lane] += p[lane] * (ln_p[lane] - ln_mean) + q * (ln_q - ln_mean);
            self.n_kept[lane] += u64::from(b[lane] + c > 0.0);
        }
    }
}

/// By halves, as vectors add up; `N` is a power of two.
#[inline(always)]
#[expect(clippy::inline_always, reason = "takes the vector features of the kernel it is inlined into")]
fn sum<const N: usize>(mut lanes: [f64; N]) -> f64 {
    let mut half = N / 2;
    while half > 0 {
        for lane in 0..half {
            lanes[lane] += lanes[lane + half];
        }
        half /= 2;
    }
    lanes[0]
}

#[cfg(test)]
mod tests;
