//! HTTP/2 connections to the model server, which all callers share.
//!
//! As many as their streams need: a server limits the streams of a connection, and callers whose streams last for hours
//! (gRPC) would otherwise keep each other out, who without us had a connection each.

use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tracing::debug;

use crate::tap::proxy::body::RequestBody;
use crate::tap::proxy::{MAX_HEADER_LIST_SIZE, STREAM_WINDOW};

/// Streams on one connection, where the server allows as many: what RFC 9113 §6.5.2 asks every server to allow, and
/// what is assumed until it has said so.
const MAX_STREAMS: u32 = 100;

/// Every stream may fill its window and no other has to wait for it: a caller that reads slowly must not stop the rest.
const CONNECTION_WINDOW: u32 = MAX_STREAMS * STREAM_WINDOW;

/// The open connections. The first is kept for good, the others while they are needed.
#[derive(Debug, Default)]
pub(super) struct Pool {
    links: Mutex<Vec<Arc<Link>>>,
    /// Held while connecting, so that a burst of first calls opens one connection.
    pub(super) opening: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Link {
    sender: SendRequest<RequestBody>,
    n_open: AtomicUsize,
    /// As the server last said.
    n_allowed: Arc<AtomicUsize>,
}

/// A place for one stream, taken until it is dropped.
#[derive(Debug)]
pub(super) struct Place(Arc<Link>);

impl Place {
    fn on(link: &Arc<Link>) -> Option<Self> {
        let n_allowed = link.n_allowed.load(Ordering::Relaxed).min(MAX_STREAMS as usize);
        // A server that allows none for now is asked all the same: the request waits there rather than in a storm of
        // connections.
        let take = |n_open: usize| (n_open < n_allowed.max(1)).then_some(n_open + 1);
        // Relaxed: it guards an amount, it publishes no other memory.
        link.n_open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).ok()?;
        Some(Self(Arc::clone(link)))
    }

    pub(super) fn sender(&self) -> SendRequest<RequestBody> {
        self.0.sender.clone()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.n_open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Pool {
    /// A place on a connection that is open and not full.
    pub(super) fn place(&self) -> Option<Place> {
        let mut links = self.links();
        links.retain(|link| !link.sender.is_closed());
        links.iter().find_map(Place::on)
    }

    /// Makes a new connection one of them.
    pub(super) async fn add(&self, io: TokioIo<TcpStream>) -> hyper::Result<()> {
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(MAX_HEADER_LIST_SIZE)
            .handshake(io)
            .await?;
        let n_allowed = Arc::new(AtomicUsize::new(MAX_STREAMS as usize));
        let link = Link { sender, n_open: AtomicUsize::new(0), n_allowed: Arc::clone(&n_allowed) };
        // Ends by itself once the last sender is gone.
        tokio::spawn(async move {
            let mut connection = pin!(connection);
            let driven = std::future::poll_fn(|cx| {
                let polled = connection.as_mut().poll(cx);
                n_allowed.store(connection.current_max_send_streams(), Ordering::Relaxed);
                polled
            });
            if let Err(error) = driven.await {
                debug!(%error, "an HTTP/2 connection to the model server ended");
            }
        });
        self.links().push(Arc::new(link));
        Ok(())
    }

    /// Closes all but the first of those on which nothing is under way.
    pub(super) fn expire(&self) {
        let mut is_first = true;
        self.links().retain(|link| std::mem::take(&mut is_first) || link.n_open.load(Ordering::Relaxed) > 0);
    }

    fn links(&self) -> MutexGuard<'_, Vec<Arc<Link>>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
