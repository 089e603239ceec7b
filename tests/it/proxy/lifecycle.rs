//! Starting, being ready, and ending without cutting anybody off.

use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

use super::harness::{PATIENCE, PREDICT, Peer, TestProxy, Upstream, config, ok, predict};

#[tokio::test]
async fn a_request_in_flight_is_completed_on_stop() {
    let upstream = Upstream::bind().await;
    let proxy = TestProxy::start(upstream.addr).await;
    let mut idle = proxy.connect().await;
    idle.send(predict("{}")).await;
    let mut model = upstream.accept().await;
    model.message().await;
    model.send(ok("{}")).await;
    idle.message().await;
    let mut caller = proxy.connect().await;
    caller.send(predict("{}")).await;
    model.message().await;

    proxy.stop.cancel();
    assert_eq!(idle.rest().await, "", "an idle connection is closed at once");
    while TcpStream::connect(proxy.addr).await.is_ok() {
        sleep(Duration::from_millis(1)).await;
    }
    assert!(!proxy.running.is_finished());
    model.send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfi").await;
    model.send("ne").await;
    assert_eq!(caller.rest().await, "HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\nfine");
    timeout(PATIENCE, proxy.running).await.expect("drained").unwrap();
}

#[tokio::test]
async fn with_stop_after_upstream_a_caller_finds_the_proxy_for_as_long_as_the_server_is_there() {
    let mut config = config("127.0.0.1:1".parse().unwrap());
    config.stop_after_upstream = true;
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    config.upstream = server.local_addr().unwrap().to_string().parse().unwrap();
    let proxy = TestProxy::with(config, 64).await;
    let mut idle = proxy.connect().await;
    idle.send("GET / HTTP/1.1\r\nHost: iris\r\n\r\n").await;
    answer(&server).await;
    assert!(idle.message().await.0.starts_with("HTTP/1.1 200 OK"));

    proxy.stop.cancel();
    assert_eq!(
        idle.rest().await,
        "",
        "an idle connection is closed at once, so that its caller goes elsewhere"
    );
    for _ in 0..3 {
        let mut late = proxy.connect().await;
        late.send("GET / HTTP/1.1\r\nHost: iris\r\n\r\n").await;
        answer(&server).await;
        let answer = late.rest().await;
        assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.contains("connection: close"), "{answer}");
    }
    assert!(!proxy.running.is_finished());
    drop(server);
    timeout(PATIENCE, proxy.running).await.expect("it ends after the server").unwrap();
    assert!(TcpStream::connect(proxy.addr).await.is_err());
}

/// Answers one request, whichever of the connections it comes on: others only look whether somebody is there.
async fn answer(server: &TcpListener) {
    loop {
        let mut peer = Peer::new(server.accept().await.unwrap().0);
        let mut first = [0];
        if peer.stream.peek(&mut first).await.unwrap_or(0) > 0 {
            peer.head().await;
            return peer.send(ok("{}")).await;
        }
    }
}

#[tokio::test]
async fn a_tunnel_lasts_until_the_grace_period_ends() {
    let upstream = Upstream::bind().await;
    let proxy = TestProxy::start(upstream.addr).await;
    let mut caller = proxy.connect().await;
    caller.send("GET / HTTP/1.1\r\nHost: iris\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n").await;
    let mut model = upstream.accept().await;
    model.head().await;
    model.send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n").await;
    caller.head().await;
    proxy.stop.cancel();
    model.send("still").await;
    assert_eq!(caller.exactly(5).await, "still");
    assert!(!proxy.running.is_finished());
    proxy.running.abort(); // what the end of a grace period does: the future is dropped
    assert_eq!(caller.rest().await, "");
    assert_eq!(model.rest().await, "");
}

#[tokio::test]
async fn connections_that_outlast_the_grace_period_are_closed() {
    let upstream = Upstream::bind().await;
    let proxy = TestProxy::start(upstream.addr).await;
    let mut caller = proxy.connect().await;
    caller.send(predict("{}")).await;
    let mut model = upstream.accept().await;
    model.message().await;
    proxy.running.abort();
    assert_eq!(caller.rest().await, "");
    assert_eq!(model.rest().await, "");
}

#[tokio::test]
async fn readiness_follows_the_upstream() {
    let upstream = Upstream::bind().await;
    let addr = upstream.addr;
    drop(upstream);
    let proxy = TestProxy::start(addr).await;
    assert!(!proxy.health.is_reachable());
    let upstream = tokio::net::TcpListener::bind(addr).await.unwrap();
    let reachable = async |wanted: bool| {
        while proxy.health.is_reachable() != wanted {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, reachable(true)).await.expect("the probe sees it come");
    drop(upstream);
    timeout(PATIENCE, reachable(false)).await.expect("the probe sees it go");
}

/// Time is paused: it leaps to the next timer whenever nothing else can happen.
#[tokio::test(start_paused = true)]
async fn callers_that_never_finish_a_head_are_closed() {
    let proxy = TestProxy::start(Upstream::bind().await.always(ok("{}"))).await;
    for said in ["", "PRI * HT", "POST / HTTP/1.1\r\nHost: i"] {
        let mut caller = proxy.connect().await;
        caller.send(said).await;
        let mut rest = Vec::new();
        caller.stream.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"", "{said:?}");
    }
}

#[tokio::test]
async fn a_slow_head_and_a_slow_body_are_served() {
    let proxy = TestProxy::start(Upstream::bind().await.always(ok("{}"))).await;
    let mut caller = proxy.connect().await;
    for byte in format!("POST {PREDICT} HTTP/1.1\r\nHost: iris\r\nContent-Length: 2\r\n\r\n{{}}").as_bytes() {
        caller.send([*byte]).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(caller.message().await.1, "{}");
    proxy.outcomes(&[("mirrored", 1.0)]).await;
}

#[tokio::test]
async fn callers_that_were_not_accepted_yet_are_answered_on_stop() {
    let upstream = Upstream::bind().await;
    let proxy = TestProxy::start(upstream.addr).await;
    // In one thread, without a pause to let the proxy run: the kernel takes both in, and the proxy hears of the stop first.
    let connect = || std::net::TcpStream::connect(proxy.addr).unwrap();
    let (asking, silent) = (connect(), connect());
    std::io::Write::write_all(&mut &asking, predict("{}").as_bytes()).unwrap();
    proxy.stop.cancel();
    let mut model = upstream.accept().await;
    model.message().await;
    model.send(ok("{}")).await;
    let peer = |stream: std::net::TcpStream| {
        stream.set_nonblocking(true).unwrap();
        super::harness::Peer::new(TcpStream::from_std(stream).unwrap())
    };
    let answer = peer(asking).rest().await;
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.contains("connection: close"), "{answer}");
    assert_eq!(peer(silent).rest().await, "", "who asks for nothing is let go");
    timeout(PATIENCE, proxy.running).await.expect("drained").unwrap();
}
