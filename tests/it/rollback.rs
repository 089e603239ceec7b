//! The whole loop on this machine: the sidecar, the real Prometheus with the shipped rules, the real Alertmanager with the shipped route,
//! `driftd controller`, and a real bare repository behind `git http-backend`. In Argo CD's place stands a small reconciler with the same
//! two calls of its API, named as what it is.

pub mod remote;
mod serving;
mod stack;

use std::time::Duration;

use serde_json::Value;

use stack::Stack;

const STATES_OF_A_ROLLBACK: [&str; 9] = [
    "RECEIVED",
    "CONFIRMING",
    "RESOLVING",
    "GATING",
    "COMMITTING",
    "PUSHED",
    "SYNCING",
    "SERVING",
    "OBSERVING",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_contradicts_its_own_baseline_is_rolled_back_and_proved_well() {
    let stack = Stack::start().await;
    stack.verdict(1).await; // version 1 has soaked
    let before = stack.remote.tip();
    stack.deploy(2).await;
    let deployed = stack.remote.tip();
    let incident = stack.ended("RECOVERED").await;

    for state in STATES_OF_A_ROLLBACK {
        assert!(incident["entered"][state].is_string(), "{state} was not entered: {incident:#}");
    }
    // One line, and the history as it was.
    let changed = stack.remote.git(&["diff", "--unified=0", &deployed, "main"]);
    let lines: Vec<&str> = changed.lines().filter(|line| line.starts_with(['+', '-'])).skip(2).collect();
    assert_eq!(lines.len(), 2, "{changed}");
    assert!(lines[0].ends_with("/2") && lines[1].ends_with("/1"), "{changed}");
    assert_eq!(stack.remote.git(&["rev-parse", "main~1"]), deployed);
    assert_eq!(stack.remote.git(&["rev-parse", "main~2"]), before);
    stack.remote.git(&["fsck", "--strict"]);
    let trailers = stack.remote.git(&["log", "-1", "--format=%(trailers:only)", "main"]);
    for trailer in [
        "Drift-Action: rollback",
        "Drift-Target: main/prod/credit/predictor",
        "Drift-Alert: DriftdModelDrift fp=",
    ] {
        assert!(trailers.contains(trailer), "{trailers}");
    }
    assert_eq!(stack.serving(), 1);
    let verified: Value = stack.get("/api/v1/verify").await;
    assert!(verified["n_events"].as_u64().unwrap() >= 10);
    Stack::print_timeline(&incident);
}

/// It differs from version 1, as its baseline says: every good promotion does.
#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_predicts_otherwise_as_its_baseline_says_is_left() {
    let stack = Stack::start().await;
    stack.deploy(3).await;
    let deployed = stack.remote.tip();
    stack.rows(3, 4000.0).await;
    assert_eq!(stack.alerts("DriftdModelDrift").await, 0);
    assert_eq!(stack.remote.tip(), deployed);
    assert!(stack.incidents().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shift_of_the_inputs_pages_people_and_commits_nothing() {
    let stack = Stack::start().await;
    let tip = stack.remote.tip();
    stack.shift_inputs();
    let deadline = tokio::time::Instant::now() + Duration::from_mins(1);
    while stack.alerts("DriftdInputDrift").await == 0 {
        assert!(tokio::time::Instant::now() < deadline, "the shift is not told");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(stack.alerts("DriftdModelDrift").await, 0);
    assert_eq!(stack.remote.tip(), tip);
    assert!(stack.incidents().await.is_empty(), "only pages");
}
