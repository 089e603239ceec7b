//! Builds every part from [`Config`], binds sockets, supervises tasks, and shuts down along the data path: first the
//! tap drains, then the shards empty their queues, then the last tick is taken, then the admin listener closes.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, mpsc as std_mpsc};
use std::time::Duration;

use prometheus::Registry;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

use crate::admin::{Admin, BoundAdmin};
use crate::config::{Config, Identity, LogsConfig, Taps};
use crate::pipeline::loader::LoaderConfig;
use crate::pipeline::timed::Counted;
use crate::pipeline::{Context, Evaluator, Intake, Learner, Loader, MirrorBudget, Report, Shard, StateDir};
use crate::tail::Logs;
use crate::tap::{CloudEvents, Proxy};
use crate::telemetry::{LogsFamilies, ModelMetrics, ProcessMetrics, TapFamilies};

/// What logs were counted as waits here for the evaluator, and they for it.
const COUNTED_CAPACITY: usize = 2;

/// A daemon whose sockets are bound and whose tasks wait to run.
#[derive(Debug)]
pub struct App {
    taps: BoundTaps,
    admin: BoundAdmin,
    loader: Loader,
    evaluator: Evaluator,
    shards: Vec<Shard>,
    report: watch::Receiver<Arc<Report>>,
    interval: Duration,
    grace: Duration,
}

/// The taps there are, listening.
#[derive(Debug)]
struct BoundTaps {
    proxy: Option<Proxy>,
    cloudevents: Option<CloudEvents>,
    logs: Option<Logs>,
}

/// Why the daemon cannot start.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// A listener cannot be bound.
    #[error(
        "cannot listen on {addr} for {what}; is another process there, or the address not of this machine?"
    )]
    Bind {
        /// What would have listened.
        what: &'static str,
        /// Where.
        addr: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// Two parts registered one series.
    #[error("metrics clash; this is a bug")]
    Metrics(#[from] prometheus::Error),
    /// A thread cannot be started.
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
}

impl App {
    /// Binds every socket and loads what can be loaded. A baseline that is missing or broken is logged, counted and
    /// tried again: it never keeps traffic from flowing.
    ///
    /// # Errors
    /// [`AppError`] if a socket cannot be bound.
    pub async fn bind(config: Config, identity: Identity) -> Result<Self, AppError> {
        crate::storage::install_tls();
        let registry = Registry::new();
        let process_metrics = ProcessMetrics::register(&registry)?;
        let learner = config.learn.map(Learner::new);
        let (queues, shards): (Vec<_>, Vec<_>) = (0..config.n_shards)
            .map(|_| {
                let (sender, receiver) = mpsc::channel(config.queue_capacity);
                (sender, Shard::new(receiver, config.taps.max_body_bytes(), learner.clone()))
            })
            .unzip();
        let (publish, report) = watch::channel(Arc::default());
        let families = TapFamilies::register(&registry)?;
        let mut taps = BoundTaps::bind(&config.taps, &Intake::new(queues), &families).await?;
        let interval = config.evaluation.interval;
        let sources = LoaderConfig {
            models: config.models,
            models_dir: config.models_dir,
            max_models: config.max_models,
            interval,
            learner: learner.clone(),
            kept_in: config.state_dir.as_ref().map(|folder| folder.join("baselines")),
        };
        let loader = Loader::new(sources, process_metrics.clone());
        let logs = (!config.taps.logs.is_empty()).then_some(config.taps.logs);
        if let Some(configs) = logs.clone() {
            let metrics = (families.of("logs"), LogsFamilies::register(&registry)?);
            taps.logs = Some(Logs::new(configs, &config.evaluation, (loader.catalog(), learner), metrics));
        }
        let context = Context {
            evaluation: config.evaluation,
            identity,
            metrics: ModelMetrics::register(&registry)?,
            series_left: config.max_series,
        };
        let shard_handles = shards.iter().map(Shard::handle).collect();
        let (mut keys, state_metrics) = (Vec::new(), process_metrics.clone());
        let mut evaluator = Evaluator::new(
            loader.catalog(),
            shard_handles,
            context,
            process_metrics,
            taps.budgets(),
            publish,
        );
        if let Some(logs) = logs {
            evaluator.of_timed_rows(logs.len(), families.of("logs"));
            keys = logs.iter().map(LogsConfig::key).collect();
        }
        if let Some(folder) = &config.state_dir {
            match StateDir::open(folder) {
                Ok(folder) => evaluator.keep_in(folder, &keys),
                // Our own trouble: whoever asks the model for an answer must not wait for it to be mended.
                Err(error) => {
                    error!(error = %crate::net::chain(&error), "windows are not kept over a restart");
                    state_metrics.count_state_error(error.kind());
                }
            }
        }
        evaluator.begin();
        let health = taps.proxy.as_ref().map(Proxy::upstream_health).zip(config.taps.proxy);
        let readiness = move || match &health {
            Some((health, proxy)) if !health.is_reachable() => {
                Err(format!("cannot reach the model server at {}", proxy.upstream))
            }
            _ => Ok(()),
        };
        let admin = Admin { registry, report: report.clone(), readiness: Arc::new(readiness) }
            .bind(config.admin)
            .await
            .map_err(|source| AppError::Bind { what: "the admin listener", addr: config.admin, source })?;
        Ok(Self { taps, admin, loader, evaluator, shards, report, interval, grace: config.shutdown_grace })
    }

    /// Where callers connect, if there is a proxy.
    pub fn proxy_addr(&self) -> Option<SocketAddr> {
        self.taps.proxy.as_ref().map(Proxy::local_addr)
    }

    /// Where events are sent to, if there is a sink for them.
    pub fn cloudevents_addr(&self) -> Option<SocketAddr> {
        self.taps.cloudevents.as_ref().map(CloudEvents::local_addr)
    }

    /// Where metrics and the API are.
    ///
    /// # Errors
    /// If the operating system does not say.
    pub fn admin_addr(&self) -> io::Result<SocketAddr> {
        self.admin.local_addr()
    }

    /// What each tick finds.
    pub fn report(&self) -> watch::Receiver<Arc<Report>> {
        self.report.clone()
    }

    /// Runs until `stop`, or until a part fails; then lets requests in flight complete, counts what they left and ends.
    ///
    /// # Errors
    /// [`AppError::Thread`] if a shard's thread cannot be started.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<(), AppError> {
        let cancel = CancellationToken::new(); // watched by the source of traffic alone
        let traffic = TaskTracker::new();
        let Self { taps, admin, loader, evaluator, shards, interval, grace, .. } = self;

        let counted = start_shards(shards)?;
        let _stop_loading = start_loader(loader)?;
        let (last_tick, end_of_ticks) = oneshot::channel();
        let (of_logs, from_logs) = mpsc::channel(COUNTED_CAPACITY);
        if let Some(logs) = taps.logs {
            logs.start(|source| evaluator.read_so_far(source), &of_logs, &cancel)
                .map_err(AppError::Thread)?;
        }
        drop(of_logs); // closed once all logs have ended
        let ticks = tokio::spawn(tick(evaluator, interval, from_logs, end_of_ticks));
        let (close_admin, admin_closed) = oneshot::channel::<()>();
        let guard = cancel.clone().drop_guard();
        let admin = tokio::spawn(async move {
            let _guard = guard; // without its metrics a daemon is blind: it stops, and is started again
            if let Err(error) = admin.run(async { drop(admin_closed.await) }).await {
                error!(%error, "admin listener failed");
            }
        });
        if let Some(proxy) = taps.proxy {
            let stopped = cancel.clone().cancelled_owned();
            traffic.spawn(drained("proxy", proxy.run(stopped), cancel.clone(), grace));
        }
        if let Some(sink) = taps.cloudevents {
            let stopped = cancel.clone().cancelled_owned();
            let run = async move {
                if let Err(error) = sink.run(stopped).await {
                    error!(%error, "the CloudEvents sink failed");
                }
            };
            traffic.spawn(drained("cloudevents", run, cancel.clone(), grace));
        }

        tokio::select! { () = stop => (), () = cancel.cancelled() => () }
        info!(grace = ?grace, "stopping: no new connections, requests in flight complete");
        cancel.cancel();
        traffic.close();
        traffic.wait().await;

        // The last intake went with the taps, so the shards end when their queues are empty.
        if timeout(Duration::from_secs(5), counted).await.is_err() {
            warn!("shards still busy, their last exchanges are not counted");
        }
        drop(last_tick);
        let _joined = ticks.await;
        drop(close_admin);
        let _joined = admin.await;
        info!("stopped");
        Ok(())
    }
}

impl BoundTaps {
    async fn bind(config: &Taps, intake: &Intake, metrics: &TapFamilies) -> Result<Self, AppError> {
        let mut bound = Self { proxy: None, cloudevents: None, logs: None };
        if let Some(config) = &config.proxy {
            let error = |source| AppError::Bind { what: "the proxy", addr: config.listen, source };
            let proxy = Proxy::bind(config, intake.clone(), metrics.of("proxy")).await;
            bound.proxy = Some(proxy.map_err(error)?);
        }
        if let Some(config) = &config.cloudevents {
            let error = |source| AppError::Bind { what: "the CloudEvents sink", addr: config.listen, source };
            let sink = CloudEvents::bind(config, intake.clone(), metrics.of("cloudevents")).await;
            bound.cloudevents = Some(sink.map_err(error)?);
        }
        Ok(bound)
    }

    fn budgets(&self) -> Vec<MirrorBudget> {
        let budgets = self.proxy.iter().map(Proxy::budget);
        budgets.chain(self.cloudevents.iter().map(CloudEvents::budget)).collect()
    }
}

/// Runs a tap until it has drained after `cancel`, or for the grace period at most. However it ends, all others end too.
async fn drained(
    tap: &'static str,
    run: impl Future<Output = ()>,
    cancel: CancellationToken,
    grace: Duration,
) {
    let _guard = cancel.clone().drop_guard();
    let over = async {
        cancel.cancelled().await;
        tokio::time::sleep(grace).await;
    };
    tokio::select! {
        () = run => (),
        () = over => warn!(tap, "grace period over, closing connections with requests in flight"),
    }
}

/// A thread that loads baselines for as long as the other end of its channel is there. Nobody waits for it: a store that does not answer
/// keeps nothing from ending.
fn start_loader(loader: Loader) -> Result<std_mpsc::SyncSender<()>, AppError> {
    let (alive, stop) = std_mpsc::sync_channel(0);
    std::thread::Builder::new()
        .name("driftd-loader".to_owned())
        .spawn(move || loader.run(&stop))
        .map_err(AppError::Thread)?;
    Ok(alive)
}

/// One thread a shard; resolves when all have ended.
fn start_shards(shards: Vec<Shard>) -> Result<impl Future<Output = ()>, AppError> {
    let (done, mut all_done) = mpsc::channel::<()>(1);
    for (idx, shard) in shards.into_iter().enumerate() {
        let done = done.clone();
        let work = move || {
            shard.run();
            drop(done);
        };
        std::thread::Builder::new()
            .name(format!("driftd-shard-{idx}"))
            .spawn(work)
            .map_err(AppError::Thread)?;
    }
    drop(done);
    Ok(async move { while all_done.recv().await.is_some() {} })
}

/// Looks at every interval, and once more at the end; in between, takes in what logs were counted as. A look runs on the blocking
/// pool: scoring thousands of features takes milliseconds, in which serving traffic must not wait.
async fn tick(
    mut evaluator: Evaluator,
    interval: Duration,
    mut logs: mpsc::Receiver<Counted>,
    mut end: oneshot::Receiver<()>,
) {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut is_last = false;
    while !is_last {
        let counted = tokio::select! {
            biased; // a backlog of logs must not keep the daemon from telling what it knows
            _ = &mut end => {
                is_last = true;
                None
            }
            _ = ticks.tick() => None,
            Some(counted) = logs.recv() => Some(counted),
        };
        let look = async {
            let mut all = Vec::from_iter(counted);
            while is_last && let Some(counted) = logs.recv().await {
                all.push(counted);
            }
            all
        };
        // Whoever reads logs has been told to end, and hands on what it has.
        let Ok(counted) = timeout(Duration::from_secs(5), look).await else {
            return warn!("logs still being read, their last rows are not counted");
        };
        let look = tokio::task::spawn_blocking(move || {
            let is_tick = counted.is_empty() || is_last;
            for counted in counted {
                evaluator.take_in(counted);
            }
            if is_tick {
                evaluator.tick();
            }
            evaluator
        });
        match look.await {
            Ok(back) => evaluator = back,
            Err(error) => return error!(%error, "evaluation panicked; restart driftd and report this"),
        }
    }
}
