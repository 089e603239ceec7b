//! One model over time: its windows, since when each column differs, and what that makes of the model.

mod memory;
mod unexpected;

use std::time::Duration;

use super::cause::{Finding, ModelVerdict};
use super::evidence::Evidence;
use super::scan::{Against, Change, MIN_EFFECT_ROWS, Repeats, Rolling, Scan, Statistic};
use super::verdict::{Effect, FeatureVerdict, Thresholds};
use super::window::{Added, DEFAULT_SLOTS, WindowRing, WindowState};
use super::{Histogram, Reference, Timestamp};
pub use memory::{Memory, NotLike};
use unexpected::Unexpected;

/// That a column has changed is known when it is asked how; this is the p-value of a share that answers.
const BREACH_P: f64 = 1e-4;

/// How a model is judged.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Lengths, shortest first.
    pub windows: Vec<Duration>,
    /// Time between two looks.
    pub interval: Duration,
    /// What a look may spend of the budget of false alarms.
    pub alarms_per_look: f64,
    /// One a column.
    pub thresholds: Vec<Thresholds>,
    /// Whether rows depend on each other, as those of traffic do; how much is learnt from look to look.
    pub rows_depend: bool,
    /// How many features must drift for the model to; one at least.
    pub min_features: usize,
    /// What drift is measured from; the contract is the baseline's in any case.
    pub against: Against,
}

/// One model over time.
#[derive(Clone, Debug)]
pub struct Monitor {
    settings: Settings,
    n_features: usize,
    scan: Scan,
    windows: Vec<Watched>,
    since_last_look: Vec<Histogram>,
    /// Whether all that the last look brought of a column lies in one fine bin.
    stands_still: Vec<bool>,
    unexpected: Unexpected,
}

#[derive(Clone, Debug)]
struct Watched {
    ring: WindowRing,
    /// Where drift is measured from the past and not from the baseline.
    rolling: Option<Rolling>,
    columns: Vec<Judgement>,
    model: ModelVerdict,
}

/// What is said of one column in one window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Judgement {
    /// The verdict.
    pub verdict: FeatureVerdict,
    /// How far the rows since the change, or in the window if that is shorter, are from the baseline.
    pub effect: Option<Effect>,
    /// How many those are.
    pub n_rows: u64,
    /// Of which kind too many of those are, while the verdict is `schema`.
    pub breach: Option<Breach>,
}

/// In which way the rows of a feature break the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreachKind {
    /// More of them have no value.
    Missing,
    /// More of them have a value of another type, or of a category never seen.
    Other,
    /// More of them lie far out of the baseline's range.
    OutOfRange,
    /// All of them lie in one PSI group that most of the baseline is not in, and the latest in one fine bin.
    Constant,
}

impl BreachKind {
    /// For the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Other => "other",
            Self::OutOfRange => "out_of_range",
            Self::Constant => "constant",
        }
    }

    /// What is said of rows that a share is of, as in "3 % of rows …".
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::Missing => "without a value",
            Self::Other => "of another type or category",
            Self::OutOfRange => "far out of range",
            Self::Constant => "all but equal",
        }
    }
}

/// More rows of one kind than in the baseline.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Breach {
    /// Of which kind.
    pub kind: BreachKind,
    /// Their share now.
    pub share: f64,
    /// Their share in the baseline.
    pub baseline_share: f64,
}

/// What one look brings besides the counts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Look {
    /// Rows that repeat others.
    pub repeats: Repeats,
    /// Rows that came with features the baseline does not know.
    pub n_unexpected: u64,
    /// Whether the features are all that the model predicts from; a window that held an unexpected feature says no.
    pub all_inputs_watched: bool,
}

impl Monitor {
    /// Over the columns of one model, features before predictions.
    pub fn new(references: &[Reference], n_features: usize, settings: Settings) -> Self {
        let longest = settings.windows.last().copied().unwrap_or(settings.interval);
        let n_bins = || references.iter().map(|reference| reference.bins().n_bins());
        let judgement = Judgement { verdict: FeatureVerdict::Filling, effect: None, n_rows: 0, breach: None };
        // Half of the budget is the contract's where that is not held against the same as drift.
        let of_window = 0.5 * settings.alarms_per_look / settings.windows.len().max(1) as f64;
        let samples = || settings.thresholds.iter().map(|thresholds| thresholds.min_samples);
        let rolling = |length| {
            let columns = references.iter().zip(samples());
            Rolling::new(settings.against, length, columns, (settings.interval, of_window))
        };
        let watched = |&length: &Duration| Watched {
            ring: WindowRing::new(length, DEFAULT_SLOTS, n_bins()),
            rolling: rolling(length),
            columns: vec![judgement; references.len()],
            model: ModelVerdict::NoData,
        };
        Self {
            scan: {
                let times = (settings.interval, longest);
                let share = if settings.against == Against::Baseline { 1.0 } else { 0.5 };
                let scan = Scan::new(references, n_features, share * settings.alarms_per_look, times);
                if settings.rows_depend { scan } else { scan.of_independent_rows() }
            },
            windows: settings.windows.iter().map(watched).collect(),
            since_last_look: n_bins().map(Histogram::new).collect(),
            stands_still: vec![false; references.len()],
            unexpected: Unexpected::new(
                settings.windows.first().copied().unwrap_or_default(),
                settings.alarms_per_look,
            ),
            n_features,
            settings,
        }
    }

    /// Takes in what was counted at `at`, a histogram a column. What is older than every window is in none of them: late. What is
    /// only older than the shortest is in the others, and no evidence of what is now.
    pub fn add(&mut self, at: Timestamp, counted: &[Histogram]) -> Added {
        let added: Vec<_> = self.windows.iter_mut().map(|window| window.ring.add(at, counted)).collect();
        // Lengths ascend.
        let (in_shortest, in_longest) = (added.first(), added.last());
        if in_shortest == Some(&Added::Counted) {
            for (sum, counted) in self.since_last_look.iter_mut().zip(counted) {
                sum.add(counted);
            }
        }
        in_longest.copied().unwrap_or(Added::Late)
    }

    /// Judges everything, as of now; `references` are those it was made with.
    ///
    /// # Panics
    /// If the references have other bins.
    pub fn look(&mut self, now: Timestamp, references: &[Reference], look: Look) {
        for window in &mut self.windows {
            window.ring.advance(now);
        }
        let n_rows = self.since_last_look.iter().map(Histogram::total).max().unwrap_or(0);
        if n_rows > 0 {
            let folded: Vec<_> = references
                .iter()
                .zip(&self.since_last_look)
                .map(|(reference, counted)| reference.fold(counted).expect("counted over the same bins"))
                .collect();
            let folded = || folded.iter().map(Vec::as_slice);
            self.scan.look(now, folded(), look.repeats);
            for rolling in self.windows.iter_mut().filter_map(|window| window.rolling.as_mut()) {
                rolling.look(now, folded());
            }
            for (stands_still, counted) in self.stands_still.iter_mut().zip(&mut self.since_last_look) {
                *stands_still = counted.as_slice().iter().filter(|&&count| count > 0).count() == 1;
                counted.clear();
            }
        }
        let n_baseline = references.first().map_or(0, |reference| reference.baseline().total());
        let threshold = self.settings.thresholds.first().map_or(1.0, |thresholds| thresholds.violations);
        self.unexpected.look(now, (look.n_unexpected, n_rows), n_baseline, threshold);
        for at in 0..self.windows.len() {
            self.judge_window(at, now, references, look.all_inputs_watched);
        }
    }

    /// Number of windows.
    pub fn n_windows(&self) -> usize {
        self.windows.len()
    }

    /// What one window holds, a histogram a column.
    pub fn counts(&self, window: usize) -> &[Histogram] {
        self.windows[window].ring.totals()
    }

    /// What was last said of one column in one window.
    pub fn judgement(&self, window: usize, column: usize) -> &Judgement {
        &self.windows[window].columns[column]
    }

    /// What was last said of the model in one window.
    pub fn verdict(&self, window: usize) -> ModelVerdict {
        self.windows[window].model
    }

    /// The evidence that a column differs from what it is held against, or breaks the contract, while it does.
    pub fn change(&self, window: usize, column: usize) -> Option<&Change> {
        let Watched { rolling: Some(rolling), columns, .. } = &self.windows[window] else {
            return self.scan.change(column);
        };
        let of_contract = || columns[column].breach.and_then(|_| self.scan.change(column));
        rolling.change(column).or_else(of_contract)
    }

    /// What a column was counted as in the past it is held against; `None` while there is too little of that, and where it is held
    /// against the baseline.
    pub fn past(&self, window: usize, column: usize) -> Option<&Reference> {
        let pair = self.windows[window].rolling.as_ref()?.pair(column)?;
        Some(&pair.reference)
    }

    /// What a column's effects are held against.
    pub fn thresholds(&self, column: usize) -> &Thresholds {
        &self.settings.thresholds[column]
    }

    /// Whether requests come with features that the baseline does not know, more often than by accident.
    pub fn has_unexpected(&self) -> bool {
        self.unexpected.is_broken()
    }

    /// Evidence of the last look over what an alarm takes, features or predictions.
    pub fn evidence(&self, of_predictions: bool) -> f64 {
        let columns =
            if of_predictions { self.n_features..self.since_last_look.len() } else { 0..self.n_features };
        let rolling: Vec<_> = self.windows.iter().filter_map(|window| window.rolling.as_ref()).collect();
        if rolling.is_empty() {
            return self.scan.evidence(columns);
        }
        rolling.iter().map(|rolling| rolling.evidence(columns.clone())).sum()
    }

    /// About how many rows show a normal feature's mean to have moved; see [`Scan::rows_to_shift`].
    pub fn rows_to_shift(&self, shift: f64, rows_per_look: f64) -> Option<f64> {
        self.scan.rows_to_shift(shift, rows_per_look)
    }

    fn judge_window(
        &mut self,
        at: usize,
        now: Timestamp,
        references: &[Reference],
        all_inputs_watched: bool,
    ) {
        let window = &self.windows[at];
        let length = window.ring.length();
        // A version that nobody asks any more says nothing in its longer windows either.
        let is_stale = self
            .windows
            .first()
            .is_some_and(|shortest| shortest.ring.idle().is_some_and(|idle| idle >= shortest.ring.length()));
        let began = Timestamp::from_millis(
            now.as_millis().saturating_sub(u64::try_from(length.as_millis()).unwrap_or(u64::MAX)),
        );
        let columns: Vec<_> = (0..references.len())
            .map(|column| {
                let min_samples = self.settings.thresholds[column].min_samples;
                let state =
                    if is_stale { WindowState::Stale } else { window.ring.state(column, min_samples) };
                self.judge_column((at, column), &references[column], state, began)
            })
            .collect();
        let findings: Vec<_> = columns
            .iter()
            .enumerate()
            .map(|(column, judgement)| Finding {
                verdict: judgement.verdict,
                evident: self.change(at, column).is_some() && judgement.verdict.is_scored(),
            })
            .collect();
        let (features, predictions) = findings.split_at(self.n_features);
        let watched =
            all_inputs_watched && self.unexpected.last_seen().is_none_or(|seen| now.since(seen) > length);
        let broken = self.unexpected.is_broken() && !is_stale;
        let model = ModelVerdict::of(features, predictions, (watched, broken), self.settings.min_features);
        let window = &mut self.windows[at];
        (window.columns, window.model) = (columns, model);
    }

    fn judge_column(
        &self,
        (at, column): (usize, usize),
        reference: &Reference,
        state: WindowState,
        began: Timestamp,
    ) -> Judgement {
        let Watched { rolling, columns, .. } = &self.windows[at];
        let before = columns[column].verdict;
        let pair = rolling.as_ref().map(|rolling| rolling.pair(column));
        let quiet = match pair {
            Some(None) if state == WindowState::Ready => FeatureVerdict::Filling,
            _ => FeatureVerdict::without_scores(state).unwrap_or(FeatureVerdict::Ok),
        };
        let nothing = Judgement { verdict: quiet, effect: None, n_rows: 0, breach: None };
        if state == WindowState::Stale {
            return nothing;
        }
        let since_onset =
            self.scan.change(column).map(|change| self.scan.since(column, change.onset.max(began)));
        // What a model answers is its own affair; only a request can break a contract.
        let breach = since_onset
            .as_ref()
            .filter(|_| column < self.n_features)
            .and_then(|counts| self.breach(column, reference, counts, before));
        let moved = match (rolling, pair) {
            (Some(rolling), Some(Some(pair))) if rolling.change(column).is_some() => {
                Some((&pair.reference, pair.counts.clone()))
            }
            (Some(_), _) if breach.is_none() => None,
            _ => since_onset.map(|counts| (reference, counts)),
        };
        let Some((reference, counts)) = moved else { return nothing };
        let n_rows: u64 = counts.iter().sum();
        let Ok(effect) = Effect::of_groups(reference, &counts) else { return nothing };
        let thresholds = &self.settings.thresholds[column];
        let evidence = Evidence { psi: true, ks: true };
        let mut verdict = FeatureVerdict::judge(effect, evidence, thresholds, before);
        if verdict == FeatureVerdict::Drift && (n_rows as f64) < MIN_EFFECT_ROWS {
            verdict = FeatureVerdict::Warning;
        }
        if breach.is_some() {
            verdict = FeatureVerdict::Schema;
        }
        Judgement { verdict, effect: Some(effect), n_rows, breach }
    }

    fn breach(
        &self,
        column: usize,
        reference: &Reference,
        counts: &[u64],
        before: FeatureVerdict,
    ) -> Option<Breach> {
        let held = if before == FeatureVerdict::Schema { super::verdict::RELEASE_SHARE } else { 1.0 };
        let threshold = held * self.settings.thresholds[column].violations;
        let more_of = |(kind, statistic)| {
            let (baseline_share, share) = self.scan.shares(column, statistic, counts)?;
            let n_rows: f64 = counts.iter().sum::<u64>() as f64;
            let ln_p = self.scan.ln_rate(column, (baseline_share, share), n_rows);
            let is_breach = share - baseline_share >= threshold && ln_p <= BREACH_P.ln();
            is_breach.then_some(Breach { kind, share, baseline_share })
        };
        let shares = [
            (BreachKind::Missing, Statistic::Missing),
            (BreachKind::Other, Statistic::Other),
            (BreachKind::OutOfRange, Statistic::Beyond),
        ];
        let constant = self.stands_still[column].then(|| constant(reference, counts)).flatten();
        let breaches = shares.into_iter().filter_map(more_of).chain(constant);
        breaches.max_by(|a, b| (a.share - a.baseline_share).total_cmp(&(b.share - b.baseline_share)))
    }
}

/// Whether all rows lie in one group that less than half of the baseline is in, and some of it.
fn constant(reference: &Reference, counts: &[u64]) -> Option<Breach> {
    let n_rows: u64 = counts.iter().sum();
    let at = counts[..counts.len() - 2].iter().position(|&count| count > 0 && count == n_rows)?;
    let baseline_share = reference.psi_bins()[at] as f64 / reference.baseline().total().max(1) as f64;
    let is_breach = n_rows as f64 >= MIN_EFFECT_ROWS && baseline_share > 0.0 && baseline_share < 0.5;
    is_breach.then_some(Breach { kind: BreachKind::Constant, share: 1.0, baseline_share })
}

#[cfg(test)]
mod tests;
