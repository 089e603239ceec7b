//! The alert that asks for a rollback: the rule that ships, evaluated as Prometheus would.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use serde::Deserialize;

use super::evaluate::Moment;
use super::parse::{Expr, parse};
use super::series::{Labels, Reading};
use crate::config::HumanDuration;
use crate::rules::{Format, Settings};

/// Its name.
pub const ROLLBACK_ALERT: &str = "DriftdModelDrift";

/// The rule, and what it holds for.
#[derive(Debug)]
pub struct Rule {
    expr: Expr,
    labels: Labels,
    wait_ms: i64,
    keep_ms: i64,
    active: BTreeMap<Labels, Active>,
}

/// One label set that the rule's expression holds for, or did a moment ago.
#[derive(Clone, Copy, Debug)]
struct Active {
    since: i64,
    fired_at: Option<i64>,
    held_at: i64,
}

/// An alert that fires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Firing {
    /// Its labels, its name among them.
    pub labels: Labels,
    /// Since when its expression holds, milliseconds.
    pub active_at: i64,
    /// Since when it fires.
    pub fired_at: i64,
}

#[derive(Deserialize)]
struct RawRules {
    groups: Vec<RawGroup>,
}

#[derive(Deserialize)]
struct RawGroup {
    rules: Vec<RawRule>,
}

#[derive(Deserialize)]
struct RawRule {
    alert: Option<String>,
    expr: String,
    #[serde(rename = "for")]
    wait: Option<HumanDuration>,
    keep_firing_for: Option<HumanDuration>,
    #[serde(default)]
    labels: Labels,
}

impl Rule {
    /// As `driftd rules` writes it.
    ///
    /// # Errors
    /// If it is written in more of PromQL than is known here.
    pub fn shipped() -> anyhow::Result<Self> {
        let text = Settings::default().render(Format::Prometheus);
        let rules: RawRules = serde_saphyr::from_str(&text).context("reading the rules that ship")?;
        let mut rules = rules.groups.into_iter().flat_map(|group| group.rules);
        let raw = rules.find(|rule| rule.alert.as_deref() == Some(ROLLBACK_ALERT));
        let raw = raw.with_context(|| format!("the rules have no {ROLLBACK_ALERT}"))?;
        let mut labels = raw.labels;
        labels.insert("alertname".to_owned(), ROLLBACK_ALERT.to_owned());
        Ok(Self {
            expr: parse(&raw.expr).map_err(anyhow::Error::msg).context(ROLLBACK_ALERT)?,
            labels,
            wait_ms: milliseconds(raw.wait),
            keep_ms: milliseconds(raw.keep_firing_for),
            active: BTreeMap::new(),
        })
    }

    /// How long its expression has to hold before it fires.
    pub fn wait(&self) -> Duration {
        Duration::from_millis(self.wait_ms.unsigned_abs())
    }

    /// Looks once.
    ///
    /// # Errors
    /// What cannot be computed.
    pub fn evaluate(&mut self, moment: &Moment<'_>) -> Result<(), String> {
        let at = moment.at;
        for sample in moment.vector(&self.expr)? {
            let mut labels = sample.labels;
            labels.extend(self.labels.clone());
            let active =
                self.active.entry(labels).or_insert(Active { since: at, fired_at: None, held_at: at });
            active.held_at = at;
            if active.fired_at.is_none() && at - active.since >= self.wait_ms {
                active.fired_at = Some(at);
            }
        }
        let keep_ms = self.keep_ms;
        self.active
            .retain(|_, one| one.held_at == at || (one.fired_at.is_some() && at - one.held_at < keep_ms));
        Ok(())
    }

    /// What fires.
    pub fn firing(&self) -> Vec<Firing> {
        let firing = |(labels, active): (&Labels, &Active)| {
            Some(Firing { labels: labels.clone(), active_at: active.since, fired_at: active.fired_at? })
        };
        self.active.iter().filter_map(firing).collect()
    }

    /// The series `ALERTS` and `ALERTS_FOR_STATE`.
    pub fn series(&self) -> Vec<Reading> {
        let readings = |(labels, active): (&Labels, &Active)| {
            let since = active.since as f64 / 1000.0;
            let for_state = ("ALERTS_FOR_STATE".to_owned(), labels.clone(), since);
            let state = if active.fired_at.is_some() { "firing" } else { "pending" };
            let mut labels = labels.clone();
            labels.insert("alertstate".to_owned(), state.to_owned());
            [("ALERTS".to_owned(), labels, 1.0), for_state]
        };
        self.active.iter().flat_map(readings).collect()
    }
}

fn milliseconds(duration: Option<HumanDuration>) -> i64 {
    duration.map_or(0, |duration| i64::try_from(duration.0.as_millis()).unwrap_or(i64::MAX))
}
