//! A repository with one manifest, and rollbacks of it.

use std::path::{Path, PathBuf};
use std::process::Command;

use driftd::gitops::config::{Author, GitConfig};
use driftd::gitops::git::{Change, Hold, Message, PublishError, Published, Repository, Superseded};
use driftd::gitops::incident::Edit;
use driftd::gitops::manifest::splice;
use driftd::telemetry::ControllerMetrics;
use futures_util::future::BoxFuture;
use prometheus::Registry;
use tempfile::TempDir;

use crate::rollback::remote::{PASSWORD, Remote, USER};

pub const FILE: &str = "credit.yaml";
pub const ID: &str = "rb-0123456789abcdef-1";
/// Lines that others edit beside the model's.
pub const N_NOTES: usize = 25;

/// Nothing is paused.
struct Free;

impl Hold for Free {
    fn allows<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<(), PublishError>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

pub fn uri(version: u8) -> String {
    format!("s3://models/credit/{version}")
}

/// A manifest, with notes on the lines above it.
pub fn manifest(version: u8, note: &str) -> String {
    let notes: Vec<String> = (0..N_NOTES).map(|idx| format!("# note {idx}: {note}")).collect();
    format!(
        "{}\napiVersion: serving.kserve.io/v1beta1\nkind: InferenceService\nmetadata:\n  name: credit\n  namespace: prod\nspec:\n  \
         predictor:\n    model:\n      modelFormat: {{name: sklearn}}\n      storageUri: {} # the model\n",
        notes.join("\n"),
        uri(version)
    )
}

pub struct World {
    pub remote: Remote,
    folder: TempDir,
    metrics: ControllerMetrics,
}

impl World {
    /// Version 2 is deployed, after version 1.
    pub async fn start() -> Self {
        let remote = Remote::start(FILE, &manifest(1, "none")).await;
        remote.write(FILE, &manifest(2, "none"));
        let metrics = ControllerMetrics::register(&Registry::new(), &[]).unwrap();
        Self { remote, folder: TempDir::new().unwrap(), metrics }
    }

    /// A configuration by which the repository is reached over HTTP.
    pub fn config(&self) -> GitConfig {
        let token_file = self.path("git.token");
        std::fs::write(&token_file, PASSWORD).unwrap();
        GitConfig {
            url: self.remote.url(),
            branch: "main".to_owned(),
            username: USER.to_owned(),
            token_file: Some(token_file),
            ssh_key_file: None,
            known_hosts_file: None,
            ca_file: None,
            author: Author { name: "driftd".to_owned(), email: "driftd@example.com".to_owned() },
            signing: None,
            fetch_interval: std::time::Duration::from_secs(30),
            timeout: std::time::Duration::from_secs(20),
            pause_file: ".drift/pause.yaml".to_owned(),
        }
    }

    /// As [`Self::config`], by the file system.
    pub fn local(&self) -> GitConfig {
        GitConfig { url: format!("file://{}", self.remote.path().display()), ..self.config() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A clone of a controller's.
    pub async fn repository(&self, config: &GitConfig) -> Repository {
        Repository::open(config, &self.path("state"), &self.metrics).await.unwrap()
    }

    /// Puts version 1 back in place of version 2, unless the line says something else by now.
    pub async fn roll_back(&self, repository: &Repository) -> Result<Published, PublishError> {
        self.roll_back_when(repository, |_| ()).await
    }

    /// The same; each time that the file is read for it, `meanwhile` is called with how often that was before.
    pub async fn roll_back_when(
        &self,
        repository: &Repository,
        meanwhile: impl Fn(usize) + Sync,
    ) -> Result<Published, PublishError> {
        let edits = [Edit { path: "spec.predictor.model.storageUri".to_owned(), from: uri(2), to: uri(1) }];
        let n_read = std::sync::atomic::AtomicUsize::new(0);
        let make = |bytes: &[u8]| {
            meanwhile(n_read.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
            splice(bytes, 0, &edits).map_err(|error| Superseded(error.to_string()))
        };
        let message = Message {
            subject: "rollback(model): prod/credit 2 → 1".to_owned(),
            body: "By a test.".to_owned(),
            trailers: vec![("Drift-Action", "rollback".to_owned()), ("Drift-Action-Id", ID.to_owned())],
        };
        let (message, make, hold) = (&message, &make, &Free);
        let change = Change { id: ID, file: FILE, message, make, hold, n_lines: 1, branch: None };
        repository.publish(&change, &self.metrics).await
    }

    /// As a person does it.
    pub fn write(&self, file: &str, text: &str) {
        self.remote.write(file, text);
    }

    pub fn file(&self) -> String {
        self.remote.git(&["show", "main:credit.yaml"]) + "\n"
    }

    /// There is one commit of the action on the branch, `commit`, which changes one line; the repository is whole.
    #[track_caller]
    pub fn check_one(&self, commit: &str) {
        let pattern = format!("--grep=^Drift-Action-Id: {ID}$");
        assert_eq!(self.remote.git(&["rev-list", &pattern, "main"]), commit, "one commit of the action");
        assert_eq!(self.remote.git(&["show", "--format=", "--numstat", commit]), "1\t1\tcredit.yaml");
        self.check_whole();
    }

    /// No commit of the action is on the branch; the repository is whole.
    #[track_caller]
    pub fn check_none(&self) {
        assert_eq!(self.remote.git(&["rev-list", "--grep=^Drift-Action-Id:", "main"]), "");
        self.check_whole();
    }

    #[track_caller]
    fn check_whole(&self) {
        self.remote.git(&["fsck", "--strict", "--no-dangling"]);
        assert_eq!(self.remote.git(&["rev-list", "--merges", "main"]), "", "nothing was merged");
    }
}

/// A program that has to succeed.
pub fn run(program: &str, arguments: &[&str], environment: &[(&str, &Path)]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .envs(environment.iter().copied())
        .output()
        .unwrap_or_else(|error| panic!("{program} is not there ({error}); run the tests with ./test.sh"));
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
