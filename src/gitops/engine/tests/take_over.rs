//! What one replica has begun and another ends.

use std::sync::atomic::Ordering;

use chrono::{TimeDelta, Utc};

use super::super::super::incident::{Origin, PullRequest};
use super::super::super::manifest::{FoundBy, Located, Selector, read};
use super::super::case::deadline;
use super::super::intake::begin;
use super::super::plan::read_back;
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
    let long_ago = Utc::now() - TimeDelta::hours(1);
    let mut incident = begin(world::service(), version(2), Origin::Alert, long_ago);
    (incident.state, incident.deadline) = (State::Resolving, Some(long_ago));
    world.handle.context().journal.begin(incident, "killed here").await.unwrap();
    let world = world.restart().await;
    check_state(
        &world.ended().await,
        State::Suppressed,
        "confirmed longer ago than `policy.decision_expires`",
    );
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

/// A dry run, a pause, a lost approval: that we have let it go says nothing of what the other replica has done since.
#[tokio::test(flavor = "multi_thread")]
async fn what_we_have_only_planned_is_followed_where_another_has_done_it() {
    let world = World::start(|_| ()).await;
    world.deploy(2);
    let ask = RollbackAsk {
        service: world::service(),
        to: None,
        reason: String::new(),
        by: "ann".into(),
        is_dry_run: true,
    };
    world.handle.roll_back(ask).await.unwrap();
    check_state(&world.ended().await, State::DryRunDone, "");
    let world = world.restart_with_another_journal().await;
    world.facts(|facts| facts.serves = Some(version(2))); // stuck in SERVING
    world.accuse(2).await;
    world.reached(State::Serving).await;
    let world = world.restart_with_the_first_journal().await;
    world.facts(|facts| facts.serves = None);
    let incidents = world.all_ended(2).await;
    check_state(&incidents[0], State::Recovered, "");
    assert_eq!(world.n_ours(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_done_before_what_the_replica_before_has_left_is_read() {
    let cluster = Arc::new(StandInCluster::default());
    cluster.is_away.store(true, Ordering::SeqCst);
    let world = World::start_beside(Some(Arc::clone(&cluster)), |_| ()).await;
    world.deploy(2);
    world.accuse(2).await;
    check_state(
        &world.ended().await,
        State::Suppressed,
        "left in the ConfigMap cannot be read: the stand-in is away",
    );
    assert_eq!(world.n_ours(), 0);
    cluster.is_away.store(false, Ordering::SeqCst);
    let context = world.handle.context();
    assert!(context.book.take_over(context).await);
    world.accuse_later(2).await;
    let incidents = world.all_ended(2).await;
    check_state(&incidents[0], State::Recovered, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_line_stands_is_looked_up_for_what_another_has_done() {
    let world = World::start(|_| ()).await;
    world.deploy(2);
    world.accuse(2).await;
    world.ended().await;
    let actions = world.handle.context().repository.actions(&world.tip(), 1).await.unwrap();
    let selector = Selector::Service(world::service());
    let service = read(world.manifest().as_bytes(), &selector).unwrap().unwrap();
    let (file, found_by) = ("credit.yaml".to_owned(), FoundBy::Map);
    let located = Located { file, document: 3, found_by, selector, service };
    let (plan, _) = read_back(&actions[0], Some(&located)).unwrap();
    assert_eq!((plan.document, &*plan.found_by), (3, &*FoundBy::Map.to_string()));
}

#[test]
fn a_yes_and_a_pull_request_that_is_not_open_yet_are_good_for_the_time_of_a_decision() {
    let (now, policy) = (Utc::now(), super::super::super::config::Policy::default());
    let mut incident = begin(world::service(), version(2), Origin::Alert, now);
    let until = |incident: &super::super::super::incident::Incident| deadline(incident, &policy, now);
    (incident.state, incident.approved_at) = (State::Committing, Some(now - TimeDelta::hours(5)));
    assert!(until(&incident).unwrap() < now);
    incident.state = State::PrOpen;
    assert_eq!(until(&incident), Some(now + policy.decision_expires.0));
    incident.pull_request = Some(PullRequest { number: 1, url: String::new(), branch: String::new() });
    assert_eq!(until(&incident), None);
}
