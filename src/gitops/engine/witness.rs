//! Who knows whether an alert is true and a rollback has helped. That is Prometheus; the simulations of tests have a witness of
//! their own.

use std::time::Duration;

use futures_util::future::BoxFuture;

use super::super::alert::Alert;
use super::super::incident::Timestamp;
use super::super::prometheus::{Answer, Prometheus, ServingVersion};
use super::super::target::ServiceName;
use crate::net::chain;

/// For so long before it was replaced the version before has to have been quiet.
const QUIET_BEFORE: Duration = Duration::from_mins(10);

/// The questions of an incident. "Nobody can tell" is an answer of its own, and never a reason to act.
pub trait Witness: Send + Sync {
    /// Whether these alerts, or what stands behind them, still accuse the version.
    fn still_accused<'a>(
        &'a self,
        service: &'a ServiceName,
        version: &'a str,
        alerts: &'a [&'a str],
    ) -> BoxFuture<'a, Answer>;

    /// Whether the change came with the version, which is younger than `window`, and was not there under the one before.
    fn came_with<'a>(
        &'a self,
        service: &'a ServiceName,
        version: &'a str,
        before: &'a str,
        window: Duration,
    ) -> BoxFuture<'a, Answer>;

    /// Whether those who accuse it are to be trusted.
    fn is_trusted<'a>(&'a self, service: &'a ServiceName, version: &'a str) -> BoxFuture<'a, Answer>;

    /// Whether the version is well, by at least so many rows since then.
    fn is_well<'a>(
        &'a self,
        service: &'a ServiceName,
        version: &'a str,
        since: Timestamp,
        min_rows: u64,
    ) -> BoxFuture<'a, Answer>;

    /// What pods say that they serve.
    fn serving<'a>(&'a self, service: &'a ServiceName) -> BoxFuture<'a, Result<Vec<ServingVersion>, String>>;

    /// Services with alerts that ask for a rollback, also with those that do not fire yet.
    fn accused_services(&self) -> BoxFuture<'_, Result<Vec<(ServiceName, Timestamp)>, String>>;

    /// Alerts that fire and ask for a rollback.
    fn firing(&self) -> BoxFuture<'_, Result<Vec<Alert>, String>>;
}

impl Witness for Prometheus {
    fn still_accused<'a>(
        &'a self,
        service: &'a ServiceName,
        version: &'a str,
        alerts: &'a [&'a str],
    ) -> BoxFuture<'a, Answer> {
        Box::pin(Self::still_accused(self, service, version, alerts))
    }

    fn came_with<'a>(
        &'a self,
        service: &'a ServiceName,
        version: &'a str,
        before: &'a str,
        window: Duration,
    ) -> BoxFuture<'a, Answer> {
        Box::pin(Self::came_with(self, service, version, before, window, QUIET_BEFORE))
    }

    fn is_trusted<'a>(&'a self, service: &'a ServiceName, version: &'a str) -> BoxFuture<'a, Answer> {
        Box::pin(Self::is_trusted(self, service, version))
    }

    fn is_well<'a>(
        &'a self,
        service: &'a ServiceName,
        version: &'a str,
        since: Timestamp,
        min_rows: u64,
    ) -> BoxFuture<'a, Answer> {
        Box::pin(Self::is_well(self, service, version, since, min_rows))
    }

    fn serving<'a>(&'a self, service: &'a ServiceName) -> BoxFuture<'a, Result<Vec<ServingVersion>, String>> {
        Box::pin(async { Self::serving(self, service).await.map_err(|error| chain(&error)) })
    }

    fn accused_services(&self) -> BoxFuture<'_, Result<Vec<(ServiceName, Timestamp)>, String>> {
        Box::pin(async { Self::accused_services(self).await.map_err(|error| chain(&error)) })
    }

    fn firing(&self) -> BoxFuture<'_, Result<Vec<Alert>, String>> {
        Box::pin(async {
            let alerts = self.firing_rollbacks().await.map_err(|error| chain(&error))?;
            Ok(alerts.into_iter().map(|alert| Alert::firing(&alert.labels, alert.active_at)).collect())
        })
    }
}
