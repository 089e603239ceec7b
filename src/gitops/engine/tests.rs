//! The engine with a real Git repository, and with a stand-in for Prometheus that says what a test tells it to.

mod bounds;
mod callers;
mod meanwhile;
mod oscillation;
mod stand_in;
mod take_over;
mod world;

use std::time::Duration;

use super::super::alert::{Alert, Delivery};
use super::super::config::{Mode, Unverified};
use super::super::incident::State;
use super::*;
use world::{World, version};

#[track_caller]
fn check_state(incident: &super::super::incident::Incident, expected: State, said: &str) {
    assert_eq!(incident.state, expected, "{}: {:#?}", incident.reason, incident.gates);
    assert!(incident.reason.contains(said), "reason is {:?}, expected {said:?} in it", incident.reason);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_puts_the_last_good_version_back_by_one_line() {
    let world = World::start(|_| ()).await;
    world.deploy(2);
    let before = world.tip();
    world.accuse(2).await;
    let incident = world.ended().await;
    check_state(&incident, State::Recovered, "s3://models/credit/1 serves");
    let entered: Vec<State> = incident.entered.keys().copied().collect();
    assert_eq!(
        entered,
        [
            State::Received,
            State::Confirming,
            State::Resolving,
            State::Gating,
            State::Committing,
            State::Pushed,
            State::Serving,
            State::Observing,
            State::Recovered
        ]
    );
    // One commit on what was there, which changes one line and nothing around it.
    let commit = incident.commit.unwrap();
    assert_eq!((commit.parent.as_str(), commit.commit.as_str()), (before.as_str(), world.tip().as_str()));
    assert_eq!(
        commit.diff,
        "-      storageUri: s3://models/credit/2 # the model\n+      storageUri: s3://models/credit/1 # the model\n"
    );
    assert!(world.manifest().contains("storageUri: s3://models/credit/1 # the model"));
    world.handle.context().journal.verify().await.unwrap();
    let denied = world.handle.context().book.ledger(&world::service()).await.denied;
    assert!(denied.contains_key("s3://models/credit/2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_delivered_again_is_the_same_incident() {
    let world = World::start(|_| ()).await;
    world.deploy(2);
    for _ in 0..3 {
        world.accuse(2).await;
    }
    let incident = world.ended().await;
    check_state(&incident, State::Recovered, "");
    world.accuse(2).await; // Alertmanager repeats what still fires while the window has not flushed
    tokio::time::sleep(Duration::from_millis(300)).await;
    let incidents = world.handle.context().journal.incidents(None).await.unwrap();
    assert_eq!(incidents.len(), 1);
    assert_eq!(incidents[0].accusations[0].n_seen, 4);
    assert_eq!(world.n_commits(), 3, "the two of people, and one of ours");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_prometheus_does_not_confirm_is_not_acted_on() {
    let world = World::start(|_| ()).await;
    world.deploy(2);
    world.facts(|facts| facts.accused = false);
    world.accuse(2).await;
    check_state(&world.ended().await, State::Suppressed, "does not confirm");
    assert_eq!(world.n_commits(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_somebody_has_changed_is_left() {
    let world = World::start(|_| ()).await;
    world.deploy(2);
    world.deploy(3);
    world.accuse(2).await;
    check_state(&world.ended().await, State::Superseded, "s3://models/credit/3");
    assert_eq!(world.n_commits(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_is_rolled_back_from_once() {
    let world = World::start(|_| ()).await;
    world.deploy(2);
    world.accuse(2).await;
    check_state(&world.ended().await, State::Recovered, "");
    world.deploy(2); // somebody insists
    world.accuse_later(2).await;
    check_state(&world.ended().await, State::NeedsHuman, "once: rb-");
    assert!(world.manifest().contains("credit/2"), "who insists is asked, not overruled");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_is_never_rolled_back() {
    let world = World::start(|_| ()).await;
    world.deploy(2);
    world.accuse(2).await;
    check_state(&world.ended().await, State::Recovered, "");
    world.accuse(1).await;
    check_state(&world.ended().await, State::NeedsHuman, "");
    assert!(world.manifest().contains("credit/1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_version_that_is_accused_as_well_is_said_so() {
    let world = World::start(|_| ()).await;
    world.deploy(2);
    world.facts(|facts| facts.is_well = Some(false));
    world.accuse(2).await;
    check_state(&world.ended().await, State::NotRecovered, "accused as well");
    assert_eq!(world.n_commits(), 3, "there is no second rollback");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_data_nobody_says_that_it_helped() {
    let world = World::start(|config| config.policy.recovery_timeout.0 = Duration::from_millis(400)).await;
    world.deploy(2);
    world.facts(|facts| facts.is_well = None);
    world.accuse(2).await;
    check_state(&world.ended().await, State::Inconclusive, "nobody can say");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_in_git_holds_and_so_does_one_that_nobody_can_read() {
    for (text, said) in
        [("paused: true\nreason: release week\n", "release week"), ("paused", "cannot be understood")]
    {
        let world = World::start(|_| ()).await;
        world.deploy(2);
        world.write(".drift/pause.yaml", text);
        world.accuse(2).await;
        check_state(&world.ended().await, State::Suppressed, said);
        assert!(world.manifest().contains("credit/2"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unverified_version_waits_for_a_person() {
    let world = World::start(|config| config.policy.unverified = Unverified::Approve).await;
    world.deploy(2);
    world.accuse(2).await;
    let incident = world.reached(State::AwaitingApproval).await;
    assert!(incident.reason.contains("was not seen to serve well"), "{}", incident.reason);
    assert!(matches!(world.handle.approve("99", "ann").await, Err(Refused::NotFound(_))));
    world.handle.approve(incident.action().unwrap().as_str(), "ann").await.unwrap();
    let incident = world.ended().await;
    check_state(&incident, State::Recovered, "");
    assert_eq!(incident.approved_by.as_deref(), Some("ann"));
    assert!(world.message().contains("Drift-Approved-By: ann"), "{}", world.message());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_writes_down_what_it_would_have_done() {
    let world = World::start(|config| config.targets[0].mode = Mode::DryRun).await;
    world.deploy(2);
    world.accuse(2).await;
    check_state(&world.ended().await, State::DryRunDone, "s3://models/credit/2 → s3://models/credit/1");
    assert_eq!(world.n_commits(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_asks_and_is_named() {
    let world = World::start(|_| ()).await;
    world.deploy(2);
    let ask = RollbackAsk {
        service: world::service(),
        to: None,
        reason: "complaints".into(),
        by: "ann".into(),
        is_dry_run: false,
    };
    world.handle.roll_back(ask.clone()).await.unwrap();
    check_state(&world.ended().await, State::Recovered, "");
    assert!(world.message().contains("Drift-Requested-By: ann") && world.message().contains("complaints"));
    let nowhere = RollbackAsk { service: "prod/unknown".parse().unwrap(), ..ask.clone() };
    assert!(matches!(world.handle.roll_back(nowhere).await, Err(Refused::NotFound(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_gets_no_version_that_has_never_stood_there() {
    let world = World::start(|_| ()).await;
    world.deploy(2);
    for to in ["s3://models/credit/99", "", "s3://models/credit/1\nx: y"] {
        let ask = RollbackAsk {
            service: world::service(),
            to: Some(to.into()),
            reason: String::new(),
            by: "ann".into(),
            is_dry_run: true,
        };
        world.handle.roll_back(ask).await.unwrap();
        check_state(&world.ended().await, State::NeedsHuman, "has never stood there");
    }
    assert_eq!(world.n_ours(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_knative_canary_is_stopped_by_percent_0_and_its_uri_at_once() {
    let world = World::start(|_| ()).await;
    world.write("credit.yaml", &world::manifest(2, Some(10)));
    world.accuse(2).await;
    let incident = world.reached(State::Cleaning).await;
    assert!(world.manifest().contains("canaryTrafficPercent: 0\n"), "{}", world.manifest());
    assert!(world.manifest().contains("credit/1"));
    let diff = incident.commit.unwrap().diff;
    assert_eq!(diff.lines().count(), 4, "two lines: {diff}");
    // Whoever takes over reads the same plan in Git.
    let actions = world.handle.context().repository.actions(&world.tip(), 10).await.unwrap();
    let (read_back, _) = actions[0].as_plan().unwrap();
    assert_eq!(read_back.edits, incident.plan.unwrap().edits);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_remote_that_refuses_is_told_word_for_word() {
    let world = World::start(|_| ()).await;
    world.deploy(2);
    world.hook("echo 'all changes need a ticket' >&2; exit 1");
    world.accuse(2).await;
    check_state(&world.ended().await, State::NeedsHuman, "all changes need a ticket");
    assert_eq!(world.n_commits(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_services_at_once_are_an_event_of_data() {
    let world = World::start(|_| ()).await;
    world.deploy(2);
    let other = |idx| (format!("prod/m{idx}").parse().unwrap(), chrono::Utc::now());
    world.facts(|facts| facts.others = (0..3).map(other).collect());
    world.accuse(2).await;
    check_state(&world.ended().await, State::Suppressed, "circuit");
    assert_eq!(world.n_commits(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_about_something_else_are_written_down() {
    let world = World::start(|_| ()).await;
    let page = Alert::firing(&[("alertname".to_owned(), "Page".to_owned())].into(), chrono::Utc::now());
    let delivered = world.handle.deliver(Delivery { alerts: vec![page], n_truncated: 0 }).await.unwrap();
    assert_eq!((delivered.n_begun, delivered.n_other), (0, 1));
    let notes = world.handle.context().journal.notes(super::super::journal::Kind::Delivery).await.unwrap();
    assert_eq!(notes.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_panics_calls_a_person_and_keeps_nothing_from_the_next_version() {
    let world = World::start(|_| ()).await;
    world.deploy(2);
    world.facts(|facts| facts.panics = true);
    world.accuse(2).await;
    check_state(&world.ended().await, State::NeedsHuman, "panicked in state confirming");
    world.facts(|facts| facts.panics = false);
    world.deploy(3);
    world.accuse(3).await;
    let incidents = world.all_ended(2).await;
    check_state(&incidents[0], State::Recovered, "");
}
