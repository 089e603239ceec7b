//! A repository in which version 2 of a model is accused, and a controller that comes and goes.

use serde_json::{Value, json};

use crate::controller::Controller;
use crate::controller::home::{Home, Settings};
use crate::controller::stand_ins::{StandIns, alert, manifest};
use crate::rollback::remote::{PASSWORD, Remote, USER};

pub struct World {
    pub remote: Remote,
    pub home: Home,
}

impl World {
    /// With this `mode` of the target.
    pub async fn start(mode: &'static str) -> Self {
        Self::start_with(Settings { mode, ..Settings::default() }).await
    }

    /// With these settings, and in `git` those of the repository beside them.
    pub async fn start_with(settings: Settings) -> Self {
        let remote = Remote::start("credit.yaml", &manifest(1)).await;
        remote.write("credit.yaml", &manifest(2));
        let stand_ins = StandIns::start(&remote.path()).await;
        let home = Home::new();
        let mut git =
            json!({"url": remote.url(), "username": USER, "token_file": home.file("git.token", PASSWORD)});
        git.as_object_mut().unwrap().extend(settings.git.as_object().cloned().unwrap_or_default());
        home.configure(&stand_ins, &Settings { git, ..settings });
        Self { remote, home }
    }

    /// The controller, which asks Prometheus what fires.
    pub async fn controller(&self) -> Controller {
        self.home.controller().await
    }

    /// The same, told by Alertmanager too.
    pub async fn controller_told(&self) -> Controller {
        let controller = self.controller().await;
        controller.deliver(&alert()).await;
        controller
    }

    /// The one incident, once it is `RECOVERED`.
    pub async fn ended(&self, controller: &Controller) -> Value {
        self.home.reached(controller, "RECOVERED").await
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

    /// The branch has what people have made, and nothing else.
    #[track_caller]
    pub fn check_none(&self) {
        assert_eq!(self.remote.git(&["rev-list", "--count", "main"]), "2");
        self.remote.git(&["fsck", "--strict", "--no-dangling"]);
    }
}
