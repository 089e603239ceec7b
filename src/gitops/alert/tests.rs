use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn payload(alerts: &[Value]) -> Value {
    json!({
        "version": "4", "groupKey": "{}:{}", "truncatedAlerts": 0, "status": "firing", "receiver": "driftd\\-rollback",
        "groupLabels": {}, "commonLabels": {}, "commonAnnotations": {}, "externalURL": "http://alertmanager:9093",
        "notification_reason": "first notification", "routeLabels": {}, "alerts": alerts,
    })
}

fn alert(more: &[(&str, &str)]) -> Value {
    let mut labels = json!({
        "alertname": "DriftdModelDrift", "namespace": "prod", "inferenceservice": "credit", "version": "2-00000000",
        "driftd_action": "rollback",
    });
    for (name, value) in more {
        labels[*name] = (*value).into();
    }
    json!({
        "status": "firing", "labels": labels, "annotations": {}, "startsAt": "2026-11-23T00:01:12.345Z",
        "endsAt": "0001-01-01T00:00:00Z", "generatorURL": "http://prometheus/graph", "fingerprint": "9d0f0a6a8d3c1f22",
    })
}

fn parse(payload: &Value) -> Result<Delivery, DeliveryError> {
    Delivery::parse(payload.to_string().as_bytes())
}

#[track_caller]
fn check_accused(more: &[(&str, &str)], expected: Option<&str>) {
    let delivery = parse(&payload(&[alert(more)])).unwrap();
    let accused = delivery.alerts[0].accused().map(|(service, version)| format!("{service} {version}"));
    assert_eq!(accused.as_deref(), expected);
}

#[test]
fn an_alert_accuses_what_its_labels_name() {
    check_accused(&[], Some("prod/credit 2-00000000"));
    check_accused(&[("driftd_action", "page")], None);
    check_accused(&[("namespace", "")], None);
    check_accused(&[("inferenceservice", "a/../../b")], None);
    check_accused(&[("version", "")], None);
    // What would end a line of a trailer is gone.
    check_accused(&[("version", "2\nDrift-To-Uri: s3://evil")], Some("prod/credit 2Drift-To-Uri: s3://evil"));
}

#[test]
fn groups_hold_both_firing_and_resolved_alerts() {
    let mut resolved = alert(&[("pod", "a")]);
    resolved["status"] = "resolved".into();
    let delivery = parse(&payload(&[alert(&[]), resolved])).unwrap();
    assert_eq!(delivery.alerts.iter().map(Alert::is_firing).collect::<Vec<_>>(), [true, false]);
}

#[test]
fn grafanas_payload_is_read_too() {
    let mut payload = payload(&[alert(&[("__alert_rule_uid__", "x")])]);
    payload["version"] = "1".into();
    payload["orgId"] = 1.into();
    payload["alerts"][0]["values"] = json!({"A": 1});
    assert!(parse(&payload).unwrap().alerts[0].accused().is_some());
}

#[test]
fn what_is_no_payload_is_refused() {
    for (text, said) in [("", "not a webhook"), ("[]", "not a webhook"), ("{}", "not a webhook")] {
        assert!(Delivery::parse(text.as_bytes()).unwrap_err().to_string().contains(said), "{text}");
    }
    let mut other = payload(&[]);
    other["version"] = "5".into();
    assert!(matches!(parse(&other), Err(DeliveryError::Version(_))));
}

#[test]
fn what_was_left_out_is_told() {
    let mut truncated = payload(&[alert(&[])]);
    truncated["truncatedAlerts"] = 17.into();
    assert_eq!(parse(&truncated).unwrap().n_truncated, 17);
    let many = parse(&payload(&vec![alert(&[]); MAX_ALERTS + 2])).unwrap();
    assert_eq!((many.alerts.len(), many.n_truncated), (MAX_ALERTS, 2));
}

/// As the library of Prometheus does it; computed by its published algorithm for these labels.
#[test]
fn an_alert_from_prometheus_has_the_name_that_alertmanager_gives_it() {
    assert_eq!(fingerprint(&BTreeMap::new()), "cbf29ce484222325");
    let labels = BTreeMap::from([("alertname".to_owned(), "A".to_owned())]);
    let again = Alert::firing(&labels, DateTime::UNIX_EPOCH);
    assert_eq!(again.fingerprint, fingerprint(&labels));
    assert_ne!(
        fingerprint(&labels),
        fingerprint(&BTreeMap::from([("alertnameA".to_owned(), String::new())]))
    );
}

proptest! {
    /// Whatever comes: an answer, no panic, and nothing in a label that could leave its line.
    #[test]
    fn any_label_is_clean(name in ".*", value in ".{0,2000}") {
        let delivery = parse(&payload(&[alert(&[(&name, &value)])])).unwrap();
        for (name, value) in &delivery.alerts[0].labels {
            for text in [name, value] {
                prop_assert!(text.chars().count() <= MAX_LABEL_CHARS && !text.contains(char::is_control));
            }
        }
    }
}
