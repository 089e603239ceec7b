//! One model that is to be watched, and the places where its baseline may be.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::baseline::source::{Fetched, Revision};
use crate::baseline::{Baseline, BaselineError, BaselineSource};
use crate::config::{BaselinePlace, ModelConfig};
use crate::net::chain;
use crate::pipeline::model::{Model, Origin};
use crate::pipeline::models::Slot;
use crate::pipeline::report::BaselineProblem;
use crate::telemetry::ProcessMetrics;

use super::kept::Kept;

/// Time between two attempts at what keeps failing, at most: an alert on failed attempts looks back two minutes.
const MAX_DELAY: Duration = Duration::from_secs(50);

/// How often a place is asked that does not lie on this machine.
const REMOTE_INTERVAL: Duration = Duration::from_mins(1);

/// One model that is to be watched.
#[derive(Debug)]
pub(super) struct Entry {
    config: Arc<ModelConfig>,
    /// Those of the configuration.
    attempts: Vec<Attempts>,
    in_force: Option<InForce>,
    kept: Option<Kept>,
}

/// What a model is watched against.
#[derive(Debug)]
struct InForce {
    place: usize,
    revision: Option<Revision>,
    model: Arc<Model>,
}

/// How it went with one place.
#[derive(Debug, Default)]
struct Attempts {
    next: Option<Instant>,
    failure: Option<Failure>,
}

#[derive(Debug)]
struct Failure {
    error: BaselineError,
    delay: Duration,
    /// What was there: if that is another thing by now, there is no use in waiting.
    seen: Option<Revision>,
}

/// What came of asking one place.
enum Outcome {
    Unchanged,
    Loaded(Arc<Model>, Option<Revision>),
    /// What is there is what is in force, to be asked for by another revision.
    Touched(Option<Revision>),
}

impl Entry {
    /// What lies elsewhere is `kept`, if that is asked for.
    pub(super) fn new(config: Arc<ModelConfig>, kept: Option<Kept>) -> Self {
        let attempts = config.places.iter().map(|_| Attempts::default()).collect();
        Self { config, attempts, in_force: None, kept }
    }

    /// Begins with what was last there in the first place that lies elsewhere. It is asked for all the same.
    pub(super) fn use_kept(&mut self) {
        let places = self.config.places.iter().enumerate();
        let mut remote = places.filter(|(_, place)| matches!(place.source, BaselineSource::Remote(_)));
        let last =
            |(at, place): (usize, &BaselinePlace)| Some((at, self.kept.as_ref()?.last(&place.source)?));
        if let Some((at, baseline)) = remote.find_map(last) {
            let model = Arc::new(Model::new(&self.config, baseline, origin(&self.config.places[at])));
            self.in_force = Some(InForce { place: at, revision: None, model });
        }
    }

    /// Whether it can be looked at without waiting for anyone.
    pub(super) fn is_local(&self) -> bool {
        self.config.places.iter().all(|place| place.source.is_local())
    }

    /// As the table of models has it.
    pub(super) fn slot(&self) -> Slot {
        let model = self.in_force.as_ref().map(|in_force| Arc::clone(&in_force.model));
        Slot { config: Arc::clone(&self.config), model }
    }

    /// Where its baseline is from.
    pub(super) fn source_in_force(&self) -> String {
        let place = self.in_force.as_ref().map_or(0, |in_force| in_force.place);
        self.config.places.get(place).map(|place| place.source.to_string()).unwrap_or_default()
    }

    /// Asks the places, one after another, until one has a baseline. One that has none leads to the next; one that has a broken
    /// one, or cannot be asked, does so only while nothing of it is in force.
    pub(super) fn look(&mut self, now: Instant, interval: Duration, process: &ProcessMetrics) {
        for at in 0..self.attempts.len() {
            let is_in_force = self.in_force.as_ref().is_some_and(|in_force| in_force.place == at);
            let (place, attempts) = (&self.config.places[at], &self.attempts[at]);
            if attempts.can_wait(now, &place.source) {
                match &attempts.failure {
                    None => return,
                    Some(failure) if is_in_force && !self.leads_on(at, &failure.error) => return,
                    Some(_) => continue,
                }
            }
            let seen = place.source.glance();
            match self.ask(at) {
                Ok(outcome) => {
                    self.attempts[at] = Attempts { next: self.next(at, now), failure: None };
                    match outcome {
                        Outcome::Unchanged => (),
                        Outcome::Touched(revision) => self.touch(revision),
                        Outcome::Loaded(model, revision) => {
                            self.in_force = Some(InForce { place: at, revision, model });
                        }
                    }
                    return;
                }
                Err(error) => {
                    let leads_on = self.leads_on(at, &error);
                    if !leads_on {
                        process.count_baseline_error(error.kind());
                    }
                    self.attempts[at].fail(error, seen, now, interval);
                    if is_in_force && !leads_on {
                        return;
                    }
                }
            }
        }
    }

    /// That nothing is in a place is no problem where there is another to be asked.
    fn leads_on(&self, at: usize, error: &BaselineError) -> bool {
        error.is_absent() && at + 1 < self.attempts.len()
    }

    fn next(&self, at: usize, now: Instant) -> Option<Instant> {
        (!self.config.places[at].source.is_local()).then(|| now + REMOTE_INTERVAL)
    }

    fn ask(&self, at: usize) -> Result<Outcome, BaselineError> {
        let place = &self.config.places[at];
        let source = &place.source;
        let in_force = self.in_force.as_ref().filter(|in_force| in_force.place == at);
        match source.fetch(in_force.and_then(|in_force| in_force.revision.as_ref()))? {
            Fetched::NotModified => Ok(Outcome::Unchanged),
            Fetched::New { bytes, revision } => {
                // Files are touched, and stores rewritten, with what they had before.
                let sha256 = Baseline::sha256_of(&bytes);
                if in_force.is_some_and(|in_force| in_force.model.baseline.sha256() == sha256) {
                    return Ok(Outcome::Touched(revision));
                }
                let model = Model::new(&self.config, Baseline::from_json(&bytes)?, origin(place));
                if let (Some(kept), BaselineSource::Remote(_)) = (&self.kept, source) {
                    kept.keep(source, &bytes);
                }
                Ok(Outcome::Loaded(Arc::new(model), revision))
            }
        }
    }

    fn touch(&mut self, revision: Option<Revision>) {
        if let Some(in_force) = &mut self.in_force {
            in_force.revision = revision;
        }
    }

    /// What is wrong, for people to read.
    pub(super) fn problems(&self) -> impl Iterator<Item = BaselineProblem> {
        let failures = self.config.places.iter().zip(&self.attempts).enumerate();
        failures.filter_map(|(at, (place, attempts))| {
            let error = &attempts.failure.as_ref()?.error;
            let is_problem = !self.leads_on(at, error);
            is_problem.then(|| BaselineProblem::new(place.source.to_string(), error, self.in_force.is_some()))
        })
    }
}

const fn origin(place: &BaselinePlace) -> Origin {
    if place.is_borrowed { Origin::Borrowed } else { Origin::Own }
}

impl Attempts {
    /// Whether there is no use in asking now.
    fn can_wait(&self, now: Instant, source: &BaselineSource) -> bool {
        let is_early = self.next.is_some_and(|next| now < next);
        is_early && self.failure.as_ref().is_none_or(|failure| failure.seen == source.glance())
    }

    fn fail(&mut self, error: BaselineError, seen: Option<Revision>, now: Instant, interval: Duration) {
        let before = self.failure.as_ref().filter(|before| before.seen == seen);
        let delay = before.map_or(interval, |before| before.delay * 2).min(MAX_DELAY.max(interval));
        self.next = Some(now + delay);
        self.failure = Some(Failure { error, delay, seen });
    }
}

impl BaselineProblem {
    pub(super) fn new(path: String, error: &BaselineError, watched: bool) -> Self {
        Self { path, error: chain(error), watched }
    }
}
