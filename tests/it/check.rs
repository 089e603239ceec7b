//! `driftd check` as a pipeline runs it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use fastrand::Rng;
use serde_json::Value;
use tempfile::TempDir;

use crate::process::driftd;
use crate::support::from_env;

const HEADER: &str = "age,<b>|plan,score\n";

fn table(seed: u64, n: usize, row: impl Fn(&mut Rng, f64, &str) -> String) -> String {
    let mut rng = Rng::with_seed(seed);
    let mut csv = HEADER.to_owned();
    for _ in 0..n {
        let age: f64 = 40.0 + (0..12).map(|_| rng.f64() - 0.5).sum::<f64>() * 10.0;
        let plan = if rng.f64() < 0.7 { "basic" } else { "pro" };
        writeln!(csv, "{}", row(&mut rng, age, plan)).unwrap();
    }
    csv
}

fn steady(_: &mut Rng, age: f64, plan: &str) -> String {
    format!("{age},{plan},{}", age / 100.0)
}

struct Files(TempDir);

impl Files {
    fn new() -> Self {
        let files = Self(TempDir::new().unwrap());
        let train = files.write("train.csv", &table(1, 10_000, steady));
        let built = driftd()
            .args(["baseline", "build", "--model", "credit", "--prediction", "score", "--out"])
            .args([&files.0.path().join("baseline.json"), &train])
            .output()
            .unwrap();
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        files
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn check(&self, args: &[&str]) -> Output {
        driftd()
            .current_dir(&self.0)
            .args(["check", "--baseline", "baseline.json"])
            .args(args)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    fn report(&self, args: &[&str]) -> (i32, Value) {
        let output = self.check(&[args, &["--format", "json"]].concat());
        let report = serde_json::from_slice(&output.stdout);
        (output.status.code().unwrap(), report.unwrap_or_else(|_| panic!("{output:?}")))
    }
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn the_exit_code_is_the_answer() {
    let files = Files::new();
    files.write("same.csv", &table(2, 5_000, steady));
    files
        .write("moved.csv", &table(3, 5_000, |_, age, plan| format!("{},{plan},{}", age + 6.0, age / 100.0)));
    files.write("few.csv", &table(4, 100, steady));
    let code = |args: &[&str]| files.check(args).status.code();
    assert_eq!(code(&["same.csv"]), Some(0));
    assert_eq!(code(&["moved.csv"]), Some(1));
    assert_eq!(code(&["few.csv"]), Some(3));
    assert_eq!(code(&["few.csv", "--min-samples", "50"]), Some(0));
    assert_eq!(code(&["none.csv"]), Some(2));
    assert_eq!(code(&["same.csv", "moved.csv"]), Some(1), "both files are one table");
    let (_, report) = files.report(&["moved.csv"]);
    assert_eq!((&report["verdict"], &report["cause"]), (&"drift".into(), &"input".into()));
    assert_eq!(report["columns"][0]["name"], "age", "the worst first");
    assert!(report["columns"][0]["scores"]["ks"].as_f64() > Some(0.2));
}

#[test]
fn a_broken_contract_is_named() {
    let files = Files::new();
    let cases: [(&str, String, &str); 5] =
        [
            (
                "null",
                table(5, 2_000, |rng, age, plan| {
                    if rng.f64() < 0.2 { format!(",{plan},0.4") } else { steady(rng, age, plan) }
                }),
                "without a value",
            ),
            (
                "type",
                table(5, 2_000, |rng, age, plan| {
                    if rng.f64() < 0.2 { format!("old,{plan},0.4") } else { steady(rng, age, plan) }
                }),
                "of another type",
            ),
            (
                "category",
                table(5, 2_000, |rng, age, _| {
                    format!("{age},{},0.4", if rng.f64() < 0.2 { "gold" } else { "pro" })
                }),
                "of another type or category",
            ),
            ("unit", table(5, 2_000, |_, age, plan| format!("{},{plan},0.4", age * 100.0)), "out of range"),
            (
                "gone",
                table(5, 2_000, |_, _, plan| format!("{plan},0.4")).replace("age,", ""),
                "without a value",
            ),
        ];
    for (name, csv, says) in cases {
        let file = files.write(&format!("{name}.csv"), &csv);
        let (code, report) = files.report(&[file.to_str().unwrap()]);
        assert_eq!((code, &report["verdict"]), (1, &"schema".into()), "{name}: {report:#}");
        let reason = report["columns"][0]["reason"].as_str().unwrap();
        assert!(reason.contains(says), "{name}: {reason}");
    }
    let extra =
        table(6, 2_000, |rng, age, plan| steady(rng, age, plan) + ",7").replace("score\n", "score,row_id\n");
    files.write("extra.csv", &extra);
    let (code, report) = files.report(&["extra.csv"]);
    assert_eq!((code, &report["unexpected"][0]), (1, &"row_id".into()));
    assert_eq!(files.check(&["extra.csv", "--ignore", "row_id"]).status.code(), Some(0));
}

#[test]
fn what_is_real_but_small_is_told_to_those_who_ask() {
    let files = Files::new();
    files.write(
        "small.csv",
        &table(7, 50_000, |_, age, plan| format!("{},{plan},{}", age + 1.0, age / 100.0)),
    );
    let (code, report) = files.report(&["small.csv"]);
    assert_eq!((code, &report["verdict"]), (0, &"ok".into()), "{report:#}");
    let (code, report) = files.report(&["small.csv", "--sensitivity", "evidence"]);
    assert_eq!((code, &report["verdict"]), (0, &"warning".into()));
}

#[test]
fn every_format_holds_what_it_should() {
    let files = Files::new();
    files
        .write("moved.csv", &table(3, 5_000, |_, age, plan| format!("{},{plan},{}", age + 6.0, age / 100.0)));
    let text = stdout(&files.check(&["moved.csv"]));
    assert!(
        text.starts_with("5000 rows against a baseline of credit of 10000: drift, cause input in 1 of 3"),
        "{text}"
    );

    let markdown = stdout(&files.check(&["moved.csv", "--format", "markdown"]));
    assert!(
        markdown.contains(r"&lt;b&gt;\|plan") && markdown.contains("| age | feature | drift |"),
        "{markdown}"
    );

    let html = files.check(&["moved.csv", "--format", "html", "--out", "report.html"]);
    assert_eq!(html.status.code(), Some(1));
    let page = std::fs::read_to_string(files.0.path().join("report.html")).unwrap();
    assert!(page.contains("&lt;b&gt;|plan") && !page.contains("<b>"), "names are escaped");
    assert_eq!(page.matches("<svg").count(), 3);
    assert!(page.find(">age<").unwrap() < page.find(">score<").unwrap(), "drifted first");
    for elsewhere in ["http:", "https:", "src=", "href=", "<script", "@import", "url("] {
        assert!(!page.contains(elsewhere), "the page needs `{elsewhere}`");
    }
}

/// By a parser that is not ours.
#[test]
fn junit_is_read_by_others() {
    let files = Files::new();
    files
        .write("moved.csv", &table(3, 5_000, |_, age, plan| format!("{},{plan},{}", age + 6.0, age / 100.0)));
    let output = files.check(&["moved.csv", "--format", "junit", "--out", "drift.xml"]);
    assert_eq!(output.status.code(), Some(1));
    let script = "import sys, xml.etree.ElementTree as tree\n\
                  suite = tree.parse(sys.argv[1]).getroot()[0]\n\
                  failed = [case.get('name') for case in suite if case.find('failure') is not None]\n\
                  print(suite.get('tests'), suite.get('failures'), len(suite), failed, [case.get('name') for case in suite][1:3])";
    let parsed = Command::new(from_env("DRIFTD_TEST_PYTHON"))
        .args(["-c", script])
        .arg(files.0.path().join("drift.xml"))
        .output()
        .unwrap();
    let said = stdout(&parsed);
    assert!(said.starts_with("4 1 4 ['age'] ") && said.contains("<b>|plan"), "{said} {parsed:?}");
}

#[test]
fn peers_numbers_stand_beside_ours() {
    let files = Files::new();
    files.write("same.csv", &table(2, 5_000, steady));
    for convention in ["evidently", "nannyml", "scouter", "deepchecks", "popmon", "fiddler"] {
        let (code, report) = files.report(&["same.csv", "--convention", convention]);
        assert_eq!(code, 0);
        for column in report["columns"].as_array().unwrap() {
            assert!(column["peer"][0]["value"].is_f64(), "{convention}: {column:#}");
        }
    }
}

#[test]
fn the_same_rows_are_the_same_in_every_format_of_data() {
    let files = Files::new();
    let csv = table(8, 3_000, steady);
    files.write("rows.csv", &csv);
    let lines = csv.lines().skip(1).map(|line| {
        let cells: Vec<_> = line.split(',').collect();
        format!("{{\"age\": {}, \"<b>|plan\": \"{}\", \"score\": {}}}\n", cells[0], cells[1], cells[2])
    });
    files.write("rows.jsonl", &lines.collect::<String>());
    let (_, of_csv) = files.report(&["rows.csv"]);
    let (_, of_lines) = files.report(&["rows.jsonl"]);
    assert_eq!(of_csv, of_lines);
    let piped = driftd()
        .current_dir(&files.0)
        .args(["check", "--baseline", "baseline.json", "--format", "json", "-"])
        .stdin(std::fs::File::open(Path::new(files.0.path()).join("rows.csv")).unwrap())
        .output()
        .unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&piped.stdout).unwrap(), of_csv);
}
