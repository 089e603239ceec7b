//! People and a controller, each a process of its own: `driftd rollback`, `pause`, `resume`, `approve` and `audit`, with real Git, and a
//! Prometheus that nobody needs for what a person asks.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::process::driftd;
use crate::support::PATIENCE;

/// A repository with two versions of a model, and a controller on it.
struct World {
    folder: TempDir,
    controller: Child,
    url: String,
}

impl Drop for World {
    fn drop(&mut self) {
        drop(self.controller.kill());
        drop(self.controller.wait());
    }
}

fn git(folder: &Path, args: &[&str]) -> String {
    let output = Command::new("git")
        .args(["-c", "user.name=ann", "-c", "user.email=ann@example.com"])
        .args(args)
        .current_dir(folder)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()
        .expect("git runs");
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn manifest(version: u8) -> String {
    format!(
        "apiVersion: serving.kserve.io/v1beta1\nkind: InferenceService\nmetadata: {{name: credit, namespace: prod}}\nspec:\n  predictor:\n    \
         model:\n      modelFormat: {{name: sklearn}}\n      storageUri: s3://models/credit/{version}\n"
    )
}

impl World {
    fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let people = folder.path().join("people");
        git(folder.path(), &["init", "-q", "--bare", "-b", "main", "models.git"]);
        git(folder.path(), &["init", "-q", "-b", "main", "people"]);
        for version in [1, 2] {
            std::fs::write(people.join("credit.yaml"), manifest(version)).unwrap();
            git(&people, &["add", "-A"]);
            git(&people, &["commit", "-q", "-m", &format!("credit {version}")]);
        }
        git(&people, &["push", "-q", "../models.git", "main"]);
        for (name, token) in [("alerts.token", "of-alertmanager"), ("ann.token", "token-of-ann")] {
            std::fs::write(folder.path().join(name), token).unwrap();
        }
        let at = |name: &str| folder.path().join(name).display().to_string();
        let config = format!(
            "listen: 127.0.0.1:0\nstate_dir: '{}'\nalerts: {{bearer_token_file: '{}'}}\n\
             api: {{operators: [{{name: ann, token_file: '{}'}}]}}\nprometheus: {{url: 'http://127.0.0.1:1'}}\n\
             git: {{url: 'file://{}', author: 'driftd <driftd@example.com>'}}\n\
             policy: {{unverified: commit, check_artifacts: false}}\ntargets: [{{namespace: prod, name: credit}}]\n",
            at("state"),
            at("alerts.token"),
            at("ann.token"),
            at("models.git"),
        );
        std::fs::write(folder.path().join("controller.yaml"), config).unwrap();
        let mut controller = driftd()
            .args(["controller", "--log-format", "json", "--config", &at("controller.yaml")])
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut log = BufReader::new(controller.stderr.take().expect("piped")).lines();
        let addr = log
            .by_ref()
            .find_map(|line| {
                let line: Value = serde_json::from_str(&line.expect("UTF-8")).expect("JSON lines");
                line["fields"]["listen"].as_str().map(str::to_owned)
            })
            .expect("it says where it listens");
        std::thread::spawn(move || log.for_each(drop)); // a full pipe would stop it
        Self { folder, controller, url: format!("http://{addr}") }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Of a person with a token.
    fn ask(&self, args: &[&str]) -> Output {
        self.ask_with("ann.token", args)
    }

    fn ask_with(&self, token: &str, args: &[&str]) -> Output {
        let mut command = driftd();
        command.args(args).env("DRIFTD_CONTROLLER", &self.url).env("DRIFTD_TOKEN_FILE", self.path(token));
        command.output().expect("the program starts")
    }

    #[track_caller]
    fn check(&self, args: &[&str], code: i32, expected: &[&str]) -> String {
        check_output(args, &self.ask(args), code, expected)
    }

    /// Beside the controller, from its files.
    #[track_caller]
    fn check_here(&self, args: &[&str], code: i32, expected: &[&str]) -> String {
        let state_dir = self.path("state");
        let output = driftd().args(args).arg("--state-dir").arg(state_dir).output().unwrap();
        check_output(args, &output, code, expected)
    }

    fn n_commits(&self) -> usize {
        git(&self.path("models.git"), &["rev-list", "--count", "main"]).trim().parse().unwrap()
    }
}

#[track_caller]
fn check_output(args: &[&str], output: &Output, code: i32, expected: &[&str]) -> String {
    let text = [&*output.stdout, &*output.stderr].map(String::from_utf8_lossy).concat();
    assert_eq!(output.status.code(), Some(code), "{args:?}: {text}");
    for expected in expected {
        assert!(text.contains(expected), "{args:?}: {text:?}, expected it to contain {expected:?}");
    }
    String::from_utf8_lossy(&output.stdout).into_owned()
}

const CHANGE: &str = "spec.predictor.model.storageUri: s3://models/credit/2 → s3://models/credit/1";

#[test]
fn a_person_is_told_rolls_back_and_finds_it_in_the_audit() {
    let world = World::start();
    world.check(&["audit", "list"], 0, &["no incidents"]);
    world.check(
        &["rollback", "prod/credit", "--dry-run", "--reason", "complaints"],
        0,
        &["dry_run_done", CHANGE, "ann asked for what a rollback would do: complaints", "yes  pause"],
    );
    assert_eq!(world.n_commits(), 2, "a dry run commits nothing");

    world.check(&["pause", "prod", "--for", "1h", "--reason", "release"], 0, &["prod is paused"]);
    world.check(&["pause", "--list"], 0, &["prod by ann", "release", "until"]);
    world.check(&["rollback", "prod/credit"], 1, &["suppressed", "prod is paused by ann: release"]);
    assert_eq!(world.n_commits(), 2, "paused is paused");
    world.check(&["resume", "prod"], 0, &["prod goes on"]);
    world.check(&["resume", "prod"], 2, &["not paused"]);

    let number = world.check(&["rollback", "prod/credit", "--reason", "complaints", "--no-wait"], 0, &[]);
    let deadline = Instant::now() + PATIENCE;
    while world.n_commits() < 3 {
        assert!(
            Instant::now() < deadline,
            "no commit: {:?}",
            world.ask(&["audit", "explain", number.trim()])
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    let diff = git(&world.path("models.git"), &["show", "--format=", "--unified=0", "main"]);
    let changed: Vec<_> = diff
        .lines()
        .filter(|line| line.starts_with(['-', '+']) && !line.starts_with("---") && !line.starts_with("+++"))
        .collect();
    assert_eq!(
        changed,
        ["-      storageUri: s3://models/credit/2", "+      storageUri: s3://models/credit/1"]
    );

    let listed: Value =
        serde_json::from_str(&world.check(&["audit", "list", "--format", "json"], 0, &[])).unwrap();
    assert_eq!(listed.as_array().map(Vec::len), Some(3));
    let action = listed[0]["plan"]["action"].as_str().unwrap().to_owned();
    // The same from its files as from itself, and by its action as by its number.
    world.check_here(&["audit", "list", "--service", "prod/credit"], 0, &["suppressed", "dry_run_done"]);
    world.check_here(&["audit", "explain", &action], 0, &["complaints", CHANGE, "What the gates said"]);
    world.check_here(&["audit", "show", &format!("{action}-1")], 0, &["-1", "received"]);
    world.check(&["audit", "show", number.trim()], 0, &["received", "committing"]);
    world.check(&["audit", "list", "--summary"], 0, &["3 incidents", "1 dry_run_done", "alert → pushed"]);
    world.check(&["audit", "show", "99"], 2, &["there is no incident 99"]);
    world.check(&["audit", "verify"], 0, &["events, the last "]);

    // Git alone knows it too.
    let repository = format!("file://{}", world.path("models.git").display());
    let args = ["audit", "rebuild", "--repo", &repository, "--format", "json"];
    let rebuilt: Value = serde_json::from_str(&world.check(&args, 0, &[])).unwrap();
    assert_eq!(rebuilt[0]["action"], action);
    assert_eq!(rebuilt[0]["requested_by"], "ann");
    assert_eq!(rebuilt[0]["from_uri"], "s3://models/credit/2");
    let folder = world.path("a copy, 100%20.git"); // what `git` would decode in a URL
    git(world.folder.path(), &["clone", "-q", "--bare", "models.git", &folder.display().to_string()]);
    world.check(&["audit", "rebuild", "--repo", &folder.display().to_string()], 0, &[&action]);
    let nowhere = world.path("nowhere.git").display().to_string();
    world.check(&["audit", "rebuild", "--repo", &nowhere], 2, &["`--repo`", "nowhere.git", "a folder here"]);
    let nowhere = format!("file://{nowhere}");
    world.check(&["audit", "rebuild", "--repo", &nowhere], 69, &["nowhere.git"]);
    let by_ssh = ["audit", "rebuild", "--repo", "git@git.example.com:models.git"];
    world.check(&by_ssh, 2, &["`--known-hosts-file` is missing"]);
}

#[test]
fn who_may_not_is_refused_and_who_is_not_there_is_named() {
    let world = World::start();
    let output = world.ask_with("alerts.token", &["rollback", "prod/credit"]);
    check_output(&["rollback"], &output, 2, &["the controller answered 401"]);
    world.check(&["rollback", "prod/unknown"], 2, &["prod/unknown is none of the `targets`"]);
    world.check(&["approve", "7"], 2, &["there is no incident 7"]);
    world.check(&["rollback", "credit"], 2, &["`credit` is not NAMESPACE/NAME"]);
    world.check(&["pause"], 2, &["SCOPE"]);
    for scope in ["", "prod/", "Prod"] {
        let said = format!("`{scope}` is no scope; give `fleet`, NAMESPACE or NAMESPACE/NAME");
        world.check(&["pause", scope], 2, &[&said]);
    }
    let output = driftd()
        .args(["resume", "fleet", "--controller", "http://127.0.0.1:1", "--token-file"])
        .arg(world.path("ann.token"))
        .output()
        .unwrap();
    let said = ["http://127.0.0.1:1/", "`driftd controller` runs there", "`--controller`", "does not answer"];
    check_output(&["resume"], &output, 69, &said);
    let output = driftd().args(["audit", "list", "--controller", &world.url]).output().unwrap();
    check_output(&["audit", "list"], &output, 2, &["`--token-file` is missing"]);
    let output = driftd().args(["audit", "list"]).output().unwrap();
    check_output(&["audit", "list"], &output, 2, &["--state-dir"]);
}

#[test]
fn a_flag_counts_for_more_than_the_environment() {
    let world = World::start();
    world.check(&["rollback", "prod/credit", "--dry-run"], 0, &[]);
    let list = |environment: &str, args: &[&str]| {
        let mut command = driftd();
        command.args(["audit", "list"]).args(args).env("DRIFTD_CONTROLLER", environment);
        command.arg("--token-file").arg(world.path("ann.token")).output().unwrap()
    };
    let (nowhere, state_dir) = ("http://127.0.0.1:1", world.path("state").display().to_string());
    let here = ["--state-dir", &state_dir];
    check_output(&here, &list(nowhere, &here), 0, &["dry_run_done"]);
    let there = ["--controller", &world.url];
    check_output(&there, &list(nowhere, &there), 0, &["dry_run_done"]);
    let both = [here, there].concat();
    check_output(&both, &list(nowhere, &both), 2, &["`--state-dir` and `--controller`", "give one"]);
}

#[test]
fn every_subcommand_of_audit_says_what_it_is_for() {
    let help = check_output(&[], &driftd().args(["audit", "--help"]).output().unwrap(), 0, &[]);
    let mut said: Vec<&str> = help
        .lines()
        .filter_map(|line| line.strip_prefix("  ")?.split_once("  "))
        .map(|(_, about)| about.trim())
        .collect();
    let n_said = said.len();
    said.sort_unstable();
    said.dedup();
    assert!(n_said >= 5 && said.len() == n_said, "{help}");
    for (command, expected) in [("show", "what was done"), ("explain", "what was known at the time")] {
        let output = driftd().args(["audit", command, "--help"]).output().unwrap();
        check_output(&[command], &output, 0, &[expected, &format!("driftd audit {command} 7")]);
    }
}

#[test]
fn a_journal_that_was_changed_ends_verify_with_1() {
    let world = World::start();
    world.check(&["rollback", "prod/credit", "--dry-run"], 0, &[]);
    world.check_here(&["audit", "verify"], 0, &["events, the last "]);
    let connection = rusqlite::Connection::open(world.path("state/journal.sqlite")).unwrap();
    let change = "DROP TRIGGER never_changed; UPDATE events SET payload = replace(payload, 'ann', 'bob')";
    connection.execute_batch(change).unwrap();
    world.check_here(&["audit", "verify"], 1, &["of the journal was changed"]);
    world.check(&["audit", "verify"], 1, &["of the journal was changed"]);
}
