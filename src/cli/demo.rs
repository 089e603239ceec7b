//! `driftd demo`: the main job on this machine in under a minute, with nothing to install.
//!
//! A small model server, the real sidecar in front of it, seeded traffic through real sockets. First nothing happens
//! and nothing must be found; then a feature's unit changes; then other people apply; then a new version goes live whose
//! predictions contradict its own baseline.

mod server;
mod traffic;
mod world;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use fastrand::Rng;
use hdrhistogram::Histogram;
use tokio::sync::{Mutex, oneshot, watch};

use super::run::{runtime, stop_signal};
use crate::app::App;
use crate::baseline::build::{self, BuildOptions};
use crate::config::{Config, EvaluationConfig, Identity, ModelConfig, ProxyConfig, Window};
use crate::pipeline::Report;
use crate::pipeline::report::{ChangeReport, FeatureReport, FeatureWindow, ModelReport, ModelWindow};
use traffic::{Switches, Tally};
use world::{Applicant, CSV_HEADER, TRAINED};

const N_TRAINING_ROWS: usize = 20_000;
const N_SECONDS_QUIET: u64 = 10;
/// How long the demo waits for a verdict that should come before it calls the run a failure.
const PATIENCE: Duration = Duration::from_secs(20);

/// Watch the main job happen: a model server, the sidecar, traffic, drift, and what was found how fast.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  driftd demo                     about 20 seconds of story, then /metrics and the API stay open until Ctrl-C
  driftd demo --exit-when-done    for scripts: exit code 0 if every change was found and nothing before, else 1")]
pub struct DemoArgs {
    /// End after the story instead of staying open
    #[arg(long)]
    exit_when_done: bool,
    /// Seed of the training data and the traffic
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// Where metrics and the API are served; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:0", value_name = "HOST:PORT")]
    admin: SocketAddr,
}

/// Runs the story.
///
/// # Errors
/// If a part of it cannot be started.
pub fn run(args: DemoArgs) -> anyhow::Result<ExitCode> {
    runtime(2)?.block_on(play(args))
}

async fn play(args: DemoArgs) -> anyhow::Result<ExitCode> {
    let clock = Clock(Instant::now());
    let directory = tempfile::tempdir().context("creating a directory for the demo's files")?;
    let baselines = [
        build_baseline(&clock, directory.path(), "1", args.seed)?,
        build_baseline(&clock, directory.path(), "2", args.seed)?,
    ];

    let model_server = server::start().await.context("starting the demo's model server")?;
    let app = App::bind(config(args.admin, model_server, baselines)?, Identity::default()).await?;
    let (admin, reports) = (app.admin_addr()?, app.report());
    let proxy = app.proxy_addr().context("the demo has a proxy")?;
    let (stop, stopped) = oneshot::channel::<()>();
    let daemon = tokio::spawn(app.run(async { drop(stopped.await) }));
    clock.say("serving", &format!("model server {model_server} ← driftd {proxy} ← callers"));
    clock.say("", &format!("http://{admin}/metrics   http://{admin}/api/v1/drift"));

    let switches = Arc::new(Switches::default());
    let tally =
        Arc::new(Tally { n_rows: 0.into(), n_failed: 0.into(), micros: Mutex::new(Histogram::new(3)?) });
    traffic::start(&format!("http://{proxy}"), args.seed, &switches, &tally);
    let story = Story { clock, reports, switches, tally };
    let told = story.tell().await?;
    story.epilogue(told).await;

    if !args.exit_when_done {
        println!(
            "\nStill running: http://{admin}/metrics and http://{admin}/api/v1/drift stay open. Ctrl-C ends."
        );
        stop_signal()?.await;
    }
    drop(stop);
    daemon.await.context("the daemon panicked")??;
    Ok(if told { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn build_baseline(clock: &Clock, directory: &Path, version: &str, seed: u64) -> anyhow::Result<PathBuf> {
    let mut rng = Rng::with_seed(seed);
    let mut csv = CSV_HEADER.to_owned();
    for _ in 0..N_TRAINING_ROWS {
        let applicant = Applicant::draw(&mut rng, 0.0);
        applicant.to_csv(TRAINED.score(&applicant), &mut csv);
    }
    let (table, file) = (directory.join("training.csv"), directory.join(format!("credit-{version}.json")));
    std::fs::write(&table, csv).context("writing the training table")?;
    let options = BuildOptions {
        model: Some("credit".to_owned()),
        version: Some(version.to_owned()),
        predictions: vec!["default_risk".to_owned()],
        ..BuildOptions::default()
    };
    let baseline = build::build(&[table.display().to_string()], &options)?.baseline;
    baseline.write(&file)?;
    let kib = std::fs::metadata(&file)?.len() / 1024;
    clock.say(
        "baseline",
        &format!(
            "credit version {version}: {N_TRAINING_ROWS} rows, 6 features, 1 prediction → {kib} KiB of counts"
        ),
    );
    Ok(file)
}

fn config(admin: SocketAddr, upstream: SocketAddr, baselines: [PathBuf; 2]) -> anyhow::Result<Config> {
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let mut config = Config::new(
        ProxyConfig::new(listen, &format!("http://{upstream}"))?,
        baselines.map(ModelConfig::new).into(),
    );
    config.admin = admin;
    let window = |secs| Window { length: Duration::from_secs(secs), label: format!("{secs}s") };
    // A production's 10 s and [5m, 1h, 24h] at the speed of a story; thresholds and evidence are the defaults.
    config.evaluation = EvaluationConfig {
        interval: Duration::from_millis(200),
        windows: vec![window(3), window(30)],
        ..EvaluationConfig::default()
    };
    Ok(config)
}

/// When the story began; prints its lines.
#[derive(Clone, Copy)]
struct Clock(Instant);

impl Clock {
    fn say(&self, what: &str, text: &str) {
        println!("{:>5.1} s  {what:<9} {text}", self.0.elapsed().as_secs_f64());
    }
}

struct Story {
    clock: Clock,
    reports: watch::Receiver<Arc<Report>>,
    switches: Arc<Switches>,
    tally: Arc<Tally>,
}

impl Story {
    /// Whether everything was found, for the right cause, and nothing before.
    async fn tell(&self) -> anyhow::Result<bool> {
        self.clock.say(
            "steady",
            &format!(
                "{} requests a second of {} rows; nothing should be found",
                traffic::REQUESTS_PER_SECOND,
                traffic::ROWS_PER_REQUEST
            ),
        );
        if let Some(found) = self.quiet(Duration::from_secs(N_SECONDS_QUIET)).await? {
            self.clock.say("FALSE", &format!("found where nothing had changed: {found}"));
            return Ok(false);
        }

        let changed = self.change("callers send income in cents instead of euros (×100)");
        self.switches.income_in_cents.store(true, Ordering::Relaxed);
        let schema = self.found("1", "schema", changed).await?;
        self.switches.income_in_cents.store(false, Ordering::Relaxed);
        let euros = self.withdrawn("callers send euros again").await?;

        let changed = self.change("a campaign brings applicants 8 years older");
        self.switches.older.store(true, Ordering::Relaxed);
        let input = self.found("1", "input", changed).await?;
        self.switches.older.store(false, Ordering::Relaxed);
        let usual = self.withdrawn("the campaign is over").await?;

        let changed = self.change("version 2 goes live; its export lost the intercept");
        self.switches.version_2.store(true, Ordering::Relaxed);
        let model = self.found("2", "model", changed).await?;
        Ok(schema && euros && input && usual && model)
    }

    fn change(&self, what: &str) -> (Instant, u64) {
        self.clock.say("CHANGE", what);
        (Instant::now(), self.tally.n_rows.load(Ordering::Relaxed))
    }

    /// Waits until a change that was undone is told no more.
    async fn withdrawn(&self, what: &str) -> anyhow::Result<bool> {
        self.clock.say("MENDED", what);
        let ok = self.wait(|report| window(report, "1").is_some_and(|window| window.verdict == "ok")).await?;
        match ok {
            Some(_) => self.clock.say("ok", "it is told no more"),
            None => self.clock.say("MISSED", "it was mended, and is still told"),
        }
        Ok(ok.is_some())
    }

    /// Watches for `length`, prints a line when the windows first have scores, returns the first drift.
    async fn quiet(&self, length: Duration) -> anyhow::Result<Option<String>> {
        let until = Instant::now() + length;
        let mut scored = false;
        while Instant::now() < until {
            let Some(report) = self.next(until).await? else { break };
            if let Some(found) = report.models.iter().find_map(drifted) {
                return Ok(Some(found));
            }
            if !scored && window(&report, "1").is_some_and(|window| window.verdict == "ok") {
                self.clock.say("ok", &worst(&report, "1"));
                scored = true;
            }
        }
        self.clock.say("ok", &worst(&self.reports.borrow().clone(), "1"));
        Ok(None)
    }

    /// Waits for the drift of a version; true if it came and its cause is right.
    async fn found(
        &self,
        version: &str,
        cause: &str,
        (changed, rows_before): (Instant, u64),
    ) -> anyhow::Result<bool> {
        let report = self.wait(|report| window(report, version).is_some_and(ModelWindow::is_alarm)).await?;
        let Some(report) = report else {
            self.clock.say("MISSED", &format!("not found within {PATIENCE:?}"));
            return Ok(false);
        };
        let rows = self.tally.n_rows.load(Ordering::Relaxed) - rows_before;
        let found = report
            .models
            .iter()
            .filter(|model| model.labels.version == version)
            .find_map(drifted)
            .unwrap_or_default();
        self.clock.say(
            "FOUND",
            &format!(
                "found {:.1} s and {rows} rows after the change: {found}",
                changed.elapsed().as_secs_f64()
            ),
        );
        let cause_of = |report: &Report| window(report, version).and_then(|window| window.cause);
        let mut named = cause_of(&report);
        if named == Some("unknown") {
            // Of a version that has just begun nobody can say yet that its inputs are as they should be.
            let later = self.wait(|report| cause_of(report).is_some_and(|cause| cause != "unknown")).await?;
            named = later.as_deref().and_then(cause_of);
            let secs = changed.elapsed().as_secs_f64();
            self.clock
                .say("CAUSE", &format!("{}, told {secs:.1} s after the change", named.unwrap_or("unknown")));
        }
        if named != Some(cause) {
            self.clock.say(
                "WRONG",
                &format!("the cause is {cause}, the verdict says {}", named.unwrap_or("nothing")),
            );
        }
        Ok(named == Some(cause))
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

    /// The next tick's report, or `None` once it is `until`.
    async fn next(&self, until: Instant) -> anyhow::Result<Option<Arc<Report>>> {
        let mut reports = self.reports.clone();
        reports.mark_unchanged();
        match tokio::time::timeout_at(until.into(), reports.changed()).await {
            Ok(changed) => {
                changed.context("the daemon has stopped")?;
                Ok(Some(Arc::clone(&reports.borrow())))
            }
            Err(_) => Ok(None),
        }
    }

    async fn epilogue(&self, told: bool) {
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
        let end = if told {
            "every change found, each for its cause, and nothing before them"
        } else {
            "not as it should be: see above"
        };
        self.clock.say("done", end);
    }
}

/// A version in the shortest window.
fn window<'a>(report: &'a Report, version: &str) -> Option<&'a ModelWindow> {
    report.models.iter().find(|model| model.labels.version == version)?.windows.first()
}

/// What has changed in any window of a model, by how much, and why.
fn drifted(model: &ModelReport) -> Option<String> {
    let window = model.windows.iter().find(|window| window.is_alarm())?;
    let scores = window.drifted.iter().filter_map(|name| {
        let feature = model.features.iter().find(|feature| feature.name == *name)?;
        let of_window = feature.windows.iter().find(|of_feature| of_feature.window == window.window)?;
        Some(format!("{} {} {}", feature.role.as_str(), feature.name, effect(of_window.change.as_ref()?)))
    });
    Some(format!(
        "{}; cause {}, window {}",
        scores.collect::<Vec<_>>().join(", "),
        window.cause.unwrap_or("?"),
        window.window
    ))
}

/// How far the rows since a change are from the baseline.
fn effect(change: &ChangeReport) -> String {
    let rows = change.rows_since;
    if let (Some(breach), Some(share)) = (change.breach, change.breach_share) {
        return format!("{:.0} % {} in {rows} rows", 100.0 * share, breach.replace('_', " "));
    }
    let ks = change.ks.map_or_else(String::new, |ks| format!(" KS {ks:.2}"));
    format!("PSI {:.2}{ks} in {rows} rows", change.psi.unwrap_or(f64::NAN))
}

/// The feature nearest to drift in the shortest window.
fn worst(report: &Report, version: &str) -> String {
    let Some(model) = report.models.iter().find(|model| model.labels.version == version) else {
        return String::new();
    };
    let scored = model.features.iter().filter_map(|feature| Some((feature, feature.windows.first()?)));
    let psi = |window: &FeatureWindow| window.scores.as_ref().map_or(0.0, |scores| scores.psi);
    let worst = scored.max_by(|(_, a), (_, b)| psi(a).total_cmp(&psi(b)));
    worst.map_or_else(String::new, |(feature, window)| {
        format!("no drift; largest score {} on {} rows", scores(feature, window), window.samples)
    })
}

fn scores(feature: &FeatureReport, window: &FeatureWindow) -> String {
    let Some(scores) = &window.scores else { return feature.name.clone() };
    let ks = scores.ks.map_or_else(String::new, |ks| format!(" KS {ks:.3}"));
    format!("{} {} PSI {:.3}{ks}", feature.role.as_str(), feature.name, scores.psi)
}
