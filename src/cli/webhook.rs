//! `driftd webhook`: puts the sidecar into pods.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use tracing::info;

use super::run::{runtime, stop_signal};
use crate::inject::{Webhook, WebhookConfig};
use crate::telemetry::log::{self, LogFormat};

/// Put the sidecar into KServe's pods, as an admission webhook of Kubernetes.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  driftd webhook --config webhook.yaml

The API server calls it at https://…/mutate for every new pod that asks for a sidecar, and is always told to let the pod in. SIGTERM
lets reviews be answered, then ends with exit code 0. docs/webhook.md has the file, the annotations and how to install it.")]
pub struct WebhookArgs {
    /// Configuration file
    #[arg(long, env = "DRIFTD_CONFIG", value_name = "FILE")]
    config: PathBuf,
    /// Threads; each decides on one pod at a time, in about a millisecond
    #[arg(long, env = "DRIFTD_THREADS", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=256))]
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
/// If the configuration is wrong or a socket cannot be bound.
pub fn run(args: &WebhookArgs) -> anyhow::Result<ExitCode> {
    log::init(&args.log, args.log_format).with_context(|| format!("`--log {}`", args.log))?;
    let config = WebhookConfig::read(&args.config)?;
    runtime(args.threads)?.block_on(async {
        let webhook = Webhook::bind(config).await?;
        info!(https = %webhook.local_addr()?, admin = %webhook.admin_addr()?, "answering /mutate and /mutate/namespace");
        webhook.run(stop_signal()?).await.context("the webhook failed")?;
        Ok(ExitCode::SUCCESS)
    })
}
