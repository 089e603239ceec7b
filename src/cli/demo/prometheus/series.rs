//! What the stand-in for Prometheus remembers: series in memory, for as long as a question can look back.

use std::collections::{BTreeMap, HashMap, VecDeque};

use super::parse::Selector;

/// The longest look back of the controller's questions.
const RETENTION_MS: i64 = 10 * 60_000;
/// As in Prometheus: an instant query gives the last value of so long ago, unless the series has ended since.
const LOOK_BACK_MS: i64 = 5 * 60_000;

/// Labels without the name.
pub type Labels = BTreeMap<String, String>;

/// One value as it was read: name, labels, value.
pub type Reading = (String, Labels, f64);

/// All series, by name and labels.
#[derive(Debug, Default)]
pub struct Series(HashMap<String, BTreeMap<Labels, Points>>);

/// The values of one series, oldest first; `None` where it has ended.
#[derive(Debug, Default)]
struct Points {
    source: String,
    values: VecDeque<(i64, Option<f64>)>,
}

impl Series {
    /// Takes in all that a source shows at a time. What it showed before and does not now has ended.
    pub fn take_in(&mut self, source: &str, at: i64, readings: Vec<Reading>) {
        for (name, labels, value) in readings {
            let points = self.0.entry(name).or_default().entry(labels).or_default();
            source.clone_into(&mut points.source);
            points.values.push_back((at, Some(value)));
        }
        for series in self.0.values_mut() {
            for points in series.values_mut().filter(|points| points.source == source) {
                points.end_unless_seen(at);
            }
            series.retain(|_, points| points.forget_before(at - RETENTION_MS));
        }
    }

    /// The values of a selector at a time, each with its own time.
    pub fn at(&self, selector: &Selector, at: i64) -> Vec<(Labels, i64, f64)> {
        let last = |points: &Points| {
            let (time, value) = *points.values.iter().rev().find(|(time, _)| *time <= at)?;
            (time > at - LOOK_BACK_MS).then_some((time, value?))
        };
        let matching = self.matching(selector);
        matching.filter_map(|(labels, points)| last(points).map(|(t, v)| (labels.clone(), t, v))).collect()
    }

    /// The values of a selector after `from`, up to `to`.
    pub fn within(&self, selector: &Selector, from: i64, to: i64) -> Vec<(Labels, Vec<(i64, f64)>)> {
        let inside = |points: &Points| -> Vec<(i64, f64)> {
            let values = points.values.iter().filter(|(time, _)| *time > from && *time <= to);
            values.filter_map(|(time, value)| Some((*time, (*value)?))).collect()
        };
        self.matching(selector).map(|(labels, points)| (labels.clone(), inside(points))).collect()
    }

    fn matching<'a>(&'a self, selector: &'a Selector) -> impl Iterator<Item = (&'a Labels, &'a Points)> {
        let series = self.0.get(&selector.name).into_iter().flatten();
        series.filter(|(labels, _)| selector.matchers.iter().all(|matcher| matcher.holds(labels)))
    }
}

impl Points {
    fn end_unless_seen(&mut self, at: i64) {
        if self.values.back().is_some_and(|(time, value)| *time != at && value.is_some()) {
            self.values.push_back((at, None));
        }
    }

    /// Whether anything is left.
    fn forget_before(&mut self, oldest: i64) -> bool {
        while self.values.front().is_some_and(|(time, _)| *time < oldest) {
            self.values.pop_front();
        }
        !self.values.is_empty()
    }
}
