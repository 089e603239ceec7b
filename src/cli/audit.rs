//! `driftd audit`: what was done, when, by whom and why.

mod git;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;
use url::Url;

use super::draw::table;
use super::operator::{AccessArgs, CONTROLLER, Controller};
use super::{exit, print};
use crate::gitops::audit::{COLUMNS, Listed, Summary, Times, Whole, explain, printable, row, timeline};
use crate::gitops::http::HttpError;
use crate::gitops::incident::Incident;
use crate::gitops::journal::{self, JournalError, Verified};
use crate::gitops::target::ServiceName;

/// Read what the controller did: from a running one, from its journal, or from Git alone.
#[derive(Debug, Args)]
pub struct AuditArgs {
    #[command(subcommand)]
    command: AuditCommand,
}

#[derive(Debug, Subcommand)]
enum AuditCommand {
    List(ListArgs),
    /// Show what was done about one incident, and when
    #[command(after_help = "Example:
  driftd audit show 7 --state-dir /var/lib/driftd
  driftd audit show rb-4f0c2d9a1b7e6633 --controller http://localhost:9465 --token-file me.token

`driftd audit explain` says why as well.")]
    Show(OneArgs),
    /// Explain one incident: what was known at the time, what Prometheus said and each gate's answer
    #[command(after_help = "Example:
  driftd audit explain 7 --state-dir /var/lib/driftd
  driftd audit explain rb-4f0c2d9a1b7e6633 --controller http://localhost:9465 --token-file me.token

Every figure is the journal's as it was written then; nothing is asked of anybody now.")]
    Explain(OneArgs),
    Verify(VerifyArgs),
    Rebuild(git::RebuildArgs),
}

/// Where the journal is.
#[derive(Debug, Args)]
struct JournalArgs {
    #[command(flatten)]
    place: PlaceArgs,
    /// Ask whichever replica answers, a standby too; each has a journal of its own
    #[arg(long, requires = "controller")]
    this_replica: bool,
    #[command(flatten)]
    access: AccessArgs,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
struct PlaceArgs {
    /// The controller's `state_dir`; it may run meanwhile
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// The controller's address; the active replica answers
    #[arg(long, env = CONTROLLER, value_name = "URL")]
    controller: Option<Url>,
}

/// How it is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people at a terminal
    #[default]
    Table,
    /// Everything
    Json,
}

/// List incidents, newest first.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  driftd audit list --state-dir /var/lib/driftd
  driftd audit list --service prod/credit --controller http://localhost:9465 --token-file me.token
  driftd audit list --summary --format json --state-dir /var/lib/driftd

Times count from the start of the first alert, as Prometheus tells it.")]
struct ListArgs {
    /// Of this service alone
    #[arg(long, value_name = "NAMESPACE/NAME")]
    service: Option<ServiceName>,
    /// How many ended how, and percentiles of how long they took
    #[arg(long)]
    summary: bool,
    /// What to write
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    journal: JournalArgs,
}

#[derive(Debug, Args)]
struct OneArgs {
    /// Its number, its action, or the id in a commit's trailers
    #[arg(value_name = "ID")]
    id: String,
    /// What to write
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    journal: JournalArgs,
}

/// Check that nothing was changed or taken out of the journal.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  driftd audit verify --state-dir /var/lib/driftd
  driftd audit verify --controller http://localhost:9465 --token-file me.token

Prints how many events there are and the hash of the last. Keep it somewhere else: a journal that was cut off at the end is whole in itself, but
has another. Exit codes: 0 the chain holds, 1 it does not.")]
struct VerifyArgs {
    #[command(flatten)]
    journal: JournalArgs,
}

/// Reads.
///
/// # Errors
/// If there is no journal, no such incident, or somebody does not answer.
pub fn run(args: AuditArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        AuditCommand::List(args) => list(&args),
        AuditCommand::Show(args) => one(&args, shown),
        AuditCommand::Explain(args) => one(&args, |whole| explain(&whole.incident, &whole.events)),
        AuditCommand::Verify(args) => verify(&args),
        AuditCommand::Rebuild(args) => git::run(&args),
    }
}

/// Incidents that are asked for in one request.
const PAGE: usize = 100;

/// A journal, here or there.
enum Source {
    Here(rusqlite::Connection),
    There(Controller, &'static [(&'static str, &'static str)]),
}

impl JournalArgs {
    fn open(&self) -> anyhow::Result<Source> {
        match (&self.place.state_dir, &self.place.controller) {
            (Some(_), Some(url)) if !is_of_environment(url) => {
                anyhow::bail!("`--state-dir` and `--controller` are two journals; give one of them")
            }
            (Some(folder), _) => Ok(Source::Here(journal::read_only(folder)?)),
            (None, Some(url)) => {
                let query: &[_] = if self.this_replica { &[("here", "true")] } else { &[] };
                Ok(Source::There(Controller::new(url, &self.access)?, query))
            }
            (None, None) => anyhow::bail!("give `--state-dir` or `--controller`"),
        }
    }
}

/// What was given as a flag counts for more than what is set for all commands.
fn is_of_environment(controller: &Url) -> bool {
    std::env::var(CONTROLLER).ok().and_then(|url| url.parse::<Url>().ok()).as_ref() == Some(controller)
}

impl Source {
    fn incidents(&self, service: Option<&ServiceName>) -> anyhow::Result<Vec<Incident>> {
        match self {
            Self::Here(connection) => Ok(journal::read::incidents(connection, service)?),
            Self::There(controller, query) => every_page(controller, query, service),
        }
    }

    fn one(&self, id: &str) -> anyhow::Result<Whole> {
        match self {
            Self::Here(connection) => {
                let found = journal::read::incident(connection, id)?;
                let Some(incident) = found else {
                    anyhow::bail!("there is no incident `{id}` in this journal")
                };
                let events = journal::read::events(connection, incident.id)?;
                Ok(Whole { incident, events })
            }
            Self::There(controller, query) => controller.get(&["incidents", id], query),
        }
    }
}

/// All incidents, in as many requests as it takes.
fn every_page(
    controller: &Controller,
    query: &[(&str, &str)],
    service: Option<&ServiceName>,
) -> anyhow::Result<Vec<Incident>> {
    let (service, limit) = (service.map(ToString::to_string), PAGE.to_string());
    let mut incidents: Vec<Incident> = Vec::new();
    loop {
        let before = incidents.last().map(|last| last.id.to_string());
        let mut query = [query, &[("limit", &*limit)]].concat();
        query.extend(service.as_deref().map(|service| ("service", service)));
        query.extend(before.as_deref().map(|before| ("before", before)));
        let page: Vec<Incident> = controller.get(&["incidents"], &query)?;
        let is_last = page.len() < PAGE;
        incidents.extend(page);
        if is_last {
            return Ok(incidents);
        }
    }
}

fn list(args: &ListArgs) -> anyhow::Result<ExitCode> {
    let incidents = args.journal.open()?.incidents(args.service.as_ref())?;
    match (args.summary, args.format) {
        (true, Format::Json) => print(&json!(Summary::of(&incidents)).to_string()),
        (true, Format::Table) => print(&summary(&Summary::of(&incidents))),
        (false, Format::Json) => {
            let listed: Vec<Listed<'_>> = incidents.iter().map(Listed::new).collect();
            print(&json!(listed).to_string());
        }
        (false, Format::Table) if incidents.is_empty() => print("no incidents"),
        (false, Format::Table) => {
            let mut table = table(COLUMNS);
            table.add_rows(incidents.iter().map(row));
            print(&table.trim_fmt());
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn summary(summary: &Summary) -> String {
    let states = summary.states.iter().map(|(state, n)| format!(", {n} {state}"));
    let mut table = table(["", "n", "mean", "half within", "95 % within", "longest"]);
    table.add_rows(summary.rows());
    format!("{} incidents{}\n{}", summary.n_incidents, states.collect::<String>(), table.trim_fmt())
}

fn one(args: &OneArgs, text: fn(&Whole) -> String) -> anyhow::Result<ExitCode> {
    let whole = args.journal.open()?.one(&args.id)?;
    match args.format {
        Format::Table => print(printable(&text(&whole)).trim_end()),
        Format::Json => {
            let times = Times::of(&whole.incident);
            print(&json!({ "incident": whole.incident, "times": times, "events": whole.events }).to_string());
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn shown(whole: &Whole) -> String {
    let mut table = table(COLUMNS);
    table.add_row(row(&whole.incident));
    let commits = [&whole.incident.commit, &whole.incident.cleanup].into_iter().flatten();
    let commits =
        commits.map(|commit| format!("\n{} {}\n{}", commit.commit, commit.id, commit.diff.trim_end()));
    format!("{}\n{}\n\n{}", table.trim_fmt(), commits.collect::<String>(), timeline(&whole.events).join("\n"))
}

fn verify(args: &VerifyArgs) -> anyhow::Result<ExitCode> {
    let broken = match args.journal.open()? {
        Source::Here(connection) => match journal::read::verify(&connection) {
            Err(error @ JournalError::Broken { .. }) => Err(error.to_string()),
            verified => Ok(verified?),
        },
        Source::There(controller, query) => match controller.get::<Verified>(&["verify"], query) {
            Err(error) => match error.downcast_ref::<HttpError>() {
                Some(HttpError::Status { status, message, .. }) if status.as_u16() == 500 => {
                    Err(message.clone())
                }
                _ => return Err(error),
            },
            verified => Ok(verified?),
        },
    };
    match broken {
        Ok(Verified { n_events, head }) => {
            print(&format!("{n_events} events, the last {head}"));
            Ok(ExitCode::SUCCESS)
        }
        Err(what) => {
            eprintln!("driftd: {what}");
            Ok(ExitCode::from(exit::REFUSED))
        }
    }
}
