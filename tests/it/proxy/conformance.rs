//! h2spec, a public suite of what RFC 9113 and RFC 7541 ask of a server, against the proxy in front of a real nginx.

use std::net::SocketAddr;
use std::process::Stdio;

use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use super::harness::{PATIENCE, TestProxy};
use crate::support::from_env;

/// An nginx that speaks HTTP/2 without TLS and answers everything with one line, once it has read the request whole (as it
/// does for a server behind it): an answer in the middle of a request ends the stream before the suite has broken it.
/// Killed when dropped.
struct Nginx {
    process: Child,
    _directory: TempDir,
    addr: SocketAddr,
}

impl Nginx {
    async fn start() -> Self {
        let directory = TempDir::new().unwrap();
        let free = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let (addr, inner) = (free(), free());
        let path = directory.path().display();
        let config = format!(
            "daemon off; master_process off; pid {path}/pid; error_log {path}/error.log; events {{}}\n\
             http {{ access_log off; client_body_temp_path {path}; proxy_temp_path {path}; fastcgi_temp_path {path};\n\
             uwsgi_temp_path {path}; scgi_temp_path {path};\n\
             server {{ listen {addr} http2; location / {{ proxy_pass http://{inner}; }} }}\n\
             server {{ listen {inner}; location / {{ return 200 \"what a model would say\\n\"; }} }} }}\n"
        );
        let file = directory.path().join("nginx.conf");
        std::fs::write(&file, config).unwrap();
        let process = Command::new(from_env("DRIFTD_TEST_NGINX"))
            .arg("-p")
            .arg(directory.path())
            .arg("-c")
            .arg(&file)
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("nginx starts");
        let mut nginx = Self { process, _directory: directory, addr };
        let listening = async {
            while TcpStream::connect(addr).await.is_err() {
                assert_eq!(nginx.process.try_wait().unwrap(), None, "nginx has ended");
                sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, listening).await.expect("nginx listens in time");
        nginx
    }
}

const N_RUNS: usize = 5;

/// All but one. The exception is not ours to mend: on a port for both versions, a connection that does not begin with
/// HTTP/2's preface is HTTP/1.1 (RFC 9113 §3.3, prior knowledge), and gets a 400 where the suite expects silence
/// (`a_broken_preface_is_a_bad_http1_request`).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h2spec_finds_the_proxy_conformant() {
    let nginx = Nginx::start().await;
    let proxy = TestProxy::start(nginx.addr).await;
    let port = proxy.addr.port().to_string();
    // The suite sends what is wrong while the answer to what was right is on its way, and takes the one for the answer to
    // the other if they cross. A case that never passes is a finding.
    let mut findings: Option<Vec<String>> = None;
    for _ in 0..N_RUNS {
        let output = Command::new(from_env("DRIFTD_TEST_H2SPEC"))
            .args(["--strict", "--port", &port])
            .kill_on_drop(true)
            .output();
        let output = timeout(PATIENCE * 30, output).await.expect("h2spec ends").expect("h2spec starts");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains("146 tests, ") && text.contains(" 0 skipped, "), "{text}");
        let (_, failures) = text.split_once("Failures:").expect("the one exception");
        let failed = failures.lines().filter_map(|line| line.trim().strip_prefix("× "));
        let failed: Vec<_> = failed.map(str::to_owned).collect();
        let still = match findings {
            Some(findings) => findings.into_iter().filter(|finding| failed.contains(finding)).collect(),
            None => failed,
        };
        if still == ["2: Sends invalid connection preface"] {
            return;
        }
        findings = Some(still);
    }
    panic!("h2spec found the same in {N_RUNS} runs: {findings:#?}");
}
