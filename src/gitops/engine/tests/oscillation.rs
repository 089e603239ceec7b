//! It never goes back and forth by itself, whatever happens in whatever order: what plans, decides, writes and reads back in the engine, on a
//! branch and a clock in memory.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta};
use proptest::prelude::*;

use super::super::super::choose::{Denial, Ledger, Verdict};
use super::super::super::config::Policy;
use super::super::super::decide::{Causality, Decision, Situation, decide};
use super::super::super::git::{Action, Version};
use super::super::super::incident::{Incident, Origin, Plan, Recipe, Timestamp};
use super::super::super::manifest::{self, FoundBy, Located, Selector};
use super::super::super::message::{self, Purpose};
use super::super::intake::begin;
use super::super::past::Past;
use super::super::plan::{Accused, Facts};
use super::super::rewrite::{clean, rewrite};
use super::*;
use crate::baseline::source::version_of;

/// Longer than a trailer for people, with what has to be encoded there, and with what reads as if it were.
fn uri(number: u8) -> String {
    format!("s3://models/crédit%20v/{}/{number}", "x".repeat(300))
}

fn manifest(number: u8, percent: Option<u8>) -> Vec<u8> {
    world::manifest(number, percent).replace(&world::uri(number), &uri(number)).into_bytes()
}

#[derive(Clone, Debug)]
enum Event {
    /// Somebody deploys a version, new or old.
    Deploy(u8),
    /// Somebody gives a version a tenth of the traffic, also where another has it.
    Canary(u8),
    /// Somebody gives it all to what the manifest has.
    Promote,
    /// An alert on a version, which may be served, or not any more: late, doubled, wrong.
    Accuse(u8),
    /// An alert on what was deployed last.
    AccuseLatest,
    /// What is served has soaked.
    Soak,
    /// The controller begins anew, with nothing but Git.
    LoseJournal,
    /// The other replica acts from now on.
    TakeOver,
    /// From now on people are asked, or are not.
    Ask(bool),
    /// Somebody says yes to what the active replica waits for.
    Approve,
    /// A stopped canary is cleaned up.
    CleanUp,
    /// Minutes pass.
    Wait(i64),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => (0_u8..4).prop_map(Event::Deploy),
        2 => (0_u8..4).prop_map(Event::Canary),
        1 => Just(Event::Promote),
        1 => (0_u8..4).prop_map(Event::Accuse),
        5 => Just(Event::AccuseLatest),
        1 => Just(Event::Soak),
        1 => Just(Event::LoseJournal),
        1 => Just(Event::TakeOver),
        1 => any::<bool>().prop_map(Event::Ask),
        2 => Just(Event::Approve),
        1 => Just(Event::CleanUp),
        3 => (0_i64..500).prop_map(Event::Wait),
    ]
}

/// A commit of ours that moved traffic.
struct Moved {
    at: Timestamp,
    from: String,
    to: String,
    /// Whether what it went back to had traffic.
    was_served: bool,
    is_approved: bool,
    /// How many commits the branch had.
    n_before: usize,
}

struct Simulated {
    policy: Policy,
    mode: Mode,
    now: Timestamp,
    /// Whether Kubernetes tells what was rolled out.
    has_cluster: bool,
    /// The newest first, as are the actions.
    versions: Vec<Version>,
    actions: Vec<Action>,
    ledger: Ledger,
    /// What had all traffic last.
    rolled_out: String,
    /// What each of the two replicas waits for a yes to.
    waiting: [Option<Plan>; 2],
    active: usize,
    moved: Vec<Moved>,
}

impl Simulated {
    fn new(has_cluster: bool) -> Self {
        let mut world = Self {
            policy: Policy { unverified: Unverified::Commit, ..Policy::default() },
            mode: Mode::Commit,
            now: DateTime::UNIX_EPOCH + TimeDelta::days(20_000),
            has_cluster,
            versions: Vec::new(),
            actions: Vec::new(),
            ledger: Ledger::default(),
            rolled_out: uri(0),
            waiting: [None, None],
            active: 0,
            moved: Vec::new(),
        };
        world.commit(manifest(0, None));
        world
    }

    fn happens(&mut self, event: &Event) {
        match event {
            Event::Deploy(number) => self.people_write(manifest(*number, None)),
            Event::Canary(number) => self.people_write(manifest(*number, Some(10))),
            Event::Promote => {
                let latest = (0..4).find(|number| uri(*number) == self.latest()).unwrap();
                self.people_write(manifest(latest, None));
            }
            Event::Accuse(number) => self.accuse(&version_of(&uri(*number))),
            Event::AccuseLatest => self.accuse(&version_of(&self.latest())),
            Event::Soak => {
                let verdict = Verdict { served_since: self.now, at: self.now, n_rows: 5000, digest: None };
                let uri = self.rolled_out.clone();
                if !self.ledger.denied.contains_key(&uri) {
                    self.ledger.good.insert(uri, verdict);
                }
            }
            Event::LoseJournal => {
                self.ledger = Ledger::default();
                self.waiting = [None, None];
            }
            Event::TakeOver => self.active = 1 - self.active,
            Event::Ask(is_asked) => self.mode = if *is_asked { Mode::Approve } else { Mode::Commit },
            Event::Approve => {
                if let Some(plan) = self.waiting[self.active].take() {
                    self.push(plan, true);
                }
            }
            Event::CleanUp => self.clean_up(),
            Event::Wait(minutes) => self.now += TimeDelta::minutes(*minutes),
        }
    }

    fn people_write(&mut self, content: Vec<u8>) {
        if self.content() != content {
            self.commit(content);
        }
    }

    /// Returns its name and that of the one before. What has no percent gets all traffic.
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
        if self.read().canary_percent.is_none() {
            self.rolled_out = self.latest();
        }
        (commit, parent)
    }

    fn content(&self) -> Vec<u8> {
        self.versions[0].content.as_ref().unwrap().to_vec()
    }

    fn read(&self) -> manifest::Service {
        manifest::read(&self.content(), &Selector::Service(world::service())).unwrap().unwrap()
    }

    /// What the manifest has.
    fn latest(&self) -> String {
        self.read().uri.unwrap().value
    }

    fn accuse(&mut self, version: &str) {
        if self.waiting[self.active].is_some() {
            return; // one incident at a time
        }
        if let Some(plan) = self.plan(version) {
            match self.decide(&plan) {
                Decision::Commit => self.push(plan, false),
                Decision::Approve(_) => self.waiting[self.active] = Some(plan),
                _ => (),
            }
        }
    }

    fn plan(&self, version: &str) -> Option<Plan> {
        self.ask(|facts| {
            let Some(accused) = Accused::by_version(&facts.located.service, version) else {
                facts.superseded(version, self.now); // whatever follows, nothing is committed
                return None;
            };
            let mut options = facts.options(accused, &self.ledger, None, &self.policy, self.now).ok()?;
            let good = std::mem::take(&mut options.choice).candidates.into_iter().next()?;
            options.plan(good).ok()
        })
    }

    fn ask<T>(&self, question: impl FnOnce(Facts<'_>) -> T) -> T {
        let (service, found) = (world::service(), self.read());
        let located = Located {
            file: "credit.yaml".into(),
            document: found.document,
            found_by: FoundBy::Index,
            selector: Selector::Service(service.clone()),
            service: found,
        };
        question(Facts {
            cluster: "main",
            service: &service,
            tip: &self.versions[0].commit,
            located: &located,
            versions: &self.versions,
            past: Past(&self.actions),
            rolled_out: self.has_cluster.then_some(&*self.rolled_out),
            followed: &BTreeSet::new(),
        })
    }

    fn decide(&self, plan: &Plan) -> Decision {
        let service = world::service();
        let situation = Situation {
            now: self.now,
            began: self.now,
            service: &service,
            plan,
            origin: &Origin::Alert,
            mode: self.mode,
            has_forge: false,
            paused: None,
            before: Past(&self.actions).before(&service, plan, &[], Duration::ZERO),
            accused: &[],
            circuit_opened: None,
            n_targets: 1,
            causality: Causality::Caused("so it is said".into()),
        };
        decide(&situation, &self.policy).0
    }

    fn push(&mut self, plan: Plan, is_approved: bool) {
        if self.actions.iter().any(|action| action.is_called(&plan.action.of_commit(1))) {
            return; // the other replica was first
        }
        if self.ask(|facts| facts.still_means(&plan, &self.policy, self.now)).is_err() {
            return;
        }
        let Ok(content) = rewrite(&self.content(), &world::service(), &plan, false) else { return };
        let was_served = plan.good_uri == self.rolled_out;
        let n_before = self.versions.len();
        self.commit_ours(content, &plan, Purpose::Traffic);
        let (read_back, _) = self.actions[0].as_plan().expect("every plan is read back");
        assert_eq!((&read_back.bad_uri, &read_back.good_uri), (&plan.bad_uri, &plan.good_uri));
        assert_eq!((&read_back.action, &read_back.edits), (&plan.action, &plan.edits));
        let denial = Denial { action: plan.action.to_string(), at: self.now };
        self.ledger.good.remove(&plan.bad_uri);
        self.ledger.denied.insert(plan.bad_uri.clone(), denial);
        let Plan { bad_uri: from, good_uri: to, .. } = plan;
        self.moved.push(Moved { at: self.now, from, to, was_served, is_approved, n_before });
    }

    fn commit_ours(&mut self, content: Vec<u8>, plan: &Plan, purpose: Purpose) {
        let incident: Incident = begin(world::service(), String::new(), Origin::Alert, self.now);
        let text = message::of("main", &incident, plan, purpose).text();
        let (commit, parent) = self.commit(content);
        let mut trailers: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, value) in text.lines().filter_map(|line| line.split_once(": ")) {
            trailers.entry(name.to_owned()).or_default().push(value.to_owned());
        }
        let subject = String::new();
        self.actions.insert(0, Action { commit, parent, committed_at: self.now, subject, trailers });
    }

    /// By whoever has made the last commit, once the new revision of the good version is ready.
    fn clean_up(&mut self) {
        let Some((plan, _)) =
            self.actions.first().filter(|action| action.is_rollback()).and_then(Action::as_plan)
        else {
            return;
        };
        // As Kubernetes has to say: without it nothing is cleaned up.
        let is_safe = self.latest() == plan.good_uri && self.rolled_out == plan.good_uri;
        if plan.recipe != Recipe::KnativeCanary || !is_safe {
            return;
        }
        if let Ok(content) = clean(&self.content(), &world::service(), &plan, false) {
            let shared = self.read().canary_percent.is_some_and(|percent| percent.value != "0");
            assert!(!shared, "a clean-up ends a canary that is somebody's");
            self.commit_ours(content, &plan, Purpose::CleanUp);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn it_never_goes_back_and_forth(has_cluster: bool, events in prop::collection::vec(event(), 0..40)) {
        let mut world = Simulated::new(has_cluster);
        for event in &events {
            world.happens(event);
        }
        let n_deployed = world.versions.len() - world.actions.len();
        prop_assert!(world.moved.len() < n_deployed, "at most one rollback for each version that people put in place of another");
        let mut left = BTreeSet::new();
        for moved in &world.moved {
            let is_new = !left.contains(&moved.to) || moved.was_served;
            prop_assert!(is_new, "it goes back to {}, which it has left", moved.to);
            prop_assert!(left.insert(moved.from.clone()), "it leaves {} twice", moved.from);
        }
        for pair in world.moved.windows(2).filter(|pair| !pair[1].is_approved) {
            prop_assert!((pair[1].at - pair[0].at).to_std().unwrap() > world.policy.cool_down.0);
            prop_assert!(pair[1].n_before > pair[0].n_before + 1, "nobody has deployed anything between two rollbacks");
        }
    }
}

#[track_caller]
fn check_moves(events: &[Event], expected: &[(u8, u8)]) {
    for has_cluster in [false, true] {
        let mut world = Simulated::new(has_cluster);
        for event in events {
            world.happens(event);
        }
        let moved: Vec<_> = world.moved.iter().map(|moved| (moved.from.clone(), moved.to.clone())).collect();
        let expected: Vec<_> = expected.iter().map(|(from, to)| (uri(*from), uri(*to))).collect();
        assert_eq!(moved, expected, "has_cluster: {has_cluster}");
    }
}

/// The property above is about something: such schedules commit, and pass by the version that was left.
#[test]
fn two_bad_versions_are_rolled_back_from_once_each() {
    use Event::{AccuseLatest, Deploy, LoseJournal, Soak, Wait};
    let insisted = [Soak, Deploy(1), AccuseLatest, AccuseLatest, Wait(600)];
    let after_a_lost_disk = [LoseJournal, Soak, Deploy(1), Deploy(2), AccuseLatest];
    check_moves(&[&insisted[..], &after_a_lost_disk].concat(), &[(1, 0), (2, 0)]);
}

#[test]
fn a_canary_that_followed_another_is_taken_back_to_what_serves_beside_it() {
    use Event::{AccuseLatest, Canary, CleanUp, Soak};
    check_moves(&[Soak, Canary(1), Canary(2), AccuseLatest, CleanUp], &[(2, 0)]);
}

#[test]
fn what_both_replicas_wait_for_is_done_once() {
    use Event::{AccuseLatest, Approve, Ask, Deploy, Soak, TakeOver};
    let both_wait = [Soak, Deploy(1), Ask(true), AccuseLatest, TakeOver, AccuseLatest];
    check_moves(&[&both_wait[..], &[Approve, TakeOver, Approve]].concat(), &[(1, 0)]);
}

#[test]
fn what_was_put_away_and_put_back_before_the_yes_is_another_case() {
    use Event::{AccuseLatest, Approve, Ask, Canary, Deploy, Soak};
    let waits = [Soak, Ask(true), Canary(1), AccuseLatest];
    check_moves(&[&waits[..], &[Approve]].concat(), &[(1, 0)]);
    check_moves(&[&waits[..], &[Deploy(2), Canary(1), Approve]].concat(), &[]);
}
