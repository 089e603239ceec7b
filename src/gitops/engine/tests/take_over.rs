//! What one replica has begun and another ends.

use std::sync::atomic::Ordering;

use super::super::super::incident::Origin;
use super::super::intake::begin;
use super::stand_in::StandInCluster;
use super::*;

/// Killed between the push and the journal's next line, or with the journal on a lost disk: the commit is found in Git, and what
/// came of it is followed to the end.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_takes_over_finds_what_was_done() {
    let world = World::start(|_| ()).await;
    world.deploy(2);
    world.facts(|facts| facts.serves = Some(version(2))); // stuck in SERVING
    world.accuse(2).await;
    world.reached(State::Serving).await;
    let world = world.restart_with_another_journal().await;
    world.facts(|facts| facts.serves = None);
    // No alert tells of it any more.
    let incident = world.ended().await;
    check_state(&incident, State::Recovered, "");
    assert_eq!(incident.accusations[0].name, "DriftdModelDrift");
    assert!(
        incident.entered.contains_key(&State::Pushed) && !incident.entered.contains_key(&State::Committing)
    );
    assert_eq!(world.n_commits(), 3);
}

/// An alert outlives the pods that it is about: Prometheus does not confirm it, and the rollback is on the branch.
#[tokio::test(flavor = "multi_thread")]
async fn an_alert_that_comes_before_git_was_looked_at_and_cannot_be_confirmed_is_no_reason_to_wait() {
    let world = World::start(|_| ()).await;
    world.deploy(2);
    world.facts(|facts| facts.is_well = None); // stuck in OBSERVING
    world.accuse(2).await;
    world.reached(State::Observing).await;
    world.facts(|facts| facts.accused = false);
    let world = world.restart_with_another_journal().await;
    world.facts(|facts| facts.is_well = Some(true));
    world.accuse(2).await;
    check_state(&world.ended().await, State::Recovered, "");
    assert_eq!((world.n_ours(), world.n_commits()), (1, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_open_goes_on_after_a_restart() {
    let world = World::start(|_| ()).await;
    world.deploy(2);
    world.facts(|facts| facts.serves = Some(version(2)));
    world.accuse(2).await;
    world.reached(State::Serving).await;
    let world = world.restart().await;
    world.facts(|facts| facts.serves = None);
    check_state(&world.ended().await, State::Recovered, "");
    assert_eq!(world.n_commits(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_that_was_stopped_is_cleaned_up_by_the_next_replica() {
    let cluster = Arc::new(StandInCluster::default());
    let world = World::start_beside(Some(Arc::clone(&cluster)), |_| ()).await;
    world.write("credit.yaml", &world::manifest(2, Some(10)));
    world.accuse(2).await;
    world.reached(State::Cleaning).await;
    let world = world.restart_with_another_journal().await;
    cluster.may_drop.store(true, Ordering::SeqCst);
    let incident = world.ended().await;
    check_state(&incident, State::Recovered, "the canary is out of the manifest");
    assert!(!world.manifest().contains("canaryTrafficPercent"), "{}", world.manifest());
    assert_eq!(world.n_ours(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_confirmed_long_ago_is_not_done_by_who_comes_back() {
    let world = World::start(|_| ()).await;
    world.deploy(2);
    let long_ago = chrono::Utc::now() - chrono::TimeDelta::hours(1);
    let mut incident = begin(world::service(), version(2), Origin::Alert, long_ago);
    (incident.state, incident.deadline) = (State::Resolving, Some(long_ago));
    world.handle.context().journal.begin(incident, "killed here").await.unwrap();
    let world = world.restart().await;
    check_state(&world.ended().await, State::Suppressed, "older than `policy.decision_expires`");
    assert_eq!(world.n_ours(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_replica_before_has_ended_is_not_followed_again() {
    let world = World::start_beside(Some(Arc::default()), |_| ()).await;
    world.deploy(2);
    world.accuse(2).await;
    check_state(&world.ended().await, State::Recovered, "");
    let world = world.restart_with_another_journal().await;
    world.handle.adopt().await.unwrap();
    assert_eq!(world.handle.context().journal.incidents(None).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_cluster_has_done_on_the_same_branch_is_its_own() {
    let world = World::start(|_| ()).await;
    world.deploy(2);
    world.accuse(2).await;
    check_state(&world.ended().await, State::Recovered, "");
    let world = world.restart_in_cluster("other").await;
    world.handle.adopt().await.unwrap();
    assert_eq!(world.handle.context().journal.incidents(None).await.unwrap(), []);
    // Neither `once` nor the cool-down is of it.
    world.deploy(2);
    world.accuse(2).await;
    check_state(&world.ended().await, State::Recovered, "");
    assert_eq!(world.n_ours(), 2);
}
