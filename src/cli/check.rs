//! `driftd check`: a gate for tables, in the format of whoever asks.

mod html;
mod junit;
mod text;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, ValueEnum};

use super::{exit, print, progress_bar, read_baseline};
use crate::check::convention::Convention;
use crate::check::{CheckOptions, check};
use crate::config::RawSensitivity;
use crate::drift::verdict::Thresholds;
use crate::table::InputFormat;

/// Check tables against a baseline: a gate for a pipeline.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  driftd check --baseline credit.json batch.parquet
  driftd check --baseline credit.json 'day-*.csv' --ignore row_id --format html --out report.html
  driftd check --baseline mlflow:models:/credit/3 's3://batches/2026-05-*.parquet'
  zcat batch.csv.gz | driftd check --baseline credit.json - --format junit --out drift.xml

Exit codes: 0 ok or warning, 1 drift or a broken schema, 2 wrong arguments or data, 3 too few rows to tell,
69 a storage or tracking server failed.")]
pub struct CheckArgs {
    /// CSV, Parquet or JSON Lines: files, URIs (s3:, gs:, az:, https:, mlflow:), patterns in quotes, or `-` for standard input
    #[arg(required = true, value_name = "DATA")]
    data: Vec<String>,
    /// The baseline, or the model that it lies beside: a file or a URI
    #[arg(long, value_name = "FILE")]
    baseline: PathBuf,
    /// What to write
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Where to write it [default: standard output]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// What is told
    #[arg(long, value_enum, default_value_t)]
    sensitivity: RawSensitivity,
    /// Give another tool's numbers beside ours; the verdict stays ours
    #[arg(long, value_enum, value_name = "TOOL")]
    convention: Option<Convention>,
    /// Rows without which nothing is said, unless they differ already
    #[arg(long, default_value_t = Thresholds::default().min_samples, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    min_samples: u64,
    /// A column to leave out; may be given several times
    #[arg(long, value_name = "COLUMN")]
    ignore: Vec<String>,
    /// What the data hold [default: by the names of files; CSV on standard input]
    #[arg(long, value_enum, value_name = "FORMAT")]
    input_format: Option<InputFormat>,
    /// Threads [default: one a core]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
}

/// What to write.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Format {
    /// For people at a terminal
    #[default]
    Table,
    /// Everything, counts too
    Json,
    /// For a comment on a change
    Markdown,
    /// One self-contained page, with a plot a column
    Html,
    /// A test case a column
    Junit,
}

/// Checks.
///
/// # Errors
/// What is wrong with the baseline or the data.
pub fn run(args: CheckArgs) -> anyhow::Result<ExitCode> {
    let baseline = read_baseline(&args.baseline)?;
    let options = CheckOptions {
        input_format: args.input_format,
        ignore: args.ignore,
        sensitivity: args.sensitivity.into(),
        min_samples: args.min_samples,
        convention: args.convention,
        n_threads: args.threads.map(usize::from),
    };
    let bar = progress_bar();
    let report = check(&baseline, &args.data, &options, &|n_done, n_bytes| {
        bar.set_length(n_bytes);
        bar.set_position(n_done);
    })?;
    bar.finish_and_clear();
    let written = match args.format {
        Format::Table => text::table(&report, &baseline),
        Format::Json => serde_json::to_string_pretty(&report).context("writing the report")?,
        Format::Markdown => text::markdown(&report),
        Format::Html => html::page(&report, &baseline),
        Format::Junit => junit::suite(&report),
    };
    match &args.out {
        Some(out) => {
            std::fs::write(out, written + "\n").with_context(|| format!("cannot write {}", out.display()))?;
            eprintln!("{}; wrote {}", text::headline(&report), out.display());
        }
        None => print(&written),
    }
    Ok(if report.is_alarm() {
        ExitCode::from(exit::REFUSED)
    } else if report.is_undecided() {
        ExitCode::from(exit::UNDECIDED)
    } else {
        ExitCode::SUCCESS
    })
}

/// `write!` to a text, which cannot fail.
fn push(text: &mut String, more: std::fmt::Arguments<'_>) {
    use std::fmt::Write;
    text.write_fmt(more).expect("writing to a String cannot fail");
}

/// Text as it may stand in HTML and XML, between tags and in quotes.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            // What XML has no place for, not even escaped.
            control if control.is_control() && !"\n\t".contains(control) => escaped.push('\u{fffd}'),
            other => escaped.push(other),
        }
    }
    escaped
}
