//! Many HTTP/2 streams at once, and how one of them ends without the others: limits, flow control, GOAWAY, resets.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use h2::Reason;
use h2::server::SendResponse;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body::{Body as _, Frame};
use http_body_util::BodyExt;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Barrier;
use tokio::time::timeout;

use super::harness::{PATIENCE, PREDICT, TestProxy, Upstream};
use super::http2::{connect, data, echo_server, fed, request};

/// A server whose streams are in the hands of `answer`.
async fn server<F, A>(answer: F) -> SocketAddr
where
    F: Fn(Request<h2::RecvStream>, SendResponse<Bytes>) -> A + Clone + Send + 'static,
    A: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                let Ok(mut connection) = h2::server::handshake(stream).await else { return };
                while let Some(Ok((request, respond))) = connection.accept().await {
                    tokio::spawn(answer(request, respond));
                }
            });
        }
    });
    addr
}

/// More than any one connection to a server with the usual limits takes.
#[tokio::test]
async fn a_thousand_streams_of_one_caller_are_open_at_once() {
    const N_STREAMS: usize = 1000;
    let proxy = TestProxy::start(echo_server("0").await).await;
    let (sender, _connection) = connect(&proxy).await;
    let all_are_open = Arc::new(Barrier::new(N_STREAMS));
    let talks: Vec<_> = (0..N_STREAMS)
        .map(|_| {
            let (mut sender, all_are_open) = (sender.clone(), Arc::clone(&all_are_open));
            tokio::spawn(async move {
                let (frames, body) = fed();
                let mut response = sender.send_request(request("/grpc.Chat/Talk", body)).await.unwrap();
                for said in ["one", "two"] {
                    frames.send(data(said)).await.unwrap();
                    assert_eq!(response.frame().await.unwrap().unwrap().into_data().unwrap(), said);
                    all_are_open.wait().await;
                }
                drop(frames);
                assert!(response.frame().await.unwrap().unwrap().is_trailers());
            })
        })
        .collect();
    for talk in talks {
        timeout(PATIENCE * 3, talk).await.expect("no stream waits for another").unwrap();
    }
    proxy.outcomes(&[("unrecognised", N_STREAMS as f64)]).await;
}

/// Each of them keeps back a window's worth in the proxy, together many times what one connection used to have.
#[tokio::test]
async fn callers_that_do_not_read_hold_up_nobody_else() {
    const LEN: usize = 1 << 20;
    let long = server(|_, mut respond: SendResponse<Bytes>| async move {
        let mut body = respond.send_response(Response::new(()), false).unwrap();
        body.send_data(Bytes::from(vec![b'x'; LEN]), true).unwrap();
        // Held until all is sent, as dropping it would reset the stream.
        let _ = std::future::poll_fn(|cx| body.poll_reset(cx)).await;
    });
    let proxy = TestProxy::start(long.await).await;
    let mut held = Vec::new();
    for _ in 0..40 {
        let io = TokioIo::new(TcpStream::connect(proxy.addr).await.unwrap());
        let (mut sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(1024)
            .handshake(io)
            .await
            .unwrap();
        tokio::spawn(connection);
        let opening = async {
            let mut response = sender.send_request(request("/slow", fed().1)).await.unwrap();
            // The first bytes are there; the window is not given back before the next are asked for.
            (response.frame().await.unwrap().unwrap(), response)
        };
        let (first, response) = timeout(PATIENCE, opening).await.expect("not held up by the ones before");
        held.push((first, response, sender));
    }
    let (mut sender, _connection) = connect(&proxy).await;
    let reading = async {
        let response = sender.send_request(request("/fast", fed().1)).await.unwrap();
        response.into_body().collect().await.unwrap().to_bytes().len()
    };
    assert_eq!(timeout(PATIENCE, reading).await.expect("the reader is not held up"), LEN);
}

#[tokio::test]
async fn messages_of_64_mib_pass_both_ways_at_once() {
    let proxy = TestProxy::start(echo_server("0").await).await;
    let (mut sender, _connection) = connect(&proxy).await;
    let (frames, body) = fed();
    let chunk = |number: u8| Bytes::from(vec![number; 1 << 20]);
    let sending = tokio::spawn(async move {
        for number in 0..64 {
            frames.send(Frame::data(chunk(number))).await.unwrap();
        }
    });
    let response = sender.send_request(request(PREDICT, body)).await.unwrap();
    let echoed = response.into_body().collect().await.unwrap();
    sending.await.unwrap();
    assert_eq!(echoed.trailers().unwrap()["grpc-status"], "0");
    let bytes = echoed.to_bytes();
    assert_eq!(bytes.len(), 64 << 20);
    for (number, echoed) in (0_u8..).zip(bytes.chunks(1 << 20)) {
        assert!(*echoed == *chunk(number), "MiB {number} came back changed");
    }
    proxy.outcomes(&[("dropped", 1.0)]).await;
    assert_eq!((proxy.dropped("too_large"), proxy.budget.held_bytes()), (1.0, 0));
}

#[tokio::test]
async fn a_trailers_only_response_passes_as_it_came() {
    let refusing = server(|_, mut respond: SendResponse<Bytes>| async move {
        let head = Response::builder().header("grpc-status", "5").header("grpc-message", "no such model");
        respond.send_response(head.body(()).unwrap(), true).unwrap();
    });
    let proxy = TestProxy::start(refusing.await).await;
    let (mut sender, _connection) = connect(&proxy).await;
    let response = sender.send_request(request(PREDICT, fed().1)).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["grpc-status"], "5");
    assert_eq!(response.headers()["grpc-message"], "no such model");
    assert!(response.body().is_end_stream(), "one HEADERS frame, as the server sent it");
    proxy.outcomes(&[("not_ok", 1.0)]).await;
}

#[tokio::test]
async fn the_servers_reset_reaches_the_caller_with_its_code() {
    // Once the caller has its half: a reset takes back what is not sent yet.
    let resetting = server(|request: Request<h2::RecvStream>, mut respond: SendResponse<Bytes>| async move {
        let mut body = respond.send_response(Response::new(()), false).unwrap();
        body.send_data(Bytes::from_static(b"half"), false).unwrap();
        request.into_body().data().await.unwrap().unwrap();
        body.send_reset(Reason::ENHANCE_YOUR_CALM);
    });
    let proxy = TestProxy::start(resetting.await).await;
    let stream = TcpStream::connect(proxy.addr).await.unwrap();
    let (mut sender, connection) = h2::client::handshake(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = Request::post(format!("http://iris{PREDICT}")).body(()).unwrap();
    let (response, mut upload) = sender.send_request(request, false).unwrap();
    let mut body = response.await.unwrap().into_body();
    assert_eq!(body.data().await.unwrap().unwrap(), "half");
    upload.send_data(Bytes::from_static(b"go on"), false).unwrap();
    let error = body.data().await.expect("no clean end").unwrap_err();
    assert_eq!(error.reason(), Some(Reason::ENHANCE_YOUR_CALM));
    proxy.outcomes(&[("upstream_failed", 1.0)]).await;
    assert!(!connection.is_finished(), "the caller's connection and its other streams go on");
}

#[tokio::test]
async fn the_callers_reset_reaches_the_server_with_its_code() {
    let (told, mut reasons) = tokio::sync::mpsc::channel(2);
    let listening = server(move |request: Request<h2::RecvStream>, mut respond: SendResponse<Bytes>| {
        let told = told.clone();
        async move {
            let mut body = respond.send_response(Response::new(()), false).unwrap();
            let mut request = request.into_body();
            let upload = loop {
                match request.data().await {
                    Some(Ok(_)) => (),
                    Some(Err(error)) => break error.reason(),
                    None => break None,
                }
            };
            told.send(upload).await.unwrap();
            told.send(std::future::poll_fn(|cx| body.poll_reset(cx)).await.ok()).await.unwrap();
        }
    });
    let proxy = TestProxy::start(listening.await).await;
    let stream = TcpStream::connect(proxy.addr).await.unwrap();
    let (mut sender, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let request = Request::post(format!("http://iris{PREDICT}")).body(()).unwrap();
    let (response, mut upload) = sender.send_request(request, false).unwrap();
    upload.send_data(Bytes::from_static(b"half"), false).unwrap();
    response.await.unwrap();
    upload.send_reset(Reason::CANCEL);
    let mut next = async || timeout(PATIENCE, reasons.recv()).await.expect("in time").unwrap();
    assert_eq!(next().await, Some(Reason::CANCEL));
    assert_eq!(next().await, Some(Reason::CANCEL));
    proxy.outcomes(&[("downstream_gone", 1.0)]).await;
}

/// A server that restarts or rotates its connections: what it has begun it ends, what comes after goes elsewhere.
#[tokio::test]
async fn after_goaway_streams_go_on_and_new_ones_take_a_new_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = TestProxy::start(listener.local_addr().unwrap()).await;
    let accept = async || loop {
        let (stream, _) = listener.accept().await.unwrap();
        if stream.peek(&mut [0]).await.is_ok_and(|n_bytes| n_bytes > 0) {
            return h2::server::handshake(stream).await.unwrap(); // the others are probes
        }
    };
    let (mut sender, _connection) = connect(&proxy).await;
    let first = tokio::spawn(sender.send_request(request("/first", fed().1)));
    let mut old = accept().await;
    let (_, mut respond) = old.accept().await.unwrap().unwrap();
    let mut body = respond.send_response(Response::new(()), false).unwrap();
    old.graceful_shutdown();
    let going = tokio::spawn(async move {
        assert!(old.accept().await.is_none_or(|next| next.is_err()), "a stream came after GOAWAY");
    });
    let mut response = first.await.unwrap().unwrap();
    body.send_data(Bytes::from_static(b"begun"), false).unwrap();
    assert_eq!(response.frame().await.unwrap().unwrap().into_data().unwrap(), "begun");

    let second = tokio::spawn(sender.send_request(request("/second", fed().1)));
    let mut new = timeout(PATIENCE, accept()).await.expect("a new connection");
    let (_, mut respond_second) = new.accept().await.unwrap().unwrap();
    respond_second.send_response(Response::builder().status(204).body(()).unwrap(), true).unwrap();
    tokio::spawn(async move { while let Some(Ok(_)) = new.accept().await {} });
    assert_eq!(second.await.unwrap().unwrap().status(), StatusCode::NO_CONTENT);

    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    body.send_trailers(trailers).unwrap();
    assert!(response.frame().await.unwrap().unwrap().is_trailers(), "what was begun has ended well");
    timeout(PATIENCE, going).await.expect("the old connection closes").unwrap();
}

/// h2spec's one finding that is ours: on a port for both versions, what is no HTTP/2 preface is an HTTP/1.1 request.
#[tokio::test]
async fn a_broken_preface_is_a_bad_http1_request() {
    let proxy = TestProxy::start(Upstream::bind().await.addr).await;
    let mut caller = proxy.connect().await;
    caller.send("INVALID CONNECTION PREFACE\r\n\r\n").await;
    assert!(caller.rest().await.starts_with("HTTP/1.1 400 "));
}
