//! The rules of `alerts/`, for a configuration: with its windows, thresholds and models where the shipped ones have the defaults.
//!
//! What differs is text between `@` in the files beside this one, which are otherwise the rules as Prometheus reads them, with
//! comments. PSI and KS are written once, as the same rules are needed against the baseline, between versions, and for each window.

mod absent;
mod fleet;
mod grafana;
mod thresholds;

use std::time::Duration;

use crate::config::{Config, EvaluationConfig, HumanDuration, ModelConfig};

/// What the rules are made for.
#[derive(Clone, Debug)]
pub struct Settings {
    evaluation: EvaluationConfig,
    models: Vec<ModelConfig>,
}

/// The forms that rules come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// A file of rules for Prometheus
    Prometheus,
    /// The same as an object of Prometheus's operator
    Prometheusrule,
    /// The alerts as a file of Grafana's provisioning, with the contact point of the controller
    Grafana,
}

impl Default for Settings {
    /// Those of the rules that ship: every default, and no model by name.
    fn default() -> Self {
        Self { evaluation: EvaluationConfig::default(), models: Vec::new() }
    }
}

impl From<&Config> for Settings {
    fn from(config: &Config) -> Self {
        Self { evaluation: config.evaluation.clone(), models: config.models.clone() }
    }
}

const HEAD: &str = include_str!("rules/head.yaml");
const VERDICTS: &str = include_str!("rules/verdicts.yaml");
const ITSELF: &str = include_str!("rules/itself.yaml");
const CONTROLLER: &str = include_str!("rules/controller.yaml");
const PROMETHEUSRULE: &str = include_str!("rules/prometheusrule.yaml");

impl Settings {
    /// The text of a form.
    pub fn render(&self, format: Format) -> String {
        match format {
            Format::Prometheus => self.prometheus(),
            Format::Prometheusrule => self.prometheusrule(),
            Format::Grafana => grafana::provisioning(self),
        }
    }

    fn prometheus(&self) -> String {
        format!("{HEAD}{}", self.groups())
    }

    /// The same groups, as the `spec` of an object: two spaces further in.
    fn prometheusrule(&self) -> String {
        let indented = |line: &str| if line.is_empty() { "\n".to_owned() } else { format!("  {line}\n") };
        format!("{PROMETHEUSRULE}{}", joined(self.groups().lines().map(indented)))
    }

    /// The list of groups, recording rules first.
    fn groups(&self) -> String {
        let text =
            [fleet::groups(self), VERDICTS.to_owned(), absent::group(self), ITSELF.to_owned()].concat();
        self.fill(&format!("{text}\n{CONTROLLER}"))
    }

    /// The shortest window, as Prometheus writes it.
    fn window(&self) -> &str {
        &self.evaluation.windows[0].label
    }

    fn fill(&self, template: &str) -> String {
        let psi = self.evaluation.thresholds.psi;
        [
            ("@psi@", thresholds::above(self, "", "psi", None)),
            ("@ks@", thresholds::above(self, "", "ks", None)),
            ("@versions_psi@", thresholds::above(self, "versions_", "psi", Some("prediction"))),
            ("@versions_ks@", thresholds::above(self, "versions_", "ks", Some("prediction"))),
            ("@psi_half@", (psi / 2.0).to_string()),
            ("@few_features@", thresholds::too_few_features(self)),
            ("@stuck@", HumanDuration(self.stuck_after()).to_string()),
            ("@interval@", HumanDuration(self.evaluation.interval).to_string()),
            ("@min_samples@", self.evaluation.thresholds.min_samples.to_string()),
            ("@window@", self.window().to_owned()),
        ]
        .iter()
        .fold(template.to_owned(), |text, (name, value)| text.replace(name, value))
    }

    /// Ten intervals, in whole minutes, five at least: a range has to hold several ticks before their absence says something.
    fn stuck_after(&self) -> Duration {
        let minutes = (self.evaluation.interval * 10).as_secs().div_ceil(60);
        Duration::from_mins(minutes.max(5))
    }
}

/// One text of all.
fn joined(parts: impl Iterator<Item = String>) -> String {
    parts.collect()
}

/// A text in quotes, as PromQL and YAML read it: both read what JSON does.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A selector of a configured model's series; empty if nothing is known of it but what its baseline says.
fn selector(model: &ModelConfig, more: &[(&str, &str)]) -> String {
    let own = [
        ("namespace", model.namespace.as_deref()),
        ("inferenceservice", model.inferenceservice.as_deref()),
        ("model", model.name.as_deref()),
    ];
    let own = own.into_iter().filter_map(|(label, value)| Some((label, value?)));
    let pairs: Vec<_> =
        own.chain(more.iter().copied()).map(|(label, value)| format!("{label}={}", quoted(value))).collect();
    if pairs.is_empty() { String::new() } else { format!("{{{}}}", pairs.join(",")) }
}

#[cfg(test)]
mod tests;
