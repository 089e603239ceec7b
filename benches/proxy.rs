//! What the proxy costs, beside `HAProxy` and nginx doing no more than passing on: `cargo bench --bench proxy`.
//!
//! CPU is what the kernel charged the proxy's process for, at full load over 16 connections; latency is measured from
//! when a request was due, at a rate that leaves the machine idle most of the time. Each proxy is a process of its own,
//! `HAProxy` and nginx with two threads, driftd with its default of one or as many as `DRIFTD_THREADS` says; the model
//! server (constant answers) and the callers are this process. Every subject is measured
//! in turn, several rounds, and the median shown, so that what else the machine does falls on all alike.
//!
//! `driftd` is the program itself, with everything on: every exchange is copied, decoded, counted and judged against a
//! baseline of 16 features and a prediction; once more with a sample rate of 0, where it forwards and no more.

use std::net::{SocketAddr, TcpListener as StdListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use driftd::baseline::build::{self, BuildOptions};
use hdrhistogram::Histogram;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const N_FEATURES: usize = 16;
const N_CONNECTIONS: usize = 16;
const N_ROUNDS: usize = 5;
const REQUESTS_PER_SECOND: u32 = 500;
const LATENCY_ROUND: Duration = Duration::from_secs(2);

fn main() {
    // `cargo test --benches` only wants to know that it builds.
    if std::env::args().any(|arg| arg == "--bench") {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        runtime.unwrap().block_on(measure());
    }
}

/// A way from the callers to the model server.
struct Subject {
    name: &'static str,
    addr: SocketAddr,
    process: Option<Process>,
    /// Where it says what became of its copies.
    admin: Option<SocketAddr>,
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
        let request = message("POST /v1/models/iris:predict HTTP/1.1\r\nHost: iris", &request_body(size));
        println!("{} KiB", size >> 10);
        println!(
            "{:<28} {:>22} {:>8} {:>10} {:>10} {:>10}",
            "", "CPU-s / 1,000 requests", "ratio", "p50 µs", "p99 µs", "counted"
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
            let counted = match subject.admin {
                Some(admin) => format!("{:.1} %", 100.0 * share_counted(admin).await),
                None => String::new(),
            };
            println!("{:<28} {seconds:>22} {ratio:>8} {p50:>10} {p99:>10} {counted:>10}", subject.name);
        }
        println!();
    }
}

const HAPROXY: &str = "HAProxy, passthrough";

fn subjects(upstream: SocketAddr, scratch: &Path) -> Vec<Subject> {
    let mut subjects = vec![
        Subject { name: "direct", addr: upstream, process: None, admin: None },
        driftd("driftd, everything on", upstream, 1.0, scratch),
        driftd("driftd, sample_rate 0", upstream, 0.0, scratch),
    ];
    subjects.extend(haproxy(upstream, scratch));
    subjects.extend(nginx(upstream, scratch));
    subjects
}

fn driftd(name: &'static str, upstream: SocketAddr, sample_rate: f64, scratch: &Path) -> Subject {
    let (addr, admin) = (free_addr(), free_addr());
    let config = format!(
        "admin: {admin}\nmodels: [{{baseline: {}}}]\n\
         taps: [{{proxy: {{listen: {addr}, upstream: 'http://{upstream}', sample_rate: {sample_rate}}}}}]\n",
        baseline(scratch).display()
    );
    let path = scratch.join(format!("driftd-{sample_rate}.yaml"));
    std::fs::write(&path, config).unwrap();
    let run =
        other(name, addr, Command::new(env!("CARGO_BIN_EXE_driftd")).args(["run", "--config"]).arg(path));
    Subject { admin: Some(admin), ..run.unwrap() }
}

/// The share of exchanges whose copies were counted: under full load the rest is dropped, which costs less.
async fn share_counted(admin: SocketAddr) -> f64 {
    let mut stream = TcpStream::connect(admin).await.unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    let sum = |prefix: &str| -> f64 {
        let lines = text.lines().filter(|line| line.starts_with(prefix));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
    };
    sum("driftd_tap_exchanges_total{outcome=\"mirrored\"") / sum("driftd_tap_exchanges_total{")
}

/// Of the numbers that requests and responses are made of.
fn baseline(scratch: &Path) -> PathBuf {
    let (table, file) = (scratch.join("train.csv"), scratch.join("iris.json"));
    let mut numbers = numbers();
    let names: Vec<_> = (0..N_FEATURES).map(|at| format!("x{at}")).collect();
    let rows = (0..10_000).map(|_| (&mut numbers).take(N_FEATURES + 1).collect::<Vec<_>>().join(","));
    let header = names.join(",") + ",y";
    std::fs::write(&table, std::iter::once(header).chain(rows).collect::<Vec<_>>().join("\n")).unwrap();
    let options = BuildOptions { predictions: vec!["y".to_owned()], ..BuildOptions::default() };
    build::build(&[table.display().to_string()], &options).unwrap().baseline.write(&file).unwrap();
    file
}

/// Numbers in full precision, the same ones every time.
fn numbers() -> impl Iterator<Item = String> {
    let mut rng = fastrand::Rng::with_seed(16);
    std::iter::repeat_with(move || rng.f64().to_string())
}

/// A V1 request of `size` bytes: as many rows as fit, then spaces.
fn request_body(size: usize) -> String {
    let mut numbers = numbers();
    let row = || format!("[{}]", (&mut numbers).take(N_FEATURES).collect::<Vec<_>>().join(","));
    filled("instances", std::iter::repeat_with(row), size)
}

/// A V1 response of `size` bytes.
fn response_body(size: usize) -> String {
    filled("predictions", numbers(), size)
}

fn filled(key: &str, items: impl Iterator<Item = String>, size: usize) -> String {
    let mut body = format!("{{\"{key}\":[");
    for (at, item) in items.enumerate() {
        if body.len() + item.len() + 3 > size {
            break;
        }
        if at > 0 {
            body.push(',');
        }
        body.push_str(&item);
    }
    body.push_str("]}");
    let n_left = size.saturating_sub(body.len());
    body + &" ".repeat(n_left)
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
            return Some(Subject { name, addr, process: Some(process), admin: None });
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

/// What the process and its children have run, to the nanosecond. Only threads that live are counted, and all that matter
/// here live until the end.
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

fn message(head: &str, body: &str) -> Vec<u8> {
    let size = body.len();
    format!("{head}\r\nContent-Type: application/json\r\nContent-Length: {size}\r\n\r\n{body}").into_bytes()
}

async fn model_server(size: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let answer: &[u8] = message("HTTP/1.1 200 OK\r\nserver: uvicorn", &response_body(size)).leak();
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
