//! After an upgrade: bytes both ways, of which we understand nothing.

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional;
use tracing::debug;

/// Passes bytes on until both sides have ended.
pub(super) async fn tunnel(downstream: OnUpgrade, upstream: OnUpgrade) {
    let (downstream, upstream) = match tokio::try_join!(downstream, upstream) {
        Ok(sides) => sides,
        Err(error) => return debug!(%error, "an upgrade was agreed and not made"),
    };
    let (mut downstream, mut upstream) = (TokioIo::new(downstream), TokioIo::new(upstream));
    if let Err(error) = copy_bidirectional(&mut downstream, &mut upstream).await {
        debug!(%error, "a tunnel broke");
    }
}
