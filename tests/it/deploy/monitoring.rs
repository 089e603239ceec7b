//! What is scraped, the rules and the dashboards are those of this repository.

use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use super::rendered::{Rendering, every_rendering, list_at, rendering, text_at, yaml};

const DISCOVERY: &str = "kubernetes_sd_configs:\n      - role: pod\n";

fn of_repository(path: &str) -> String {
    std::fs::read_to_string(super::rendered::deploy().join("..").join(path)).unwrap()
}

/// With every run of white space as one space, which is all that it is to PromQL.
fn with_single_spaces(value: &Value) -> Value {
    match value {
        Value::String(text) => text.split_whitespace().collect::<Vec<_>>().join(" ").into(),
        Value::Array(list) => list.iter().map(with_single_spaces).collect(),
        Value::Object(map) => {
            map.iter().map(|(key, value)| (key.clone(), with_single_spaces(value))).collect()
        }
        other => other.clone(),
    }
}

/// Kustomize writes a folded text with an empty line more where a line of it is further in.
#[test]
fn the_operators_rules_are_those_that_are_tested() {
    let tested = yaml(&of_repository("alerts/driftd.rules.yaml"));
    let made = yaml(&of_repository("alerts/prometheusrule.yaml"));
    assert!(made[0]["spec"] == tested[0], "alerts/: made by two versions of `driftd rules`");
    let mut n_rules = 0;
    for rendering in every_rendering() {
        for rules in rendering.of_kind("PrometheusRule") {
            let is_same = with_single_spaces(&rules["spec"]) == with_single_spaces(&tested[0]);
            assert!(is_same, "{}: other rules than alerts/driftd.rules.yaml", rendering.name);
            n_rules += 1;
        }
    }
    assert!(n_rules >= 4, "{n_rules}");
}

fn data<'a>(rendering: &'a Rendering, map: &str, key: &str) -> &'a str {
    let found = rendering.of_kind("ConfigMap").find(|object| text_at(object, "/metadata/name") == map);
    let found = found.unwrap_or_else(|| panic!("{}: no ConfigMap {map}", rendering.name));
    found["data"][key].as_str().unwrap_or_else(|| panic!("{map} has no {key}"))
}

/// `kubectl apply` writes each object into an annotation of its own, of which there may be 256 KiB.
#[test]
fn grafana_finds_every_dashboard() {
    let shipped = crate::dashboards::dashboards();
    for overlay in ["overlays-monitoring", "overlays-prometheus"] {
        let rendering = rendering(overlay);
        for (name, _) in &shipped {
            let (map_name, file) = (format!("driftd-dashboard-{name}"), format!("{name}.json"));
            assert_eq!(data(rendering, &map_name, &file), of_repository(&format!("dashboards/{file}")));
            let mut maps = rendering.of_kind("ConfigMap");
            let map = maps.find(|map| text_at(map, "/metadata/name") == map_name).unwrap();
            assert_eq!(map["metadata"]["labels"]["grafana_dashboard"], "1");
            assert!(map.to_string().len() < 128 * 1024, "{name} is too long for `kubectl apply`");
        }
    }
}

/// Both files, mounted into one folder as their overlay says. Debian's promtool knows nothing of Kubernetes, so it is given a
/// fixed target in place of the discovery, whose one setting is checked by itself.
#[test]
fn a_prometheus_without_the_operator_can_read_its_files() {
    let rendering = rendering("overlays-prometheus");
    let folder = TempDir::new().unwrap();
    for (map, key) in [("driftd-scrape", "kubernetes.yaml"), ("driftd-rules", "driftd.rules.yaml")] {
        let text =
            data(rendering, map, key).replace(DISCOVERY, "static_configs:\n      - targets: [127.0.0.1:1]\n");
        std::fs::write(folder.path().join(key), text).unwrap();
    }
    assert_eq!(data(rendering, "driftd-scrape", "kubernetes.yaml").matches(DISCOVERY).count(), 1);
    let output = Command::new(crate::support::from_env("DRIFTD_TEST_PROMTOOL"))
        .args(["check", "config"])
        .arg(folder.path().join("kubernetes.yaml"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn both_ways_of_scraping_look_for_the_port_that_pods_have() {
    let monitors = rendering("overlays-monitoring")
        .of_kind("PodMonitor")
        .chain(rendering("kubernetes-podmonitor").of_kind("PodMonitor"));
    let mut n_endpoints = 0;
    for endpoint in monitors.flat_map(|monitor| list_at(monitor, "/spec/podMetricsEndpoints")) {
        assert_eq!(text_at(endpoint, "/port"), "driftd-metrics");
        assert_eq!(endpoint["honorLabels"], true);
        n_endpoints += 1;
    }
    assert_eq!(n_endpoints, 3);
    let scrape = yaml(data(rendering("overlays-prometheus"), "driftd-scrape", "kubernetes.yaml"));
    let job = &scrape[0]["scrape_configs"][0];
    assert_eq!(job["honor_labels"], true);
    let keep = list_at(job, "/relabel_configs").iter().find(|rule| rule["action"] == "keep").unwrap();
    assert_eq!(keep["regex"], "driftd-metrics");
}

/// Daemons are chosen by one label, in the namespaces that they are rendered into.
#[test]
fn the_operator_finds_every_daemon() {
    let monitors = rendering("overlays-monitoring");
    let mut of_daemons = monitors.of_kind("PodMonitor");
    let monitor = of_daemons.find(|monitor| text_at(monitor, "/metadata/name") == "driftd").unwrap();
    let namespaces = list_at(monitor, "/spec/namespaceSelector/matchNames");
    let mut n_daemons = 0;
    for name in ["overlays-sidecar-injection", "overlays-logger-sink", "overlays-log-daemonset"] {
        for pods in super::pods::pods(rendering(name)) {
            let namespace: &Value = &pods.object["metadata"]["namespace"];
            assert!(namespaces.contains(namespace), "{name}: {namespace} is not among {namespaces:?}");
            assert!(pods.are_chosen_by(&monitor["spec"]["selector"]["matchLabels"]), "{name}");
            n_daemons += 1;
        }
    }
    assert_eq!(n_daemons, 3);
}
