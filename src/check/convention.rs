//! The numbers that other tools would give, where counts over a baseline's bins allow.
//!
//! Formulas are the peers' own, zeros and all; what needs the raw values of both sides (edges that move with the current
//! window, kernel densities) cannot be had, and what is had from fine bins instead says `approximate`.

use std::iter::zip;

use serde::Serialize;
use statrs::distribution::{ChiSquared, ContinuousCDF};

use crate::drift::Histogram;
use crate::drift::score::{Bins, Reference, wasserstein};

/// Whose numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Convention {
    /// Evidently: zeros become 0.0001, distances in natural logarithms
    Evidently,
    /// `NannyML`: distances in base 2, all unseen categories one bin
    Nannyml,
    /// scouter: 1e-10 on every share, unseen categories have no bin
    Scouter,
    /// deepchecks: shares below 0.01 become 0.01
    Deepchecks,
    /// popmon: counts taken as if they were shares, so its values grow with the rows
    Popmon,
    /// Fiddler: one row more in every bin
    Fiddler,
}

/// One number of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct PeerScore {
    /// As the peer calls it.
    pub statistic: &'static str,
    /// Its value.
    pub value: f64,
    /// The peer's default threshold, where it has one that does not depend on other data.
    pub threshold: Option<f64>,
    /// Whether the peer would call this drift.
    pub drift: Option<bool>,
    /// Whether the peer takes it over raw values, and this is over fine bins.
    pub approximate: bool,
}

impl PeerScore {
    fn exact(statistic: &'static str, value: f64) -> Self {
        Self { statistic, value, threshold: None, drift: None, approximate: false }
    }

    fn approximate(statistic: &'static str, value: f64) -> Self {
        Self { approximate: true, ..Self::exact(statistic, value) }
    }

    fn held_against(self, threshold: f64) -> Self {
        Self { threshold: Some(threshold), drift: Some(self.value >= threshold), ..self }
    }
}

/// Shares of the categories or groups of both sides; missing values are left out, as all of these do.
struct Shares {
    baseline: Vec<f64>,
    current: Vec<f64>,
    /// Of values that the baseline's bins have no place for.
    unseen: f64,
    n_baseline: f64,
    n_current: f64,
}

impl Shares {
    fn of(reference: &Reference, counts: &Histogram) -> Option<Self> {
        let (baseline, current) = match reference.bins() {
            // The guards are what is below the first edge and above the last one of open outer bins.
            Bins::Numeric { groups, .. } => {
                let fold = |histogram: &Histogram| groups.fold(histogram.bins());
                joined_guards(&fold(reference.baseline()), &fold(counts))
            }
            Bins::Categorical { .. } => (reference.baseline().bins().to_vec(), counts.bins().to_vec()),
        };
        let n_baseline: u64 = baseline.iter().sum();
        let unseen = if reference.is_numeric() { 0 } else { counts.other() };
        let n_current = current.iter().sum::<u64>() + unseen;
        let shares = |counts: &[u64], n: u64| counts.iter().map(|&count| count as f64 / n as f64).collect();
        (n_baseline > 0 && n_current > 0).then(|| Self {
            baseline: shares(&baseline, n_baseline),
            current: shares(&current, n_current),
            unseen: unseen as f64 / n_current as f64,
            n_baseline: n_baseline as f64,
            n_current: n_current as f64,
        })
    }

    /// With all unseen values in one bin more, where there are any.
    fn with_unseen(mut self) -> Self {
        if self.unseen > 0.0 {
            self.baseline.push(0.0);
            self.current.push(self.unseen);
        }
        self
    }

    fn map(mut self, change: impl Fn(&mut [f64])) -> Self {
        change(&mut self.baseline);
        change(&mut self.current);
        self
    }

    /// The counts themselves, each with some rows more.
    fn counts(mut self, more: f64) -> Self {
        for (shares, n) in [(&mut self.baseline, self.n_baseline), (&mut self.current, self.n_current)] {
            for share in shares {
                *share = *share * n + more;
            }
        }
        self
    }

    /// With so many rows more in every bin.
    fn with_rows(self, more: f64) -> Self {
        self.counts(more).map(|counts| {
            let n: f64 = counts.iter().sum();
            for count in counts {
                *count /= n;
            }
        })
    }

    fn psi(&self) -> f64 {
        zip(&self.baseline, &self.current).map(|(r, c)| (c - r) * (c / r).ln()).sum()
    }

    /// Jensen–Shannon distance in natural logarithms.
    fn js(&self) -> f64 {
        let term = |share: f64, mean: f64| if share > 0.0 { share * (share / mean).ln() } else { 0.0 };
        let both = |(&r, &c): (&f64, &f64)| 0.5 * (term(r, 0.5 * (r + c)) + term(c, 0.5 * (r + c)));
        zip(&self.baseline, &self.current).map(both).sum::<f64>().max(0.0).sqrt()
    }

    fn hellinger(&self) -> f64 {
        let squares = zip(&self.baseline, &self.current).map(|(r, c)| (r.sqrt() - c.sqrt()).powi(2));
        (0.5 * squares.sum::<f64>()).sqrt()
    }
}

/// Both sides with the groups in which the baseline has nothing at either end added to their neighbours.
fn joined_guards(baseline: &[u64], current: &[u64]) -> (Vec<u64>, Vec<u64>) {
    let is_full = |&count: &u64| count > 0;
    let (Some(first), Some(last)) = (baseline.iter().position(is_full), baseline.iter().rposition(is_full))
    else {
        return (baseline.to_vec(), current.to_vec());
    };
    let mut inner = current[first..=last].to_vec();
    inner[0] += current[..first].iter().sum::<u64>();
    inner[last - first] += current[last + 1..].iter().sum::<u64>();
    (baseline[first..=last].to_vec(), inner)
}

/// Evidently's: 0.0001 for zeros, or a millionth of the smallest share if that is smaller.
fn fill_zeros(shares: &mut [f64]) {
    let smallest = shares.iter().copied().filter(|share| *share > 0.0).fold(f64::INFINITY, f64::min);
    let filler = if smallest > 1e-4 { 1e-4 } else { smallest / 1e6 };
    for share in shares.iter_mut().filter(|share| **share == 0.0) {
        *share = filler;
    }
}

impl Convention {
    /// What this peer would say of `counts`.
    pub fn scores(self, reference: &Reference, counts: &Histogram) -> Vec<PeerScore> {
        let Some(shares) = Shares::of(reference, counts) else { return Vec::new() };
        let is_numeric = reference.is_numeric();
        match self {
            Self::Evidently if is_numeric => evidently_numeric(reference, counts),
            Self::Evidently => {
                let shares = shares.with_unseen();
                let js = PeerScore::exact("js_distance_ln", shares.js());
                let hellinger = PeerScore::exact("hellinger", shares.hellinger()).held_against(0.1);
                let psi = PeerScore::exact("psi", shares.map(fill_zeros).psi()).held_against(0.1);
                vec![js.held_against(0.1), psi, hellinger]
            }
            Self::Nannyml | Self::Deepchecks if is_numeric => ks_of(reference, counts).into_iter().collect(),
            Self::Nannyml => {
                let shares = shares.with_unseen();
                let js = shares.js() / std::f64::consts::LN_2.sqrt();
                vec![
                    PeerScore::exact("jensen_shannon", js),
                    PeerScore::exact("hellinger", shares.hellinger()),
                ]
            }
            Self::Scouter => {
                let (n_bins, m) = (shares.baseline.len(), shares.n_current);
                let psi = PeerScore::exact("psi", shares.map(lift(1e-10)).psi());
                let psi = PeerScore { approximate: is_numeric, ..psi };
                vec![psi.held_against(chi_square_quantile(0.05, n_bins.saturating_sub(1)) / m)]
            }
            Self::Deepchecks => {
                let floor = |shares: &mut [f64]| shares.iter_mut().for_each(|share| *share = share.max(0.01));
                vec![PeerScore::exact("psi", shares.with_unseen().map(floor).psi())]
            }
            Self::Popmon => {
                let counts = shares.with_unseen().counts(0.0);
                let jsd = popmon_jsd(&counts);
                let scores = [("psi", counts.map(lift(POPMON_EPSILON)).psi()), ("jsd", jsd)];
                scores
                    .map(|(name, value)| PeerScore {
                        approximate: is_numeric,
                        ..PeerScore::exact(name, value)
                    })
                    .into()
            }
            Self::Fiddler => {
                let psi = PeerScore::exact("psi", shares.with_unseen().with_rows(1.0).psi());
                vec![PeerScore { approximate: is_numeric, ..psi }]
            }
        }
    }
}

/// Adds the same to all.
fn lift(more: f64) -> impl Fn(&mut [f64]) {
    move |shares| shares.iter_mut().for_each(|share| *share += more)
}

/// What popmon adds to counts, which it takes for shares.
const POPMON_EPSILON: f64 = 1e-5;

/// Jensen–Shannon divergence of counts as popmon takes it; the means are lifted like the counts.
fn popmon_jsd(counts: &Shares) -> f64 {
    let both = |(&b, &c): (&f64, &f64)| {
        let mean = 0.5 * (b + c) + POPMON_EPSILON;
        let term = |count: f64| (count + POPMON_EPSILON) * ((count + POPMON_EPSILON) / mean).ln();
        0.5 * (term(b) + term(c))
    };
    zip(&counts.baseline, &counts.current).map(both).sum()
}

/// Its default test depends on the number of reference rows alone.
fn evidently_numeric(reference: &Reference, counts: &Histogram) -> Vec<PeerScore> {
    let n_baseline: u64 = reference.baseline().bins().iter().sum();
    if n_baseline > 1000 {
        let Bins::Numeric { edges, min, max, std, .. } = reference.bins() else { return Vec::new() };
        let (baseline, current) = (reference.baseline().bins(), counts.bins());
        let distance = wasserstein(edges, (*min, *max), std.max(0.001), baseline, current);
        let scored = |distance: f64| PeerScore::approximate("wasserstein_normed", distance).held_against(0.1);
        return distance.ok().map(|distance| scored(distance.0)).into_iter().collect();
    }
    let Ok(scores) = reference.score(counts) else { return Vec::new() };
    let p = scores.ks_p.map(|p| PeerScore {
        threshold: Some(0.05),
        drift: Some(p.0 <= 0.05),
        ..PeerScore::approximate("ks_p_value", p.0)
    });
    p.into_iter().collect()
}

fn ks_of(reference: &Reference, counts: &Histogram) -> Option<PeerScore> {
    let ks = reference.score(counts).ok()?.ks?;
    Some(PeerScore::approximate("ks", ks.0))
}

/// The value that χ² passes with this probability.
fn chi_square_quantile(alpha: f64, freedom: usize) -> f64 {
    ChiSquared::new(freedom.max(1) as f64)
        .map_or(f64::NAN, |distribution| distribution.inverse_cdf(1.0 - alpha))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drift::Groups;

    /// 6,000 / 3,000 / 1,000 against 1,000 / 600 / 300 and 100 of a category never seen.
    fn categories() -> (Reference, Histogram) {
        let baseline = Histogram::from_parts(&[6_000, 3_000, 1_000], 0, 0);
        let reference = Reference::new(Bins::Categorical { n_categories: 3 }, baseline).unwrap();
        (reference, Histogram::from_parts(&[1_000, 600, 300], 0, 100))
    }

    #[track_caller]
    fn check(convention: Convention, statistic: &str, expected: f64) {
        let (reference, counts) = categories();
        let scores = convention.scores(&reference, &counts);
        let found = scores.iter().find(|score| score.statistic == statistic).expect("the statistic is given");
        assert!((found.value - expected).abs() < 1e-6, "{statistic} is {}, expected {expected}", found.value);
        assert!(!found.approximate);
    }

    /// Computed by running the peers' own functions on the same counts; Fiddler's, which has none, by its documentation.
    #[test]
    fn categories_are_scored_as_the_peers_score_them() {
        check(Convention::Evidently, "psi", 0.348_614);
        check(Convention::Evidently, "js_distance_ln", 0.148_733);
        check(Convention::Nannyml, "jensen_shannon", 0.178_646);
        check(Convention::Scouter, "psi", 0.038_505);
        check(Convention::Deepchecks, "psi", 0.102_883);
        check(Convention::Popmon, "psi", 15_276.038_784);
        check(Convention::Popmon, "jsd", 1_561.333_014);
        check(Convention::Fiddler, "psi", 0.351_751);
    }

    /// 5,000 logistic quantiles and 2,000 of `0.3 + 1.1 x`, over the deciles of the first, as scouter cuts them.
    #[test]
    fn numbers_over_deciles_are_scored_as_scouter_scores_them() {
        let logistic = |n: u32| {
            (0..n).map(move |i| {
                let u = (f64::from(i) + 0.5) / f64::from(n);
                (u / (1.0 - u)).ln()
            })
        };
        let baseline: Vec<f64> = logistic(5_000).collect();
        let current: Vec<f64> = logistic(2_000).map(|x| 1.1f64.mul_add(x, 0.3)).collect();
        let mut edges = vec![-100.0, baseline[0]];
        edges.extend((1..10).map(|decile| baseline[500 * decile]));
        edges.extend([baseline[4_999].next_up(), 100.0]);
        let edges = crate::drift::BinEdges::new(edges).unwrap();
        let count = |values: &[f64]| {
            let mut counts = Histogram::new(edges.n_bins());
            crate::drift::Recorder::new(&edges).record(values, &mut counts);
            counts
        };
        let groups = Groups::one_per_bin(edges.n_bins());
        let (min, max) = (baseline[0], baseline[4_999]);
        let (reference_counts, counts) = (count(&baseline), count(&current));
        let bins = Bins::Numeric { edges, groups, min, max, std: 1.813 };
        let reference = Reference::new(bins, reference_counts).unwrap();
        let [psi] = Convention::Scouter.scores(&reference, &counts)[..] else { panic!("one number") };
        assert!((psi.value - 0.036_972_1).abs() < 1e-3, "{psi:?}");
        assert!((psi.threshold.unwrap() - 16.919 / 2_000.0).abs() < 1e-5 && psi.drift == Some(true));
        let [distance] = Convention::Evidently.scores(&reference, &counts)[..] else { panic!("one number") };
        assert!(distance.approximate && distance.drift == Some(true), "{distance:?}");
    }

    #[test]
    fn nothing_has_no_numbers() {
        let (reference, _) = categories();
        for convention in <Convention as clap::ValueEnum>::value_variants() {
            assert!(convention.scores(&reference, &Histogram::new(3)).is_empty());
        }
    }
}
