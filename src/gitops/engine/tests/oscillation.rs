//! It never goes back and forth by itself, whatever happens in whatever order: the pure parts, put together as the engine does it, on a
//! branch and a clock in memory.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta};
use proptest::prelude::*;

use super::super::super::choose::{Ledger, Verdict, choose};
use super::super::super::config::Policy;
use super::super::super::decide::{Causality, Decision, Situation, decide};
use super::super::super::git::{Action, Version};
use super::super::super::history::runs;
use super::super::super::incident::{ActionId, Component, Edit, Origin, Plan, Recipe, Timestamp};
use super::super::super::manifest::{Selector, splice};
use super::super::super::message::{self, Purpose};
use super::super::past::Past;
use super::*;

const FIELD: &str = "spec.predictor.model.storageUri";

/// Longer than a trailer for people, with what has to be encoded there, and with what reads as if it were.
fn uri(number: u8) -> String {
    format!("s3://models/crédit%20v/{}/{number}", "x".repeat(300))
}

fn manifest(number: u8) -> String {
    world::manifest(number, None).replace(&world::uri(number), &uri(number))
}

#[derive(Clone, Debug)]
enum Event {
    /// Somebody deploys a version, new or old.
    Deploy(u8),
    /// An alert on a version, which may be served, or not any more: late, doubled, wrong.
    Accuse(u8),
    /// An alert on whatever is served.
    AccuseServed,
    /// What is served has soaked.
    Soak,
    /// The controller begins anew, with nothing but Git.
    LoseJournal,
    /// Minutes pass.
    Wait(i64),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => (0_u8..4).prop_map(Event::Deploy),
        1 => (0_u8..4).prop_map(Event::Accuse),
        4 => Just(Event::AccuseServed),
        1 => Just(Event::Soak),
        1 => Just(Event::LoseJournal),
        3 => (0_i64..500).prop_map(Event::Wait),
    ]
}

/// A commit of ours.
struct Moved {
    at: Timestamp,
    from: String,
    to: String,
    /// How many commits the branch had.
    n_before: usize,
}

struct Simulated {
    policy: Policy,
    now: Timestamp,
    /// The newest first, as are the actions.
    versions: Vec<Version>,
    actions: Vec<Action>,
    ledger: Ledger,
    moved: Vec<Moved>,
}

impl Simulated {
    fn new() -> Self {
        let policy = Policy { unverified: Unverified::Commit, ..Policy::default() };
        let now = DateTime::UNIX_EPOCH + TimeDelta::days(20_000);
        let (versions, actions) = (Vec::new(), Vec::new());
        let mut world = Self { policy, now, versions, actions, ledger: Ledger::default(), moved: Vec::new() };
        world.deploy(0);
        world
    }

    fn happens(&mut self, event: &Event) {
        match event {
            Event::Deploy(number) => self.deploy(*number),
            Event::Accuse(number) => self.accuse(&uri(*number)),
            Event::AccuseServed => self.accuse(&self.served()),
            Event::Soak => {
                let verdict = Verdict { served_since: self.now, at: self.now, n_rows: 5000, digest: None };
                let uri = self.served();
                if !self.ledger.denied.contains_key(&uri) {
                    self.ledger.good.insert(uri, verdict);
                }
            }
            Event::LoseJournal => self.ledger = Ledger::default(),
            Event::Wait(minutes) => self.now += TimeDelta::minutes(*minutes),
        }
    }

    fn deploy(&mut self, number: u8) {
        if self.versions.is_empty() || self.served() != uri(number) {
            self.commit(manifest(number).into_bytes());
        }
    }

    /// Returns its name and that of the one before.
    fn commit(&mut self, content: Vec<u8>) -> (String, String) {
        self.now += TimeDelta::seconds(1);
        let parent = self.versions.first().map(|version| version.commit.clone()).unwrap_or_default();
        let commit = format!("{:040x}", self.versions.len() + 1);
        let version = Version {
            commit: commit.clone(),
            committed_at: self.now,
            author: String::new(),
            subject: String::new(),
            content: Some(content.into()),
        };
        self.versions.insert(0, version);
        (commit, parent)
    }

    fn content(&self) -> Vec<u8> {
        self.versions[0].content.as_ref().unwrap().to_vec()
    }

    fn served(&self) -> String {
        let text = String::from_utf8(self.content()).unwrap();
        let line = text.lines().find_map(|line| line.split_once("storageUri: ")).unwrap().1;
        line.split(' ').next().unwrap().to_owned()
    }

    /// What `resolve`, `weigh` and `publish` do of it.
    fn accuse(&mut self, bad_uri: &str) {
        if self.served() != bad_uri {
            return;
        }
        let service = world::service();
        let past = Past(&self.actions);
        let selector = Selector::Service(service.clone());
        let is_ours = |commit: &str| self.actions.iter().any(|action| action.commit == commit);
        let runs = runs(&self.versions, &selector, &Component::Predictor, is_ours);
        let mut ledger = self.ledger.clone();
        past.deny(&service, &mut ledger);
        let Some(good) = choose(&runs, &ledger, &self.policy, self.now).candidates.into_iter().next() else {
            return;
        };
        let plan = Plan {
            action: ActionId::new("main", &service, &Component::Predictor, bad_uri, &runs[0].introduced_by),
            file: "credit.yaml".into(),
            document: 0,
            found_by: "index".into(),
            edits: vec![Edit { path: FIELD.into(), from: bad_uri.to_owned(), to: good.uri.clone() }],
            recipe: Recipe::Uri,
            component: Component::Predictor,
            bad_uri: bad_uri.to_owned(),
            good_uri: good.uri,
            is_verified: good.verdict.is_some(),
            introduced_by: runs[0].introduced_by.clone(),
            introduced_at: runs[0].introduced_at,
            good_commit: good.commit,
            coupled: Vec::new(),
            tip: self.versions[0].commit.clone(),
        };
        let situation = Situation {
            now: self.now,
            began: self.now,
            service: &service,
            plan: &plan,
            origin: &Origin::Alert,
            mode: Mode::Commit,
            has_forge: false,
            paused: None,
            done: &past.done(),
            accused: &[],
            circuit_opened: None,
            n_targets: 1,
            rolled_back_before: past.rolled_back_from(&service, bad_uri),
            is_introduced_by_us: past.has_brought(&service, &plan, Duration::ZERO),
            causality: Causality::Caused("so it is said".into()),
        };
        if decide(&situation, &self.policy).0 == Decision::Commit {
            self.push(plan);
        }
    }

    fn push(&mut self, plan: Plan) {
        let incident = super::super::desk::begin(world::service(), String::new(), Origin::Alert, self.now);
        let text = message::of("main", &incident, &plan, Purpose::Traffic).text();
        let content = splice(&self.content(), 0, &plan.edits).unwrap();
        let n_before = self.versions.len();
        let (commit, parent) = self.commit(content);
        let mut action = Action {
            commit,
            parent,
            committed_at: self.now,
            subject: String::new(),
            trailers: std::collections::BTreeMap::new(),
        };
        for (name, value) in text.lines().filter_map(|line| line.split_once(": ")) {
            action.trailers.entry(name.to_owned()).or_default().push(value.to_owned());
        }
        let (read_back, _) = action.as_plan().expect("every plan is read back");
        assert_eq!((read_back.bad_uri, read_back.good_uri), (plan.bad_uri.clone(), plan.good_uri.clone()));
        assert_eq!((read_back.action, read_back.edits), (plan.action, plan.edits));
        self.actions.insert(0, action);
        let denial = super::super::super::choose::Denial { action: "rb".into(), at: self.now };
        self.ledger.denied.insert(plan.bad_uri.clone(), denial);
        self.moved.push(Moved { at: self.now, from: plan.bad_uri, to: plan.good_uri, n_before });
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn it_never_goes_back_and_forth(events in prop::collection::vec(event(), 0..30)) {
        let mut world = Simulated::new();
        for event in &events {
            world.happens(event);
        }
        let n_deployed = world.versions.len() - world.moved.len();
        prop_assert!(world.moved.len() < n_deployed, "at most one rollback for each version that people put in place of another");
        let mut left = BTreeSet::new();
        for moved in &world.moved {
            prop_assert!(!left.contains(&moved.to), "it goes back to {}, which it has left", moved.to);
            prop_assert!(left.insert(moved.from.clone()), "it leaves {} twice", moved.from);
        }
        for pair in world.moved.windows(2) {
            prop_assert!((pair[1].at - pair[0].at).to_std().unwrap() > world.policy.cool_down.0);
            prop_assert!(pair[1].n_before > pair[0].n_before + 1, "nobody has deployed anything between two rollbacks");
        }
    }
}

/// The property above is about something: such a schedule commits, and passes by the version that was left.
#[test]
fn two_bad_versions_are_rolled_back_from_once_each() {
    let mut world = Simulated::new();
    let insisted =
        [Event::Soak, Event::Deploy(1), Event::AccuseServed, Event::AccuseServed, Event::Wait(600)];
    let after_a_lost_disk =
        [Event::LoseJournal, Event::Soak, Event::Deploy(1), Event::Deploy(2), Event::AccuseServed];
    for event in insisted.iter().chain(&after_a_lost_disk) {
        world.happens(event);
    }
    let moved: Vec<_> = world.moved.iter().map(|moved| (moved.from.clone(), moved.to.clone())).collect();
    assert_eq!(moved, [(uri(1), uri(0)), (uri(2), uri(0))]);
}
