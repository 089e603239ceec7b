//! A proxy in this process, and raw sockets to stand on both sides of it.

use std::net::SocketAddr;
use std::time::Duration;

use driftd::config::ProxyConfig;
use driftd::pipeline::{Exchange, Intake, MirrorBudget};
use driftd::tap::Proxy;
use driftd::tap::proxy::UpstreamHealth;
use driftd::telemetry::TapFamilies;
use prometheus::Registry;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Longer than anything here takes on a loaded machine, so only a hang reaches it.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A recognised inference request.
pub const PREDICT: &str = "/v1/models/iris:predict";

pub struct TestProxy {
    pub addr: SocketAddr,
    pub exchanges: mpsc::Receiver<Exchange>,
    pub health: UpstreamHealth,
    pub budget: MirrorBudget,
    pub registry: Registry,
    pub stop: CancellationToken,
    pub running: JoinHandle<()>,
    _stop_on_drop: DropGuard,
}

pub fn config(upstream: SocketAddr) -> ProxyConfig {
    ProxyConfig {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        upstream: upstream.to_string().parse().unwrap(),
        sample_rate: 1.0,
        max_body_bytes: 1 << 20,
        max_mirrored_bytes: 8 << 20,
        connect_timeout: Duration::from_secs(5),
        upstream_timeout: Duration::from_mins(1),
        upstream_idle_timeout: Duration::from_secs(4),
        stop_after_upstream: false,
    }
}

impl TestProxy {
    pub async fn start(upstream: SocketAddr) -> Self {
        Self::with(config(upstream), 64).await
    }

    /// With room for `n_queued` exchanges.
    pub async fn with(config: ProxyConfig, n_queued: usize) -> Self {
        let (queue, exchanges) = mpsc::channel(n_queued);
        let registry = Registry::new();
        let metrics = TapFamilies::register(&registry).unwrap().of("proxy");
        let proxy = Proxy::bind(&config, Intake::new([queue]), metrics).await.unwrap();
        let (addr, health, budget) = (proxy.local_addr(), proxy.upstream_health(), proxy.budget());
        let stop = CancellationToken::new();
        let running = tokio::spawn(proxy.run(stop.clone().cancelled_owned()));
        Self {
            addr,
            exchanges,
            health,
            budget,
            registry,
            running,
            _stop_on_drop: stop.clone().drop_guard(),
            stop,
        }
    }

    pub async fn connect(&self) -> Peer {
        Peer::new(TcpStream::connect(self.addr).await.unwrap())
    }

    /// The value of one series, such as `driftd_tap_exchanges_total{outcome="mirrored"}`.
    pub fn metric(&self, name: &str, label: &str) -> f64 {
        let families = self.registry.gather();
        let family = families.iter().find(|family| family.name() == name).expect("the series exists");
        let metrics = family.get_metric();
        let found = metrics.iter().find(|metric| metric.get_label().iter().any(|pair| pair.value() == label));
        found.expect("the label exists").get_counter().get_value()
    }

    /// Waits until every one of `expected` exchanges is counted, and checks that no other is.
    #[track_caller]
    pub fn outcomes<'a>(&'a self, expected: &'a [(&'static str, f64)]) -> impl Future<Output = ()> + 'a {
        const NAMES: [&str; 7] = [
            "mirrored",
            "sampled_out",
            "unrecognised",
            "not_ok",
            "dropped",
            "upstream_failed",
            "downstream_gone",
        ];
        let caller = std::panic::Location::caller();
        async move {
            let wanted = |name: &str| expected.iter().find(|pair| pair.0 == name).map_or(0.0, |pair| pair.1);
            let counted = || NAMES.map(|name| self.metric("driftd_tap_exchanges_total", name));
            let wanted = NAMES.map(wanted);
            let total: f64 = wanted.iter().sum();
            let waiting = async {
                while counted().iter().sum::<f64>() < total {
                    sleep(Duration::from_millis(1)).await;
                }
            };
            let in_time = timeout(PATIENCE, waiting).await.is_ok();
            assert!(
                in_time && counted() == wanted,
                "{NAMES:?} are {:?}, expected {wanted:?} at {caller}",
                counted()
            );
        }
    }

    pub fn dropped(&self, reason: &str) -> f64 {
        self.metric("driftd_tap_dropped_total", reason)
    }

    /// The next copy that was made.
    pub async fn exchange(&mut self) -> Exchange {
        timeout(PATIENCE, self.exchanges.recv()).await.expect("an exchange in time").expect("the proxy lives")
    }
}

/// A model server that is told what to do, socket by socket.
pub struct Upstream {
    listener: TcpListener,
    pub addr: SocketAddr,
}

impl Upstream {
    pub async fn bind() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        Self { listener, addr }
    }

    /// The next connection that carries something; probes close theirs without a word.
    pub async fn accept(&self) -> Peer {
        let accepting = async {
            loop {
                let (stream, _) = self.listener.accept().await.unwrap();
                if stream.peek(&mut [0]).await.is_ok_and(|n_bytes| n_bytes > 0) {
                    return Peer::new(stream);
                }
            }
        };
        timeout(PATIENCE, accepting).await.expect("a connection in time")
    }

    /// Answers every request, on any number of connections, with the same bytes.
    pub fn always(self, response: impl Into<Vec<u8>>) -> SocketAddr {
        let response = std::sync::Arc::new(response.into());
        let addr = self.addr;
        tokio::spawn(async move {
            loop {
                let (stream, _) = self.listener.accept().await.unwrap();
                let response = std::sync::Arc::clone(&response);
                tokio::spawn(async move {
                    let mut peer = Peer::new(stream);
                    while peer.try_request().await.is_some() {
                        if peer.stream.write_all(&response).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        addr
    }
}

/// One end of a raw connection.
pub struct Peer {
    pub stream: TcpStream,
    /// Read and not yet asked for.
    ahead: Vec<u8>,
}

impl Peer {
    pub fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        Self { stream, ahead: Vec::new() }
    }

    /// Bytes of the message after the last one asked for that have been read already.
    pub fn n_ahead(&self) -> usize {
        self.ahead.len()
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    /// Reads up to and including `end`.
    #[track_caller]
    pub fn until<'a>(&'a mut self, end: &'a str) -> impl Future<Output = String> + 'a {
        let caller = std::panic::Location::caller();
        async move {
            let found = timeout(PATIENCE, self.try_until(end)).await;
            let seen = String::from_utf8_lossy(&self.ahead).into_owned();
            let found = found.unwrap_or_else(|_| panic!("no {end:?} in time at {caller}; seen {seen:?}"));
            found.unwrap_or_else(|| panic!("closed before {end:?} at {caller}; seen {seen:?}"))
        }
    }

    pub async fn head(&mut self) -> String {
        self.until("\r\n\r\n").await
    }

    /// Reads to the end of the connection, however it ends.
    pub async fn rest(&mut self) -> String {
        let reading = async {
            let mut bytes = std::mem::take(&mut self.ahead);
            let _ = self.stream.read_to_end(&mut bytes).await;
            String::from_utf8_lossy(&bytes).into_owned()
        };
        timeout(PATIENCE, reading).await.expect("the connection ends in time")
    }

    pub async fn exactly(&mut self, n_bytes: usize) -> String {
        let reading = async {
            while self.ahead.len() < n_bytes {
                assert!(self.stream.read_buf(&mut self.ahead).await.unwrap() > 0, "closed too early");
            }
            String::from_utf8(self.ahead.drain(..n_bytes).collect()).unwrap()
        };
        timeout(PATIENCE, reading).await.expect("the bytes in time")
    }

    /// Nothing has come that was not asked for, as far as can be seen at this moment.
    pub fn is_silent(&self) -> bool {
        self.ahead.is_empty() && !matches!(self.stream.try_read(&mut [0]), Ok(1))
    }

    /// A request with its body, if it has a `content-length` one.
    pub async fn try_request(&mut self) -> Option<(String, String)> {
        let head = self.try_until("\r\n\r\n").await?;
        let len = content_length(&head);
        while self.ahead.len() < len {
            if self.stream.read_buf(&mut self.ahead).await.ok()? == 0 {
                return None;
            }
        }
        let body = self.ahead.drain(..len).collect::<Vec<u8>>();
        Some((head, String::from_utf8_lossy(&body).into_owned()))
    }

    /// One message with a `content-length` body, or none.
    pub async fn message(&mut self) -> (String, String) {
        timeout(PATIENCE, self.try_request()).await.expect("a message in time").expect("a whole message")
    }

    async fn try_until(&mut self, end: &str) -> Option<String> {
        loop {
            if let Some(at) = memchr::memmem::find(&self.ahead, end.as_bytes()) {
                let bytes = self.ahead.drain(..at + end.len()).collect::<Vec<u8>>();
                return Some(String::from_utf8_lossy(&bytes).into_owned());
            }
            if self.stream.read_buf(&mut self.ahead).await.ok()? == 0 {
                return None;
            }
        }
    }
}

pub fn content_length(head: &str) -> usize {
    head.lines()
        .find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().unwrap())
        })
        .unwrap_or(0)
}

/// `POST` of `body` to [`PREDICT`].
pub fn predict(body: &str) -> String {
    format!("POST {PREDICT} HTTP/1.1\r\nHost: iris\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// A 200 with `body`.
pub fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}
