//! What is to be done: which part of the service is accused, which commit brought it, what was good before, and what has to stand in its
//! place. Pure, so that schedules nobody could wait for are tried on what really decides.

use std::collections::BTreeSet;

use super::super::choose::{Candidate, Choice, Ledger, Run, choose, named};
use super::super::config::Policy;
use super::super::git::{Action, Version};
use super::super::history::{changed_together, runs, value_of};
use super::super::incident::{ActionId, CommitRecord, Component, Edit, Plan, Recipe, State, Timestamp};
use super::super::manifest::{self, Field, Located, Service};
use super::super::target::ServiceName;
use super::case::Turn;
use super::past::Past;
use crate::baseline::source::{hash_of, version_of};

/// File, key and URIs at most, in bytes. Object stores know keys of 1,024.
const MAX_NAME_BYTES: usize = 4096;

/// The accused part of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accused {
    /// Which.
    pub component: Component,
    /// What stands there.
    pub uri: String,
}

/// What an incident is about, and what the branch says of it.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The name of the cluster, which is part of an action's.
    pub cluster: &'a str,
    /// Of which service.
    pub service: &'a ServiceName,
    /// The commit that all of this was read at.
    pub tip: &'a str,
    /// Where it stands.
    pub located: &'a Located,
    /// The file's, the newest first.
    pub versions: &'a [Version],
    /// Commits of ours, the newest first.
    pub past: Past<'a>,
    /// The URI that had all traffic last, if Kubernetes says it.
    pub rolled_out: Option<&'a str>,
    /// Actions whose end is known, or looked for.
    pub followed: &'a BTreeSet<String>,
}

/// How the accused part is put away, and with what.
#[derive(Debug)]
pub struct Options<'a> {
    facts: Facts<'a>,
    accused: Accused,
    introduced_by: String,
    introduced_at: Timestamp,
    recipe: Recipe,
    /// What to go back to, the best first.
    pub choice: Choice,
}

pub(super) fn human(why: impl Into<String>) -> Turn {
    Turn::to(State::NeedsHuman, why)
}

/// Canaries first; the predictor last.
fn parts(service: &Service) -> impl DoubleEndedIterator<Item = Accused> {
    let canaries = service.canaries.iter().map(|entry| Component::Canary(entry.name.clone()));
    let all = canaries.chain([Component::Predictor]);
    all.filter_map(|component| value_of(service, &component).map(|uri| Accused { component, uri }))
}

fn percent_of(service: &Service) -> Option<u8> {
    service.canary_percent.as_ref()?.value.parse().ok()
}

/// Whether the latest revision of two may serve a part of the traffic: then it counts what was rolled out last.
pub fn shares_traffic(service: &Service) -> bool {
    percent_of(service).is_some_and(|percent| (1..100).contains(&percent))
}

fn is_same(uri: &str, other: &str) -> bool {
    uri.trim_end_matches('/') == other.trim_end_matches('/')
}

impl Accused {
    /// By the version's name, which is made from the URI. A person who names none means the predictor.
    pub fn by_version(service: &Service, version: &str) -> Option<Self> {
        match version {
            "" => parts(service).next_back(),
            version => parts(service).find(|part| version_of(&part.uri) == version),
        }
    }

    /// By the hashes of the URIs that its pods export.
    pub fn by_hash(service: &Service, hashes: &BTreeSet<String>) -> Option<Self> {
        parts(service).find(|part| hashes.contains(&hash_of(part.uri.trim_end_matches('/'))))
    }
}

impl<'a> Facts<'a> {
    /// What `accused` may be gone back from to, by `ledger` and by what Git says of versions that no ledger knows; `asked` is what a
    /// person wants.
    ///
    /// # Errors
    /// Where the incident turns to instead.
    pub fn options(
        self,
        accused: Accused,
        ledger: &Ledger,
        asked: Option<&str>,
        policy: &Policy,
        now: Timestamp,
    ) -> Result<Options<'a>, Turn> {
        let located = self.located;
        let ours: BTreeSet<&str> = self.past.0.iter().map(|action| &*action.commit).collect();
        let is_ours = |commit: &str| ours.contains(commit);
        let runs = runs(self.versions, &located.selector, &accused.component, is_ours);
        let Some(current) = runs.first().filter(|run| run.value == accused.uri) else {
            return Err(human(format!(
                "the history of {} does not begin with what stands there",
                located.file
            )));
        };
        let mut ledger = ledger.clone();
        self.past.deny(self.service, &mut ledger);
        let recipe = self.recipe(&accused);
        let choice = match (recipe, asked) {
            (Recipe::StandardCanary, _) => only(stable(&located.service)?),
            (Recipe::KnativeCanary, _) => only(self.beside(&runs, &ledger, asked)?),
            (Recipe::Uri, Some(uri)) => named(&runs, &ledger, uri),
            (Recipe::Uri, None) => choose(&runs, &ledger, policy, now),
        };
        let (introduced_by, introduced_at) = (current.introduced_by.clone(), current.introduced_at);
        Ok(Options { facts: self, accused, introduced_by, introduced_at, recipe, choice })
    }

    /// The accused version does not stand there. If we have put it away ourselves since then, in an earlier life or as another replica, and
    /// nobody has followed it, then what came of that is still to be seen.
    pub fn superseded(self, version: &str, since: Timestamp) -> Turn {
        let ours = self.past.unfinished(self.service, self.followed, since);
        let ours = ours.filter(|action| action.is_from(version));
        let Some((plan, commit)) = ours.and_then(|action| read_back(action, Some(self.located))) else {
            let found = self.located.service.uri.as_ref().map_or("nothing", |field| &*field.value);
            return Turn::to(State::Superseded, format!("the manifest has {found}, not version {version}"));
        };
        Turn::to(State::Pushed, format!("{} is in Git already", commit.id)).with(move |incident| {
            incident.plan = Some(plan);
            incident.commit = Some(commit);
        })
    }

    /// Whether a plan that was made at another commit means here what it meant there: what stood there was not put away and put back, it
    /// has the traffic that it had, and a canary has the same beside it. Where something else stands there now, writing the plan tells.
    ///
    /// # Errors
    /// What has changed, while the accused version stands there still.
    pub fn still_means(self, plan: &Plan, policy: &Policy, now: Timestamp) -> Result<(), String> {
        let found = value_of(&self.located.service, &plan.component);
        let Some(uri) = found.filter(|uri| *uri == plan.bad_uri) else { return Ok(()) };
        let accused = Accused { component: plan.component.clone(), uri };
        let asked = Some(&*plan.good_uri).filter(|_| plan.recipe == Recipe::Uri);
        let options =
            self.options(accused, &Ledger::default(), asked, policy, now).map_err(|turn| turn.reason)?;
        if options.action() != plan.action {
            return Err(format!("{} was taken away and put back by {}", plan.bad_uri, options.introduced_by));
        }
        let good = options.choice.candidates.iter().find(|candidate| candidate.uri == plan.good_uri);
        let now = good.and_then(|good| options.plan(good.clone()).ok());
        match now {
            Some(now) if (&now.recipe, &now.edits) == (&plan.recipe, &plan.edits) => Ok(()),
            _ => Err(format!("{} has other traffic, or another version beside it", plan.bad_uri)),
        }
    }

    /// Percent 0 leads all traffic to what was rolled out last: if that is the accused version as well, it must not be pinned.
    fn recipe(&self, accused: &Accused) -> Recipe {
        match accused.component {
            Component::Canary(_) => Recipe::StandardCanary,
            Component::Predictor if !shares_traffic(&self.located.service) => Recipe::Uri,
            Component::Predictor if self.rolled_out.is_some_and(|uri| is_same(uri, &accused.uri)) => {
                Recipe::Uri
            }
            Component::Predictor => Recipe::KnativeCanary,
        }
    }

    /// What serves beside a canary: it is there, and there is no other choice. That is not always what stood there just before: one canary
    /// may have followed another.
    fn beside(&self, runs: &[Run], ledger: &Ledger, asked: Option<&str>) -> Result<Candidate, Turn> {
        let whole = |version: &Version| {
            let read = manifest::read(version.content.as_deref()?, &self.located.selector).ok()??;
            let has_all = percent_of(&read).is_none_or(|percent| percent >= 100);
            value_of(&read, &Component::Predictor).filter(|_| has_all)
        };
        let beside = match self.rolled_out {
            Some(uri) => Some(uri.to_owned()),
            None => self.versions.iter().find_map(whole),
        };
        let beside = beside.ok_or_else(|| human("the canary has no version beside it"))?;
        let run = runs.iter().skip(1).find(|run| is_same(&run.value, &beside));
        let run = run.ok_or_else(|| {
            human(format!("{beside} serves beside the canary, and has never stood in {}", self.located.file))
        })?;
        if asked.is_some_and(|uri| uri != run.value) {
            return Err(human(format!(
                "a canary is only taken back to what serves beside it, {}",
                run.value
            )));
        }
        let verdict = ledger.good.get(&run.value).cloned();
        Ok(Candidate { uri: run.value.clone(), commit: run.introduced_by.clone(), verdict })
    }
}

/// Plan and commit of an action, for who has not made them. Where it stands no commit says: in `located`, if it was found.
pub fn read_back(action: &Action, located: Option<&Located>) -> Option<(Plan, CommitRecord)> {
    let (mut plan, commit) = action.as_plan()?;
    if let Some(located) = located.filter(|located| located.file == plan.file) {
        plan.document = located.document;
        plan.found_by = located.found_by.to_string();
    }
    Some((plan, commit))
}

fn only(candidate: Candidate) -> Choice {
    Choice { candidates: vec![candidate], refused: Vec::new() }
}

fn stable(service: &Service) -> Result<Candidate, Turn> {
    let uri = service.uri.as_ref().ok_or_else(|| human("the predictor has no storageUri"))?;
    Ok(Candidate { uri: uri.value.clone(), commit: String::new(), verdict: None })
}

impl Options<'_> {
    /// Whether what is gone back to serves now: then nothing has to be looked for in the store, and nothing could be tested better.
    pub fn is_served(&self) -> bool {
        self.recipe != Recipe::Uri
    }

    fn action(&self) -> ActionId {
        let Self { facts, accused, introduced_by, .. } = self;
        ActionId::new(facts.cluster, facts.service, &accused.component, &accused.uri, introduced_by)
    }

    /// The way back to `good`.
    ///
    /// # Errors
    /// Where the incident turns to instead.
    pub fn plan(&self, good: Candidate) -> Result<Plan, Turn> {
        let Self { facts, accused, recipe, .. } = self;
        let located = facts.located;
        if good.uri == accused.uri {
            return Err(Turn::to(State::Superseded, format!("{} is what stands there", good.uri)));
        }
        let edits = edits(&located.service, accused, *recipe, &good.uri)?;
        nameable(&located.file, &edits, [&accused.uri, &good.uri])?;
        Ok(Plan {
            action: self.action(),
            is_verified: good.verdict.is_some() || self.is_served(),
            coupled: self.coupled(&edits),
            file: located.file.clone(),
            document: located.document,
            found_by: located.found_by.to_string(),
            edits,
            recipe: *recipe,
            component: accused.component.clone(),
            bad_uri: accused.uri.clone(),
            good_uri: good.uri,
            introduced_by: self.introduced_by.clone(),
            introduced_at: self.introduced_at,
            good_commit: good.commit,
            tip: facts.tip.to_owned(),
        })
    }

    /// What else came with the accused version. A canary's other changes leave with it, or stay with what never had them.
    fn coupled(&self, edits: &[Edit]) -> Vec<String> {
        if self.recipe == Recipe::StandardCanary {
            return Vec::new();
        }
        let mut except: Vec<&str> = edits.iter().map(|edit| &*edit.path).collect();
        except.push("spec.predictor.canaryTrafficPercent");
        changed_together(self.facts.versions, &self.introduced_by, self.facts.located.document, &except)
    }
}

fn edits(service: &Service, accused: &Accused, recipe: Recipe, good_uri: &str) -> Result<Vec<Edit>, Turn> {
    let uri = || {
        let field = service.uri.as_ref().ok_or_else(|| human("the predictor has no storageUri"))?;
        Ok::<_, Turn>(Edit { path: field.path.clone(), from: field.value.clone(), to: good_uri.to_owned() })
    };
    let percent = |field: Option<&Field>| -> Result<Edit, Turn> {
        let field = field.ok_or_else(|| human("the canary has no percent to set to 0"))?;
        if field.value == "0" {
            return Err(Turn::to(State::Superseded, "the canary gets no traffic already"));
        }
        Ok(Edit { path: field.path.clone(), from: field.value.clone(), to: "0".to_owned() })
    };
    match &accused.component {
        Component::Canary(name) => {
            let entry = service.canaries.iter().find(|entry| entry.name == *name);
            Ok(vec![percent(entry.and_then(|entry| entry.percent.as_ref()))?])
        }
        Component::Predictor if recipe == Recipe::KnativeCanary => {
            Ok(vec![percent(service.canary_percent.as_ref())?, uri()?])
        }
        Component::Predictor => Ok(vec![uri()?]),
    }
}

/// All that an action is read back from stands in the commit's trailers whole, and what is longer than any name is none.
fn nameable(file: &str, edits: &[Edit], uris: [&String; 2]) -> Result<(), Turn> {
    let names = edits.iter().map(|edit| &*edit.path).chain(uris.map(String::as_str)).chain([file]);
    match names.filter(|name| name.len() > MAX_NAME_BYTES).map(str::len).max() {
        Some(n_bytes) => Err(human(format!(
            "a commit has to name file, key and both URIs in full, and one of them has {n_bytes} bytes; {MAX_NAME_BYTES} are the limit"
        ))),
        None => Ok(()),
    }
}
