//! One connection of a caller.

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::forward::Forwarder;
use super::{MAX_BUF_SIZE, MAX_HEADER_LIST_SIZE, STREAM_WINDOW};
use crate::net::{Preface, sniff};

/// For a request head to arrive whole, counted from the end of the exchange before it: so a connection may also idle
/// that long. Bodies take the time they take.
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(30);

/// A caller that connected as we began to drain does not know it: so long its first request may take to arrive.
const FIRST_REQUEST_GRACE: Duration = Duration::from_secs(1);

/// Streams that one HTTP/2 caller may have open. gRPC's own servers set no limit unless told to, so callers reckon with
/// none; what a connection holds of bodies is bounded by [`CONNECTION_WINDOW`].
const MAX_CONCURRENT_STREAMS: u32 = 1024;

/// Bytes of all streams of one HTTP/2 caller that may be on their way before they are passed on.
const CONNECTION_WINDOW: u32 = 4 * STREAM_WINDOW;

/// Serves a connection until it closes, or until its current exchanges are done after `draining`.
pub(super) async fn serve(stream: TcpStream, forwarder: Arc<Forwarder>, draining: CancellationToken) {
    let too_late = async {
        draining.cancelled().await;
        sleep(FIRST_REQUEST_GRACE).await;
    };
    let sniffed = tokio::select! {
        sniffed = timeout(HEADER_READ_TIMEOUT, sniff(stream)) => sniffed,
        () = too_late => return,
    };
    let Ok(Ok((preface, stream))) = sniffed else { return };
    let io = TokioIo::new(stream);
    let service = service_fn(move |request: Request<Incoming>| {
        let forwarder = Arc::clone(&forwarder);
        async move { Ok::<_, Infallible>(forwarder.forward(request).await) }
    });
    match preface {
        Preface::Http1 => {
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_READ_TIMEOUT)
                .max_buf_size(MAX_BUF_SIZE)
                .preserve_header_case(true)
                .auto_date_header(false)
                .serve_connection(io, service)
                .with_upgrades();
            drive(connection, http1::UpgradeableConnection::graceful_shutdown, draining).await;
        }
        Preface::Http2 => {
            let connection = http2::Builder::new(TokioExecutor::new())
                .max_concurrent_streams(MAX_CONCURRENT_STREAMS)
                .initial_stream_window_size(STREAM_WINDOW)
                .initial_connection_window_size(CONNECTION_WINDOW)
                .max_header_list_size(MAX_HEADER_LIST_SIZE)
                .auto_date_header(false)
                .serve_connection(io, service);
            drive(connection, http2::Connection::graceful_shutdown, draining).await;
        }
    }
}

async fn drive<C>(connection: C, shut_down: impl FnOnce(Pin<&mut C>), draining: CancellationToken)
where
    C: Future<Output = hyper::Result<()>>,
{
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        biased;
        ended = connection.as_mut() => ended,
        () = draining.cancelled() => {
            shut_down(connection.as_mut());
            connection.await
        }
    };
    if let Err(error) = ended {
        debug!(%error, "a caller's connection ended");
    }
}
