//! A repository that takes no push for longer than one attempt, and for longer than the decision is good for.

use std::sync::Arc;

use serde_json::json;

use super::check_whole;
use super::world::World;
use crate::controller::home::Settings;
use crate::controller::stand_ins::alert;
use crate::rollback::remote::Trouble;

const RETRY: &str = "not pushed yet, trying again";

/// Each push hangs in the server, for longer than one call of Git may take.
async fn start(decision_expires: &str) -> World {
    let settings = Settings {
        git: json!({"timeout": "2s"}),
        policy: json!({"decision_expires": decision_expires}),
        ..Settings::default()
    };
    let world = World::start_with(settings).await;
    world.remote.trouble(Trouble::Held { told: Arc::default(), go_on: Arc::default() });
    world
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_is_back_after_several_attempts_gets_one_commit() {
    let world = start("10m").await;
    let mut controller = world.controller_told().await;
    for _ in 0..2 {
        let said = controller.says(RETRY).await;
        assert_eq!(said["error"], "git push took longer than `git.timeout`");
    }
    world.check_none();
    world.remote.trouble(Trouble::None);
    let incident = world.ended(&controller).await;
    check_whole(&world, &incident, "nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_is_back_too_late_gets_none_and_a_person_is_told_why() {
    let world = start("10s").await;
    let controller = world.controller_told().await;
    let incident = world.home.reached(&controller, "NEEDS_HUMAN").await;
    let reason = incident["reason"].as_str().unwrap();
    assert!(reason.starts_with("could not be pushed"), "{reason}");
    assert!(reason.ends_with("git push took longer than `git.timeout`"), "{reason}");
    world.remote.trouble(Trouble::None);
    controller.deliver(&alert()).await;
    world.home.reached(&controller, "NEEDS_HUMAN").await;
    world.check_none();
    world.home.verify();
}

/// It was killed with a decision that it could not push, and comes back when that is void.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_back_after_the_time_of_a_decision_pushes_nothing() {
    let world = start("10s").await;
    let mut controller = world.controller_told().await;
    controller.says(RETRY).await;
    assert_eq!(world.home.state(), "committing");
    controller.kill();
    world.remote.trouble(Trouble::None);
    tokio::time::sleep(std::time::Duration::from_secs(11)).await; // the time of the decision is the wall clock's
    let controller = world.controller().await;
    let incident = world.home.reached(&controller, "NEEDS_HUMAN").await;
    assert_eq!(incident["reason"], "could not be pushed within `policy.decision_expires`");
    world.check_none();
    world.home.verify();
}

/// What it had pushed before it was killed is found, however late.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_back_after_the_time_of_a_decision_finds_what_was_pushed_before() {
    let world = start("10s").await;
    world.remote.trouble(Trouble::None);
    world.home.hold("pushed");
    let mut controller = world.controller_told().await;
    controller.says("cannot write the journal; the incident waits").await;
    controller.kill();
    world.home.let_go();
    tokio::time::sleep(std::time::Duration::from_secs(11)).await;
    let controller = world.controller().await;
    let incident = world.ended(&controller).await;
    check_whole(&world, &incident, "its push was written down");
}
