//! Logs as the programs write and rotate them that people have: Envoy's access log, and Debian's logrotate.

use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::json;

use super::*;
use crate::agent::{free_port, mock_scorer};

/// Killed when dropped.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A Lua filter puts both bodies into dynamic metadata, and the access log's JSON format has them from there: by itself Envoy logs
/// no body.
const ENVOY: &str = r#"
static_resources:
  listeners:
  - address: {socket_address: {address: 127.0.0.1, port_value: LISTEN}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          '@type': type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: callers
          access_log:
          - name: envoy.access_loggers.file
            typed_config:
              '@type': type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog
              path: LOG
              log_format:
                json_format:
                  start_time: '%START_TIME%'
                  method: '%REQ(:METHOD)%'
                  path: '%REQ(:PATH)%'
                  response_code: '%RESPONSE_CODE%'
                  request: '%DYNAMIC_METADATA(bodies:request)%'
                  response: '%DYNAMIC_METADATA(bodies:response)%'
          route_config: {virtual_hosts: [{name: model, domains: ['*'], routes: [{match: {prefix: /}, route: {cluster: model}}]}]}
          http_filters:
          - name: envoy.filters.http.lua
            typed_config:
              '@type': type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua
              default_source_code:
                inline_string: |
                  local function keep(handle, side)
                    local body = handle:body()
                    if body then
                      handle:streamInfo():dynamicMetadata():set("bodies", side, body:getBytes(0, body:length()))
                    end
                  end
                  function envoy_on_request(handle) keep(handle, "request") end
                  function envoy_on_response(handle) keep(handle, "response") end
          - name: envoy.filters.http.router
            typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
  clusters:
  - name: model
    load_assignment: {cluster_name: model, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: MODEL}}}}]}]}
"#;

async fn envoy(directory: &TempDir, model: std::net::SocketAddr, log: &Path) -> (Program, String) {
    let port = free_port(); // taken by another process meanwhile, Envoy ends and says so
    let config = ENVOY
        .replace("LISTEN", &port.to_string())
        .replace("MODEL", &model.port().to_string())
        .replace("LOG", log.to_str().unwrap());
    let file = directory.path().join("envoy.yaml");
    fs::write(&file, config).unwrap();
    // A base id of its own, or two Envoys on one machine end each other.
    let child = Command::new(support::from_env("DRIFTD_TEST_ENVOY"))
        .args(["--concurrency", "1", "--use-dynamic-base-id", "--log-level", "error"])
        .args(["--file-flush-interval-msec", "50", "-c"])
        .arg(&file)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut envoy = Program(child);
    let listening = async {
        while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            assert_eq!(envoy.0.try_wait().unwrap(), None, "Envoy has ended");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(support::PATIENCE, listening).await.expect("Envoy listens in time");
    (envoy, format!("http://127.0.0.1:{port}"))
}

#[tokio::test]
async fn envoys_own_access_log_is_counted_as_what_was_sent() {
    let directory = TempDir::new().unwrap();
    let log = directory.path().join("access.log");
    let (_envoy, url) = envoy(&directory, support::mock_model_server(mock_scorer).await, &log).await;
    let logs =
        format!("{{include: ['{}'], format: envoy, request: /request, response: /response}}", log.display());
    let daemon = Daemon::start(config(&directory, &logs)).await;
    let client = reqwest::Client::new();
    let (mut n_rows, mut n_refused, mut amounts) = (0, 0, [0_u64; 50]);
    for request in 0..300_u64 {
        let rows: Vec<_> = (0..=request % 3).map(|row| [(7 * request + row) % 50, 20 + row]).collect();
        // The mock refuses what has no `instances`; nobody knows the model that others ask for.
        let is_refused = request % 10 == 9;
        let body = if is_refused {
            json!({"rows": rows}).to_string()
        } else {
            json!({"instances": rows}).to_string()
        };
        let post = client.post(format!("{url}/v1/models/credit:predict?trace=1")).body(body);
        let status = post.send().await.unwrap().status();
        assert_eq!(status, if is_refused { 422 } else { 200 });
        if is_refused {
            n_refused += 1;
            continue;
        }
        n_rows += rows.len() as u64;
        for row in rows {
            amounts[usize::try_from(row[0]).unwrap()] += 1;
        }
    }
    // A request without a body, which is no inference.
    let probe = client.get(format!("{url}/v1/models/credit")).send().await.unwrap().status();
    assert_eq!(probe, 400);
    let report = daemon.wait_for_rows(n_rows).await;
    let not_ok = r#"driftd_tap_exchanges_total{outcome="not_ok",tap="logs"}"#;
    daemon.wait_for_metric(not_ok, f64::from(n_refused) + 1.0).await;
    daemon.wait_for_metric(r#"driftd_tap_exchanges_total{outcome="mirrored",tap="logs"}"#, 270.0).await;
    let model = model(&report);
    assert_eq!((model.rows.feature, model.rows.prediction, model.late.feature), (n_rows, n_rows, 0));
    assert_eq!(model.violations, []);
    let counts: Vec<u64> = model.features[0].windows[0].counts.iter().copied().filter(|n| *n > 0).collect();
    let expected: Vec<u64> = amounts.chunks(5).map(|group| group.iter().sum()).collect();
    assert_eq!(counts, expected);
    daemon.stop().await;
}

/// Writes a log line after line, opening the file anew for each as many programs do, until told to end. Says how many.
fn write_until(is_over: &AtomicBool, between_lines: &Mutex<()>, log: &Path, n_written: &AtomicU64) -> u64 {
    let mut row = 0;
    while !is_over.load(Ordering::Relaxed) {
        {
            let _line = between_lines.lock().unwrap();
            append(log, &line(row, row));
        }
        row += 1;
        n_written.store(row, Ordering::Relaxed);
        if row % 20 == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    row
}

/// logrotate, again and again while a log is written and read. What it would lose itself is kept from it by `is_writer_paused`: lines
/// that are written between its copy and its truncation, or into a file that it compresses at once.
async fn check_logrotate(how: &str, is_writer_paused: bool) {
    const N_ROTATIONS: u64 = 6;
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("app.log");
    append(&path, "");
    let rotation = directory.path().join("logrotate.conf");
    let (log, newlines) = (path.display(), how.replace(' ', "\n"));
    fs::write(&rotation, format!("\"{log}\" {{\nrotate 100\nmissingok\n{newlines}\n}}\n")).unwrap();
    let daemon = Daemon::start(config(&directory, &format!("{{include: ['{log}*'], {JSONL}}}"))).await;

    let (is_over, between_lines, n_written) =
        (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(())), Arc::new(AtomicU64::new(0)));
    let writer = {
        let shared = (Arc::clone(&is_over), Arc::clone(&between_lines), Arc::clone(&n_written));
        let path = path.clone();
        std::thread::spawn(move || write_until(&shared.0, &shared.1, &path, &shared.2))
    };
    for rotation_idx in 1..=N_ROTATIONS {
        while n_written.load(Ordering::Relaxed) < rotation_idx * 300 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let _pause = is_writer_paused.then(|| between_lines.lock().unwrap());
        let rotated = Command::new(support::from_env("DRIFTD_TEST_LOGROTATE"))
            .args(["--force", "--state"])
            .arg(directory.path().join("logrotate.state"))
            .arg(&rotation)
            .output()
            .unwrap();
        assert!(rotated.status.success(), "{how}: {}", String::from_utf8_lossy(&rotated.stderr));
    }
    is_over.store(true, Ordering::Relaxed);
    let n_rows = writer.join().unwrap();
    let n_rotated = fs::read_dir(directory.path())
        .unwrap()
        .filter(|file| file.as_ref().unwrap().file_name().to_string_lossy().starts_with("app.log."));
    assert_eq!(n_rotated.count() as u64, N_ROTATIONS, "{how}");
    daemon.wait_for_rows(n_rows).await;
    // One more, once everything was looked at again: by then a row counted twice would show.
    let seen = daemon.metrics().await;
    append(&path, &line(n_rows, n_rows));
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let report = daemon.wait_for_rows(n_rows + 1).await;
    let model = model(&report);
    assert_eq!(
        (model.rows.feature, model.rows.prediction, model.late.feature),
        (n_rows + 1, n_rows + 1, 0),
        "{how}"
    );
    let counts = model.features[0].windows[2].counts.iter().copied().filter(|n| *n > 0);
    let expected = (0..10).map(|group| (0..=n_rows).filter(|row| row % 50 / 5 == group).count() as u64);
    assert_eq!(counts.collect::<Vec<_>>(), expected.collect::<Vec<_>>(), "{how}");
    assert_eq!(metric(&seen, &dropped("truncated")), Some(0.0), "{how}");
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logrotate_by_renaming_under_load_loses_no_row_and_doubles_none() {
    check_logrotate("create", false).await;
    check_logrotate("create compress delaycompress", false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logrotate_that_compresses_at_once_loses_no_row_and_doubles_none() {
    check_logrotate("create compress", true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logrotate_by_copying_and_truncating_loses_no_row_and_doubles_none() {
    check_logrotate("copytruncate", true).await;
    check_logrotate("copytruncate compress", true).await;
    check_logrotate("copytruncate compress delaycompress", true).await;
}
