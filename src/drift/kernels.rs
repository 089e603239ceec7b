//! The hot loops: counting a column into bins, and the sums that scores are made of.
//!
//! `scalar` is the definition; every other kernel gives the same counts, bit for bit, only sooner. Which one runs is
//! decided once, when a [`Recorder`] (or, for scores, a [`Divergence`]) is made. What a column costs depends on its edges:
//! * few edges: every value is compared with every edge and the answers are summed, without a branch or a table;
//! * otherwise a `grid`: a monotone function of the value looks up how many edges lie below its cell, and what edges
//!   lie inside the cell are compared;
//! * a `search` for edges that crowd no matter how the grid is laid.

mod codes;
mod divergence;
mod grid;
mod ln;
mod scalar;
mod search;
mod stretch;
mod tables;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod compare;
#[cfg(target_arch = "aarch64")]
mod neon;

#[cfg(test)]
mod tests;

use std::sync::OnceLock;

pub use codes::record_codes;
pub use divergence::{Divergence, Divergences};
use grid::Grid;
use search::Search;
pub use stretch::{StretchSums, Sums, add};

use super::{BinEdges, Histogram};

/// An implementation of the hot loops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel {
    /// The definition.
    Scalar,
    /// The fast algorithms without vector instructions of our own.
    Portable,
    /// 256-bit vectors of `x86_64`.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// 512-bit vectors of `x86_64`.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// 128-bit vectors of `aarch64`.
    #[cfg(target_arch = "aarch64")]
    Neon,
}

/// The kernels that this machine can run, the fastest last.
pub fn available() -> &'static [Kernel] {
    static AVAILABLE: OnceLock<Vec<Kernel>> = OnceLock::new();
    AVAILABLE.get_or_init(|| {
        let mut kernels = vec![Kernel::Scalar, Kernel::Portable];
        #[cfg(target_arch = "x86_64")]
        {
            if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
                kernels.push(Kernel::Avx2);
                if std::arch::is_x86_feature_detected!("avx512f")
                    && std::arch::is_x86_feature_detected!("avx512dq")
                    && std::arch::is_x86_feature_detected!("avx512vl")
                {
                    kernels.push(Kernel::Avx512);
                }
            }
        }
        #[cfg(target_arch = "aarch64")]
        kernels.push(Kernel::Neon);
        kernels
    })
}

impl Kernel {
    /// The fastest that this machine can run.
    pub fn best() -> Self {
        available().last().copied().unwrap_or(Self::Scalar)
    }

    /// Up to how many edges comparing with every one beats the grid: measured, see `benches/README.md`.
    const fn max_compared_edges(self) -> usize {
        match self {
            Self::Scalar => 0,
            Self::Portable => 7,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => 15,
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => 23,
            #[cfg(target_arch = "aarch64")]
            Self::Neon => 11,
        }
    }
}

/// Counts the values of one feature, prepared once from its edges.
#[derive(Clone, Debug)]
pub struct Recorder {
    n_bins: usize,
    kernel: Kernel,
    plan: Plan,
}

/// How a column is counted.
#[derive(Clone, Debug)]
enum Plan {
    Definition(BinEdges),
    /// `-∞`, which every number reaches, then the edges.
    Compare(Box<[f64]>),
    Grid(Box<Grid>),
    Search(Search),
}

impl Recorder {
    /// For the fastest kernel of this machine.
    pub fn new(edges: &BinEdges) -> Self {
        Self::with_kernel(edges, Kernel::best())
    }

    /// For a kernel of [`available`].
    ///
    /// # Panics
    /// If this machine cannot run the kernel.
    pub fn with_kernel(edges: &BinEdges, kernel: Kernel) -> Self {
        assert!(available().contains(&kernel), "this machine cannot run {kernel:?}");
        let plan = if kernel == Kernel::Scalar {
            Plan::Definition(edges.clone())
        } else if edges.as_slice().len() <= kernel.max_compared_edges() {
            Plan::Compare(compare::thresholds(edges))
        } else if let Some(grid) = Grid::new(edges) {
            Plan::Grid(Box::new(grid))
        } else {
            Plan::Search(Search::new(edges))
        };
        Self { n_bins: edges.n_bins(), kernel, plan }
    }

    /// Adds every value to its bin; `NaN` is a missing value, an infinity lies in an outer bin.
    ///
    /// # Panics
    /// If `histogram` is over another number of bins.
    pub fn record(&self, values: &[f64], histogram: &mut Histogram) {
        assert_eq!(histogram.n_bins(), self.n_bins, "histogram over other bins");
        let counts = histogram.as_mut_slice();
        match &self.plan {
            Plan::Definition(edges) => scalar::record(edges, values, counts),
            Plan::Compare(thresholds) => compare::record(self.kernel, thresholds, values, counts),
            Plan::Grid(grid) => grid.record(self.kernel, values, counts),
            Plan::Search(search) => search.record(values, counts),
        }
    }
}
