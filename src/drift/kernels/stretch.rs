//! What a stretch of one column is held against its null by: the sums of all its statistics in one pass over its cells.

use super::Kernel;

/// As many cells as the widest vectors hold side by side.
const LANES: usize = 4;

/// One column's null over its cells.
#[derive(Clone, Debug)]
pub struct StretchSums {
    kernel: Kernel,
    n: f64,
    baseline: Box<[f64]>,
    location: Box<[f64]>,
    spread: Box<[f64]>,
}

/// Sums over the cells of a stretch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sums {
    /// Rows.
    pub n_rows: f64,
    /// Of the cells' first scores.
    pub location: f64,
    /// Of their second ones.
    pub spread: f64,
    /// At least twice the logarithm of the likelihood ratio of two samples having one distribution or two.
    ///
    /// That ratio is a sum, over cells and over both samples, of `2e(x ln x − x + 1)` for `e` rows expected and `x` times as many
    /// seen; `x ln x − x + 1` is at most `(x − 1)² / 2` above 1 and `(x − 1)² / (x + 1)` below, and `2 / (x + 1)` at most `2 − x`
    /// there. So each cell's term of Pearson's statistic, times `2 − min(x, 1)`, is no less than its own, and takes no logarithm.
    pub most_of_shape: f64,
    /// Cells that are not empty on both sides.
    pub n_kept: f64,
}

impl StretchSums {
    /// Of a baseline with so many rows a cell, whose cells score `location` and `spread`; cells past the end of those score 0.
    pub fn new(baseline: &[f64], location: &[f64], spread: &[f64]) -> Self {
        Self::with_kernel(baseline, (location, spread), Kernel::best())
    }

    /// For a kernel of [`super::available`].
    ///
    /// # Panics
    /// If this machine cannot run the kernel.
    pub fn with_kernel(baseline: &[f64], (location, spread): (&[f64], &[f64]), kernel: Kernel) -> Self {
        assert!(super::available().contains(&kernel), "this machine cannot run {kernel:?}");
        let padded = |values: &[f64]| -> Box<[f64]> {
            let zeros = std::iter::repeat(&0.0);
            values.iter().chain(zeros).take(baseline.len().next_multiple_of(LANES)).copied().collect()
        };
        Self {
            kernel,
            n: baseline.iter().sum(),
            baseline: padded(baseline),
            location: padded(location),
            spread: padded(spread),
        }
    }

    /// Of a stretch of so many rows a cell.
    pub fn of(&self, cells: &[f64]) -> Sums {
        match self.kernel {
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx2 | Kernel::Avx512 => super::avx2::stretch_sums(self, cells),
            _ => self.pass(cells),
        }
    }

    /// [`Self::of`] for whatever vectors the caller is compiled for.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "takes the vector features of the kernel it is inlined into")]
    pub(super) fn pass(&self, cells: &[f64]) -> Sums {
        let (whole, rest) = cells.as_chunks::<LANES>();
        // Lane by lane: a copy of so few is a call, and vectors wait for what was stored piecemeal.
        let last: [f64; LANES] = std::array::from_fn(|lane| rest.get(lane).copied().unwrap_or(0.0));
        let vectors = || whole.iter().chain((!rest.is_empty()).then_some(&last));
        let mut m = [0.0; LANES];
        for cells in vectors() {
            for lane in 0..LANES {
                m[lane] += cells[lane];
            }
        }
        let (n, m) = (self.n, sum(m));
        let [mut location, mut spread, mut shape, mut n_kept] = [[0.0; LANES]; 4];
        let scores = self.location.as_chunks::<LANES>().0.iter().zip(self.spread.as_chunks::<LANES>().0);
        let (of_a, of_b) = ((n + m) / n, (n + m) / m);
        let (share_a, share_b) = (m / (n + m), n / (n + m));
        for ((b, a), (first, second)) in vectors().zip(self.baseline.as_chunks::<LANES>().0).zip(scores) {
            for lane in 0..LANES {
                let (a, b): (f64, f64) = (a[lane], b[lane]);
                location[lane] += first[lane] * b;
                spread[lane] += second[lane] * b;
                let difference = m * a - n * b;
                let per_row = 1.0 / f64::max(a + b, 1.0); // whole numbers: below 1 is 0, and so is the difference
                let (a_seen, b_seen) = (a * per_row * of_a, b * per_row * of_b);
                let of_both = share_a * f64::min(a_seen, 1.0) + share_b * f64::min(b_seen, 1.0);
                shape[lane] += difference * difference * per_row * (2.0 - of_both);
                n_kept[lane] += if a + b > 0.0 { 1.0 } else { 0.0 };
            }
        }
        Sums {
            n_rows: m,
            location: sum(location),
            spread: sum(spread),
            most_of_shape: sum(shape) / (n * m),
            n_kept: sum(n_kept),
        }
    }
}

/// By halves, as vectors add up.
#[inline(always)]
#[expect(clippy::inline_always, reason = "takes the vector features of the kernel it is inlined into")]
fn sum([a, b, c, d]: [f64; LANES]) -> f64 {
    (a + c) + (b + d)
}

/// Adds counts to a sum of the same cells.
pub fn add(sum: &mut [f64], counts: &[f64]) {
    match Kernel::best() {
        #[cfg(target_arch = "x86_64")]
        Kernel::Avx2 | Kernel::Avx512 => super::avx2::add(sum, counts),
        _ => add_pass(sum, counts),
    }
}

#[inline(always)]
#[expect(clippy::inline_always, reason = "takes the vector features of the kernel it is inlined into")]
pub(super) fn add_pass(sum: &mut [f64], counts: &[f64]) {
    for (sum, count) in sum.iter_mut().zip(counts) {
        *sum += count;
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::drift::kernels::available;

    /// As defined: a cell at a time, by logarithms.
    fn likelihood_ratio(cells: &[(f64, f64)], n: f64, m: f64) -> f64 {
        let term = |seen: f64, expected: f64| if seen > 0.0 { seen * (seen / expected).ln() } else { 0.0 };
        let of_cell = |&(a, b): &(f64, f64)| {
            let pooled = (a + b) / (n + m);
            term(a, n * pooled) + term(b, m * pooled)
        };
        2.0 * cells.iter().map(of_cell).sum::<f64>()
    }

    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() <= 1e-9 * (1.0 + a.abs().max(b.abs()))
    }

    proptest! {
        #[test]
        fn every_kernel_sums_what_the_definitions_do(
            cells in vec(((0u32..200, 0u32..50), (-3.0..3.0, -3.0..3.0)), 1..19),
        ) {
            let (counts, scores): (Vec<_>, Vec<(f64, f64)>) = cells.into_iter().unzip();
            let counts: Vec<_> = counts.into_iter().map(|(a, b)| (f64::from(a), f64::from(b))).collect();
            let (a, b): (Vec<_>, Vec<_>) = counts.iter().copied().unzip();
            let (first, second): (Vec<_>, Vec<_>) = scores.into_iter().unzip();
            let (n, m): (f64, f64) = (a.iter().sum(), b.iter().sum());
            prop_assume!(n > 0.0 && m > 0.0);
            let dot = |values: &[f64]| values.iter().zip(&b).map(|(value, count)| value * count).sum::<f64>();
            let pearson: f64 = counts.iter().map(|&(a, b)| (m * a - n * b).powi(2) / (n * m * (a + b).max(1.0))).sum();
            let ratio = likelihood_ratio(&counts, n, m);
            for &kernel in available() {
                let sums = StretchSums::with_kernel(&a, (&first, &second), kernel).of(&b);
                prop_assert!(near(sums.n_rows, m), "{:?}", kernel);
                prop_assert!(near(sums.location, dot(&first)) && near(sums.spread, dot(&second)), "{:?}", kernel);
                prop_assert!(near(sums.n_kept, counts.iter().filter(|(a, b)| a + b > 0.0).count() as f64));
                prop_assert!(ratio <= sums.most_of_shape + 1e-9, "{} over {}", ratio, sums.most_of_shape);
                prop_assert!(pearson <= sums.most_of_shape + 1e-9 && sums.most_of_shape <= 2.0 * pearson + 1e-9);
            }
        }
    }
}
