//! What `driftd controller` says when it starts and cannot work.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::process::driftd;

/// A configuration with one token for two, a file that is not there, and no targets.
fn config(folder: &Path) -> String {
    std::fs::write(folder.join("token"), "of-alertmanager").unwrap();
    let at = |name: &str| folder.join(name).display().to_string();
    let text = format!(
        "listen: 127.0.0.1:0\nstate_dir: '{}'\nalerts: {{bearer_token_file: '{}'}}\n\
         api: {{operators: [{{name: ann, token_file: '{}'}}, {{name: bob, token_file: '{}'}}]}}\n\
         prometheus: {{url: 'http://127.0.0.1:1'}}\ngit: {{url: 'file://{}', author: 'driftd <driftd@example.com>'}}\n\
         targets: []\n",
        at("state"),
        at("token"),
        at("token"),
        at("nowhere.token"),
        at("models.git"),
    );
    std::fs::write(folder.join("controller.yaml"), text).unwrap();
    at("controller.yaml")
}

fn controller(folder: &Path) -> Command {
    let mut command = driftd();
    command.args(["controller", "--log-format", "json", "--config", &config(folder)]);
    command
}

/// What it warns of until it listens.
fn warnings(folder: &Path) -> Vec<(String, String)> {
    let mut child = controller(folder).stderr(Stdio::piped()).spawn().expect("the program starts");
    let mut warnings = Vec::new();
    for line in BufReader::new(child.stderr.take().expect("piped")).lines() {
        let line: Value = serde_json::from_str(&line.expect("UTF-8")).expect("JSON lines");
        let field = |name: &str| line["fields"][name].as_str().unwrap_or_default().to_owned();
        if line["fields"]["listen"].is_string() {
            break;
        }
        if line["level"] == "WARN" {
            warnings.push((field("key"), field("problem")));
        }
    }
    drop(child.kill());
    drop(child.wait());
    warnings
}

#[test]
fn what_cannot_work_is_said_at_start_by_its_key() {
    let folder = TempDir::new().unwrap();
    let warnings = warnings(folder.path());
    let keys: Vec<&str> = warnings.iter().map(|(key, _)| &**key).collect();
    let expected = ["api.operators[ann].token_file", "api.operators[bob].token_file", "targets"];
    assert_eq!(keys, expected, "{warnings:?}");
    assert!(warnings[1].1.contains("nowhere.token"), "{warnings:?}");
}

#[test]
fn without_git_it_ends_at_start_also_where_it_had_run_before() {
    let folder = TempDir::new().unwrap();
    warnings(folder.path()); // makes the clone
    let output: Output = controller(folder.path()).env("PATH", folder.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("cannot run `git`; install it, or name its folder in PATH"), "{said}");
}
