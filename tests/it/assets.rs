//! What `alerts/`, `dashboards/`, `deploy/` and the README name must exist.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use driftd::config::Config;
use tempfile::TempDir;

fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn text(path: &str) -> String {
    std::fs::read_to_string(file(path)).unwrap()
}

/// All files in a folder and those below it.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// Words of `text` that begin with `prefix`, up to the first character that no metric name has.
fn names<'a>(text: &'a str, prefix: &'static str) -> impl Iterator<Item = &'a str> {
    text.match_indices(prefix).filter_map(move |(at, _)| {
        let is_part = |character: char| character.is_ascii_alphanumeric() || "_:".contains(character);
        let begins = text[..at].chars().next_back().is_none_or(|before| !is_part(before));
        let rest = &text[at..];
        let name = &rest[..rest.find(|character| !is_part(character)).unwrap_or(rest.len())];
        begins.then(|| name.trim_end_matches(':'))
    })
}

/// The families and labels of daemons and a controller that export all they can.
async fn exported() -> (BTreeSet<String>, BTreeSet<String>) {
    let directory = TempDir::new().unwrap();
    let daemon = crate::daemon::drifting(&directory).await;
    let of_traffic = daemon.metrics().await;
    daemon.stop().await;
    let logs_directory = TempDir::new().unwrap();
    let daemon = crate::logs::following(&logs_directory).await;
    let controller = crate::dashboards::Controller::new().exposition();
    let exposition = of_traffic + &daemon.metrics().await + &controller;
    daemon.stop().await;
    let series = exposition.lines().filter(|line| !line.starts_with('#'));
    let (mut families, mut labels) = (BTreeSet::new(), BTreeSet::new());
    for line in series {
        let (name, rest) = line.split_at(line.find(['{', ' ']).unwrap());
        families.insert(name.to_owned());
        let pairs =
            rest.strip_prefix('{').and_then(|rest| rest.split_once("} ")).map_or("", |(pairs, _)| pairs);
        labels.extend(pairs.split("\",").filter_map(|pair| Some(pair.split_once('=')?.0.to_owned())));
    }
    (families, labels)
}

/// What the rule file records.
fn recorded(rules: &str) -> BTreeSet<String> {
    rules.lines().filter_map(|line| Some(line.trim().strip_prefix("- record: ")?.to_owned())).collect()
}

#[tokio::test]
async fn every_series_that_is_named_exists() {
    let (families, _) = exported().await;
    let rules = text("alerts/driftd.rules.yaml");
    let recorded = recorded(&rules);
    assert!(!recorded.is_empty());
    let not_series = ["driftd_action"]; // a label of alerts
    for path in [
        "alerts/driftd.rules.yaml",
        "alerts/grafana.yaml",
        "dashboards/overview.json",
        "dashboards/model.json",
        "dashboards/fleet.json",
        "dashboards/tap.json",
        "dashboards/rollbacks.json",
        "README.md",
        "docs/runbook.md",
        "docs/kserve.md",
    ] {
        let text = text(path);
        for name in names(&text, "driftd_").chain(names(&text, "process_")).filter(|name| *name != "process_")
        {
            let is_family = families.contains(name)
                || ["_bucket", "_sum", "_count"]
                    .iter()
                    .any(|part| families.contains(&format!("{name}{part}")));
            assert!(is_family || not_series.contains(&name), "{path} names `{name}`, which nothing exports");
        }
        for name in names(&text, "driftd:").filter(|name| *name != "driftd") {
            assert!(recorded.contains(name), "{path} names `{name}`, which no rule records");
        }
    }
}

#[tokio::test]
async fn every_series_is_in_the_readme() {
    let (families, _) = exported().await;
    let readme = text("README.md");
    for family in families.iter().filter(|family| family.starts_with("driftd_")) {
        let base =
            ["_bucket", "_sum", "_count"].iter().find_map(|part| family.strip_suffix(part)).unwrap_or(family);
        assert!(readme.contains(base), "the README has no `{base}`");
    }
}

#[tokio::test]
async fn every_label_that_alerts_group_by_exists() {
    let (_, mut labels) = exported().await;
    labels.extend(["job", "instance", "against", "below"].map(str::to_owned)); // the scrape's and the rules'
    let rules = text("alerts/driftd.rules.yaml");
    for clause in ["by (", "ignoring (", "on (", "without ("] {
        for (at, _) in rules.match_indices(clause) {
            let list = rules[at + clause.len()..].split(')').next().unwrap();
            for label in list.split(',').map(str::trim) {
                assert!(labels.contains(label), "`{clause}{list})`: nothing has a label `{label}`");
            }
        }
    }
}

#[test]
fn every_alert_has_what_a_person_needs() {
    let rules = text("alerts/driftd.rules.yaml");
    let runbook = text("docs/runbook.md");
    let tests = text("alerts/tests/verdicts.yaml")
        + &text("alerts/tests/fleet.yaml")
        + &text("alerts/tests/itself.yaml")
        + &text("alerts/tests/controller.yaml");
    let alerts: Vec<_> = rules.split("- alert: ").skip(1).collect();
    assert!(alerts.len() > 10);
    for alert in alerts {
        let name = alert.lines().next().unwrap();
        for key in ["for:", "severity:", "summary:", "description:", &format!("#{}", name.to_lowercase())] {
            assert!(alert.contains(key), "{name} has no {key}");
        }
        assert!(runbook.contains(&format!("## {name}\n")), "the runbook has no section {name}");
        assert!(tests.contains(&format!("alertname: {name}\n")), "no test lets {name} fire");
    }
}

#[test]
fn the_scrape_configuration_is_valid() {
    let output = Command::new(crate::support::from_env("DRIFTD_TEST_PROMTOOL"))
        .args(["check", "config"])
        .arg(file("deploy/prometheus/scrape.yaml"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn every_flag_that_is_named_exists() {
    let driftd = |args: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_driftd")).args(args).arg("--help").output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let help: String = [&["run"][..], &["baseline", "build"], &["demo"], &["replay"], &["rules"]]
        .into_iter()
        .map(driftd)
        .collect();
    let flags = |text: &str| -> BTreeSet<String> {
        let words =
            text.split(|character: char| !(character.is_ascii_alphanumeric() || "-_".contains(character)));
        words
            .filter(|word| word.starts_with("--") && !word.trim_matches('-').is_empty())
            .map(str::to_owned)
            .collect()
    };
    let known = flags(&help);
    let of_others = ["--release", "--from-file", "--soak", "--cluster"]; // cargo's, kubectl's, those of ./test.sh
    let deployed = [
        "deploy/kubernetes/sidecar.yaml",
        "deploy/kubernetes/inferenceservice.yaml",
        "deploy/kubernetes/logger-sink.yaml",
    ];
    for path in ["README.md", "docs/runbook.md", "docs/configuration.md", "docs/kserve.md"]
        .into_iter()
        .chain(deployed)
    {
        for flag in flags(&text(path)) {
            let is_known = known.contains(&flag) || of_others.contains(&&*flag);
            assert!(is_known, "{path} names `{flag}`, which no command has");
        }
    }
    for path in deployed {
        for variable in names(&text(path), "DRIFTD_") {
            assert!(help.contains(variable), "{path}: no flag reads `{variable}`");
        }
    }
}

#[test]
fn configuration_in_the_documents_is_valid() {
    let directory = TempDir::new().unwrap();
    let mut blocks = Vec::new();
    for path in ["README.md", "docs/configuration.md"] {
        let text = text(path);
        let found =
            text.split("```yaml\n").skip(1).map(|block| block.split("```").next().unwrap().to_owned());
        blocks.extend(found.map(|yaml| (path, yaml)));
    }
    let manifest = text("deploy/kubernetes/logger-sink.yaml");
    let lines = manifest.split("driftd.yaml: |\n").nth(1).unwrap().split("---").next().unwrap().lines();
    let config = lines.map(|line| line.strip_prefix("    ").unwrap_or(line).to_owned() + "\n");
    blocks.push(("deploy/kubernetes/logger-sink.yaml", config.collect()));
    assert!(blocks.len() >= 4);
    for (path, yaml) in blocks {
        let file = directory.path().join("driftd.yaml");
        std::fs::write(&file, &yaml).unwrap();
        Config::read(&file).unwrap_or_else(|error| panic!("{path}: {error}\n{yaml}"));
    }
}

/// `docs/controller.md` says what never happens, and which tests would fail.
#[test]
fn every_test_that_the_documentation_names_is_there() {
    let text = text("docs/controller.md");
    let promises = text.split("### What never happens").nth(1).unwrap().split("\n## ").next().unwrap();
    let named: BTreeSet<&str> = promises
        .lines()
        .filter(|line| line.starts_with('|'))
        .flat_map(|line| line.split('`').skip(1).step_by(2))
        .filter(|name| name.matches('_').count() > 1 && !name.contains('/'))
        .collect();
    assert!(named.len() > 20, "{named:?}");
    let mut missing = named.clone();
    for source in ["src", "tests/it"].into_iter().flat_map(|folder| files(&file(folder))) {
        let source = String::from_utf8_lossy(&std::fs::read(source).unwrap()).into_owned();
        missing.retain(|name| !source.contains(&format!("fn {name}(")));
    }
    assert!(missing.is_empty(), "no test is called {missing:?}");
}
