//! Repositories that take no push, and those that are not as they have to be.

use driftd::gitops::config::GitConfig;
use driftd::gitops::git::PublishError;

use super::outages::said;
use super::world::World;
use crate::rollback::remote::run;

#[tokio::test(flavor = "multi_thread")]
async fn a_hook_that_refuses_is_quoted_and_asked_once() {
    for hook in ["pre-receive", "update"] {
        let world = World::start().await;
        let asked = world.path("asked");
        let script =
            format!("echo x >> '{}'; echo 'GH013: changes go by pull requests' >&2; exit 1", asked.display());
        world.remote.hook(hook, &script);
        let repository = world.repository(&world.config()).await;
        match world.roll_back(&repository).await {
            Err(PublishError::Rejected(text)) => {
                assert!(text.contains("GH013: changes go by pull requests"), "{hook}: {text}");
            }
            other => panic!("{hook}: {other:?}"),
        }
        assert_eq!(std::fs::read_to_string(asked).unwrap(), "x\n", "{hook} is not asked again and again");
        world.check_none();
    }
}

/// Whoever pushes in the same moment holds the lock of the branch, and the branch is where it was still: that is no word on our push.
#[tokio::test(flavor = "multi_thread")]
async fn a_branch_that_is_locked_is_no_refusal() {
    let world = World::start().await;
    // Taken at the first push, given back at the second.
    world.remote.hook(
        "pre-receive",
        "lock=refs/heads/main.lock; if [ -e was-locked ]; then rm $lock; else touch $lock was-locked; fi",
    );
    let repository = world.repository(&world.local()).await;
    let published = world.roll_back(&repository).await.unwrap();
    world.check_one(&published.commit);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_cannot_store_a_push_is_tried_again() {
    let world = World::start().await;
    run(&world.remote.path(), &["config", "receive.maxInputSize", "10"]);
    let repository = world.repository(&world.local()).await;
    let error = world.roll_back(&repository).await.unwrap_err();
    assert!(matches!(error, PublishError::Failed(_)), "{error:?}");
    assert!(said(&error).contains("unpack"), "{error:?}");
    world.check_none();
    run(&world.remote.path(), &["config", "--unset", "receive.maxInputSize"]);
    let published = world.roll_back(&repository).await.unwrap();
    world.check_one(&published.commit);
}

async fn check_fetch(world: &World, config: GitConfig, expected: &str) {
    let repository = world.repository(&config).await;
    let error = repository.fetch().await.unwrap_err().to_string();
    assert!(error.contains(expected), "{error:?}, expected {expected:?} in it");
    let error = repository.tip().await.unwrap_err().to_string();
    assert_eq!(error, "nothing was fetched from the repository yet");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_that_is_not_as_it_has_to_be_is_described() {
    let world = World::start().await;
    let folder = world.remote.path().parent().unwrap().to_owned();
    let at =
        |name: &str| GitConfig { url: format!("file://{}", folder.join(name).display()), ..world.config() };
    check_fetch(
        &world,
        GitConfig { branch: "production".to_owned(), ..world.local() },
        "the repository has no branch `production`; check `git.branch`",
    )
    .await;
    run(&folder, &["init", "-q", "--bare", "empty.git"]);
    check_fetch(&world, at("empty.git"), "the repository has no branch `main`").await;
    check_fetch(&world, at("nowhere.git"), "does not appear to be a git repository").await;
    let whole = format!("file://{}", world.remote.path().display());
    run(&folder, &["clone", "-q", "--bare", "--depth", "1", &whole, "shallow.git"]);
    check_fetch(&world, at("shallow.git"), "the remote repository is shallow").await;
}

/// A remote that was whole and is not any more: what the clone has is old, and is not taken for what is there.
#[tokio::test(flavor = "multi_thread")]
async fn a_repository_that_becomes_shallow_is_not_taken_for_unchanged() {
    let world = World::start().await;
    let folder = world.remote.path().parent().unwrap().to_owned();
    let repository = world.repository(&world.local()).await;
    repository.fetch().await.unwrap();
    world.write("other.yaml", "of: others\n");
    std::fs::rename(world.remote.path(), folder.join("whole.git")).unwrap();
    let whole = format!("file://{}", folder.join("whole.git").display());
    run(&folder, &["clone", "-q", "--bare", "--depth", "1", &whole, "models.git"]);
    let error = repository.fetch().await.unwrap_err().to_string();
    assert!(error.contains("shallow"), "{error}");
}
