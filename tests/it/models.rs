//! Models that come, go and change while events arrive, and those that nobody has configured.

use std::fmt::Write;
use std::path::Path;

use driftd::baseline::build::BuildOptions;
use driftd::config::{CloudEventsConfig, Config, LearnConfig, Taps};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{self, Daemon, localhost, metric};

/// A baseline of `amount` and `age` in, `score` out: amounts are below `range`.
fn baseline(range: u32, version: &str) -> String {
    let directory = TempDir::new().unwrap();
    let mut csv = "amount,age,score\n".to_owned();
    for row in 0..1000 {
        writeln!(csv, "{},{},{}", row % range, 20 + row % 7, f64::from(row % 10) / 10.0).unwrap();
    }
    let options = BuildOptions {
        version: Some(version.to_owned()),
        predictions: vec!["score".to_owned()],
        ..BuildOptions::default()
    };
    std::fs::read_to_string(support::baseline(directory.path(), &csv, &options)).unwrap()
}

/// A sink that watches what is in a folder.
fn config(folder: Option<&Path>) -> Config {
    let nobody = "127.0.0.1:9".parse().unwrap();
    let mut config = support::config(nobody, &[]);
    config.taps = Taps { cloudevents: Some(CloudEventsConfig::new(localhost())), ..Taps::default() };
    config.models_dir = folder.map(Path::to_owned);
    config
}

struct Sender {
    client: reqwest::Client,
    url: String,
    n_sent: u32,
}

impl Sender {
    fn to(daemon: &Daemon) -> Self {
        Self { client: reqwest::Client::new(), url: format!("http://{}/", daemon.tap), n_sent: 0 }
    }

    /// Request and response of one exchange, as KServe's logger sends them.
    async fn send(&mut self, service: &str, request: &Value, response: &Value) {
        self.n_sent += 1;
        for (side, body) in [("request", request), ("response", response)] {
            let event = self
                .client
                .post(&self.url)
                .header("Ce-Specversion", "1.0")
                .header("Ce-Id", self.n_sent.to_string())
                .header("Ce-Type", format!("org.kubeflow.serving.inference.{side}"))
                .header("Ce-Inferenceservicename", service)
                .header("Ce-Namespace", "prod")
                .header("Ce-Component", "predictor")
                .header("Content-Type", "application/json");
            assert_eq!(event.body(body.to_string()).send().await.unwrap().status(), 200);
        }
    }

    /// Some rows in V1.
    async fn send_rows(&mut self, service: &str, rows: &[[f64; 2]]) {
        let scores: Vec<_> = rows.iter().map(|row| row[0] / 50.0).collect();
        self.send(service, &json!({"instances": rows}), &json!({"predictions": scores})).await;
    }
}

fn row(at: u32) -> [f64; 2] {
    [f64::from(at * 37 % 50), f64::from(20 + at % 7)]
}

fn counted(service: &str, version: &str) -> String {
    format!(
        r#"driftd_rows_total{{inferenceservice="{service}",model="{service}",namespace="prod",role="feature",version="{version}"}}"#
    )
}

#[tokio::test]
async fn a_hundred_models_share_one_sink() {
    let folder = TempDir::new().unwrap();
    std::fs::create_dir(folder.path().join("prod")).unwrap();
    let text = baseline(50, "1");
    for at in 0..100 {
        std::fs::write(folder.path().join(format!("prod/m{at:02}.json")), &text).unwrap();
    }
    let daemon = Daemon::start(config(Some(folder.path()))).await;
    let mut sender = Sender::to(&daemon);
    let n_rows = |at: u32| at % 5 + 1;
    for at in 0..200 {
        let rows: Vec<_> = (0..n_rows(at % 100)).map(row).collect();
        sender.send_rows(&format!("m{:02}", at % 100), &rows).await;
    }
    let report = daemon.wait_for_rows(2 * (0..100).map(n_rows).map(u64::from).sum::<u64>()).await;
    assert_eq!(report.models.len(), 100);
    for (at, model) in (0..100).zip(&report.models) {
        assert_eq!(
            (&*model.labels.inferenceservice, &*model.labels.namespace),
            (&*format!("m{at:02}"), "prod")
        );
        assert_eq!(model.rows.feature, 2 * u64::from(n_rows(at)), "m{at:02}");
    }
    daemon.stop().await;
}

/// As kubelet does it: a folder of its own, and `..data` a link to it that is swapped in one step.
fn publish(folder: &Path, revision: u32, text: &str) {
    let name = format!("..{revision}");
    std::fs::create_dir(folder.join(&name)).unwrap();
    std::fs::write(folder.join(&name).join("credit.json"), text).unwrap();
    std::os::unix::fs::symlink(&name, folder.join("..data_tmp")).unwrap();
    std::fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
}

#[tokio::test]
async fn a_config_map_that_is_swapped_under_traffic_loses_no_row() {
    let folder = TempDir::new().unwrap();
    let namespace = folder.path().join("prod");
    std::fs::create_dir(&namespace).unwrap();
    publish(&namespace, 0, &baseline(50, "1"));
    std::os::unix::fs::symlink("..data/credit.json", namespace.join("credit.json")).unwrap();
    let daemon = Daemon::start(config(Some(folder.path()))).await;
    let mut sender = Sender::to(&daemon);
    let mut sha256 = daemon.wait_for("the model", |report| report.models.len() == 1).await.models[0]
        .baseline
        .sha256
        .clone();
    let mut n_rows = 0;
    for revision in 1..=5 {
        publish(&namespace, revision, &baseline(50 - revision, "1"));
        // Rows before, while and after the new one comes into force.
        let mut n_after = 0;
        while n_after < 20 {
            sender.send_rows("credit", &[row(n_rows), row(n_rows + 1)]).await;
            n_rows += 2;
            let report = daemon.report.borrow().clone();
            n_after += u32::from(report.models.iter().all(|model| model.baseline.sha256 != sha256));
        }
        sha256.clone_from(&daemon.report.borrow().models[0].baseline.sha256);
    }
    daemon.wait_for_metric(&counted("credit", "1"), f64::from(n_rows)).await;
    let text = daemon.metrics().await;
    assert_eq!(text.matches("driftd_baseline_info{").count(), 1, "the series of earlier ones are taken back");
    let missing =
        text.lines().filter(|line| line.contains("driftd_decode_errors_total{") && !line.ends_with(" 0"));
    assert_eq!(missing.count(), 0, "{text}");
    daemon.stop().await;
}

#[tokio::test]
async fn a_broken_baseline_changes_nothing_and_a_removed_one_is_watched_no_more() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("credit.json");
    std::fs::write(&file, baseline(50, "1")).unwrap();
    let daemon = Daemon::start(config(Some(folder.path()))).await;
    let mut sender = Sender::to(&daemon);
    std::fs::write(&file, r#"{"format": "driftd.baseline/v2"}"#).unwrap();
    let report = daemon.wait_for("the problem", |report| !report.baseline_errors.is_empty()).await;
    let problem = &report.baseline_errors[0];
    assert!(problem.watched && problem.path.ends_with("credit.json"), "{problem:?}");
    assert!(problem.error.contains("driftd.baseline/v2"), "{problem:?}");
    let failed = metric(&daemon.metrics().await, r#"driftd_baseline_errors_total{reason="format"}"#);
    assert!(failed >= Some(1.0), "{failed:?}");
    sender.send_rows("credit", &[row(1)]).await;
    daemon.wait_for_rows(1).await;

    std::fs::remove_file(&file).unwrap();
    daemon.wait_for("no model", |report| report.models.is_empty() && report.baseline_errors.is_empty()).await;
    sender.send_rows("credit", &[row(1)]).await;
    daemon.wait_for_metric(r#"driftd_decode_errors_total{format="v1",reason="unknown_model"}"#, 1.0).await;
    assert!(!daemon.metrics().await.contains(r#"model="credit""#), "its series are taken back");
    daemon.stop().await;
}

#[tokio::test]
async fn a_model_that_nobody_has_configured_is_learnt_and_watched() {
    let kept = TempDir::new().unwrap();
    let mut config = config(None);
    let dir = Some(kept.path().join("learnt"));
    config.learn = Some(LearnConfig { rows: 1000, max_models: 2, max_bytes_each: 1 << 20, dir });
    let daemon = Daemon::start(config.clone()).await;
    let mut sender = Sender::to(&daemon);
    for at in 0..200 {
        let rows: Vec<_> = (0..5).map(|more| row(at * 5 + more)).collect();
        if at.is_multiple_of(2) {
            sender.send_rows("stranger", &rows).await;
            continue;
        }
        let tensor = |name: &str, width: usize, data: Value| json!([{"name": name, "shape": [5, width], "datatype": "FP64", "data": data}]);
        let scores: Vec<_> = rows.iter().map(|row| row[0] / 50.0).collect();
        let request = json!({"inputs": tensor("x", 2, json!(rows.concat()))});
        sender.send("stranger", &request, &json!({"outputs": tensor("y", 1, json!(scores))})).await;
        if at == 99 {
            let report = daemon
                .wait_for("half of it", |report| report.learning.iter().any(|model| model.rows == 500))
                .await;
            let learning = &report.learning[0];
            assert_eq!(
                (&*learning.namespace, &*learning.model, learning.rows_wanted),
                ("prod", "stranger", 1000)
            );
        }
    }
    let report = daemon.wait_for("the learnt model", |report| report.models.len() == 1).await;
    let model = &report.models[0];
    assert!(model.baseline.learnt && !model.baseline.borrowed && report.learning.is_empty());
    assert_eq!((model.baseline.rows, model.rows.feature), (1000, 0));
    let names: Vec<_> = model.features.iter().map(|feature| &*feature.name).collect();
    assert_eq!(names, ["feature_0", "feature_1", "prediction_0"]);
    assert!(daemon.metrics().await.contains(r#"learnt="true""#));

    let usual: Vec<_> = (0..1000).map(row).collect();
    sender.send_rows("stranger", &usual).await;
    let report = daemon.wait_for_rows(1000).await;
    assert_eq!(report.models[0].windows[0].verdict, "ok", "what it was learnt from is no drift");
    let cents: Vec<_> = usual.iter().map(|[amount, age]| [amount * 100.0, *age]).collect();
    sender.send_rows("stranger", &cents).await;
    let report = daemon.wait_for("drift", |report| report.models[0].windows[0].is_alarm()).await;
    assert!(
        report.models[0].windows[0].drifted.contains(&"feature_0".to_owned()),
        "{:?}",
        report.models[0].windows[0]
    );
    daemon.stop().await;

    // After a restart it is there at once; and a baseline of its own takes its place.
    let folder = TempDir::new().unwrap();
    config.models_dir = Some(folder.path().to_owned());
    let daemon = Daemon::start(config).await;
    let again = daemon.wait_for("what was kept", |report| report.models.len() == 1).await;
    assert_eq!(again.models[0].baseline, report.models[0].baseline);
    std::fs::write(folder.path().join("stranger.json"), baseline(50, "1")).unwrap();
    daemon
        .wait_for("its own", |report| {
            report.models.iter().all(|model| !model.baseline.learnt) && report.models.len() == 1
        })
        .await;
    assert!(!kept.path().join("learnt/prod/stranger.json").exists());
    daemon.stop().await;
}
