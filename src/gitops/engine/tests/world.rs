//! A repository, a stand-in witness, and the engine between them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use chrono::{TimeDelta, Utc};
use prometheus::Registry;
use tempfile::TempDir;

use super::super::super::choose::Verdict;
use super::super::super::config::ControllerConfig;
use super::super::super::incident::{Incident, Timestamp};
use super::super::*;
use super::stand_in::{Facts, StandInCluster, StandInWitness};
use super::{Alert, Delivery, State};
use crate::baseline::source::version_of;
use crate::gitops::config::RawControllerConfig;
use crate::telemetry::ControllerMetrics;

pub fn service() -> ServiceName {
    "prod/credit".parse().unwrap()
}

pub fn uri(number: u8) -> String {
    format!("s3://models/credit/{number}")
}

pub fn version(number: u8) -> String {
    version_of(&uri(number))
}

/// An alert on that version of a service in `prod`.
pub fn alert(name: &str, number: u8, at: Timestamp) -> Alert {
    let version = version(number);
    let labels = [
        ("alertname", "DriftdModelDrift"),
        ("namespace", "prod"),
        ("inferenceservice", name),
        ("driftd_action", "rollback"),
        ("version", &version),
    ];
    Alert::firing(&labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into(), at)
}

pub fn manifest(number: u8, percent: Option<u8>) -> String {
    let percent =
        percent.map_or_else(String::new, |percent| format!("    canaryTrafficPercent: {percent}\n"));
    format!(
        "# The credit model.\napiVersion: serving.kserve.io/v1beta1\nkind: InferenceService\nmetadata:\n  name: credit\n  \
         namespace: prod\nspec:\n  predictor:\n{percent}    model:\n      modelFormat: {{name: sklearn}}\n      storageUri: {} # the model\n",
        uri(number)
    )
}

pub struct World {
    pub handle: EngineHandle,
    registry: Registry,
    facts: Arc<Mutex<Facts>>,
    cluster: Option<Arc<StandInCluster>>,
    folder: Arc<TempDir>,
    config: ControllerConfig,
    state_dir: PathBuf,
    stop: CancellationToken,
    running: tokio::task::JoinHandle<()>,
}

impl World {
    /// Version 1 serves, and was seen to serve well unless `configure` says that this does not count.
    pub async fn start(configure: impl FnOnce(&mut ControllerConfig)) -> Self {
        Self::start_beside(None, configure).await
    }

    /// And with a cluster.
    pub async fn start_beside(
        cluster: Option<Arc<StandInCluster>>,
        configure: impl FnOnce(&mut ControllerConfig),
    ) -> Self {
        let folder = Arc::new(TempDir::new().unwrap());
        let remote = folder.path().join("remote.git");
        run(folder.path(), &["init", "-q", "--bare", "-b", "main", "remote.git"]);
        run(folder.path(), &["clone", "-q", "remote.git", "people"]);
        let text = format!(
            "state_dir: x\nalerts: {{bearer_token_file: x}}\nprometheus: {{url: 'http://127.0.0.1:1'}}\n\
             git: {{url: 'file://{}', author: 'driftd <driftd@example.com>'}}\n\
             policy: {{recovery_settle: 10ms, recovery_timeout: 20s, serving_timeout: 20s, unverified: commit, check_artifacts: false}}\n\
             targets: [{{namespace: prod, name: credit}}, {{namespace: prod, name: other}}]\n",
            remote.display()
        );
        let raw: RawControllerConfig = serde_saphyr::from_str(&text).unwrap();
        let mut config = ControllerConfig::try_from(raw).unwrap();
        configure(&mut config);
        let facts =
            Facts { accused: true, is_well: Some(true), serves: None, others: Vec::new(), panics: false };
        let facts = Arc::new(Mutex::new(facts));
        let state_dir = folder.path().join("state");
        write(folder.path(), "credit.yaml", &manifest(1, None));
        let world = Self::begin(folder, config, facts, cluster, state_dir).await;
        if world.config.policy.unverified == super::Unverified::Commit {
            let now = Utc::now();
            let verdict =
                Verdict { served_since: now - TimeDelta::hours(1), at: now, n_rows: 5000, digest: None };
            let context = world.handle.context();
            context.book.approve(context, &service(), &uri(1), verdict).await;
        }
        world
    }

    async fn begin(
        folder: Arc<TempDir>,
        config: ControllerConfig,
        facts: Arc<Mutex<Facts>>,
        cluster: Option<Arc<StandInCluster>>,
        state_dir: PathBuf,
    ) -> Self {
        let registry = Registry::new();
        let metrics = ControllerMetrics::register(&registry, &[]).unwrap();
        // A write of the engine before may still be under way.
        let journal = loop {
            match Journal::open(&state_dir) {
                Err(JournalError::Taken { .. }) => tokio::time::sleep(Duration::from_millis(10)).await,
                opened => break opened.unwrap(),
            }
        };
        let context = Context {
            book: Book::read(&journal).await.unwrap(),
            repository: Repository::open(&config.git, &state_dir, &metrics).await.unwrap(),
            journal,
            witness: Arc::new(StandInWitness {
                facts: Arc::clone(&facts),
                remote: folder.path().join("remote.git"),
            }),
            config: Arc::new(config.clone()),
            argocd: None,
            cluster: cluster.clone().map(|cluster| cluster as Arc<dyn Cluster>),
            forge: None,
            measure: Measure::new(metrics),
            term: watch::channel(Some(1)).1,
        };
        let handle = EngineHandle::new(context);
        let stop = CancellationToken::new();
        let running = tokio::spawn(run_engine(handle.clone(), stop.clone()));
        let world = Self { handle, registry, facts, cluster, folder, config, state_dir, stop, running };
        world.handle.ready().await;
        world
    }

    /// The same controller after a crash.
    pub async fn restart(self) -> Self {
        let state_dir = self.state_dir.clone();
        self.restart_in(state_dir).await
    }

    /// Another replica, which has nothing but Git.
    pub async fn restart_with_another_journal(self) -> Self {
        let state_dir = self.folder.path().join("other");
        self.restart_in(state_dir).await
    }

    /// The replica that was there first.
    pub async fn restart_with_the_first_journal(self) -> Self {
        let state_dir = self.folder.path().join("state");
        self.restart_in(state_dir).await
    }

    /// The controller of another cluster, which follows the same branch.
    pub async fn restart_in_cluster(mut self, name: &str) -> Self {
        name.clone_into(&mut self.config.cluster);
        let state_dir = self.folder.path().join(name);
        self.restart_in(state_dir).await
    }

    async fn restart_in(self, state_dir: PathBuf) -> Self {
        self.stop.cancel();
        self.running.await.unwrap();
        let Self { facts, cluster, folder, config, handle, .. } = self;
        drop(handle);
        Self::begin(folder, config, facts, cluster, state_dir).await
    }

    pub fn facts(&self, change: impl FnOnce(&mut Facts)) {
        change(&mut self.facts.lock().unwrap());
    }

    pub fn deploy(&self, number: u8) {
        self.write("credit.yaml", &manifest(number, None));
    }

    /// As a person does it: commit and push.
    pub fn write(&self, file: &str, text: &str) {
        write(self.folder.path(), file, text);
    }

    pub fn hook(&self, script: &str) {
        use std::os::unix::fs::PermissionsExt;
        let path = self.folder.path().join("remote.git/hooks/pre-receive");
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    pub async fn accuse(&self, number: u8) {
        self.accuse_since(number, Utc::now() - TimeDelta::seconds(5)).await;
    }

    /// By an alert that begins after all that was done.
    pub async fn accuse_later(&self, number: u8) {
        self.accuse_since(number, Utc::now() + TimeDelta::seconds(1)).await;
    }

    async fn accuse_since(&self, number: u8, at: Timestamp) {
        self.deliver(vec![alert("credit", number, at)]).await;
    }

    pub async fn deliver(&self, alerts: Vec<Alert>) {
        self.handle.deliver(Delivery { alerts, n_truncated: 0 }).await.unwrap();
    }

    /// All incidents, once there are so many and they have ended.
    pub async fn all_ended(&self, n_incidents: usize) -> Vec<Incident> {
        for _ in 0..1200 {
            let incidents = self.handle.context().journal.incidents(None).await.unwrap();
            if incidents.len() == n_incidents && incidents.iter().all(|incident| incident.state.is_terminal())
            {
                return incidents;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("not within a minute");
    }

    /// Waits until a series says so.
    pub async fn series(&self, line: &str) {
        let mut text = String::new();
        for _ in 0..600 {
            text = prometheus::TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap();
            if text.lines().any(|found| found == line) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("not within 30 s: {line}\n{text}");
    }

    /// The newest incident, once it has ended.
    pub async fn ended(&self) -> Incident {
        self.wait(|incident| incident.state.is_terminal()).await
    }

    pub async fn reached(&self, state: State) -> Incident {
        self.wait(|incident| incident.state == state).await
    }

    async fn wait(&self, is_it: impl Fn(&Incident) -> bool) -> Incident {
        for _ in 0..600 {
            let incidents = self.handle.context().journal.incidents(None).await.unwrap();
            if let Some(incident) = incidents.into_iter().next().filter(|incident| is_it(incident)) {
                return incident;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let incidents = self.handle.context().journal.incidents(None).await.unwrap();
        panic!("not within 30 s; the newest is {:#?}", incidents.first());
    }

    /// Its journal's file, opened beside it.
    pub fn journal(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.state_dir.join(super::super::super::journal::FILE)).unwrap()
    }

    pub fn remote(&self) -> PathBuf {
        self.folder.path().join("remote.git")
    }

    pub fn tip(&self) -> String {
        git(&self.remote(), &["rev-parse", "main"])
    }

    pub fn message(&self) -> String {
        git(&self.remote(), &["log", "-1", "--format=%B", "main"])
    }

    pub fn manifest(&self) -> String {
        git(&self.remote(), &["show", "main:credit.yaml"]) + "\n"
    }

    /// Commits of ours.
    pub fn n_ours(&self) -> usize {
        git(&self.remote(), &["rev-list", "--count", "--grep=^Drift-Action-Id: rb-", "main"]).parse().unwrap()
    }

    pub fn n_commits(&self) -> usize {
        git(&self.remote(), &["rev-list", "--count", "main", "--", "credit.yaml"]).parse().unwrap()
    }
}

async fn run_engine(handle: EngineHandle, stop: CancellationToken) {
    super::super::run(handle, stop).await;
}

fn write(folder: &Path, file: &str, text: &str) {
    let people = folder.join("people");
    let path = people.join(file);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    run(&people, &["fetch", "-q"]);
    let is_new = !git_succeeds(&people, &["rev-parse", "--verify", "-q", "origin/main"]);
    if !is_new {
        run(&people, &["checkout", "-q", "-B", "main", "origin/main"]);
    }
    std::fs::write(path, text).unwrap();
    run(&people, &["add", "."]);
    run(&people, &["commit", "-q", "-m", "a change of people's"]);
    run(&people, &["push", "-q", "origin", "HEAD:main"]);
}

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("git");
    command.current_dir(folder).args(["-c", "user.name=People", "-c", "user.email=people@example.com"]);
    command.args(["-c", "init.defaultBranch=main"]).args(arguments).env("GIT_CONFIG_GLOBAL", "/dev/null");
    command
}

fn git_succeeds(folder: &Path, arguments: &[&str]) -> bool {
    command(folder, arguments).output().unwrap().status.success()
}

fn run(folder: &Path, arguments: &[&str]) {
    git(folder, arguments);
}

pub fn git(folder: &Path, arguments: &[&str]) -> String {
    let output = command(folder, arguments).output().unwrap();
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
