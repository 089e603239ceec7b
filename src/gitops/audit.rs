//! What was done, when, by whom and why, for people: from incidents of the journal, and from Git alone. Pure.

mod explain;
mod rebuild;
mod times;

use serde::Serialize;

use super::incident::{Incident, Origin, State};
use super::journal::Event;
use crate::baseline::source::version_of;

pub use explain::{explain, timeline};
pub use rebuild::{Rebuilt, rebuild};
pub use times::{Percentiles, Summary, Times, seconds};

/// An incident with all that happened to it, as the API gives it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct Whole {
    /// As it is.
    pub incident: Incident,
    /// What happened, oldest first.
    pub events: Vec<Event>,
}

/// An incident as a list in JSON has it.
#[derive(Clone, Debug, Serialize)]
pub struct Listed<'a> {
    /// All of it.
    #[serde(flatten)]
    pub incident: &'a Incident,
    /// How long it took.
    pub times: Times,
}

impl<'a> Listed<'a> {
    /// Of this incident.
    pub fn new(incident: &'a Incident) -> Self {
        Self { incident, times: Times::of(incident) }
    }
}

/// The columns of a list.
pub const COLUMNS: [&str; 9] =
    ["id", "began", "service", "from", "to", "state", "pushed after", "recovered after", "why"];

/// One line of a list.
pub fn row(incident: &Incident) -> [String; COLUMNS.len()] {
    let times = Times::of(incident);
    let plan = incident.plan.as_ref();
    let after = |took: Option<f64>| took.map_or_else(String::new, seconds);
    [
        incident.id.to_string(),
        times.began.format("%F %T").to_string(),
        incident.service.to_string(),
        plan.map_or_else(|| incident.version.clone(), |plan| version_of(&plan.bad_uri)),
        plan.map_or_else(String::new, |plan| version_of(&plan.good_uri)),
        incident.state.to_string(),
        after(times.pushed_seconds),
        after(times.recovered_seconds),
        incident.reason.clone(),
    ]
    .map(on_one_line)
}

/// What others have written (URIs, labels, reasons), so that it can neither break a table nor move a terminal's cursor.
pub fn printable(text: &str) -> String {
    escaped(text, |char| char.is_control() && !matches!(char, '\n' | '\t'))
}

fn on_one_line(cell: String) -> String {
    if cell.contains(char::is_control) { escaped(&cell, char::is_control) } else { cell }
}

fn escaped(text: &str, is_unsafe: impl Fn(char) -> bool) -> String {
    let mut safe = String::with_capacity(text.len());
    for char in text.chars() {
        if is_unsafe(char) {
            safe.extend(char.escape_default());
        } else {
            safe.push(char);
        }
    }
    safe
}

/// Why there is an incident, in a few words.
fn origin(incident: &Incident) -> String {
    match &incident.origin {
        Origin::Alert => "alerts were delivered".to_owned(),
        Origin::TakeOver
            if incident.commit.is_some() && !incident.entered.contains_key(&State::Confirming) =>
        {
            "a rollback that another replica had pushed was found in Git".to_owned()
        }
        Origin::TakeOver => "alerts were found firing in Prometheus".to_owned(),
        Origin::Person { by, reason, to, is_dry_run } => {
            let to = to.as_ref().map_or_else(String::new, |to| format!(" to {to}"));
            let what = if *is_dry_run { "what a rollback would do" } else { "a rollback" };
            let reason = if reason.is_empty() { "no reason given" } else { reason };
            format!("{by} asked for {what}{to}: {reason}")
        }
    }
}

#[cfg(test)]
mod tests;
