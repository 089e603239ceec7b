//! h2spec, a public suite of what RFC 9113 and RFC 7541 ask of a server, against the proxy in front of a real nginx.

use std::net::SocketAddr;
use std::process::Stdio;

use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use super::harness::{PATIENCE, TestProxy};
use crate::support::from_env;

/// An nginx that speaks HTTP/2 without TLS and answers everything with one line; killed when dropped.
struct Nginx {
    process: Child,
    _directory: TempDir,
    addr: SocketAddr,
}

impl Nginx {
    async fn start() -> Self {
        let directory = TempDir::new().unwrap();
        let addr = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let path = directory.path().display();
        let config = format!(
            "daemon off; master_process off; pid {path}/pid; error_log {path}/error.log; events {{}}\n\
             http {{ access_log off; client_body_temp_path {path}; proxy_temp_path {path}; fastcgi_temp_path {path};\n\
             uwsgi_temp_path {path}; scgi_temp_path {path};\n\
             server {{ listen {addr} http2; location / {{ return 200 \"what a model would say\\n\"; }} }} }}\n"
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

/// All but one. The exception is not ours to mend: on a port for both versions, a connection that does not begin with
/// HTTP/2's preface is HTTP/1.1 (RFC 9113 §3.3, prior knowledge), and gets a 400 where the suite expects silence
/// (`a_broken_preface_is_a_bad_http1_request`).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h2spec_finds_the_proxy_conformant() {
    let nginx = Nginx::start().await;
    let proxy = TestProxy::start(nginx.addr).await;
    let port = proxy.addr.port().to_string();
    let output = Command::new(from_env("DRIFTD_TEST_H2SPEC"))
        .args(["--strict", "--timeout", "20", "--port", &port])
        .kill_on_drop(true)
        .output();
    let output = timeout(PATIENCE * 30, output).await.expect("h2spec ends").expect("h2spec starts");
    let text = String::from_utf8_lossy(&output.stdout);
    let (_, failures) = text.split_once("Failures:").expect("the one exception");
    let failed: Vec<_> = failures.lines().filter_map(|line| line.trim().strip_prefix("× ")).collect();
    assert_eq!(failed, ["2: Sends invalid connection preface"], "{failures}");
    assert!(text.contains("146 tests, 145 passed, 0 skipped, 1 failed"), "{text}");
}
