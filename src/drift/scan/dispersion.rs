//! By how much the counts of a stretch vary more than those of independent rows: real rows come in batches, retries and
//! rhythms, and a stretch of them says less than its number of rows.

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
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Divisors {
    /// Of the baseline: as far as its traffic is known to depend on itself.
    pub baseline: PerStatistic,
    /// Of the stretch: the same, and an allowance for what has not been seen yet.
    pub stretch: PerStatistic,
}

impl Divisors {
    /// Of independent rows.
    const NONE: Self = Self { baseline: [1.0; N], stretch: [1.0; N] };

    /// Of the variance of the difference between `n` rows of the baseline and `m` of the stretch.
    pub(super) fn of_difference(&self, statistic: Statistic, n: f64, m: f64) -> f64 {
        (self.baseline[statistic as usize] * m + self.stretch[statistic as usize] * n) / (n + m)
    }

    /// The same where the baseline is as little known as the stretch.
    pub(super) fn of_equals(self) -> Self {
        Self { baseline: self.stretch, ..self }
    }

    /// The worse of two, statistic by statistic.
    fn max(mut self, other: &Self) -> Self {
        for at in 0..N {
            self.baseline[at] = f64::max(self.baseline[at], other.baseline[at]);
            self.stretch[at] = f64::max(self.stretch[at], other.stretch[at]);
        }
        self
    }
}

/// The variance of stretches of `2^level` looks over that of independent rows, one column: the mean of squared
/// differences between a stretch and all that came before it. Differences between neighbours would not do: two looks at
/// one batch agree with each other and with nothing else. A stretch is taken in when it is three times as old as long,
/// and by then a change has been looked for in all that is as long.
#[derive(Clone, Debug, Default)]
pub(super) struct Dispersion {
    levels: Vec<Level>,
    is_none: bool,
}

#[derive(Clone, Debug)]
struct Level {
    n: PerStatistic,
    sum: PerStatistic,
    estimate: PerStatistic,
    /// For what has not been seen yet, on top of 1.
    allowed: PerStatistic,
    divisors: Divisors,
}

impl Level {
    fn new(estimate: PerStatistic) -> Self {
        Self { n: [0.0; N], sum: [0.0; N], estimate, allowed: [0.0; N], divisors: Divisors::NONE }
    }

    /// The estimate, once it is more than chance; 1 until then.
    fn seen(&self, at: usize) -> f64 {
        let doubt = 2.0 * (2.0 / (PRIOR + self.n[at])).sqrt();
        if self.estimate[at] > 1.0 + doubt { self.estimate[at] } else { 1.0 }
    }
}

impl Dispersion {
    /// Nothing but that of independent rows.
    pub(super) fn of_independent_rows() -> Self {
        Self { levels: Vec::new(), is_none: true }
    }

    /// Takes in the contrast of a stretch of `2^level` looks with what came before it.
    pub(super) fn learn(&mut self, level: u8, contrast: [Option<f64>; N]) {
        let level = usize::from(level);
        while self.levels.len() <= level {
            let estimate = self.levels.last().map_or([1.0; N], |last| last.estimate);
            self.levels.push(Level::new(estimate));
        }
        let known = &mut self.levels[level];
        for (at, contrast) in contrast.into_iter().enumerate() {
            let Some(contrast) = contrast else { continue };
            // The very first ones say what is usual.
            let cap = if known.n[at] < PRIOR { f64::INFINITY } else { CAP * known.estimate[at].max(1.0) };
            known.sum[at] += contrast.min(cap);
            known.n[at] += 1.0;
            if known.n[at] > MEMORY {
                known.n[at] *= 0.5;
                known.sum[at] *= 0.5;
            }
        }
        self.update(level);
    }

    /// By what to divide the rows of a stretch of so many looks; 1 or more. Of the lengths that are known, the two it lies
    /// between, the worse one counts: rows of one batch count for less the longer the stretch, up to the length of a batch.
    pub(super) fn of_stretch(&self, n_looks: u64) -> Divisors {
        if self.is_none {
            return Divisors::NONE;
        }
        let of_level = |level: u32| match self.levels.get(level as usize).or(self.levels.last()) {
            Some(level) => level.divisors,
            None => Divisors {
                stretch: Statistic::ALL.map(|statistic| 1.0 + allowance(statistic)),
                ..Divisors::NONE
            },
        };
        let (level, longer) = (n_looks.ilog2(), n_looks.next_power_of_two().ilog2());
        if level == longer { of_level(level) } else { of_level(level).max(&of_level(longer)) }
    }

    /// Every level leans on those below it, so all from `first` up change.
    fn update(&mut self, first: usize) {
        for at in 0..N {
            let (mut known, mut expected, mut below) = (0.0, 1.0, 1.0);
            let mut bound = f64::INFINITY;
            for (idx, level) in self.levels.iter_mut().enumerate() {
                // A level below tells as much as a quarter of its contrasts here would.
                known = 0.25 * known + level.n[at];
                if idx >= first {
                    level.estimate[at] = (PRIOR * expected + level.sum[at]) / (PRIOR + level.n[at]);
                    let unknown = allowance(Statistic::ALL[at]) / (1.0 + (known / ENOUGH).powi(4));
                    level.allowed[at] = unknown.min(bound);
                    let seen = level.seen(at);
                    level.divisors.baseline[at] = seen;
                    level.divisors.stretch[at] = seen * (1.0 + level.allowed[at]);
                }
                // Where shorter stretches are known to be independent, longer ones are not much less so.
                bound = 1.25 * level.allowed[at] + 0.1 * (2.0 / known.max(0.1)).sqrt();
                // Up to the length of a batch, the variance grows by as much from level to level, or more.
                let growth = if level.seen(at) > 1.0 { (level.estimate[at] - below).max(0.0) } else { 0.0 };
                below = level.estimate[at];
                expected = below + growth;
            }
        }
        // The mean over all directions that counts can vary in hides one that varies much: location and spread are the
        // likely ones, and what else there may be is met by doubling.
        let known = [Statistic::Location, Statistic::Spread]
            .map(|statistic| self.levels[0].n[statistic as usize] > 0.0);
        for level in &mut self.levels[first..] {
            for divisors in [&mut level.divisors.baseline, &mut level.divisors.stretch] {
                let likely =
                    divisors.iter().zip(known).filter(|(_, known)| *known).map(|(divisor, _)| *divisor);
                let shape = 2.0 * divisors[Statistic::Shape as usize] - 1.0;
                divisors[Statistic::Shape as usize] = likely.fold(shape, f64::max);
            }
        }
    }
}

/// Added to the variance before anything is known of it, which is as much as a batch of fifty rows makes of it that share half of
/// their variance. A kind of value that was never there has no contrasts, and is not to be missed for that.
const fn allowance(statistic: Statistic) -> f64 {
    match statistic {
        Statistic::Location | Statistic::Spread | Statistic::Shape => 24.0,
        Statistic::Missing | Statistic::Other | Statistic::Beyond => 0.5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learn(dispersion: &mut Dispersion, level: u8, contrasts: impl IntoIterator<Item = f64>) {
        for contrast in contrasts {
            dispersion.learn(level, [Some(contrast); N]);
        }
    }

    #[test]
    fn independent_rows_are_worth_what_they_are() {
        let mut dispersion = Dispersion::default();
        assert!((dispersion.of_stretch(8).stretch[0] - 25.0).abs() < 1e-12, "nothing is known yet");
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
