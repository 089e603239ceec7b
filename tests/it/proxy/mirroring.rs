//! What is copied, what is not, and that traffic does not notice.

use std::sync::Arc;

use super::harness::{PREDICT, TestProxy, Upstream, config, ok, predict};

async fn call(proxy: &TestProxy, request: &str, n_times: usize, answer: &str) {
    let mut caller = proxy.connect().await;
    for _ in 0..n_times {
        caller.send(request).await;
        assert_eq!(caller.message().await.1, answer);
    }
}

#[tokio::test]
async fn a_copy_is_both_bodies_with_route_status_and_encoding() {
    let answer = "HTTP/1.1 200 OK\r\ncontent-encoding: zstd\r\ncontent-length: 3\r\n\r\nzzz";
    let mut proxy = TestProxy::start(Upstream::bind().await.always(answer)).await;
    let request = format!(
        "POST {PREDICT} HTTP/1.1\r\nHost: iris\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\ngg"
    );
    call(&proxy, &request, 1, "zzz").await;
    let copied = proxy.exchange().await;
    assert_eq!(copied.route.as_ref().unwrap().model.as_deref(), Some("iris"));
    assert_eq!(copied.request.as_slice(), b"gg");
    assert_eq!(copied.request.headers.content_encoding(), Some("gzip"));
    assert_eq!(copied.response.as_slice(), b"zzz");
    assert_eq!(copied.response.headers.content_encoding(), Some("zstd"));
    assert_eq!(proxy.budget.held_bytes(), 5);
    drop(copied);
    assert_eq!(proxy.budget.held_bytes(), 0);
    proxy.outcomes(&[("mirrored", 1.0)]).await;
}

#[tokio::test]
async fn chance_decides_for_each_exchange() {
    let upstream = Upstream::bind().await.always(ok("{}"));
    for (sample_rate, expected) in [(0.0, 0..=0), (0.5, 400..=600), (1.0, 1000..=1000)] {
        let mut config = config(upstream);
        config.sample_rate = sample_rate;
        let proxy = TestProxy::with(config, 1000).await;
        call(&proxy, &predict("{}"), 1000, "{}").await;
        let n_mirrored = proxy.exchanges.len();
        assert!(expected.contains(&n_mirrored), "{n_mirrored} of 1000 at {sample_rate}"); // 0.5: over 6 sigma
        let n_mirrored = n_mirrored as f64;
        proxy.outcomes(&[("mirrored", n_mirrored), ("sampled_out", 1000.0 - n_mirrored)]).await;
    }
}

#[tokio::test]
async fn a_full_queue_never_fails_the_caller() {
    let proxy = TestProxy::with(config(Upstream::bind().await.always(ok("{}"))), 1).await;
    call(&proxy, &predict("{}"), 100, "{}").await;
    proxy.outcomes(&[("mirrored", 1.0), ("dropped", 99.0)]).await;
    assert_eq!(proxy.dropped("queue_full"), 99.0);
    assert_eq!(proxy.budget.held_bytes(), 4, "only what is queued is held");
}

#[tokio::test]
async fn a_pipeline_that_is_gone_never_fails_the_caller() {
    let mut proxy = TestProxy::start(Upstream::bind().await.always(ok("{}"))).await;
    proxy.exchanges.close();
    call(&proxy, &predict("{}"), 2, "{}").await;
    proxy.outcomes(&[("dropped", 2.0)]).await;
    assert_eq!(proxy.dropped("closing"), 2.0);
}

#[tokio::test]
async fn a_body_too_large_passes_without_a_copy() {
    let mut config = config(Upstream::bind().await.always(ok("a longer answer")));
    config.max_body_bytes = 8;
    let proxy = TestProxy::with(config, 8).await;
    call(&proxy, &predict("a longer question"), 1, "a longer answer").await;
    call(&proxy, &predict("short"), 1, "a longer answer").await;
    proxy.outcomes(&[("dropped", 2.0)]).await;
    assert_eq!(proxy.dropped("too_large"), 2.0);
    assert_eq!(proxy.budget.held_bytes(), 0);
}

#[tokio::test]
async fn a_body_that_proves_too_large_on_its_way_releases_what_was_copied() {
    let upstream = Upstream::bind().await;
    let mut config = config(upstream.addr);
    config.max_body_bytes = 8;
    let proxy = TestProxy::with(config, 8).await;
    let mut caller = proxy.connect().await;
    caller
        .send(format!(
            "POST {PREDICT} HTTP/1.1\r\nHost: iris\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nsixsix\r\n"
        ))
        .await;
    let mut model = upstream.accept().await;
    model.until("sixsix\r\n").await;
    assert!(proxy.budget.held_bytes() >= 6);
    caller.send("6\r\nsixsix\r\n").await;
    model.until("sixsix\r\n").await;
    assert_eq!(proxy.budget.held_bytes(), 0, "though the exchange goes on");
    caller.send("0\r\n\r\n").await;
    model.until("0\r\n\r\n").await;
    model.send(ok("{}")).await;
    caller.message().await;
    proxy.outcomes(&[("dropped", 1.0)]).await;
    assert_eq!(proxy.dropped("too_large"), 1.0);
}

#[tokio::test]
async fn copies_beyond_the_budget_are_dropped_and_the_traffic_is_not() {
    let mut config = config(Upstream::bind().await.always(ok("1234")));
    config.max_mirrored_bytes = 20;
    let proxy = TestProxy::with(config, 64).await;
    call(&proxy, &predict("123456"), 5, "1234").await; // ten bytes each, held by the queue
    proxy.outcomes(&[("mirrored", 2.0), ("dropped", 3.0)]).await;
    assert_eq!(proxy.dropped("over_budget"), 3.0);
    assert_eq!(proxy.budget.held_bytes(), 20);
}

#[tokio::test]
async fn slow_callers_cannot_take_more_than_the_budget() {
    const N_CALLERS: usize = 100;
    const BODY: usize = 256 << 10;
    const BUDGET: usize = 1 << 20;
    let mut config = config(Upstream::bind().await.always(ok("{}")));
    config.max_mirrored_bytes = BUDGET;
    let proxy = Arc::new(TestProxy::with(config, N_CALLERS).await);
    let mut callers = Vec::new();
    for _ in 0..N_CALLERS {
        let mut caller = proxy.connect().await;
        caller.send(format!("POST {PREDICT} HTTP/1.1\r\nHost: iris\r\nContent-Length: {BODY}\r\n\r\n")).await;
        callers.push(caller);
    }
    let part = vec![b'x'; BODY / 8];
    for _ in 0..8 {
        for caller in &mut callers {
            caller.send(&part).await;
            assert!(proxy.budget.held_bytes() <= BUDGET);
        }
    }
    for caller in &mut callers {
        assert_eq!(caller.message().await.1, "{}");
    }
    let n_mirrored = proxy.exchanges.len() as f64;
    proxy.outcomes(&[("mirrored", n_mirrored), ("dropped", N_CALLERS as f64 - n_mirrored)]).await;
    assert!(proxy.dropped("over_budget") >= 96.0, "the budget holds four of these bodies");
}

#[tokio::test]
async fn only_predictions_that_were_made_are_copied() {
    let answer = "HTTP/1.1 500 Oh\r\ncontent-length: 2\r\n\r\nno";
    let proxy = TestProxy::start(Upstream::bind().await.always(answer)).await;
    call(&proxy, &predict("{}"), 2, "no").await;
    call(&proxy, "GET /v1/models/iris HTTP/1.1\r\nHost: iris\r\n\r\n", 3, "no").await;
    proxy.outcomes(&[("not_ok", 2.0), ("unrecognised", 3.0)]).await;
    assert_eq!(proxy.exchanges.len(), 0);
    assert_eq!(proxy.budget.held_bytes(), 0);
}

#[tokio::test]
async fn an_empty_answer_is_a_copy_too() {
    let mut proxy = TestProxy::start(Upstream::bind().await.always(ok(""))).await;
    call(&proxy, &predict(""), 1, "").await;
    let copied = proxy.exchange().await;
    assert_eq!((copied.request.as_slice(), copied.response.as_slice()), (&b""[..], &b""[..]));
}
