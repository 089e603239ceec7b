//! What people make of a pull request.

use serde_json::Value;

use super::world::{SCOPES, World};
use crate::controller::home::Settings;
use crate::controller::stand_ins::{alert, manifest};

/// Merged in one of Gitea's ways, after somebody else's commit; then the branch is deleted, as most do.
async fn check_merged(style: &'static str) {
    let world = World::with_forge("pull_request").await;
    let controller = world.controller_told().await;
    let pull_request = world.opened(&controller).await;
    world.write("other.yaml", "of: others\n");
    world.merge(&pull_request, style).await;
    world.delete_branch(&pull_request).await;
    let incident = world.home.reached(&controller, "RECOVERED").await;
    let commit = incident["commit"]["commit"].as_str().unwrap();
    world.git(&["merge-base", "--is-ancestor", commit, "main"]);
    world.check_version(1);
    world.home.verify();
    assert_eq!(world.git(&["show", "main:other.yaml"]), "of: others");
    // What a squash is called is the forge's or the person's: in all other ways the commit is found by its trailers.
    if style != "squash" {
        world.check_one();
    }
    world.pull_request().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn however_it_is_merged_it_is_known_as_ours_and_goes_on() {
    let styles = ["merge", "squash", "rebase", "rebase-merge"];
    let runs = styles.map(|style| tokio::spawn(check_merged(style)));
    for run in runs {
        run.await.unwrap();
    }
}

/// Also by deleting its branch. It is not opened again when the alert comes again, or when somebody asks for the same.
async fn check_refused(is_branch_deleted: bool) {
    let world = World::with_forge("pull_request").await;
    let controller = world.controller_told().await;
    let pull_request = world.opened(&controller).await;
    if is_branch_deleted {
        world.delete_branch(&pull_request).await;
    } else {
        world.close(&pull_request).await;
    }
    let incident = world.home.reached(&controller, "NEEDS_HUMAN").await;
    let url = pull_request["html_url"].as_str().unwrap();
    assert_eq!(incident["reason"], format!("people closed {url} without merging it"));
    controller.deliver(&alert()).await;
    let again = world.home.reached(&controller, "NEEDS_HUMAN").await;
    let accusations = again["accusations"].as_array().unwrap();
    let is_twice =
        |accusation: &Value| accusation["fingerprint"] == alert()["fingerprint"] && accusation["n_seen"] == 2;
    assert!(accusations.iter().any(is_twice), "{again:#}");
    controller.roll_back().await;
    let asked_for = world.home.reached_by(2, &controller, "NEEDS_HUMAN").await;
    assert_eq!(asked_for["reason"], incident["reason"]);
    assert_eq!(asked_for["pull_request"], incident["pull_request"]);
    world.pull_request().await;
    world.check_none();
    world.check_version(2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_that_a_person_has_closed_is_the_end_and_is_not_opened_again() {
    let runs = [false, true].map(|is_branch_deleted| tokio::spawn(check_refused(is_branch_deleted)));
    for run in runs {
        run.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_that_somebody_changes_while_it_waits_is_theirs_and_that_is_said_there() {
    let world = World::with_forge("pull_request").await;
    let controller = world.controller_told().await;
    let pull_request = world.opened(&controller).await;
    controller.deliver(&alert()).await;
    world.write("credit.yaml", &manifest(3));
    let incident = world.home.reached(&controller, "SUPERSEDED").await;
    let reason = incident["reason"].as_str().unwrap();
    assert!(reason.contains("s3://models/credit/3"), "{reason}");
    let comments = world.comments(&pull_request).await;
    assert_eq!(comments, [format!("{reason}. driftd does not follow this any more.")]);
    assert_eq!(world.pull_request().await["state"], "open", "it is people's now");
    world.check_version(3);
    world.check_none();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_nobody_merges_is_given_up_and_that_is_said_there() {
    let world = World::start().await;
    let (git, mut forge) = (world.http(&SCOPES).await, world.forge(&SCOPES).await);
    forge["expires_after"] = Value::from("2s");
    world.configure(&Settings { mode: "pull_request", git, forge, ..Settings::default() });
    let controller = world.controller_told().await;
    let pull_request = world.opened(&controller).await;
    let incident = world.home.reached(&controller, "NEEDS_HUMAN").await;
    let expected = format!("nobody has merged {} in time", pull_request["html_url"].as_str().unwrap());
    assert_eq!(incident["reason"], expected);
    let comments = world.comments(&pull_request).await;
    assert_eq!(comments, ["Nobody has merged this in time; driftd does not follow it any more."]);
    world.check_none();
}
