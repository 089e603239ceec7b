//! A repository in which version 2 of a model is accused, and a controller that comes and goes.

use std::path::PathBuf;

use driftd::gitops::journal::{FILE, Journal, read_only};
use rusqlite::Connection;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::{Duration, Instant, sleep};

use super::controller::{ALERTS_TOKEN, Controller, OPERATOR_TOKEN};
use super::stand_ins::{StandIns, alert, uri};
use crate::process::driftd;
use crate::rollback::remote::{PASSWORD, Remote, USER};

/// The controller looks again after half a minute where something did not answer in time.
const PATIENCE: Duration = Duration::from_mins(2);

fn manifest(version: u8) -> String {
    format!(
        "apiVersion: serving.kserve.io/v1beta1\nkind: InferenceService\nmetadata: {{name: credit, namespace: prod}}\nspec:\n  predictor:\n    \
         model:\n      modelFormat: {{name: sklearn}}\n      storageUri: {}\n",
        uri(version)
    )
}

pub struct World {
    pub remote: Remote,
    folder: TempDir,
    config: PathBuf,
}

impl World {
    /// With this `mode` of the target.
    pub async fn start(mode: &str) -> Self {
        let remote = Remote::start("credit.yaml", &manifest(1)).await;
        remote.write("credit.yaml", &manifest(2));
        let folder = TempDir::new().unwrap();
        let stand_ins = StandIns::start(&remote).await;
        let config = configure(&folder, &remote, &stand_ins, mode);
        drop(Journal::open(&folder.path().join("state")).unwrap());
        Self { remote, folder, config }
    }

    /// The controller, which asks Prometheus what fires.
    pub async fn controller(&self) -> Controller {
        Controller::start(&self.config).await
    }

    /// The same, told by Alertmanager too.
    pub async fn controller_told(&self) -> Controller {
        let controller = self.controller().await;
        controller.deliver(&alert()).await;
        controller
    }

    /// Nothing of this state gets into the journal from now on.
    pub fn hold(&self, state: &str) {
        let trigger = format!(
            "CREATE TRIGGER held BEFORE INSERT ON events WHEN NEW.state = '{state}' BEGIN SELECT raise(ABORT, 'held'); END"
        );
        self.journal().execute_batch(&trigger).unwrap();
    }

    pub fn let_go(&self) {
        self.journal().execute_batch("DROP TRIGGER held").unwrap();
    }

    fn journal(&self) -> Connection {
        let connection = Connection::open(self.folder.path().join("state").join(FILE)).unwrap();
        connection.busy_timeout(Duration::from_secs(5)).unwrap();
        connection
    }

    /// The state of the newest event.
    pub fn state(&self) -> String {
        let journal = read_only(&self.folder.path().join("state")).unwrap();
        let sql = "SELECT state FROM events WHERE kind = 'incident' ORDER BY seq DESC LIMIT 1";
        journal.query_row(sql, [], |row| row.get(0)).unwrap()
    }

    /// The one incident, once it is `RECOVERED`.
    pub async fn ended(&self, controller: &Controller) -> Value {
        self.reached(controller, "RECOVERED").await
    }

    /// The one incident, once it is there.
    pub async fn reached(&self, controller: &Controller, state: &str) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let incidents = controller.incidents().await;
            assert!(incidents.len() <= 1, "{incidents:#?}");
            let incident = incidents.into_iter().next().unwrap_or_default();
            if incident["state"] == state {
                return incident;
            }
            assert!(Instant::now() < deadline, "not {state} in time: {incident:#}");
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// The branch has one commit more than people have made, and it is this one.
    #[track_caller]
    pub fn check_one(&self, commit: &str) {
        assert_eq!(self.remote.git(&["rev-list", "--grep=^Drift-Action-Id: rb-", "main"]), commit);
        assert_eq!(self.remote.git(&["rev-list", "--count", "main"]), "3");
        assert_eq!(self.remote.git(&["show", "--format=", "--numstat", commit]), "1\t1\tcredit.yaml");
        assert_eq!(self.remote.git(&["show", "main:credit.yaml"]) + "\n", manifest(1));
        self.remote.git(&["fsck", "--strict", "--no-dangling"]);
    }

    /// As an auditor does, beside the controller.
    #[track_caller]
    pub fn verify(&self) {
        let state_dir = self.folder.path().join("state");
        let output = driftd().args(["audit", "verify", "--state-dir"]).arg(state_dir).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

fn configure(folder: &TempDir, remote: &Remote, stand_ins: &StandIns, mode: &str) -> PathBuf {
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let config = json!({
        "listen": "127.0.0.1:0",
        "state_dir": folder.path().join("state"),
        "alerts": {"bearer_token_file": file("alerts.token", ALERTS_TOKEN)},
        "api": {"operators": [{"name": "ann", "token_file": file("operator.token", OPERATOR_TOKEN)}]},
        "prometheus": {"url": format!("http://{}", stand_ins.prometheus)},
        "git": {
            "url": remote.url(), "username": USER, "token_file": file("git.token", PASSWORD),
            "author": "driftd <driftd@example.com>",
        },
        "argocd": {"url": format!("http://{}", stand_ins.argocd), "token_file": file("argocd.token", "argocd-not-a-secret")},
        "policy": {"unverified": "commit", "check_artifacts": false, "recovery_settle": "1s"},
        "targets": [{"namespace": "prod", "name": "credit", "application": "models", "mode": mode}],
    });
    file("controller.yaml", &config.to_string()) // JSON is YAML
}
