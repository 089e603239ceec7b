//! The `driftd` program: arguments in, exit code out.

use std::process::ExitCode;

use clap::Parser;
use driftd::cli::{Cli, exit_code};

fn main() -> ExitCode {
    // clap itself ends with exit code 2 on wrong usage.
    Cli::parse().run().unwrap_or_else(|error| {
        eprintln!("driftd: {error:#}");
        ExitCode::from(exit_code(&error))
    })
}
