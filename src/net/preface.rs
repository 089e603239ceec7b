//! HTTP/1.1 and HTTP/2 with prior knowledge on one port.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// What an HTTP/2 client sends first (RFC 9113 §3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Room for the first read, which on a busy connection is the whole first request.
const FIRST_READ: usize = 4096;

/// The protocol that a connection starts with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preface {
    /// Anything that is not the HTTP/2 preface.
    Http1,
    /// The HTTP/2 preface.
    Http2,
}

/// Reads until the protocol is known. What was read is read again from the returned stream.
///
/// # Errors
/// Those of the socket; a connection that ends before it says anything is `UnexpectedEof`.
pub async fn sniff(mut stream: TcpStream) -> io::Result<(Preface, Sniffed)> {
    let mut first = BytesMut::with_capacity(FIRST_READ);
    let preface = loop {
        if stream.read_buf(&mut first).await? == 0 {
            if first.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            break Preface::Http1; // a torn preface: HTTP/1 has the words for it
        }
        let n_known = first.len().min(HTTP2_PREFACE.len());
        if first[..n_known] != HTTP2_PREFACE[..n_known] {
            break Preface::Http1;
        }
        if n_known == HTTP2_PREFACE.len() {
            break Preface::Http2;
        }
    };
    Ok((preface, Sniffed { first: first.freeze(), stream }))
}

/// A stream whose first bytes have been looked at.
#[derive(Debug)]
pub struct Sniffed {
    first: Bytes,
    stream: TcpStream,
}

impl AsyncRead for Sniffed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.first.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let n_bytes = self.first.len().min(buf.remaining());
        buf.put_slice(&self.first[..n_bytes]);
        self.first.advance(n_bytes);
        if self.first.is_empty() {
            self.first = Bytes::new(); // an advanced `Bytes` would hold its memory for the connection's life
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Sniffed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
