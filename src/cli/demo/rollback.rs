//! What brings version 1 back: a real repository and the real controller, and between them stand-ins for Prometheus, Alertmanager, Argo CD
//! and KServe.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::{Instant, sleep};

use super::argocd::ArgoCd;
use super::clock::{Clock, quote};
use super::controller::{Controller, Others};
use super::pods::Pods;
use super::prometheus::{Prometheus, ROLLBACK_ALERT};
use super::repository::{FILE, Repository};
use super::{PATIENCE, alertmanager};
use crate::config::HumanDuration;
use crate::gitops::audit::{Whole, seconds};
use crate::gitops::incident::{Incident, State};

/// How often the journal is read on.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// All of it, running.
pub struct Rollback {
    clock: Clock,
    /// What paths begin with; left out of the story's lines.
    folder: String,
    repository: Repository,
    argocd: Arc<ArgoCd>,
    controller: Controller,
    /// How long the alert's condition has to hold.
    alert_after: HumanDuration,
}

/// When the bad version went live, and how long that took to be found.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    /// When it went live.
    pub live_at: DateTime<Utc>,
    /// The tap's verdict, so long after it.
    pub after: Duration,
}

impl Rollback {
    /// Around a repository whose branch the pods serve.
    ///
    /// # Errors
    /// If a part of it cannot be started.
    pub async fn start(
        clock: Clock,
        folder: &Path,
        repository: Repository,
        pods: &Arc<Pods>,
    ) -> anyhow::Result<Self> {
        let prometheus = Prometheus::start(pods.serving()).await?;
        let (argocd, argocd_addr) = ArgoCd::start(repository.clone(), Arc::clone(pods)).await?;
        let others = Others { prometheus: prometheus.addr, argocd: argocd_addr, repository: &repository };
        let controller = Controller::start(folder, others).await?;
        let url = format!("http://{}/api/v1/alerts", controller.addr);
        let alert_after = HumanDuration(prometheus.wait);
        tokio::spawn(alertmanager::deliver(url, controller.alerts_token.clone(), prometheus.firing));
        clock.say(
            "controller",
            &format!(
                "the real one, {}: its journal, its clone of the repository, and one target",
                controller.addr
            ),
        );
        clock.say(
            "stand-ins",
            &format!(
                "for Prometheus {} and Alertmanager, with the shipped alert {ROLLBACK_ALERT}; for Argo CD {argocd_addr} and KServe, \
                 which serve what the branch says",
                prometheus.addr
            ),
        );
        Ok(Self { clock, folder: folder.display().to_string(), repository, argocd, controller, alert_after })
    }

    /// A person deploys what lies at `uri`. Returns the commit, once it is served.
    ///
    /// # Errors
    /// If Git or the stand-in for Argo CD cannot.
    pub async fn promote(&self, uri: &str, subject: &str) -> anyhow::Result<String> {
        let commit = self.repository.promote(uri, subject).await?;
        self.argocd.look().await?;
        Ok(commit)
    }

    /// Waits until the controller has seen that what lies at `uri` serves well: only then is there something to go back to.
    ///
    /// # Errors
    /// If its journal cannot be read.
    pub async fn has_soaked(&self, uri: &str) -> anyhow::Result<bool> {
        let until = Instant::now() + PATIENCE;
        while !self.controller.has_seen_well(uri)? {
            if Instant::now() >= until {
                self.clock
                    .say("MISSED", &format!("the controller has not seen it serve well within {PATIENCE:?}"));
                return Ok(false);
            }
            sleep(LOOK_EVERY).await;
        }
        self.clock.say(
            "good",
            "the controller has seen it serve well, and has that in its journal: something to go back to",
        );
        Ok(true)
    }

    /// Tells what the controller does, step by step as its journal has it, and then what remains of it. True if it brought the version
    /// before back, by one line.
    ///
    /// # Errors
    /// If the controller or Git does not answer.
    pub async fn tell(&self, found: Found) -> anyhow::Result<bool> {
        self.clock.say("pending", &format!("the alert asks that it holds for {}", self.alert_after));
        let Some(Whole { incident, .. }) = self.follow().await? else {
            self.clock.say("MISSED", &format!("no end of an incident within {PATIENCE:?}"));
            return Ok(false);
        };
        if incident.state != State::Recovered {
            self.clock
                .say("WRONG", &format!("the incident should have ended as recovered: {}", incident.reason));
            return Ok(false);
        }
        self.audit(&incident, found).await
    }

    async fn follow(&self) -> anyhow::Result<Option<Whole>> {
        let (until, mut told) = (Instant::now() + PATIENCE, None);
        let mut n_told = 0;
        while Instant::now() < until {
            if let Some(incident) = self.controller.incidents().await?.first() {
                let whole = self.controller.incident(incident.id).await?;
                for event in &whole.events[n_told..] {
                    if told.replace(event.incident.state) != Some(event.incident.state) {
                        self.step(&event.incident);
                    }
                }
                n_told = whole.events.len();
                if whole.incident.state.is_terminal() {
                    return Ok(Some(whole));
                }
            }
            sleep(LOOK_EVERY).await;
        }
        Ok(None)
    }

    fn step(&self, incident: &Incident) {
        if let (State::Received, Some(accusation)) = (incident.state, incident.accusations.first()) {
            self.clock.say(
                "ALERT",
                &format!("{} fires, accuses version {}, and is delivered", accusation.name, incident.version),
            );
        }
        self.clock.say(&incident.state.as_str().to_uppercase(), &self.short(&incident.reason));
    }

    /// What remains: the commit, the times, the journal.
    async fn audit(&self, incident: &Incident, found: Found) -> anyhow::Result<bool> {
        let Some(commit) = &incident.commit else {
            self.clock.say("WRONG", "the incident has no commit");
            return Ok(false);
        };
        self.clock.say("audit", "the commit, as Git has it");
        quote(&self.short(&self.repository.git(&["show", "--unified=0", &commit.commit]).await?));
        self.clock.say("timeline", &timeline(incident, found));
        let verified = self.controller.verify().await?;
        self.clock
            .say("journal", &format!("{} events, each with the hash of the one before", verified.n_events));
        let lines = self.repository.git(&["show", "--numstat", "--format=", &commit.commit]).await?;
        let is_one_line = lines == format!("1\t1\t{FILE}");
        if !is_one_line {
            self.clock.say("WRONG", &format!("a rollback changes one line, this one: {lines}"));
        }
        Ok(is_one_line)
    }

    /// Whether `commit` is still the newest: the controller has added nothing since.
    ///
    /// # Errors
    /// If Git does not answer.
    pub async fn is_newest(&self, commit: &str) -> anyhow::Result<bool> {
        Ok(self.repository.tip().await? == commit)
    }

    /// How to look on, for as long as the files are there.
    pub fn look_further(&self) -> String {
        let folder = &self.folder;
        format!(
            "driftd audit list --state-dir {folder}/state\n\
             driftd audit explain 1 --state-dir {folder}/state\n\
             driftd audit rebuild --repo file://{folder}/models.git\n\
             git -C {folder}/models.git log --patch"
        )
    }

    /// Ends the controller.
    ///
    /// # Errors
    /// If it has failed before.
    pub async fn end(self) -> anyhow::Result<()> {
        self.controller.end().await
    }

    fn short(&self, text: &str) -> String {
        text.replace(&self.folder, "…")
    }
}

/// Seconds since the bad version went live.
fn timeline(incident: &Incident, found: Found) -> String {
    let since = |at: DateTime<Utc>| (at - found.live_at).to_std().unwrap_or_default().as_secs_f64();
    let entered = |state| incident.entered.get(&state).copied();
    let steps = [
        ("found", Some(found.after.as_secs_f64())),
        ("alert", entered(State::Received).map(since)),
        ("pushed", incident.commit.as_ref().map(|commit| since(commit.pushed_at))),
        ("serving", entered(State::Observing).map(since)),
        ("recovered", entered(State::Recovered).map(since)),
    ];
    let steps = steps.iter().filter_map(|(step, after)| Some(format!(" → {step} {}", seconds((*after)?))));
    format!("live{}", steps.collect::<String>())
}
