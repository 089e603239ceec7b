//! A branch that takes no push.

use reqwest::Method;
use serde_json::{Value, json};

use super::world::{SCOPES, World, branch_of};
use crate::controller::home::Settings;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_forge_a_person_is_called_with_the_words_of_gitea() {
    let world = World::start().await;
    world.protect().await;
    world.configure(&Settings { git: world.http(&["write:repository"]).await, ..Settings::default() });
    let controller = world.controller_told().await;
    let incident = world.home.reached(&controller, "NEEDS_HUMAN").await;
    let reason = incident["reason"].as_str().unwrap();
    assert!(reason.starts_with("the remote refuses the push: "), "{reason}");
    assert!(reason.contains("Not allowed to push to protected branch main"), "{reason}");
    world.check_none();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_forge_a_pull_request_is_opened_which_says_why_and_goes_on_once_it_is_merged() {
    let world = World::with_forge("commit").await;
    world.protect().await;
    world.gitea.must(Method::POST, &world.at("/labels"), &json!({"name": "drift", "color": "#aa0000"})).await;
    let controller = world.controller_told().await;
    let pull_request = world.opened(&controller).await;
    assert_eq!(pull_request["user"]["login"], "robot");
    let title = pull_request["title"].as_str().unwrap();
    assert!(title.starts_with("rollback(model): prod/credit 2-"), "{title}");
    let description = pull_request["body"].as_str().unwrap();
    for expected in [
        "s3://models/credit/2 came with",
        "is accused by DriftdModelDrift",
        "A person decides, because the remote refuses the push",
        "Not allowed to push to protected branch main",
        "\nDrift-To-Uri: s3://models/credit/1\n",
    ] {
        assert!(description.contains(expected), "{expected:?} is not in {description}");
    }
    let branch = branch_of(&pull_request);
    assert_eq!(world.git(&["diff", "--numstat", &format!("main...{branch}")]), "1\t1\tcredit.yaml");
    assert_eq!(world.git(&["rev-list", "--count", &format!("main..{branch}")]), "1");
    world.check_none();
    world.merge(&pull_request, "merge").await;
    let incident = world.home.reached(&controller, "RECOVERED").await;
    assert_eq!(incident["pull_request"]["number"], pull_request["number"]);
    assert_eq!(world.pull_request().await["labels"][0]["name"], "drift");
    world.check_one();
}

/// What a token lacks is said by the forge, and by the incident.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forge_that_refuses_is_quoted_when_the_time_is_over() {
    let world = World::start().await;
    let git = world.http(&SCOPES).await;
    let mut forge = world.forge(&["read:repository"]).await;
    forge["expires_after"] = Value::from("1s");
    world.configure(&Settings { mode: "pull_request", git, forge, ..Settings::default() });
    let controller = world.controller_told().await;
    let incident = world.home.reached(&controller, "NEEDS_HUMAN").await;
    let reason = incident["reason"].as_str().unwrap();
    assert!(reason.contains("there is no pull request in time: Gitea answered 403"), "{reason}");
    assert!(reason.contains("write:repository"), "{reason}");
    assert!(world.pull_requests().await.is_empty());
    world.check_none();
}

/// What it takes beside, and what is missing without: names, comments and labels are Gitea's issues.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_without_issues_opens_a_pull_request_all_the_same() {
    let world = World::start().await;
    let (git, forge) = (world.http(&["write:repository"]).await, world.forge(&["write:repository"]).await);
    world.configure(&Settings { mode: "pull_request", git, forge, ..Settings::default() });
    let mut controller = world.controller_told().await;
    let said = controller.says("the pull request has no labels").await;
    assert!(said["error"].as_str().unwrap().contains("read:issue"), "{said}");
    let pull_request = world.opened(&controller).await;
    world.close(&pull_request).await;
    let incident = world.home.reached(&controller, "NEEDS_HUMAN").await;
    let reason = incident["reason"].as_str().unwrap();
    assert!(reason.starts_with("somebody closed "), "{reason}");
}
