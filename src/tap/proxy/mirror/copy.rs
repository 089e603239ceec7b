//! One body on its way through, watched and copied.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;
use tokio::time::Instant;

use super::messages::Cutter;
use super::{Entry, Upload, grpc_failed};
use crate::decode::BodyHeaders;
use crate::pipeline::MirroredBody;

/// Which of the two bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::tap::proxy) enum Side {
    Request,
    Response,
}

/// Watches one body pass and copies it where a copy is wanted.
#[derive(Debug)]
pub(in crate::tap::proxy) struct BodyCopy {
    entry: Entry,
    side: Side,
    copy: Copying,
    ended: bool,
}

#[derive(Debug)]
enum Copying {
    No,
    Whole(MirroredBody),
    ByMessage(Box<Cutter>),
}

impl BodyCopy {
    /// In front of a body with these headers; `content_length` is what it announces.
    pub(in crate::tap::proxy) fn new(
        entry: &Entry,
        side: Side,
        headers: &HeaderMap,
        content_length: Option<u64>,
    ) -> Self {
        let mut copy = Self { entry: entry.clone(), side, copy: Copying::No, ended: false };
        if entry.is_copying() {
            let (budget, headers) = (entry.0.mirror.budget.clone(), BodyHeaders::of(headers));
            if entry.is_by_message() {
                copy.copy = Copying::ByMessage(Box::new(Cutter::new(budget, headers)));
                return copy;
            }
            let mut body = MirroredBody::new(budget, headers);
            match content_length.map_or(Ok(()), |n_bytes| body.expect_len(n_bytes)) {
                Ok(()) => copy.copy = Copying::Whole(body),
                Err(error) => entry.lose_copy(error),
            }
        }
        copy
    }

    /// Before a frame is passed on.
    pub(in crate::tap::proxy) fn frame(&mut self, frame: &Frame<Bytes>) {
        if self.side == Side::Request {
            self.entry.0.upload.store(Upload::SENDING, Ordering::Relaxed);
        }
        if let Some(trailers) = frame.trailers_ref() {
            if self.side == Side::Response && grpc_failed(trailers) {
                self.entry.books().grpc_failed = true;
            }
            return;
        }
        let Some(chunk) = frame.data_ref() else { return };
        if !self.entry.is_copying() {
            self.copy = Copying::No;
        }
        match &mut self.copy {
            Copying::No => (),
            Copying::Whole(copy) => {
                if let Err(error) = copy.push(chunk) {
                    self.copy = Copying::No;
                    self.entry.lose_copy(error);
                }
            }
            Copying::ByMessage(cutter) => {
                if cutter.push(chunk, |slot| self.entry.meet(self.side, slot)).is_err() {
                    self.copy = Copying::No;
                    self.entry.not_messages();
                }
            }
        }
    }

    /// Nothing has come yet and nothing else holds the body up: it is the sender's turn.
    pub(in crate::tap::proxy) fn starved(&self) {
        if self.side == Side::Request {
            self.entry.0.upload.store(Upload::AWAITING_CALLER, Ordering::Relaxed);
        }
    }

    /// The body has passed whole.
    pub(in crate::tap::proxy) fn end(&mut self) {
        if self.ended {
            return;
        }
        self.ended = true;
        let mut books = self.entry.books();
        let copy = match std::mem::replace(&mut self.copy, Copying::No) {
            Copying::Whole(copy) if self.entry.is_copying() => Some(copy),
            _ => None,
        };
        match self.side {
            Side::Request => {
                books.request = copy;
                books.request_sent = Some(Instant::now());
            }
            Side::Response => {
                books.response = copy;
                books.response_ended = true;
            }
        }
    }

    /// The body broke off where it comes from.
    pub(in crate::tap::proxy) fn broke(&mut self) {
        match self.side {
            Side::Request => self.entry.downstream_gone(),
            Side::Response => self.entry.upstream_failed(),
        }
    }

    pub(in crate::tap::proxy) fn has_ended(&self) -> bool {
        self.ended
    }
}

impl Drop for BodyCopy {
    fn drop(&mut self) {
        // A response that nobody reads to its end has lost its reader. A request may be left unread by an upstream
        // that has answered already, which is not the caller's doing.
        if !self.ended && self.side == Side::Response {
            self.entry.downstream_gone();
        }
    }
}
