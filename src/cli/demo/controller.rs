//! The real controller, with its journal and its clone, told of the demo's stand-ins by its file as it would be of the real ones.

use std::fs;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use serde_json::json;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use url::Url;

use super::argocd::APPLICATION;
use super::pods::{NAMESPACE, SERVICE};
use super::repository::{BRANCH, FILE, Repository};
use crate::baseline::schema::hex;
use crate::gitops::audit::Whole;
use crate::gitops::config::ControllerConfig;
use crate::gitops::controller::Controller as Real;
use crate::gitops::http::{Access, Scheme, Service};
use crate::gitops::incident::Incident;
use crate::gitops::journal::{self, Kind, Verified, read};

/// For one question to it.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Whom it talks to.
#[derive(Clone, Copy, Debug)]
pub struct Others<'a> {
    /// Prometheus.
    pub prometheus: SocketAddr,
    /// Argo CD.
    pub argocd: SocketAddr,
    /// The repository.
    pub repository: &'a Repository,
}

/// The controller, in this process, and a client of its API.
pub struct Controller {
    /// Where it listens.
    pub addr: SocketAddr,
    /// The token that it takes alerts with.
    pub alerts_token: String,
    state_dir: PathBuf,
    client: Service,
    stop: oneshot::Sender<()>,
    running: JoinHandle<std::io::Result<()>>,
}

impl Controller {
    /// Writes its file into `folder` and starts it.
    ///
    /// # Errors
    /// If the file cannot be written, or it cannot be started.
    pub async fn start(folder: &Path, others: Others<'_>) -> anyhow::Result<Self> {
        let alerts_token = token()?;
        let operator = write(folder, "operator.token", &token()?)?;
        let text = config(folder, others, &write(folder, "alerts.token", &alerts_token)?, &operator)?;
        let real = Real::bind(ControllerConfig::read(&write(folder, "controller.yaml", &text)?)?).await?;
        let addr = real.local_addr()?;
        let client = Service::new(&Access {
            who: "the controller",
            url: &Url::parse(&format!("http://{addr}"))?,
            token: Some((Scheme::Bearer, &operator)),
            ca_file: None,
            timeout: TIMEOUT,
        })?;
        let (stop, stopped) = oneshot::channel::<()>();
        let running = tokio::spawn(real.run(async { drop(stopped.await) }));
        Ok(Self { addr, alerts_token, state_dir: folder.join("state"), client, stop, running })
    }

    /// The incidents, newest first.
    ///
    /// # Errors
    /// If it does not answer.
    pub async fn incidents(&self) -> anyhow::Result<Vec<Incident>> {
        Ok(self.client.get(&["api", "v1", "incidents"], &[]).await?)
    }

    /// One with all that happened to it.
    ///
    /// # Errors
    /// If it does not answer.
    pub async fn incident(&self, id: u64) -> anyhow::Result<Whole> {
        Ok(self.client.get(&["api", "v1", "incidents", &id.to_string()], &[]).await?)
    }

    /// Whether the chain of its journal holds.
    ///
    /// # Errors
    /// If not, or it does not answer.
    pub async fn verify(&self) -> anyhow::Result<Verified> {
        Ok(self.client.get(&["api", "v1", "verify"], &[]).await?)
    }

    /// Whether the journal has it that a version has served well.
    ///
    /// # Errors
    /// If the journal cannot be read.
    pub fn has_seen_well(&self, uri: &str) -> anyhow::Result<bool> {
        let verdicts = read::notes(&journal::read_only(&self.state_dir)?, Kind::Verdict)?;
        Ok(verdicts.iter().any(|verdict| verdict.payload["uri"] == uri))
    }

    /// Ends it.
    ///
    /// # Errors
    /// If it has failed before.
    pub async fn end(self) -> anyhow::Result<()> {
        drop(self.stop);
        self.running.await.context("the controller panicked")?.context("the controller failed")
    }
}

/// What nobody guesses: whoever else is on this machine reaches the ports as well.
fn token() -> anyhow::Result<String> {
    let mut bytes = [0; 16];
    fs::File::open("/dev/urandom")
        .and_then(|mut random| random.read_exact(&mut bytes))
        .context("/dev/urandom")?;
    Ok(hex(&bytes))
}

fn write(folder: &Path, name: &str, text: &str) -> anyhow::Result<PathBuf> {
    let path = folder.join(name);
    fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    Ok(path)
}

fn config(folder: &Path, others: Others<'_>, alerts: &Path, operator: &Path) -> anyhow::Result<String> {
    let Others { prometheus, argocd, repository } = others;
    let argocd_token = write(folder, "argocd.token", &token()?)?;
    let url = format!("file://{}", repository.path().display());
    let sections = [
        ("listen", json!("127.0.0.1:0")),
        ("state_dir", json!(folder.join("state"))),
        ("alerts", json!({ "bearer_token_file": alerts })),
        ("api", json!({ "operators": [{ "name": "demo", "token_file": operator }] })),
        ("prometheus", json!({ "url": format!("http://{prometheus}") })),
        ("git", json!({ "url": url, "branch": BRANCH, "author": "driftd <driftd@example.com>" })),
        ("argocd", json!({ "url": format!("http://{argocd}"), "token_file": argocd_token })),
        // At the speed of a story: in production half an hour, a day, and a minute.
        ("policy", json!({ "soak": "5s", "attribution_window": "5m", "recovery_settle": "3s" })),
        (
            "targets",
            json!([{ "namespace": NAMESPACE, "name": SERVICE, "path": FILE, "application": APPLICATION }]),
        ),
    ];
    // JSON is YAML.
    Ok(sections.map(|(key, section)| format!("{key}: {section}\n")).concat())
}
