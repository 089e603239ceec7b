//! One exchange: request in, response out, a copy of both in passing.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HOST};
use http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body::Body;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::body::{RequestBody, ResponseBody};
use super::error::ForwardError;
use super::gate::{Gate, HeldBack};
use super::headers::{strip_hop_by_hop, wants_upgrade};
use super::mirror::{Entry, Mirror, Upload};
use super::tunnel::tunnel;
use super::upstream::{Lease, Upstream};
use crate::net::{Fault, json_error};

/// What all exchanges of one proxy share.
#[derive(Debug)]
pub(super) struct Forwarder {
    pub(super) upstream: Arc<Upstream>,
    pub(super) mirror: Arc<Mirror>,
    pub(super) upstream_timeout: Duration,
    pub(super) tunnels: TaskTracker,
    /// Ends the tunnels when the proxy goes.
    pub(super) closing: CancellationToken,
}

impl Forwarder {
    /// Answers one request. Never fails: what goes wrong before the response head is an answer, later the body breaks.
    pub(super) async fn forward(&self, request: Request<Incoming>) -> Response<ResponseBody> {
        let version = request.version();
        let entry = self.mirror.open(request.method(), request.uri().path());
        let unread = !request.body().is_end_stream();
        match self.exchange(request, &entry).await {
            Ok(response) => response,
            Err(error) => refuse(&error, &entry, version, unread),
        }
    }

    async fn exchange(
        &self,
        mut request: Request<Incoming>,
        entry: &Entry,
    ) -> Result<Response<ResponseBody>, ForwardError> {
        let received = Instant::now();
        if request.method() == Method::CONNECT {
            return Err(ForwardError::Connected);
        }
        let version = request.version();
        let upgrade = wants_upgrade(version, request.headers()).then(|| hyper::upgrade::on(&mut request));
        let (request, gate) = self.prepare(request, entry, upgrade.is_some());

        let mut clocks = Clocks { received, sent: received };
        let (response, lease) = if version == Version::HTTP_2 {
            clocks.sent = Instant::now();
            self.awaited(entry, self.upstream.send_http2(request, entry)).await??
        } else {
            self.send_http1(request, entry, upgrade.is_some(), &mut clocks).await?
        };
        let answered = Instant::now();
        self.upstream.health.heard();
        entry.answered(response.status(), response.headers());

        let response = self.pass_back(response, lease, entry, version, gate.as_ref(), upgrade);
        let metrics = &self.mirror.metrics;
        metrics.upstream_seconds.observe((answered - clocks.sent).as_secs_f64());
        metrics.added_seconds.observe((clocks.sent - clocks.received + answered.elapsed()).as_secs_f64());
        Ok(response)
    }

    /// The request as the upstream is to get it.
    fn prepare(
        &self,
        request: Request<Incoming>,
        entry: &Entry,
        upgrading: bool,
    ) -> (Request<RequestBody>, Option<Gate>) {
        let (mut parts, body) = request.into_parts();
        strip_hop_by_hop(&mut parts.headers, upgrading);
        if parts.version == Version::HTTP_10 {
            // A proxy speaks its own version (RFC 9110 §2.5), and in 1.1 a request without a host is refused.
            parts.version = Version::HTTP_11;
            if !parts.headers.contains_key(HOST)
                && let Ok(host) = HeaderValue::from_str(self.upstream.authority.as_str())
            {
                parts.headers.insert(HOST, host);
            }
        } else if parts.version == Version::HTTP_11
            && !body.is_end_stream()
            && parts
                .headers
                .get(EXPECT)
                .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
        {
            let gate = Gate::default();
            let body = RequestBody::new(body, &parts.headers, entry, Some(HeldBack::behind(gate.clone())));
            let mut request = Request::from_parts(parts, body);
            let opener = gate.clone();
            hyper::ext::on_informational(&mut request, move |response| {
                if response.status() == StatusCode::CONTINUE {
                    opener.open();
                }
            });
            return (request, Some(gate));
        }
        let body = RequestBody::new(body, &parts.headers, entry, None);
        (Request::from_parts(parts, body), None)
    }

    async fn send_http1(
        &self,
        mut request: Request<RequestBody>,
        entry: &Entry,
        upgrading: bool,
        clocks: &mut Clocks,
    ) -> Result<(Response<Incoming>, Lease), ForwardError> {
        loop {
            let mut lease = self.upstream.lease().await?;
            clocks.sent = Instant::now();
            let sent = if upgrading {
                self.awaited(entry, lease.send_upgrade(request)).await?
            } else {
                self.awaited(entry, lease.send(request)).await?
            };
            match sent {
                Ok(response) => return Ok((response, lease)),
                Err(mut error) => match error.take_message() {
                    // Closed while it was idle, and not a byte written: the only case in which sending again is safe.
                    Some(unsent) if lease.reused => request = unsent,
                    _ => return Err(self.upstream.failed(error.into_error(), entry)),
                },
            }
        }
    }

    /// Waits for a response head, as long as the upstream may take. Its time runs while it is the upstream's turn:
    /// not while the caller is still sending, and from the start once everything is sent.
    async fn awaited<T>(&self, entry: &Entry, sending: impl Future<Output = T>) -> Result<T, ForwardError> {
        let timeout = self.upstream_timeout;
        let mut sending = pin!(sending);
        let mut deadline = Instant::now() + timeout;
        loop {
            tokio::select! {
                biased;
                sent = &mut sending => return Ok(sent),
                () = sleep_until(deadline) => match entry.upload() {
                    Upload::AwaitingCaller => deadline = Instant::now() + timeout,
                    Upload::Sent(at) if at + timeout > deadline => deadline = at + timeout,
                    Upload::Sent(_) | Upload::Sending => {
                        return Err(ForwardError::Timeout { upstream: self.upstream.authority.clone(), timeout });
                    }
                }
            }
        }
    }

    /// The response as the caller is to get it.
    fn pass_back(
        &self,
        response: Response<Incoming>,
        mut lease: Lease,
        entry: &Entry,
        version: Version,
        gate: Option<&Gate>,
        upgrade: Option<OnUpgrade>,
    ) -> Response<ResponseBody> {
        let (mut parts, body) = response.into_parts();
        let switched = parts.status == StatusCode::SWITCHING_PROTOCOLS;
        strip_hop_by_hop(&mut parts.headers, switched || parts.status == StatusCode::UPGRADE_REQUIRED);
        if version != Version::HTTP_2 {
            parts.version = Version::HTTP_11; // hyper lowers it for a caller that speaks 1.0
        }
        if switched
            && let (Some(downstream), Some(upstream)) = (upgrade, parts.extensions.remove::<OnUpgrade>())
        {
            entry.ended(parts.status);
            let tunnel = self.closing.clone().run_until_cancelled_owned(tunnel(downstream, upstream));
            self.tunnels.spawn(tunnel);
        }
        if let Some(gate) = gate {
            gate.refuse();
        }
        if gate.is_some_and(Gate::is_refused) {
            // The caller may now keep its body to itself, and then the connection is of no more use (RFC 9110 §10.1.1).
            parts.headers.insert(CONNECTION, HeaderValue::from_static("close"));
        } else if !matches!(entry.upload(), Upload::Sent(_)) {
            lease.detach();
        }
        let announced =
            parts.headers.get(CONTENT_LENGTH).filter(|_| version != Version::HTTP_2 && body.is_end_stream());
        let body = match announced.and_then(|length| length.to_str().ok()?.parse().ok()) {
            Some(n_bytes) => {
                lease.give_back();
                ResponseBody::announced(n_bytes, &parts.headers, entry)
            }
            None => ResponseBody::forwarded(body, &parts.headers, entry, lease),
        };
        Response::from_parts(parts, body)
    }
}

/// When an exchange passed from hand to hand.
struct Clocks {
    received: Instant,
    sent: Instant,
}

/// The answer in our own name.
fn refuse(error: &ForwardError, entry: &Entry, version: Version, unread: bool) -> Response<ResponseBody> {
    match error.fault() {
        Fault::Downstream => {
            debug!(%error, "refused a request");
            entry.ended(error.status());
        }
        Fault::Upstream | Fault::Ours => {
            warn!(%error, "cannot forward a request");
            entry.upstream_failed();
        }
    }
    let mut response = json_error(error.status(), &error.to_string());
    if unread && version != Version::HTTP_2 {
        // Nobody will read the rest of the request, so nobody can find the next one.
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    ResponseBody::own(response)
}
