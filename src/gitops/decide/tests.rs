use chrono::{DateTime, TimeDelta};

use super::*;
use crate::gitops::incident::{ActionId, Component, Recipe};

fn at(minute: i64) -> Timestamp {
    DateTime::UNIX_EPOCH + TimeDelta::minutes(minute)
}

fn name(text: &str) -> ServiceName {
    text.parse().unwrap()
}

fn plan() -> Plan {
    let service = name("prod/credit");
    Plan {
        action: ActionId::new("main", &service, &Component::Predictor, "s3://m/2", "c2"),
        file: "prod/credit.yaml".into(),
        document: 0,
        found_by: "map".into(),
        edits: Vec::new(),
        recipe: Recipe::Uri,
        component: Component::Predictor,
        bad_uri: "s3://m/2".into(),
        good_uri: "s3://m/1".into(),
        is_verified: true,
        introduced_by: "c2".into(),
        introduced_at: at(10_000),
        good_commit: "c1".into(),
        coupled: Vec::new(),
        tip: "c2".into(),
    }
}

/// A case in which it commits; each test changes one thing.
#[track_caller]
fn check(change: impl FnOnce(&mut Situation<'_>, &mut Plan, &mut Policy), expected: &str) {
    let (service, mut changed) = (name("prod/credit"), plan());
    let plan = plan();
    let mut policy = Policy::default();
    let mut situation = Situation {
        now: at(10_010),
        began: at(10_010),
        service: &service,
        plan: &plan,
        origin: &Origin::Alert,
        mode: Mode::Commit,
        has_forge: false,
        paused: None,
        before: Before::default(),
        accused: &[],
        circuit_opened: None,
        n_targets: 4,
        causality: Causality::Caused("quiet before".into()),
    };
    change(&mut situation, &mut changed, &mut policy);
    let situation = Situation { plan: &changed, ..situation };
    let (decision, answers) = decide(&situation, &policy);
    let said = match decision {
        Decision::Commit => "commit".to_owned(),
        Decision::Approve(_) => "approve".to_owned(),
        Decision::PullRequest(_) => "pull request".to_owned(),
        Decision::DryRun => "dry run".to_owned(),
        Decision::Suppress(gate, _) => format!("suppress: {gate}"),
        Decision::CallHuman(gate, _) => format!("human: {gate}"),
    };
    assert_eq!(said, expected, "{answers:#?}");
    assert_eq!(answers.len(), GATES.len(), "every gate answers");
}

fn person(is_dry_run: bool) -> Origin {
    Origin::Person { by: "ann".into(), reason: String::new(), to: None, is_dry_run }
}

#[test]
fn it_commits_when_every_gate_lets_it() {
    check(|_, _, _| (), "commit");
}

#[test]
fn modes_are_kept() {
    check(|now, _, _| now.mode = Mode::Approve, "approve");
    check(|now, _, _| now.mode = Mode::DryRun, "dry run");
    check(|now, _, _| (now.mode, now.has_forge) = (Mode::PullRequest, true), "pull request");
}

#[test]
fn nothing_is_done_while_paused_or_when_nobody_can_say() {
    check(|now, _, _| now.paused = Some("the pause file cannot be read"), "suppress: pause");
    check(|now, _, _| (now.paused, now.mode) = (Some("x"), Mode::DryRun), "suppress: pause");
}

#[test]
fn a_rollback_is_never_rolled_back_and_a_version_only_once() {
    check(|now, _, _| now.before.is_introduced_by_us = true, "human: rollback_of_rollback");
    check(|now, _, _| now.before.rolled_back_by = Some("rb-1".into()), "human: once");
}

#[test]
fn many_services_at_once_open_the_circuit() {
    let accused = ["a/a", "a/b", "prod/credit"].map(|text| (name(text), at(10_005)));
    check(|now, _, _| now.accused = Box::leak(Box::new(accused.clone())), "suppress: circuit");
    // Of a hundred, three are a coincidence.
    check(|now, _, _| (now.accused, now.n_targets) = (Box::leak(Box::new(accused.clone())), 100), "commit");
    let long_ago = accused.clone().map(|(service, _)| (service, at(9_000)));
    check(|now, _, _| now.accused = Box::leak(Box::new(long_ago.clone())), "commit");
    // They began together, and are told of late: by an Alertmanager that was away.
    check(
        |now, _, _| (now.accused, now.began) = (Box::leak(Box::new(long_ago)), at(9_010)),
        "suppress: circuit",
    );
    check(|now, _, _| now.circuit_opened = Some(at(10_000)), "suppress: circuit");
    check(|now, _, _| now.circuit_opened = Some(at(9_900)), "commit");
}

#[test]
fn budgets_and_the_cool_down_hold() {
    let done = |names: &[&str], minute| -> Vec<(ServiceName, Timestamp)> {
        names.iter().map(|text| (name(text), at(minute))).collect()
    };
    check(|now, _, _| now.before.done = done(&["prod/credit"], 9_800), "suppress: cool_down");
    check(|now, _, _| now.before.done = done(&["prod/credit"], 9_000), "commit");
    check(
        |now, _, _| now.before.done = done(&["prod/a", "prod/b", "prod/c"], 10_000),
        "suppress: namespace_budget",
    );
    check(
        |now, _, _| now.before.done = done(&["a/a", "b/b", "c/c", "d/d", "e/e"], 10_000),
        "suppress: global_budget",
    );
    check(|now, _, _| now.before.done = done(&["a/a", "b/b", "c/c", "d/d", "e/e"], 9_900), "commit");
    // A clock that went back does not empty the budget.
    check(|now, _, _| now.before.done = done(&["prod/credit"], 10_020), "suppress: cool_down");
}

#[test]
fn without_a_cause_in_the_version_a_person_is_called() {
    check(
        |now, _, _| now.causality = Causality::NotCaused("stable moved as well".into()),
        "human: causality",
    );
    check(|now, _, _| now.causality = Causality::Unknown("no data".into()), "human: causality");
    check(|_, plan, _| plan.introduced_at = at(8_000), "human: causality");
}

#[test]
fn what_was_never_tested_is_approved_by_a_person() {
    check(|_, plan, _| plan.is_verified = false, "approve");
    check(|now, plan, _| (now.has_forge, plan.is_verified) = (true, false), "pull request");
    check(|_, plan, policy| (plan.is_verified, policy.unverified) = (false, Unverified::Commit), "commit");
    check(|_, plan, _| plan.coupled = vec!["spec.predictor.model.runtime".into()], "approve");
}

#[test]
fn a_person_may_do_what_the_controller_may_not() {
    let origin: &'static Origin = Box::leak(Box::new(person(false)));
    check(|now, _, _| (now.origin, now.causality) = (origin, Causality::NotCaused("x".into())), "commit");
    check(|now, _, _| (now.origin, now.paused) = (origin, Some("x")), "suppress: pause");
    check(|now, _, _| (now.origin, now.mode) = (origin, Mode::Approve), "commit");
    check(|now, _, _| (now.origin, now.before.is_introduced_by_us) = (origin, true), "commit");
    let asks_only: &'static Origin = Box::leak(Box::new(person(true)));
    check(|now, _, _| now.origin = asks_only, "dry run");
}
