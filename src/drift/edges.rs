//! Where a feature's bins lie: cut points fixed by the baseline, and the groups of bins that PSI is taken over.

use std::ops::Range;

/// Cut points of one feature: finite and strictly increasing, so `n` edges make `n + 1` bins and
/// every number falls in exactly one. Bin `i` is `[edge[i - 1], edge[i])`; the outer two are open,
/// so an infinity counts in them, and `NaN` in none: it is a missing value.
#[derive(Clone, Debug, PartialEq)]
pub struct BinEdges(Box<[f64]>);

/// What is wrong with a list of cut points.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum EdgeError {
    /// An edge is infinite or not a number.
    #[error("edge {at} is {value}, edges must be finite")]
    NotFinite {
        /// Index of the edge.
        at: usize,
        /// The edge.
        value: f64,
    },
    /// An edge is not above the one before it.
    #[error("edge {at} is not above the one before it")]
    NotAbove {
        /// Index of the edge.
        at: usize,
    },
}

impl BinEdges {
    /// Checks that `edges` are finite and strictly increasing; none at all is one bin that holds everything.
    ///
    /// # Errors
    /// [`EdgeError`] names the first edge that breaks the rule.
    pub fn new(edges: impl Into<Box<[f64]>>) -> Result<Self, EdgeError> {
        let edges = edges.into();
        if let Some(at) = edges.iter().position(|edge| !edge.is_finite()) {
            return Err(EdgeError::NotFinite { at, value: edges[at] });
        }
        match edges.windows(2).position(|pair| pair[1] <= pair[0]) {
            Some(below) => Err(EdgeError::NotAbove { at: below + 1 }),
            None => Ok(Self(edges)),
        }
    }

    /// Number of bins: one more than there are edges.
    pub fn n_bins(&self) -> usize {
        self.0.len() + 1
    }

    /// The bin of `value`, or `None` for `NaN`: the definition every kernel is held to.
    pub fn bin_of(&self, value: f64) -> Option<usize> {
        (!value.is_nan()).then(|| self.0.partition_point(|&edge| edge <= value))
    }

    /// The edges themselves, ascending.
    pub fn as_slice(&self) -> &[f64] {
        &self.0
    }
}

/// How fine bins are joined into the coarser ones that PSI is taken over: the index of each group's first bin.
/// Starts at 0 and rises strictly, so every bin is in exactly one group and no group is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Groups(Box<[usize]>);

/// What is wrong with a list of group starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    /// The first group does not start at bin 0.
    #[error("the first group must start at bin 0")]
    FirstNotZero,
    /// A group does not start above the one before it.
    #[error("group {at} does not start above the one before it")]
    NotAbove {
        /// Index of the group.
        at: usize,
    },
    /// A group starts past the last bin.
    #[error("group {at} starts past the last of {n_bins} bins")]
    PastEnd {
        /// Index of the group.
        at: usize,
        /// Bins there are.
        n_bins: usize,
    },
}

impl Groups {
    /// Checks that `starts` begin at 0, rise strictly and stay below `n_bins`.
    ///
    /// # Errors
    /// [`GroupError`] names the first start that breaks the rule.
    pub fn new(starts: impl Into<Box<[usize]>>, n_bins: usize) -> Result<Self, GroupError> {
        let starts = starts.into();
        if starts.first() != Some(&0) {
            return Err(GroupError::FirstNotZero);
        }
        if let Some(below) = starts.windows(2).position(|pair| pair[1] <= pair[0]) {
            return Err(GroupError::NotAbove { at: below + 1 });
        }
        match starts.iter().position(|&start| start >= n_bins) {
            Some(at) => Err(GroupError::PastEnd { at, n_bins }),
            None => Ok(Self(starts)),
        }
    }

    /// Every bin a group of its own, as for categories.
    pub fn one_per_bin(n_bins: usize) -> Self {
        Self((0..n_bins).collect())
    }

    /// Number of groups.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Never: the first group always exists.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The index of each group's first bin, ascending from 0.
    pub fn starts(&self) -> &[usize] {
        &self.0
    }

    /// The bins of each group, in order; `n_bins` closes the last.
    pub fn ranges(&self, n_bins: usize) -> impl Iterator<Item = Range<usize>> + '_ {
        let ends = self.0.iter().skip(1).copied().chain([n_bins]);
        self.0.iter().copied().zip(ends).map(|(start, end)| start..end)
    }

    /// From where to where the values of a group lie, where the bins are those between `edges`.
    pub fn span(&self, at: usize, edges: &BinEdges) -> (f64, f64) {
        let edges = edges.as_slice();
        let left = self.0[at].checked_sub(1).map_or(f64::NEG_INFINITY, |edge| edges[edge]);
        let right = self.0.get(at + 1).map_or(f64::INFINITY, |&next| edges[next - 1]);
        (left, right)
    }

    /// The edges between groups, where the bins are those between `edges`.
    pub fn edges(&self, edges: &BinEdges) -> BinEdges {
        BinEdges(self.0[1..].iter().map(|&start| edges.0[start - 1]).collect())
    }

    /// Observations per group.
    pub fn fold(&self, bins: &[u64]) -> Vec<u64> {
        self.ranges(bins.len()).map(|range| bins[range].iter().sum()).collect()
    }
}
