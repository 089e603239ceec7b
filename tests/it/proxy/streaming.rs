//! Bodies of any size pass at the pace of the slower side, in little memory.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::harness::{PREDICT, TestProxy, Upstream};

const CHUNK: usize = 256 * 1024;
const HALF_A_GIB: usize = 512 << 20;

fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

async fn write_all_of(mut stream: impl AsyncWriteExt + Unpin, n_bytes: usize) {
    let chunk = vec![b'x'; CHUNK];
    for _ in 0..n_bytes / CHUNK {
        stream.write_all(&chunk).await.unwrap();
    }
}

async fn count_all_of(mut stream: impl AsyncReadExt + Unpin, n_bytes: usize) {
    let mut chunk = vec![0; CHUNK];
    let mut n_seen = 0;
    while n_seen < n_bytes {
        let n_read = stream.read(&mut chunk).await.unwrap();
        assert!(n_read > 0, "cut after {n_seen} bytes");
        n_seen += n_read;
    }
    assert_eq!(n_seen, n_bytes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gibibyte_passes_through_a_few_kilobytes() {
    let upstream = Upstream::bind().await;
    let proxy = TestProxy::start(upstream.addr).await;
    let mut caller = proxy.connect().await;
    let before = resident_bytes();
    let head = format!("POST {PREDICT} HTTP/1.1\r\nHost: iris\r\nContent-Length: {HALF_A_GIB}\r\n\r\n");
    caller.send(head).await;
    let mut model = upstream.accept().await;
    model.head().await;
    tokio::join!(write_all_of(&mut caller.stream, HALF_A_GIB), count_all_of(&mut model.stream, HALF_A_GIB));
    model.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {HALF_A_GIB}\r\n\r\n")).await;
    caller.head().await;
    tokio::join!(write_all_of(&mut model.stream, HALF_A_GIB), count_all_of(&mut caller.stream, HALF_A_GIB));
    // Other tests run in this process too; a proxy that buffers would grow by hundreds of MiB.
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < 100 << 20, "grew by {grown} bytes");
    proxy.outcomes(&[("dropped", 1.0)]).await;
    assert_eq!(proxy.dropped("too_large"), 1.0);
}

#[tokio::test]
async fn a_caller_that_does_not_read_holds_the_upstream_back() {
    let upstream = Upstream::bind().await;
    let proxy = TestProxy::start(upstream.addr).await;
    let mut caller = proxy.connect().await;
    caller.send("GET / HTTP/1.1\r\nHost: iris\r\n\r\n").await;
    let mut model = upstream.accept().await;
    model.head().await;
    model.send("HTTP/1.1 200 OK\r\n\r\n").await;
    let n_taken = written_until_stuck(&mut model.stream).await;
    // What the kernel holds in the four sockets on the way, up to 4 + 6 MiB a pair by default.
    assert!(n_taken < 48 << 20, "{n_taken} bytes went somewhere");
}

async fn written_until_stuck(stream: &mut TcpStream) -> usize {
    let chunk = vec![b'x'; CHUNK];
    let mut n_written = 0;
    while let Ok(written) = timeout(Duration::from_millis(300), stream.write(&chunk)).await {
        n_written += written.unwrap();
        assert!(n_written < 1 << 30, "there is no end to it");
    }
    n_written
}

#[tokio::test]
async fn both_directions_flow_at_once() {
    let upstream = Upstream::bind().await;
    let mut proxy = TestProxy::start(upstream.addr).await;
    let mut caller = proxy.connect().await;
    let chunked = "Transfer-Encoding: chunked\r\n\r\n";
    caller.send(format!("POST {PREDICT} HTTP/1.1\r\nHost: iris\r\n{chunked}")).await;
    let mut model = upstream.accept().await;
    model.head().await;
    model.send(format!("HTTP/1.1 200 OK\r\n{chunked}")).await;
    caller.head().await;
    for _ in 0..3 {
        caller.send("2\r\nhi\r\n").await;
        assert_eq!(model.exactly(7).await, "2\r\nhi\r\n");
        model.send("3\r\nyes\r\n").await;
        assert_eq!(caller.exactly(8).await, "3\r\nyes\r\n");
    }
    model.send("0\r\n\r\n").await;
    assert_eq!(caller.exactly(5).await, "0\r\n\r\n");
    caller.send("0\r\n\r\n").await;
    assert_eq!(model.exactly(5).await, "0\r\n\r\n");
    let copied = proxy.exchange().await;
    assert_eq!((copied.request.as_slice(), copied.response.as_slice()), (&b"hihihi"[..], &b"yesyesyes"[..]));
}

/// A caller may send everything before it reads anything, though the model server answers from the first byte on.
#[tokio::test]
async fn an_unread_answer_does_not_hold_up_the_request() {
    const ANSWER: usize = 64 << 20;
    let upstream = Upstream::bind().await;
    let proxy = TestProxy::start(upstream.addr).await;
    let mut caller = proxy.connect().await;
    caller.send("POST / HTTP/1.1\r\nHost: iris\r\nContent-Length: 67108864\r\n\r\n").await;
    let mut model = upstream.accept().await;
    model.head().await;
    model.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {ANSWER}\r\n\r\n")).await;
    let (reading, writing) = model.stream.split();
    let serving = async { tokio::join!(count_all_of(reading, ANSWER), write_all_of(writing, ANSWER)) };
    let calling = async {
        write_all_of(&mut caller.stream, ANSWER).await;
        caller.head().await;
        let n_left = ANSWER - caller.n_ahead();
        count_all_of(&mut caller.stream, n_left).await;
    };
    timeout(super::harness::PATIENCE, async { tokio::join!(serving, calling) }).await.expect("no deadlock");
}

#[tokio::test]
async fn events_pass_one_by_one() {
    let upstream = Upstream::bind().await;
    let proxy = TestProxy::start(upstream.addr).await;
    let mut caller = proxy.connect().await;
    caller.send("GET /v1/chat HTTP/1.1\r\nHost: iris\r\nAccept: text/event-stream\r\n\r\n").await;
    let mut model = upstream.accept().await;
    model.head().await;
    model.send("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n").await;
    caller.head().await;
    for _ in 0..3 {
        model.send("data: token\n\n").await;
        assert_eq!(caller.until("\n\n\r\n").await, "D\r\ndata: token\n\n\r\n");
    }
}
