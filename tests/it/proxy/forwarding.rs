//! What passes, unchanged.

use super::harness::{PREDICT, TestProxy, Upstream, ok, predict};

/// Sends `request`, expects `forwarded` at the upstream, answers `response`, expects `returned` at the caller.
async fn check(request: &str, forwarded: &str, response: &str, returned: &str) {
    let upstream = Upstream::bind().await;
    let proxy = TestProxy::start(upstream.addr).await;
    let mut caller = proxy.connect().await;
    caller.send(request).await;
    let mut model = upstream.accept().await;
    assert_eq!(model.exactly(forwarded.len()).await, forwarded);
    assert!(model.is_silent());
    model.send(response).await;
    assert_eq!(caller.exactly(returned.len()).await, returned);
    assert!(caller.is_silent());
}

async fn check_request(request: &str, forwarded: &str) {
    check(
        request,
        forwarded,
        "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
    )
    .await;
}

async fn check_response(response: &str, returned: &str) {
    let request = "GET /x HTTP/1.1\r\nHost: iris\r\n\r\n";
    check(request, request, response, returned).await;
}

#[tokio::test]
async fn headers_pass_in_their_case_order_and_number() {
    let request = "POST /V1/Models/iris:predict?a=%20b&c HTTP/1.1\r\nX-Request-Id: 7\r\nhOST: iris.prod\r\n\
                   content-length: 2\r\nAccept: a\r\nACCEPT: b\r\nAuthorization: Bearer t\r\nx-empty:\r\n\r\n{}";
    let response = "HTTP/1.1 200 Very Fine\r\nServer: uvicorn\r\nSet-Cookie: a=1\r\nset-cookie: b=2\r\n\
                    Content-LENGTH: 2\r\nX-Trace: \u{e9}\r\n\r\nok";
    check(request, request, response, response).await;
}

#[tokio::test]
async fn nothing_is_added() {
    check_request("GET / HTTP/1.1\r\nHost: iris\r\n\r\n", "GET / HTTP/1.1\r\nHost: iris\r\n\r\n").await;
    check_response("HTTP/1.1 204 No Content\r\n\r\n", "HTTP/1.1 204 No Content\r\n\r\n").await;
}

#[tokio::test]
async fn hop_by_hop_headers_end_here_and_the_order_of_the_rest_stays() {
    check_request(
        "GET / HTTP/1.1\r\nA: 1\r\nConnection: x-hop, keep-alive\r\nB: 2\r\nKeep-Alive: timeout=5\r\nX-Hop: h\r\n\
         Proxy-Connection: keep-alive\r\nHost: iris\r\nTE: gzip\r\nC: 3\r\nUpgrade: h2c\r\nD: 4\r\n\r\n",
        "GET / HTTP/1.1\r\nA: 1\r\nB: 2\r\nHost: iris\r\nC: 3\r\nD: 4\r\n\r\n",
    )
    .await;
    check_response(
        "HTTP/1.1 200 OK\r\nA: 1\r\nConnection: X-Hop\r\nKeep-Alive: timeout=5\r\nx-hop: h\r\nB: 2\r\n\
         content-length: 0\r\nC: 3\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: 1\r\nB: 2\r\ncontent-length: 0\r\nC: 3\r\n\r\n",
    )
    .await;
}

#[tokio::test]
async fn a_connection_header_cannot_take_away_the_framing() {
    check_request(
        "POST / HTTP/1.1\r\nHost: iris\r\nConnection: host, content-length\r\nContent-Length: 2\r\n\r\n{}",
        "POST / HTTP/1.1\r\nHost: iris\r\nContent-Length: 2\r\n\r\n{}",
    )
    .await;
}

#[tokio::test]
async fn te_trailers_stays() {
    check_request(
        "GET / HTTP/1.1\r\nHost: iris\r\nTE: trailers, deflate\r\nConnection: TE\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: iris\r\nTE: trailers\r\nConnection: te\r\n\r\n",
    )
    .await;
}

#[tokio::test]
async fn targets_pass_in_every_form() {
    for target in ["*", "http://elsewhere/x?y", "/a//b/../c?d=%7B{}|", "/?"] {
        let request = format!("OPTIONS {target} HTTP/1.1\r\nHost: iris\r\n\r\n");
        check_request(&request, &request).await;
    }
}

#[tokio::test]
async fn connect_is_refused() {
    let upstream = Upstream::bind().await;
    let proxy = TestProxy::start(upstream.addr).await;
    let mut caller = proxy.connect().await;
    caller.send("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n").await;
    let (head, body) = caller.message().await;
    assert!(head.starts_with("HTTP/1.1 501 "), "{head}");
    assert!(body.contains("driftd: CONNECT is not supported"), "{body}");
    proxy.outcomes(&[("unrecognised", 1.0)]).await;
}

#[tokio::test]
async fn chunked_bodies_and_their_trailers_pass_both_ways() {
    check(
        "POST / HTTP/1.1\r\nHost: iris\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n\
         3\r\nabc\r\n0\r\nX-Sum: 9\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: iris\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n\
         3\r\nabc\r\n0\r\nx-sum: 9\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n4\r\ndefg\r\n0\r\nx-sum: 8\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n4\r\ndefg\r\n0\r\nx-sum: 8\r\n\r\n",
    )
    .await;
}

#[tokio::test]
async fn a_get_with_a_chunked_body_keeps_it() {
    let request = "GET / HTTP/1.1\r\nHost: iris\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n";
    check_request(request, request).await;
}

#[tokio::test]
async fn a_length_beside_a_transfer_coding_is_taken_away() {
    check(
        "POST / HTTP/1.1\r\nHost: iris\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: iris\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n", // it may have been smuggling (RFC 9112 §6.1)
    )
    .await;
    check_response(
        "HTTP/1.1 200 OK\r\ncontent-length: 9\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    )
    .await;
}

#[tokio::test]
async fn answers_without_a_body_keep_their_length_line() {
    let head = "HEAD / HTTP/1.1\r\nHost: iris\r\n\r\n";
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 1234\r\nx: y\r\n\r\n";
    check(head, head, answer, answer).await;
    let not_modified = "HTTP/1.1 304 Not Modified\r\ncontent-length: 1234\r\netag: \"1\"\r\n\r\n";
    check_response(not_modified, not_modified).await;
    check_response(
        "HTTP/1.1 304 Not Modified\r\netag: \"1\"\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\netag: \"1\"\r\n\r\n",
    )
    .await;
}

#[tokio::test]
async fn errors_of_the_upstream_pass_untouched() {
    let answer = "HTTP/1.1 503 Busy\r\nRetry-After: 1\r\ncontent-length: 5\r\n\r\nlater";
    check(&predict("{}"), &predict("{}"), answer, answer).await;
}

#[tokio::test]
async fn a_body_that_ends_with_its_connection_gets_chunks() {
    let upstream = Upstream::bind().await;
    let proxy = TestProxy::start(upstream.addr).await;
    let mut caller = proxy.connect().await;
    caller.send("GET / HTTP/1.1\r\nHost: iris\r\n\r\n").await;
    let mut model = upstream.accept().await;
    model.head().await;
    model.send("HTTP/1.1 200 OK\r\n\r\nabc").await;
    drop(model);
    assert_eq!(caller.head().await, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
    assert_eq!(caller.until("0\r\n\r\n").await, "3\r\nabc\r\n0\r\n\r\n");
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order_on_one_upstream_connection() {
    let upstream = Upstream::bind().await;
    let mut proxy = TestProxy::start(upstream.addr).await;
    let mut caller = proxy.connect().await;
    caller.send([predict("1"), predict("22"), predict("333")].concat()).await;
    let mut model = upstream.accept().await;
    for (body, answer) in [("1", "a"), ("22", "bb"), ("333", "ccc")] {
        assert_eq!(model.message().await.1, body);
        model.send(ok(answer)).await;
        assert_eq!(
            caller.message().await,
            (ok("").replace(": 0", &format!(": {}", answer.len())), answer.into())
        );
        let copied = proxy.exchange().await;
        assert_eq!(
            (copied.request.as_slice(), copied.response.as_slice()),
            (body.as_bytes(), answer.as_bytes())
        );
    }
    proxy.outcomes(&[("mirrored", 3.0)]).await;
}

#[tokio::test]
async fn a_caller_of_http_1_0_is_answered_in_its_version_and_closed() {
    let upstream = Upstream::bind().await;
    let proxy = TestProxy::start(upstream.addr).await;
    let mut caller = proxy.connect().await;
    caller.send("GET /x HTTP/1.0\r\n\r\n").await;
    let mut model = upstream.accept().await;
    assert_eq!(model.head().await, format!("GET /x HTTP/1.1\r\nhost: {}\r\n\r\n", upstream.addr));
    model.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n").await;
    assert_eq!(caller.rest().await, "HTTP/1.0 200 OK\r\n\r\nabc");
}

#[tokio::test]
async fn a_model_server_of_http_1_0_is_passed_on_as_1_1() {
    let upstream = Upstream::bind().await;
    let proxy = TestProxy::start(upstream.addr).await;
    let mut caller = proxy.connect().await;
    caller.send(predict("{}")).await;
    let mut model = upstream.accept().await;
    model.message().await;
    model.send("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}").await;
    drop(model);
    assert_eq!(caller.message().await.0, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n");
}

#[tokio::test]
async fn an_upgraded_connection_carries_anything_both_ways() {
    let upstream = Upstream::bind().await;
    let proxy = TestProxy::start(upstream.addr).await;
    let mut caller = proxy.connect().await;
    let request = "GET /ws HTTP/1.1\r\nHost: iris\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Key: k\r\n\r\n";
    caller.send(request.replace("Connection: upgrade", "Connection: keep-alive, Upgrade")).await;
    let mut model = upstream.accept().await;
    assert_eq!(model.head().await, request);
    let accepted = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n";
    model.send([accepted, "first"].concat()).await;
    assert_eq!(caller.head().await, accepted);
    assert_eq!(caller.exactly(5).await, "first");
    for _ in 0..3 {
        caller.send("\0ping").await;
        assert_eq!(model.exactly(5).await, "\0ping");
        model.send("pong\0").await;
        assert_eq!(caller.exactly(5).await, "pong\0");
    }
    drop(caller);
    assert_eq!(model.rest().await, "");
    proxy.outcomes(&[("unrecognised", 1.0)]).await;
}

#[tokio::test]
async fn a_refused_upgrade_is_an_ordinary_answer() {
    let upstream = Upstream::bind().await;
    let proxy = TestProxy::start(upstream.addr).await;
    let mut caller = proxy.connect().await;
    caller.send("GET /ws HTTP/1.1\r\nHost: iris\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n").await;
    let mut model = upstream.accept().await;
    model.head().await;
    model.send("HTTP/1.1 426 Upgrade Required\r\nUpgrade: h2c\r\nConnection: Upgrade\r\ncontent-length: 2\r\n\r\nno").await;
    let (head, body) = caller.message().await;
    assert_eq!(
        head,
        "HTTP/1.1 426 Upgrade Required\r\nUpgrade: h2c\r\nConnection: upgrade\r\ncontent-length: 2\r\n\r\n"
    );
    assert_eq!(body, "no");
}

#[tokio::test]
async fn an_upstream_connection_is_used_again_by_other_callers() {
    let upstream = Upstream::bind().await;
    let proxy = TestProxy::start(upstream.addr).await;
    let mut first = proxy.connect().await;
    first.send(predict("1")).await;
    let mut model = upstream.accept().await;
    model.message().await;
    model.send(ok("a")).await;
    first.message().await;
    let mut second = proxy.connect().await;
    second.send(format!("GET {PREDICT} HTTP/1.1\r\nHost: iris\r\n\r\n")).await;
    assert!(model.head().await.starts_with("GET "));
}
