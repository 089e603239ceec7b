//! A repository in Gitea in which version 2 of a model is accused, people who work there, and a controller that comes and goes.

use std::path::PathBuf;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use super::gitea::{Gitea, PASSWORD, PEOPLE, ROBOT, key};
use crate::controller::Controller;
use crate::controller::home::{Home, Settings};
use crate::controller::stand_ins::{StandIns, alert, manifest};
use crate::rollback::remote::run;
use crate::support::PATIENCE;

/// What a token may do that pushes and opens pull requests: as docs/controller.md says.
pub const SCOPES: [&str; 2] = ["write:repository", "write:issue"];

pub struct World {
    pub gitea: &'static Gitea,
    pub home: Home,
    name: String,
    people: TempDir,
    stand_ins: StandIns,
}

impl World {
    /// Version 2 is deployed, after version 1; the robot may push.
    pub async fn start() -> Self {
        let gitea = Gitea::get().await;
        let name = format!("models-{:016x}", fastrand::u64(..));
        gitea.must(Method::POST, "/user/repos", &json!({"name": name, "default_branch": "main"})).await;
        let collaborator = format!("/repos/{PEOPLE}/{name}/collaborators/{ROBOT}");
        gitea.must(Method::PUT, &collaborator, &json!({"permission": "write"})).await;
        let people = TempDir::new().unwrap();
        run(people.path(), &["init", "-q", "-b", "main"]);
        let with_password = gitea.url().replace("http://", &format!("http://{PEOPLE}:{PASSWORD}@"));
        let url = format!("{with_password}/{PEOPLE}/{name}.git");
        run(people.path(), &["remote", "add", "origin", &url]);
        for version in [1, 2] {
            std::fs::write(people.path().join("credit.yaml"), manifest(version)).unwrap();
            run(people.path(), &["add", "-A"]);
            run(people.path(), &["commit", "-q", "-m", "models: another version"]);
        }
        run(people.path(), &["push", "-q", "origin", "main"]);
        // For a moment after the first push it takes no pull requests: the repository counts as empty.
        let deadline = Instant::now() + PATIENCE;
        while gitea.must(Method::GET, &format!("/repos/{PEOPLE}/{name}"), &Value::Null).await["empty"] == true
        {
            assert!(Instant::now() < deadline, "the repository is empty");
            sleep(Duration::from_millis(50)).await;
        }
        let stand_ins = StandIns::start(&gitea.path(&name)).await;
        Self { gitea, home: Home::new(), name, people, stand_ins }
    }

    /// The same, with the controller's Git over HTTP, this `mode`, and Gitea as its forge.
    pub async fn with_forge(mode: &'static str) -> Self {
        let world = Self::start().await;
        let (git, forge) = (world.http(&SCOPES).await, world.forge(&SCOPES).await);
        world.configure(&Settings { mode, git, forge, ..Settings::default() });
        world
    }

    pub fn configure(&self, settings: &Settings) {
        self.home.configure(&self.stand_ins, settings);
    }

    pub async fn controller(&self) -> Controller {
        self.home.controller().await
    }

    /// The same, told by Alertmanager.
    pub async fn controller_told(&self) -> Controller {
        let controller = self.controller().await;
        controller.deliver(&alert()).await;
        controller
    }

    /// The section `git`, over HTTP with a token that may do this much.
    pub async fn http(&self, scopes: &[&str]) -> Value {
        let token = self.gitea.token(scopes).await;
        let url = format!("{}/{PEOPLE}/{}.git", self.gitea.url(), self.name);
        json!({"url": url, "username": ROBOT, "token_file": self.home.file("git.token", &token)})
    }

    /// The section `git`, over SSH with a key of this repository alone.
    pub async fn ssh(&self) -> Value {
        let private = self.home.path("key of ours");
        let deploy_key = json!({"title": "driftd", "key": key(&private), "read_only": false});
        self.gitea.must(Method::POST, &self.at("/keys"), &deploy_key).await;
        let known_hosts = self.gitea.known_host(&self.gitea.host_public_key());
        json!({
            "url": format!("ssh://git@{}/{PEOPLE}/{}.git", self.gitea.ssh, self.name),
            "ssh_key_file": private,
            "known_hosts_file": self.home.file("known hosts", &known_hosts),
        })
    }

    /// The section `forge`, with a token that may do this much.
    pub async fn forge(&self, scopes: &[&str]) -> Value {
        let token = self.gitea.token(scopes).await;
        json!({
            "kind": "gitea", "url": self.gitea.url(), "project": format!("{PEOPLE}/{}", self.name),
            "token_file": self.home.file("forge.token", &token), "labels": ["drift"],
        })
    }

    /// A place in the API.
    pub fn at(&self, path: &str) -> String {
        format!("/repos/{PEOPLE}/{}{path}", self.name)
    }

    /// Nobody pushes to `main` any more: changes go by pull requests.
    pub async fn protect(&self) {
        let rule = json!({"rule_name": "main", "enable_push": false});
        self.gitea.must(Method::POST, &self.at("/branch_protections"), &rule).await;
    }

    /// As a person does it: commit and push.
    pub fn write(&self, file: &str, text: &str) {
        let people = self.people.path();
        run(people, &["fetch", "-q", "origin"]);
        run(people, &["reset", "-q", "--hard", "origin/main"]);
        std::fs::write(people.join(file), text).unwrap();
        run(people, &["add", "-A"]);
        run(people, &["commit", "-q", "-m", "models: by people"]);
        run(people, &["push", "-q", "origin", "main"]);
    }

    /// In the repository itself.
    pub fn git(&self, arguments: &[&str]) -> String {
        run(&self.bare(), arguments)
    }

    fn bare(&self) -> PathBuf {
        self.gitea.path(&self.name)
    }

    /// All, also those that are closed.
    pub async fn pull_requests(&self) -> Vec<Value> {
        let listed = self.gitea.must(Method::GET, &self.at("/pulls?state=all"), &Value::Null).await;
        serde_json::from_value(listed).unwrap()
    }

    /// The one that there is.
    pub async fn pull_request(&self) -> Value {
        let mut found = self.pull_requests().await;
        assert_eq!(found.len(), 1, "{found:#?}");
        found.remove(0)
    }

    /// The same, once the incident waits for what people make of it.
    pub async fn opened(&self, controller: &Controller) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let incidents = controller.incidents().await;
            if incidents.iter().any(|incident| incident["pull_request"].is_object()) {
                return self.pull_request().await;
            }
            assert!(Instant::now() < deadline, "no pull request in time: {incidents:#?}");
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// As a person does it. Gitea looks at a new pull request for a moment before it merges any.
    pub async fn merge(&self, pull_request: &Value, style: &str) {
        let path = self.at(&format!("/pulls/{}/merge", pull_request["number"]));
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (status, answer) = self.gitea.ask(Method::POST, &path, &json!({"Do": style})).await;
            if status.is_success() {
                return;
            }
            assert!(Instant::now() < deadline, "{style}: {status} {answer}");
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// As a person does it.
    pub async fn close(&self, pull_request: &Value) {
        let path = self.at(&format!("/pulls/{}", pull_request["number"]));
        self.gitea.must(Method::PATCH, &path, &json!({"state": "closed"})).await;
    }

    /// As a person does it.
    pub async fn delete_branch(&self, pull_request: &Value) {
        let branch = branch_of(pull_request).replace('/', "%2F");
        self.gitea.must(Method::DELETE, &self.at(&format!("/branches/{branch}")), &Value::Null).await;
    }

    /// What was said under it.
    pub async fn comments(&self, pull_request: &Value) -> Vec<String> {
        let path = self.at(&format!("/issues/{}/comments", pull_request["number"]));
        let listed: Vec<Value> =
            serde_json::from_value(self.gitea.must(Method::GET, &path, &Value::Null).await).unwrap();
        listed.iter().map(|comment| comment["body"].as_str().unwrap().to_owned()).collect()
    }

    /// The model is well, the branch says version 1, and there is one commit of the action in its history, which changes one line.
    #[track_caller]
    pub fn check_one(&self) {
        let ours = self.git(&["rev-list", "--no-merges", "--grep=^Drift-Action-Id: rb-", "main"]);
        assert_eq!(ours.lines().count(), 1, "{ours}");
        assert_eq!(self.git(&["show", "--format=", "--numstat", &ours]), "1\t1\tcredit.yaml");
        self.check_version(1);
        self.home.verify();
    }

    /// Nothing of the controller's is on the branch.
    #[track_caller]
    pub fn check_none(&self) {
        assert_eq!(self.git(&["rev-list", "--grep=Drift-Action-Id: rb-", "main"]), "");
        self.home.verify();
    }

    #[track_caller]
    pub fn check_version(&self, version: u8) {
        assert_eq!(self.git(&["show", "main:credit.yaml"]) + "\n", manifest(version));
    }
}

pub fn branch_of(pull_request: &Value) -> &str {
    pull_request["head"]["label"].as_str().unwrap()
}
