//! Counts of one feature: its bins, then what was missing, then what fits no bin.

/// Observations of one feature: one count a bin, then `missing` (absent, null, `NaN`), then `other` (a value of the
/// wrong type, or a category the baseline has not seen). One flat slice, so that a category's code, [`Self::missing_code`]
/// and [`Self::other_code`] all index it directly.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Histogram(Box<[u64]>);

/// Slots behind the bins: `missing` and `other`.
const N_EXTRA: usize = 2;

impl Histogram {
    /// All zero.
    pub fn new(n_bins: usize) -> Self {
        Self(vec![0; n_bins + N_EXTRA].into())
    }

    /// From counts that are known.
    pub fn from_parts(bins: &[u64], missing: u64, other: u64) -> Self {
        Self(bins.iter().copied().chain([missing, other]).collect())
    }

    /// The same from one slice: bins, then `missing`, then `other`.
    ///
    /// # Panics
    /// If there are not even those two.
    pub fn from_counts(counts: impl Into<Box<[u64]>>) -> Self {
        let counts = counts.into();
        assert!(counts.len() >= N_EXTRA, "counts without `missing` and `other`");
        Self(counts)
    }

    /// Where a missing value of a feature with `n_bins` bins is counted.
    pub const fn missing_code(n_bins: usize) -> usize {
        n_bins
    }

    /// Where a value that fits no bin of a feature with `n_bins` bins is counted.
    pub const fn other_code(n_bins: usize) -> usize {
        n_bins + 1
    }

    /// Number of bins, `missing` and `other` not among them.
    pub fn n_bins(&self) -> usize {
        self.0.len() - N_EXTRA
    }

    /// Observations per bin.
    pub fn bins(&self) -> &[u64] {
        &self.0[..self.n_bins()]
    }

    /// Observations without a value.
    pub fn missing(&self) -> u64 {
        self.0[Self::missing_code(self.n_bins())]
    }

    /// Observations whose value fits no bin.
    pub fn other(&self) -> u64 {
        self.0[Self::other_code(self.n_bins())]
    }

    /// All observations, `missing` and `other` included.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Bins, then `missing`, then `other`.
    pub fn as_slice(&self) -> &[u64] {
        &self.0
    }

    /// Bins, then `missing`, then `other`, for the kernels to count into.
    pub fn as_mut_slice(&mut self) -> &mut [u64] {
        &mut self.0
    }

    /// Adds the counts of `other`, which is over the same bins.
    ///
    /// # Panics
    /// If the number of bins differs: counts over different bins have no sum.
    pub fn add(&mut self, other: &Self) {
        assert_eq!(self.0.len(), other.0.len(), "histograms over different bins");
        for (count, more) in self.0.iter_mut().zip(&other.0) {
            *count += more;
        }
    }

    /// Moves `n` observations from `missing` to `other`: a column of numbers holds both as `NaN`.
    pub fn missing_to_other(&mut self, n: u64) {
        let (missing, other) = (Self::missing_code(self.n_bins()), Self::other_code(self.n_bins()));
        let n = n.min(self.0[missing]);
        self.0[missing] -= n;
        self.0[other] += n;
    }

    /// Sets every count to zero.
    pub fn clear(&mut self) {
        self.0.fill(0);
    }
}
