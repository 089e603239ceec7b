//! By how much the counts of a stretch vary more than those of independent rows: real rows come in batches, retries and
//! rhythms, and a stretch of them says less than its number of rows.

use super::null::{PerStatistic, Statistic};

const N: usize = Statistic::ALL.len();

/// What the next shorter stretches say counts like this many contrasts of its own.
const PRIOR: f64 = 8.0;

/// Contrasts after which older ones begin to fade.
const MEMORY: f64 = 256.0;

/// A contrast counts for at most this many times what is usual, or the drift that is to be found would hide itself.
const CAP: f64 = 9.0;

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
    in_force: PerStatistic,
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
            self.levels.push(Level { n: [0.0; N], sum: [0.0; N], estimate, in_force: [1.0; N] });
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
    pub(super) fn of_stretch(&self, n_looks: u64) -> PerStatistic {
        if self.is_none {
            return [1.0; N];
        }
        let of_level = |level: u32| match self.levels.get(level as usize).or(self.levels.last()) {
            Some(level) => level.in_force,
            None => Statistic::ALL.map(|statistic| 1.0 + allowance(statistic)),
        };
        let (mut in_force, longer) =
            (of_level(n_looks.ilog2()), of_level(n_looks.next_power_of_two().ilog2()));
        for (in_force, longer) in in_force.iter_mut().zip(longer) {
            *in_force = f64::max(*in_force, longer);
        }
        // The mean over all directions that counts can vary in hides one that varies much: location and spread are the
        // likely ones, and what else there may be is met by doubling.
        let is_known =
            |statistic: Statistic| self.levels.first().is_none_or(|level| level.n[statistic as usize] > 0.0);
        let [location, spread] = [Statistic::Location, Statistic::Spread]
            .map(|statistic| if is_known(statistic) { in_force[statistic as usize] } else { 1.0 });
        let shape = in_force[Statistic::Shape as usize];
        in_force[Statistic::Shape as usize] = location.max(spread).max(2.0 * shape - 1.0);
        in_force
    }

    /// Every level leans on the one below it, so all from `first` up change.
    fn update(&mut self, first: usize) {
        for at in 0..N {
            // A level below tells as much as a quarter of its contrasts here would.
            let mut borrowed = 0.0;
            let mut below = 1.0;
            for (idx, level) in self.levels.iter_mut().enumerate() {
                borrowed = 0.25 * borrowed + level.n[at];
                if idx >= first {
                    level.estimate[at] = (PRIOR * below + level.sum[at]) / (PRIOR + level.n[at]);
                    let doubt = 2.0 * (2.0 / (PRIOR + level.n[at])).sqrt();
                    let sure = if level.estimate[at] > 1.0 + doubt { level.estimate[at] } else { 1.0 };
                    level.in_force[at] = sure.max(1.0)
                        * (1.0 + allowance(Statistic::ALL[at]) / (1.0 + 0.5 * borrowed).powi(2));
                }
                below = level.estimate[at];
            }
        }
    }
}

/// Added to the variance before anything is known of it, fading with every contrast. A kind of value that was never there
/// has no contrasts, and is not to be missed for that.
const fn allowance(statistic: Statistic) -> f64 {
    match statistic {
        Statistic::Location | Statistic::Spread | Statistic::Shape => 4.0,
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
        assert!((dispersion.of_stretch(8)[0] - 5.0).abs() < 1e-12, "nothing is known yet");
        learn(&mut dispersion, 0, [0.1, 2.0, 0.4, 1.5].repeat(50));
        learn(&mut dispersion, 1, [0.1, 2.0, 0.4, 1.5].repeat(25));
        assert!((1.0..1.01).contains(&dispersion.of_stretch(1)[0]));
        assert!((1.0..1.01).contains(&dispersion.of_stretch(2)[0]));
        assert!(
            (1.0..1.01).contains(&dispersion.of_stretch(700)[0]),
            "the longest stretch known stands for longer ones"
        );
    }

    #[test]
    fn batches_longer_than_a_look_show_where_they_are_as_long() {
        let mut dispersion = Dispersion::default();
        learn(&mut dispersion, 0, std::iter::repeat_n(1.0, 200));
        learn(&mut dispersion, 1, std::iter::repeat_n(6.0, 100));
        assert!(dispersion.of_stretch(1)[0] < 1.1);
        assert!((5.0..6.1).contains(&dispersion.of_stretch(2)[0]), "{:?}", dispersion.of_stretch(2));
        assert!(dispersion.of_stretch(3)[0] > 5.0);
    }

    #[test]
    fn a_change_does_not_hide_itself() {
        let mut dispersion = Dispersion::default();
        learn(&mut dispersion, 0, std::iter::repeat_n(1.0, 50));
        learn(&mut dispersion, 0, [5_000.0]);
        assert!(dispersion.of_stretch(1)[0] < 1.2, "{:?}", dispersion.of_stretch(1));
    }
}
