//! `driftd rules`: rules for Prometheus or Grafana.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;

use crate::config::Config;
use crate::rules::{Format, Settings};

/// Print alerting and recording rules for a configuration
#[derive(Debug, Args)]
#[command(after_help = "Example:
  driftd rules --config driftd.yaml --out driftd.rules.yaml && promtool check rules driftd.rules.yaml

Windows, thresholds (also of single features), evaluation.min_samples, evaluation.reference, evaluation.min_features and
evaluation.interval are those of the file, and a model that it names is missed when nobody watches it. Without a file the rules are
those that ship in alerts/.")]
pub struct RulesArgs {
    /// Configuration file of `driftd run`; without it the defaults
    #[arg(long, env = "DRIFTD_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// For whom
    #[arg(long, default_value = "prometheus")]
    format: Format,
    /// Where to; without it to standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Prints or writes them.
///
/// # Errors
/// If the configuration is wrong, or the file cannot be written.
pub fn run(args: &RulesArgs) -> anyhow::Result<ExitCode> {
    let settings = match &args.config {
        Some(path) => Settings::from(&Config::read(path)?),
        None => Settings::default(),
    };
    let text = settings.render(args.format);
    match &args.out {
        Some(path) => std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))?,
        None => super::print(text.trim_end()),
    }
    Ok(ExitCode::SUCCESS)
}
