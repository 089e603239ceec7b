//! What happens, what must be found of it, and what must be done about it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use chrono::Utc;
use tokio::sync::watch;

use super::PATIENCE;
use super::clock::Clock;
use super::models::Version;
use super::pods::{Pods, Serving};
use super::rollback::{Found, Rollback};
use super::shown::{drifted, window, worst};
use super::traffic::{self, Switches, Tally};
use crate::pipeline::Report;
use crate::pipeline::report::ModelWindow;

/// How long nothing happens to version 1.
const QUIET: Duration = Duration::from_secs(10);
/// How long version 3 is watched.
const WATCHED: Duration = Duration::from_secs(4);

/// A version, and where it lies.
#[derive(Clone, Debug)]
pub struct Published {
    /// The version.
    pub version: Version,
    /// Its URI.
    pub uri: String,
}

/// The three versions.
#[derive(Clone, Debug)]
pub struct Versions {
    /// Version 1.
    pub first: Published,
    /// Version 2.
    pub broken: Published,
    /// Version 3.
    pub retrained: Published,
}

/// All that the story happens to.
pub struct Story {
    /// Prints it.
    pub clock: Clock,
    /// The versions.
    pub versions: Versions,
    /// What serves them.
    pub pods: Arc<Pods>,
    /// Who serves now.
    pub serving: watch::Receiver<Serving>,
    /// Where there is a `git`.
    pub rollback: Option<Rollback>,
    /// What callers send.
    pub switches: Arc<Switches>,
    /// What they saw.
    pub tally: Arc<Tally>,
}

/// When something was changed, and what had been counted by then.
#[derive(Clone, Copy)]
struct Changed {
    at: Instant,
    n_rows: u64,
}

impl Story {
    /// Whether everything was found, for the right cause, and nothing else; and whether the one rollback that helps was made, and no other.
    ///
    /// # Errors
    /// If a part of the demo fails.
    pub async fn tell(&self) -> anyhow::Result<bool> {
        self.clock.say(
            "steady",
            &format!(
                "{} requests a second of {} rows; nothing should be found",
                traffic::REQUESTS_PER_SECOND,
                traffic::ROWS_PER_REQUEST
            ),
        );
        let steady = self.quiet(QUIET).await? && self.has_soaked().await?;
        // Without its beginning the rest has no meaning.
        if !steady || !self.broken_version().await? {
            return Ok(false);
        }
        let (retrained, commit) = self.retrained_version().await?;
        let cents = "callers send income in cents instead of euros (×100)";
        let schema =
            self.passes(cents, &self.switches.income_in_cents, "schema", "callers send euros again").await?;
        let older = "a campaign brings applicants 8 years older";
        let input = self.passes(older, &self.switches.older, "input", "the campaign is over").await?;
        Ok(retrained && schema && input && self.is_left(&commit).await?)
    }

    async fn has_soaked(&self) -> anyhow::Result<bool> {
        match &self.rollback {
            Some(rollback) => rollback.has_soaked(&self.versions.first.uri).await,
            None => Ok(true),
        }
    }

    /// Version 2 comes, is found, and goes.
    async fn broken_version(&self) -> anyhow::Result<bool> {
        let (changed, live_at) = (self.now(), Utc::now());
        self.deploy(&self.versions.broken, "its export lost the intercept").await?;
        let Some(after) = self.found("model", changed).await? else { return Ok(false) };
        if let Some(rollback) = &self.rollback {
            return rollback.tell(Found { live_at, after }).await;
        }
        self.pods.serve(&self.versions.first.uri).await?;
        self.withdrawn("a person puts version 1 back; with `git`, driftd does").await
    }

    /// Version 3 predicts otherwise than version 1, and is left. With the commit that deployed it.
    async fn retrained_version(&self) -> anyhow::Result<(bool, String)> {
        let why = "it answers as version 2 did, and as its own baseline says; nothing should be found";
        let commit = self.deploy(&self.versions.retrained, why).await?;
        Ok((self.quiet(WATCHED).await?, commit))
    }

    /// A change that comes with the callers and goes with them: no version is to blame.
    async fn passes(
        &self,
        what: &str,
        switch: &AtomicBool,
        cause: &str,
        mended: &str,
    ) -> anyhow::Result<bool> {
        let changed = self.now();
        self.clock.say("CHANGE", what);
        switch.store(true, Ordering::Relaxed);
        let found = self.found(cause, changed).await?;
        switch.store(false, Ordering::Relaxed);
        Ok(found.is_some() && self.withdrawn(mended).await?)
    }

    /// By a commit where there is a repository. Returns it.
    async fn deploy(&self, published: &Published, what: &str) -> anyhow::Result<String> {
        let Published { version, uri } = published;
        let commit = match &self.rollback {
            Some(rollback) => rollback.promote(uri, &format!("credit: version {}", version.name)).await?,
            None => self.pods.serve(uri).await.map(|()| String::new())?,
        };
        let by = if commit.is_empty() { String::new() } else { format!(" by commit {}", &commit[..12]) };
        self.clock.say("CHANGE", &format!("version {} goes live{by}: {what}", version.name));
        Ok(commit)
    }

    async fn is_left(&self, commit: &str) -> anyhow::Result<bool> {
        let Some(rollback) = &self.rollback else { return Ok(true) };
        let is_newest = rollback.is_newest(commit).await?;
        let (what, text) = if is_newest {
            ("left", "version 3 is still what the branch says: none of this is healed by another version")
        } else {
            ("WRONG", "driftd has committed again, where no rollback helps")
        };
        self.clock.say(what, text);
        Ok(is_newest)
    }

    fn now(&self) -> Changed {
        Changed { at: Instant::now(), n_rows: self.tally.n_rows.load(Ordering::Relaxed) }
    }

    /// Waits until a change that was undone is told no more.
    async fn withdrawn(&self, what: &str) -> anyhow::Result<bool> {
        self.clock.say("MENDED", what);
        let ok = self.wait(|report| window(report).is_some_and(|window| window.verdict == "ok")).await?;
        match ok {
            Some(_) => self.clock.say("ok", "it is told no more"),
            None => self.clock.say("MISSED", "it was mended, and is still told"),
        }
        Ok(ok.is_some())
    }

    /// Watches for `length`, and until there is a verdict; prints a line when the windows first have scores. True if nothing was found.
    async fn quiet(&self, length: Duration) -> anyhow::Result<bool> {
        let (until, at_last) = (Instant::now() + length, Instant::now() + PATIENCE);
        let mut last = None;
        while last.is_none() || Instant::now() < until {
            let wanted = if last.is_none() { at_last } else { until };
            let Some(report) = self.next(wanted).await? else { break };
            if let Some(found) = report.models.iter().find_map(drifted) {
                self.clock.say("FALSE", &format!("found where nothing had changed: {found}"));
                return Ok(false);
            }
            if window(&report).is_some_and(|window| window.verdict == "ok")
                && last.replace(report.clone()).is_none()
            {
                self.clock.say("ok", &worst(&report));
            }
        }
        match &last {
            Some(report) => self.clock.say("ok", &worst(report)),
            None => self.clock.say("MISSED", &format!("no verdict within {PATIENCE:?}")),
        }
        Ok(last.is_some())
    }

    /// Waits for drift; how long it took if it came and its cause is right.
    async fn found(&self, cause: &str, changed: Changed) -> anyhow::Result<Option<Duration>> {
        let report = self.wait(|report| window(report).is_some_and(ModelWindow::is_alarm)).await?;
        let Some(report) = report else {
            self.clock.say("MISSED", &format!("not found within {PATIENCE:?}"));
            return Ok(None);
        };
        let after = changed.at.elapsed();
        let rows = self.tally.n_rows.load(Ordering::Relaxed) - changed.n_rows;
        let found = report.models.iter().find_map(drifted).unwrap_or_default();
        let secs = after.as_secs_f64();
        self.clock.say("FOUND", &format!("found {secs:.1} s and {rows} rows after the change: {found}"));
        let named = self.cause(&report, changed).await?;
        if named != Some(cause) {
            let named = named.unwrap_or("nothing");
            self.clock.say("WRONG", &format!("the cause is {cause}, the verdict says {named}"));
        }
        Ok((named == Some(cause)).then_some(after))
    }

    /// Of a version that has just begun nobody can say yet that its inputs are as they should be.
    async fn cause(&self, report: &Report, changed: Changed) -> anyhow::Result<Option<&'static str>> {
        let cause_of = |report: &Report| window(report).and_then(|window| window.cause);
        let named = cause_of(report);
        if named != Some("unknown") {
            return Ok(named);
        }
        let later = self.wait(|report| cause_of(report).is_some_and(|cause| cause != "unknown")).await?;
        let named = later.as_deref().and_then(cause_of);
        let secs = changed.at.elapsed().as_secs_f64();
        self.clock
            .say("CAUSE", &format!("{}, told {secs:.1} s after the change", named.unwrap_or("unknown")));
        Ok(named)
    }

    async fn wait(&self, is_it: impl Fn(&Report) -> bool) -> anyhow::Result<Option<Arc<Report>>> {
        let until = Instant::now() + PATIENCE;
        while let Some(report) = self.next(until).await? {
            if is_it(&report) {
                return Ok(Some(report));
            }
        }
        Ok(None)
    }

    /// The next tick's report of the pod that serves, or `None` once it is `until`.
    async fn next(&self, until: Instant) -> anyhow::Result<Option<Arc<Report>>> {
        let mut reports = self.serving.borrow().reports.clone();
        reports.mark_unchanged();
        match tokio::time::timeout_at(until.into(), reports.changed()).await {
            Ok(changed) => {
                changed.context("the daemon has stopped")?;
                Ok(Some(Arc::clone(&reports.borrow())))
            }
            Err(_) => Ok(None),
        }
    }

    /// What callers saw of it all.
    pub async fn epilogue(&self, told: bool) {
        let micros = self.tally.micros.lock().await;
        let millis = |quantile| micros.value_at_quantile(quantile) as f64 / 1000.0;
        let n_failed = self.tally.n_failed.load(Ordering::Relaxed);
        self.clock.say(
            "callers",
            &format!(
                "{} requests, {n_failed} failed, p50 {:.2} ms, p99 {:.2} ms",
                micros.len(),
                millis(0.5),
                millis(0.99)
            ),
        );
        let end = match (told, &self.rollback) {
            (true, Some(_)) => {
                "every change found, each for its cause, and nothing else; one commit, where one helps"
            }
            (true, None) => "every change found, each for its cause, and nothing else",
            (false, _) => "not as it should be: see above",
        };
        self.clock.say("done", end);
    }
    /// Ends the controller and the pod, wherever the story is.
    ///
    /// # Errors
    /// If one of them had failed.
    pub async fn end(self) -> anyhow::Result<()> {
        if let Some(rollback) = self.rollback {
            rollback.end().await?;
        }
        self.pods.end().await
    }
}
