//! What is said about a feature: drift needs an effect that matters and evidence that it is not noise.

use super::evidence::Evidence;
use super::score::{KsStatistic, Psi, Scores};
use super::window::WindowState;

/// What share of a threshold is worth a warning, given evidence.
pub const WARNING_SHARE: f64 = 0.5;

/// A verdict once given holds down to this share of what brought it about, so that an effect about the threshold does
/// not come and go with every look.
pub const RELEASE_SHARE: f64 = 0.8;

/// How large an effect must be to matter, and how many rows it takes to say anything.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Thresholds {
    /// PSI above what is expected without drift, in nats.
    pub psi: f64,
    /// Kolmogorov–Smirnov statistic.
    pub ks: f64,
    /// Rows a window needs before it is scored.
    pub min_samples: u64,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self { psi: 0.2, ks: 0.1, min_samples: 500 }
    }
}

impl Thresholds {
    /// What the PSI of these scores is held against: the threshold and what PSI is expected to be without drift.
    pub fn psi_in_force(&self, scores: &Scores) -> Psi {
        Psi(self.psi + scores.psi_null)
    }

    /// Whether a statistic that has evidence reaches `share` of its threshold.
    fn reached(&self, share: f64, scores: &Scores, evidence: Evidence) -> bool {
        let Psi(psi) = scores.psi;
        let ks_reaches = |KsStatistic(ks): KsStatistic| ks >= share * self.ks;
        (evidence.psi && psi - scores.psi_null >= share * self.psi)
            || (evidence.ks && scores.ks.is_some_and(ks_reaches))
    }
}

/// The verdict on one feature in one window, in the order of how bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FeatureVerdict {
    /// Too few rows to say.
    Filling,
    /// No rows for as long as the window.
    Stale,
    /// No effect beyond noise that matters.
    Ok,
    /// An effect beyond noise, of [`WARNING_SHARE`] of its threshold or more.
    Warning,
    /// An effect beyond noise, above its threshold.
    Drift,
}

impl FeatureVerdict {
    /// For labels, logs and the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Filling => "filling",
            Self::Stale => "stale",
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Drift => "drift",
        }
    }

    /// The verdict on a window that has nothing to score; `None` if it has.
    pub const fn without_scores(state: WindowState) -> Option<Self> {
        match state {
            WindowState::Filling { .. } => Some(Self::Filling),
            WindowState::Stale => Some(Self::Stale),
            WindowState::Ready => None,
        }
    }

    /// Whether there was something to score.
    pub const fn is_scored(self) -> bool {
        matches!(self, Self::Ok | Self::Warning | Self::Drift)
    }

    /// The verdict on the scores of a window that is ready, after `before`.
    pub fn judge(scores: &Scores, evidence: Evidence, thresholds: &Thresholds, before: Self) -> Self {
        let held = |verdict| if before >= verdict { RELEASE_SHARE } else { 1.0 };
        if thresholds.reached(held(Self::Drift), scores, evidence) {
            Self::Drift
        } else if thresholds.reached(WARNING_SHARE * held(Self::Warning), scores, evidence) {
            Self::Warning
        } else {
            Self::Ok
        }
    }
}

#[cfg(test)]
mod tests;
