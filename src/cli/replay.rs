//! `driftd replay`: what the daemon would have said of recorded rows, and when.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::{progress_bar, read_baseline};
use crate::config::{Budget, HumanDuration, RawReference, RawSensitivity};
use crate::replay::{ReplayOptions, Summary, VerdictChange, replay};
use crate::table::InputFormat;

/// Judge recorded rows as the daemon would have judged them, one after another.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  driftd replay --baseline credit.json may.parquet
  driftd replay --baseline s3://models/credit/v3 s3://rows/may.parquet
  kubectl logs model | jq -c .features | driftd replay --baseline credit.json --rows-per-second 20
  driftd replay --baseline credit.json --tick-rows 10 --false-alarms '1 per 1M rows' --sensitivity evidence rows.jsonl

Prints a line of JSON whenever the verdict is not the one before, with `row`, the 0-based index of the last row seen. A summary
goes to standard error: false alarms a day that the budget allows, and how many rows it takes to see a mean move.")]
pub struct ReplayArgs {
    /// JSON Lines on standard input (`-`), or CSV, Parquet or JSON Lines: files, URIs (s3:, gs:, az:, https:, mlflow:), patterns
    /// in quotes
    #[arg(default_value = "-", value_name = "DATA")]
    data: Vec<String>,
    /// The baseline, or the model that it lies beside: a file or a URI
    #[arg(long, value_name = "FILE")]
    baseline: PathBuf,
    /// What is told
    #[arg(long, value_enum, default_value_t)]
    sensitivity: RawSensitivity,
    /// What drift is measured from; the contract is the baseline's in any case
    #[arg(long, value_enum, default_value_t)]
    reference: RawReference,
    /// How far back a change may have begun; how long a stretch is compared with the past, where that is the reference
    #[arg(long, default_value = "24h", value_name = "DURATION")]
    window: HumanDuration,
    /// Rows of a second: how rows map to time
    #[arg(long, default_value_t = 100.0, value_name = "R", value_parser = positive)]
    rows_per_second: f64,
    /// Look every N rows [default: every 10 seconds]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    tick_rows: Option<u64>,
    /// Budget of false alarms, like `1 per 30d` or `1 per 1M rows` [default: 1 per 30d; with --tick-rows, 1 per 200,000 looks]
    #[arg(long, value_name = "BUDGET")]
    false_alarms: Option<Budget>,
    /// A column to leave out; may be given several times
    #[arg(long, value_name = "COLUMN")]
    ignore: Vec<String>,
    /// What the data hold [default: by the names of files; JSON Lines on standard input]
    #[arg(long, value_enum, value_name = "FORMAT")]
    input_format: Option<InputFormat>,
}

fn positive(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|error| format!("{error}"))?;
    if number.is_finite() && number > 0.0 { Ok(number) } else { Err("must be above 0".to_owned()) }
}

/// Replays.
///
/// # Errors
/// What is wrong with the baseline or the data.
pub fn run(args: ReplayArgs) -> anyhow::Result<ExitCode> {
    let baseline = read_baseline(&args.baseline)?;
    let options = ReplayOptions {
        input_format: args.input_format,
        ignore: args.ignore,
        rows_per_second: args.rows_per_second,
        tick_rows: args.tick_rows,
        false_alarms: args.false_alarms,
        sensitivity: args.sensitivity.into(),
        against: args.reference.into(),
        window: args.window.0,
    };
    let bar = progress_bar();
    let mut written = Ok(());
    let mut tell = |change: &VerdictChange| {
        // A reader that has seen enough (`| head`) is no error.
        if written.is_ok() {
            written = write_line(change);
        }
    };
    let summary = replay(
        &baseline,
        &args.data,
        &options,
        &|n_done, n_bytes| {
            bar.set_length(n_bytes);
            bar.set_position(n_done);
        },
        &mut tell,
    )?;
    bar.finish_and_clear();
    eprint!("{}", in_words(&summary, args.rows_per_second));
    Ok(ExitCode::SUCCESS)
}

fn write_line(change: &VerdictChange) -> io::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, change)?;
    writeln!(out)?;
    out.flush()
}

fn in_words(summary: &Summary, rows_per_second: f64) -> String {
    use std::fmt::Write;
    let Summary { n_rows, n_looks, n_changes, alarms_per_day, rows_to_detect } = summary;
    let mut text = format!(
        "{n_rows} rows in {n_looks} looks, {n_changes} changes of the verdict.\n\
         At {rows_per_second} rows a second the budget allows {alarms_per_day:.3} false alarms a day, or one in {:.0} rows.\n\
         Rows until a numeric feature's mean is seen to have moved, if rows are independent (half of the time sooner):\n",
        rows_per_second * 86_400.0 / alarms_per_day
    );
    for (shift, rows) in rows_to_detect {
        let seen = match rows {
            Some(rows) => format!("{rows:.0} rows, {:.0} s", rows / rows_per_second),
            None => "never, against so few rows in the baseline".to_owned(),
        };
        writeln!(text, "  {shift:>4} sd  {seen}").expect("writing to a String cannot fail");
    }
    text
}
