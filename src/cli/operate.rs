//! `driftd rollback`, `approve`, `pause` and `resume`: what people tell a controller.

use std::process::ExitCode;
use std::time::Duration;

use chrono::Utc;
use clap::Args;
use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::exit;
use super::operator::{Controller, ControllerArgs};
use super::print;
use crate::config::HumanDuration;
use crate::gitops::audit::{Whole, explain, printable};
use crate::gitops::incident::{Incident, State};
use crate::gitops::pause::{Pause, Scope};
use crate::gitops::target::ServiceName;

/// How often a rollback that is waited for is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Ask the controller to put an earlier version of a model back.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  driftd rollback prod/credit --dry-run --reason 'is 16 still there?' --controller http://localhost:9465 --token-file me.token
  driftd rollback prod/credit --reason 'support reports wrong limits'

It is the same rollback as after an alert: one commit, and then the proof that it helped. Of the gates, only a pause holds a person back.
Waits for the end and says what was done and why. Exit codes: 0 recovered (or told, with --dry-run), 1 not done or not recovered,
3 a person has to approve or merge, 2 wrong arguments or no such service, 69 the controller does not answer.")]
pub struct RollbackArgs {
    /// Which service, one of the controller's `targets`
    #[arg(value_name = "NAMESPACE/NAME")]
    service: ServiceName,
    /// To this URI, which the manifest had before [default: the last one that served well]
    #[arg(long, value_name = "URI")]
    to: Option<String>,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
    /// Why, for the commit and the audit
    #[arg(long, default_value = "", value_name = "TEXT")]
    reason: String,
    /// End as soon as it is in the journal, with its number
    #[arg(long)]
    no_wait: bool,
    #[command(flatten)]
    controller: ControllerArgs,
}

/// Say yes to a rollback that waits for it.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  driftd approve rb-4f0c2d9a1b7e6633 --controller http://localhost:9465 --token-file me.token

`driftd audit list` has what waits (awaiting_approval), `driftd audit explain ID` what it would do. Exit codes: 0 approved, 2 nothing of that
name waits, 69 the controller does not answer.")]
pub struct ApproveArgs {
    /// The incident's number, or its action
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    controller: ControllerArgs,
}

/// Keep the controller from rolling back, or list what is paused.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  driftd pause prod --for 2h --reason 'release 42' --controller http://localhost:9465 --token-file me.token
  driftd pause fleet
  driftd pause --list

A pause holds for people too; `driftd resume` ends it. A pause in Git (.drift/pause.yaml) is not listed here and ends in Git.")]
pub struct PauseArgs {
    /// `fleet`, a namespace, or NAMESPACE/NAME
    #[arg(value_name = "SCOPE", required_unless_present = "list")]
    scope: Option<Scope>,
    /// How long [default: until `driftd resume`]
    #[arg(long = "for", value_name = "DURATION")]
    duration: Option<HumanDuration>,
    /// Why
    #[arg(long, default_value = "", value_name = "TEXT")]
    reason: String,
    /// Print what is paused
    #[arg(long, conflicts_with_all = ["scope", "duration"])]
    list: bool,
    #[command(flatten)]
    controller: ControllerArgs,
}

/// End a pause.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  driftd resume prod --controller http://localhost:9465 --token-file me.token

Exit codes: 0 ended, 2 that scope is not paused by the API, 69 the controller does not answer.")]
pub struct ResumeArgs {
    /// As it was paused
    #[arg(value_name = "SCOPE")]
    scope: Scope,
    #[command(flatten)]
    controller: ControllerArgs,
}

#[derive(Deserialize)]
struct Begun {
    incident: u64,
}

/// Rolls back.
///
/// # Errors
/// If the controller does not answer, or refuses.
pub fn roll_back(args: &RollbackArgs) -> anyhow::Result<ExitCode> {
    let controller = args.controller.connect()?;
    let body =
        json!({ "service": args.service, "to": args.to, "reason": args.reason, "dry_run": args.dry_run });
    let Begun { incident } = controller.send(&Method::POST, &["rollback"], Some(&body))?;
    if args.no_wait {
        print(&incident.to_string());
        return Ok(ExitCode::SUCCESS);
    }
    let whole = wait(&controller, incident)?;
    print(printable(&explain(&whole.incident, &whole.events)).trim_end());
    Ok(ExitCode::from(outcome(whole.incident.state)))
}

/// Until it has ended, or waits for a person; each state on standard error as it comes.
fn wait(controller: &Controller, id: u64) -> anyhow::Result<Whole> {
    let id = id.to_string();
    let mut seen = None;
    loop {
        let whole: Whole = controller.get(&["incidents", &id], &[])?;
        let Incident { state, reason, .. } = &whole.incident;
        if seen != Some(*state) {
            eprintln!("{state}: {}", printable(reason));
            seen = Some(*state);
        }
        if state.is_terminal() || waits_for_a_person(*state) {
            return Ok(whole);
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

const fn waits_for_a_person(state: State) -> bool {
    matches!(state, State::AwaitingApproval | State::PrOpen)
}

const fn outcome(state: State) -> u8 {
    match state {
        State::Recovered | State::DryRunDone => 0,
        _ if waits_for_a_person(state) => exit::UNDECIDED,
        _ => exit::REFUSED,
    }
}

/// Approves.
///
/// # Errors
/// If the controller does not answer, or nothing of that name waits.
pub fn approve(args: &ApproveArgs) -> anyhow::Result<ExitCode> {
    let _: Value =
        args.controller.connect()?.send(&Method::POST, &["incidents", &args.id, "approve"], None)?;
    print(&format!("{} is approved", args.id));
    Ok(ExitCode::SUCCESS)
}

/// Pauses, or lists pauses.
///
/// # Errors
/// If the controller does not answer.
pub fn pause(args: &PauseArgs) -> anyhow::Result<ExitCode> {
    let controller = args.controller.connect()?;
    let Some(scope) = &args.scope else {
        let pauses: Vec<Pause> = controller.get(&["pauses"], &[])?;
        for Pause { scope, reason, by, since, until } in pauses {
            let until = until.map_or_else(String::new, |until| format!(" until {}", until.format("%F %T")));
            print(&format!("{scope} by {by} since {}{until}: {reason}", since.format("%F %T")));
        }
        return Ok(ExitCode::SUCCESS);
    };
    let until = args.duration.map(|duration| Utc::now() + duration.0);
    let body = json!({ "scope": scope, "reason": args.reason, "until": until });
    let _: Value = controller.send(&Method::POST, &["pauses"], Some(&body))?;
    print(&format!("{scope} is paused"));
    Ok(ExitCode::SUCCESS)
}

/// Ends a pause.
///
/// # Errors
/// If the controller does not answer, or there is none.
pub fn resume(args: &ResumeArgs) -> anyhow::Result<ExitCode> {
    let scope = args.scope.to_string();
    let path: Vec<&str> = ["pauses"].into_iter().chain(scope.split('/')).collect();
    let _: Value = args.controller.connect()?.send(&Method::DELETE, &path, None)?;
    print(&format!("{scope} goes on"));
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A script that goes on after `driftd rollback` does so on 0 alone.
    #[test]
    fn only_a_proof_is_a_success() {
        let of = |code| State::ALL.into_iter().filter(|state| outcome(*state) == code).collect::<Vec<_>>();
        assert_eq!(of(0), [State::Recovered, State::DryRunDone]);
        assert_eq!(of(exit::UNDECIDED), [State::AwaitingApproval, State::PrOpen]);
    }
}
