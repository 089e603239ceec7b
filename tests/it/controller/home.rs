//! Where a controller lives: its files, its state, and what is read there.

use std::path::PathBuf;

use driftd::gitops::journal::{FILE, Journal, read_only};
use rusqlite::Connection;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::{Duration, Instant, sleep};

use super::stand_ins::StandIns;
use super::{ALERTS_TOKEN, Controller, OPERATOR_TOKEN};
use crate::process::driftd;

/// The controller looks again after half a minute where something did not answer in time.
const PATIENCE: Duration = Duration::from_mins(2);

/// What differs from test to test.
pub struct Settings {
    /// Of the target.
    pub mode: &'static str,
    /// The section, without the author.
    pub git: Value,
    /// The section, or null.
    pub forge: Value,
    /// In the section, beside what makes it quick.
    pub policy: Value,
}

impl Default for Settings {
    fn default() -> Self {
        Self { mode: "commit", git: json!({}), forge: Value::Null, policy: json!({}) }
    }
}

pub struct Home {
    folder: TempDir,
}

impl Home {
    /// With an empty journal. Its path has a space in it.
    pub fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("driftd home-").tempdir().unwrap();
        let home = Self { folder };
        drop(Journal::open(&home.state_dir()).unwrap());
        home
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A file of its own, that only its owner reads: ssh takes no key of others.
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    fn state_dir(&self) -> PathBuf {
        self.path("state")
    }

    fn config(&self) -> PathBuf {
        self.path("controller.yaml")
    }

    /// For the one target that the stand-ins know.
    pub fn configure(&self, stand_ins: &StandIns, settings: &Settings) {
        let mut config = json!({
            "listen": "127.0.0.1:0",
            "state_dir": self.state_dir(),
            "alerts": {"bearer_token_file": self.file("alerts.token", ALERTS_TOKEN)},
            "api": {"operators": [{"name": "ann", "token_file": self.file("operator.token", OPERATOR_TOKEN)}]},
            "prometheus": {"url": format!("http://{}", stand_ins.prometheus)},
            "git": {"author": "driftd <driftd@example.com>"},
            "argocd": {
                "url": format!("http://{}", stand_ins.argocd),
                "token_file": self.file("argocd.token", "argocd-not-a-secret"),
            },
            "forge": settings.forge,
            "policy": {"unverified": "commit", "check_artifacts": false, "recovery_settle": "1s"},
            "targets": [{"namespace": "prod", "name": "credit", "application": "models", "mode": settings.mode}],
        });
        for (section, more) in [("git", &settings.git), ("policy", &settings.policy)] {
            config[section].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        }
        self.file("controller.yaml", &config.to_string()); // JSON is YAML
    }

    pub async fn controller(&self) -> Controller {
        Controller::start(&self.config()).await
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
        let connection = Connection::open(self.state_dir().join(FILE)).unwrap();
        connection.busy_timeout(Duration::from_secs(5)).unwrap();
        connection
    }

    /// The state of the newest event.
    pub fn state(&self) -> String {
        let journal = read_only(&self.state_dir()).unwrap();
        let sql = "SELECT state FROM events WHERE kind = 'incident' ORDER BY seq DESC LIMIT 1";
        journal.query_row(sql, [], |row| row.get(0)).unwrap()
    }

    /// The one incident, once it is there.
    pub async fn reached(&self, controller: &Controller, state: &str) -> Value {
        self.reached_by(1, controller, state).await
    }

    /// The newest of so many incidents, once it is there.
    pub async fn reached_by(&self, n_incidents: usize, controller: &Controller, state: &str) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let incidents = controller.incidents().await;
            assert!(incidents.len() <= n_incidents, "{incidents:#?}");
            let n_found = incidents.len();
            let newest = incidents.into_iter().next().unwrap_or_default();
            if n_found == n_incidents && newest["state"] == state {
                return newest;
            }
            assert!(Instant::now() < deadline, "not {state} in time: {newest:#}");
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// As an auditor does, beside the controller.
    #[track_caller]
    pub fn verify(&self) {
        let output =
            driftd().args(["audit", "verify", "--state-dir"]).arg(self.state_dir()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}
