//! Connections to the model server.
//!
//! An HTTP/1.1 connection belongs to one exchange at a time and is driven by it: by the call until the response head
//! is there, then by whoever reads the response body. So an exchange is one task from end to end, and passing bytes
//! wakes no other. Between exchanges nobody drives it; what happened meanwhile shows when it is taken out again.
//! HTTP/2 connections are shared by all exchanges, each in a task of its own.

mod http2;

use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::uri::Authority;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tracing::debug;

use super::MAX_BUF_SIZE;
use super::body::RequestBody;
use super::error::ForwardError;
use super::health::UpstreamHealth;
use super::mirror::Entry;
use crate::config::ProxyConfig;
use http2::{Place, Pool};

/// Connections kept for later. More than this many at once are opened and closed as needed.
const MAX_IDLE: usize = 256;

/// The model server.
#[derive(Debug)]
pub(super) struct Upstream {
    pub(super) authority: Authority,
    pub(super) health: UpstreamHealth,
    connect_timeout: Duration,
    idle_timeout: Duration,
    /// The last one used is on top: it is the least likely to have been closed.
    idle: Mutex<Vec<Idle>>,
    http2: Pool,
}

#[derive(Debug)]
struct Idle {
    link: Box<Link>,
    since: Instant,
}

#[derive(Debug)]
struct Link {
    sender: http1::SendRequest<RequestBody>,
    connection: http1::Connection<TokioIo<TcpStream>, RequestBody>,
    closed: bool,
}

impl Upstream {
    pub(super) fn new(config: &ProxyConfig) -> Self {
        Self {
            authority: config.upstream.clone(),
            health: UpstreamHealth::default(),
            connect_timeout: config.connect_timeout,
            idle_timeout: config.upstream_idle_timeout,
            idle: Mutex::default(),
            http2: Pool::default(),
        }
    }

    /// A connection for one HTTP/1.1 exchange: one that is idle, else a new one.
    pub(super) async fn lease(self: &Arc<Self>) -> Result<Lease, ForwardError> {
        while let Some(mut idle) = self.take_idle() {
            if idle.since.elapsed() < self.idle_timeout && idle.link.is_open() {
                return Ok(Lease { upstream: Arc::clone(self), reused: true, drive: Drive::Here(idle.link) });
            }
        }
        let io = self.connect().await?;
        let (sender, connection) = http1::Builder::new()
            .preserve_header_case(true)
            .max_buf_size(MAX_BUF_SIZE)
            .handshake(io)
            .await
            .map_err(|source| self.broke(source))?;
        let link = Box::new(Link { sender, connection, closed: false });
        Ok(Lease { upstream: Arc::clone(self), reused: false, drive: Drive::Here(link) })
    }

    /// Sends an HTTP/2 request. The message comes back if it was never begun.
    pub(super) async fn send_http2(
        self: &Arc<Self>,
        mut request: Request<RequestBody>,
        entry: &Entry,
    ) -> Result<(Response<Incoming>, Lease), ForwardError> {
        let mut retried = false;
        loop {
            let place = self.http2_place().await?;
            match place.sender().try_send_request(request).await {
                Ok(response) => {
                    let drive = Drive::Shared { _place: place };
                    return Ok((response, Lease { upstream: Arc::clone(self), reused: false, drive }));
                }
                Err(mut error) => match error.take_message() {
                    // The connection was going away (GOAWAY, idle close) and has not seen the request.
                    Some(unsent) if !retried => (request, retried) = (unsent, true),
                    _ => return Err(self.failed(error.into_error(), entry)),
                },
            }
        }
    }

    async fn http2_place(&self) -> Result<Place, ForwardError> {
        loop {
            if let Some(place) = self.http2.place() {
                return Ok(place);
            }
            let _opening = self.http2.opening.lock().await;
            if let Some(place) = self.http2.place() {
                return Ok(place);
            }
            let io = self.connect().await?;
            self.http2.add(io).await.map_err(|source| self.broke(source))?;
        }
    }

    /// Closes what has been idle for too long. Called now and then, as idle connections are driven by nobody.
    pub(super) fn expire(&self) {
        self.idle().retain(|idle| idle.since.elapsed() < self.idle_timeout);
        self.http2.expire();
    }

    /// Why a request that was begun has no response. A body that broke off on its way in shows here first.
    pub(super) fn failed(&self, source: hyper::Error, entry: &Entry) -> ForwardError {
        if entry.is_downstream_gone() { ForwardError::Request { source } } else { self.broke(source) }
    }

    fn broke(&self, source: hyper::Error) -> ForwardError {
        ForwardError::Broke { upstream: self.authority.clone(), source }
    }

    async fn connect(&self) -> Result<TokioIo<TcpStream>, ForwardError> {
        match connect(&self.authority, self.connect_timeout).await {
            Ok(stream) => Ok(TokioIo::new(stream)),
            Err(source) => {
                self.health.unreachable();
                let upstream = self.authority.clone();
                Err(match source.kind() {
                    io::ErrorKind::TimedOut => {
                        ForwardError::ConnectTimeout { upstream, timeout: self.connect_timeout }
                    }
                    _ => ForwardError::Connect { upstream, source },
                })
            }
        }
    }

    fn take_idle(&self) -> Option<Idle> {
        self.idle().pop()
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Opens a connection to `host:port`, port 80 where none is given.
pub(super) async fn connect(authority: &Authority, patience: Duration) -> io::Result<TcpStream> {
    let connecting = async {
        match authority.port_u16() {
            Some(_) => TcpStream::connect(authority.as_str()).await,
            None => TcpStream::connect(format!("{authority}:80")).await,
        }
    };
    let stream = timeout(patience, connecting).await.map_err(io::Error::from)??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

impl Link {
    fn poll(&mut self, cx: &mut Context<'_>) {
        if !self.closed
            && let Poll::Ready(result) = Pin::new(&mut self.connection).poll(cx)
        {
            self.closed = true;
            if let Err(error) = result {
                debug!(%error, "a connection to the model server ended");
            }
        }
    }

    /// Whether it takes another request: nothing is unread or unwritten, and the other side has not hung up.
    fn is_open(&mut self) -> bool {
        self.poll(&mut Context::from_waker(Waker::noop()));
        !self.closed && self.sender.is_ready()
    }
}

/// A connection in the hands of one exchange. Dropped before its time, it closes, which is how HTTP/1.1 cancels.
#[derive(Debug)]
pub(super) struct Lease {
    upstream: Arc<Upstream>,
    /// Used before: it may have been closed while it was idle.
    pub(super) reused: bool,
    drive: Drive,
}

#[derive(Debug)]
enum Drive {
    Here(Box<Link>),
    /// In a task of its own, which goes on while somebody holds the sender.
    Elsewhere {
        _sender: http1::SendRequest<RequestBody>,
    },
    /// An HTTP/2 exchange has no connection of its own.
    Shared {
        _place: Place,
    },
    Gone,
}

impl Lease {
    /// Sends a request and drives the connection until the response head is there.
    ///
    /// # Errors
    /// With the request inside if none of it was written.
    pub(super) async fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, TrySendError<Request<RequestBody>>> {
        let Drive::Here(link) = &mut self.drive else { unreachable!("a lease is sent on once") };
        let mut response = pin!(link.sender.try_send_request(request));
        std::future::poll_fn(|cx| {
            link.poll(cx);
            response.as_mut().poll(cx)
        })
        .await
    }

    /// The same for a request that may turn the connection into something else.
    pub(super) async fn send_upgrade(
        &mut self,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, TrySendError<Request<RequestBody>>> {
        let Drive::Here(link) = std::mem::replace(&mut self.drive, Drive::Gone) else {
            unreachable!("a lease is sent on once")
        };
        let Link { mut sender, connection, .. } = *link;
        spawn(connection.with_upgrades());
        let response = sender.try_send_request(request);
        self.drive = Drive::Elsewhere { _sender: sender };
        response.await
    }

    /// Drives the connection on: reads what has come, writes what can be written.
    pub(super) fn drive(&mut self, cx: &mut Context<'_>) {
        if let Drive::Here(link) = &mut self.drive {
            link.poll(cx);
        }
    }

    /// Lets the connection drive itself. Needed while the request is still on its way up: otherwise a caller that
    /// reads no response before it has sent everything would wait for us, and we for it.
    pub(super) fn detach(&mut self) {
        match std::mem::replace(&mut self.drive, Drive::Gone) {
            Drive::Here(link) => {
                let Link { sender, connection, .. } = *link;
                spawn(connection);
                self.drive = Drive::Elsewhere { _sender: sender };
            }
            elsewhere => self.drive = elsewhere,
        }
    }

    /// After the last byte: keeps the connection for the next exchange, if it can be kept.
    pub(super) fn give_back(&mut self) {
        if let Drive::Here(mut link) = std::mem::replace(&mut self.drive, Drive::Gone)
            && link.is_open()
        {
            let mut idle = self.upstream.idle();
            if idle.len() < MAX_IDLE {
                idle.push(Idle { link, since: Instant::now() });
            }
        }
    }
}

fn spawn(connection: impl Future<Output = hyper::Result<()>> + Send + 'static) {
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            debug!(%error, "a connection to the model server ended");
        }
    });
}
