//! The controller's overlay: its file is one, and what the file names is there.

use std::collections::BTreeSet;

use driftd::gitops::config::ControllerConfig;
use serde_json::Value;
use tempfile::TempDir;

use super::pods::pods;
use super::rendered::{deploy, list_at, rendering, text_at};

const SECRETS: &str = "/etc/driftd-secrets/";

fn config() -> ControllerConfig {
    let mut maps = rendering("overlays-controller").of_kind("ConfigMap");
    let text = maps.find_map(|map| map.pointer("/data/controller.yaml")?.as_str()).unwrap();
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("controller.yaml");
    std::fs::write(&file, text).unwrap();
    ControllerConfig::read(&file).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn mounts() -> Vec<String> {
    let pods = pods(rendering("overlays-controller"));
    let mounts = list_at(&pods[0].containers()[0], "/volumeMounts");
    mounts.iter().map(|mount| text_at(mount, "/mountPath").to_owned()).collect()
}

#[test]
fn its_file_is_valid_and_fits_the_pod() {
    let config = config();
    let rendering = rendering("overlays-controller");
    let pods = pods(rendering);
    assert_eq!(pods[0].port(&"driftd-metrics".into()), Some(u64::from(config.listen.port())));
    assert!(mounts().contains(&config.state_dir.display().to_string()));
    // Two replicas without an election would both act.
    let kubernetes = config.kubernetes.expect("an election");
    assert!(pods[0].object["spec"]["replicas"].as_u64().unwrap() > 1);
    // What it may write is what it writes.
    let rules = list_at(rendering.one("Role"), "/rules");
    let named: BTreeSet<&str> =
        rules.iter().flat_map(|rule| list_at(rule, "/resourceNames")).filter_map(Value::as_str).collect();
    assert_eq!(named, BTreeSet::from([&*kubernetes.lease, &*kubernetes.config_map]));
    let verbs =
        list_at(rendering.one("ClusterRole"), "/rules").iter().flat_map(|rule| list_at(rule, "/verbs"));
    assert!(verbs.clone().count() > 0 && verbs.into_iter().all(|verb| verb == "get" || verb == "list"));
}

/// The page names the commands that make the Secret: every file that the configuration reads has to be in it.
#[test]
fn every_secret_file_is_in_the_command_that_makes_the_secret() {
    let page = std::fs::read_to_string(deploy().join("../docs/controller.md")).unwrap();
    let yaml = std::fs::read_to_string(deploy().join("components/controller/controller.yaml")).unwrap();
    let names: BTreeSet<&str> = yaml
        .split(SECRETS)
        .skip(1)
        .filter_map(|rest| rest.split(|char: char| !(char.is_alphanumeric() || "._-".contains(char))).next())
        .collect();
    assert!(names.len() >= 4, "{names:?}");
    for name in names {
        assert!(page.contains(&format!("--from-file={name}")), "docs/controller.md makes no {name}");
    }
    assert!(mounts().contains(&SECRETS.trim_end_matches('/').to_owned()));
}

#[test]
fn alertmanagers_route_leads_to_its_service() {
    let route = std::fs::read_to_string(deploy().join("../alerts/alertmanager.yaml")).unwrap();
    let service = rendering("overlays-controller").one("Service");
    let url = format!(
        "http://{}.{}:{}/api/v1/alerts",
        text_at(service, "/metadata/name"),
        text_at(service, "/metadata/namespace"),
        service["spec"]["ports"][0]["port"]
    );
    assert!(route.contains(&url), "alerts/alertmanager.yaml has another address than {url}");
}
