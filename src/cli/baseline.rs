//! `driftd baseline`: make baselines, look at them, add them up, compare them.

mod show;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Subcommand};

use super::{draw, print, progress_bar, read_baseline, shown};
use crate::baseline::Baseline;
use crate::baseline::build::{self, BuildOptions};
use crate::drift::evidence::{Evidence, Level};
use crate::drift::verdict::{FeatureVerdict, Thresholds};
use crate::table::InputFormat;

/// Make and inspect baselines: what a model's features and predictions looked like in training.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  driftd baseline build training.parquet --prediction default_risk --model credit --version 3 --out credit.json
  driftd baseline show credit.json")]
pub struct BaselineArgs {
    #[command(subcommand)]
    command: BaselineCommand,
}

#[derive(Debug, Subcommand)]
enum BaselineCommand {
    Build(Box<BuildArgs>),
    Show(ShowArgs),
    Merge(MergeArgs),
    Diff(DiffArgs),
}

/// Build a baseline from the table that a model was trained on.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  driftd baseline build 'train-*.parquet' --prediction default_risk --categorical zip --ignore row_id --out credit.json
  driftd baseline build 's3://training/credit/*.parquet' --prediction default_risk --out credit.json
  zcat train.csv.gz | driftd baseline build - --out credit.json

Features keep the order of the table's columns: it is how values without names are matched to them. The file holds counts
and cut points, and the names of categories (--hash-categories hides them), but no row. The same input gives the same bytes. Of what is on the
network it holds the URI, without credentials, and the SHA-256 of what was read.")]
pub struct BuildArgs {
    /// CSV, Parquet or JSON Lines: files, URIs (s3:, gs:, az:, https:, mlflow:), patterns in quotes, or `-` for standard input
    #[arg(required = true, value_name = "DATA")]
    data: Vec<String>,
    /// The file to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// A column that the model predicts; may be given several times
    #[arg(long, value_name = "COLUMN")]
    prediction: Vec<String>,
    /// A column of known categories, though it may look like numbers or text
    #[arg(long, value_name = "COLUMN")]
    categorical: Vec<String>,
    /// A column of numbers, though it may look like something else
    #[arg(long, value_name = "COLUMN")]
    numeric: Vec<String>,
    /// A column of free text: only the length of its values is kept
    #[arg(long, value_name = "COLUMN")]
    text: Vec<String>,
    /// A column to leave out
    #[arg(long, value_name = "COLUMN")]
    ignore: Vec<String>,
    /// The model's name
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// The model's version
    #[arg(long, value_name = "VERSION")]
    version: Option<String>,
    /// What the files hold [default: by their names; CSV on standard input]
    #[arg(long, value_enum, value_name = "FORMAT")]
    input_format: Option<InputFormat>,
    /// Use the bins of this baseline, so that both can be compared and added up
    #[arg(long, value_name = "FILE")]
    edges_from: Option<PathBuf>,
    /// Fine bins of a numeric column, at most
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u16).range(5..=1024))]
    bins: u16,
    /// Groups of fine bins that PSI is taken over, at most
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(2..=100))]
    groups: u16,
    /// Categories of a column, at most; rarer ones are counted as `other`
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1000))]
    max_categories: u16,
    /// Keep hashes of category names instead of the names
    #[arg(long)]
    hash_categories: bool,
    /// When the baseline was made, as it is to stand in the file [default: not at all; `SOURCE_DATE_EPOCH` is taken]
    #[arg(long, value_name = "TIME")]
    created_at: Option<String>,
    /// Threads [default: one a core]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
}

/// Print what a baseline says.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  driftd baseline show credit.json
  driftd baseline show mlflow:models:/credit@champion")]
pub struct ShowArgs {
    /// The baseline, or the model that it lies beside: a file or a URI
    file: PathBuf,
}

/// Add up baselines of parts of one table.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  driftd baseline build part-1.csv --out 1.json
  driftd baseline build part-2.csv --edges-from 1.json --out 2.json
  driftd baseline merge 1.json 2.json --out whole.json

The sums are exact, as all parts count over the same bins; bins of other parts are an error.")]
pub struct MergeArgs {
    /// The baselines
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The file to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Compare two baselines over the same bins, as traffic would be compared with the first.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  driftd baseline build may.parquet --edges-from april.json --out may.json
  driftd baseline diff april.json may.json")]
pub struct DiffArgs {
    /// The baseline to compare with
    a: PathBuf,
    /// The other
    b: PathBuf,
}

/// Runs a subcommand.
///
/// # Errors
/// What is wrong with the arguments or the data.
pub fn run(args: BaselineArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        BaselineCommand::Build(args) => build_baseline(*args)?,
        BaselineCommand::Show(ShowArgs { file }) => print(&show::description(&read_baseline(&file)?, &[])),
        BaselineCommand::Merge(MergeArgs { files, out }) => {
            let mut parts = files.iter().map(|file| read_baseline(file));
            let first = parts.next().context("no file to merge")??;
            let merged = parts.zip(&files[1..]).try_fold(first, |sum, (part, path)| {
                sum.merge(&part?).with_context(|| format!("merging {}", shown(path)))
            })?;
            merged.write(&out)?;
            print(&format!("{}: {} rows of {} files", out.display(), merged.rows(), files.len()));
        }
        BaselineCommand::Diff(DiffArgs { a, b }) => print(&diff(&read_baseline(&a)?, &read_baseline(&b)?)),
    }
    Ok(ExitCode::SUCCESS)
}

fn build_baseline(args: BuildArgs) -> anyhow::Result<()> {
    let created_at = args.created_at.or_else(source_date_epoch);
    let options = BuildOptions {
        model: args.model,
        version: args.version,
        predictions: args.prediction,
        categorical: args.categorical,
        numeric: args.numeric,
        text: args.text,
        ignore: args.ignore,
        max_bins: args.bins.into(),
        max_groups: args.groups.into(),
        max_categories: args.max_categories.into(),
        hash_categories: args.hash_categories,
        edges_from: args.edges_from,
        input_format: args.input_format,
        created_at,
        n_threads: args.threads.map(usize::from),
    };
    let bar = progress_bar();
    let built = build::build_with_progress(&args.data, &options, &|n_done, n_bytes| {
        bar.set_length(n_bytes);
        bar.set_position(n_done);
    })?;
    bar.finish_and_clear();
    built.baseline.write(&args.out)?;
    print(&show::description(&built.baseline, &built.decisions));
    if options.predictions.is_empty() {
        print("No --prediction was named: all columns are features, and predictions will not be watched.");
    }
    let kib = built.baseline.to_json().len().div_ceil(1024);
    print(&format!("Wrote {} ({kib} KiB).", args.out.display()));
    Ok(())
}

/// The time that reproducible builds agree on, see reproducible-builds.org.
fn source_date_epoch() -> Option<String> {
    let seconds = std::env::var("SOURCE_DATE_EPOCH").ok()?.parse().ok()?;
    let time = std::time::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))?;
    Some(humantime::format_rfc3339_seconds(time).to_string())
}

/// Every feature that both have, scored.
fn diff(a: &Baseline, b: &Baseline) -> String {
    let thresholds = Thresholds::default();
    let level = Level::shared_by(a.features().len(), 1);
    let mut table = draw::table(["", "role", "rows", "PSI", "expected", "KS", ""]);
    for ours in a.features() {
        let Some(theirs) = b.find(ours.role, &ours.name) else {
            table.add_row([&ours.name, ours.role.as_str(), "", "", "", "", "not in the second"]);
            continue;
        };
        if ours.edges_id() != theirs.edges_id() {
            let why = "other bins; build one with --edges-from the other";
            table.add_row([&ours.name, ours.role.as_str(), "", "", "", "", why]);
            continue;
        }
        let Ok(scores) = ours.reference().score(theirs.counts()) else {
            table.add_row([&ours.name, ours.role.as_str(), "0", "", "", "", "no rows"]);
            continue;
        };
        let evidence = Evidence::of(&scores, level);
        let verdict = FeatureVerdict::judge(&scores, evidence, &thresholds, FeatureVerdict::Ok);
        table.add_row([
            ours.name.clone(),
            ours.role.as_str().to_owned(),
            theirs.counts().total().to_string(),
            format!("{:.4}", scores.psi.0),
            format!("{:.4}", scores.psi_null),
            scores.ks.map_or_else(String::new, |ks| format!("{:.4}", ks.0)),
            if verdict == FeatureVerdict::Drift { "differs".to_owned() } else { String::new() },
        ]);
    }
    for theirs in b.features().iter().filter(|theirs| a.find(theirs.role, &theirs.name).is_none()) {
        table.add_row([&theirs.name, theirs.role.as_str(), "", "", "", "", "not in the first"]);
    }
    format!(
        "{table}\nPSI in nats, over groups; expected is what it would be without any difference. `differs`: PSI is {} or more above\n\
         that, or KS at least {}, and it is more than noise on so many rows.",
        thresholds.psi, thresholds.ks
    )
}
