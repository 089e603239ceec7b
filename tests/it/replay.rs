//! `driftd replay`: what it says of streams whose changes are known.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use fastrand::Rng;
use serde_json::Value;
use tempfile::TempDir;

use crate::process::driftd;
use crate::support::from_env;

/// One row: a number, a category, and what a model makes of the number.
#[derive(Clone, Copy)]
struct Row {
    x: f64,
    grade: &'static str,
    score: f64,
}

impl Row {
    fn draw(rng: &mut Rng) -> Self {
        let x = 50.0 + 10.0 * normal(rng);
        Self { x, grade: if rng.f64() < 0.3 { "a" } else { "b" }, score: x / 100.0 }
    }

    fn line(self) -> String {
        let x = if self.x.is_nan() { "null".to_owned() } else { self.x.to_string() };
        format!(r#"{{"x": {x}, "grade": "{}", "score": {}}}"#, self.grade, self.score)
    }
}

fn normal(rng: &mut Rng) -> f64 {
    (-2.0 * (1.0 - rng.f64()).ln()).sqrt() * (std::f64::consts::TAU * rng.f64()).cos()
}

fn rows(rng: &mut Rng, n: usize, change: impl Fn(&mut Rng, Row) -> Row) -> String {
    let line = |_| {
        let row = Row::draw(rng);
        change(rng, row).line() + "\n"
    };
    (0..n).map(line).collect()
}

fn baseline(directory: &Path) -> PathBuf {
    let (table, out) = (directory.join("train.jsonl"), directory.join("baseline.json"));
    std::fs::write(&table, rows(&mut Rng::with_seed(1), 10_000, |_, row| row)).unwrap();
    let built = driftd()
        .args(["baseline", "build", "--prediction", "score", "--out"])
        .args([&out, &table])
        .output()
        .unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    out
}

fn replay(baseline: &Path, args: &[&str], input: &str) -> Output {
    let mut child = driftd()
        .args(["replay", "--baseline"])
        .arg(baseline)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may end before it has read all.
    drop(child.stdin.take().unwrap().write_all(input.as_bytes()));
    child.wait_with_output().unwrap()
}

fn changes(output: &Output) -> Vec<Value> {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

const N_BEFORE: usize = 3_000;

/// The first verdict after a change at row 3,000, and after how many rows it came.
#[track_caller]
fn first(baseline: &Path, args: &[&str], change: impl Fn(&mut Rng, Row) -> Row) -> (Value, u64) {
    let mut rng = Rng::with_seed(2);
    let input = rows(&mut rng, N_BEFORE, |_, row| row) + &rows(&mut rng, 3_000, change);
    let args = [&["--tick-rows", "10"], args].concat();
    let found = changes(&replay(baseline, &args, &input)).into_iter().next().expect("the change is found");
    let rows =
        (found["row"].as_u64().unwrap() + 1).checked_sub(N_BEFORE as u64).expect("nothing before the change");
    (found, rows)
}

#[test]
fn a_change_is_told_with_its_cause_and_its_row() {
    let directory = TempDir::new().unwrap();
    let baseline = baseline(directory.path());
    let moved = |_: &mut Rng, row: Row| Row { x: row.x + 10.0, score: (row.x + 10.0) / 100.0, ..row };
    let (found, rows) = first(&baseline, &[], moved);
    assert!((10..=200).contains(&rows), "{rows}");
    assert!(["drift", "warning"].contains(&found["verdict"].as_str().unwrap()), "{found}");
    let feature = &found["features"][0];
    assert!(feature["value"].as_f64() > Some(0.0) && feature["threshold"].as_f64() > Some(0.0), "{found}");
    assert!(feature["samples"].as_u64() <= Some(rows + 100), "{found}");

    let (found, rows) = first(&baseline, &[], |_, row| Row { x: 100.0 * row.x, ..row });
    assert_eq!((&found["verdict"], &found["cause"]), (&"schema".into(), &"schema".into()));
    assert_eq!(found["features"][0]["statistic"], "out_of_range");
    assert!(rows <= 12, "{rows}");

    let (found, rows) =
        first(&baseline, &[], |rng, row| if rng.f64() < 0.2 { Row { x: f64::NAN, ..row } } else { row });
    assert_eq!(
        (&found["verdict"], &found["features"][0]["statistic"]),
        (&"schema".into(), &"missing".into()),
        "{found}"
    );
    assert!(rows <= 60, "{rows}");

    let (found, _) = first(&baseline, &[], |_, row| Row { score: 0.6 * row.score, ..row });
    assert_eq!(found["features"][0]["name"], "score");
}

#[test]
fn a_model_that_changes_alone_is_the_cause() {
    let directory = TempDir::new().unwrap();
    let baseline = baseline(directory.path());
    let mut rng = Rng::with_seed(2);
    let input = rows(&mut rng, N_BEFORE, |_, row| row)
        + &rows(&mut rng, 1_000, |_, row| Row { score: 0.8 * row.score, ..row });
    let found = changes(&replay(&baseline, &["--tick-rows", "100"], &input));
    assert_eq!(found.last().unwrap()["cause"], "model", "{found:?}");
}

#[test]
fn nothing_is_said_of_nothing() {
    let directory = TempDir::new().unwrap();
    let baseline = baseline(directory.path());
    let steady = rows(&mut Rng::with_seed(3), 20_000, |_, row| row);
    for sensitivity in ["practical", "evidence"] {
        let output = replay(&baseline, &["--tick-rows", "50", "--sensitivity", sensitivity], &steady);
        assert!(changes(&output).is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
        let summary = String::from_utf8(output.stderr).unwrap();
        assert!(summary.contains("20000 rows in 400 looks, 0 changes"), "{summary}");
        assert!(summary.contains("one in 10000000 rows"), "{summary}");
    }
    // By a file and by time, what is left out of the rows of a look is looked at in the end.
    let file = directory.path().join("steady.jsonl");
    std::fs::write(&file, steady.lines().take(2_500).collect::<Vec<_>>().join("\n")).unwrap();
    let output = replay(&baseline, &[file.to_str().unwrap()], "");
    let summary = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(changes(&output).is_empty() && summary.contains("2500 rows in 3 looks"), "{summary}");
}

#[test]
fn a_small_shift_is_told_to_those_who_ask() {
    let directory = TempDir::new().unwrap();
    let baseline = baseline(directory.path());
    let mut rng = Rng::with_seed(4);
    let input = rows(&mut rng, 1_000, |_, row| row)
        + &rows(&mut rng, 30_000, |_, row| Row { x: row.x + 1.0, score: row.score + 0.01, ..row });
    let args = ["--tick-rows", "100", "--sensitivity"];
    let practical = changes(&replay(&baseline, &[&args[..], &["practical"]].concat(), &input));
    assert!(practical.iter().all(|told| told["verdict"] != "drift"), "{practical:?}");
    let found = changes(&replay(&baseline, &[&args[..], &["evidence"]].concat(), &input));
    assert_eq!((&found[0]["verdict"], &found[0]["cause"]), (&"warning".into(), &Value::Null));
}

#[test]
fn a_request_sent_again_and_again_is_no_drift() {
    let directory = TempDir::new().unwrap();
    let baseline = baseline(directory.path());
    let mut rng = Rng::with_seed(5);
    let stuck = Row { x: 67.3, grade: "a", score: 0.673 };
    let input = rows(&mut rng, N_BEFORE, |_, row| row)
        + &rows(&mut rng, 600, |rng, row| if rng.f64() < 0.6 { stuck } else { row })
        + &rows(&mut rng, 3_000, |_, row| row);
    let found = changes(&replay(&baseline, &["--tick-rows", "20"], &input));
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn broken_contracts_are_schema() {
    let directory = TempDir::new().unwrap();
    let baseline = baseline(directory.path());
    let steady = rows(&mut Rng::with_seed(6), 2_000, |_, row| row);
    let check = |from: &str, to: &str| {
        let broken: String = steady.replace(from, to);
        let found = changes(&replay(&baseline, &["--tick-rows", "10"], &(steady.clone() + &broken)));
        assert_eq!(found[0]["verdict"], "schema", "{from} {to}: {found:?}");
        assert!(found[0]["row"].as_u64() < Some(2_100), "{from} {to}: {found:?}");
    };
    check("\"x\":", "\"y\":");
    check("\"grade\":", "\"new\": 1, \"grade\":");
    check("\"a\"", "\"never seen\"");
    check("\"x\": ", "\"x\": \"text\", \"_\": ");
    let output =
        replay(&baseline, &["--ignore", "new"], &steady.replace("\"grade\":", "\"new\": 1, \"grade\":"));
    assert!(changes(&output).is_empty());
}

#[test]
fn a_stream_is_answered_before_it_ends() {
    let directory = TempDir::new().unwrap();
    let mut child = driftd()
        .args(["replay", "--tick-rows", "10", "--baseline"])
        .arg(baseline(directory.path()))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let far = rows(&mut Rng::with_seed(7), 300, |_, row| Row { x: 1e6 + row.x, ..row });
    input.write_all(far.as_bytes()).unwrap();
    input.flush().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("schema"), "{line}");
    drop(input);
    assert!(child.wait().unwrap().success());
}

#[test]
fn what_is_no_row_is_named_by_its_line() {
    let directory = TempDir::new().unwrap();
    let baseline = baseline(directory.path());
    for (input, says) in [("{\"x\": 1}\nnot JSON\n", "line 2"), ("{\"x\": [\"a\"]}\n", "--ignore x")] {
        let output = replay(&baseline, &[], input);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), error.contains(says)), (Some(2), true), "{error}");
    }
    let output = replay(&directory.path().join("none.json"), &[], "");
    assert_eq!(output.status.code(), Some(2));
    let output = replay(&baseline, &["--false-alarms", "never"], "");
    assert!(String::from_utf8_lossy(&output.stderr).contains("1 per 30d"));
}

/// Real models: what moves because the inputs move is not the model's doing, and what moves alone is.
#[test]
fn the_cause_is_right_for_models_of_scikit_learn() {
    let directory = TempDir::new().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/python/cause.py");
    let made = std::process::Command::new(from_env("DRIFTD_TEST_PYTHON"))
        .arg(script)
        .arg(directory.path())
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    for (model, n_predictions) in [("regression", 1), ("multi-output", 2), ("probabilities", 3)] {
        let file = |what: &str| directory.path().join(format!("{model}-{what}"));
        let predictions = (0..n_predictions).flat_map(|at| ["--prediction".to_owned(), format!("y{at}")]);
        let built = driftd()
            .args(["baseline", "build"])
            .args(predictions)
            .arg("--out")
            .args([file("baseline.json"), file("train.jsonl")])
            .output()
            .unwrap();
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        for (stream, cause) in [("shifted.jsonl", "input"), ("swapped.jsonl", "model")] {
            let rows = file(stream);
            let args = [rows.to_str().unwrap(), "--tick-rows", "100"];
            let told = changes(&replay(&file("baseline.json"), &args, ""));
            let alarms: Vec<_> = told.iter().filter(|told| !told["cause"].is_null()).collect();
            assert!(alarms[0]["row"].as_u64() >= Some(3_000), "{model} {stream}: {told:?}");
            assert!(alarms[0]["row"].as_u64() < Some(3_600), "{model} {stream}: {told:?}");
            assert!(alarms.iter().all(|told| told["cause"] == cause), "{model} {stream}: {told:?}");
        }
    }
}

#[test]
fn a_daily_rhythm_is_no_drift_from_yesterday_and_a_change_of_it_is() {
    const ROWS_OF_DAY: usize = 17_280;
    let directory = TempDir::new().unwrap();
    let baseline = baseline(directory.path());
    let mut rng = Rng::with_seed(3);
    let row = std::cell::Cell::new(0usize);
    let day = |_: &mut Rng, drawn: Row| {
        let at = row.replace(row.get() + 1) as f64 / ROWS_OF_DAY as f64;
        let higher = if at < 3.5 { 0.0 } else { 8.0 };
        Row { x: drawn.x + 10.0 * (at * std::f64::consts::TAU).sin() + higher, ..drawn }
    };
    let input = rows(&mut rng, 4 * ROWS_OF_DAY, day);
    let args = ["--rows-per-second", "0.2", "--tick-rows", "10"];
    let told = changes(&replay(&baseline, &args, &input));
    assert!(told[0]["row"].as_u64() < Some(ROWS_OF_DAY as u64), "the baseline has no rhythm: {told:#?}");

    let args = [&args[..], &["--reference", "same_hour_yesterday", "--window", "2h"]].concat();
    let told = changes(&replay(&baseline, &args, &input));
    let (first, change) = (&told[0], ROWS_OF_DAY as u64 * 7 / 2);
    let late = first["row"].as_u64().unwrap().checked_sub(change).expect("nothing before the change");
    assert!(late < 1_440, "within the window: {first}");
    let drift = told.iter().find(|change| change["verdict"] == "drift").expect("it is large");
    assert_eq!((&drift["features"][0]["name"], &drift["cause"]), (&Value::from("x"), &Value::from("input")));
}
