//! Binary search without branches, several values side by side: for edges that no grid spreads out.

use crate::drift::{BinEdges, Histogram};

/// Edges padded with `NaN`, which no value reaches, to one less than a power of two.
#[derive(Clone, Debug)]
pub(super) struct Search {
    padded: Box<[f64]>,
    n_bins: usize,
}

/// Values searched side by side: their loads overlap, while one search waits for each of its own.
const LANES: usize = 8;

impl Search {
    pub(super) fn new(edges: &BinEdges) -> Self {
        let n_edges = edges.as_slice().len();
        let mut padded = edges.as_slice().to_vec();
        padded.resize((n_edges + 1).next_power_of_two() - 1, f64::NAN);
        Self { padded: padded.into(), n_bins: edges.n_bins() }
    }

    /// Adds every value to the count of its bin, `NaN` to that of missing values.
    pub(super) fn record(&self, values: &[f64], counts: &mut [u64]) {
        let (groups, rest) = values.as_chunks::<LANES>();
        for group in groups {
            for bin in self.bins_of(group) {
                counts[bin] += 1;
            }
        }
        for &value in rest {
            let [bin] = self.bins_of(&[value]);
            counts[bin] += 1;
        }
    }

    fn bins_of<const N: usize>(&self, values: &[f64; N]) -> [usize; N] {
        let mut bins = [0; N];
        let mut half = self.padded.len().div_ceil(2);
        while half > 0 {
            for (bin, &value) in bins.iter_mut().zip(values) {
                *bin += if value >= self.padded[*bin + half - 1] { half } else { 0 };
            }
            half /= 2;
        }
        for (bin, value) in bins.iter_mut().zip(values) {
            if value.is_nan() {
                *bin = Histogram::missing_code(self.n_bins);
            }
        }
        bins
    }
}
