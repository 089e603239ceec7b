//! What an engine may have besides Git and Prometheus: a cluster to look into, and a forge to open pull requests on.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::super::forge::{Forge, Look};
use super::super::incident::{Plan, PullRequest};
use super::super::kubernetes::Kubernetes;
use super::super::serving::Serving;
use super::super::target::ServiceName;
use crate::net::chain;

/// The cluster that is served from. It is looked at, and never changed but for the state of our own.
pub trait Cluster: Send + Sync {
    /// Which URI Knative has rolled out before a canary; `None` where nothing is known.
    fn rolled_out_uri<'a>(
        &'a self,
        service: &'a ServiceName,
    ) -> BoxFuture<'a, Result<Option<String>, String>>;

    /// Whether `canaryTrafficPercent` may go without leading traffic to what it stopped; the error says why not yet.
    fn may_drop_percent<'a>(
        &'a self,
        service: &'a ServiceName,
        good_uri: &'a str,
    ) -> BoxFuture<'a, Result<(), String>>;

    /// Whether what the plan puts back is served, and what it takes away is not.
    fn serving<'a>(&'a self, service: &'a ServiceName, plan: &'a Plan) -> BoxFuture<'a, Serving>;

    /// What the active replica has kept for the next.
    fn state(&self) -> BoxFuture<'_, Result<BTreeMap<String, String>, String>>;

    /// Keeps it.
    fn set_state(&self, state: BTreeMap<String, String>) -> BoxFuture<'_, Result<(), String>>;
}

impl Cluster for Kubernetes {
    fn rolled_out_uri<'a>(
        &'a self,
        service: &'a ServiceName,
    ) -> BoxFuture<'a, Result<Option<String>, String>> {
        Box::pin(async { Self::rolled_out_uri(self, service).await.map_err(|error| chain(&error)) })
    }

    fn may_drop_percent<'a>(
        &'a self,
        service: &'a ServiceName,
        good_uri: &'a str,
    ) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(Self::may_drop_percent(self, service, good_uri))
    }

    fn serving<'a>(&'a self, service: &'a ServiceName, plan: &'a Plan) -> BoxFuture<'a, Serving> {
        Box::pin(Self::serving(self, service, plan))
    }

    fn state(&self) -> BoxFuture<'_, Result<BTreeMap<String, String>, String>> {
        Box::pin(async { Self::state(self).await.map_err(|error| chain(&error)) })
    }

    fn set_state(&self, state: BTreeMap<String, String>) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async { Self::set_state(self, state).await.map_err(|error| chain(&error)) })
    }
}

/// Who takes pull requests.
pub trait PullRequests: Send + Sync {
    /// For how long one is followed.
    fn expires_after(&self) -> Duration;

    /// Opens one, or finds the one that is open from this branch to that.
    fn open<'a>(
        &'a self,
        branch: &'a str,
        base: &'a str,
        title: &'a str,
        description: &'a str,
    ) -> BoxFuture<'a, Result<PullRequest, String>>;

    /// How it is.
    fn look<'a>(&'a self, pull_request: &'a PullRequest) -> BoxFuture<'a, Result<Look, String>>;

    /// Says something under it.
    fn comment<'a>(
        &'a self,
        pull_request: &'a PullRequest,
        text: &'a str,
    ) -> BoxFuture<'a, Result<(), String>>;
}

impl PullRequests for Forge {
    fn expires_after(&self) -> Duration {
        Self::expires_after(self)
    }

    fn open<'a>(
        &'a self,
        branch: &'a str,
        base: &'a str,
        title: &'a str,
        description: &'a str,
    ) -> BoxFuture<'a, Result<PullRequest, String>> {
        Box::pin(async move {
            Self::open(self, branch, base, title, description).await.map_err(|error| chain(&error))
        })
    }

    fn look<'a>(&'a self, pull_request: &'a PullRequest) -> BoxFuture<'a, Result<Look, String>> {
        Box::pin(async { Self::look(self, pull_request).await.map_err(|error| chain(&error)) })
    }

    fn comment<'a>(
        &'a self,
        pull_request: &'a PullRequest,
        text: &'a str,
    ) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async { Self::comment(self, pull_request, text).await.map_err(|error| chain(&error)) })
    }
}
