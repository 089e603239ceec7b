//! `driftd demo`: the main job on this machine in under a minute, with nothing to install but `git`.
//!
//! A small model server, the real sidecar in front of it, seeded traffic through real sockets. First nothing happens and nothing must be
//! found. Then a version goes live whose predictions contradict its own baseline, and the real controller puts the one before it back, in
//! a real repository. Then a version that predicts just so because it was trained so, callers that send another unit, and other people:
//! nothing that a rollback would heal.
//!
//! What a cluster has besides driftd are stand-ins: `prometheus`, `alertmanager`, `argocd`, `pods` (for KServe). They are reached as the
//! real ones are, so nothing of driftd knows them.

mod alertmanager;
mod argocd;
mod clock;
mod controller;
mod files;
mod front;
mod models;
mod pods;
mod prometheus;
mod repository;
mod rollback;
mod server;
mod shown;
mod story;
mod traffic;
mod world;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use hdrhistogram::Histogram;
use tokio::sync::Mutex;

use super::run::{runtime, stop_signal};
use clock::Clock;
use files::Files;
use models::{BROKEN, FIRST, N_TRAINING_ROWS, RETRAINED};
use pods::Pods;
use repository::Repository;
use rollback::Rollback;
use story::{Published, Story, Versions};
use traffic::{Switches, Tally};

/// How long the demo waits for what should come before it calls the run a failure: long enough for a machine that does much else.
const PATIENCE: Duration = Duration::from_mins(2);

/// Watch the main job happen: a model server, the sidecar, traffic, drift, and the rollback of a bad version.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  driftd demo                     about half a minute of story, then /metrics and the API stay open until Ctrl-C
  driftd demo --exit-when-done    for scripts: exit code 0 if every change was found, the bad version rolled back, and nothing else done,
                                  else 1
  driftd demo --files look        keeps the repository, the journal and the configuration in the folder `look`

The rollback needs the program `git`; without it the demo shows the rest.")]
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
    /// Put all files into this folder, which must be empty or not there, and leave them [default: a temporary folder, removed at the end]
    #[arg(long, value_name = "FOLDER")]
    files: Option<PathBuf>,
}

/// Runs the story.
///
/// # Errors
/// If a part of it cannot be started.
pub fn run(args: DemoArgs) -> anyhow::Result<ExitCode> {
    runtime(2)?.block_on(play(args))
}

async fn play(args: DemoArgs) -> anyhow::Result<ExitCode> {
    let mut stop = pin!(stop_signal()?);
    let clock = Clock::start();
    let files = Files::open(args.files.as_deref())?;
    let story = begin(clock, files.path(), &args).await?;
    let told = tokio::select! {
        told = story.tell() => Some(told?),
        () = &mut stop => None,
    };
    if let Some(told) = told {
        story.epilogue(told).await;
        let further = story.rollback.as_ref().map(Rollback::look_further);
        if let Some(further) = further.filter(|_| files.are_kept() || !args.exit_when_done) {
            super::print(&format!("\nLook further:\n{further}"));
        }
        if !args.exit_when_done {
            super::print("\nStill running: metrics, API and files stay until Ctrl-C.");
            stop.await;
        }
    }
    story.end().await?;
    Ok(if told == Some(true) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Version 1 is served, and callers call.
async fn begin(clock: Clock, folder: &Path, args: &DemoArgs) -> anyhow::Result<Story> {
    let versions = publish(clock, folder, args.seed)?;
    let repository =
        if repository::is_possible().await { Some(Repository::create(folder).await?) } else { None };
    match &repository {
        Some(repository) => {
            let commit = repository.promote(&versions.first.uri, "credit: version 1").await?;
            let text = format!(
                "a bare repository; {} deploys version 1 by commit {}",
                repository::FILE,
                &commit[..12]
            );
            clock.say("git", &text);
        }
        None => clock.say(
            "no git",
            "there is no `git` on the PATH: no repository and no controller; the rest is shown",
        ),
    }
    let pods = Arc::new(Pods::start(&versions.first.uri).await?);
    let serving = pods.serving();
    let admin = front::start(args.admin, serving.clone()).await?;
    let pod = serving.borrow().clone();
    clock.say(
        "serving",
        &format!(
            "version {}: model server {} ← driftd {} ← callers",
            pod.version(),
            pod.model_server,
            pod.proxy
        ),
    );
    clock.say("", &format!("http://{admin}/metrics   http://{admin}/api/v1/drift   of the pod that serves"));
    let rollback = match repository {
        Some(repository) => Some(Rollback::start(clock, folder, repository, &pods).await?),
        None => None,
    };
    let switches = Arc::new(Switches::default());
    let tally =
        Arc::new(Tally { n_rows: 0.into(), n_failed: 0.into(), micros: Mutex::new(Histogram::new(3)?) });
    traffic::start(&serving, args.seed, &switches, &tally);
    Ok(Story { clock, versions, pods, serving, rollback, switches, tally })
}

/// All versions, each with its baseline.
fn publish(clock: Clock, folder: &Path, seed: u64) -> anyhow::Result<Versions> {
    let models = folder.join("models");
    let published = |version| {
        let (uri, n_bytes) = models::publish(version, &models, seed)?;
        anyhow::Ok((Published { version, uri }, n_bytes))
    };
    let (first, n_bytes) = published(FIRST)?;
    let versions = Versions { first, broken: published(BROKEN)?.0, retrained: published(RETRAINED)?.0 };
    clock.say(
        "baseline",
        &format!(
            "credit, versions 1, 2 and 3: {N_TRAINING_ROWS} rows, 6 features, 1 prediction → {} KiB of counts each",
            n_bytes / 1024
        ),
    );
    Ok(versions)
}
