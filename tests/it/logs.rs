//! Logs as a source: real files, written, rotated, copied and compressed while they are read, and the counts that come of it.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use driftd::baseline::build::BuildOptions;
use driftd::config::{Config, RawConfig};
use driftd::pipeline::Report;
use driftd::pipeline::report::ModelReport;
use flate2::Compression;
use flate2::write::GzEncoder;
use tempfile::TempDir;

use crate::support::{self, Daemon, localhost, metric};

/// `amount` and `age` in, `score` out.
fn training() -> String {
    let rows = (0..500).map(|row| format!("{},{},{}\n", row % 50, 20 + row % 7, f64::from(row % 10) / 10.0));
    "amount,age,score\n".to_owned() + &rows.collect::<String>()
}

/// A daemon's configuration whose only tap is the given one.
fn config(directory: &TempDir, logs: &str) -> Config {
    let options = BuildOptions {
        model: Some("credit".to_owned()),
        predictions: vec!["score".to_owned()],
        ..BuildOptions::default()
    };
    let baseline = support::baseline(directory.path(), &training(), &options);
    let yaml = format!(
        "admin: {}\nmodels: [{{baseline: '{}'}}]\nevaluation: {{interval: 50ms, windows: [5m, 1h, 24h]}}\ntaps: [{{logs: {logs}}}]\n",
        localhost(),
        baseline.display(),
    );
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
