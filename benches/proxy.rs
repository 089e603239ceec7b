//! What the proxy costs, beside `HAProxy` and nginx doing no more than passing on: `cargo bench --bench proxy`.
//!
//! CPU is what the kernel charged the proxy's process for, at full load over 16 connections; latency is measured from
//! when a request was due, at a rate that leaves the machine idle most of the time. Each proxy is a process of its own
//! with two threads; the model server (constant answers) and the callers are this process. Every subject is measured
//! in turn, several rounds, and the median shown, so that what else the machine does falls on all alike.
//!
//! `driftd` here is this program once more, told by [`ROLE`] to run a proxy and nothing else. Its copies are taken
//! from the queue and dropped: decoding and counting have benches of their own.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener as StdListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use driftd::config::ProxyConfig;
use driftd::pipeline::Intake;
use driftd::tap::Proxy;
use driftd::telemetry::TapMetrics;
use hdrhistogram::Histogram;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// `host:port` of the upstream and the sample rate, for a process that is to be the proxy.
const ROLE: &str = "DRIFTD_BENCH_PROXY";

const N_CONNECTIONS: usize = 16;
const N_ROUNDS: usize = 5;
const REQUESTS_PER_SECOND: u32 = 500;
const LATENCY_ROUND: Duration = Duration::from_secs(2);

fn main() {
    match std::env::var(ROLE) {
        Ok(role) => runtime().block_on(be_the_proxy(&role)),
        // `cargo test --benches` only wants to know that it builds.
        Err(_) if std::env::args().any(|arg| arg == "--bench") => runtime().block_on(measure()),
        Err(_) => (),
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

async fn be_the_proxy(role: &str) {
    let (upstream, sample_rate) = role.split_once(' ').unwrap();
    let config = ProxyConfig {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        upstream: upstream.parse().unwrap(),
        sample_rate: sample_rate.parse().unwrap(),
        max_body_bytes: 1 << 20,
        max_mirrored_bytes: 8 << 20,
        connect_timeout: Duration::from_secs(5),
        upstream_timeout: Duration::from_mins(1),
        upstream_idle_timeout: Duration::from_secs(4),
    };
    let (queue, mut exchanges) = tokio::sync::mpsc::channel(256);
    let metrics = TapMetrics::register(&prometheus::Registry::new(), "proxy").unwrap();
    let proxy = Proxy::bind(&config, Intake::new([queue]), metrics).await.unwrap();
    println!("{}", proxy.local_addr());
    tokio::spawn(async move { while exchanges.recv().await.is_some() {} });
    proxy.run(std::future::pending()).await;
}

/// A way from the callers to the model server.
struct Subject {
    name: &'static str,
    addr: SocketAddr,
    process: Option<Process>,
}

struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn measure() {
    println!("callers and model server in this process, {N_CONNECTIONS} connections, bodies both ways\n");
    for (size, n_requests) in [(1 << 10, 20_000), (64 << 10, 4_000)] {
        let scratch = tempfile::tempdir().unwrap();
        let upstream = model_server(size).await;
        let subjects = subjects(upstream, scratch.path());
        let request = message("POST /v1/models/iris:predict HTTP/1.1\r\nHost: iris", size);
        println!("{} KiB", size >> 10);
        println!(
            "{:<28} {:>22} {:>8} {:>10} {:>10}",
            "", "CPU-s / 1,000 requests", "ratio", "p50 µs", "p99 µs"
        );
        let mut cpu = vec![Vec::new(); subjects.len()];
        let mut latencies: Vec<_> = subjects.iter().map(|_| Histogram::<u64>::new(3).unwrap()).collect();
        for round in 0..=N_ROUNDS {
            for (idx, subject) in subjects.iter().enumerate() {
                let before = subject.process.as_ref().map(cpu_seconds);
                load(subject.addr, &request, n_requests).await;
                let after = subject.process.as_ref().map(cpu_seconds);
                if round == 0 {
                    continue; // warms connections, allocators and caches
                }
                if let (Some(before), Some(after)) = (before, after) {
                    cpu[idx].push((after - before) * 1e3 / n_requests as f64);
                }
                pace(subject.addr, &request, &mut latencies[idx]).await;
            }
        }
        let haproxy =
            subjects.iter().position(|subject| subject.name == HAPROXY).map(|idx| median(&cpu[idx]));
        for (idx, subject) in subjects.iter().enumerate() {
            let (p50, p99) = (latencies[idx].value_at_quantile(0.5), latencies[idx].value_at_quantile(0.99));
            let (seconds, ratio) = match (subject.process.is_some(), haproxy) {
                (true, Some(haproxy)) => {
                    (format!("{:.4}", median(&cpu[idx])), format!("{:.2}", median(&cpu[idx]) / haproxy))
                }
                (true, None) => (format!("{:.4}", median(&cpu[idx])), String::new()),
                (false, _) => (String::new(), String::new()),
            };
            println!("{:<28} {seconds:>22} {ratio:>8} {p50:>10} {p99:>10}", subject.name);
        }
        println!();
    }
}

const HAPROXY: &str = "HAProxy, passthrough";

fn subjects(upstream: SocketAddr, scratch: &Path) -> Vec<Subject> {
    let mut subjects = vec![
        Subject { name: "direct", addr: upstream, process: None },
        driftd("driftd, every exchange copied", upstream, 1.0),
        driftd("driftd, sample_rate 0", upstream, 0.0),
    ];
    subjects.extend(haproxy(upstream, scratch));
    subjects.extend(nginx(upstream, scratch));
    subjects
}

fn driftd(name: &'static str, upstream: SocketAddr, sample_rate: f64) -> Subject {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .env(ROLE, format!("{upstream} {sample_rate}"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    Subject { name, addr: line.trim().parse().unwrap(), process: Some(Process(child)) }
}

fn haproxy(upstream: SocketAddr, scratch: &Path) -> Option<Subject> {
    let addr = free_addr();
    let config = format!(
        "global\n nbthread 2\n maxconn 4096\ndefaults\n mode http\n http-reuse always\n timeout connect 5s\n \
         timeout client 60s\n timeout server 60s\nfrontend callers\n bind {addr}\n default_backend model\n\
         backend model\n server model {upstream}\n"
    );
    let path = scratch.join("haproxy.cfg");
    std::fs::write(&path, config).unwrap();
    other(HAPROXY, addr, Command::new("haproxy").args(["-db", "-f"]).arg(path))
}

fn nginx(upstream: SocketAddr, scratch: &Path) -> Option<Subject> {
    let addr = free_addr();
    let config = format!(
        "worker_processes 2; pid {dir}/nginx.pid; error_log /dev/null; events {{ worker_connections 1024; }}\n\
         http {{ access_log off; keepalive_requests 10000000; client_body_buffer_size 128k;\n\
         client_body_temp_path {dir}; proxy_temp_path {dir}; fastcgi_temp_path {dir}; uwsgi_temp_path {dir}; scgi_temp_path {dir};\n\
         upstream model {{ server {upstream}; keepalive 64; keepalive_requests 10000000; }}\n\
         server {{ listen {addr}; location / {{ proxy_pass http://model; proxy_http_version 1.1;\n\
         proxy_set_header Connection ''; proxy_request_buffering off; proxy_buffers 16 8k; }} }} }}\n",
        dir = scratch.display(),
    );
    let path = scratch.join("nginx.conf");
    std::fs::write(&path, config).unwrap();
    other("nginx, passthrough", addr, Command::new("nginx").args(["-g", "daemon off;", "-c"]).arg(path))
}

fn other(name: &'static str, addr: SocketAddr, command: &mut Command) -> Option<Subject> {
    let Ok(child) = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn() else {
        println!("(no {name}: not installed)");
        return None;
    };
    let process = Process(child);
    for _ in 0..500 {
        if std::net::TcpStream::connect(addr).is_ok() {
            return Some(Subject { name, addr, process: Some(process) });
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    println!("(no {name}: it does not come up)");
    None
}

/// A port that was free a moment ago.
fn free_addr() -> SocketAddr {
    StdListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// What the process and its children have run, to the nanosecond. Only threads that live are counted, and all of these
/// live until the end.
fn cpu_seconds(process: &Process) -> f64 {
    let pid = process.0.id();
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let pids = children.split_whitespace().map(|child| child.parse().unwrap()).chain([pid]);
    pids.map(|pid: u32| {
        let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
        threads
            .map(|thread| {
                let schedstat = std::fs::read_to_string(thread.unwrap().path().join("schedstat")).unwrap();
                schedstat.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e9
            })
            .sum::<f64>()
    })
    .sum()
}

fn message(head: &str, size: usize) -> Vec<u8> {
    let mut bytes =
        format!("{head}\r\nContent-Type: application/json\r\nContent-Length: {size}\r\n\r\n").into_bytes();
    bytes.resize(bytes.len() + size, b'1');
    bytes
}

async fn model_server(size: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let answer: &[u8] = message("HTTP/1.1 200 OK\r\nserver: uvicorn", size).leak();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut connection = Connection::new(stream);
                while connection.read_message().await {
                    if connection.stream.write_all(answer).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    addr
}

/// As many requests as go through, over all connections.
async fn load(addr: SocketAddr, request: &[u8], n_requests: usize) {
    let callers = (0..N_CONNECTIONS).map(|_| {
        let request = request.to_vec();
        tokio::spawn(async move {
            let mut connection = Connection::to(addr).await;
            for _ in 0..n_requests / N_CONNECTIONS {
                connection.call(&request).await;
            }
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await.unwrap();
    }
}

/// A request whenever one is due, however long the one before it takes.
async fn pace(addr: SocketAddr, request: &[u8], latencies: &mut Histogram<u64>) {
    let period = Duration::from_secs(1) * u32::try_from(N_CONNECTIONS).unwrap() / REQUESTS_PER_SECOND;
    let start = Instant::now() + Duration::from_millis(20);
    let callers = (0..N_CONNECTIONS).map(|idx| {
        let request = request.to_vec();
        tokio::spawn(async move {
            let mut connection = Connection::to(addr).await;
            connection.call(&request).await;
            let mut latencies = Histogram::<u64>::new(3).unwrap();
            let mut due =
                start + period * u32::try_from(idx).unwrap() / u32::try_from(N_CONNECTIONS).unwrap();
            while due < start + LATENCY_ROUND {
                tokio::time::sleep_until(due.into()).await;
                // The timer's millisecond is not the proxy's, a delay of this caller's own last call is.
                let sent = Instant::now();
                connection.call(&request).await;
                latencies.saturating_record(u64::try_from(sent.elapsed().as_micros()).unwrap());
                due += period;
            }
            latencies
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        latencies.add(caller.await.unwrap()).unwrap();
    }
}

struct Connection {
    stream: TcpStream,
    bytes: Vec<u8>,
}

impl Connection {
    fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        Self { stream, bytes: Vec::with_capacity(128 << 10) }
    }

    async fn to(addr: SocketAddr) -> Self {
        Self::new(TcpStream::connect(addr).await.unwrap())
    }

    async fn call(&mut self, request: &[u8]) {
        self.stream.write_all(request).await.unwrap();
        assert!(self.read_message().await, "cut");
        assert!(self.bytes.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&self.bytes));
    }

    /// Reads one message with a length into `bytes`; `false` at the end of the connection.
    async fn read_message(&mut self) -> bool {
        self.bytes.clear();
        let mut whole = None;
        while whole.is_none_or(|whole| self.bytes.len() < whole) {
            if !matches!(self.stream.read_buf(&mut self.bytes).await, Ok(1..)) {
                return false;
            }
            if whole.is_none()
                && let Some(end) = memchr::memmem::find(&self.bytes, b"\r\n\r\n")
            {
                whole = Some(end + 4 + content_length(&self.bytes[..end]));
            }
        }
        true
    }
}

fn content_length(head: &[u8]) -> usize {
    let head = std::str::from_utf8(head).unwrap();
    let lines = head.lines().filter_map(|line| line.split_once(": "));
    lines
        .filter(|line| line.0.eq_ignore_ascii_case("content-length"))
        .map(|line| line.1.parse::<usize>().unwrap())
        .sum()
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}
