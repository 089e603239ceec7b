//! What may be different from one process to another: its environment, and how long and how much it takes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// Bounds of everything that a service may do to us.
#[derive(Clone, Debug)]
pub struct Limits {
    /// To open a connection.
    pub connect_timeout: Duration,
    /// Without a single byte.
    pub idle_timeout: Duration,
    /// For a whole [`super::Location::fetch`], attempts and all; a download may take as long as bytes keep coming.
    pub fetch_timeout: Duration,
    /// Further attempts after one that failed for a reason that may pass.
    pub n_retries: u32,
    /// Before the second attempt; twice as long before each one after that.
    pub first_pause: Duration,
    /// The most that [`super::Location::fetch`] holds.
    pub max_fetched_bytes: u64,
    /// The most that files kept for the next time take together.
    pub max_cached_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(30),
            fetch_timeout: Duration::from_mins(1),
            n_retries: 3,
            first_pause: Duration::from_millis(200),
            // A thousand features of a thousand bins are some 20 MiB.
            max_fetched_bytes: 64 << 20,
            max_cached_bytes: 10 << 30,
        }
    }
}

/// The environment and the bounds.
#[derive(Clone, Default)]
pub struct Settings {
    /// Environment variables, credentials among them.
    pub environment: BTreeMap<String, String>,
    /// Bounds.
    pub limits: Limits,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The environment is full of secrets.
        f.debug_struct("Settings").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl Settings {
    /// Those of this process.
    pub fn from_env() -> Self {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self { environment: std::env::vars_os().filter_map(text).collect(), limits: Limits::default() }
    }

    /// A variable that is set to something.
    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        self.environment.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Whether a variable says yes, as the programs that know it read it.
    pub(super) fn is_on(&self, name: &str) -> Option<bool> {
        let value = self.variable(name)?;
        Some(["1", "true", "yes", "on"].iter().any(|yes| value.eq_ignore_ascii_case(yes)))
    }

    /// `driftd` in the user's cache folder; `None` where there is no such folder, as for many a container's user.
    pub(super) fn cache_folder(&self) -> Option<PathBuf> {
        let own = self.variable("XDG_CACHE_HOME").map(PathBuf::from).filter(|folder| folder.is_absolute());
        own.or_else(|| Some(PathBuf::from(self.variable("HOME")?).join(".cache")))
            .map(|folder| folder.join("driftd"))
    }
}
