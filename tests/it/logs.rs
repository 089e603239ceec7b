//! Logs as a source: real files, written, rotated, copied and compressed while they are read, and the counts that come of it.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use driftd::baseline::build::BuildOptions;
use driftd::config::{Config, RawConfig};
use driftd::pipeline::Report;
use driftd::pipeline::report::ModelReport;
use flate2::Compression;
use flate2::write::GzEncoder;
use tempfile::TempDir;

use crate::process::Sidecar;
use crate::support::{self, Daemon, localhost, metric};

mod objects;
mod real;

/// `amount` and `age` in, `score` out.
fn training() -> String {
    let rows = (0..500).map(|row| format!("{},{},{}\n", row % 50, 20 + row % 7, f64::from(row % 10) / 10.0));
    "amount,age,score\n".to_owned() + &rows.collect::<String>()
}

/// A daemon's configuration whose only tap is the given one.
fn yaml(directory: &TempDir, logs: &str) -> String {
    let options = BuildOptions {
        model: Some("credit".to_owned()),
        predictions: vec!["score".to_owned()],
        ..BuildOptions::default()
    };
    let baseline = support::baseline(directory.path(), &training(), &options);
    format!(
        "admin: {}\nmodels: [{{baseline: '{}'}}]\nevaluation: {{interval: 50ms, windows: [5m, 1h, 24h]}}\ntaps: [{{logs: {logs}}}]\n",
        localhost(),
        baseline.display(),
    )
}

fn config(directory: &TempDir, logs: &str) -> Config {
    let yaml = yaml(directory, logs);
    let raw: RawConfig = serde_saphyr::from_str(&yaml).expect("valid YAML");
    raw.try_into().expect("a valid configuration")
}

/// Where the times of rows begin: 1 May 2026, 12:00.
const NOON: u64 = 1_777_636_800;

/// Row `row` of a log, written at `second`.
fn line(row: u64, second: u64) -> String {
    format!(
        "{{\"time\": {}, \"features\": {{\"amount\": {}, \"age\": {}}}, \"score\": 0.5}}\n",
        NOON + second,
        row % 50,
        20 + row % 7
    )
}

fn lines(rows: std::ops::Range<u64>) -> String {
    rows.fold(String::new(), |mut text, row| {
        text.push_str(&line(row, row));
        text
    })
}

const JSONL: &str = "format: jsonl, features: /features, prediction: /score, timestamp: /time";

fn append(path: &Path, text: &str) {
    let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

fn model(report: &Arc<Report>) -> &ModelReport {
    &report.models[0]
}

/// Rows with each `amount`, by the counts of a window: it has a bin for each of its fifty values.
fn in_window(model: &ModelReport, window: usize) -> u64 {
    model.features[0].windows[window].counts.iter().sum()
}

/// A daemon that has read a log of ten rows.
pub async fn following(directory: &TempDir) -> Daemon {
    let path = directory.path().join("credit.jsonl");
    fs::write(&path, lines(0..10)).unwrap();
    let daemon =
        Daemon::start(config(directory, &format!("{{include: ['{}'], {JSONL}}}", path.display()))).await;
    daemon.wait_for_rows(10).await;
    daemon
}

fn dropped(reason: &str) -> String {
    format!(r#"driftd_tap_dropped_total{{reason="{reason}",tap="logs"}}"#)
}

#[tokio::test]
async fn a_backlog_fills_the_windows_it_belongs_to_and_then_is_followed() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("credit.jsonl");
    // Two days, a row a second for the last 1,000 of them.
    let mut text = line(0, 0) + &line(1, 86_400);
    text.push_str(&(0..1000).fold(String::new(), |text, row| text + &line(row, 2 * 86_400 + row)));
    fs::write(&path, &text).unwrap();
    let daemon =
        Daemon::start(config(&directory, &format!("{{include: ['{}'], {JSONL}}}", path.display()))).await;
    let report = daemon.wait_for_rows(1002).await;
    assert_eq!((model(&report).rows.feature, model(&report).rows.prediction), (1002, 1002));
    assert_eq!(model(&report).late.feature, 0, "the oldest first");
    assert_eq!(model(&report).first_row_at, Some(NOON as f64));
    assert_eq!(model(&report).last_row_at, Some((NOON + 2 * 86_400 + 999) as f64));
    // Slots of 10 s, 2 min and 48 min; the newest is not full. The first slot of a window begins 30 slots earlier.
    let start = |slot: u64| (NOON + 2 * 86_400 + 999) / slot * slot - 30 * slot;
    let since = |start: u64| 1000 - start.saturating_sub(NOON + 2 * 86_400).min(1000);
    let expected = [since(start(10)), since(start(120)), since(start(2880))];
    assert_eq!(expected, [310, 1000, 1000], "by hand");
    assert_eq!([0, 1, 2].map(|window| in_window(model(&report), window)), [310, 1000, 1001]);
    // Rows that follow, one of them a minute late, one of them older than a day, and half a line.
    append(&path, &(line(1, 2 * 86_400 + 1000) + &line(2, 2 * 86_400 + 940) + &line(3, 86_300)));
    append(&path, "{\"time\": 17776");
    let report = daemon.wait_for("three more rows", |report| report.models[0].rows.feature == 1004).await;
    assert_eq!(
        [0, 1, 2].map(|window| in_window(model(&report), window)),
        [302, 1002, 1003],
        "as of 10 s later"
    );
    assert_eq!((model(&report).late.feature, model(&report).late.prediction), (1, 1));
    daemon.wait_for_metric(&dropped("late"), 1.0).await;
    append(&path, "36800, \"features\": [1, 21], \"score\": 0.5}\nnot JSON\n");
    daemon.wait_for_metric(&dropped("late"), 2.0).await;
    daemon.wait_for_metric(r#"driftd_tap_exchanges_total{outcome="unrecognised",tap="logs"}"#, 1.0).await;
    daemon.wait_for_metric(r#"driftd_tap_exchanges_total{outcome="mirrored",tap="logs"}"#, 1006.0).await;
    let watermark = format!("driftd_logs_watermark_timestamp_seconds{{source=\"{}\"}}", path.display());
    daemon.wait_for_metric(&watermark, (NOON + 2 * 86_400 + 1000) as f64).await;
    daemon.stop().await;
}

fn gzip(from: &Path, to: &Path) {
    let mut packed = GzEncoder::new(File::create(to).unwrap(), Compression::default());
    packed.write_all(&fs::read(from).unwrap()).unwrap();
    packed.finish().unwrap();
    fs::remove_file(from).unwrap();
}

/// Every way in which logs are rotated, again and again while they are written, and no line is lost or counted twice.
#[tokio::test]
async fn no_line_is_lost_or_counted_twice_however_logs_are_rotated() {
    for pattern in ["app.log*", "app.log"] {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("app.log");
        let named = |suffix: &str| PathBuf::from(format!("{}{suffix}", path.display()));
        append(&path, &lines(0..100));
        let include = directory.path().join(pattern);
        let daemon =
            Daemon::start(config(&directory, &format!("{{include: ['{}'], {JSONL}}}", include.display())))
                .await;
        daemon.wait_for_rows(100).await;
        // By renaming, with lines that were not read yet, and some that are written under the new name.
        append(&path, &lines(100..200));
        fs::rename(&path, named(".1")).unwrap();
        append(&named(".1"), &lines(200..210));
        append(&path, &lines(210..300));
        daemon.wait_for_rows(300).await;
        // Compressed later.
        gzip(&named(".1"), &named(".2.gz"));
        append(&path, &lines(300..310));
        daemon.wait_for_rows(310).await;
        // By copying, with lines that were not read yet.
        append(&path, &lines(310..400));
        fs::copy(&path, named(".1")).unwrap();
        OpenOptions::new().write(true).truncate(true).open(&path).unwrap();
        append(&path, &lines(400..500));
        daemon.wait_for_rows(500).await;
        gzip(&named(".1"), &named(".3.gz"));
        append(&path, &lines(500..510));
        let report = daemon.wait_for_rows(510).await;
        assert_eq!(model(&report).rows.feature, 510, "{pattern}");
        // A copy that nobody rotated.
        fs::copy(&path, named(".copy")).unwrap();
        append(&path, &lines(510..520));
        daemon.wait_for_rows(520).await;
        tokio::time::sleep(Duration::from_millis(1200)).await; // looked at once more
        let report = daemon.wait_for_rows(520).await;
        assert_eq!((model(&report).rows.feature, model(&report).late.feature), (520, 0), "{pattern}");
        assert_eq!(metric(&daemon.metrics().await, &dropped("truncated")), Some(0.0));
        daemon.stop().await;
    }
}

#[tokio::test]
async fn containers_logs_are_read_through_their_links_and_in_parts() {
    let directory = TempDir::new().unwrap();
    let pod = directory.path().join("pods/prod_credit_uid/kserve-container");
    fs::create_dir_all(&pod).unwrap();
    fs::create_dir_all(directory.path().join("containers")).unwrap();
    let log = pod.join("0.log");
    let mut text = String::new();
    for row in 0..100 {
        let time = format!("2026-05-01T12:{:02}:00.5Z", row / 2);
        // A request as a text, cut in two, with a line of another stream in between.
        let body = format!(
            r#"{{"request": "{{\"instances\": [[{}, 21], [{}, 22]]}}", "response": {{"predictions": [0.5, 0.25]}}}}"#,
            row % 50,
            row % 50
        );
        let (first, second) = body.split_at(20);
        writeln!(text, "{time} stdout P {first}\n{time} stderr F INFO: served\n{time} stdout F {second}")
            .unwrap();
    }
    fs::write(&log, &text).unwrap();
    std::os::unix::fs::symlink(
        &log,
        directory.path().join("containers/credit_prod_kserve-container-0123.log"),
    )
    .unwrap();
    let include = directory.path().join("containers/*.log");
    let daemon = Daemon::start(config(
        &directory,
        &format!(
            "{{include: ['{}'], request: /request, response: /response, model: credit}}",
            include.display()
        ),
    ))
    .await;
    let report = daemon.wait_for_rows(200).await;
    let model = model(&report);
    assert_eq!((model.rows.feature, model.rows.prediction), (200, 200));
    assert_eq!(model.last_row_at, Some((NOON + 49 * 60) as f64 + 0.5));
    assert_eq!(model.violations, []);
    daemon.wait_for_metric(r#"driftd_tap_exchanges_total{outcome="unrecognised",tap="logs"}"#, 100.0).await;
    daemon.stop().await;
}

/// Rows of a log that a window holds at the last of them, each counted by its `amount`; the rows' times ascend.
fn recount(rows: &[(u64, u64)], window_seconds: u64) -> Vec<u64> {
    let slot = window_seconds * 1000 / 30;
    let last = rows.last().expect("some rows").1 / slot;
    let mut counts = vec![0; 50];
    for (amount, _) in rows.iter().filter(|(_, at)| at / slot + 30 >= last) {
        counts[usize::try_from(*amount).expect("small")] += 1;
    }
    counts
}

#[derive(serde::Deserialize)]
struct Api {
    models: Vec<ApiModel>,
}

#[derive(serde::Deserialize)]
struct ApiModel {
    rows: Counted,
    late: Counted,
    features: Vec<ApiFeature>,
}

#[derive(serde::Deserialize, Debug, PartialEq)]
struct Counted {
    feature: u64,
    prediction: u64,
}

#[derive(serde::Deserialize)]
struct ApiFeature {
    name: String,
    baseline: Vec<u64>,
    windows: Vec<ApiWindow>,
}

#[derive(serde::Deserialize)]
struct ApiWindow {
    counts: Vec<u64>,
}

/// Records of KServe's as they are copied out of a bucket: each a file, without a line feed; and a row of tomorrow.
#[tokio::test]
async fn kserves_records_are_read_from_files_and_what_is_yet_to_come_is_not() {
    let directory = TempDir::new().unwrap();
    let records = directory.path().join("records");
    fs::create_dir(&records).unwrap();
    let record = |id: &str, side: &str, body: &str, time: &str| {
        let bytes = BASE64_STANDARD.encode(body);
        let text = format!(
            r#"{{"bytes":"{bytes}","contentType":"application/json","reqType":"org.kubeflow.serving.inference.{side}","id":"{id}","inferenceService":"credit","namespace":"prod","component":"predictor","occurrenceTime":"{time}"}}"#
        );
        fs::write(records.join(format!("{id}-{side}.json")), text).unwrap();
    };
    let request = r#"{"instances": [{"amount": 1, "age": 20}]}"#;
    for (id, time) in
        [("a", "2026-05-01T12:00:00Z"), ("b", "2026-05-01T12:00:01Z"), ("c", "2100-01-01T00:00:00Z")]
    {
        record(id, "request", request, time);
        record(id, "response", r#"{"predictions": [0.5]}"#, time);
    }
    let daemon = Daemon::start(config(
        &directory,
        &format!("{{include: ['{}/*.json'], format: kserve}}", records.display()),
    ))
    .await;
    let report = daemon.wait_for_rows(2).await;
    assert_eq!((model(&report).rows.feature, model(&report).rows.prediction), (2, 2));
    daemon.wait_for_metric(&dropped("future"), 2.0).await;
    assert_eq!(model(&report).last_row_at, Some((NOON + 1) as f64));
    daemon.stop().await;
}

#[tokio::test]
async fn standard_input_is_read_to_its_end() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("driftd.yaml");
    fs::write(&file, yaml(&directory, &format!("{{include: ['-'], {JSONL}}}"))).unwrap();
    // More than is read at a time, and a last line without its end.
    let text = lines(0..8000);
    let daemon = Sidecar::reading(&file, text.trim_end());
    let deadline = tokio::time::Instant::now() + support::PATIENCE;
    while api(&daemon).await.models.first().is_none_or(|model| model.rows.feature < 8000) {
        assert!(tokio::time::Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    daemon.signal("TERM");
    assert_eq!(daemon.wait().await, Some(0), "nobody waits for more");
}

async fn api(daemon: &Sidecar) -> Api {
    let text =
        reqwest::get(format!("http://{}/api/v1/drift", daemon.admin)).await.unwrap().text().await.unwrap();
    serde_json::from_str(&text).unwrap()
}

async fn wait_for_rows(daemon: &Sidecar, n_rows: u64) -> Api {
    let deadline = tokio::time::Instant::now() + support::PATIENCE;
    loop {
        let api = api(daemon).await;
        let rows = api.models.first().map_or(0, |model| model.rows.feature);
        if rows >= n_rows {
            return api;
        }
        assert!(tokio::time::Instant::now() < deadline, "{rows} rows of {n_rows}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Killed again and again, at any moment, while a log is written and rotated: at last the windows hold what the files do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_moment_the_windows_hold_every_row_once() {
    const N_ROWS: u64 = 18_000;
    let directory = TempDir::new().unwrap();
    let log = directory.path().join("app.log");
    let yaml = yaml(&directory, &format!("{{include: ['{}*'], {JSONL}}}", log.display()))
        + &format!("state_dir: '{}'\n", directory.path().join("state").display());
    let file = directory.path().join("driftd.yaml");
    fs::write(&file, yaml).unwrap();
    let row = |row: u64| (row * 7 % 50, (NOON * 1000) + row * 97);
    let writer = {
        let log = log.clone();
        std::thread::spawn(move || {
            let mut n_rotated = 0;
            for start in (0..N_ROWS).step_by(60) {
                let text = (start..start + 60).fold(String::new(), |mut text, at| {
                    let (amount, at) = row(at);
                    writeln!(text, r#"{{"time": {at}, "features": [{amount}, 21], "score": 0.5}}"#).unwrap();
                    text
                });
                // In two parts, so that half a line is there for a while.
                append(&log, &text[..text.len() - 30]);
                std::thread::sleep(Duration::from_millis(2));
                append(&log, &text[text.len() - 30..]);
                if start % 6000 == 5400 {
                    n_rotated += 1;
                    let rotated = PathBuf::from(format!("{}.{n_rotated}", log.display()));
                    fs::rename(&log, &rotated).unwrap();
                    if n_rotated % 2 == 0 {
                        gzip(&rotated, Path::new(&format!("{}.gz", rotated.display())));
                    }
                }
            }
        })
    };
    let mut seed = 7u64;
    let mut n_killed = 0;
    while !writer.is_finished() {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let daemon = Sidecar::without_proxy(&file);
        tokio::time::sleep(Duration::from_millis(20 + (seed >> 33) % 300)).await;
        daemon.signal("KILL");
        assert_eq!(daemon.wait().await, None);
        n_killed += 1;
    }
    writer.join().unwrap();
    assert!(n_killed >= 3, "{n_killed}");
    let daemon = Sidecar::without_proxy(&file);
    let api = wait_for_rows(&daemon, N_ROWS).await;
    let model = &api.models[0];
    let expected = Counted { feature: N_ROWS, prediction: N_ROWS };
    assert_eq!((&model.rows, model.late.feature), (&expected, 0), "killed {n_killed} times");
    let rows: Vec<_> = (0..N_ROWS).map(row).collect();
    let amount = model.features.iter().find(|feature| feature.name == "amount").unwrap();
    for (window, seconds) in [300, 3600, 86_400].into_iter().enumerate() {
        let recount = recount(&rows, seconds);
        // Ten groups of five values each; those at the ends hold what training never saw.
        let counts = amount.windows[window].counts.iter().zip(&amount.baseline);
        let counts: Vec<u64> =
            counts.filter(|(_, baseline)| **baseline > 0).map(|(count, _)| *count).collect();
        let groups: Vec<u64> = recount.chunks(5).map(|values| values.iter().sum()).collect();
        assert_eq!(counts, groups, "window of {seconds} s");
    }
    // Series begin anew with every process.
    let text = reqwest::get(format!("http://{}/metrics", daemon.admin)).await.unwrap().text().await.unwrap();
    let series =
        text.lines().find(|line| line.starts_with("driftd_rows_total{") && line.contains("\"feature\""));
    let counted: f64 = series.unwrap().rsplit(' ').next().unwrap().parse().unwrap();
    assert!(counted < N_ROWS as f64, "{counted}");
}
