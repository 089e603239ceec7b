//! A controller somewhere, as its operators talk to it.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use http::{Method, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::runtime::Runtime;
use url::Url;

use super::run::runtime;
use crate::gitops::http::{Access, HttpError, Scheme, Service};
use crate::storage::without_credentials;

/// For one exchange; `verify` reads the whole journal for it.
const TIMEOUT: Duration = Duration::from_secs(30);
/// A standby is asked in vain; behind a Service, the next connection is another replica's. With two of them, all of so many
/// connections are the standby's once in a million times.
const ATTEMPTS: u32 = 20;
/// Between them; long enough in all for a replica to take over.
const PAUSE: Duration = Duration::from_millis(750);

/// Names the controller for all commands.
pub(super) const CONTROLLER: &str = "DRIFTD_CONTROLLER";

/// Which controller.
#[derive(Clone, Debug, Args)]
pub struct ControllerArgs {
    /// The controller's address
    #[arg(long, env = CONTROLLER, value_name = "URL")]
    controller: Url,
    #[command(flatten)]
    access: AccessArgs,
}

/// How a controller is reached.
#[derive(Clone, Debug, Args)]
pub struct AccessArgs {
    /// A file with your token, one of the controller's `api.operators`
    #[arg(long, env = "DRIFTD_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Authorities of its certificate, PEM, beyond the usual ones
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
}

impl ControllerArgs {
    /// A client of it.
    pub fn connect(&self) -> anyhow::Result<Controller> {
        Controller::new(&self.controller, &self.access)
    }
}

/// A client that waits: commands have nothing else to do.
pub struct Controller {
    service: Service,
    runtime: Runtime,
}

impl Controller {
    /// Of the controller there.
    pub fn new(url: &Url, access: &AccessArgs) -> anyhow::Result<Self> {
        let token = access
            .token_file
            .as_deref()
            .context("`--token-file` is missing: the controller wants to know who asks")?;
        let service = Service::new(&Access {
            who: "the controller",
            url,
            token: Some((Scheme::Bearer, token)),
            ca_file: access.ca_file.as_deref(),
            timeout: TIMEOUT,
        })?;
        Ok(Self { service, runtime: runtime(1)? })
    }

    /// Asks something below `/api/v1`.
    pub fn get<T: DeserializeOwned>(&self, path: &[&str], query: &[(&str, &str)]) -> anyhow::Result<T> {
        self.until_the_active_one_answers(async || self.service.get(&below(path), query).await)
    }

    /// Tells it something.
    pub fn send<T: DeserializeOwned>(
        &self,
        method: &Method,
        path: &[&str],
        body: Option<&Value>,
    ) -> anyhow::Result<T> {
        self.until_the_active_one_answers(async || {
            self.service.send(method.clone(), &below(path), &[], body).await
        })
    }

    fn until_the_active_one_answers<T>(
        &self,
        ask: impl AsyncFn() -> Result<T, HttpError>,
    ) -> anyhow::Result<T> {
        let answer = self.runtime.block_on(async {
            for _ in 1..ATTEMPTS {
                match ask().await {
                    Err(HttpError::Status { status: StatusCode::SERVICE_UNAVAILABLE, .. }) => {
                        tokio::time::sleep(PAUSE).await;
                    }
                    answer => return answer,
                }
            }
            ask().await
        });
        match answer {
            Err(error @ HttpError::Unreachable { .. }) => {
                let url = without_credentials(self.service.url(&[], &[]).as_str());
                let advice = format!(
                    "nothing answers at {url}; see that `driftd controller` runs there, or name another with `--controller`"
                );
                Err(anyhow::Error::from(error).context(advice))
            }
            answer => Ok(answer?),
        }
    }
}

fn below<'a>(path: &[&'a str]) -> Vec<&'a str> {
    ["api", "v1"].iter().chain(path).copied().collect()
}
