//! In Prometheus's place and in Kubernetes's: they say what a test tells them to.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::{BoxFuture, ready};

use super::super::super::incident::{Plan, Timestamp};
use super::super::super::prometheus::{Answer, ServingVersion};
use super::super::super::serving::Serving;
use super::super::*;
use super::Alert;
use super::world::{git, uri};
use crate::baseline::source::version_of;

/// What the stand-in says.
#[derive(Clone, Debug)]
pub struct Facts {
    pub accused: bool,
    /// `None`: nobody can say.
    pub is_well: Option<bool>,
    /// What pods serve; `None`: what the manifest says.
    pub serves: Option<String>,
    /// Who else is accused.
    pub others: Vec<(ServiceName, Timestamp)>,
    /// Whoever asks whether something is accused panics.
    pub panics: bool,
}

pub struct StandInWitness {
    pub facts: Arc<Mutex<Facts>>,
    /// Where what is deployed is read.
    pub remote: PathBuf,
}

impl StandInWitness {
    fn facts(&self) -> Facts {
        self.facts.lock().unwrap().clone()
    }
}

fn say<'a>(yes: Option<bool>) -> BoxFuture<'a, Answer> {
    Box::pin(ready(match yes {
        Some(true) => Answer::Yes("the stand-in says so".into()),
        Some(false) => Answer::No("the stand-in says no".into()),
        None => Answer::Unknown("the stand-in does not know".into()),
    }))
}

impl Witness for StandInWitness {
    fn still_accused<'a>(
        &'a self,
        _: &'a ServiceName,
        _: &'a str,
        _: &'a [&'a str],
    ) -> BoxFuture<'a, Answer> {
        assert!(!self.facts().panics, "the stand-in was told to panic");
        say(Some(self.facts().accused))
    }

    fn came_with<'a>(
        &'a self,
        _: &'a ServiceName,
        _: &'a str,
        _: &'a str,
        _: Duration,
    ) -> BoxFuture<'a, Answer> {
        say(Some(true))
    }

    fn is_trusted<'a>(&'a self, _: &'a ServiceName, _: &'a str) -> BoxFuture<'a, Answer> {
        say(Some(true))
    }

    fn is_well<'a>(&'a self, _: &'a ServiceName, _: &'a str, _: Timestamp, _: u64) -> BoxFuture<'a, Answer> {
        say(self.facts().is_well)
    }

    fn serving<'a>(&'a self, _: &'a ServiceName) -> BoxFuture<'a, Result<Vec<ServingVersion>, String>> {
        let in_git = git(&self.remote, &["show", "main:credit.yaml"]);
        let uri = in_git
            .lines()
            .find_map(|line| line.split_once("storageUri: "))
            .unwrap()
            .1
            .split(' ')
            .next()
            .unwrap();
        let version = self.facts().serves.unwrap_or_else(|| version_of(uri));
        let hash = version.rsplit('-').next().unwrap().to_owned();
        let serving = ServingVersion {
            model: "credit".into(),
            version,
            storage_uri_hash: hash,
            component: "predictor".into(),
            revision: String::new(),
            n_pods: 1,
            rows: 5000,
        };
        Box::pin(ready(Ok(vec![serving])))
    }

    fn accused_services(&self) -> BoxFuture<'_, Result<Vec<(ServiceName, Timestamp)>, String>> {
        Box::pin(ready(Ok(self.facts().others)))
    }

    fn firing(&self) -> BoxFuture<'_, Result<Vec<Alert>, String>> {
        Box::pin(ready(Ok(Vec::new())))
    }
}

/// Version 1 has the traffic, whatever is rolled back serves at once, and state is kept as in a `ConfigMap`.
#[derive(Default)]
pub struct StandInCluster {
    state: Mutex<BTreeMap<String, String>>,
    /// Whether a stopped canary may be cleaned up.
    pub may_drop: AtomicBool,
    /// Whether the state cannot be read.
    pub is_away: AtomicBool,
}

impl Cluster for StandInCluster {
    fn rolled_out_uri<'a>(&'a self, _: &'a ServiceName) -> BoxFuture<'a, Result<Option<String>, String>> {
        Box::pin(ready(Ok(Some(uri(1)))))
    }

    fn may_drop_percent<'a>(&'a self, _: &'a ServiceName, _: &'a str) -> BoxFuture<'a, Result<(), String>> {
        let may = self.may_drop.load(Ordering::SeqCst);
        Box::pin(ready(may.then_some(()).ok_or_else(|| "the stand-in says no".to_owned())))
    }

    fn serving<'a>(&'a self, _: &'a ServiceName, _: &'a Plan) -> BoxFuture<'a, Serving> {
        Box::pin(ready(Serving::Ready))
    }

    fn state(&self) -> BoxFuture<'_, Result<BTreeMap<String, String>, String>> {
        let state = self.state.lock().unwrap().clone();
        let is_away = self.is_away.load(Ordering::SeqCst);
        Box::pin(ready(if is_away { Err("the stand-in is away".to_owned()) } else { Ok(state) }))
    }

    fn set_state(&self, state: BTreeMap<String, String>) -> BoxFuture<'_, Result<(), String>> {
        *self.state.lock().unwrap() = state;
        Box::pin(ready(Ok(())))
    }
}
