//! A stand-in for Alertmanager with the route that ships: what fires is delivered to the controller at once, as version 4 of its
//! payload, again until it is taken, and its end as well.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::sleep;

use super::prometheus::{Firing, moment};

/// Between attempts.
const AGAIN_AFTER: Duration = Duration::from_millis(500);
/// Go's zero time: not yet.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// Delivers to `url` what fires, and what does not any more, until nobody tells any more.
pub async fn deliver(url: String, token: String, mut firing: watch::Receiver<Vec<Firing>>) {
    let client = reqwest::Client::new();
    let mut delivered: Vec<Firing> = Vec::new();
    loop {
        let now = firing.borrow_and_update().clone();
        let known: BTreeSet<_> = delivered.iter().map(|alert| &alert.labels).collect();
        let began = now.iter().filter(|alert| !known.contains(&alert.labels));
        let ended = delivered.iter().filter(|old| !now.iter().any(|alert| alert.labels == old.labels));
        let began = began.map(|alert| (alert, "firing"));
        let alerts: Vec<Value> = began.chain(ended.map(|alert| (alert, "resolved"))).map(alert_of).collect();
        if !alerts.is_empty() {
            let sent = client.post(&url).bearer_auth(&token).json(&payload(&alerts)).send().await;
            if !sent.is_ok_and(|answer| answer.status().is_success()) {
                sleep(AGAIN_AFTER).await;
                continue;
            }
            delivered = now;
        }
        if firing.changed().await.is_err() {
            return;
        }
    }
}

fn alert_of((alert, status): (&Firing, &str)) -> Value {
    json!({
        "status": status, "labels": alert.labels, "annotations": {}, "startsAt": moment(alert.fired_at),
        "endsAt": if status == "firing" { NEVER.to_owned() } else { moment(chrono::Utc::now().timestamp_millis()) },
        "generatorURL": "", "fingerprint": "",
    })
}

fn payload(alerts: &[Value]) -> Value {
    let is_firing = alerts.iter().any(|alert| alert["status"] == "firing");
    json!({
        "version": "4", "groupKey": "demo", "truncatedAlerts": 0, "receiver": "driftd-rollback",
        "status": if is_firing { "firing" } else { "resolved" },
        "groupLabels": {}, "commonLabels": {}, "commonAnnotations": {}, "externalURL": "", "alerts": alerts,
    })
}
