//! What others do to the branch between the alert and our commit.

use super::*;

/// Between our fetch and our push.
const PAUSE_MEANWHILE: &str = "[ ! -e paused.index ] || exit 0
unset GIT_QUARANTINE_PATH GIT_OBJECT_DIRECTORY GIT_ALTERNATE_OBJECT_DIRECTORIES
export GIT_INDEX_FILE=paused.index GIT_AUTHOR_NAME=ann GIT_AUTHOR_EMAIL=a@example.com GIT_COMMITTER_NAME=ann GIT_COMMITTER_EMAIL=a@example.com
git read-tree main
blob=$(echo 'paused: true' | git hash-object -w --stdin)
git update-index --add --cacheinfo 100644,$blob,.drift/pause.yaml
git update-ref refs/heads/main $(git commit-tree -p main -m pause $(git write-tree))";

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_that_comes_while_it_pushes_holds() {
    let world = World::start(|_| ()).await;
    world.deploy(2);
    world.hook(PAUSE_MEANWHILE);
    world.accuse(2).await;
    check_state(&world.ended().await, State::Suppressed, "pause");
    assert!(world.remote().join("paused.index").exists(), "it came by our push");
    assert_eq!(world.n_ours(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_put_away_and_put_back_before_the_yes_is_another_case() {
    let world = World::start(|config| config.targets[0].mode = Mode::Approve).await;
    world.deploy(2);
    world.accuse(2).await;
    let id = world.reached(State::AwaitingApproval).await.id.to_string();
    world.deploy(3);
    world.deploy(2);
    world.handle.approve(&id, "ann").await.unwrap();
    let put_back = world.tip();
    check_state(
        &world.ended().await,
        State::Suppressed,
        &format!("was taken away and put back by {put_back}"),
    );
    assert_eq!(world.n_ours(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_that_gets_more_traffic_before_the_yes_is_decided_on_anew() {
    let world = World::start(|config| config.targets[0].mode = Mode::Approve).await;
    world.write("credit.yaml", &world::manifest(2, Some(10)));
    world.accuse(2).await;
    let id = world.reached(State::AwaitingApproval).await.id.to_string();
    world.write("credit.yaml", &world::manifest(2, Some(20)));
    world.handle.approve(&id, "ann").await.unwrap();
    check_state(&world.ended().await, State::Suppressed, "has other traffic");
    assert_eq!(world.n_ours(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_change_elsewhere_before_the_yes_is_no_other_case() {
    let world = World::start(|config| config.targets[0].mode = Mode::Approve).await;
    world.deploy(2);
    world.accuse(2).await;
    let id = world.reached(State::AwaitingApproval).await.id.to_string();
    world.write("README.md", "Models.\n");
    world.write("credit.yaml", &format!("# Ours.\n{}", world.manifest()));
    world.handle.approve(&id, "ann").await.unwrap();
    check_state(&world.ended().await, State::Recovered, "");
    assert!(world.manifest().starts_with("# Ours.\n"), "{}", world.manifest());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_that_followed_another_is_taken_back_to_what_serves_beside_it() {
    let world = World::start(|_| ()).await;
    for number in [2, 3] {
        world.write("credit.yaml", &world::manifest(number, Some(10)));
    }
    world.facts(|facts| facts.serves = Some(version(1)));
    world.accuse(3).await;
    world.reached(State::Cleaning).await;
    let manifest = world.manifest();
    assert!(manifest.contains("canaryTrafficPercent: 0\n"), "{manifest}");
    assert!(manifest.contains("storageUri: s3://models/credit/1 "), "{manifest}");
}
