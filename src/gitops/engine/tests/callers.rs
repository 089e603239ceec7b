//! Callers that hang up while something is being written down for them.

use std::future::Future;

use chrono::Utc;

use super::super::super::incident::{Incident, Origin};
use super::super::super::pause::{Pause, Scope};
use super::super::intake::begin;
use super::*;

/// Drops `call` while the journal's file belongs to another process, which then gives it back.
async fn hang_up<T>(world: &World, call: impl Future<Output = T>) {
    let other = world.journal();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let answer = tokio::time::timeout(Duration::from_millis(500), call).await;
    assert!(answer.is_err(), "the journal could not be written, and it was answered");
    other.execute_batch("COMMIT").unwrap();
}

fn accusation() -> Delivery {
    Delivery { alerts: vec![world::alert("credit", 2, Utc::now())], n_truncated: 0 }
}

async fn incidents(world: &World) -> Vec<Incident> {
    world.handle.context().journal.incidents(None).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_whose_caller_hangs_up_is_acted_on_once() {
    let world = World::start(|_| ()).await;
    world.deploy(2);
    hang_up(&world, world.handle.deliver(accusation())).await;
    world.deliver(accusation().alerts).await; // Alertmanager comes again
    check_state(&world.ended().await, State::Recovered, "");
    assert_eq!(incidents(&world).await.len(), 1);
    assert_eq!(world.n_ours(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_whose_caller_hangs_up_is_done() {
    let world = World::start(|_| ()).await;
    world.deploy(2);
    let ask = RollbackAsk {
        service: world::service(),
        to: None,
        reason: "complaints".into(),
        by: "ann".into(),
        is_dry_run: false,
    };
    hang_up(&world, world.handle.roll_back(ask)).await;
    check_state(&world.ended().await, State::Recovered, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_whose_caller_hangs_up_counts() {
    let world = World::start(|config| config.policy.unverified = Unverified::Approve).await;
    world.deploy(2);
    world.accuse(2).await;
    let id = world.reached(State::AwaitingApproval).await.id.to_string();
    hang_up(&world, world.handle.approve(&id, "ann")).await;
    let incident = world.ended().await;
    check_state(&incident, State::Recovered, "");
    assert_eq!(incident.approved_by.as_deref(), Some("ann"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_whose_caller_hangs_up_holds() {
    let world = World::start(|_| ()).await;
    world.deploy(2);
    let pause =
        Pause { scope: Scope::Fleet, reason: "x".into(), by: "ann".into(), since: Utc::now(), until: None };
    hang_up(&world, world.handle.set_pauses("ann", |pauses| pauses.push(pause))).await;
    world.series(r#"driftd_paused{scope="global"} 1"#).await;
    world.accuse(2).await;
    check_state(&world.ended().await, State::Suppressed, "fleet is paused by ann");
}

/// As after a write that failed when it was in the file already.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_open_in_the_journal_alone_is_resumed() {
    let world = World::start(|_| ()).await;
    world.deploy(2);
    let forgotten = begin(world::service(), world::version(2), Origin::Alert, Utc::now());
    world.handle.context().journal.begin(forgotten, "alerts came").await.unwrap();
    world.accuse(2).await;
    let incident = world.ended().await;
    check_state(&incident, State::Recovered, "");
    assert_eq!((incident.accusations.len(), incidents(&world).await.len()), (1, 1));
    assert_eq!(world.n_ours(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_is_told_of_what_is_open_in_the_journal_alone_and_it_goes_on() {
    let world = World::start(|_| ()).await;
    world.deploy(2);
    let by_ann = Origin::Person { by: "ann".into(), reason: String::new(), to: None, is_dry_run: false };
    let forgotten = begin(world::service(), String::new(), by_ann, Utc::now());
    world.handle.context().journal.begin(forgotten, "a person asks").await.unwrap();
    let ask = RollbackAsk {
        service: world::service(),
        to: None,
        reason: String::new(),
        by: "bob".into(),
        is_dry_run: false,
    };
    let refused = world.handle.roll_back(ask).await.unwrap_err();
    assert!(refused.to_string().contains("incident 1 of it is open"), "{refused}");
    check_state(&world.ended().await, State::Recovered, "");
    assert_eq!(incidents(&world).await.len(), 1);
}
