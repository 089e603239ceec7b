//! Every query and variable of every dashboard, asked of a real Prometheus with live data; and their shape, by Grafana's own types.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::response::IntoResponse;
use driftd::telemetry::ControllerMetrics;
use driftd::telemetry::controller::{
    AlertOutcome, GLOBAL, IncidentOutcome, OpenState, PushResult, RefreshResult, Stage,
};
use prometheus::Registry;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::real::Prometheus;
use crate::support::{self, from_env};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("dashboards")
}

/// Name and content of each.
pub fn dashboards() -> Vec<(String, Value)> {
    let mut files: Vec<_> = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    let read = |path: &PathBuf| {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        (name, serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap())
    };
    files.iter().map(read).collect()
}

/// A controller in the middle of a rollback, as far as its series go.
pub struct Controller {
    registry: Registry,
    metrics: ControllerMetrics,
}

impl Controller {
    pub fn new() -> Self {
        let registry = Registry::new();
        let metrics = ControllerMetrics::register(&registry, &["pause", "causality"]).unwrap();
        metrics.set_target_state("prod", "credit", Some(OpenState::Syncing));
        metrics.set_open(OpenState::Syncing, 1);
        metrics.set_budget_remaining(GLOBAL, 4);
        metrics.set_leader(true);
        let controller = Self { registry, metrics };
        controller.work();
        controller
    }

    /// What a rollback counts.
    fn work(&self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        self.metrics.beat(now.as_secs_f64());
        self.metrics.count_alerts(AlertOutcome::Accepted);
        self.metrics.count_push(PushResult::Ok);
        self.metrics.count_refresh(RefreshResult::Ok);
        self.metrics.count_gate_denied("pause");
        self.metrics.count_ended(IncidentOutcome::Recovered);
        self.metrics.time_to_commit.observe(2.0);
        self.metrics.time_to_verified.observe(100.0);
        self.metrics.git_lock_wait.observe(0.01);
        for stage in Stage::ALL {
            self.metrics.observe_stage(stage, Duration::from_secs(1));
        }
    }

    pub fn exposition(&self) -> String {
        prometheus::TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap()
    }

    /// Serves them, and works whenever it is scraped.
    async fn serve(self) -> SocketAddr {
        let controller = Arc::new(self);
        support::mock_model_server(move |_| {
            let controller = Arc::clone(&controller);
            async move {
                controller.work();
                controller.exposition().into_response()
            }
        })
        .await
    }
}

/// As somebody sees it who chose everything, and one of what there can only be one of.
fn chosen(query: &str) -> String {
    let one = [("$window", "5m"), ("$column", "x"), ("$__rate_interval", "10s")];
    let all = ["namespace", "inferenceservice", "model", "version", "feature", "job", "instance"];
    let query = one.iter().fold(query.to_owned(), |query, (name, value)| query.replace(name, value));
    let query = all.iter().fold(query, |query, name| query.replace(&format!("\"${name}\""), "\".*\""));
    assert!(!query.contains('$'), "a variable that no dashboard has: {query}");
    query
}

fn panels(dashboard: &Value) -> impl Iterator<Item = &Value> {
    dashboard["panels"].as_array().unwrap().iter().filter(|panel| panel["type"] != "row")
}

#[tokio::test]
async fn every_query_and_variable_answers_with_live_data() {
    let directory = TempDir::new().unwrap();
    let pods = crate::fleet::pods(directory.path()).await;
    let logs_directory = TempDir::new().unwrap();
    let logs = crate::logs::following(&logs_directory).await;
    let controller = Controller::new().serve().await;
    let mut targets: Vec<_> = pods.iter().map(|pod| pod.admin).collect();
    targets.extend([logs.admin, controller]);
    let prometheus = Prometheus::start(&targets);
    prometheus.wait_for("count(driftd_bin_observations_total{bin=\"00\"}) >= 6").await;
    crate::fleet::traffic_of_all(&pods).await;
    prometheus.wait_for("count(driftd:versions_ks:5m) and count(driftd_model_drifted)").await;

    let mut n_queries = 0;
    for (name, dashboard) in dashboards() {
        for panel in panels(&dashboard) {
            for target in panel["targets"].as_array().unwrap() {
                let query = chosen(target["expr"].as_str().unwrap());
                let found = prometheus.wait_for(&query).await;
                assert!(!found.is_empty(), "{name}: {}", panel["title"]);
                n_queries += 1;
            }
        }
        for variable in dashboard["templating"]["list"].as_array().unwrap() {
            let Some(definition) = variable["definition"].as_str() else { continue };
            let inner = definition.strip_prefix("label_values(").unwrap().strip_suffix(')').unwrap();
            let (series, label) = inner.rsplit_once(", ").unwrap();
            let found = prometheus.wait_for(&format!("group by ({label}) ({})", chosen(series))).await;
            let values: Vec<_> = found.iter().filter_map(|(labels, _)| labels.get(label)).collect();
            assert!(!values.is_empty(), "{name}: nothing to choose from for {}", variable["name"]);
        }
    }
    assert!(n_queries > 60, "{n_queries}");
    logs.stop().await;
}

#[test]
fn every_panel_says_what_it_shows() {
    for (name, dashboard) in dashboards() {
        for panel in panels(&dashboard) {
            for key in ["title", "description"] {
                assert!(
                    panel[key].as_str().is_some_and(|text| !text.is_empty()),
                    "{name}: a panel without {key}"
                );
            }
            assert!(
                panel["fieldConfig"]["defaults"]["unit"].is_string(),
                "{name}: {} has no unit",
                panel["title"]
            );
        }
    }
}

#[test]
fn dashboards_are_what_their_program_writes() {
    let directory = TempDir::new().unwrap();
    let status = Command::new(from_env("DRIFTD_TEST_PYTHON"))
        .arg(folder().join("generate.py"))
        .arg(directory.path())
        .status()
        .unwrap();
    assert!(status.success());
    let shipped = dashboards();
    assert_eq!(shipped.len(), 5);
    for (name, _) in shipped {
        let file = format!("{name}.json");
        let [made, kept] =
            [directory.path(), &folder()].map(|folder| std::fs::read(folder.join(&file)).unwrap());
        assert!(made == kept, "{file}: run dashboards/generate.py");
    }
}

fn yaml(file: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("alerts").join(file);
    serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Moves what a provisioning file calls otherwise than the API, whose types we have.
fn rule_as_the_api_has_it(rule: &Value, group: &Value) -> Value {
    let mut rule = rule.clone();
    let map = rule.as_object_mut().unwrap();
    for (of_file, of_api) in [
        ("keepFiringFor", "keep_firing_for"),
        ("missing_series_evals_to_resolve", "missingSeriesEvalsToResolve"),
    ] {
        if let Some(value) = map.remove(of_file) {
            map.insert(of_api.to_owned(), value);
        }
    }
    map.insert("orgID".to_owned(), group["orgId"].clone());
    map.insert("ruleGroup".to_owned(), group["name"].clone());
    map.insert("folderUID".to_owned(), group["folder"].clone());
    rule
}

/// Strictly: a field that Grafana's types do not have is an error, and so is one that they ask for. Grafana itself is under the
/// AGPL and not to be had here; its types are published by themselves.
#[test]
fn grafanas_types_take_dashboards_alerts_contact_point_and_policy() {
    let (alerts, policies) = (yaml("grafana.yaml"), yaml("grafana-policy.yaml"));
    let rules: Vec<_> = alerts["groups"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|group| {
            group["rules"].as_array().unwrap().iter().map(move |rule| rule_as_the_api_has_it(rule, group))
        })
        .collect();
    let uids: BTreeMap<_, _> = rules.iter().map(|rule| (rule["uid"].as_str().unwrap(), rule)).collect();
    assert_eq!(uids.len(), rules.len(), "a uid twice");
    let receivers = alerts["contactPoints"].as_array().unwrap().iter();
    let contact_points: Vec<_> = receivers
        .flat_map(|point| {
            point["receivers"].as_array().unwrap().iter().map(move |receiver| (point, receiver))
        })
        .map(|(point, receiver)| {
            let mut receiver = receiver.clone();
            receiver["name"] = point["name"].clone();
            receiver
        })
        .collect();
    let mut policy = policies["policies"][0].clone();
    policy.as_object_mut().unwrap().remove("orgId");
    assert_eq!(policy["routes"][0]["receiver"], alerts["contactPoints"][0]["name"]);
    let (n_rules, n_dashboards) = (rules.len(), dashboards().len());
    let given = json!({
        "dashboard": dashboards().into_iter().map(|(_, dashboard)| dashboard).collect::<Vec<_>>(),
        "rule": rules, "contactPoint": contact_points, "policy": [policy],
    });
    let mut checker = Command::new(from_env("DRIFTD_TEST_GRAFANA_TYPES"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    checker.stdin.take().unwrap().write_all(given.to_string().as_bytes()).unwrap();
    let output = checker.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    for expected in
        [format!("dashboard: {n_dashboards}\n"), format!("rule: {n_rules}\n"), "policy: 1\n".to_owned()]
    {
        assert!(said.contains(&expected), "{said}");
    }
}
