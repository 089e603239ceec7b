//! In Prometheus's place: it says what a test tells it to.

use std::path::PathBuf;
use std::sync::Mutex;

use futures_util::future::{BoxFuture, ready};

use super::super::super::incident::Timestamp;
use super::super::super::prometheus::{Answer, ServingVersion};
use super::super::*;
use super::Alert;
use super::world::git;
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
