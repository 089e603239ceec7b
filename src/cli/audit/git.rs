//! `driftd audit rebuild`: what Git alone knows.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use prometheus::Registry;
use url::Url;

use super::super::draw::table;
use super::super::print;
use super::super::run::runtime;
use super::Format;
use crate::config::{ConfigError, HumanDuration};
use crate::gitops::audit::{Rebuilt, rebuild};
use crate::gitops::config::{GitConfig, RawGit};
use crate::gitops::git::Repository;
use crate::telemetry::ControllerMetrics;

/// A fetch of all of a repository's history may take long.
const TIMEOUT: Duration = Duration::from_mins(10);

/// Read every rollback from the trailers of commits: no journal, no controller.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  driftd audit rebuild --repo https://git.example.com/models.git --token-file git.token
  driftd audit rebuild --repo /srv/models.git --format json

The repository is cloned into a temporary folder. Needs the program `git`.")]
pub(super) struct RebuildArgs {
    /// The repository: https://, ssh://, user@host:path, file://, or a folder of this machine
    #[arg(long, value_name = "URL")]
    repo: String,
    /// The branch that is deployed
    #[arg(long, default_value = "main")]
    branch: String,
    /// The user of the token
    #[arg(long, default_value = "driftd")]
    username: String,
    /// A file with a token or password, for HTTP
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// A private key, for SSH
    #[arg(long, value_name = "FILE")]
    ssh_key_file: Option<PathBuf>,
    /// The keys of hosts, for SSH
    #[arg(long, value_name = "FILE")]
    known_hosts_file: Option<PathBuf>,
    /// Authorities of its certificate, PEM, beyond the usual ones
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// What to write
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub(super) fn run(args: &RebuildArgs) -> anyhow::Result<ExitCode> {
    let config = GitConfig::try_from(RawGit {
        url: address(&args.repo),
        branch: args.branch.clone(),
        username: args.username.clone(),
        token_file: args.token_file.clone(),
        ssh_key_file: args.ssh_key_file.clone(),
        known_hosts_file: args.known_hosts_file.clone(),
        ca_file: args.ca_file.clone(),
        author: "nobody <nobody@localhost>".to_owned(), // nothing is committed
        signing: None,
        fetch_interval: HumanDuration(TIMEOUT),
        timeout: HumanDuration(TIMEOUT),
        pause_file: ".drift/pause.yaml".to_owned(),
    })
    .map_err(by_flags)?;
    let folder = tempfile::tempdir()?;
    let metrics = ControllerMetrics::register(&Registry::new(), &[])?;
    let actions = runtime(1)?.block_on(async {
        let repository = Repository::open(&config, folder.path(), &metrics).await?;
        let tip = repository.fetch().await?;
        Ok::<_, anyhow::Error>(rebuild(&repository.actions(&tip, usize::MAX >> 1).await?))
    })?;
    match args.format {
        Format::Json => print(&serde_json::json!(actions).to_string()),
        Format::Table if actions.is_empty() => print("no commit of driftd's"),
        Format::Table => {
            let mut table = table(Rebuilt::COLUMNS);
            table.add_rows(actions.iter().map(Rebuilt::row));
            print(&table.trim_fmt());
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// As `git` takes it: what is a folder here is that folder. Encoded, since `git` decodes it.
fn address(repo: &str) -> String {
    let folder = Path::new(repo).canonicalize().ok().and_then(|folder| Url::from_file_path(folder).ok());
    folder.map_or_else(|| repo.to_owned(), String::from)
}

/// There is no file here whose keys could be named.
fn by_flags(error: ConfigError) -> ConfigError {
    let ConfigError::Invalid { key, problem } = error else { return error };
    match key.strip_prefix("git.") {
        Some("url") => ConfigError::invalid("--repo", format!("{problem}, nor a folder here")),
        Some(key) => ConfigError::invalid(format!("--{}", key.replace('_', "-")), problem),
        None => ConfigError::invalid(key, problem),
    }
}
