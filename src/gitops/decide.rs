//! May it be done, and by whom? Every gate is asked, also after one has said no: whoever reads the audit sees all answers. Pure.

use std::collections::BTreeSet;
use std::time::Duration;

use super::config::{Mode, Policy, Unverified};
use super::incident::{GateAnswer, Origin, Plan, Timestamp};
use super::target::ServiceName;

/// What is known at the moment of the decision.
#[derive(Clone, Debug)]
pub struct Situation<'a> {
    /// Now.
    pub now: Timestamp,
    /// When what is decided on began: who else was accused is looked for from a while before that on, so that what came late, all of it
    /// at once, counts, and what fires for days does not.
    pub began: Timestamp,
    /// Which service.
    pub service: &'a ServiceName,
    /// What is to be done.
    pub plan: &'a Plan,
    /// Why there is an incident.
    pub origin: &'a Origin,
    /// How far the controller goes for this service.
    pub mode: Mode,
    /// Whether pull requests can be opened.
    pub has_forge: bool,
    /// Why it is paused, if it is; also if nobody can say.
    pub paused: Option<&'a str>,
    /// What was done before.
    pub before: Before,
    /// Services that were accused: which, when last.
    pub accused: &'a [(ServiceName, Timestamp)],
    /// Since when the circuit is open, if it is.
    pub circuit_opened: Option<Timestamp>,
    /// How many services the controller watches over.
    pub n_targets: usize,
    /// Did the accused version cause it?
    pub causality: Causality,
}

/// What was done before, as Git and the journal know it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Before {
    /// Rollbacks of ours that are in Git, or will be in a moment: which service, when.
    pub done: Vec<(ServiceName, Timestamp)>,
    /// The action that rolled back from the accused version, if one did.
    pub rolled_back_by: Option<String>,
    /// Whether the accused value came by a rollback of ours.
    pub is_introduced_by_us: bool,
}

/// What Prometheus says of the question whether the accused version caused the change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Causality {
    /// The change came with it: the reasons.
    Caused(String),
    /// The change was there before it, or is everywhere.
    NotCaused(String),
    /// Nothing to compare with: why.
    Unknown(String),
}

/// What follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Commit, push.
    Commit,
    /// Wait for a person, and why.
    Approve(String),
    /// Open a pull request, and why.
    PullRequest(String),
    /// Write down what would have been done.
    DryRun,
    /// Do nothing: which gate, and why.
    Suppress(&'static str, String),
    /// Call a person: which gate, and why.
    CallHuman(&'static str, String),
}

/// How a gate ends an incident that it does not let pass.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Closed {
    /// It may be asked again at the next delivery.
    ForNow,
    /// A person has to look.
    ForGood,
    /// A person may say yes.
    UntilApproved,
}

struct Gate {
    name: &'static str,
    closed: Closed,
    /// Whether it also holds for a person who wants the rollback. They know what the other gates guess; a pause is another person's word.
    binds_people: bool,
    ask: fn(&Situation<'_>, &Policy) -> Result<String, String>,
}

/// In the order in which they decide.
const GATES: [Gate; 9] = [
    Gate { name: "pause", closed: Closed::ForNow, binds_people: true, ask: pause },
    Gate { name: "rollback_of_rollback", closed: Closed::ForGood, binds_people: false, ask: not_ours },
    Gate { name: "once", closed: Closed::ForGood, binds_people: false, ask: once },
    Gate { name: "circuit", closed: Closed::ForNow, binds_people: false, ask: circuit },
    Gate { name: "cool_down", closed: Closed::ForNow, binds_people: false, ask: cool_down },
    Gate { name: "namespace_budget", closed: Closed::ForNow, binds_people: false, ask: namespace_budget },
    Gate { name: "global_budget", closed: Closed::ForNow, binds_people: false, ask: global_budget },
    Gate { name: "causality", closed: Closed::ForGood, binds_people: false, ask: causality },
    Gate {
        name: "tested_together",
        closed: Closed::UntilApproved,
        binds_people: false,
        ask: tested_together,
    },
];

/// Names of all gates, for metrics.
pub fn gate_names() -> impl Iterator<Item = &'static str> {
    GATES.iter().map(|gate| gate.name)
}

/// Asks every gate, and says what follows.
pub fn decide(situation: &Situation<'_>, policy: &Policy) -> (Decision, Vec<GateAnswer>) {
    let is_person = matches!(situation.origin, Origin::Person { .. });
    let mut answers = Vec::with_capacity(GATES.len());
    let mut first: Option<(&Gate, String)> = None;
    for gate in &GATES {
        let answer = (gate.ask)(situation, policy);
        let (passes, why) = match answer {
            Ok(why) => (true, why),
            Err(why) => (false, why),
        };
        if !passes && first.is_none() && (!is_person || gate.binds_people) {
            first = Some((gate, why.clone()));
        }
        answers.push(GateAnswer { gate: gate.name.to_owned(), passes, why });
    }
    (follow(situation, first.map(|(gate, why)| (gate.name, gate.closed, why))), answers)
}

fn follow(situation: &Situation<'_>, closed: Option<(&'static str, Closed, String)>) -> Decision {
    if matches!(situation.origin, Origin::Person { is_dry_run: true, .. }) {
        return Decision::DryRun;
    }
    let ask_person = |why: String| {
        if situation.has_forge { Decision::PullRequest(why) } else { Decision::Approve(why) }
    };
    match closed {
        Some((gate, Closed::ForNow, why)) => Decision::Suppress(gate, why),
        Some((gate, Closed::ForGood, why)) => Decision::CallHuman(gate, why),
        // Whatever the mode would do without asking, here somebody is asked.
        Some((_, Closed::UntilApproved, why)) => match situation.mode {
            Mode::DryRun => Decision::DryRun,
            Mode::Approve => Decision::Approve(why),
            Mode::Commit | Mode::PullRequest => ask_person(why),
        },
        None => match situation.mode {
            Mode::DryRun => Decision::DryRun,
            Mode::Commit => Decision::Commit,
            // Who asked has approved.
            Mode::Approve if matches!(situation.origin, Origin::Person { .. }) => Decision::Commit,
            Mode::Approve => Decision::Approve("the target's mode is `approve`".to_owned()),
            Mode::PullRequest => Decision::PullRequest("the target's mode is `pull_request`".to_owned()),
        },
    }
}

fn pause(situation: &Situation<'_>, _: &Policy) -> Result<String, String> {
    situation.paused.map_or_else(|| Ok("not paused".to_owned()), |why| Err(why.to_owned()))
}

fn not_ours(situation: &Situation<'_>, _: &Policy) -> Result<String, String> {
    if situation.before.is_introduced_by_us {
        return Err(format!(
            "commit {} that brought the accused version is a rollback itself",
            short(&situation.plan.introduced_by)
        ));
    }
    Ok(format!("the accused version came by {}, which is not ours", short(&situation.plan.introduced_by)))
}

fn once(situation: &Situation<'_>, _: &Policy) -> Result<String, String> {
    match &situation.before.rolled_back_by {
        Some(action) => Err(format!(
            "{action} rolled back from this version before, and it was put back: two writers would go on for ever"
        )),
        None => Ok("this version was never rolled back from".to_owned()),
    }
}

fn circuit(situation: &Situation<'_>, policy: &Policy) -> Result<String, String> {
    let opened = situation.circuit_opened;
    if let Some(opened) = opened.filter(|_| is_circuit_open(opened, situation.now, policy)) {
        return Err(format!(
            "open since {}: too many services were accused at once",
            opened.format("%FT%TZ")
        ));
    }
    let n_accused = accused_lately(situation.accused, situation.began, policy);
    let limit = circuit_limit(situation.n_targets, policy);
    if n_accused >= limit {
        return Err(format!(
            "{n_accused} services were accused within {}: an event of data or monitoring, not of one model",
            policy.circuit_window
        ));
    }
    Ok(format!("{n_accused} services accused within {}, below {limit}", policy.circuit_window))
}

/// Whether the circuit that opened then is open still.
pub fn is_circuit_open(opened: Option<Timestamp>, now: Timestamp, policy: &Policy) -> bool {
    opened.is_some_and(|at| is_within(at, now, policy.circuit_open.0))
}

/// How many distinct services were accused within the window before `began`, and since.
pub fn accused_lately(accused: &[(ServiceName, Timestamp)], began: Timestamp, policy: &Policy) -> usize {
    let lately = accused.iter().filter(|(_, at)| is_within(*at, began, policy.circuit_window.0));
    lately.map(|(service, _)| service).collect::<BTreeSet<_>>().len()
}

/// How many are too many.
pub fn circuit_limit(n_targets: usize, policy: &Policy) -> usize {
    // More than the share, so one above it rounded down.
    let by_share = n_targets * policy.circuit_share.permille as usize / 1000 + 1;
    by_share.max(policy.circuit_targets as usize)
}

fn cool_down(situation: &Situation<'_>, policy: &Policy) -> Result<String, String> {
    let last = situation
        .before
        .done
        .iter()
        .filter(|(service, _)| service == situation.service)
        .map(|(_, at)| *at)
        .max();
    match last.filter(|at| is_within(*at, situation.now, policy.cool_down.0)) {
        Some(at) => {
            Err(format!("the last rollback was at {}, within {}", at.format("%FT%TZ"), policy.cool_down))
        }
        None => Ok(format!("no rollback of it within {}", policy.cool_down)),
    }
}

fn namespace_budget(situation: &Situation<'_>, policy: &Policy) -> Result<String, String> {
    let namespace = situation.service.namespace();
    let n_done = count(situation, policy, |service| service.namespace() == namespace);
    spend(n_done, policy.namespace_budget, &format!("in namespace {namespace}"), policy)
}

fn global_budget(situation: &Situation<'_>, policy: &Policy) -> Result<String, String> {
    spend(count(situation, policy, |_| true), policy.global_budget, "in all", policy)
}

fn count(situation: &Situation<'_>, policy: &Policy, counts: impl Fn(&ServiceName) -> bool) -> usize {
    let lately =
        situation.before.done.iter().filter(|(_, at)| is_within(*at, situation.now, policy.budget_window.0));
    lately.filter(|(service, _)| counts(service)).count()
}

fn spend(n_done: usize, budget: u32, whose: &str, policy: &Policy) -> Result<String, String> {
    let text = format!("{n_done} of {budget} rollbacks {whose} within {}", policy.budget_window);
    if n_done < budget as usize { Ok(text) } else { Err(text) }
}

fn causality(situation: &Situation<'_>, policy: &Policy) -> Result<String, String> {
    let age = (situation.now - situation.plan.introduced_at).to_std().unwrap_or_default();
    if age > policy.attribution_window.0 {
        return Err(format!(
            "the version is there since {}, longer than {}; a rollback is unlikely to help",
            situation.plan.introduced_at.format("%FT%TZ"),
            policy.attribution_window
        ));
    }
    match &situation.causality {
        Causality::Caused(why) => Ok(why.clone()),
        Causality::NotCaused(why) => Err(format!("{why}; a rollback is unlikely to help")),
        Causality::Unknown(why) => Err(format!("{why}; nobody can say whether a rollback would help")),
    }
}

fn tested_together(situation: &Situation<'_>, policy: &Policy) -> Result<String, String> {
    let plan = situation.plan;
    if !plan.coupled.is_empty() {
        return Err(format!(
            "{} changed together with the version: one line back may be an untested combination",
            plan.coupled.join(", ")
        ));
    }
    if !plan.is_verified && policy.unverified != Unverified::Commit {
        return Err(format!("{} was not seen to serve well by this controller", plan.good_uri));
    }
    Ok(if plan.is_verified { "it was seen to serve well" } else { "policy.unverified is `commit`" }
        .to_owned())
}

fn is_within(at: Timestamp, now: Timestamp, window: Duration) -> bool {
    // A clock that jumped back makes it a moment ago, not a long time.
    (now - at).to_std().unwrap_or_default() <= window
}

/// As people read a commit.
pub fn short(commit: &str) -> &str {
    commit.get(..12).unwrap_or(commit)
}

#[cfg(test)]
mod tests;
