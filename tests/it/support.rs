//! What the tests share: a model server that answers as it is told, and the whole daemon in this process.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use driftd::app::App;
use driftd::config::{Config, Identity, ModelConfig, ProxyConfig};
use driftd::pipeline::Report;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

/// Long enough for a loaded two-core machine; a test that needs it has failed.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub fn localhost() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}

/// A model server stand-in that answers every request with `answer`, on a free port. Ends with the runtime.
pub async fn mock_model_server<F, A>(answer: F) -> SocketAddr
where
    F: Fn(Request) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Response> + Send + 'static,
{
    driftd::storage::install_tls(); // for the clients that ask it
    let listener = TcpListener::bind(localhost()).await.expect("a free port");
    let addr = listener.local_addr().expect("bound above");
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
    addr
}

/// A configuration in front of `upstream`, with free ports and a look every 50 ms.
pub fn config(upstream: SocketAddr, baselines: &[&Path]) -> Config {
    let model = |path: &&Path| ModelConfig::new(*path);
    let proxy = ProxyConfig::new(localhost(), &format!("http://{upstream}")).expect("a valid upstream");
    let mut config = Config::new(proxy, baselines.iter().map(model).collect());
    config.admin = localhost();
    config.evaluation.interval = Duration::from_millis(50);
    config.shutdown_grace = Duration::from_secs(5);
    config
}

/// The whole daemon, in this process, on free ports.
pub struct Daemon {
    /// Where callers connect; where there is no proxy, where events are sent to.
    pub tap: SocketAddr,
    pub admin: SocketAddr,
    pub report: watch::Receiver<Arc<Report>>,
    stop: Option<oneshot::Sender<()>>,
    running: JoinHandle<()>,
}

impl Daemon {
    pub async fn start(config: Config) -> Self {
        let app = App::bind(config, Identity::default()).await.expect("free ports");
        let tap = app.proxy_addr().or(app.cloudevents_addr()).unwrap_or(localhost()); // logs do not listen
        let admin = app.admin_addr().expect("bound");
        let report = app.report();
        let (stop, stopped) = oneshot::channel::<()>();
        let running =
            tokio::spawn(async move { app.run(async { drop(stopped.await) }).await.expect("threads start") });
        Self { tap, admin, report, stop: Some(stop), running }
    }

    pub async fn metrics(&self) -> String {
        self.get("/metrics").await.1
    }

    pub async fn get(&self, path: &str) -> (u16, String) {
        let response =
            reqwest::get(format!("http://{}{path}", self.admin)).await.expect("the admin listener answers");
        (response.status().as_u16(), response.text().await.expect("a text body"))
    }

    /// The report of a tick for which `is_it` holds.
    pub async fn wait_for(&self, what: &str, is_it: impl Fn(&Report) -> bool) -> Arc<Report> {
        let mut reports = self.report.clone();
        let found = tokio::time::timeout(PATIENCE, reports.wait_for(|report| is_it(report))).await;
        let found =
            found.unwrap_or_else(|_| panic!("no tick with {what}; the last was {:#?}", self.report.borrow()));
        Arc::clone(&found.unwrap_or_else(|_| panic!("the daemon ended before {what}")))
    }

    /// Waits until `rows` rows of features are counted in all, and a tick after that is published.
    pub async fn wait_for_rows(&self, rows: u64) -> Arc<Report> {
        let counted = |report: &Report| report.models.iter().map(|model| model.rows.feature).sum::<u64>();
        self.wait_for(&format!("{rows} rows"), |report| counted(report) >= rows).await
    }

    /// Waits until a series reads `value`.
    pub async fn wait_for_metric(&self, series: &str, value: f64) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let text = self.metrics().await;
            if metric(&text, series) == Some(value) {
                return;
            }
            assert!(
                tokio::time::Instant::now() < deadline,
                "{series} is {:?}, expected {value}",
                metric(&text, series)
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Stops as SIGTERM does, and waits until it has.
    pub async fn stop(mut self) {
        drop(self.stop.take());
        tokio::time::timeout(PATIENCE, self.running).await.expect("stops in time").expect("no panic");
    }
}

/// The value of a series, named with its labels in the order of the exposition.
pub fn metric(text: &str, series: &str) -> Option<f64> {
    let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
    value.parse().ok()
}

/// Builds a baseline from a CSV text, as `driftd baseline build` does.
pub fn baseline(directory: &Path, csv: &str, options: &driftd::baseline::build::BuildOptions) -> PathBuf {
    let (table, file) = (directory.join("training.csv"), directory.join("baseline.json"));
    std::fs::write(&table, csv).expect("a writable directory");
    let built =
        driftd::baseline::build::build(&[table.display().to_string()], options).expect("a valid table");
    built.baseline.write(&file).expect("a writable directory");
    file
}

/// A program that `./test.sh` has installed.
pub fn from_env(name: &str) -> PathBuf {
    driftd::storage::install_tls(); // for the clients of what it is
    let path =
        std::env::var_os(name).unwrap_or_else(|| panic!("{name} is not set; run the tests with ./test.sh"));
    PathBuf::from(path)
}
