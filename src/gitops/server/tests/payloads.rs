//! Deliveries that are broken, doubled, late or cut short.

use super::*;

#[tokio::test]
async fn what_is_no_text_is_refused() {
    let world = World::start().await;
    let mut body = payload(&[alert("credit", 1)]).into_bytes();
    let at = body.windows(6).position(|bytes| bytes == b"credit").unwrap();
    body[at] = 0xFF;
    assert_eq!(world.deliver(body).await.0, StatusCode::BAD_REQUEST);
    // Cut off anywhere, as by a proxy that gave up.
    let whole = payload(&[alert("credit", 1)]);
    for n_bytes in (0..whole.len()).step_by(17) {
        assert_eq!(world.deliver(whole[..n_bytes].to_owned()).await.0, StatusCode::BAD_REQUEST, "{n_bytes}");
    }
    assert_eq!(world.n_incidents().await, 0);
}

/// Alertmanagers of one cluster deliver in the same moment.
#[tokio::test]
async fn copies_that_come_in_one_moment_are_one_incident() {
    let world = World::start().await;
    let copies = (0..8).map(|_| world.deliver(payload(&[alert("credit", 1), alert("credit", 2)])));
    let answers = futures_util::future::join_all(copies).await;
    assert!(answers.iter().all(|(status, _)| *status == StatusCode::ACCEPTED), "{answers:?}");
    assert_eq!(answers.iter().filter(|(_, said)| said["begun"] == 1).count(), 1);
    assert_eq!(world.n_incidents().await, 1);
    let incident = world.handle.context().journal.incident("1").await.unwrap().unwrap();
    assert_eq!(incident.accusations.len(), 2);
    assert_eq!(incident.accusations.iter().map(|accusation| accusation.n_seen).sum::<u64>(), 16);
}

#[tokio::test]
async fn a_resolved_alert_begins_nothing_and_ends_nothing() {
    let world = World::start().await;
    let mut resolved = alert("credit", 1);
    resolved["status"] = json!("resolved");
    let (status, said) = world.deliver(payload(&[resolved.clone()])).await;
    assert_eq!((status, &said["begun"]), (StatusCode::ACCEPTED, &json!(0)), "before the one that fires");
    assert_eq!(world.n_incidents().await, 0);
    world.deliver(payload(&[alert("credit", 1)])).await;
    world.deliver(payload(&[resolved])).await;
    let incident = world.handle.context().journal.incident("1").await.unwrap().unwrap();
    assert!(!incident.state.is_terminal(), "{incident:?}");
    assert_eq!(incident.accusations[0].n_seen, 1);
}

#[tokio::test]
async fn what_a_payload_has_left_out_is_written_down() {
    let world = World::start().await;
    let mut body: Value = serde_json::from_str(&payload(&[alert("credit", 1)])).unwrap();
    body["truncatedAlerts"] = json!(7);
    assert_eq!(world.deliver(body.to_string()).await.0, StatusCode::ACCEPTED);
    let notes =
        world.handle.context().journal.notes(super::super::super::journal::Kind::Delivery).await.unwrap();
    let truncated: Vec<_> = notes.iter().filter(|note| note.subject == "truncated").collect();
    assert_eq!((truncated.len(), &truncated[0].payload["n"]), (1, &json!(7)));
}
