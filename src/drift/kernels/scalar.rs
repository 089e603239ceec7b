//! The definition that every kernel is held to.

use crate::drift::{BinEdges, Histogram};

/// Adds every value to the count of its bin, `NaN` to that of missing values.
pub(super) fn record(edges: &BinEdges, values: &[f64], counts: &mut [u64]) {
    let missing = Histogram::missing_code(edges.n_bins());
    for &value in values {
        counts[edges.bin_of(value).unwrap_or(missing)] += 1;
    }
}
