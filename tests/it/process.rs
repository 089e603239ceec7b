//! The `driftd` program as a process: its exit codes and its signals.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::response::IntoResponse;
use http::StatusCode;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{self, PATIENCE, metric};

pub fn driftd() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_driftd"));
    // What a developer's shell says must not decide what a test sees.
    for name in [
        "DRIFTD_CONFIG",
        "DRIFTD_CONFIG_TEXT",
        "DRIFTD_COMPONENT",
        "DRIFTD_REVISION",
        "DRIFTD_STORAGE_URI",
        "DRIFTD_THREADS",
        "DRIFTD_LOG",
        "DRIFTD_LOG_FORMAT",
        "DRIFTD_NAMESPACE",
        "DRIFTD_INFERENCESERVICE",
        "DRIFTD_CONTROLLER",
        "DRIFTD_TOKEN_FILE",
    ] {
        command.env_remove(name);
    }
    command
}

/// `driftd run` as a child, killed when dropped.
pub struct Sidecar {
    child: Child,
    pub proxy: SocketAddr,
    pub admin: SocketAddr,
}

impl Sidecar {
    /// Starts on free ports, in front of `upstream`, and waits until it listens.
    pub fn start(upstream: SocketAddr, more: &[&str]) -> Self {
        let upstream = format!("http://{upstream}");
        let args = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--upstream", &upstream];
        Self::spawn(&[&args, more].concat(), None, &BTreeMap::new())
    }

    /// Starts with a configuration that has no proxy, and waits until it can be asked.
    pub fn without_proxy(config: &Path) -> Self {
        Self::without_proxy_in(config, &BTreeMap::new())
    }

    /// The same with a text on its standard input, which ends behind it.
    pub fn reading(config: &Path, text: &str) -> Self {
        let mut started = Self::without_proxy(config);
        let mut stdin = started.child.stdin.take().expect("piped");
        stdin.write_all(text.as_bytes()).expect("it reads");
        started
    }

    /// The same with more in its environment.
    pub fn without_proxy_in(config: &Path, environment: &BTreeMap<String, String>) -> Self {
        let nowhere = support::localhost();
        Self::spawn(&["--config", config.to_str().expect("a path of ours")], Some(nowhere), environment)
    }

    /// Starts with a configuration that has a proxy, and waits until it listens.
    pub fn with_config(config: &Path, environment: &BTreeMap<String, String>) -> Self {
        Self::spawn(&["--config", config.to_str().expect("a path of ours")], None, environment)
    }

    fn spawn(args: &[&str], mut proxy: Option<SocketAddr>, environment: &BTreeMap<String, String>) -> Self {
        driftd::storage::install_tls(); // for the clients that call it
        let mut child = driftd()
            .args(["run", "--log-format", "json"])
            .args(args)
            .stdin(Stdio::piped())
            .envs(environment)
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut admin = None;
        let mut log = BufReader::new(child.stderr.take().expect("piped")).lines();
        while proxy.is_none() || admin.is_none() {
            let line = log.next().expect("a log line before the end").expect("UTF-8");
            let line: serde_json::Value = serde_json::from_str(&line).expect("JSON lines");
            let addr = |field: &str| line["fields"][field].as_str().and_then(|addr| addr.parse().ok());
            proxy = proxy.or_else(|| addr("proxy"));
            admin = admin.or_else(|| addr("admin"));
        }
        std::thread::spawn(move || log.for_each(drop)); // a full pipe would stop the child
        Self { child, proxy: proxy.expect("read above"), admin: admin.expect("read above") }
    }

    /// What it exports.
    pub async fn metrics(&self) -> String {
        reqwest::get(format!("http://{}/metrics", self.admin)).await.unwrap().text().await.unwrap()
    }

    /// The most memory that it ever had resident, in bytes.
    fn peak_resident_bytes(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let kib = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux says so");
        kib.trim_end_matches("kB").trim().parse::<usize>().expect("a number") * 1024
    }

    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(sent.expect("kill runs").success());
    }

    /// The exit code, waited for.
    pub async fn wait(mut self) -> Option<i32> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child of ours") {
                return status.code();
            }
            assert!(tokio::time::Instant::now() < deadline, "driftd does not end");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn output(args: &[&str]) -> Output {
    driftd().args(args).output().expect("the program starts")
}

#[track_caller]
pub fn check_refused(args: &[&str], code: i32, expected: &str) {
    let output = output(args);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert!(text.contains(expected), "message is {text:?}, expected it to contain {expected:?}");
}

#[test]
fn wrong_usage_and_wrong_files_end_with_2_and_say_what_to_do() {
    let directory = TempDir::new().unwrap();
    let config = directory.path().join("driftd.yaml");
    let path = config.to_str().unwrap();
    check_refused(&["run"], 2, "--listen");
    check_refused(&["run", "--config", path], 2, "check `--config`");
    std::fs::write(&config, "taps: [{proxy: {listen: 127.0.0.1:0, upstreem: http://127.0.0.1:1}}]").unwrap();
    check_refused(&["run", "--config", path], 2, "upstreem");
    check_refused(
        &["run", "--listen", "8080", "--upstream", "http://127.0.0.1:1"],
        2,
        "write it like `:8080`",
    );
    check_refused(&["run", "--listen", ":0", "--upstream", "ftp://x"], 2, "proxy.upstream");
    check_refused(
        &["run", "--listen", ":0", "--upstream", "http://127.0.0.1:1", "--log", "driftd=loud"],
        2,
        "--log",
    );
}

#[test]
fn a_taken_port_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let args = ["run", "--listen", &addr, "--admin", "127.0.0.1:0", "--upstream", "http://127.0.0.1:1"];
    check_refused(&args, 2, &format!("cannot listen on {addr} for the proxy"));
}

#[test]
fn every_command_has_help_with_an_example() {
    for args in [
        &["run"][..],
        &["demo"],
        &["replay"],
        &["check"],
        &["baseline", "build"],
        &["baseline", "show"],
        &["baseline", "merge"],
        &["baseline", "diff"],
        &["webhook"],
        &["controller"],
        &["audit", "list"],
        &["audit", "show"],
        &["audit", "explain"],
        &["audit", "verify"],
        &["audit", "rebuild"],
        &["rollback"],
        &["approve"],
        &["pause"],
        &["resume"],
    ] {
        let output = output(&[args, &["--help"]].concat());
        assert!(output.status.success());
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains("Example"), "{args:?}: {text}");
    }
}

#[tokio::test]
async fn sigterm_under_load_completes_what_is_in_flight_and_exits_0() {
    let slow = support::mock_model_server(|_| async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        "answer".into_response()
    })
    .await;
    let sidecar = Sidecar::start(slow, &[]);
    let (answered, refused) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let callers: Vec<_> = (0..20)
        .map(|_| {
            let url = format!("http://{}/v1/models/m:predict", sidecar.proxy);
            let (answered, refused) = (Arc::clone(&answered), Arc::clone(&refused));
            tokio::spawn(async move {
                let client = reqwest::Client::builder().pool_max_idle_per_host(0).build().unwrap();
                loop {
                    match client.post(&url).body("{}").send().await {
                        Ok(response) => {
                            assert_eq!(response.status(), StatusCode::OK);
                            assert_eq!(response.text().await.unwrap(), "answer");
                            answered.fetch_add(1, Ordering::Relaxed);
                        }
                        // Only a connection that was never taken may fail: the listener is closed.
                        Err(error) if error.is_connect() => {
                            refused.fetch_add(1, Ordering::Relaxed);
                            return;
                        }
                        Err(error) => panic!("a request in flight was cut: {error:?}"),
                    }
                }
            })
        })
        .collect();
    while answered.load(Ordering::Relaxed) < 40 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    sidecar.signal("TERM");
    assert_eq!(sidecar.wait().await, Some(0));
    for caller in callers {
        caller.await.expect("no caller was cut");
    }
    assert_eq!(refused.load(Ordering::Relaxed), 20);
}

const GIB: usize = 1 << 30;
const MIB: usize = 1 << 20;

/// Reads `n` bytes, or to the end if that comes first; says how many.
async fn drain(mut stream: impl AsyncReadExt + Unpin, n: usize) -> usize {
    let (mut chunk, mut n_seen) = (vec![0; 256 * 1024], 0);
    while n_seen < n {
        match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => break,
            Ok(n_read) => n_seen += n_read,
        }
    }
    n_seen
}

async fn fill(mut stream: impl AsyncWriteExt + Unpin, n: usize) {
    let chunk = vec![b'1'; 256 * 1024];
    for _ in 0..n / chunk.len() {
        stream.write_all(&chunk).await.expect("the other side reads");
    }
}

/// A server that reads the whole of every request of `n_request` bytes, then answers with `n_response` bytes.
async fn bulk_server(n_request: usize, n_response: usize) -> SocketAddr {
    let listener = TcpListener::bind(support::localhost()).await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    match stream.read_u8().await {
                        Ok(byte) => head.push(byte),
                        Err(_) => return, // a probe of readiness
                    }
                }
                assert_eq!(drain(&mut stream, n_request).await, n_request);
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {n_response}\r\n\r\n");
                stream.write_all(head.as_bytes()).await.unwrap();
                fill(&mut stream, n_response).await;
            });
        }
    });
    addr
}

async fn post(sidecar: &Sidecar, n_bytes: usize) -> TcpStream {
    let mut stream = TcpStream::connect(sidecar.proxy).await.unwrap();
    let head = format!("POST /v1/models/m:predict HTTP/1.1\r\nHost: m\r\nContent-Length: {n_bytes}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

async fn response_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("a response"));
    }
    String::from_utf8(head).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_of_a_gibibyte_pass_in_little_memory() {
    let sidecar = Sidecar::start(bulk_server(GIB, GIB).await, &[]);
    let mut caller = post(&sidecar, GIB).await;
    fill(&mut caller, GIB).await;
    assert!(response_head(&mut caller).await.starts_with("HTTP/1.1 200"));
    assert_eq!(drain(&mut caller, GIB).await, GIB);
    let peak = sidecar.peak_resident_bytes();
    assert!(peak < 40 * MIB, "{} MiB resident", peak / MIB);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_slow_callers_hold_their_budget_and_no_more() {
    const N_CALLERS: usize = 1000;
    rlimit::increase_nofile_limit(u64::MAX).unwrap();
    let sidecar = Sidecar::start(bulk_server(MIB, 256 * 1024).await, &[]);
    // All bodies stop halfway, until every caller is there.
    let mut callers = Vec::with_capacity(N_CALLERS);
    for _ in 0..N_CALLERS {
        let mut caller = post(&sidecar, MIB).await;
        fill(&mut caller, MIB / 2).await;
        callers.push(caller);
    }
    let metrics =
        reqwest::get(format!("http://{}/metrics", sidecar.admin)).await.unwrap().text().await.unwrap();
    let held = metric(&metrics, "driftd_tap_mirrored_bytes").unwrap();
    for caller in &mut callers {
        fill(caller, MIB / 2).await;
    }
    let mut n_complete = 0;
    for caller in &mut callers {
        n_complete += usize::from(response_head(caller).await.starts_with("HTTP/1.1 200"));
        assert_eq!(drain(caller, 256 * 1024).await, 256 * 1024);
    }
    assert_eq!(n_complete, N_CALLERS, "every caller is served");
    assert!(held <= 8.0 * MIB as f64, "copies hold {held} bytes");
    // The budget of 8 MiB, and what a thousand pairs of connections need.
    let peak = sidecar.peak_resident_bytes();
    assert!(peak < 160 * MIB, "{} MiB resident", peak / MIB);
    let metrics =
        reqwest::get(format!("http://{}/metrics", sidecar.admin)).await.unwrap().text().await.unwrap();
    let dropped = metric(&metrics, r#"driftd_tap_dropped_total{reason="over_budget",tap="proxy"}"#).unwrap();
    assert!(dropped > 900.0, "{dropped} copies were dropped for the budget");
}

#[tokio::test]
async fn killed_and_started_again_it_serves_again() {
    let server = support::mock_model_server(|_| async { "answer".into_response() }).await;
    let sidecar = Sidecar::start(server, &[]);
    let url = |sidecar: &Sidecar| format!("http://{}/v1/models/m:predict", sidecar.proxy);
    assert_eq!(reqwest::get(url(&sidecar)).await.unwrap().text().await.unwrap(), "answer");
    sidecar.signal("KILL");
    assert_eq!(sidecar.wait().await, None, "killed by a signal");
    let sidecar = Sidecar::start(server, &[]);
    assert_eq!(reqwest::get(url(&sidecar)).await.unwrap().text().await.unwrap(), "answer");
}
