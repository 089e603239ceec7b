//! What the proxy costs, beside Envoy, nginx and `HAProxy` doing no more than passing on: `./test.sh --bench-tap`, which
//! gets all three; `cargo bench --bench proxy` measures those on the `PATH`.
//!
//! CPU is what the kernel charged the proxy's process for, at full load over 16 connections; latency is measured from
//! when a request was due, at a rate that leaves the machine idle most of the time, and what is shown of it is what comes
//! on top of asking the model server directly. Resident memory is read in the end. Each proxy is a process of its own,
//! Envoy, `HAProxy` and nginx with two threads, driftd with its default of one or as many as `DRIFTD_THREADS` says; the model
//! server (constant answers) and the callers are this process. Every subject is measured
//! in turn, several rounds, and the median shown, so that what else the machine does falls on all alike.
//!
//! `driftd` is the program itself, with everything on: every exchange is copied, decoded, counted and judged against a
//! baseline of 16 features and a prediction; once more with a sample rate of 0, where it forwards and no more.
//!
//! `DRIFTD_BENCH_QUICK=1` does a tenth of it once, to see that all of it runs; its figures say nothing.

#[path = "proxy/subjects.rs"]
mod subjects;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use subjects::{HAPROXY, cpu_seconds, request_body, resident_bytes, response_body, share_counted, subjects};

const N_CONNECTIONS: usize = 16;
const REQUESTS_PER_SECOND: u32 = 500;

/// How much is measured.
#[derive(Clone, Copy)]
struct Effort {
    n_rounds: usize,
    /// Of 1 KiB, and of 64 KiB.
    n_requests: [usize; 2],
    latency_round: Duration,
}

impl Effort {
    fn asked_for() -> Self {
        if std::env::var_os("DRIFTD_BENCH_QUICK").is_some() {
            return Self { n_rounds: 1, n_requests: [2_000, 400], latency_round: Duration::from_millis(200) };
        }
        Self { n_rounds: 5, n_requests: [20_000, 4_000], latency_round: Duration::from_secs(2) }
    }
}

fn main() {
    // `cargo test --benches` only wants to know that it builds.
    if std::env::args().any(|arg| arg == "--bench") {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        runtime.unwrap().block_on(measure());
    }
}

async fn measure() {
    let effort = Effort::asked_for();
    println!(
        "callers and model server in this process, {N_CONNECTIONS} connections, bodies both ways; latency at"
    );
    println!("{REQUESTS_PER_SECOND} requests/s, on top of `direct`\n");
    for (size, n_requests) in [1 << 10, 64 << 10].into_iter().zip(effort.n_requests) {
        measure_size(size, n_requests, effort).await;
    }
}

async fn measure_size(size: usize, n_requests: usize, effort: Effort) {
    let scratch = tempfile::tempdir().unwrap();
    let upstream = model_server(size).await;
    let subjects = subjects(upstream, scratch.path());
    let request = message("POST /v1/models/iris:predict HTTP/1.1\r\nHost: iris", &request_body(size));
    let mut cpu = vec![Vec::new(); subjects.len()];
    let mut latencies: Vec<_> = subjects.iter().map(|_| Histogram::<u64>::new(3).unwrap()).collect();
    for round in 0..=effort.n_rounds {
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
            pace(subject.addr, &request, effort.latency_round, &mut latencies[idx]).await;
        }
    }
    let of_haproxy = subjects.iter().position(|subject| subject.name == HAPROXY).map(|idx| median(&cpu[idx]));
    println!(
        "| {} KiB | CPU-s / 1,000 requests | ÷ HAProxy | p50 µs | p99 µs | resident MiB | counted |",
        size >> 10
    );
    println!("|---|---|---|---|---|---|---|");
    let quantile = |idx: usize, quantile| latencies[idx].value_at_quantile(quantile).cast_signed();
    for (idx, subject) in subjects.iter().enumerate() {
        let Some(process) = &subject.process else {
            println!("| {} | | | {} | {} | | |", subject.name, quantile(idx, 0.5), quantile(idx, 0.99));
            continue;
        };
        let seconds = median(&cpu[idx]);
        let ratio = of_haproxy.map(|of_haproxy| format!("{:.2}", seconds / of_haproxy)).unwrap_or_default();
        let [p50, p99] = [0.5, 0.99].map(|q| quantile(idx, q) - quantile(0, q)); // `direct` is the first
        let resident = resident_bytes(process) as f64 / f64::from(1 << 20);
        let counted = match subject.admin {
            Some(admin) => format!("{:.1} %", 100.0 * share_counted(admin).await),
            None => String::new(),
        };
        println!(
            "| {} | {seconds:.4} | {ratio} | +{p50} | +{p99} | {resident:.1} | {counted} |",
            subject.name
        );
    }
    println!();
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
async fn pace(addr: SocketAddr, request: &[u8], lasting: Duration, latencies: &mut Histogram<u64>) {
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
            while due < start + lasting {
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
