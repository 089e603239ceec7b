//! What Argo CD is asked: to look at the branch now, and whether it has applied what is there. It is never asked to sync, and
//! its Applications are never edited: the branch is what is wanted.
//!
//! All of it takes the right `get` on the applications alone. Ending a sync that is stuck takes `sync`, and is for those who
//! have said so.

mod application;
mod sync;

use std::time::Duration;

use http::{Method, StatusCode};
use serde::Deserialize;

use super::config::ArgoCdConfig;
use super::http::{Access, HttpError, Scheme, Service};
pub use application::{Application, Operation};
pub use sync::{At, History, Sync, SyncWatch};

/// A refresh is answered once it is done, which takes Argo CD a second where all is well, and as long as it likes where not.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Argo CD's API. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ArgoCd {
    service: Service,
    may_terminate: bool,
}

/// When an Application may be synced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Windows {
    /// Now, by Argo CD itself.
    Open,
    /// Not now.
    Closed {
        /// Which window.
        why: String,
        /// Whether a person may all the same.
        is_open_by_hand: bool,
    },
}

impl ArgoCd {
    /// Without asking it anything yet.
    ///
    /// # Errors
    /// [`HttpError`] if the authorities cannot be read.
    pub fn new(config: &ArgoCdConfig) -> Result<Self, HttpError> {
        let service = Service::new(&Access {
            who: "Argo CD",
            url: &config.url,
            token: Some((Scheme::Bearer, &config.token_file)),
            ca_file: config.ca_file.as_deref(),
            timeout: TIMEOUT,
        })?;
        Ok(Self { service, may_terminate: config.terminate_stuck })
    }

    /// An Application as it is.
    ///
    /// # Errors
    /// [`HttpError`]. One that is not there is "permission denied" to those who may not see all.
    pub async fn application(&self, name: &str) -> Result<Application, HttpError> {
        let (name, query) = named(name);
        self.service.get(&["api", "v1", "applications", name], &query).await
    }

    /// Has Argo CD look at the branch, and returns the Application once it has. That it has does not say that it has seen the
    /// newest commit: a refresh that comes while another is under way may be lost.
    ///
    /// # Errors
    /// [`HttpError`].
    pub async fn refresh(&self, name: &str) -> Result<Application, HttpError> {
        let (name, mut query) = named(name);
        query.push(("refresh", "normal"));
        self.service.get(&["api", "v1", "applications", name], &query).await
    }

    /// Whether a window keeps automated syncs from happening now.
    ///
    /// # Errors
    /// [`HttpError`].
    pub async fn windows(&self, name: &str) -> Result<Windows, HttpError> {
        let (name, query) = named(name);
        let windows: RawWindows =
            self.service.get(&["api", "v1", "applications", name, "syncwindows"], &query).await?;
        Ok(windows.read())
    }

    /// Ends what is under way. That nothing is, is no error.
    ///
    /// # Errors
    /// [`HttpError`].
    pub async fn terminate(&self, name: &str) -> Result<(), HttpError> {
        let (name, query) = named(name);
        let path = ["api", "v1", "applications", name, "operation"];
        // Argo CD answers whatever is no GET and no JSON with 415, also where there is nothing to say.
        let nothing = serde_json::json!({});
        let ended: Result<serde_json::Value, _> =
            self.service.send(Method::DELETE, &path, &query, Some(&nothing)).await;
        match ended {
            Err(error) if error.status() == Some(StatusCode::BAD_REQUEST) => Ok(()),
            ended => ended.map(drop),
        }
    }
}

/// `NAME`, or `NAMESPACE/NAME` where Applications are in other namespaces than Argo CD's own.
fn named(name: &str) -> (&str, Vec<(&str, &str)>) {
    match name.split_once('/') {
        Some((namespace, name)) => (name, vec![("appNamespace", namespace)]),
        None => (name, Vec::new()),
    }
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RawWindows {
    active_windows: Option<Vec<RawWindow>>,
    assigned_windows: Option<Vec<RawWindow>>,
    /// By hand: Argo CD's API answers for people.
    can_sync: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawWindow {
    kind: String,
    schedule: String,
    duration: String,
}

impl RawWindows {
    /// As Argo CD decides for itself: a window that denies wins, and where there are some that allow, one has to be active.
    fn read(self) -> Windows {
        let (active, assigned) =
            (self.active_windows.unwrap_or_default(), self.assigned_windows.unwrap_or_default());
        let of = |windows: &[RawWindow], kind: &str| {
            windows
                .iter()
                .find(|window| window.kind == kind)
                .map(|window| format!("`{}` for {}", window.schedule, window.duration))
        };
        let why = match (of(&active, "deny"), of(&active, "allow"), of(&assigned, "allow")) {
            (Some(window), ..) => format!("a sync window denies it: {window}"),
            (None, None, Some(window)) => format!("it is outside its sync window: {window}"),
            (None, ..) => return Windows::Open,
        };
        Windows::Closed { why, is_open_by_hand: self.can_sync }
    }
}

#[cfg(test)]
mod tests;
