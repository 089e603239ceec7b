//! gRPC's transport: HTTP/2 with prior knowledge, both sides, streams and trailers included.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Version};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::harness::{PATIENCE, PREDICT, TestProxy, Upstream};

/// A body that is fed from outside; it ends when the sender is dropped.
pub struct Fed(mpsc::Receiver<Frame<Bytes>>);

impl Body for Fed {
    type Data = Bytes;
    type Error = Infallible;
    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|frame| frame.map(Ok))
    }
}

pub fn fed() -> (mpsc::Sender<Frame<Bytes>>, Fed) {
    let (sender, receiver) = mpsc::channel(1);
    (sender, Fed(receiver))
}

pub fn data(bytes: &'static str) -> Frame<Bytes> {
    Frame::data(Bytes::from_static(bytes.as_bytes()))
}

pub fn trailers(name: &'static str, value: &'static str) -> Frame<Bytes> {
    let mut trailers = HeaderMap::new();
    trailers.insert(name, HeaderValue::from_static(value));
    Frame::trailers(trailers)
}

#[expect(clippy::unused_async, reason = "hyper's services are async")]
/// A model server that sends back each frame of the request as it comes, and ends with `grpc-status`.
async fn echo(request: Request<Incoming>, grpc_status: &'static str) -> Result<Response<Fed>, Infallible> {
    assert_eq!(request.version(), Version::HTTP_2);
    let (frames, body) = fed();
    let mut response = Response::new(body);
    response
        .headers_mut()
        .insert("x-authority", request.uri().authority().unwrap().as_str().parse().unwrap());
    for name in ["te", "x-request-id", "user-agent", "host"] {
        if let Some(value) = request.headers().get(name) {
            response
                .headers_mut()
                .insert(format!("x-saw-{name}").parse::<http::HeaderName>().unwrap(), value.clone());
        }
    }
    tokio::spawn(async move {
        let mut body = request.into_body();
        while let Some(Ok(frame)) = body.frame().await {
            let frame = match frame.into_trailers() {
                Ok(seen) => {
                    assert_eq!(seen["x-sum"], "7");
                    break;
                }
                Err(frame) => frame,
            };
            if frames.send(frame).await.is_err() {
                return;
            }
        }
        let _ = frames.send(trailers("grpc-status", grpc_status)).await;
    });
    Ok(response)
}

pub async fn echo_server(grpc_status: &'static str) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service_fn(move |request| echo(request, grpc_status));
            let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::spawn(builder.serve_connection(TokioIo::new(stream), service));
        }
    });
    addr
}

pub async fn connect(proxy: &TestProxy) -> (SendRequest<Fed>, JoinHandle<hyper::Result<()>>) {
    let stream = TcpStream::connect(proxy.addr).await.unwrap();
    let io = TokioIo::new(stream);
    let (sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    (sender, tokio::spawn(connection))
}

pub fn request(path: &str, body: Fed) -> Request<Fed> {
    Request::post(format!("http://iris.prod{path}"))
        .header("te", "trailers")
        .header("x-request-id", "7")
        .body(body)
        .unwrap()
}

#[tokio::test]
async fn a_unary_call_passes_with_its_trailers() {
    let mut proxy = TestProxy::start(echo_server("0").await).await;
    let (mut sender, _connection) = connect(&proxy).await;
    let (frames, body) = fed();
    let sending = async move {
        frames.send(data("question")).await.unwrap();
        frames.send(trailers("x-sum", "7")).await.unwrap();
    };
    let (response, ()) = tokio::join!(sender.send_request(request(PREDICT, body)), sending);
    let response = response.unwrap();
    assert_eq!(response.version(), Version::HTTP_2);
    let seen: Vec<_> =
        response.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    let date = seen.iter().find(|header| header.0 == "date").map_or(&b""[..], |header| header.1);
    let expected = [
        ("x-authority", &b"iris.prod"[..]),
        ("x-saw-te", b"trailers"),
        ("x-saw-x-request-id", b"7"),
        ("date", date), // the model server's
    ];
    assert_eq!(seen, expected, "nothing is added");
    let collected = response.into_body().collect().await.unwrap();
    assert_eq!(collected.trailers().unwrap()["grpc-status"], "0");
    assert_eq!(collected.to_bytes(), "question");
    let copied = proxy.exchange().await;
    assert_eq!((copied.request.as_slice(), copied.response.as_slice()), (&b"question"[..], &b"question"[..]));
}

#[tokio::test]
async fn a_failed_grpc_call_is_not_a_prediction() {
    let proxy = TestProxy::start(echo_server("13").await).await;
    let (mut sender, _connection) = connect(&proxy).await;
    let (frames, body) = fed();
    drop(frames);
    let response = sender.send_request(request(PREDICT, body)).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    response.into_body().collect().await.unwrap();
    proxy.outcomes(&[("not_ok", 1.0)]).await;
}

#[tokio::test]
async fn streams_flow_both_ways_at_once_and_side_by_side() {
    let proxy = TestProxy::start(echo_server("0").await).await;
    let (sender, _connection) = connect(&proxy).await;
    let talk = |mut sender: SendRequest<Fed>| async move {
        let (frames, body) = fed();
        let mut response = sender.send_request(request("/grpc.Chat/Talk", body)).await.unwrap().into_body();
        for said in ["one", "two", "three"] {
            frames.send(data(said)).await.unwrap();
            let heard = response.frame().await.unwrap().unwrap();
            assert_eq!(heard.into_data().unwrap(), said);
        }
        drop(frames);
        let last = response.frame().await.unwrap().unwrap();
        assert_eq!(last.into_trailers().unwrap()["grpc-status"], "0");
    };
    let talks: Vec<_> = (0..20).map(|_| tokio::spawn(talk(sender.clone()))).collect();
    for talk in talks {
        timeout(PATIENCE, talk).await.expect("in time").unwrap();
    }
    proxy.outcomes(&[("unrecognised", 20.0)]).await;
}

#[tokio::test]
async fn large_messages_pass_under_flow_control() {
    let mut proxy = TestProxy::start(echo_server("0").await).await;
    let (mut sender, _connection) = connect(&proxy).await;
    let (frames, body) = fed();
    let message = Bytes::from(vec![b'x'; 1 << 20]);
    let sent = message.clone();
    tokio::spawn(async move { frames.send(Frame::data(sent)).await });
    let response = sender.send_request(request(PREDICT, body)).await.unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), message);
    assert_eq!(proxy.exchange().await.response.as_slice(), message);
}

#[tokio::test]
async fn a_cancelled_stream_is_cancelled_upstream() {
    let proxy = TestProxy::start(echo_server("0").await).await;
    let (mut sender, _connection) = connect(&proxy).await;
    let (frames, body) = fed();
    frames.send(data("hi")).await.unwrap();
    let mut response = sender.send_request(request(PREDICT, body)).await.unwrap().into_body();
    response.frame().await.unwrap().unwrap();
    drop(response);
    drop(frames);
    proxy.outcomes(&[("downstream_gone", 1.0)]).await;
    assert_eq!(proxy.budget.held_bytes(), 0);
}

#[tokio::test]
async fn a_model_server_that_is_down_is_a_502() {
    let proxy = TestProxy::start(Upstream::bind().await.addr).await;
    let (mut sender, _connection) = connect(&proxy).await;
    let (_frames, body) = fed();
    let response = sender.send_request(request(PREDICT, body)).await.unwrap();
    assert_eq!(response.status(), StatusCode::BAD_GATEWAY);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert!(body.starts_with(br#"{"error":"driftd: cannot reach the model server"#), "{body:?}");
    proxy.outcomes(&[("upstream_failed", 1.0)]).await;
}

#[tokio::test]
async fn an_upstream_connection_that_broke_is_replaced() {
    let upstream = Upstream::bind().await;
    let addr = upstream.addr;
    let proxy = TestProxy::start(addr).await;
    let (mut sender, _connection) = connect(&proxy).await;
    let (_frames, body) = fed();
    let calling = tokio::spawn(sender.send_request(request(PREDICT, body)));
    drop(upstream.accept().await);
    assert_eq!(calling.await.unwrap().unwrap().status(), StatusCode::BAD_GATEWAY);
    let (_frames, body) = fed();
    let calling = tokio::spawn(sender.send_request(request(PREDICT, body)));
    let mut model = upstream.accept().await;
    assert!(model.until("SM\r\n\r\n").await.starts_with("PRI * HTTP/2.0"));
    drop(model);
    assert_eq!(calling.await.unwrap().unwrap().status(), StatusCode::BAD_GATEWAY);
    proxy.outcomes(&[("upstream_failed", 2.0)]).await;
}

#[tokio::test]
async fn a_stream_in_flight_is_completed_on_stop() {
    let proxy = TestProxy::start(echo_server("0").await).await;
    let (mut sender, connection) = connect(&proxy).await;
    let (frames, body) = fed();
    let mut response = sender.send_request(request("/grpc.Chat/Talk", body)).await.unwrap().into_body();
    proxy.stop.cancel();
    while !sender.is_closed() && sender.ready().await.is_ok() {
        let (_frames, body) = fed();
        if sender.send_request(request("/again", body)).await.is_err() {
            break; // GOAWAY has come
        }
    }
    frames.send(data("last")).await.unwrap();
    assert_eq!(response.frame().await.unwrap().unwrap().into_data().unwrap(), "last");
    drop(frames);
    assert!(response.frame().await.unwrap().unwrap().is_trailers());
    timeout(PATIENCE, proxy.running).await.expect("drained").unwrap();
    timeout(PATIENCE, connection).await.expect("closed").unwrap().unwrap();
}
