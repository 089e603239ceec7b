//! `Expect: 100-continue` is between the caller and the model server.

use super::harness::{PREDICT, Peer, TestProxy, Upstream, ok};

async fn expecting(proxy: &TestProxy, upstream: &Upstream) -> (Peer, Peer) {
    let mut caller = proxy.connect().await;
    let head =
        format!("POST {PREDICT} HTTP/1.1\r\nHost: iris\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n");
    caller.send(&head).await;
    let mut model = upstream.accept().await;
    assert_eq!(model.head().await, head);
    assert!(caller.is_silent(), "the proxy answered in the model server's place");
    (caller, model)
}

#[tokio::test]
async fn the_upstreams_100_is_relayed() {
    let upstream = Upstream::bind().await;
    let mut proxy = TestProxy::start(upstream.addr).await;
    let (mut caller, mut model) = expecting(&proxy, &upstream).await;
    model.send("HTTP/1.1 100 Continue\r\n\r\n").await;
    assert_eq!(caller.head().await, "HTTP/1.1 100 Continue\r\n\r\n");
    caller.send("body").await;
    assert_eq!(model.exactly(4).await, "body");
    model.send(ok("fine")).await;
    assert_eq!(caller.message().await.1, "fine");
    assert_eq!(proxy.exchange().await.request.as_slice(), b"body");
}

#[tokio::test]
async fn a_refusal_is_relayed_without_asking_for_the_body() {
    for status in ["417 Expectation Failed", "401 Unauthorized"] {
        let upstream = Upstream::bind().await;
        let proxy = TestProxy::start(upstream.addr).await;
        let (mut caller, mut model) = expecting(&proxy, &upstream).await;
        model.send(format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\n\r\nno")).await;
        let expected = format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno");
        assert_eq!(caller.rest().await, expected);
        assert_eq!(model.rest().await, "", "the unsent body leaves a connection that cannot be used again");
        proxy.outcomes(&[("not_ok", 1.0)]).await;
    }
}

#[tokio::test]
async fn an_upstream_that_knows_no_expectations_gets_the_body_after_a_second() {
    let upstream = Upstream::bind().await;
    let proxy = TestProxy::start(upstream.addr).await;
    let (mut caller, mut model) = expecting(&proxy, &upstream).await;
    assert_eq!(caller.head().await, "HTTP/1.1 100 Continue\r\n\r\n");
    caller.send("body").await;
    assert_eq!(model.exactly(4).await, "body");
    model.send(ok("fine")).await;
    assert_eq!(caller.message().await.1, "fine");
}
