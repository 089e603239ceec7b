//! All parts of `driftd controller`, built from its configuration, and ended in order.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use prometheus::Registry;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::argocd::ArgoCd;
use super::config::{ControllerConfig, ForgeConfig};
use super::decide::gate_names;
use super::doubts::{Doubt, doubts};
use super::engine::{self, Book, Cluster, Context, EngineHandle, Measure, PullRequests};
use super::forge::Forge;
use super::git::{GitError, Repository};
use super::http::HttpError;
use super::journal::{Journal, JournalError};
use super::kubernetes::{Kubernetes, KubernetesError};
use super::lease::Election;
use super::prometheus::Prometheus;
use super::server::{BindError, Server};
use crate::telemetry::ControllerMetrics;

/// Why the controller cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ControllerError {
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The clone.
    #[error(transparent)]
    Git(#[from] GitError),
    /// A client of another service.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The way to the API server.
    #[error(transparent)]
    Kubernetes(#[from] KubernetesError),
    /// The listener.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// Two parts registered one series.
    #[error("metrics clash; this is a bug")]
    Metrics(#[from] prometheus::Error),
}

/// A controller that has its port and its journal.
pub struct Controller {
    handle: EngineHandle,
    server: Server,
    lease: Lease,
}

/// What makes this replica the active one.
enum Lease {
    /// There is no other; the term lives as long as this.
    Alone(watch::Sender<Option<u64>>),
    /// It has to be held.
    Held { kubernetes: Kubernetes, election: Box<Election>, term: watch::Receiver<Option<u64>> },
}

impl Lease {
    fn term(&self) -> watch::Receiver<Option<u64>> {
        match self {
            Self::Alone(term) => term.subscribe(),
            Self::Held { term, .. } => term.clone(),
        }
    }

    fn cluster(&self) -> Option<Arc<dyn Cluster>> {
        match self {
            Self::Alone(_) => None,
            Self::Held { kubernetes, .. } => Some(Arc::new(kubernetes.clone())),
        }
    }

    /// Until `stop`.
    async fn hold(self, stop: CancellationToken) {
        match self {
            Self::Alone(_term) => stop.cancelled().await,
            Self::Held { election, .. } => election.run(stop).await,
        }
    }
}

impl Controller {
    /// Opens and binds all. Nothing that is not of this machine is asked yet: a repository or a Prometheus that is down keeps the
    /// controller from acting, not from starting.
    ///
    /// # Errors
    /// [`ControllerError`] says what to change.
    pub async fn bind(config: ControllerConfig) -> Result<Self, ControllerError> {
        let registry = Registry::new();
        let gates: Vec<&'static str> = gate_names().collect();
        let metrics = ControllerMetrics::register(&registry, &gates)?;
        for Doubt { key, problem } in doubts(&config) {
            warn!(key, problem, "cannot work as it is configured");
        }
        let journal = Journal::open(&config.state_dir)?;
        let lease = match &config.kubernetes {
            Some(of_cluster) => {
                let kubernetes = Kubernetes::connect(of_cluster).await?;
                let (election, term) = Election::new(kubernetes.clone(), of_cluster);
                Lease::Held { kubernetes, election: Box::new(election), term }
            }
            None => Lease::Alone(watch::channel(Some(0)).0),
        };
        let context = Context {
            book: Book::read(&journal).await?,
            repository: Repository::open(&config.git, &config.state_dir, &metrics).await?,
            witness: Arc::new(Prometheus::new(&config.prometheus)?),
            argocd: config.argocd.as_ref().map(ArgoCd::new).transpose()?,
            cluster: lease.cluster(),
            forge: config.forge.as_ref().map(forge).transpose()?,
            journal,
            measure: Measure::new(metrics),
            term: lease.term(),
            config: Arc::new(config),
        };
        let handle = EngineHandle::new(context);
        let config = Arc::clone(&handle.context().config);
        let server = Server::bind(&config, handle.clone(), registry).await?;
        Ok(Self { handle, server, lease })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// If the operating system does not say.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.server.local_addr()
    }

    /// Runs until `stop`. What is open then goes on at the next start.
    ///
    /// # Errors
    /// If a part of it panicked.
    pub async fn run(self, stop: impl Future<Output = ()>) -> io::Result<()> {
        let Self { handle, server, lease } = self;
        let stopping = CancellationToken::new();
        // Given back last: while the engine ends, nobody else begins.
        let engine_ended = CancellationToken::new();
        let lease = tokio::spawn(lease.hold(engine_ended.clone()));
        let mut engine = tokio::spawn(engine::run(handle, stopping.clone()));
        let server = tokio::spawn(server.run(stopping.clone().cancelled_owned()));
        // An engine that has ended by itself has panicked: nothing more may be taken on.
        let by_itself = tokio::select! {
            () = stop => None,
            ended = &mut engine => Some(ended),
        };
        stopping.cancel();
        let ended = match by_itself {
            Some(ended) => ended,
            None => engine.await,
        };
        engine_ended.cancel();
        lease.await.map_err(io::Error::other)?;
        server.await.map_err(io::Error::other)?;
        ended.map_err(io::Error::other)
    }
}

fn forge(config: &ForgeConfig) -> Result<Arc<dyn PullRequests>, HttpError> {
    Ok(Arc::new(Forge::new(config)?))
}
