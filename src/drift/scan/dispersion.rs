//! By how much the counts of a stretch vary more than those of independent rows: real rows come in batches, retries and
//! rhythms, and a stretch of them says less than its number of rows.

use serde::{Deserialize, Serialize};

use super::null::Statistic;

const N: usize = Statistic::ALL.len();

/// What the next shorter stretches say counts like this many contrasts of its own.
const PRIOR: f64 = 8.0;

/// Contrasts by which half of the allowance for the unknown is gone, and soon all of it.
const ENOUGH: f64 = 16.0;

/// Contrasts after which older ones begin to fade.
const MEMORY: f64 = 256.0;

/// A contrast counts for at most this many times what is usual, or the drift that is to be found would hide itself.
const CAP: f64 = 9.0;

/// A number for each statistic.
pub(super) type PerStatistic = [f64; N];

/// By what to divide the rows on either side of a comparison; 1 or more.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Divisors {
    /// Of the baseline: as far as its traffic is known to depend on itself.
    pub baseline: PerStatistic,
    /// Of the stretch: the same, and an allowance for what has not been seen yet.
    pub stretch: PerStatistic,
}

impl Divisors {
    /// Of independent rows.
    const NONE: Self = Self { baseline: [1.0; N], stretch: [1.0; N] };

    /// Before anything is known.
    const UNKNOWN: Self = {
        let mut unknown = Self::NONE;
        let mut at = 0;
        while at < N {
            unknown.stretch[at] += allowance(Statistic::ALL[at]);
            at += 1;
        }
        unknown
    };

    /// Of the variance of the difference between `n` rows of the baseline and `m` of the stretch.
    pub(super) fn of_difference(&self, statistic: Statistic, n: f64, m: f64) -> f64 {
        (self.baseline[statistic as usize] * m + self.stretch[statistic as usize] * n) / (n + m)
    }

    /// The same where the baseline is as little known as the stretch.
    pub(super) fn of_equals(&self) -> Self {
        Self { baseline: self.stretch, stretch: self.stretch }
    }

    /// The worse of two, statistic by statistic.
    fn max(&self, other: &Self) -> Self {
        let max = |a: &PerStatistic, b: &PerStatistic| std::array::from_fn(|at| f64::max(a[at], b[at]));
        Self { baseline: max(&self.baseline, &other.baseline), stretch: max(&self.stretch, &other.stretch) }
    }
}

/// The variance of stretches of `2^level` looks over that of independent rows, one column: the mean of squared
/// differences between a stretch and all that came before it. Differences between neighbours would not do: two looks at
/// one batch agree with each other and with nothing else. A stretch is taken in when it is three times as old as long,
/// and by then a change has been looked for in all that is as long.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Dispersion {
    levels: Vec<Level>,
    /// One a level, apart from what they are made of: they are what every look reads.
    divisors: Vec<Divisors>,
    /// The worse of a level and the next, for stretches between the two.
    between: Vec<Divisors>,
    is_none: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Level {
    n: PerStatistic,
    sum: PerStatistic,
    estimate: PerStatistic,
    hands_on: HandedOn,
}

/// What stretches of one length say of those of twice the length.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct HandedOn {
    /// How much is known, in contrasts.
    known: PerStatistic,
    /// The estimate.
    estimate: PerStatistic,
    /// What it is expected to be at twice the length.
    expected: PerStatistic,
    /// How much may be unknown there at most, on top of 1.
    bound: PerStatistic,
}

impl Dispersion {
    /// Nothing but that of independent rows.
    pub(super) fn of_independent_rows() -> Self {
        Self { is_none: true, ..Self::default() }
    }

    /// Takes in contrasts of stretches of `2^level` looks with what came before them.
    pub(super) fn learn(&mut self, level: u8, contrasts: &[[Option<f64>; N]]) {
        let level = usize::from(level);
        while self.levels.len() <= level {
            self.levels.push(Level::new(self.levels.last()));
            self.divisors.push(Divisors::NONE);
            self.between.push(Divisors::NONE);
        }
        for contrast in contrasts {
            self.levels[level].learn(contrast);
        }
        self.update(level);
    }

    /// By what to divide the rows of a stretch of so many looks; 1 or more. Of the lengths that are known, the two it lies
    /// between, the worse one counts: rows of one batch count for less the longer the stretch, up to the length of a batch.
    pub(super) fn of_stretch(&self, n_looks: u64) -> &Divisors {
        if self.is_none {
            return &Divisors::NONE;
        }
        let of_levels = if n_looks.is_power_of_two() { &self.divisors } else { &self.between };
        of_levels.get(n_looks.ilog2() as usize).or(self.divisors.last()).unwrap_or(&Divisors::UNKNOWN)
    }

    /// Every level leans on those below it, so all from `first` up change, as far up as that is felt.
    fn update(&mut self, first: usize) {
        let mut below = first.checked_sub(1).map_or(HandedOn::NOTHING, |below| self.levels[below].hands_on);
        for at in first..self.levels.len() {
            let hands_on = self.levels[at].update(&below, &mut self.divisors[at]);
            self.meet(at);
            if hands_on.is_near(&self.levels[at].hands_on) {
                break;
            }
            self.levels[at].hands_on = hands_on;
            below = hands_on;
        }
    }

    /// Takes in between levels what changed of one.
    fn meet(&mut self, level: usize) {
        for shorter in level.saturating_sub(1)..=level {
            let longer = usize::min(shorter + 1, self.divisors.len() - 1);
            self.between[shorter] = self.divisors[shorter].max(&self.divisors[longer]);
        }
    }
}

impl Level {
    fn new(below: Option<&Self>) -> Self {
        Self {
            n: [0.0; N],
            sum: [0.0; N],
            estimate: below.map_or([1.0; N], |below| below.estimate),
            hands_on: HandedOn::NOTHING,
        }
    }

    fn learn(&mut self, contrast: &[Option<f64>; N]) {
        for (at, contrast) in contrast.iter().enumerate() {
            let Some(contrast) = contrast else { continue };
            // The very first ones say what is usual.
            let cap = if self.n[at] < PRIOR { f64::INFINITY } else { CAP * self.estimate[at].max(1.0) };
            self.sum[at] += contrast.min(cap);
            self.n[at] += 1.0;
            if self.n[at] > MEMORY {
                self.n[at] *= 0.5;
                self.sum[at] *= 0.5;
            }
        }
    }

    fn update(&mut self, below: &HandedOn, divisors: &mut Divisors) -> HandedOn {
        let mut hands_on = HandedOn::NOTHING;
        for at in 0..N {
            // A level below tells as much as a quarter of its contrasts here would.
            let known = 0.25 * below.known[at] + self.n[at];
            let estimate = (PRIOR * below.expected[at] + self.sum[at]) / (PRIOR + self.n[at]);
            let doubt = 2.0 * (2.0 / (PRIOR + self.n[at])).sqrt();
            let is_more_than_chance = estimate > 1.0 + doubt;
            let seen = if is_more_than_chance { estimate } else { 1.0 };
            let unknown = allowance(Statistic::ALL[at]) / (1.0 + (known / ENOUGH).powi(4));
            let allowed = unknown.min(below.bound[at]);
            self.estimate[at] = estimate;
            divisors.baseline[at] = seen;
            divisors.stretch[at] = seen * (1.0 + allowed);
            hands_on.known[at] = known;
            hands_on.estimate[at] = estimate;
            // Up to the length of a batch, the variance grows by as much from level to level, or more.
            let growth = if is_more_than_chance { (estimate - below.estimate[at]).max(0.0) } else { 0.0 };
            hands_on.expected[at] = estimate + growth;
            // Where shorter stretches are known to be independent, longer ones are not much less so.
            hands_on.bound[at] = 1.25 * allowed + 0.1 * (2.0 / known.max(0.1)).sqrt();
        }
        // The mean over all directions that counts can vary in hides one that varies much: location and spread are the
        // likely ones, and what else there may be is met by doubling.
        for divisors in [&mut divisors.baseline, &mut divisors.stretch] {
            let likely = [Statistic::Location, Statistic::Spread]
                .map(|statistic| statistic as usize)
                .map(|at| if hands_on.known[at] > 0.0 { divisors[at] } else { 1.0 });
            let shape = 2.0 * divisors[Statistic::Shape as usize] - 1.0;
            divisors[Statistic::Shape as usize] = likely.into_iter().fold(shape, f64::max);
        }
        hands_on
    }
}

impl HandedOn {
    /// What the shortest stretches lean on.
    const NOTHING: Self =
        Self { known: [0.0; N], estimate: [1.0; N], expected: [1.0; N], bound: [f64::INFINITY; N] };

    /// Whether it makes no difference which of the two is handed on.
    fn is_near(&self, other: &Self) -> bool {
        let pairs = [
            (&self.known, &other.known),
            (&self.estimate, &other.estimate),
            (&self.expected, &other.expected),
            (&self.bound, &other.bound),
        ];
        pairs.into_iter().all(|(a, b)| (0..N).all(|at| (a[at] - b[at]).abs() <= 1e-3 * a[at].max(1.0)))
    }
}

/// Added to the variance before anything is known of it: what batches of a dozen make of it that are all alike, or of twenty-five that share
/// half of their variance. More of it would miss what is wrong from the first row on for longer. A kind of value that was never there has no contrasts, and is not to be missed for that.
const fn allowance(statistic: Statistic) -> f64 {
    match statistic {
        Statistic::Location | Statistic::Spread | Statistic::Shape => 12.0,
        Statistic::Missing | Statistic::Other | Statistic::Beyond => 0.5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learn(dispersion: &mut Dispersion, level: u8, contrasts: impl IntoIterator<Item = f64>) {
        for contrast in contrasts {
            dispersion.learn(level, &[[Some(contrast); N]]);
        }
    }

    #[test]
    fn independent_rows_are_worth_what_they_are() {
        let mut dispersion = Dispersion::default();
        assert!((dispersion.of_stretch(8).stretch[0] - 13.0).abs() < 1e-12, "nothing is known yet");
        learn(&mut dispersion, 0, [0.1, 2.0, 0.4, 1.5].repeat(50));
        learn(&mut dispersion, 1, [0.1, 2.0, 0.4, 1.5].repeat(25));
        assert!((1.0..1.01).contains(&dispersion.of_stretch(1).stretch[0]));
        assert!((1.0..1.01).contains(&dispersion.of_stretch(2).stretch[0]));
        assert!(
            (1.0..1.01).contains(&dispersion.of_stretch(700).stretch[0]),
            "the longest stretch known stands for longer ones"
        );
    }

    #[test]
    fn batches_longer_than_a_look_show_where_they_are_as_long() {
        let mut dispersion = Dispersion::default();
        learn(&mut dispersion, 0, std::iter::repeat_n(1.0, 200));
        learn(&mut dispersion, 1, std::iter::repeat_n(6.0, 100));
        assert!(dispersion.of_stretch(1).stretch[0] < 1.1);
        assert!((5.0..6.1).contains(&dispersion.of_stretch(2).stretch[0]), "{:?}", dispersion.of_stretch(2));
        assert!(dispersion.of_stretch(3).stretch[0] > 5.0);
    }

    #[test]
    fn a_change_does_not_hide_itself() {
        let mut dispersion = Dispersion::default();
        learn(&mut dispersion, 0, std::iter::repeat_n(1.0, 100));
        learn(&mut dispersion, 0, [5_000.0]);
        assert!(dispersion.of_stretch(1).stretch[0] < 1.2, "{:?}", dispersion.of_stretch(1));
    }
}
