//! A server that breaks down: before a push, in its middle, after it.

use std::sync::Arc;
use std::time::Duration;

use driftd::gitops::config::GitConfig;
use driftd::gitops::git::PublishError;

use super::world::{World, manifest};
use crate::rollback::remote::{PASSWORD, Trouble};

#[tokio::test(flavor = "multi_thread")]
async fn a_push_whose_answer_is_lost_is_found_to_have_been_taken() {
    let world = World::start().await;
    let repository = world.repository(&world.config()).await;
    world.remote.trouble(Trouble::NoAnswer);
    let published = world.roll_back(&repository).await.unwrap();
    assert!(!published.was_there, "read back at once");
    world.check_one(&published.commit);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_that_nobody_can_read_back_is_not_made_again() {
    let world = World::start().await;
    let repository = world.repository(&world.config()).await;
    world.remote.trouble(Trouble::LastPush);
    let error = world.roll_back(&repository).await.unwrap_err();
    assert!(matches!(error, PublishError::Failed(_)), "{error:?}");
    // Still down, asked again; and then somebody else pushes before we come.
    assert!(matches!(world.roll_back(&repository).await, Err(PublishError::Failed(_))));
    world.remote.trouble(Trouble::None);
    world.write("other.yaml", "of: others\n");
    let published = world.roll_back(&repository).await.unwrap();
    assert!(published.was_there);
    world.check_one(&published.commit);
    assert_eq!(world.file(), manifest(1, "none"));
}

/// What a reboot of the server does: the branch has the commit, and the process that would have said so is gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_dies_after_it_has_taken_a_push_is_read_back() {
    let world = World::start().await;
    world.remote.hook("post-receive", "kill -9 $PPID");
    let repository = world.repository(&world.local()).await;
    let published = world.roll_back(&repository).await.unwrap();
    world.check_one(&published.commit);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_down_is_said_to_be_and_used_once_it_is_back() {
    let world = World::start().await;
    let repository = world.repository(&world.config()).await;
    world.remote.trouble(Trouble::Down);
    for _ in 0..2 {
        match world.roll_back(&repository).await {
            Err(PublishError::Failed(error)) => {
                assert!(error.to_string().starts_with("git fetch: "), "{error}");
            }
            other => panic!("{other:?}"),
        }
    }
    world.check_none();
    world.remote.trouble(Trouble::None);
    let published = world.roll_back(&repository).await.unwrap();
    world.check_one(&published.commit);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_holds_a_push_for_too_long_is_not_waited_for() {
    let world = World::start().await;
    let config = GitConfig { timeout: Duration::from_secs(2), ..world.config() };
    let repository = world.repository(&config).await;
    world.remote.trouble(Trouble::Held { told: Arc::default(), go_on: Arc::default() });
    let error = world.roll_back(&repository).await.unwrap_err();
    assert!(said(&error).contains("git push took longer than `git.timeout`"), "{error:?}");
    world.check_none();
    world.remote.trouble(Trouble::None);
    let published = world.roll_back(&repository).await.unwrap();
    world.check_one(&published.commit);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_refused_is_told_which_key_to_look_at_and_no_secret() {
    let world = World::start().await;
    let config = world.config();
    std::fs::write(config.token_file.as_ref().unwrap(), format!("old-{PASSWORD}")).unwrap();
    let repository = world.repository(&config).await;
    let error = repository.fetch().await.unwrap_err().to_string();
    assert!(error.contains("Authentication failed"), "{error}");
    assert!(error.ends_with("check `git.username` and `git.token_file`"), "{error}");
    assert!(!error.contains(PASSWORD), "{error}");
    // A token that was replaced counts at the next call.
    std::fs::write(config.token_file.as_ref().unwrap(), PASSWORD).unwrap();
    repository.fetch().await.unwrap();
}

pub fn said(error: &PublishError) -> String {
    match error {
        PublishError::Failed(error) => error.to_string(),
        other => other.to_string(),
    }
}
