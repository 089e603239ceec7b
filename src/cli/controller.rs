//! `driftd controller`: puts the last good version back.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use tracing::info;

use super::run::{runtime, stop_signal};
use crate::gitops::config::ControllerConfig;
use crate::gitops::controller::Controller;
use crate::telemetry::log::{self, LogFormat};

/// Put the last good model version back by one Git commit when an alert fires, and see whether it helped.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  driftd controller --config controller.yaml

Alertmanager or Grafana delivers to /api/v1/alerts. Every step is in the journal before it is done, so it can be stopped and killed at any
time, and goes on where it was. docs/controller.md has the file, the states and what is never done.")]
pub struct ControllerArgs {
    /// Configuration file
    #[arg(long, env = "DRIFTD_CONFIG", value_name = "FILE")]
    config: PathBuf,
    /// Threads
    #[arg(long, env = "DRIFTD_THREADS", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    threads: u16,
    /// Which log lines to write, like `info` or `driftd=debug`
    #[arg(long, env = "DRIFTD_LOG", default_value = "info")]
    log: String,
    /// How log lines look
    #[arg(long, env = "DRIFTD_LOG_FORMAT", default_value = "text")]
    log_format: LogFormat,
}

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// If the configuration is wrong, or something of this machine cannot be used.
pub fn run(args: &ControllerArgs) -> anyhow::Result<ExitCode> {
    log::init(&args.log, args.log_format).with_context(|| format!("`--log {}`", args.log))?;
    let config = ControllerConfig::read(&args.config)?;
    runtime(args.threads)?.block_on(async {
        let controller = Controller::bind(config).await?;
        info!(listen = %controller.local_addr()?, "taking in alerts");
        controller.run(stop_signal()?).await.context("the controller failed")?;
        Ok(ExitCode::SUCCESS)
    })
}
