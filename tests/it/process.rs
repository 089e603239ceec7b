//! The `driftd` program as a process: its exit codes, its signals, its demo.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::response::IntoResponse;
use http::StatusCode;
use tempfile::TempDir;

use crate::support::{self, PATIENCE};

pub fn driftd() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_driftd"));
    // What a developer's shell says must not decide what a test sees.
    for name in [
        "DRIFTD_CONFIG",
        "DRIFTD_THREADS",
        "DRIFTD_LOG",
        "DRIFTD_LOG_FORMAT",
        "DRIFTD_NAMESPACE",
        "DRIFTD_INFERENCESERVICE",
    ] {
        command.env_remove(name);
    }
    command
}

/// `driftd run` as a child, killed when dropped.
pub struct Sidecar {
    child: Child,
    pub proxy: SocketAddr,
}

impl Sidecar {
    /// Starts on free ports, in front of `upstream`, and waits until it listens.
    pub fn start(upstream: SocketAddr, more: &[&str]) -> Self {
        let mut child = driftd()
            .args(["run", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--log-format", "json"])
            .args(["--upstream", &format!("http://{upstream}")])
            .args(more)
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let (mut proxy, mut admin) = (None, None);
        let mut log = BufReader::new(child.stderr.take().expect("piped")).lines();
        while proxy.is_none() || admin.is_none() {
            let line = log.next().expect("a log line before the end").expect("UTF-8");
            let line: serde_json::Value = serde_json::from_str(&line).expect("JSON lines");
            let addr = |field: &str| line["fields"][field].as_str().and_then(|addr| addr.parse().ok());
            proxy = proxy.or_else(|| addr("proxy"));
            admin = admin.or_else(|| addr("admin"));
        }
        std::thread::spawn(move || log.for_each(drop)); // a full pipe would stop the child
        Self { child, proxy: proxy.expect("read above") }
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
fn check_refused(args: &[&str], code: i32, expected: &str) {
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
        &["baseline", "build"],
        &["baseline", "show"],
        &["baseline", "merge"],
        &["baseline", "diff"],
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

#[test]
fn the_demo_finds_both_changes_and_nothing_before() {
    let output = output(&["demo", "--exit-when-done"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    let drifts: Vec<_> = text.lines().filter(|line| line.contains(" DRIFT ")).collect();
    assert_eq!(drifts.len(), 2, "{text}");
    assert!(drifts[0].contains("income_eur") && drifts[0].contains("cause input"), "{text}");
    assert!(drifts[1].contains("default_risk") && drifts[1].contains("cause model"), "{text}");
}
