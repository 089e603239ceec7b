use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta};

use super::super::git::Action;
use super::super::incident::{
    Accusation, ActionId, CommitRecord, Component, Edit, GateAnswer, Plan, Recipe, State, Timestamp,
};
use super::*;

fn at(second: i64) -> Timestamp {
    DateTime::from_timestamp(1_700_000_000 + second, 0).unwrap()
}

fn incident(state: State) -> Incident {
    let service: super::super::target::ServiceName = "prod/credit".parse().unwrap();
    let (bad, good) = ("s3://models/credit/2", "s3://models/credit/1");
    let action = ActionId::new("main", &service, &Component::Predictor, bad, "b2c3");
    let entered = [
        (State::Received, 5),
        (State::Confirming, 6),
        (State::Committing, 7),
        (State::Pushed, 9),
        (State::Serving, 10),
        (State::Observing, 21),
        (State::Recovered, 85),
    ];
    Incident {
        id: 7,
        version: "2-0a1b2c3d".to_owned(),
        origin: Origin::Alert,
        accusations: vec![Accusation {
            name: "DriftdModelDrift".to_owned(),
            fingerprint: "00ff".to_owned(),
            labels: BTreeMap::from([("version".to_owned(), "2-0a1b2c3d".to_owned())]),
            starts_at: at(0),
            first_seen: at(5),
            last_seen: at(65),
            n_seen: 2,
        }],
        state,
        reason: "s3://models/credit/1 serves, and is well".to_owned(),
        entered: entered.into_iter().map(|(state, second)| (state, at(second))).collect(),
        deadline: None,
        evidence: BTreeMap::from([("confirmed".to_owned(), "ALERTS says so".to_owned())]),
        plan: Some(Plan {
            action: action.clone(),
            file: "prod/credit.yaml".to_owned(),
            document: 0,
            found_by: "index".to_owned(),
            edits: vec![Edit {
                path: "spec.predictor.model.storageUri".to_owned(),
                from: bad.to_owned(),
                to: good.to_owned(),
            }],
            recipe: Recipe::Uri,
            component: Component::Predictor,
            bad_uri: bad.to_owned(),
            good_uri: good.to_owned(),
            is_verified: true,
            introduced_by: "b2c3".to_owned(),
            introduced_at: at(-600),
            good_commit: "a1b2".to_owned(),
            coupled: Vec::new(),
            tip: "c3d4".to_owned(),
        }),
        gates: vec![
            GateAnswer { gate: "pause".to_owned(), passes: true, why: "not paused".to_owned() },
            GateAnswer { gate: "cool_down".to_owned(), passes: false, why: "rolled back 1h ago".to_owned() },
        ],
        approved_at: None,
        approved_by: Some("ann".to_owned()),
        pull_request: None,
        commit: Some(CommitRecord {
            id: action.of_commit(1),
            commit: "d4e5".to_owned(),
            parent: "c3d4".to_owned(),
            diff: format!("-storageUri: {bad}\n+storageUri: {good}"),
            pushed_at: at(8),
        }),
        cleanup: None,
        service,
    }
}

#[track_caller]
fn check_times(incident: &Incident, pushed: Option<f64>, serving: Option<f64>, recovered: Option<f64>) {
    let times = Times::of(incident);
    let found = (times.pushed_seconds, times.serving_seconds, times.recovered_seconds);
    assert_eq!(found, (pushed, serving, recovered));
}

#[test]
fn times_count_from_the_start_of_the_alert() {
    let mut incident = incident(State::Recovered);
    check_times(&incident, Some(8.0), Some(21.0), Some(85.0));
    incident.accusations[0].starts_at = DateTime::UNIX_EPOCH; // Go's zero, as it is delivered where nothing is known
    check_times(&incident, Some(3.0), Some(16.0), Some(80.0));
    incident.accusations[0].starts_at = at(30); // a clock that is ahead: no time is negative
    check_times(&incident, Some(3.0), Some(16.0), Some(80.0));
}

#[test]
fn what_did_not_recover_has_no_time_of_recovery() {
    let mut incident = incident(State::NotRecovered);
    check_times(&incident, Some(8.0), Some(21.0), None);
    incident.state = State::Cleaning;
    incident.entered.insert(State::Cleaning, at(81));
    check_times(&incident, Some(8.0), Some(21.0), Some(81.0));
    incident.state = State::Recovered; // the clean-up took four seconds more, the proof did not
    check_times(&incident, Some(8.0), Some(21.0), Some(81.0));
}

#[track_caller]
fn check_percentiles(times: &[f64], expected: Option<(f64, f64, f64, f64)>) {
    let found =
        Percentiles::of(times.iter().copied()).map(|found| (found.mean, found.p50, found.p95, found.max));
    assert_eq!(found, expected);
}

#[test]
fn percentiles_are_times_that_were_measured() {
    check_percentiles(&[], None);
    check_percentiles(&[3.0], Some((3.0, 3.0, 3.0, 3.0)));
    check_percentiles(&[4.0, 1.0], Some((2.5, 1.0, 4.0, 4.0)));
    let hundred: Vec<f64> = (1..=100).rev().map(f64::from).collect();
    check_percentiles(&hundred, Some((50.5, 50.0, 95.0, 100.0)));
    let twenty_one: Vec<f64> = (1..=21).map(f64::from).collect();
    check_percentiles(&twenty_one, Some((11.0, 11.0, 20.0, 21.0)));
}

#[test]
fn a_summary_counts_every_state_and_measures_what_got_there() {
    let mut open = incident(State::Committing);
    (open.commit, open.entered) = (None, BTreeMap::from([(State::Received, at(5))]));
    let summary = Summary::of(&[incident(State::Recovered), incident(State::NotRecovered), open]);
    assert_eq!(summary.n_incidents, 3);
    assert_eq!(summary.states, BTreeMap::from([("committing", 1), ("not_recovered", 1), ("recovered", 1)]));
    let n = |times: Option<Percentiles>| times.map(|times| times.n);
    assert_eq!(n(summary.pushed_seconds), Some(2));
    assert_eq!(n(summary.serving_seconds), Some(2));
    assert_eq!(n(summary.recovered_seconds), Some(1));
    assert_eq!(
        summary.rows()[2],
        ["alert → recovered", "1", "1 min 25 s", "1 min 25 s", "1 min 25 s", "1 min 25 s"]
    );
}

#[test]
fn durations_are_written_as_people_say_them() {
    for (took, expected) in [
        (0.04, "0.0 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min 00 s"),
        (245.2, "4 min 05 s"),
        (3599.6, "1 h 00 min"),
        (7380.0, "2 h 03 min"),
    ] {
        assert_eq!(seconds(took), expected, "{took}");
    }
}

fn events() -> Vec<Event> {
    let event = |seq, second, state, note: &str| {
        let incident = Incident { reason: "alerts came".to_owned(), ..incident(state) };
        Event { seq, at: at(second) + TimeDelta::milliseconds(250), note: note.to_owned(), incident }
    };
    vec![event(3, 5, State::Received, "alerts came"), event(4, 85, State::Recovered, "is well")]
}

#[test]
fn an_explanation_has_the_snapshot_every_gate_and_what_was_done() {
    insta::assert_snapshot!(explain(&incident(State::Recovered), &events()), @r#"
    Incident 7, rb-9af0b764868e777d: prod/credit is recovered
      s3://models/credit/1 serves, and is well

    Why it began
      alerts were delivered
      accused: version 2-0a1b2c3d
      DriftdModelDrift since 2023-11-14T22:13:20.000Z, came 2 times (first 2023-11-14T22:13:25.000Z, last 2023-11-14T22:14:25.000Z), fingerprint 00ff
        {version="2-0a1b2c3d"}

    What was known
      file prod/credit.yaml, document 0, found by index
      read at c3d4
      accused: s3://models/credit/2 (predictor), came with b2c3 at 2023-11-14T22:03:20.000Z
      good: s3://models/credit/1, came with a1b2; it has served well
      spec.predictor.model.storageUri: s3://models/credit/2 → s3://models/credit/1

    What Prometheus and the others said
      confirmed: ALERTS says so

    What the gates said
      yes  pause      not paused
      NO   cool_down  rolled back 1h ago

    What was done
      approved by ann
      commit d4e5 on c3d4, pushed 2023-11-14T22:13:28.000Z, rb-9af0b764868e777d-1
          -storageUri: s3://models/credit/2
          +storageUri: s3://models/credit/1

    How long it took
      alert → pushed     8.0 s
      alert → serving    21.0 s
      alert → recovered  1 min 25 s

    What happened
      2023-11-14T22:13:25.250Z  +0.0 s        received           alerts came
      2023-11-14T22:14:45.250Z  +1 min 20 s   recovered          alerts came [is well]
    "#);
}

#[test]
fn what_was_found_in_git_was_told_by_no_alert() {
    let told = Incident { origin: Origin::TakeOver, ..incident(State::Observing) };
    assert_eq!(origin(&told), "alerts were found firing in Prometheus");
    // The commit says for which alerts it was made; nobody has delivered or confirmed them here.
    let mut found = told;
    found.entered.remove(&State::Confirming);
    assert_eq!(origin(&found), "a rollback that another replica had pushed was found in Git");
}

fn commit(name: &str, second: i64, trailers: &[(&str, &str)]) -> Action {
    let mut read: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in trailers {
        read.entry((*name).to_owned()).or_default().push((*value).to_owned());
    }
    Action {
        commit: name.to_owned(),
        parent: "0".to_owned(),
        committed_at: at(second),
        subject: String::new(),
        trailers: read,
    }
}

fn rollback<'a>(id: &'a str, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let trailers = [
        ("Drift-Action", "rollback"),
        ("Drift-Action-Id", id),
        ("Drift-Target", "main/prod/credit/predictor"),
        ("Drift-From-Uri", "s3://models/credit/2"),
        ("Drift-To-Uri", "s3://models/credit/1"),
        ("Drift-Bad-Commit", "b2c3"),
        ("Drift-Reason", "DriftdModelDrift"),
        ("Drift-Alert", "DriftdModelDrift fp=00ff"),
        ("Drift-Alert", "DriftdPredictionDrift fp=11ff"),
    ];
    trailers.into_iter().chain(more.iter().copied()).collect()
}

#[test]
fn git_alone_tells_each_action_once_newest_first() {
    let cleanup = [
        ("Drift-Action", "cleanup"),
        ("Drift-Action-Id", "rb-aaaa-2"),
        ("Drift-Target", "main/prod/credit/predictor"),
    ];
    let commits = [
        commit("c4", 40, &rollback("rb-aaaa-1", &[])), // the same commit, cherry-picked to where it is seen again
        commit(
            "c3",
            30,
            &rollback("rb-bbbb-1", &[("Drift-Requested-By", "ann"), ("Drift-Approved-By", "bob")]),
        ),
        commit("c2", 20, &cleanup),
        commit("c1", 10, &rollback("rb-aaaa-1", &[])),
        commit("c0", 5, &[("Drift-Action", "rollback"), ("Drift-Action-Id", "nonsense")]),
    ];
    let rebuilt = rebuild(&commits);
    let found: Vec<_> = rebuilt
        .iter()
        .map(|action| (action.action.as_str(), action.commit.as_deref(), action.cleanup.as_deref()))
        .collect();
    assert_eq!(found, [("rb-bbbb", Some("c3"), None), ("rb-aaaa", Some("c1"), Some("c2"))]);
    assert_eq!(rebuilt[0].alerts.len(), 2);
    assert_eq!(rebuilt[0].row()[6], "DriftdModelDrift, asked by ann, approved by bob");
    assert_eq!(rebuilt[1].from_uri, "s3://models/credit/2");
}

#[test]
fn a_row_fits_an_incident_that_got_nowhere() {
    let mut incident = incident(State::Suppressed);
    (incident.plan, incident.commit) = (None, None);
    incident.entered.retain(|state, _| *state == State::Received);
    let row = row(&incident);
    assert_eq!(row[3..8], ["2-0a1b2c3d", "", "suppressed", "", ""].map(str::to_owned));
}

/// A URI comes from a manifest, and a label from whoever sends alerts.
#[test]
fn what_others_have_written_breaks_no_table_and_moves_no_cursor() {
    let mut incident = incident(State::Recovered);
    incident.plan.as_mut().unwrap().bad_uri = "s3://models/a\nb\u{1b}[2J".to_owned();
    incident.reason = "s3://models/a\nb\u{1b}[2J is left".to_owned();
    let row = row(&incident);
    assert!(row.iter().all(|cell| !cell.contains(char::is_control)), "{row:?}");
    assert!(row[3].starts_with("a\\nb\\u{1b}[2J-"), "{row:?}");
    assert_eq!(row[8], "s3://models/a\\nb\\u{1b}[2J is left");
    assert_eq!(printable("two\nlines\u{1b}[2J, größer"), "two\nlines\\u{1b}[2J, größer");
    let rebuilt = Rebuilt { reason: "a\rb".to_owned(), ..Rebuilt::default() };
    assert_eq!(rebuilt.row()[6], "a\\rb");
}
