//! The two bodies of an exchange on their way through: frames go on as they come, a copy is taken in passing.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use hyper::body::Incoming;

use super::gate::HeldBack;
use super::mirror::{BodyCopy, Entry, Side};
use super::upstream::Lease;

/// The request body, read by the upstream's connection.
pub(super) struct RequestBody {
    inner: Incoming,
    copy: BodyCopy,
    held_back: Option<HeldBack>,
}

impl RequestBody {
    pub(super) fn new(
        inner: Incoming,
        headers: &HeaderMap,
        entry: &Entry,
        held_back: Option<HeldBack>,
    ) -> Self {
        let mut copy = BodyCopy::new(entry, Side::Request, headers, inner.size_hint().exact());
        if inner.is_end_stream() {
            copy.end();
        }
        Self { inner, copy, held_back }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        if let Some(held_back) = &mut this.held_back {
            ready!(held_back.poll_open(cx));
            this.held_back = None;
        }
        pass(&mut this.inner, &mut this.copy, cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// The response body, read by the caller's connection.
pub(super) enum ResponseBody {
    /// From the upstream, whose connection is driven by whoever reads the body.
    Forwarded { inner: Incoming, copy: BodyCopy, lease: Lease },
    /// In our own name.
    Own(Full<Bytes>),
    /// None, though its head has a length line: 0, or what a HEAD or a 304 says the body would have. hyper leaves that
    /// line as it is only if the body claims the length too; it never reads such a body.
    Announced(u64),
}

impl ResponseBody {
    pub(super) fn forwarded(inner: Incoming, headers: &HeaderMap, entry: &Entry, lease: Lease) -> Self {
        let mut copy = BodyCopy::new(entry, Side::Response, headers, inner.size_hint().exact());
        if inner.is_end_stream() {
            copy.end();
        }
        Self::Forwarded { inner, copy, lease }
    }

    pub(super) fn announced(n_bytes: u64, headers: &HeaderMap, entry: &Entry) -> Self {
        BodyCopy::new(entry, Side::Response, headers, Some(0)).end();
        Self::Announced(n_bytes)
    }

    pub(super) fn own(response: Response<Bytes>) -> Response<Self> {
        response.map(|bytes| Self::Own(Full::new(bytes)))
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.get_mut() {
            Self::Forwarded { inner, copy, lease } => {
                lease.drive(cx);
                pass(inner, copy, cx)
            }
            Self::Own(full) => Pin::new(full)
                .poll_frame(cx)
                .map(|frame| frame.map(|frame| frame.map_err(|never| match never {}))),
            Self::Announced(_) => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Forwarded { inner, .. } => inner.is_end_stream(),
            Self::Own(full) => full.is_end_stream(),
            Self::Announced(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Forwarded { inner, .. } => inner.size_hint(),
            Self::Own(full) => full.size_hint(),
            Self::Announced(n_bytes) => SizeHint::with_exact(*n_bytes),
        }
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        if let Self::Forwarded { copy, lease, .. } = self
            && copy.has_ended()
        {
            lease.give_back();
        }
    }
}

fn pass(
    inner: &mut Incoming,
    copy: &mut BodyCopy,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
    let polled = Pin::new(&mut *inner).poll_frame(cx);
    match &polled {
        Poll::Pending => copy.starved(),
        Poll::Ready(Some(Ok(frame))) => {
            copy.frame(frame);
            // hyper does not come back for the `None` of a body that says it is over.
            if inner.is_end_stream() {
                copy.end();
            }
        }
        Poll::Ready(Some(Err(_))) => copy.broke(),
        Poll::Ready(None) => copy.end(),
    }
    polled
}
