//! Builds every part from [`Config`], binds sockets, supervises tasks, and shuts down along the data path: first the
//! tap drains, then the shards empty their queues, then the last tick is taken, then the admin listener closes.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use prometheus::Registry;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

use crate::admin::{Admin, BoundAdmin};
use crate::config::{Config, Identity};
use crate::pipeline::{Context, Evaluator, Intake, Models, Report, Shard};
use crate::tap::Proxy;
use crate::telemetry::{ModelMetrics, ProcessMetrics, TapMetrics};

/// A daemon whose sockets are bound and whose tasks wait to run.
#[derive(Debug)]
pub struct App {
    proxy: Proxy,
    admin: BoundAdmin,
    evaluator: Evaluator,
    shards: Vec<Shard>,
    report: watch::Receiver<Arc<Report>>,
    interval: Duration,
    grace: Duration,
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
        let registry = Registry::new();
        let process_metrics = ProcessMetrics::register(&registry)?;
        let models = Arc::new(Models::new(config.models));
        let (queues, shards): (Vec<_>, Vec<_>) = (0..config.n_shards)
            .map(|_| {
                let (sender, receiver) = mpsc::channel(config.queue_capacity);
                (sender, Shard::new(receiver, Arc::clone(&models), config.proxy.max_body_bytes))
            })
            .unzip();
        let (publish, report) = watch::channel(Arc::default());
        let listen = config.proxy.listen;
        let proxy =
            Proxy::bind(&config.proxy, Intake::new(queues), TapMetrics::register(&registry, "proxy")?)
                .await
                .map_err(|source| AppError::Bind { what: "the proxy", addr: listen, source })?;
        let interval = config.evaluation.interval;
        let context = Context {
            evaluation: config.evaluation,
            identity,
            metrics: ModelMetrics::register(&registry)?,
            series_left: config.max_series,
        };
        let shard_handles = shards.iter().map(Shard::handle).collect();
        let evaluator =
            Evaluator::new(models, shard_handles, context, process_metrics, proxy.budget(), publish);
        let (health, upstream) = (proxy.upstream_health(), config.proxy.upstream.clone());
        let readiness = move || {
            if health.is_reachable() {
                Ok(())
            } else {
                Err(format!("cannot reach the model server at {upstream}"))
            }
        };
        let admin = Admin { registry, report: report.clone(), readiness: Arc::new(readiness) }
            .bind(config.admin)
            .await
            .map_err(|source| AppError::Bind { what: "the admin listener", addr: config.admin, source })?;
        Ok(Self { proxy, admin, evaluator, shards, report, interval, grace: config.shutdown_grace })
    }

    /// Where callers connect.
    pub fn proxy_addr(&self) -> SocketAddr {
        self.proxy.local_addr()
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
        let Self { proxy, admin, evaluator, shards, interval, grace, .. } = self;
        info!(proxy = %proxy.local_addr(), "forwarding");

        let counted = start_shards(shards)?;
        let (last_tick, end_of_ticks) = oneshot::channel();
        let ticks = tokio::spawn(tick(evaluator, interval, end_of_ticks));
        let (close_admin, admin_closed) = oneshot::channel::<()>();
        let guard = cancel.clone().drop_guard();
        let admin = tokio::spawn(async move {
            let _guard = guard; // without its metrics a daemon is blind: it stops, and is started again
            if let Err(error) = admin.run(async { drop(admin_closed.await) }).await {
                error!(%error, "admin listener failed");
            }
        });
        let guard = cancel.clone().drop_guard();
        let draining = cancel.clone();
        traffic.spawn(async move {
            let _guard = guard;
            let started = proxy.run(draining.clone().cancelled_owned());
            tokio::pin!(started);
            let drained = async {
                draining.cancelled().await;
                tokio::time::sleep(grace).await;
            };
            tokio::select! {
                () = &mut started => (),
                () = drained => warn!("grace period over, closing connections with requests in flight"),
            }
        });

        tokio::select! { () = stop => (), () = cancel.cancelled() => () }
        info!(grace = ?grace, "stopping: no new connections, requests in flight complete");
        cancel.cancel();
        traffic.close();
        traffic.wait().await;

        // The last intake went with the proxy, so the shards end when their queues are empty.
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

/// Looks at every interval, and once more at the end. A look runs on the blocking pool: scoring thousands of features
/// takes milliseconds, in which serving traffic must not wait.
async fn tick(mut evaluator: Evaluator, interval: Duration, mut end: oneshot::Receiver<()>) {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let last = tokio::select! {
            _ = ticks.tick() => false,
            _ = &mut end => true,
        };
        let look = tokio::task::spawn_blocking(move || {
            evaluator.tick();
            evaluator
        });
        match look.await {
            Ok(back) => evaluator = back,
            Err(error) => return error!(%error, "evaluation panicked; restart driftd and report this"),
        }
        if last {
            return;
        }
    }
}
