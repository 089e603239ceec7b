//! `driftd baseline` as a user types it.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use insta::assert_snapshot;
use tempfile::TempDir;

const TABLE: &str = "\
age,grade,employed,risk
18,a,true,0.1
25,b,true,0.2
31,a,false,0.3
31,,true,0.4
64,c,false,0.5
";

fn driftd(directory: &TempDir, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_driftd"))
        .args(args)
        .current_dir(directory)
        .env_remove("SOURCE_DATE_EPOCH")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// What a run printed, and what it exits with if that is not 0.
fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| {
        String::from_utf8_lossy(bytes).lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
    };
    let said = text(&output.stdout) + &text(&output.stderr);
    match output.status.code() {
        Some(0) => said,
        code => format!("{said}\n[exit {}]", code.expect("no signal")),
    }
}

fn with_table() -> TempDir {
    let directory = TempDir::new().unwrap();
    std::fs::write(directory.path().join("train.csv"), TABLE).unwrap();
    directory
}

const BUILD: [&str; 10] = [
    "baseline",
    "build",
    "train.csv",
    "--prediction",
    "risk",
    "--model",
    "credit",
    "--version",
    "3",
    "--out",
];

#[test]
fn build_says_what_it_found_and_show_says_it_again() {
    let directory = with_table();
    assert_snapshot!(said(&driftd(&directory, &[&BUILD[..], &["credit.json"]].concat())));
    assert_snapshot!(std::fs::read_to_string(directory.path().join("credit.json")).unwrap());
    assert_snapshot!(said(&driftd(&directory, &["baseline", "show", "credit.json"])));
}

#[test]
fn the_same_input_gives_the_same_bytes_and_a_time_only_if_asked() {
    let directory = with_table();
    for name in ["1.json", "2.json"] {
        assert!(driftd(&directory, &[&BUILD[..], &[name]].concat()).status.success());
    }
    let read = |name: &str| std::fs::read(directory.path().join(name)).unwrap();
    assert_eq!(read("1.json"), read("2.json"));
    let epoch = Command::new(env!("CARGO_BIN_EXE_driftd"))
        .args(BUILD)
        .arg("3.json")
        .current_dir(&directory)
        .env("SOURCE_DATE_EPOCH", "86400")
        .output()
        .unwrap();
    assert!(epoch.status.success());
    assert!(String::from_utf8(read("3.json")).unwrap().contains(r#""created_at": "1970-01-02T00:00:00Z""#));
}

#[test]
fn standard_input_is_a_table_too() {
    let directory = with_table();
    let mut build = Command::new(env!("CARGO_BIN_EXE_driftd"))
        .args(["baseline", "build", "-", "--out", "stdin.json"])
        .current_dir(&directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    build.stdin.take().unwrap().write_all(TABLE.as_bytes()).unwrap();
    assert!(build.wait().unwrap().success());
    let text = std::fs::read_to_string(directory.path().join("stdin.json")).unwrap();
    assert!(text.contains(r#"{"uri":"-","sha256":""#) && text.contains(r#""rows": 5"#), "{text}");
}

#[test]
fn parts_are_merged_and_compared() {
    let directory = with_table();
    let path = |name: &str| directory.path().join(name);
    let more = "90,a,true,0.9\n91,a,true,0.8\n".repeat(100);
    std::fs::write(path("more.csv"), format!("age,grade,employed,risk\n{more}")).unwrap();
    std::fs::write(
        path("train.csv"),
        TABLE.replace("18,a", &format!("{}18,a", "40,b,false,0.2\n".repeat(195))),
    )
    .unwrap();
    let run = |args: &[&str]| said(&driftd(&directory, args));
    run(&[&BUILD[..], &["1.json"]].concat());
    run(&[
        "baseline",
        "build",
        "more.csv",
        "--prediction",
        "risk",
        "--edges-from",
        "1.json",
        "--out",
        "2.json",
    ]);
    assert_snapshot!(run(&["baseline", "merge", "1.json", "2.json", "--out", "both.json"]));
    assert_snapshot!(run(&["baseline", "diff", "1.json", "2.json"]));
    run(&["baseline", "build", "more.csv", "--prediction", "risk", "--out", "other.json"]);
    assert_snapshot!(run(&["baseline", "merge", "1.json", "other.json", "--out", "both.json"]));
    assert_snapshot!(run(&["baseline", "diff", "1.json", "other.json"]));
}

#[test]
fn errors_say_what_where_and_what_to_do() {
    let directory = with_table();
    let run = |args: &[&str]| said(&driftd(&directory, args));
    std::fs::write(directory.path().join("broken.json"), "{").unwrap();
    assert_snapshot!(run(&["baseline", "build", "trian.csv", "--out", "x.json"]));
    assert_snapshot!(run(&["baseline", "build", "train.csv", "--prediction", "rsik", "--out", "x.json"]));
    assert_snapshot!(run(&["baseline", "build", "train.csv", "--out", "no/such/folder/x.json"]));
    assert_snapshot!(run(&["baseline", "show", "broken.json"]));
    assert!(!Path::new(&directory.path().join("x.json")).exists());
}
