//! gRPC streams: what is forwarded is the stream, what is counted is every pair of messages, while it lasts.

use std::net::SocketAddr;

use bytes::Bytes;
use driftd::pipeline::Exchange;
use http_body::Frame;
use http_body_util::BodyExt;
use hyper::client::conn::http2::SendRequest;

use super::harness::{TestProxy, config};
use super::http2::{Fed, connect, data, echo_server, fed, request};

const STREAM: &str = "/inference.GRPCInferenceService/ModelStreamInfer";

fn framed(message: &[u8]) -> Vec<u8> {
    let len = u32::try_from(message.len()).unwrap();
    [&[0][..], &len.to_be_bytes(), message].concat()
}

fn bytes(exchange: &Exchange) -> (&[u8], &[u8]) {
    (exchange.request.as_slice(), exchange.response.as_slice())
}

/// A stream to a server that answers each message with itself.
async fn open(
    sender: &mut SendRequest<Fed>,
) -> (tokio::sync::mpsc::Sender<Frame<Bytes>>, hyper::body::Incoming) {
    let (frames, body) = fed();
    let response = sender.send_request(request(STREAM, body)).await.unwrap();
    (frames, response.into_body())
}

#[tokio::test]
async fn every_message_is_counted_while_the_stream_goes_on() {
    let mut proxy = TestProxy::start(echo_server("0").await).await;
    let (mut sender, _connection) = connect(&proxy).await;
    let (frames, mut response) = open(&mut sender).await;
    for said in ["one", "", "three"] {
        let message = framed(said.as_bytes());
        // Cut within the head, as DATA frames may be.
        let (head, rest) = message.split_at(3);
        for part in [head, rest] {
            frames.send(Frame::data(Bytes::copy_from_slice(part))).await.unwrap();
            assert_eq!(response.frame().await.unwrap().unwrap().into_data().unwrap(), part);
        }
        assert_eq!(bytes(&proxy.exchange().await), (&*message, &*message));
    }
    proxy.outcomes(&[("mirrored", 3.0)]).await;
    assert_eq!(proxy.budget.held_bytes(), 0);
    drop(frames);
    assert!(response.frame().await.unwrap().unwrap().is_trailers());
    drop(response);
    drop(sender);
    proxy.stop.cancel();
    (&mut proxy.running).await.unwrap();
    proxy.outcomes(&[("mirrored", 3.0)]).await; // and the end of the stream counts for nothing
}

#[tokio::test]
async fn a_stream_may_be_longer_than_a_copy_and_one_message_may_not() {
    let mut config = config(echo_server("0").await);
    config.max_body_bytes = 1000;
    config.max_mirrored_bytes = 4000;
    let mut proxy = TestProxy::with(config, 64).await;
    let (mut sender, _connection) = connect(&proxy).await;
    let (frames, mut response) = open(&mut sender).await;
    for number in 0..100_u8 {
        let len = if number == 50 { 2000 } else { 500 };
        let message = framed(&vec![number; len]);
        frames.send(Frame::data(message.clone().into())).await.unwrap();
        let mut heard = Vec::new();
        while heard.len() < message.len() {
            heard.extend(response.frame().await.unwrap().unwrap().into_data().unwrap());
        }
        assert!(heard == message, "message {number} came back changed");
        if number != 50 {
            assert_eq!(bytes(&proxy.exchange().await), (&*message, &*message));
        }
    }
    proxy.outcomes(&[("mirrored", 99.0), ("dropped", 1.0)]).await;
    assert_eq!(proxy.dropped("too_large"), 1.0);
    assert_eq!(proxy.budget.held_bytes(), 0);
}

#[tokio::test]
async fn a_stream_that_fails_keeps_what_it_has_counted() {
    let mut proxy = TestProxy::start(echo_server("13").await).await;
    let (mut sender, _connection) = connect(&proxy).await;
    let (frames, mut response) = open(&mut sender).await;
    let message = framed(b"question");
    frames.send(Frame::data(message.clone().into())).await.unwrap();
    response.frame().await.unwrap().unwrap();
    assert_eq!(bytes(&proxy.exchange().await), (&*message, &*message));
    drop(frames);
    response.collect().await.unwrap();
    proxy.outcomes(&[("mirrored", 1.0), ("not_ok", 1.0)]).await;
}

#[tokio::test]
async fn a_caller_that_hangs_up_keeps_what_was_counted() {
    let mut proxy = TestProxy::start(echo_server("0").await).await;
    let (mut sender, _connection) = connect(&proxy).await;
    let (frames, mut response) = open(&mut sender).await;
    frames.send(Frame::data(framed(b"question").into())).await.unwrap();
    response.frame().await.unwrap().unwrap();
    proxy.exchange().await;
    drop(response);
    drop(frames);
    proxy.outcomes(&[("mirrored", 1.0), ("downstream_gone", 1.0)]).await;
    assert_eq!(proxy.budget.held_bytes(), 0);
}

#[tokio::test]
async fn what_is_no_stream_of_messages_is_passed_on_and_told() {
    let proxy = TestProxy::start(echo_server("0").await).await;
    let (mut sender, _connection) = connect(&proxy).await;
    let (frames, mut response) = open(&mut sender).await;
    for said in ["hello, who", " is there?"] {
        frames.send(data(said)).await.unwrap();
        assert_eq!(response.frame().await.unwrap().unwrap().into_data().unwrap(), said);
    }
    drop(frames);
    response.collect().await.unwrap();
    proxy.outcomes(&[("unrecognised", 1.0)]).await;
}

/// Reads every message and answers only the first `n_answers`.
async fn taciturn_server(n_answers: usize) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                // A window for all messages at once: h2 takes many small ones in a small window for an attack.
                let mut builder = h2::server::Builder::new();
                builder.initial_connection_window_size(1 << 20).initial_window_size(1 << 20);
                let Ok(mut connection) = builder.handshake::<_, Bytes>(stream).await else { return };
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    tokio::spawn(async move {
                        let mut answer = respond.send_response(http::Response::new(()), false).unwrap();
                        for _ in 0..n_answers {
                            answer.send_data(framed(b"answer").into(), false).unwrap();
                        }
                        let mut body = request.into_body();
                        while let Some(chunk) = body.data().await {
                            let n_bytes = chunk.unwrap().len();
                            body.flow_control().release_capacity(n_bytes).unwrap();
                        }
                        let mut trailers = http::HeaderMap::new();
                        trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
                        answer.send_trailers(trailers).unwrap();
                    });
                }
            });
        }
    });
    addr
}

/// 256 may wait; the rest is lost, in number and for its reason, and memory stays where it is.
#[tokio::test]
async fn messages_without_an_answer_are_lost_and_counted() {
    let mut proxy = TestProxy::start(taciturn_server(2).await).await;
    let (mut sender, _connection) = connect(&proxy).await;
    let (frames, response) = open(&mut sender).await;
    for _ in 0..300 {
        frames.send(Frame::data(framed(&[7; 100]).into())).await.unwrap();
    }
    drop(frames);
    response.collect().await.unwrap();
    proxy.outcomes(&[("mirrored", 2.0), ("dropped", 298.0)]).await;
    for _ in 0..2 {
        assert_eq!(bytes(&proxy.exchange().await), (&*framed(&[7; 100]), &*framed(b"answer")));
    }
    let (unpaired, crowded) = (proxy.dropped("unpaired"), proxy.dropped("pairs_full"));
    assert_eq!(unpaired + crowded, 298.0);
    assert!((254.0..=256.0).contains(&unpaired), "{unpaired}"); // two of them may have met answers before they waited
    assert_eq!(proxy.budget.held_bytes(), 0);
}
