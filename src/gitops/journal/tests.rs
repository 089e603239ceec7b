use std::collections::BTreeMap;

use tempfile::TempDir;

use super::super::incident::{ActionId, Component, Origin, Plan, Recipe, State};
use super::*;

fn incident(service: &str) -> Incident {
    Incident {
        id: 0,
        service: service.parse().unwrap(),
        version: "2-00000000".into(),
        origin: Origin::Alert,
        accusations: Vec::new(),
        state: State::Received,
        reason: "received".into(),
        entered: BTreeMap::from([(State::Received, now())]),
        deadline: None,
        evidence: BTreeMap::new(),
        plan: None,
        gates: Vec::new(),
        approved_by: None,
        approved_at: None,
        pull_request: None,
        commit: None,
        cleanup: None,
    }
}

fn plan(service: &str) -> Plan {
    Plan {
        action: ActionId::new("main", &service.parse().unwrap(), &Component::Predictor, "s3://m/2", "c2"),
        file: "credit.yaml".into(),
        document: 0,
        found_by: "index".into(),
        edits: Vec::new(),
        recipe: Recipe::Uri,
        component: Component::Predictor,
        bad_uri: "s3://m/2".into(),
        good_uri: "s3://m/1".into(),
        is_verified: true,
        introduced_by: "c2".into(),
        introduced_at: now(),
        good_commit: "c1".into(),
        coupled: Vec::new(),
        tip: "c2".into(),
    }
}

#[tokio::test]
async fn what_was_written_is_read_after_a_restart() {
    let folder = TempDir::new().unwrap();
    let journal = Journal::open(folder.path()).unwrap();
    let mut first = journal.begin(incident("prod/credit"), "alerts came").await.unwrap();
    let other = journal.begin(incident("prod/fraud"), "alerts came").await.unwrap();
    assert_eq!((first.id, other.id), (1, 2));
    first.state = State::Committing;
    first.plan = Some(plan("prod/credit"));
    journal.record(&first, "every gate lets it pass").await.unwrap();
    journal.note(Kind::Leader, "begins", serde_json::json!({"term": 3})).await.unwrap();
    drop(journal);

    let journal = Journal::open(folder.path()).unwrap();
    assert_eq!(journal.open_incidents().await.unwrap(), [first.clone(), other.clone()]);
    assert_eq!(journal.incidents(Some(&other.service)).await.unwrap(), std::slice::from_ref(&other));
    assert_eq!(journal.last_incident(&other.service).await.unwrap(), Some(other));
    let action = first.action().unwrap().clone();
    for id in ["1", action.as_str(), &action.of_commit(1)] {
        assert_eq!(journal.incident(id).await.unwrap(), Some(first.clone()), "{id}");
    }
    assert_eq!(journal.incident("rb-0000000000000000").await.unwrap(), None);
    let events = journal.events(1).await.unwrap();
    assert_eq!(
        events.iter().map(|event| event.incident.state).collect::<Vec<_>>(),
        [State::Received, State::Committing]
    );
    assert_eq!(journal.notes(Kind::Leader).await.unwrap()[0].payload["term"], 3);
    assert_eq!(journal.verify().await.unwrap().n_events, 4);
}

#[tokio::test]
async fn it_belongs_to_one_process() {
    let folder = TempDir::new().unwrap();
    let _journal = Journal::open(folder.path()).unwrap();
    assert!(matches!(Journal::open(folder.path()), Err(JournalError::Taken { .. })));
}

#[tokio::test]
async fn what_a_process_has_left_that_just_ended_is_waited_for() {
    let folder = TempDir::new().unwrap();
    let journal = Journal::open(folder.path()).unwrap();
    let ends = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(100));
        drop(journal);
    });
    Journal::open(folder.path()).unwrap();
    ends.join().unwrap();
}

/// As somebody would who wants something not to have happened: past our triggers.
#[track_caller]
fn check_tampering_shows(sql: &str, expected_seq: u64) {
    let folder = TempDir::new().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let journal = Journal::open(folder.path()).unwrap();
        for _ in 0..5 {
            journal.begin(incident("prod/credit"), "alerts came").await.unwrap();
        }
    });
    let connection = rusqlite::Connection::open(folder.path().join(FILE)).unwrap();
    assert!(connection.execute_batch("DELETE FROM events").is_err(), "it is only added to");
    connection
        .execute_batch(&format!("DROP TRIGGER never_changed; DROP TRIGGER never_deleted; {sql}"))
        .unwrap();
    let error = read::verify(&read_only(folder.path()).unwrap()).unwrap_err();
    assert!(matches!(error, JournalError::Broken { seq, .. } if seq == expected_seq), "{error:?}");
}

#[test]
fn what_was_changed_or_taken_out_shows() {
    check_tampering_shows(
        "UPDATE events SET payload = replace(payload, '2-0000', '3-0000') WHERE seq = 3",
        3,
    );
    check_tampering_shows("UPDATE events SET at = '2026-01-01T00:00:00.000000Z' WHERE seq = 2", 2);
    check_tampering_shows("DELETE FROM events WHERE seq = 2", 3);
    check_tampering_shows("UPDATE events SET incident = NULL WHERE seq = 1", 1);
}

#[tokio::test]
async fn another_format_is_refused_with_its_number() {
    let folder = TempDir::new().unwrap();
    drop(Journal::open(folder.path()).unwrap());
    let connection = rusqlite::Connection::open(folder.path().join(FILE)).unwrap();
    connection.pragma_update(None, "user_version", 9).unwrap();
    let error = Journal::open(folder.path()).unwrap_err().to_string();
    assert!(error.contains("format 9"), "{error}");
    assert!(matches!(read_only(&folder.path().join("none")), Err(JournalError::Missing { .. })));
}
