//! Counting by comparing every value with every edge: for few edges the cheapest, as nothing depends on anything.

use super::Kernel;
use crate::drift::{BinEdges, Histogram};

/// Thresholds at most: [`Kernel::max_compared_edges`] and the one below all numbers.
const MAX_THRESHOLDS: usize = 32;

/// Values a pass goes over before the next takes the same: 8 KiB, which stay in the first-level cache.
const BLOCK: usize = 1_024;

/// `-∞` and then the edges: how many values reach the first is how many are numbers.
pub(super) fn thresholds(edges: &BinEdges) -> Box<[f64]> {
    [f64::NEG_INFINITY].into_iter().chain(edges.as_slice().iter().copied()).collect()
}

/// Below this, setting up the vectors costs more than they save.
const MIN_VALUES: usize = 8;

/// Adds every value to the count of its bin, `NaN` to that of missing values.
pub(super) fn record(kernel: Kernel, thresholds: &[f64], values: &[f64], counts: &mut [u64]) {
    if values.len() < MIN_VALUES {
        let missing = Histogram::missing_code(thresholds.len());
        for &value in values {
            let n_reached = thresholds.iter().filter(|&&threshold| value >= threshold).count();
            counts[n_reached.checked_sub(1).unwrap_or(missing)] += 1;
        }
        return;
    }
    let mut reached = [0u64; MAX_THRESHOLDS];
    let reached = &mut reached[..thresholds.len()];
    for block in values.chunks(BLOCK) {
        match kernel {
            Kernel::Scalar | Kernel::Portable => portable(thresholds, block, reached),
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx2 => super::avx2::count_reached(thresholds, block, reached),
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512 => super::avx512::count_reached(thresholds, block, reached),
            #[cfg(target_arch = "aarch64")]
            Kernel::Neon => super::neon::count_reached(thresholds, block, reached),
        }
    }
    let n_bins = thresholds.len();
    counts[Histogram::missing_code(n_bins)] += values.len() as u64 - reached[0];
    for bin in 0..n_bins {
        counts[bin] += reached[bin] - reached.get(bin + 1).copied().unwrap_or(0);
    }
}

/// Adds to `reached[i]` how many values are at or above `thresholds[i]`.
fn portable(thresholds: &[f64], values: &[f64], reached: &mut [u64]) {
    for (&threshold, reached) in thresholds.iter().zip(reached) {
        *reached += values.iter().map(|&value| u64::from(value >= threshold)).sum::<u64>();
    }
}
