//! `driftd controller` killed with SIGKILL wherever it hurts: after what a state does was done and before the next one is in the journal,
//! and in the middle of a push. Started again, it ends where it would have ended, with one commit.

mod outages;
mod world;

use std::sync::Arc;

use serde_json::Value;
use tokio::sync::Notify;

use crate::rollback::remote::Trouble;
use world::World;

/// In the order in which an incident enters them.
const STATES: [&str; 10] = [
    "received",
    "confirming",
    "resolving",
    "gating",
    "committing",
    "pushed",
    "syncing",
    "serving",
    "observing",
    "recovered",
];

/// The work of `before` is done, and `held` cannot be written: there it is killed.
async fn check_killed_between(before: &str, held: &str) {
    let world = World::start("commit").await;
    world.home.hold(held);
    let mut controller = world.controller().await;
    controller.says("cannot write the journal; the incident waits").await;
    assert_eq!(world.home.state(), before, "held before {held}");
    controller.kill();
    world.home.let_go();
    let controller = world.controller_told().await;
    let incident = world.ended(&controller).await;
    check_whole(&world, &incident, held);
}

/// One incident that went through all states, one commit, and a journal that fits together.
fn check_whole(world: &World, incident: &Value, killed: &str) {
    assert_eq!(incident["state"], "RECOVERED", "killed before {killed}: {incident:#}");
    for state in STATES {
        assert!(
            incident["entered"][state.to_uppercase()].is_string(),
            "killed before {killed}: {incident:#}"
        );
    }
    world.check_one(incident["commit"]["commit"].as_str().unwrap());
    world.home.verify();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn killed_between_any_two_states_it_ends_as_if_nothing_had_been() {
    let runs = STATES.windows(2).map(|pair| tokio::spawn(check_killed_between(pair[0], pair[1])));
    for run in runs.collect::<Vec<_>>() {
        run.await.unwrap();
    }
}

/// The push survives whoever made it, and lands before the next one looks.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn killed_in_a_push_that_is_taken_it_finds_its_commit() {
    let (world, told, go_on) = killed_in_a_push().await;
    go_on.notify_one();
    told.notified().await;
    let pushed = world.remote.tip();
    let controller = world.controller_told().await;
    let incident = world.ended(&controller).await;
    assert_eq!(incident["commit"]["commit"], pushed.as_str());
    check_whole(&world, &incident, "the answer to its push");
}

/// The push survives whoever made it, and comes to the server after the next one has pushed.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn killed_in_a_push_that_hangs_it_pushes_anew_and_the_old_push_comes_to_nothing() {
    let (world, told, go_on) = killed_in_a_push().await;
    let controller = world.controller_told().await;
    let incident = world.ended(&controller).await;
    go_on.notify_one();
    told.notified().await;
    check_whole(&world, &incident, "its push was taken");
}

async fn killed_in_a_push() -> (World, Arc<Notify>, Arc<Notify>) {
    let world = World::start("commit").await;
    let (told, go_on) = <(Arc<Notify>, Arc<Notify>)>::default();
    world.remote.trouble(Trouble::Held { told: Arc::clone(&told), go_on: Arc::clone(&go_on) });
    let mut controller = world.controller().await;
    told.notified().await;
    assert_eq!(world.home.state(), "committing");
    controller.kill();
    world.remote.trouble(Trouble::None);
    (world, told, go_on)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn killed_while_it_waits_for_an_approval_it_waits_on() {
    let world = World::start("approve").await;
    let mut controller = world.controller().await;
    world.home.reached(&controller, "AWAITING_APPROVAL").await;
    controller.kill();
    let mut controller = world.controller().await;
    let incident = world.home.reached(&controller, "AWAITING_APPROVAL").await;
    world.home.hold("committing");
    controller.approve(&incident).await;
    controller.says("cannot write the journal; the incident waits").await;
    controller.kill(); // the approval is in the journal, what follows from it is not
    world.home.let_go();
    let controller = world.controller().await;
    let incident = world.ended(&controller).await;
    assert_eq!(incident["approved_by"], "ann");
    check_whole(&world, &incident, "what was approved");
}

/// Its repository is away when it has to push, for longer than one attempt, and it is killed meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_repository_that_is_away_for_a_while_is_waited_for() {
    let world = World::start("commit").await;
    world.remote.trouble(Trouble::Down);
    let mut controller = world.controller_told().await;
    controller.says("no plan yet, trying again").await;
    controller.says("no plan yet, trying again").await;
    assert_eq!(world.home.state(), "resolving");
    controller.kill();
    let mut controller = world.controller().await;
    controller.says("no plan yet, trying again").await;
    world.remote.trouble(Trouble::None);
    let incident = world.ended(&controller).await;
    check_whole(&world, &incident, "its repository was back");
}
