//! Against the real thing: MLServer, KServe's Python server and MLflow with scikit-learn models, their official clients,
//! and a real Prometheus. `./test.sh` installs them and says where they are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use driftd::baseline::build::{self, BuildOptions};
use driftd::pipeline::report::{FeatureReport, ModelReport};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::support::{self, Daemon, from_env, metric};

/// Importing scikit-learn and a server on a loaded two-core machine.
const START: Duration = Duration::from_mins(2);
/// Training, or driving a few hundred requests through three clients.
const WORK: Duration = Duration::from_mins(4);

fn python_file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/python").join(name)
}

/// Runs a program of `tests/it/python` and returns the JSON it prints.
pub async fn run_python(python: &Path, program: &str, args: &[&str]) -> Value {
    let mut command = Command::new(python);
    command.arg(python_file(program)).args(args).stderr(Stdio::piped()).kill_on_drop(true);
    let output =
        tokio::time::timeout(WORK, command.output()).await.expect("ends in time").expect("python starts");
    let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program} {args:?}: {}\n{out}\n{error}", output.status);
    out.lines().last().and_then(|line| serde_json::from_str(line).ok()).unwrap_or(Value::Null)
}

/// A real model server; ends when dropped, and with the test run if that is killed (its standard input closes).
pub struct ModelServer {
    _process: Child,
    _log: Lines<BufReader<ChildStdout>>,
    report: Value,
}

impl ModelServer {
    pub async fn start(python: &Path, program: &str, models: &Path) -> Self {
        let mut process = Command::new(python)
            .arg(python_file(program))
            .args([models.as_os_str(), "--stop-with-stdin".as_ref()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("python starts");
        let mut log = BufReader::new(process.stdout.take().expect("piped")).lines();
        let ready = async {
            loop {
                let line =
                    log.next_line().await.expect("UTF-8").expect("the server says `ready` before it ends");
                if let Some(report) = line.strip_prefix("ready ") {
                    return serde_json::from_str::<Value>(report).expect("JSON after `ready`");
                }
            }
        };
        let report = tokio::time::timeout(START, ready).await.expect("the server starts in time");
        Self { _process: process, _log: log, report }
    }

    fn serves(&self, model: &str) -> bool {
        self.report["models"].as_array().is_some_and(|models| models.iter().any(|served| served == model))
    }

    /// Where it speaks `http` or `grpc`.
    pub fn addr(&self, protocol: &str) -> std::net::SocketAddr {
        let port = self.report[protocol].as_u64().and_then(|port| u16::try_from(port).ok()).expect("a port");
        ([127, 0, 0, 1], port).into()
    }
}

/// One trained model: the baseline that driftd builds of its training table.
struct Trained {
    name: String,
    table: PathBuf,
    baseline: PathBuf,
}

/// Baselines of every model that `train.py` made, built as `driftd baseline build` does.
fn baselines(models: &Path) -> Vec<Trained> {
    let mut folders: Vec<_> = std::fs::read_dir(models).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.retain(|folder| folder.join("columns.json").exists());
    folders.sort();
    let build = |folder: PathBuf| {
        let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        let columns: Value =
            serde_json::from_slice(&std::fs::read(folder.join("columns.json")).unwrap()).unwrap();
        let names = |key: &str| -> Vec<String> { serde_json::from_value(columns[key].clone()).unwrap() };
        let options = BuildOptions {
            model: Some(name.clone()),
            version: Some("1".to_owned()),
            predictions: names("predictions"),
            categorical: names("categorical"),
            ..BuildOptions::default()
        };
        let (table, baseline) = (folder.join("train.csv"), folder.join("driftd-baseline.json"));
        build::build(&[table.display().to_string()], &options).unwrap().baseline.write(&baseline).unwrap();
        Trained { name, table, baseline }
    };
    folders.into_iter().map(build).collect()
}

/// Drives `scenarios`, all of one protocol, through driftd, then holds every count and score to the recount.
async fn check_against(
    python: &Path,
    (server_program, protocol): (&str, &str),
    scenarios: &[&str],
    rows: &str,
    check: impl Fn(&ModelReport, &Value),
) {
    let directory = TempDir::new().unwrap();
    let models = directory.path().join("models");
    run_python(python, "train.py", &[models.to_str().unwrap()]).await;
    let mut trained = baselines(&models);
    let server = ModelServer::start(python, server_program, &models).await;
    trained.retain(|model| server.serves(&model.name));
    let files: Vec<_> = trained.iter().map(|model| model.baseline.as_path()).collect();
    let daemon = Daemon::start(support::config(server.addr(protocol), &files)).await;

    let sent = directory.path().join("sent");
    let (direct, proxied) = (format!("http://{}", server.addr(protocol)), format!("http://{}", daemon.tap));
    let mut args = vec![direct.as_str(), proxied.as_str()];
    args.extend(scenarios);
    args.extend([
        "--models",
        models.to_str().unwrap(),
        "--out",
        sent.to_str().unwrap(),
        "--rows",
        rows,
        "--n",
        // How far rows depend on each other takes some looks to learn, and a baseline of 150 rows shows little before.
        if rows == "shifted" { "1200" } else { "600" },
        "--batch",
        "30",
    ]);
    let driven = run_python(python, "drive.py", &args).await;
    assert_eq!(driven["mismatches"], 0, "answers differ from asking the server directly: {driven:#}");

    let n_rows = driven["rows"].as_object().unwrap().values().filter_map(Value::as_u64).sum::<u64>();
    assert!(n_rows > 0);
    let report = daemon.wait_for_rows(n_rows).await;
    assert_eq!(report.models.iter().map(|model| model.rows.feature).sum::<u64>(), n_rows);
    let exposition = daemon.metrics().await;
    for model in &trained {
        let sent = sent.join(format!("sent-{}.csv", model.name));
        if !sent.exists() {
            continue;
        }
        let args = [
            model.baseline.to_str().unwrap(),
            sent.to_str().unwrap(),
            "--training",
            model.table.to_str().unwrap(),
        ];
        let recount = run_python(python, "recount.py", &args).await;
        let watched = report.models.iter().find(|watched| watched.labels.model == model.name).unwrap();
        check_counts(watched, &recount, &exposition);
        check(watched, &recount);
    }
    daemon.stop().await;
}

fn recounted<'a>(recount: &'a Value, feature: &FeatureReport) -> &'a Value {
    let features = recount["features"].as_array().unwrap();
    features
        .iter()
        .find(|found| found["name"] == *feature.name)
        .unwrap_or_else(|| panic!("{} was not recounted", feature.name))
}

/// Every bin of every feature, in the API and in `/metrics`, equals the recount; so do the baseline's own counts.
fn check_counts(model: &ModelReport, recount: &Value, exposition: &str) {
    for feature in &model.features {
        let expected = recounted(recount, feature);
        assert_eq!(expected["baseline_faults"], serde_json::json!([]), "baseline of {}", feature.name);
        let groups: Vec<u64> =
            expected["groups"].as_array().unwrap().iter().filter_map(Value::as_u64).collect();
        let all =
            [&groups[..], &[expected["missing"].as_u64().unwrap(), expected["other"].as_u64().unwrap()]]
                .concat();
        assert_eq!(feature.windows[0].counts, all, "{} {}", model.labels.model, feature.name);
        for (idx, &count) in all.iter().enumerate() {
            let bin = driftd::telemetry::model::bin_label(idx, groups.len());
            let series = format!(
                r#"driftd_bin_observations_total{{bin="{bin}",edges="{}",feature="{}",inferenceservice="",model="{}",namespace="",role="{}",version="1"}}"#,
                feature.edges,
                feature.name,
                model.labels.model,
                feature.role.as_str()
            );
            assert_eq!(metric(exposition, &series), Some(count as f64), "{series}");
        }
    }
}

/// Scores equal what NumPy and SciPy compute on the same bins; KS lies within its bound of the exact statistic.
fn check_scores(model: &ModelReport, recount: &Value) {
    for feature in &model.features {
        let expected = &recounted(recount, feature)["scores"];
        let Some(scores) = &feature.windows[0].scores else { panic!("{} has no scores", feature.name) };
        let near = |name: &str, actual: Option<f64>| {
            let Some(expected) = expected[name].as_f64() else { return };
            let actual = actual.unwrap_or_else(|| panic!("{} has no {name}", feature.name));
            assert!(
                (actual - expected).abs() <= 1e-9,
                "{name} of {} is {actual}, expected {expected}",
                feature.name
            );
        };
        near("psi", Some(scores.psi));
        near("psi_expected", Some(scores.psi_null));
        near("js", Some(scores.js));
        near("hellinger", Some(scores.hellinger));
        near("total_variation", Some(scores.total_variation));
        near("ks", scores.ks);
        near("chi_square_p", scores.chi_square_p_value);
        if let (Some(exact), Some(share), Some(ks)) =
            (expected["ks_exact"].as_f64(), expected["ks_largest_bin_share"].as_f64(), scores.ks)
        {
            assert!(
                ks <= exact + 1e-12 && exact - ks <= share + 1e-12,
                "ks {ks}, exact {exact}, bin share {share}"
            );
        }
    }
}

fn largest_psi(model: &ModelReport) -> (&str, f64) {
    let features = model.features.iter().filter(|feature| feature.role == driftd::baseline::Role::Feature);
    let psi = |feature: &FeatureReport| {
        feature.windows[0].scores.as_ref().map_or(0.0, |scores| scores.psi - scores.psi_null)
    };
    features
        .map(|feature| (feature.name.as_str(), psi(feature)))
        .max_by(|a, b| a.1.total_cmp(&b.1))
        .expect("features")
}

fn quiet(model: &ModelReport, recount: &Value) {
    check_scores(model, recount);
    assert_eq!(model.windows[0].verdict, "ok", "{} {:?}", model.labels.model, model.windows[0]);
}

fn drifted(model: &ModelReport, recount: &Value) {
    check_scores(model, recount);
    let (name, psi) = largest_psi(model);
    assert!(psi > 0.2, "{} {name} {psi}", model.labels.model);
    let breaches: Vec<_> = model
        .features
        .iter()
        .filter_map(|feature| Some((feature.name.as_str(), feature.kind, feature.windows[0].change?.breach?)))
        .collect();
    // One category in three is one never seen; the numbers stay near their range.
    assert!(
        breaches.iter().all(|(_, kind, breach)| (*kind, *breach) == ("categorical", "other")),
        "{breaches:?}"
    );
    let cause = if breaches.is_empty() { ("drift", Some("input")) } else { ("schema", Some("schema")) };
    assert_eq!((model.windows[0].verdict, model.windows[0].cause), cause, "{}", model.labels.model);
}

#[tokio::test]
async fn mlserver_is_served_unchanged_and_counted_exactly() {
    let python = from_env("DRIFTD_TEST_MLSERVER_PYTHON");
    let scenarios = [
        "mlserver-np",
        "mlserver-pd",
        "triton-mlserver",
        "raw-mlserver-v2",
        "raw-mlserver-stream",
        "raw-mlserver-generate",
    ];
    check_against(&python, ("serve_mlserver.py", "http"), &scenarios, "plain", quiet).await;
}

#[tokio::test]
async fn shifted_rows_on_mlserver_are_scored_as_numpy_scores_them() {
    let python = from_env("DRIFTD_TEST_MLSERVER_PYTHON");
    let scenarios = ["mlserver-np", "mlserver-pd"];
    check_against(&python, ("serve_mlserver.py", "http"), &scenarios, "shifted", drifted).await;
}

#[tokio::test]
async fn kserves_python_server_is_served_unchanged_and_counted_exactly() {
    let python = from_env("DRIFTD_TEST_KSERVE_PYTHON");
    let scenarios = [
        "kserve-v1",
        "kserve-v1-columns",
        "kserve-v2",
        "kserve-v2-pd",
        "kserve-v2-binary",
        "triton-kserve",
        "triton-kserve-binary",
        "raw-v1-inputs",
        "raw-kserve-event",
    ];
    check_against(&python, ("serve_kserve.py", "http"), &scenarios, "plain", quiet).await;
}

/// By KServe's own client, whose contents are typed.
#[tokio::test]
async fn grpc_calls_of_kserves_python_server_are_counted_exactly() {
    let python = from_env("DRIFTD_TEST_KSERVE_PYTHON");
    check_against(&python, ("serve_kserve.py", "grpc"), &["kserve-grpc"], "plain", quiet).await;
}

/// By Triton's client, whose contents are raw.
#[tokio::test]
async fn grpc_calls_of_mlserver_are_counted_exactly() {
    let python = from_env("DRIFTD_TEST_MLSERVER_PYTHON");
    check_against(&python, ("serve_mlserver.py", "grpc"), &["triton-grpc-mlserver"], "plain", quiet).await;
}

#[tokio::test]
async fn shifted_rows_on_kserves_python_server_are_scored_as_numpy_scores_them() {
    let python = from_env("DRIFTD_TEST_KSERVE_PYTHON");
    check_against(
        &python,
        ("serve_kserve.py", "http"),
        &["kserve-v1", "kserve-v1-columns", "kserve-v2-pd"],
        "shifted",
        drifted,
    )
    .await;
}

/// `mlflow models serve`, asked by MLflow's own client, by records and as CSV. No request names the model.
#[tokio::test]
async fn mlflows_scoring_server_is_served_unchanged_and_counted_exactly() {
    let python = from_env("DRIFTD_TEST_MLFLOW_PYTHON");
    let scenarios = ["mlflow-client", "mlflow-records", "mlflow-csv"];
    check_against(&python, ("serve_mlflow.py", "http"), &scenarios, "plain", quiet).await;
}

/// A Prometheus of its own, with our rules; killed when dropped.
pub struct Prometheus {
    _process: Child,
    _directory: TempDir,
    addr: std::net::SocketAddr,
}

impl Prometheus {
    pub fn start(targets: &[std::net::SocketAddr]) -> Self {
        Self::start_with(&Path::new(env!("CARGO_MANIFEST_DIR")).join("alerts/driftd.rules.yaml"), targets)
    }

    /// With other rules.
    pub fn start_with(rules: &Path, targets: &[std::net::SocketAddr]) -> Self {
        Self::with_config(&serde_json::json!({
            "global": {"scrape_interval": "200ms", "scrape_timeout": "200ms", "evaluation_interval": "200ms"},
            "rule_files": [rules],
            "scrape_configs": [{"job_name": "driftd", "honor_labels": true, "static_configs": [{"targets": targets}]}],
        }))
    }

    /// Of pods that come and go, named in a file, with an Alertmanager behind it. A second for each step; the shipped
    /// rules, whose alerts for people have to hold for a second instead of a minute.
    pub fn of_pods(targets: &Path, alertmanager: std::net::SocketAddr) -> Self {
        let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("alerts/driftd.rules.yaml");
        let shortened = std::fs::read_to_string(rules).unwrap().replace("for: 1m\n", "for: 1s\n");
        let rules = targets.with_file_name("rules.yaml");
        std::fs::write(&rules, shortened).unwrap();
        Self::with_config(&serde_json::json!({
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": [rules],
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": [alertmanager]}]}]},
            "scrape_configs": [{
                "job_name": "driftd", "honor_labels": true,
                "file_sd_configs": [{"files": [targets], "refresh_interval": "1s"}],
            }],
        }))
    }

    fn with_config(config: &Value) -> Self {
        let directory = TempDir::new().unwrap();
        let file = directory.path().join("prometheus.yml"); // JSON is YAML
        std::fs::write(&file, config.to_string()).unwrap();
        // Prometheus takes no port 0: another process may take this one first, which fails the start loudly.
        let addr = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let process = Command::new(from_env("DRIFTD_TEST_PROMETHEUS"))
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", directory.path().join("data").display()))
            .arg(format!("--web.listen-address={addr}"))
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("prometheus starts");
        Self { _process: process, _directory: directory, addr }
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// What an instant query answers, as (labels, value).
    pub async fn query(&self, query: &str) -> Vec<(BTreeMap<String, String>, f64)> {
        self.ask(&[("query", query)]).await
    }

    /// What it answered or would have answered at a time, in seconds.
    pub async fn query_at(&self, query: &str, time: f64) -> Vec<(BTreeMap<String, String>, f64)> {
        self.ask(&[("query", query), ("time", &format!("{time:.3}"))]).await
    }

    async fn ask(&self, form: &[(&str, &str)]) -> Vec<(BTreeMap<String, String>, f64)> {
        let url = format!("http://{}/api/v1/query", self.addr);
        let client = reqwest::Client::new();
        let Ok(response) = client.post(url).form(form).send().await else { return Vec::new() };
        let answer: Value = response.json().await.unwrap_or_default();
        let series = |series: &Value| {
            let value = series["value"][1].as_str()?.parse().ok()?;
            Some((serde_json::from_value(series["metric"].clone()).ok()?, value))
        };
        answer["data"]["result"]
            .as_array()
            .map(|all| all.iter().filter_map(series).collect())
            .unwrap_or_default()
    }

    pub async fn wait_for(&self, query: &str) -> Vec<(BTreeMap<String, String>, f64)> {
        let deadline = tokio::time::Instant::now() + support::PATIENCE;
        loop {
            let found = self.query(query).await;
            if !found.is_empty() {
                return found;
            }
            assert!(tokio::time::Instant::now() < deadline, "no series for {query}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

#[tokio::test]
async fn a_real_prometheus_scrapes_every_series_and_sees_the_drift() {
    let directory = TempDir::new().unwrap();
    let daemon = crate::daemon::drifting(&directory).await;
    let prometheus = Prometheus::start(&[daemon.admin]);
    prometheus.wait_for("up == 1").await;
    let found = prometheus.wait_for(r#"driftd_drift_score{feature="amount",statistic="psi",window="5m"} > on(model, feature, statistic, window) driftd_drift_threshold"#).await;
    assert_eq!(found[0].0["model"], "credit");
    assert!(!prometheus.wait_for(r#"driftd_model_drifted{cause="schema"} == 1"#).await.is_empty());

    let exposition = daemon.metrics().await;
    for family in exposition.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = family.split_once(' ').unwrap();
        let series = if kind == "histogram" { format!("{name}_count") } else { name.to_owned() };
        prometheus.wait_for(&series).await;
    }
    daemon.stop().await;
}

#[tokio::test]
async fn promtool_finds_nothing_wrong_with_our_metrics() {
    use tokio::io::AsyncWriteExt;
    let directory = TempDir::new().unwrap();
    let daemon = crate::daemon::drifting(&directory).await;
    let exposition = daemon.metrics().await;
    let mut promtool = Command::new(from_env("DRIFTD_TEST_PROMTOOL"))
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool starts");
    promtool.stdin.take().expect("piped").write_all(exposition.as_bytes()).await.unwrap();
    let output = promtool.wait_with_output().await.unwrap();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.trim().is_empty(), "{text}");
    daemon.stop().await;
}
