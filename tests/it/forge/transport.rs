//! Its Git, over HTTP and over SSH: with what it wants, and with what it does not.

use serde_json::json;

use super::gitea::key;
use super::world::World;
use crate::controller::home::Settings;

const RETRY: &str = "no plan yet, trying again";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_http_with_a_token_that_may_do_nothing_else_a_version_is_put_back() {
    let world = World::start().await;
    world.configure(&Settings { git: world.http(&["write:repository"]).await, ..Settings::default() });
    let controller = world.controller_told().await;
    world.home.reached(&controller, "RECOVERED").await;
    world.check_one();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_ssh_with_a_key_of_this_repository_a_version_is_put_back() {
    let world = World::start().await;
    world.configure(&Settings { git: world.ssh().await, ..Settings::default() });
    let controller = world.controller_told().await;
    world.home.reached(&controller, "RECOVERED").await;
    world.check_one();
}

/// And nothing is lost: with the right one in its place, the same incident goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_gitea_does_not_know_is_named_and_one_that_it_knows_goes_on() {
    let world = World::start().await;
    let git = world.ssh().await;
    let right = world.home.path("key of ours");
    let wrong = world.home.path("key of others");
    key(&wrong);
    let kept = std::fs::read_to_string(&right).unwrap();
    world.home.file("key of ours", &std::fs::read_to_string(&wrong).unwrap());
    world.configure(&Settings { git, ..Settings::default() });
    let mut controller = world.controller_told().await;
    let said = controller.says(RETRY).await;
    let error = said["error"].as_str().unwrap();
    assert!(error.contains("Permission denied (publickey)"), "{error}");
    assert!(error.ends_with("check `git.ssh_key_file`"), "{error}");
    world.check_none();
    world.home.file("key of ours", &kept);
    world.home.reached(&controller, "RECOVERED").await;
    world.check_one();
}

async fn check_host(known_hosts: &str, expected: &str) {
    let world = World::start().await;
    let git = world.ssh().await;
    world.home.file("known hosts", known_hosts);
    let policy = json!({"decision_expires": "6s"});
    world.configure(&Settings { git, policy, ..Settings::default() });
    let controller = world.controller_told().await;
    let incident = world.home.reached(&controller, "NEEDS_HUMAN").await;
    let reason = incident["reason"].as_str().unwrap();
    assert!(reason.contains(expected), "{reason}");
    assert!(reason.contains("Host key verification failed"), "{reason}");
    assert!(reason.ends_with("check `git.known_hosts_file`"), "{reason}");
    world.check_none();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_nobody_knows_or_that_has_another_key_is_not_talked_to() {
    check_host("", "host key is known for [127.0.0.1]").await;
    let folder = tempfile::TempDir::new().unwrap();
    let other = key(&folder.path().join("another"));
    let gitea = super::gitea::Gitea::get().await;
    check_host(&gitea.known_host(&other), "REMOTE HOST IDENTIFICATION HAS CHANGED").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_may_only_read_is_refused_with_what_to_look_at() {
    let world = World::start().await;
    let git = world.http(&["read:repository"]).await;
    let policy = json!({"decision_expires": "6s"});
    world.configure(&Settings { git, policy, ..Settings::default() });
    let controller = world.controller_told().await;
    let incident = world.home.reached(&controller, "NEEDS_HUMAN").await;
    let reason = incident["reason"].as_str().unwrap();
    assert!(reason.contains("git push: ") && reason.contains("403"), "{reason}");
    assert!(reason.ends_with("check what `git.token_file` may do"), "{reason}");
    world.check_none();
}
