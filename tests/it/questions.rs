//! The controller's questions to a real Prometheus, which scrapes pages that a stand-in for driftd's pods shows.

use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::Utc;
use driftd::gitops::config::PrometheusConfig;
use driftd::gitops::prometheus::{Answer, Prometheus};
use driftd::gitops::target::ServiceName;
use tempfile::NamedTempFile;

use crate::real;
use crate::support::PATIENCE;

/// The shipped alert without its minute of waiting.
const RULES: &str = r#"{"groups": [{"name": "verdicts", "rules": [{
    "alert": "DriftdModelDrift",
    "expr": "avg by (namespace, inferenceservice, model, version, window) (driftd_model_drifted{cause=\"model\"}) > 0.5",
    "labels": {"driftd_action": "rollback"}}]}]}"#;

/// Stands in for the pods of a service: shows what it is given, or nothing.
struct Pods {
    addr: SocketAddr,
    page: Arc<Mutex<String>>,
}

impl Pods {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let page = Arc::new(Mutex::new(String::new()));
        let shown = page.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let _ = stream.read(&mut [0; 4096]);
                let page = shown.lock().unwrap().clone();
                let head = format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: text/plain; version=0.0.4\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
                    page.len()
                );
                let _ = stream.write_all(format!("{head}{page}").as_bytes());
            }
        });
        Self { addr, page }
    }

    fn show(&self, versions: &[Version<'_>]) {
        *self.page.lock().unwrap() = versions.iter().map(Version::page).collect();
    }
}

/// What a pod shows of one version.
#[derive(Clone, Copy)]
struct Version<'a> {
    name: &'a str,
    rows: u64,
    /// The cause that its model drifts by: "" for none.
    cause: Option<&'a str>,
    is_borrowed: bool,
}

impl<'a> Version<'a> {
    fn new(name: &'a str, rows: u64, cause: Option<&'a str>) -> Self {
        Self { name, rows, cause, is_borrowed: false }
    }

    fn page(&self) -> String {
        let mut page = String::new();
        let identity = format!(
            r#"namespace="prod",inferenceservice="credit",model="credit",version="{}""#,
            self.name.replace('\\', r"\\").replace('"', r#"\""#)
        );
        let mut line = |metric: &str, labels: &str, value: &str| {
            let comma = if labels.is_empty() { "" } else { "," };
            writeln!(page, "{metric}{{{identity}{comma}{labels}}} {value}").unwrap();
        };
        line("driftd_model_info", r#"component="predictor",revision="",storage_uri_hash="0a1b2c3d""#, "1");
        let borrowed = format!(r#"sha256="x",borrowed="{}",learnt="false""#, self.is_borrowed);
        line("driftd_baseline_info", &borrowed, "1");
        for role in ["feature", "prediction"] {
            line("driftd_rows_total", &format!(r#"role="{role}""#), &self.rows.to_string());
        }
        let score = r#"feature="score",role="prediction""#;
        line("driftd_baseline_rows", &format!(r#"{score},edges="e",kind="numeric""#), "1000");
        let Some(cause) = self.cause else { return page };
        for one in ["schema", "input", "model", "unknown"] {
            let value = if cause == "NaN" { "NaN".to_owned() } else { u8::from(one == cause).to_string() };
            line("driftd_model_drifted", &format!(r#"cause="{one}",window="5m""#), &value);
        }
        line("driftd_drifted", &format!(r#"{score},window="5m""#), &u8::from(!cause.is_empty()).to_string());
        let psi = format!(r#"{score},statistic="psi",window="5m""#);
        line("driftd_drift_score", &psi, "0.41");
        line("driftd_drift_threshold", &psi, "0.25");
        line("driftd_window_samples", &format!(r#"{score},window="5m""#), "5120");
        page
    }
}

struct Rig {
    pods: Pods,
    prometheus: real::Prometheus,
    /// Read as Prometheus starts, which may be after `start` has returned.
    _rules: NamedTempFile,
    client: Prometheus,
    service: ServiceName,
}

impl Rig {
    fn start() -> Self {
        let pods = Pods::start();
        let rules = NamedTempFile::with_suffix(".yaml").unwrap();
        std::fs::write(rules.path(), RULES).unwrap();
        let prometheus = real::Prometheus::start_with(rules.path(), &[pods.addr]);
        let client = client(&prometheus.url());
        Self { pods, prometheus, _rules: rules, client, service: ServiceName::new("prod", "credit").unwrap() }
    }

    async fn accused(&self, version: &str, alerts: &[&str]) -> Answer {
        self.client.still_accused(&self.service, version, alerts).await
    }

    /// Asks until the answer reads so.
    async fn until(&self, expected: &str, ask: impl AsyncFn() -> Answer) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let answer = ask().await.to_string();
            if answer.starts_with(expected) {
                return;
            }
            assert!(tokio::time::Instant::now() < deadline, "`{answer}` where `{expected}` was expected");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

fn client(url: &str) -> Prometheus {
    Prometheus::new(&PrometheusConfig {
        url: url.parse().unwrap(),
        bearer_token_file: None,
        ca_file: None,
        timeout: Duration::from_secs(5),
        max_age: Duration::from_secs(10),
    })
    .unwrap()
}

#[tokio::test]
async fn an_accusation_is_confirmed_by_what_fires_and_by_what_stands_behind_it() {
    let rig = Rig::start();
    rig.pods.show(&[Version::new("v2", 900, Some("model"))]);
    let shipped = ["DriftdModelDrift"];
    rig.until("yes: DriftdModelDrift fires; window 5m: 100 % of 1 pods", || rig.accused("v2", &shipped))
        .await;
    let expected = "yes: no rule here has fired, and the condition holds; window 5m: 100 %";
    rig.until(expected, || rig.accused("v2", &["Grafana's own"])).await;
    rig.until("unknown: no pod with v1", || rig.accused("v1", &shipped)).await;

    let firing = rig.client.firing_rollbacks().await.unwrap();
    assert_eq!(firing.len(), 1);
    assert_eq!((firing[0].name.as_str(), firing[0].labels["version"].as_str()), ("DriftdModelDrift", "v2"));
    assert!((Utc::now() - firing[0].active_at).num_seconds() < 60);
    let accused = rig.client.accused_services().await.unwrap();
    assert_eq!(accused.len(), 1);
    assert_eq!(accused[0].0, rig.service);
    assert!((accused[0].1 - firing[0].active_at).num_seconds().abs() <= 1, "{accused:?}");
    let measured = &rig.client.measured(&rig.service, "v2").await.unwrap()[0];
    assert_eq!(measured.to_string(), "score psi=0.410 threshold=0.250 window=5m samples=5120");

    rig.pods.show(&[Version::new("v2", 900, Some(""))]);
    rig.until("no: the alert does not fire; window 5m: 0 %", || rig.accused("v2", &shipped)).await;
    rig.pods.show(&[Version::new("v2", 900, Some("NaN"))]);
    rig.until("unknown: the alert does not fire here, and there is no verdict", || {
        rig.accused("v2", &shipped)
    })
    .await;
    rig.pods.show(&[]);
    rig.until("unknown: no pod with v2", || rig.accused("v2", &shipped)).await;
    assert_eq!(rig.client.firing_rollbacks().await.unwrap(), []);
}

#[tokio::test]
async fn a_version_is_well_only_by_rows_and_a_verdict_of_its_own() {
    let rig = Rig::start();
    rig.pods.show(&[Version::new("v1", 100, Some("")), Version::new("v2", 9000, Some(""))]);
    rig.prometheus.wait_for(r#"driftd_rows_total{version="v1"}"#).await;
    let since = Utc::now();
    let well = async || rig.client.is_well(&rig.service, "v1", since, 500).await;
    rig.until("unknown: 0 of 500 rows so far", well).await;
    rig.pods.show(&[Version::new("v1", 599, Some(""))]);
    rig.until("unknown: 499 of 500 rows so far", well).await;
    rig.pods.show(&[Version::new("v1", 600, Some(""))]);
    rig.until("yes: 500 rows in 1 pods, nothing drifted in window 5m", well).await;
    rig.pods.show(&[Version::new("v1", 500, Some(""))]); // started again, so these are all new
    rig.until("yes: 500 rows", well).await;
    rig.pods.show(&[Version::new("v1", 600, None)]);
    rig.until("unknown: 500 rows, and no verdict on them yet", well).await;
    rig.pods.show(&[Version::new("v1", 600, Some("NaN"))]);
    rig.until("unknown: 500 rows, and no verdict on them yet", well).await;
    rig.pods.show(&[Version::new("v1", 600, Some("input"))]);
    rig.until("unknown: v1 drifts, not by itself; window 5m: cause input in 100 %", well).await;
    rig.pods.show(&[Version::new("v1", 600, Some("model"))]);
    rig.until("no: DriftdModelDrift fires for v1", well).await;
    rig.pods.show(&[Version::new("v2", 9000, Some(""))]);
    rig.until("unknown: no pod with v1", well).await;
}

#[tokio::test]
async fn a_change_came_with_a_version_if_the_one_before_was_quiet() {
    let rig = Rig::start();
    let (long, short) = (Duration::from_mins(10), Duration::from_mins(1));
    let came = async |previous: &str, window| {
        rig.client.came_with(&rig.service, "v2", previous, window, short).await
    };
    rig.pods.show(&[Version::new("v0", 9, Some("input")), Version::new("v1", 9, Some(""))]);
    rig.prometheus.wait_for(r#"driftd_model_drifted{version="v1"}"#).await;
    rig.until("unknown: v2 was not seen at all", || came("v1", long)).await;
    tokio::time::sleep(Duration::from_secs(3)).await; // the past is looked through second by second
    rig.pods.show(&[Version::new("v2", 9, Some("model"))]);
    rig.until("yes: v2 serves since 20", || came("v1", long)).await;
    // A day is looked through in steps of minutes; a version that lies between two of them is seen all the same.
    rig.until("yes: v2 serves since 20", || came("v1", Duration::from_hours(24))).await;
    rig.until("no: v0, the version before, drifted as well (cause input)", || came("v0", long)).await;
    rig.until("unknown: v3, the version before, was not seen", || came("v3", long)).await;
    rig.until("no: v2 serves for longer than 2s", || came("v1", Duration::from_secs(2))).await;
    let first = rig.client.first_seen(&rig.service, "v2", long).await.unwrap().unwrap();
    assert!((0..60).contains(&(Utc::now() - first).num_seconds()), "{first}");
}

#[tokio::test]
async fn pods_say_what_they_serve_and_whether_they_are_to_be_trusted() {
    let rig = Rig::start();
    let odd = r#"v2"} or vector(1) #\"#;
    let borrowed = Version { is_borrowed: true, ..Version::new(odd, 7, Some("")) };
    rig.pods.show(&[Version::new("v1", 40, Some("")), borrowed]);
    rig.prometheus.wait_for("driftd_model_info").await;
    let mut serving = rig.client.serving(&rig.service).await.unwrap();
    serving.sort_by_key(|found| found.rows);
    let found: Vec<_> =
        serving.iter().map(|found| (found.version.as_str(), found.n_pods, found.rows)).collect();
    assert_eq!(found, [(odd, 1, 7), ("v1", 1, 40)]);
    assert_eq!(
        (serving[1].storage_uri_hash.as_str(), serving[1].component.as_str()),
        ("0a1b2c3d", "predictor")
    );
    let trusted = async |version| rig.client.is_trusted(&rig.service, version).await;
    rig.until("yes: taps count", || trusted("v1")).await;
    rig.until(&format!("no: {odd} is judged by the baseline of another version"), || trusted(odd)).await;
    rig.until("unknown: no pod with v3", || trusted("v3")).await;
    let elsewhere = ServiceName::new("prod", "other").unwrap();
    assert_eq!(rig.client.serving(&elsewhere).await.unwrap(), []);
}

#[tokio::test]
async fn a_tap_that_drops_or_misreads_is_no_witness() {
    let rig = Rig::start();
    let trusted = async || rig.client.is_trusted(&rig.service, "v1").await;
    let tap = |exchanges: u32, dropped: u32, misread: u32, errors: u32| {
        let mut page = Version::new("v1", 40, Some("")).page();
        writeln!(page, r#"driftd_tap_exchanges_total{{tap="proxy",outcome="mirrored"}} {exchanges}"#)
            .unwrap();
        writeln!(page, r#"driftd_tap_dropped_total{{tap="proxy",reason="full"}} {dropped}"#).unwrap();
        writeln!(page, r#"driftd_decode_errors_total{{format="v1",reason="shape"}} {misread}"#).unwrap();
        writeln!(page, r#"driftd_baseline_errors_total{{reason="not_found"}} {errors}"#).unwrap();
        *rig.pods.page.lock().unwrap() = page;
    };
    tap(0, 0, 0, 0);
    rig.prometheus.wait_for("driftd_tap_dropped_total").await;
    rig.until("yes", trusted).await;
    tap(1000, 5, 5, 0);
    rig.prometheus.wait_for("driftd_tap_dropped_total == 5").await;
    rig.until("yes", trusted).await;
    tap(1000, 5, 50, 0);
    rig.until("no: a tap does not understand 5.0 % of its exchanges: shape", trusted).await;
    tap(1000, 50, 50, 0);
    rig.until("no: a tap does not count 5.0 % of its exchanges: full", trusted).await;
    tap(1000, 50, 50, 1);
    rig.until("no: baselines cannot be loaded: not_found", trusted).await;
}

#[tokio::test]
async fn what_is_old_says_nothing() {
    let rig = Rig::start();
    let page = Version::new("v2", 900, Some("model")).page();
    let old = Utc::now() - chrono::TimeDelta::seconds(30);
    let dated: String =
        page.lines().fold(String::new(), |page, line| format!("{page}{line} {}\n", old.timestamp_millis()));
    // Samples with a time of their own get no end where they end: the age alone tells.
    *rig.pods.page.lock().unwrap() = dated;
    rig.prometheus.wait_for(r#"ALERTS{version="v2"}"#).await;
    let answer = rig.accused("v2", &["DriftdModelDrift"]).await;
    assert_eq!(answer.to_string(), "unknown: no pod with v2 was scraped lately");
    assert_eq!(rig.client.serving(&rig.service).await.unwrap(), []);
}

#[tokio::test]
async fn a_prometheus_that_does_not_answer_says_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = client(&format!("http://{}", listener.local_addr().unwrap()));
    drop(listener);
    let service = ServiceName::new("prod", "credit").unwrap();
    let answer = client.still_accused(&service, "v2", &["DriftdModelDrift"]).await;
    assert!(answer.to_string().starts_with("unknown: Prometheus does not answer: "), "{answer}");
    let answer = client.is_well(&service, "v1", Utc::now(), 1).await;
    assert!(matches!(&answer, Answer::Unknown(_)), "{answer}");
    assert!(client.firing_rollbacks().await.is_err());
}

#[tokio::test]
async fn a_wrong_query_is_an_error_with_the_reason() {
    let rig = Rig::start();
    rig.prometheus.wait_for("up").await;
    let error = rig.client.query("sum(").await.unwrap_err().to_string();
    assert!(
        error.starts_with("Prometheus answered 400 Bad Request: ") && error.contains("parse error"),
        "{error}"
    );
    let error = rig.client.query("time()").await.unwrap_err().to_string();
    assert_eq!(error, "Prometheus answered with scalar where a vector was asked for");
}
