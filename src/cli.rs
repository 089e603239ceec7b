//! Arguments, one file a subcommand: parse, call the library, print.

pub mod audit;
pub mod baseline;
pub mod check;
pub mod controller;
pub mod demo;
mod draw;
pub mod operate;
mod operator;
pub mod replay;
pub mod rules;
pub mod run;
pub mod webhook;

use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::baseline::{Baseline, BaselineError};
use crate::storage::{self, StorageError};

/// What the exit code says; `0` and `1` are answers, the rest are failures.
pub mod exit {
    /// A gate that does not open.
    pub const REFUSED: u8 = 1;
    /// Bad arguments or input.
    pub const USAGE: u8 = 2;
    /// Too little data to answer.
    pub const UNDECIDED: u8 = 3;
    /// A service that we need failed.
    pub const UNAVAILABLE: u8 = 69;
    /// A bug.
    pub const BUG: u8 = 70;
}

/// Watches machine-learning models in production: taps inference traffic, finds drift.
#[derive(Debug, Parser)]
#[command(name = "driftd", version, max_term_width = 110)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(Box<run::RunArgs>),
    Baseline(baseline::BaselineArgs),
    Check(check::CheckArgs),
    Replay(replay::ReplayArgs),
    Rules(rules::RulesArgs),
    Demo(demo::DemoArgs),
    Webhook(webhook::WebhookArgs),
    Controller(controller::ControllerArgs),
    Audit(audit::AuditArgs),
    Rollback(operate::RollbackArgs),
    Approve(operate::ApproveArgs),
    Pause(operate::PauseArgs),
    Resume(operate::ResumeArgs),
}

impl Cli {
    /// Runs the subcommand.
    ///
    /// # Errors
    /// What went wrong, for `main` to print; its exit code is [`exit_code`]'s.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        storage::install_tls();
        match self.command {
            Command::Run(args) => run::run(*args),
            Command::Baseline(args) => baseline::run(args),
            Command::Check(args) => check::run(args),
            Command::Replay(args) => replay::run(args),
            Command::Rules(args) => rules::run(&args),
            Command::Demo(args) => demo::run(args),
            Command::Webhook(args) => webhook::run(&args),
            Command::Controller(args) => controller::run(&args),
            Command::Audit(args) => audit::run(args),
            Command::Rollback(args) => operate::roll_back(&args),
            Command::Approve(args) => operate::approve(&args),
            Command::Pause(args) => operate::pause(&args),
            Command::Resume(args) => operate::resume(&args),
        }
    }
}

/// The exit code of an error: our own bugs are told from bad input and from services that failed.
pub fn exit_code(error: &anyhow::Error) -> u8 {
    let storage = error.chain().find_map(|cause| cause.downcast_ref::<StorageError>());
    if storage.is_some_and(StorageError::is_unavailable) {
        return exit::UNAVAILABLE;
    }
    match error.downcast_ref::<crate::inject::server::WebhookError>() {
        Some(crate::inject::server::WebhookError::Metrics(_)) => return exit::BUG,
        Some(crate::inject::server::WebhookError::Bind { .. }) => return exit::USAGE,
        None => (),
    }
    let http = error.chain().find_map(|cause| cause.downcast_ref::<crate::gitops::http::HttpError>());
    if http.is_some_and(crate::gitops::http::HttpError::may_pass)
        || error.downcast_ref::<crate::gitops::git::GitError>().is_some()
    {
        return exit::UNAVAILABLE;
    }
    if let Some(crate::gitops::controller::ControllerError::Metrics(_)) = error.downcast_ref() {
        return exit::BUG;
    }
    match error.downcast_ref::<crate::app::AppError>() {
        Some(crate::app::AppError::Metrics(_)) => exit::BUG,
        Some(crate::app::AppError::Thread(_)) => exit::UNAVAILABLE,
        Some(crate::app::AppError::Bind { .. }) | None => exit::USAGE,
    }
}

/// On a terminal only: a log has no use for it.
fn progress_bar() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {percent:>3} %  {binary_bytes_per_sec}  {eta} left")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr()).with_style(style);
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// The baseline at a path or a URI.
fn read_baseline(path: &Path) -> anyhow::Result<Baseline> {
    Baseline::read(path).map_err(|error| match error {
        // It says where.
        BaselineError::Storage(error) => error.into(),
        error => anyhow::Error::from(error).context(shown(path)),
    })
}

/// A path or a URI as it may be shown: without credentials.
fn shown(path: &Path) -> String {
    storage::without_credentials(&path.to_string_lossy())
}

/// A reader that has seen enough (`| head`) is no error.
fn print(text: &str) {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    drop(writeln!(out, "{text}"));
}
