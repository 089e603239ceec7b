//! `driftd run`: the sidecar.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{debug, info, warn};

use crate::app::App;
use crate::config::{Config, Identity, ModelConfig, ProxyConfig};
use crate::telemetry::log::{self, LogFormat};

/// Forward traffic to a model server and watch it for drift.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  driftd run --listen :8080 --upstream http://127.0.0.1:8081 --baseline credit.json
  driftd run --config driftd.yaml

The first puts driftd in front of a server on port 8081: point callers at port 8080, Prometheus at :9464/metrics.
SIGTERM or Ctrl-C lets requests in flight complete, then ends with exit code 0.")]
pub struct RunArgs {
    /// Configuration file; without it, --listen and --upstream say all that is needed
    #[arg(long, env = "DRIFTD_CONFIG", conflicts_with_all = ["listen", "upstream", "admin", "baseline", "model", "model_version"])]
    config: Option<PathBuf>,
    /// The configuration itself, instead of a file: in a pod it needs no volume
    #[arg(long, env = "DRIFTD_CONFIG_TEXT", value_name = "YAML", conflicts_with_all = ["config", "listen", "upstream", "admin", "baseline", "model", "model_version"])]
    config_text: Option<String>,
    /// Where callers connect
    #[arg(long, value_parser = socket_addr, required_unless_present_any = ["config", "config_text"], value_name = "[HOST]:PORT")]
    listen: Option<SocketAddr>,
    /// The model server
    #[arg(long, required_unless_present_any = ["config", "config_text"], value_name = "URL")]
    upstream: Option<String>,
    /// Where metrics, health and the API are served [default: :9464]
    #[arg(long, value_parser = socket_addr, value_name = "[HOST]:PORT")]
    admin: Option<SocketAddr>,
    /// The model's baseline, from `driftd baseline build`, or the model that it lies beside: a file or a URI
    #[arg(long, value_name = "FILE")]
    baseline: Option<String>,
    /// Where the model is served from: its last segment is the version, and the baseline may lie there as driftd-baseline.json. With
    /// --config, for its one model where that has no `storage_uri`
    #[arg(long, env = "DRIFTD_STORAGE_URI", value_name = "URI")]
    storage_uri: Option<String>,
    /// The model's name in request paths [default: the baseline's; if it has none, every name]
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// The model's version, for labels [default: the baseline's]
    #[arg(long, value_name = "VERSION")]
    model_version: Option<String>,
    /// Threads that forward traffic: one serves tens of thousands of requests a second, at the least cost a request
    #[arg(long, env = "DRIFTD_THREADS", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: u16,
    /// Which log lines to write, like `info` or `driftd=debug`
    #[arg(long, env = "DRIFTD_LOG", default_value = "info")]
    log: String,
    /// How log lines look
    #[arg(long, env = "DRIFTD_LOG_FORMAT", default_value = "text")]
    log_format: LogFormat,
    /// Label `namespace` of every series of a model
    #[arg(long, env = "DRIFTD_NAMESPACE", default_value = "")]
    namespace: String,
    /// Label `inferenceservice` of every series of a model
    #[arg(long, env = "DRIFTD_INFERENCESERVICE", default_value = "")]
    inferenceservice: String,
    /// Keep windows over a restart in this folder of its own [default: that of the configuration, or nowhere]
    #[arg(long, env = "DRIFTD_STATE_DIR", value_name = "FOLDER")]
    state_dir: Option<PathBuf>,
    /// Label `component` of `driftd_model_info`
    #[arg(long, env = "DRIFTD_COMPONENT", default_value = "")]
    component: String,
    /// Label `revision` of `driftd_model_info`
    #[arg(long, env = "DRIFTD_REVISION", default_value = "")]
    revision: String,
}

/// `:8080` is every interface, as users of other proxies write it.
fn socket_addr(text: &str) -> Result<SocketAddr, String> {
    let full =
        if text.starts_with(':') { format!("{}{text}", Ipv4Addr::UNSPECIFIED) } else { text.to_owned() };
    full.parse().map_err(|_| format!("`{text}` is not an address; write it like `:8080` or `127.0.0.1:8080`"))
}

impl RunArgs {
    fn config(&self) -> anyhow::Result<Config> {
        // Empty where the downward API has no such annotation.
        let storage_uri = self.storage_uri.as_deref().filter(|uri| !uri.is_empty());
        if let Some(path) = &self.config {
            return Ok(Config::read_for(path, storage_uri)?);
        }
        if let Some(text) = &self.config_text {
            return Ok(Config::parse_for(text, Path::new("--config-text"), storage_uri)?);
        }
        let (Some(listen), Some(upstream)) = (self.listen, &self.upstream) else {
            anyhow::bail!("--listen and --upstream are needed where there is no --config");
        };
        let beside = storage_uri.map(ModelConfig::beside);
        let of_file = match &self.baseline {
            None => None,
            Some(baseline) => Some(ModelConfig {
                version: beside.as_ref().and_then(|beside| beside.version.clone()),
                ..ModelConfig::at(baseline)?
            }),
        };
        let model = of_file.or(beside).map(|model| ModelConfig {
            name: self.model.clone(),
            version: self.model_version.clone().or(model.version.clone()),
            ..model
        });
        if model.is_none() && (self.model.is_some() || self.model_version.is_some()) {
            anyhow::bail!(
                "--model and --model-version name what --baseline or --storage-uri gives; add one of them"
            );
        }
        let mut config = Config::new(ProxyConfig::new(listen, upstream)?, model.into_iter().collect());
        if let Some(admin) = self.admin {
            config.admin = admin;
        }
        Ok(config)
    }
}

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// If the configuration is wrong or a socket cannot be bound.
pub fn run(args: RunArgs) -> anyhow::Result<ExitCode> {
    log::init(&args.log, args.log_format).with_context(|| format!("`--log {}`", args.log))?;
    let mut config = args.config()?;
    config.state_dir = args.state_dir.or(config.state_dir);
    raise_file_limit();
    let identity = Identity {
        namespace: args.namespace,
        inferenceservice: args.inferenceservice,
        component: args.component,
        revision: args.revision,
        storage_uri: args.storage_uri.unwrap_or_default(),
    };
    runtime(args.threads)?.block_on(async {
        let app = App::bind(config, identity).await?;
        info!(admin = %app.admin_addr()?, "serving /metrics, /livez, /readyz and /api/v1/drift");
        app.run(stop_signal()?).await?;
        Ok(ExitCode::SUCCESS)
    })
}

/// Every request in flight holds two connections, and many systems allow a process 1,024 files until it asks for more.
fn raise_file_limit() {
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(limit) => debug!(limit, "open files"),
        Err(error) => warn!(%error, "cannot raise the limit on open files"),
    }
}

/// One thread hands nothing over to another: a request costs a sixth less than on two and a third of the latency
/// (`benches/README.md`).
pub(super) fn runtime(threads: u16) -> anyhow::Result<tokio::runtime::Runtime> {
    let mut builder = match threads {
        1 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    builder
        .worker_threads(threads.into())
        .thread_name("driftd-io")
        .enable_all()
        .build()
        .context("starting the runtime")
}

/// Resolves at the first SIGTERM or SIGINT.
pub(super) fn stop_signal() -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate()).context("watching for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("watching for SIGINT")?;
    Ok(async move {
        tokio::select! { _ = terminate.recv() => (), _ = interrupt.recv() => () }
    })
}
