//! How long things took, and what that is over many incidents.

use std::collections::BTreeMap;

use chrono::DateTime;
use serde::Serialize;

use super::super::incident::{Incident, State, Timestamp};

/// How long one incident took, from the start of its first alert as Prometheus tells it, or from a person's asking.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Times {
    /// When it began.
    pub began: Timestamp,
    /// Until the branch held the commit.
    pub pushed_seconds: Option<f64>,
    /// Until the good version was served, and the bad one by no pod any more.
    pub serving_seconds: Option<f64>,
    /// Until it was proved that it helped.
    pub recovered_seconds: Option<f64>,
}

impl Times {
    /// Of this incident.
    pub fn of(incident: &Incident) -> Self {
        let received = incident.entered.get(&State::Received).copied().unwrap_or_default();
        // An alert without a start has the beginning of time.
        let starts = incident.accusations.iter().map(|accusation| accusation.starts_at);
        let began =
            starts.filter(|at| *at > DateTime::UNIX_EPOCH).min().map_or(received, |at| at.min(received));
        let since = |at: Timestamp| Some((at - began).to_std().ok()?.as_secs_f64());
        let entered = |state| incident.entered.get(&state).copied();
        // A clean-up follows the proof; without one the end is the proof.
        let recovered = match incident.state {
            State::Cleaning | State::Recovered => entered(State::Cleaning).or(entered(State::Recovered)),
            _ => None,
        };
        Self {
            began,
            pushed_seconds: incident.commit.as_ref().and_then(|commit| since(commit.pushed_at)),
            serving_seconds: entered(State::Observing).and_then(since),
            recovered_seconds: recovered.and_then(since),
        }
    }
}

/// Of many.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Percentiles {
    /// How many were measured.
    pub n: usize,
    /// Their mean.
    pub mean: f64,
    /// Half of them took no longer.
    pub p50: f64,
    /// Nineteen of twenty took no longer.
    pub p95: f64,
    /// The longest.
    pub max: f64,
}

impl Percentiles {
    /// `None` of nothing. Each is a time that was measured (nearest rank): none is made up between two.
    pub fn of(times: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut times: Vec<f64> = times.into_iter().collect();
        times.sort_by(f64::total_cmp);
        let (n, max) = (times.len(), *times.last()?);
        let rank = |percent: usize| times[(n * percent).div_ceil(100).max(1) - 1];
        Some(Self { n, mean: times.iter().sum::<f64>() / n as f64, p50: rank(50), p95: rank(95), max })
    }
}

/// What many incidents came to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// How many there are.
    pub n_incidents: usize,
    /// How many are in each state.
    pub states: BTreeMap<&'static str, usize>,
    /// From the alert to the commit on the branch.
    pub pushed_seconds: Option<Percentiles>,
    /// To the good version being served.
    pub serving_seconds: Option<Percentiles>,
    /// To the proof that it helped.
    pub recovered_seconds: Option<Percentiles>,
}

impl Summary {
    /// Of these.
    pub fn of(incidents: &[Incident]) -> Self {
        let mut states = BTreeMap::new();
        for incident in incidents {
            *states.entry(incident.state.as_str()).or_default() += 1;
        }
        let times: Vec<Times> = incidents.iter().map(Times::of).collect();
        let of = |which: fn(&Times) -> Option<f64>| Percentiles::of(times.iter().filter_map(which));
        Self {
            n_incidents: incidents.len(),
            states,
            pushed_seconds: of(|times| times.pushed_seconds),
            serving_seconds: of(|times| times.serving_seconds),
            recovered_seconds: of(|times| times.recovered_seconds),
        }
    }

    /// Its rows: what, how many, mean, median, 95 %, longest.
    pub fn rows(&self) -> [[String; 6]; 3] {
        let row = |what: &str, times: Option<Percentiles>| {
            let cells = times.map_or_else(
                || [String::from("0"), String::new(), String::new(), String::new(), String::new()],
                |Percentiles { n, mean, p50, p95, max }| {
                    [n.to_string(), seconds(mean), seconds(p50), seconds(p95), seconds(max)]
                },
            );
            let [n, mean, p50, p95, max] = cells;
            [what.to_owned(), n, mean, p50, p95, max]
        };
        [
            row("alert → pushed", self.pushed_seconds),
            row("alert → serving", self.serving_seconds),
            row("alert → recovered", self.recovered_seconds),
        ]
    }
}

/// As people say it: `3.2 s`, `4 min 05 s`, `2 h 03 min`.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "of years at most, never negative"
)]
pub fn seconds(took: f64) -> String {
    let whole = took.max(0.0).round() as u64;
    match whole {
        _ if took < 59.95 => format!("{took:.1} s"),
        ..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
    }
}
