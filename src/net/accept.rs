//! Accepting connections, for as long as the listener lives.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;
use tracing::{debug, warn};

/// How long to wait when the process is out of file descriptors or memory: accepting again at once would spin, as the
/// connection that could not be taken stays in the backlog.
const BACK_OFF: Duration = Duration::from_millis(100);

/// What tokio asks the kernel to queue.
const BACKLOG: usize = 1024;

/// The next connection, with `TCP_NODELAY` set. An error never ends the listener: one that belongs to a connection is
/// skipped, one that belongs to the process (`EMFILE`, `ENFILE`, `ENOMEM`) is waited out.
///
/// There is no cap on connections of our own: the file descriptor limit is the cap, and at the limit new callers wait
/// in the backlog.
pub async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                // A peer that has gone already fails this; its connection ends by itself at the first read.
                if let Err(error) = stream.set_nodelay(true) {
                    debug!(%error, %peer, "cannot set TCP_NODELAY");
                }
                return (stream, peer);
            }
            Err(error) if belongs_to_connection(&error) => {
                debug!(%error, "a connection ended before it began");
            }
            Err(error) => {
                warn!(%error, "cannot accept connections, trying again");
                sleep(BACK_OFF).await;
            }
        }
    }
}

/// The connections that the kernel has taken in and nobody has accepted yet, at most as many as its queue holds. Closing
/// the listener would reset them, though their callers know nothing of our leaving. The listener is closed at the end.
pub fn backlog(listener: TcpListener) -> impl Iterator<Item = TcpStream> {
    let listener = listener.into_std();
    let next = move || {
        let (stream, _) = listener.as_ref().ok()?.accept().ok()?;
        stream.set_nonblocking(true).ok()?;
        TcpStream::from_std(stream).ok()
    };
    std::iter::from_fn(next).take(BACKLOG)
}

fn belongs_to_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionAborted
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionRefused
            | ErrorKind::Interrupted
    )
}
