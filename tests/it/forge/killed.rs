//! `driftd controller` killed with SIGKILL while a person is to decide.

use std::sync::{Arc, Mutex};

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use reqwest::Method;
use serde_json::Value;
use tokio::sync::Notify;

use super::gitea::Gitea;
use super::world::{SCOPES, World};
use crate::controller::home::Settings;
use crate::support::mock_model_server;

/// The same pull request, merged, ends well.
async fn check_goes_on(world: &World) {
    let controller = world.controller_told().await;
    let pull_request = world.opened(&controller).await;
    world.merge(&pull_request, "merge").await;
    let incident = world.home.reached(&controller, "RECOVERED").await;
    assert_eq!(incident["pull_request"]["number"], pull_request["number"]);
    world.pull_request().await;
    world.check_one();
}

fn n_branches(world: &World) -> usize {
    world.git(&["branch", "--list", "drift/*"]).lines().count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_before_its_branch_is_pushed_it_pushes_and_opens_one() {
    let world = World::with_forge("pull_request").await;
    world.home.hold("pr_open");
    let mut controller = world.controller().await;
    controller.says("cannot write the journal; the incident waits").await;
    controller.kill();
    assert_eq!((n_branches(&world), world.pull_requests().await.len()), (0, 0));
    world.home.let_go();
    check_goes_on(&world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_between_branch_and_pull_request_it_opens_one_from_this_branch() {
    let world = World::start().await;
    let relay = Relay::start(world.gitea, Hold::Request).await;
    let branch = killed_while_opening(&world, &relay).await;
    assert_eq!(world.pull_requests().await.len(), 0);
    check_goes_on(&world).await;
    assert_eq!(world.git(&["branch", "--list", "drift/*", "--format=%(objectname)"]), branch);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_before_it_is_told_of_its_pull_request_it_finds_it() {
    let world = World::start().await;
    let relay = Relay::start(world.gitea, Hold::Answer).await;
    killed_while_opening(&world, &relay).await;
    assert_eq!(world.pull_requests().await.len(), 1);
    check_goes_on(&world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_while_it_waits_it_waits_on() {
    let world = World::with_forge("pull_request").await;
    let mut controller = world.controller_told().await;
    let pull_request = world.opened(&controller).await;
    controller.kill();
    let mut controller = world.controller_told().await;
    assert_eq!(world.opened(&controller).await["number"], pull_request["number"]);
    controller.kill();
    check_goes_on(&world).await;
}

/// By a squash with a message of people's own, and without the branch: nothing but the forge knows that it was ours.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_merged_while_it_is_dead_is_seen_when_it_lives_again() {
    let world = World::with_forge("pull_request").await;
    let mut controller = world.controller_told().await;
    let pull_request = world.opened(&controller).await;
    controller.kill();
    world.merge(&pull_request, "squash").await;
    world.delete_branch(&pull_request).await;
    let controller = world.controller().await;
    world.home.reached(&controller, "RECOVERED").await;
    world.check_version(1);
    world.home.verify();
    world.pull_request().await;
}

/// Returns the commit of the branch.
async fn killed_while_opening(world: &World, relay: &Relay) -> String {
    let (git, mut forge) = (world.http(&SCOPES).await, world.forge(&SCOPES).await);
    forge["url"] = Value::from(relay.url.clone());
    world.configure(&Settings { mode: "pull_request", git, forge, ..Settings::default() });
    let mut controller = world.controller().await;
    relay.told.notified().await;
    controller.kill();
    assert_eq!(world.home.state(), "pr_open");
    *relay.hold.lock().unwrap() = Hold::Nothing;
    world.git(&["branch", "--list", "drift/*", "--format=%(objectname)"])
}

/// What is held back for ever when a pull request is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hold {
    Nothing,
    Request,
    Answer,
}

/// On the way to Gitea's API.
struct Relay {
    url: String,
    hold: Arc<Mutex<Hold>>,
    told: Arc<Notify>,
}

impl Relay {
    async fn start(gitea: &'static Gitea, hold: Hold) -> Self {
        let (hold, told) = (Arc::new(Mutex::new(hold)), Arc::<Notify>::default());
        let (of_server, tells) = (Arc::clone(&hold), Arc::clone(&told));
        let addr = mock_model_server(move |request: Request| {
            let (hold, told) = (*of_server.lock().unwrap(), Arc::clone(&tells));
            async move {
                let is_held = request.method() == Method::POST && request.uri().path().ends_with("/pulls");
                let hold = if is_held { hold } else { Hold::Nothing };
                if hold == Hold::Request {
                    told.notify_one();
                    std::future::pending::<()>().await;
                }
                let answer = forward(gitea, request).await;
                if hold == Hold::Answer {
                    told.notify_one();
                    std::future::pending::<()>().await;
                }
                answer
            }
        })
        .await;
        Self { url: format!("http://{addr}"), hold, told }
    }
}

async fn forward(gitea: &Gitea, request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    parts.headers.remove("host");
    let body = to_bytes(body, usize::MAX).await.unwrap();
    let url = format!("{}{}", gitea.url(), parts.uri);
    let request = reqwest::Client::new().request(parts.method, url).headers(parts.headers).body(body);
    let answer = request.send().await.unwrap();
    let status = answer.status();
    (status, Body::from(answer.bytes().await.unwrap())).into_response()
}
