//! What goes wrong on either side, and what the other side sees of it.

use std::time::Duration;

use tokio::time::sleep;

use super::harness::{PREDICT, TestProxy, Upstream, config, ok, predict};

#[tokio::test]
async fn a_model_server_that_is_down_is_a_502_that_says_so() {
    let gone = Upstream::bind().await.addr;
    let proxy = TestProxy::start(gone).await;
    let mut caller = proxy.connect().await;
    caller.send(predict("{}")).await;
    let (head, body) = caller.message().await;
    assert!(head.starts_with("HTTP/1.1 502 Bad Gateway\r\ncontent-type: application/json\r\n"), "{head}");
    let expected = format!(
        r#"{{"error":"driftd: cannot reach the model server at {gone}: connection refused; is it running, and is `upstream` right?"}}"#
    );
    assert_eq!(body, expected);
    assert!(!proxy.health.is_reachable());
    proxy.outcomes(&[("upstream_failed", 1.0)]).await;
}

#[tokio::test]
async fn a_model_server_that_does_not_answer_is_a_504() {
    let upstream = Upstream::bind().await;
    let mut config = config(upstream.addr);
    config.upstream_timeout = Duration::from_millis(50);
    let proxy = TestProxy::with(config, 1).await;
    let mut caller = proxy.connect().await;
    caller.send(predict("{}")).await;
    let mut model = upstream.accept().await;
    let (head, body) = caller.message().await;
    assert!(head.starts_with("HTTP/1.1 504 "), "{head}");
    assert!(body.contains("did not answer within 50ms; see `upstream_timeout`"), "{body}");
    model.message().await;
    assert_eq!(model.rest().await, "", "the request that nobody waits for is cancelled");
    proxy.outcomes(&[("upstream_failed", 1.0)]).await;
}

#[tokio::test]
async fn a_slow_caller_is_not_the_upstreams_delay() {
    let upstream = Upstream::bind().await;
    let mut config = config(upstream.addr);
    config.upstream_timeout = Duration::from_millis(200);
    let proxy = TestProxy::with(config, 1).await;
    let mut caller = proxy.connect().await;
    caller.send(format!("POST {PREDICT} HTTP/1.1\r\nHost: iris\r\nContent-Length: 4\r\n\r\n")).await;
    let mut model = upstream.accept().await;
    for byte in ["a", "b", "c", "d"] {
        sleep(Duration::from_millis(150)).await;
        caller.send(byte).await;
    }
    assert_eq!(model.message().await.1, "abcd");
    model.send(ok("{}")).await;
    assert_eq!(caller.message().await.1, "{}");
}

#[tokio::test]
async fn a_response_that_breaks_off_is_cut_and_never_complete() {
    for head in ["content-length: 10", "transfer-encoding: chunked"] {
        let upstream = Upstream::bind().await;
        let proxy = TestProxy::start(upstream.addr).await;
        let mut caller = proxy.connect().await;
        caller.send(predict("{}")).await;
        let mut model = upstream.accept().await;
        model.message().await;
        model.send(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n5\r\nab")).await;
        caller.head().await;
        drop(model);
        let cut = caller.rest().await;
        assert!(cut.len() < 10 && !cut.contains("0\r\n\r\n"), "{cut:?}");
        proxy.outcomes(&[("upstream_failed", 1.0)]).await;
    }
}

#[tokio::test]
async fn an_upstream_that_breaks_off_before_its_answer_is_a_502() {
    for said in ["", "HTTP/1.1 200 OK\r\nconten", "what?\r\n\r\n"] {
        let upstream = Upstream::bind().await;
        let proxy = TestProxy::start(upstream.addr).await;
        let mut caller = proxy.connect().await;
        caller.send(predict("{}")).await;
        let mut model = upstream.accept().await;
        model.message().await;
        model.send(said).await;
        drop(model);
        let (head, body) = caller.message().await;
        assert!(head.starts_with("HTTP/1.1 502 "), "{head}");
        assert!(body.contains("broke off before it answered"), "{body}");
        proxy.outcomes(&[("upstream_failed", 1.0)]).await;
    }
}

#[tokio::test]
async fn garbage_is_a_400_and_the_next_caller_is_served() {
    let proxy = TestProxy::start(Upstream::bind().await.always(ok("{}"))).await;
    let long_target = format!("GET /{} HTTP/1.1\r\nHost: iris\r\n\r\n", "x".repeat(65_535));
    let many_headers = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(101));
    let cases = [
        ("\x16\x03\x01\x02\0\x01\0\x01\r\n\r\n", "400"),
        ("GET / HTTP/9.9\r\n\r\n", "400"),
        ("POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n", "400"),
        (&many_headers, "431"),
        (&long_target, "4"), // 414 or 431: it is over both limits
    ];
    for (garbage, status) in cases {
        let mut caller = proxy.connect().await;
        caller.send(garbage).await;
        let answer = caller.rest().await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
    }
    let mut caller = proxy.connect().await;
    caller.send(predict("{}")).await;
    assert_eq!(caller.message().await.1, "{}");
    proxy.outcomes(&[("mirrored", 1.0)]).await;
}

#[tokio::test]
async fn a_caller_that_leaves_before_the_answer_cancels_the_request() {
    let upstream = Upstream::bind().await;
    let proxy = TestProxy::start(upstream.addr).await;
    let mut caller = proxy.connect().await;
    caller.send(predict("{}")).await;
    let mut model = upstream.accept().await;
    model.message().await;
    drop(caller);
    assert_eq!(model.rest().await, "");
    proxy.outcomes(&[("downstream_gone", 1.0)]).await;
}

#[tokio::test]
async fn a_caller_that_leaves_amid_its_request_or_its_answer_is_counted_as_gone() {
    let upstream = Upstream::bind().await;
    let proxy = TestProxy::start(upstream.addr).await;
    let mut caller = proxy.connect().await;
    caller.send(format!("POST {PREDICT} HTTP/1.1\r\nHost: iris\r\nContent-Length: 9\r\n\r\nhalf")).await;
    let mut model = upstream.accept().await;
    model.head().await;
    drop(caller);
    assert_eq!(model.rest().await, "half");
    proxy.outcomes(&[("downstream_gone", 1.0)]).await;

    let mut caller = proxy.connect().await;
    caller.send(predict("{}")).await;
    let mut model = upstream.accept().await;
    model.message().await;
    model.send("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf").await;
    caller.until("half").await;
    drop(caller);
    model.rest().await;
    proxy.outcomes(&[("downstream_gone", 2.0)]).await;
    assert_eq!(proxy.budget.held_bytes(), 0);
}

#[tokio::test]
async fn a_body_that_is_not_http_is_a_400() {
    let upstream = Upstream::bind().await;
    let proxy = TestProxy::start(upstream.addr).await;
    let mut caller = proxy.connect().await;
    caller
        .send(format!("POST {PREDICT} HTTP/1.1\r\nHost: iris\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"))
        .await;
    let answer = caller.rest().await;
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("the request body broke off"), "{answer}");
    proxy.outcomes(&[("downstream_gone", 1.0)]).await;
}

#[tokio::test]
async fn a_connection_closed_while_idle_is_replaced_unseen() {
    let upstream = Upstream::bind().await;
    let proxy = TestProxy::start(upstream.addr).await;
    let mut caller = proxy.connect().await;
    for n_sent in 1..4 {
        caller.send(predict("{}")).await;
        let mut model = upstream.accept().await; // a new one each time
        model.message().await;
        model.send(ok("{}")).await;
        drop(model);
        assert_eq!(caller.message().await.1, "{}");
        proxy.outcomes(&[("mirrored", f64::from(n_sent))]).await;
    }
}

#[tokio::test]
async fn a_request_that_was_written_is_never_sent_twice() {
    let upstream = Upstream::bind().await;
    let proxy = TestProxy::start(upstream.addr).await;
    let mut caller = proxy.connect().await;
    caller.send(predict("1")).await;
    let mut model = upstream.accept().await;
    model.message().await;
    model.send(ok("{}")).await;
    caller.message().await;
    caller.send(predict("2")).await;
    assert_eq!(model.message().await.1, "2");
    drop(model);
    assert!(caller.message().await.0.starts_with("HTTP/1.1 502 "));
}

#[tokio::test]
async fn an_answer_before_the_request_is_whole_reaches_the_caller() {
    let upstream = Upstream::bind().await;
    let proxy = TestProxy::start(upstream.addr).await;
    let mut caller = proxy.connect().await;
    caller.send(format!("POST {PREDICT} HTTP/1.1\r\nHost: iris\r\nContent-Length: 9\r\n\r\nhalf")).await;
    let mut model = upstream.accept().await;
    model.until("half").await;
    model.send("HTTP/1.1 413 Too Much\r\nconnection: close\r\ncontent-length: 2\r\n\r\nno").await;
    drop(model);
    let (head, body) = caller.message().await;
    assert!(head.starts_with("HTTP/1.1 413 Too Much\r\n"), "{head}");
    assert_eq!(body, "no");
    drop(caller);
    proxy.outcomes(&[("not_ok", 1.0)]).await;
}
