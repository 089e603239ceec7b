//! A stand-in for KServe: runs one pod, which is a model server and driftd's real sidecar in front of it, and puts another in its place
//! without losing a request.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::{Mutex, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::{models, server};
use crate::app::{App, AppError};
use crate::config::{Config, EvaluationConfig, Identity, ModelConfig, ProxyConfig, Window};
use crate::pipeline::Report;

/// The service's name, as its manifest has it.
pub const NAMESPACE: &str = "prod";
/// See [`NAMESPACE`].
pub const SERVICE: &str = "credit";
/// A pod that is replaced still answers for so long, as callers may have just looked up where it is.
const GRACE: Duration = Duration::from_millis(300);

/// The pod that serves, as callers, scrapers and readers of the story see it.
#[derive(Clone, Debug)]
pub struct Serving {
    /// What it serves.
    pub uri: String,
    /// The model server behind the tap.
    pub model_server: SocketAddr,
    /// Where callers connect: driftd's tap.
    pub proxy: SocketAddr,
    /// Where its metrics and its API are.
    pub admin: SocketAddr,
    /// What each of its ticks finds.
    pub reports: watch::Receiver<Arc<Report>>,
}

impl Serving {
    /// The version, as its URI ends.
    pub fn version(&self) -> &str {
        self.uri.rsplit('/').next().unwrap_or_default()
    }
}

/// The pod of a service.
#[derive(Debug)]
pub struct Pods {
    running: Mutex<Option<Pod>>,
    tell: watch::Sender<Serving>,
}

#[derive(Debug)]
struct Pod {
    model_server: JoinHandle<std::io::Result<()>>,
    stop: oneshot::Sender<()>,
    sidecar: JoinHandle<Result<(), AppError>>,
}

impl Pods {
    /// With a pod that serves what lies at `uri`.
    ///
    /// # Errors
    /// If it cannot be started.
    pub async fn start(uri: &str) -> anyhow::Result<Self> {
        let (pod, serving) = Pod::start(uri).await?;
        Ok(Self { running: Mutex::new(Some(pod)), tell: watch::Sender::new(serving) })
    }

    /// Who serves, now and from now on.
    pub fn serving(&self) -> watch::Receiver<Serving> {
        self.tell.subscribe()
    }

    /// Serves what lies at `uri` instead, if it does not already: the new pod first, then callers, then the old one goes.
    ///
    /// # Errors
    /// If the new pod cannot be started; then the old one goes on.
    pub async fn serve(&self, uri: &str) -> anyhow::Result<()> {
        let mut running = self.running.lock().await;
        if self.tell.borrow().uri == uri {
            return Ok(());
        }
        let (pod, serving) = Pod::start(uri).await?;
        self.tell.send_replace(serving);
        if let Some(old) = running.replace(pod) {
            tokio::spawn(async move {
                sleep(GRACE).await;
                old.end().await
            });
        }
        Ok(())
    }

    /// Ends the pod.
    ///
    /// # Errors
    /// If its sidecar failed.
    pub async fn end(&self) -> anyhow::Result<()> {
        match self.running.lock().await.take() {
            Some(pod) => pod.end().await,
            None => Ok(()),
        }
    }
}

impl Pod {
    async fn start(uri: &str) -> anyhow::Result<(Self, Serving)> {
        let model = models::load(uri)?;
        let (addr, model_server) = server::start(model).await.context("starting the demo's model server")?;
        let identity = Identity {
            namespace: NAMESPACE.to_owned(),
            inferenceservice: SERVICE.to_owned(),
            component: "predictor".to_owned(),
            revision: String::new(),
            storage_uri: uri.to_owned(),
        };
        let app = App::bind(config(uri, addr)?, identity).await?;
        let serving = Serving {
            uri: uri.to_owned(),
            model_server: addr,
            proxy: app.proxy_addr().context("the demo has a proxy")?,
            admin: app.admin_addr()?,
            reports: app.report(),
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let sidecar = tokio::spawn(app.run(async { drop(stopped.await) }));
        Ok((Self { model_server, stop, sidecar }, serving))
    }

    async fn end(self) -> anyhow::Result<()> {
        drop(self.stop);
        self.sidecar.await.context("the sidecar panicked")??;
        self.model_server.abort();
        Ok(())
    }
}

fn config(uri: &str, upstream: SocketAddr) -> anyhow::Result<Config> {
    let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let proxy = ProxyConfig::new(any_port, &format!("http://{upstream}"))?;
    let mut config = Config::new(proxy, vec![ModelConfig::beside(uri)]);
    config.admin = any_port;
    let window = |secs| Window { length: Duration::from_secs(secs), label: format!("{secs}s") };
    // A production's 10 s and [5m, 1h, 24h] at the speed of a story; thresholds and evidence are the defaults.
    config.evaluation = EvaluationConfig {
        interval: Duration::from_millis(200),
        windows: vec![window(3), window(30)],
        ..EvaluationConfig::default()
    };
    Ok(config)
}
