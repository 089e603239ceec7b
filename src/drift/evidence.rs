//! Whether a difference is more than sampling noise.

use super::score::{PValue, Psi, Scores, upper_tail};

/// The chance that one look at a model finds evidence anywhere (in any feature, window or statistic) without drift.
///
/// By the union bound a look every ten seconds, 259,200 in thirty days, then finds 0.26 such times; looks at overlapping
/// windows repeat each other, and a verdict asks for a large effect besides, so fewer are ever seen.
pub const EVIDENCE_LEVEL: f64 = 1e-6;

/// Statistics that each may give evidence: PSI and Kolmogorov–Smirnov.
const N_STATISTICS: f64 = 2.0;

/// The p-value that is evidence in one statistic of one feature and window.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Level(f64);

impl Level {
    /// [`EVIDENCE_LEVEL`] divided evenly over what is looked at (Bonferroni): holds however the features depend on
    /// each other.
    pub fn shared_by(n_features: usize, n_windows: usize) -> Self {
        Self(EVIDENCE_LEVEL / (n_features.max(1) as f64 * n_windows.max(1) as f64 * N_STATISTICS))
    }

    /// The p-value.
    pub fn as_f64(self) -> f64 {
        self.0
    }
}

/// Which statistics of one feature and window are beyond sampling noise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// PSI is.
    pub psi: bool,
    /// The Kolmogorov–Smirnov statistic is.
    pub ks: bool,
}

impl Evidence {
    /// Holds the scores against `level`.
    pub fn of(scores: &Scores, level: Level) -> Self {
        let is_evidence = |PValue(p): PValue| p <= level.0;
        Self { psi: is_evidence(psi_p_value(scores)), ks: scores.ks_p.is_some_and(is_evidence) }
    }

    /// Whether any statistic is.
    pub fn any(self) -> bool {
        self.psi || self.ks
    }
}

/// The p-value of a PSI: without drift, `PSI / (1/N + 1/M)` is about χ² with one degree of freedom less than there are
/// bins.
///
/// In 400,000 simulated pairs of samples each, even and rare bins and fifty Zipf categories, 500 to 100,000 rows a side,
/// a p-value of 1e-2 to 1e-4 was seen 0.3 to 1.2 times as often as it says; sparse categories are the low end. Beyond
/// 1e-5 it is extrapolation, and with some fifty rows a bin it is too small there, as PSI weighs a bin that empties more
/// than χ² does. A window that small only passes a threshold far beyond that.
/// * Source: Yurdakul (2018), dissertation 3208, Western Michigan University.
pub fn psi_p_value(scores: &Scores) -> PValue {
    let Psi(psi) = scores.psi;
    let scale = 1.0 / scores.n_baseline as f64 + 1.0 / scores.n_samples as f64;
    upper_tail(psi / scale, scores.n_psi_bins.saturating_sub(1))
}
