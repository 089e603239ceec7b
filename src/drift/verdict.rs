//! What is said about a feature: drift needs an effect that matters and evidence that it is not noise.

use super::Reference;
use super::evidence::Evidence;
use super::score::{
    Bins, JensenShannon, KsStatistic, Psi, ScoreError, Scores, Wasserstein, jensen_shannon,
    js_null_expectation, ks, ks_null_expectation, n_kept, null_expectation, psi, wasserstein,
};
use super::window::WindowState;

/// What share of a threshold is worth a warning, given evidence.
pub const WARNING_SHARE: f64 = 0.5;

/// A verdict once given holds down to this share of what brought it about, so that an effect about the threshold does
/// not come and go with every look.
pub const RELEASE_SHARE: f64 = 0.8;

/// What it takes to be told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sensitivity {
    /// An effect that matters, and evidence for it.
    #[default]
    Practical,
    /// Evidence alone is worth a warning, however small the effect.
    Evidence,
}

/// How large an effect must be to matter, and how many rows it takes to say anything.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Thresholds {
    /// PSI above what is expected without drift, in nats.
    pub psi: f64,
    /// Kolmogorov–Smirnov statistic above what is expected without drift.
    pub ks: f64,
    /// Jensen–Shannon distance above what is expected without drift; infinite where it is not asked for.
    pub js: f64,
    /// Wasserstein distance in standard deviations of the baseline; infinite where it is not asked for.
    pub wasserstein: f64,
    /// Share of rows, beyond the baseline's own, that are missing, of the wrong type, an unseen category or out of range.
    pub violations: f64,
    /// Rows a window needs before it is scored.
    pub min_samples: u64,
    /// Whether evidence alone is told.
    pub sensitivity: Sensitivity,
}

/// How far a sample is from the baseline, in the terms of [`Thresholds`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Effect {
    /// Population stability index.
    pub psi: Psi,
    /// What it is expected to be without drift.
    pub psi_null: f64,
    /// Kolmogorov–Smirnov statistic, numbers only.
    pub ks: Option<KsStatistic>,
    /// What it is expected to be without drift.
    pub ks_null: f64,
    /// Jensen–Shannon distance.
    pub js: JensenShannon,
    /// About what it is expected to be without drift.
    pub js_null: f64,
    /// Wasserstein distance, numbers only.
    pub wasserstein: Option<Wasserstein>,
}

impl From<&Scores> for Effect {
    fn from(scores: &Scores) -> Self {
        Self {
            psi: scores.psi,
            psi_null: scores.psi_null,
            ks: scores.ks,
            ks_null: scores.ks_null,
            js: scores.js,
            js_null: js_null_expectation(scores.psi_null),
            wasserstein: scores.wasserstein,
        }
    }
}

impl Effect {
    /// Of counts over the PSI bins ([`Reference::fold`]); KS over the groups is never above that over the fine bins, and
    /// Wasserstein's error is that of bins as wide as they are.
    ///
    /// # Errors
    /// [`ScoreError`] if the counts are of another reference, or a side is empty.
    pub fn of_groups(reference: &Reference, counts: &[u64]) -> Result<Self, ScoreError> {
        let baseline = reference.psi_bins();
        let psi = psi(baseline, counts)?;
        let total = |counts: &[u64]| counts.iter().sum();
        let psi_null = null_expectation(n_kept(baseline, counts), total(baseline), total(counts));
        // Missing values have no order, and where there is nothing else there is no statistic.
        let numbers = |counts: &[u64]| counts[..counts.len() - 2].iter().sum();
        let n_groups = counts.len() - 2;
        let ks = reference.is_numeric().then(|| ks(&baseline[..n_groups], &counts[..n_groups]).ok());
        let ks_null = ks_null_expectation(numbers(baseline), numbers(counts));
        Ok(Self {
            psi,
            psi_null,
            ks: ks.flatten(),
            ks_null,
            js: jensen_shannon(baseline, counts)?,
            js_null: js_null_expectation(psi_null),
            wasserstein: wasserstein_of_groups(reference, &counts[..n_groups]),
        })
    }

    /// Every statistic that has a threshold: its name, its value, and what it is held against.
    pub fn held_against(&self, thresholds: &Thresholds) -> impl Iterator<Item = (&'static str, f64, f64)> {
        let ks = self.ks.map(|KsStatistic(ks)| ("ks", ks, thresholds.ks_in_force(self.ks_null).0));
        let wasserstein =
            self.wasserstein.map(|Wasserstein(distance)| ("wasserstein", distance, thresholds.wasserstein));
        let psi = ("psi", self.psi.0, thresholds.psi_in_force(self.psi_null).0);
        let js = ("js", self.js.0, thresholds.js + self.js_null);
        let all = [Some(psi), ks, Some(js), wasserstein].into_iter().flatten();
        all.filter(|(_, _, threshold)| threshold.is_finite())
    }
}

fn wasserstein_of_groups(reference: &Reference, counts: &[u64]) -> Option<Wasserstein> {
    let Bins::Numeric { edges, groups, min, max, std } = reference.bins() else { return None };
    let baseline = &reference.psi_bins()[..counts.len()];
    wasserstein(&groups.edges(edges), (*min, *max), *std, baseline, counts)
        .ok()
        .filter(|distance| distance.0.is_finite())
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            psi: 0.2,
            ks: 0.1,
            js: f64::INFINITY,
            wasserstein: f64::INFINITY,
            violations: 0.05,
            min_samples: 500,
            sensitivity: Sensitivity::Practical,
        }
    }
}

impl Thresholds {
    /// What a PSI is held against: the threshold and what PSI is expected to be without drift.
    pub fn psi_in_force(&self, psi_null: f64) -> Psi {
        Psi(self.psi + psi_null)
    }

    /// What a KS statistic is held against. Over few rows even a small shift looks large half of the time: that it was found
    /// is because it did.
    pub fn ks_in_force(&self, ks_null: f64) -> KsStatistic {
        KsStatistic(self.ks + ks_null)
    }

    /// Whether a statistic that has evidence reaches `share` of its threshold.
    fn reached(&self, share: f64, effect: &Effect, evidence: Evidence) -> bool {
        let Psi(psi) = effect.psi;
        let ks_reaches = |KsStatistic(ks): KsStatistic| ks - effect.ks_null >= share * self.ks;
        (evidence.psi && psi - effect.psi_null >= share * self.psi)
            || (evidence.ks && effect.ks.is_some_and(ks_reaches))
            || (evidence.any()
                && (effect.js.0 - effect.js_null >= share * self.js
                    || effect.wasserstein.is_some_and(|distance| distance.0 >= share * self.wasserstein)))
    }
}

/// The verdict on one feature in one window, in the order of how bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub enum FeatureVerdict {
    /// Too few rows to say.
    Filling,
    /// No rows for as long as the window.
    Stale,
    /// No effect beyond noise that matters.
    Ok,
    /// An effect beyond noise, of [`WARNING_SHARE`] of its threshold or more; or of any size, if asked for.
    Warning,
    /// An effect beyond noise, above its threshold.
    Drift,
    /// More rows than in the baseline have no value, or one that it could not have.
    Schema,
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
            Self::Schema => "schema",
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
    pub fn is_scored(self) -> bool {
        self >= Self::Ok
    }

    /// Whether people should hear of it.
    pub const fn is_alarm(self) -> bool {
        matches!(self, Self::Drift | Self::Schema)
    }

    /// The verdict on an effect for which there is this evidence, after `before`.
    pub fn judge(
        effect: impl Into<Effect>,
        evidence: Evidence,
        thresholds: &Thresholds,
        before: Self,
    ) -> Self {
        let effect = effect.into();
        let held = |verdict| if before >= verdict { RELEASE_SHARE } else { 1.0 };
        if thresholds.reached(held(Self::Drift), &effect, evidence) {
            Self::Drift
        } else if thresholds.reached(WARNING_SHARE * held(Self::Warning), &effect, evidence)
            || (thresholds.sensitivity == Sensitivity::Evidence && evidence.any())
        {
            Self::Warning
        } else {
            Self::Ok
        }
    }
}

#[cfg(test)]
mod tests;
