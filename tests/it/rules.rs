//! `driftd rules`: what it makes of a configuration is valid, and alerts as that says.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::process::driftd;
use crate::support::from_env;

const CONFIG: &str = "
models:
  - {name: m, namespace: prod, baseline: b.json, thresholds: {x: {psi: 0.5, ks: 0.5}}}
  - {name: other, baseline: c.json}
evaluation: {WHAT}
taps: [{proxy: {listen: 127.0.0.1:0, upstream: 'http://127.0.0.1:1'}}]
";

fn made(directory: &Path, evaluation: &str) -> String {
    let (config, rules) = (directory.join("driftd.yaml"), directory.join("made.rules.yaml"));
    std::fs::write(&config, CONFIG.replace("WHAT", evaluation)).unwrap();
    for format in ["prometheusrule", "grafana", "prometheus"] {
        let run = driftd()
            .args(["rules", "--format", format, "--config"])
            .arg(&config)
            .arg("--out")
            .arg(&rules)
            .output()
            .unwrap();
        assert!(run.status.success(), "{format}: {}", String::from_utf8_lossy(&run.stderr));
        let _is_yaml: serde_json::Value =
            serde_saphyr::from_str(&std::fs::read_to_string(&rules).unwrap()).unwrap();
    }
    rules.display().to_string()
}

#[track_caller]
fn promtool(args: &[&str]) {
    let output = Command::new(from_env("DRIFTD_TEST_PROMTOOL")).args(args).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

#[test]
fn promtool_takes_the_rules_of_every_kind_of_configuration() {
    let directory = TempDir::new().unwrap();
    for evaluation in [
        "windows: [10m, 25m, 50m], min_samples: 80",
        "windows: [30s], interval: 1s, reference: previous_window",
        "reference: same_hour_yesterday, min_features: 0.3, thresholds: {psi: 0.05}",
        "windows: [5m, 36h, 72h], reference: same_hour_yesterday, interval: 2m",
    ] {
        promtool(&["check", "rules", &made(directory.path(), evaluation)]);
    }
}

/// 0.27 in PSI: drift for every column but the one that may do that. And a configured model that is nowhere.
#[test]
fn alerts_are_those_of_the_configuration() {
    let directory = TempDir::new().unwrap();
    made(directory.path(), "windows: [5m], min_samples: 500");
    let bins = |feature: &str| {
        let labels = format!(
            r#"namespace="prod",model="m",version="1",feature="{feature}",role="feature",edges="{feature}""#
        );
        format!(
            r#"
      - {{series: 'driftd_bin_observations_total{{{labels},bin="00"}}', values: 0+180x20}}
      - {{series: 'driftd_bin_observations_total{{{labels},bin="01"}}', values: 0+60x20}}
      - {{series: 'driftd_baseline_bin_share{{{labels},bin="00"}}', values: 0.5x20}}
      - {{series: 'driftd_baseline_bin_share{{{labels},bin="01"}}', values: 0.5x20}}
      - {{series: 'driftd_baseline_rows{{{labels},kind="numeric"}}', values: 2000x20}}"#
        )
    };
    let tests = format!(
        r#"
rule_files: [made.rules.yaml]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:{}{}
      - {{series: 'driftd_evidence{{namespace="prod",model="m",version="1",role="feature"}}', values: 1.5x20}}
      - {{series: 'driftd_baseline_info{{namespace="prod",model="m",version="1"}}', values: 1x20}}
      - {{series: 'driftd_baseline_info{{model="other",version="7"}}', values: _x14 1x6}}
    promql_expr_test:
      - expr: count by (alertname, feature, severity) (ALERTS{{alertstate="firing",alertname="DriftdFleetDrift"}})
        eval_time: 12m
        exp_samples: [{{labels: '{{alertname="DriftdFleetDrift",feature="y",severity="warning"}}', value: 1}}]
      - expr: count by (model) (ALERTS{{alertstate="firing",alertname="DriftdModelAbsent"}})
        eval_time: 12m
        exp_samples: [{{labels: '{{model="other"}}', value: 1}}]
      - expr: ALERTS{{alertname="DriftdModelAbsent"}}
        eval_time: 16m
        exp_samples: []
"#,
        bins("x"),
        bins("y")
    );
    let file = directory.path().join("tests.yaml");
    std::fs::write(&file, tests).unwrap();
    promtool(&["test", "rules", file.to_str().unwrap()]);
}
