//! The pods: commands, ports, volumes and selectors fit together.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use driftd::config::Config;
use serde_json::Value;
use tempfile::TempDir;

use super::rendered::{Rendering, Source, every_rendering, id, list_at, text_at};

/// What makes pods, their labels and what is in them.
pub struct Pods<'a> {
    pub object: &'a Value,
    pub spec: &'a Value,
}

impl<'a> Pods<'a> {
    pub fn label(&self, key: &str) -> Option<&'a str> {
        self.object.pointer("/spec/template/metadata/labels")?.get(key)?.as_str()
    }

    /// Whether a selector's `matchLabels` chooses these pods.
    pub fn are_chosen_by(&self, labels: &Value) -> bool {
        let labels = labels.as_object().unwrap();
        !labels.is_empty() && labels.iter().all(|(key, value)| self.label(key) == value.as_str())
    }

    pub fn containers(&self) -> &'a [Value] {
        list_at(self.spec, "/containers")
    }

    /// The number of a port, by its name or itself, as far as a container declares it.
    pub fn port(&self, wanted: &Value) -> Option<u64> {
        self.containers().iter().find_map(|container| port_of(container, wanted))
    }
}

fn port_of(container: &Value, wanted: &Value) -> Option<u64> {
    list_at(container, "/ports")
        .iter()
        .find(|port| port["name"] == *wanted || port["containerPort"] == *wanted)
        .and_then(|port| port["containerPort"].as_u64())
}

/// Workloads, and services of `KServe` that name containers of their own.
pub fn pods(rendering: &Rendering) -> Vec<Pods<'_>> {
    let spec = |object| match text_at(object, "/kind") {
        "Deployment" | "StatefulSet" | "DaemonSet" => object.pointer("/spec/template/spec"),
        "InferenceService" => object.pointer("/spec/predictor"),
        _ => None,
    };
    rendering.objects.iter().filter_map(|object| Some(Pods { object, spec: spec(object)? })).collect()
}

/// Of all renderings, each container that runs our image.
fn ours() -> Vec<(String, Pods<'static>, &'static Value)> {
    let mut found = Vec::new();
    for rendering in every_rendering() {
        for pods in pods(rendering) {
            for container in pods.containers() {
                let image = text_at(container, "/image");
                if image
                    .rsplit('/')
                    .next()
                    .is_some_and(|name| name.starts_with("driftd:") || name.starts_with("driftd-controller:"))
                {
                    let place = format!("{}: {}", rendering.name, id(pods.object));
                    found.push((place, Pods { ..pods }, container));
                }
            }
        }
    }
    assert!(found.len() >= 10);
    found
}

fn help(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_driftd")).args(arguments).arg("--help").output().unwrap();
    assert!(output.status.success(), "driftd {arguments:?} --help: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn has_word(help: &str, word: &str) -> bool {
    help.split(|character: char| !(character.is_ascii_alphanumeric() || "-_".contains(character)))
        .any(|found| found == word)
}

#[test]
fn every_command_its_flags_and_its_variables_exist() {
    let commands = help(&[]);
    for (place, _, container) in ours() {
        let arguments: Vec<_> =
            list_at(container, "/args").iter().map(|argument| argument.as_str().unwrap()).collect();
        let (command, flags) = arguments.split_first().unwrap();
        // Until `driftd webhook` is merged beside this there is no help of it to read; `has_word` makes the test whole then.
        if *command == "webhook" && !has_word(&commands, "webhook") {
            continue;
        }
        let help = help(&[command]);
        for flag in flags {
            let flag = flag.split('=').next().unwrap();
            assert!(has_word(&help, flag), "{place}: `driftd {command}` has no `{flag}`");
        }
        for variable in list_at(container, "/env") {
            let variable = text_at(variable, "/name");
            assert!(has_word(&help, variable), "{place}: `driftd {command}` reads no `{variable}`");
        }
    }
}

#[test]
fn every_container_of_ours_is_of_this_version_bounded_and_without_rights() {
    for (place, pods, container) in ours() {
        let image = text_at(container, "/image");
        assert!(image.ends_with(concat!(":", env!("CARGO_PKG_VERSION"))), "{place}: {image}");
        assert!(container.pointer("/resources/limits/memory").is_some(), "{place}: memory has no limit");
        let setting = |key: &str| {
            let of_container = container.pointer(&format!("/securityContext/{key}"));
            of_container.or_else(|| pods.spec.pointer(&format!("/securityContext/{key}"))).cloned()
        };
        assert_eq!(setting("runAsNonRoot"), Some(true.into()), "{place}");
        assert_ne!(setting("runAsUser"), Some(0.into()), "{place}");
        assert_eq!(setting("allowPrivilegeEscalation"), Some(false.into()), "{place}");
        assert_eq!(setting("readOnlyRootFilesystem"), Some(true.into()), "{place}");
        assert_eq!(setting("capabilities"), Some(serde_json::json!({"drop": ["ALL"]})), "{place}");
        assert_eq!(setting("seccompProfile/type"), Some("RuntimeDefault".into()), "{place}");
    }
}

#[test]
fn every_probe_asks_a_port_that_is_declared_for_a_path_that_is_answered() {
    for (place, _, container) in ours() {
        // The controller has one listener for all.
        let expected = if container["args"][0] == "controller" { 9465 } else { 9464 };
        for (probe, path) in [("readinessProbe", "/readyz"), ("livenessProbe", "/livez")] {
            let asked = &container[probe]["httpGet"];
            assert_eq!(asked["path"], path, "{place}: {probe}");
            assert_eq!(port_of(container, &asked["port"]), Some(expected), "{place}: {probe}");
        }
        assert_eq!(port_of(container, &"driftd-metrics".into()), Some(expected), "{place}");
    }
}

/// The ports that a configuration of ours listens on.
fn listens_on(config: &Config) -> BTreeSet<u64> {
    let taps = [
        config.taps.proxy.as_ref().map(|tap| tap.listen),
        config.taps.cloudevents.as_ref().map(|tap| tap.listen),
    ];
    taps.into_iter().flatten().chain([config.admin]).map(|addr| u64::from(addr.port())).collect()
}

#[test]
fn every_configuration_is_valid_and_listens_where_the_pod_says() {
    let directory = TempDir::new().unwrap();
    let mut n_configurations = 0;
    for rendering in every_rendering() {
        for map in rendering.of_kind("ConfigMap") {
            let Some(text) = map.pointer("/data/driftd.yaml").and_then(Value::as_str) else { continue };
            let file = directory.path().join("driftd.yaml");
            std::fs::write(&file, text).unwrap();
            let config = Config::read(&file)
                .unwrap_or_else(|error| panic!("{}: {}: {error}\n{text}", rendering.name, id(map)));
            let name = text_at(map, "/metadata/name");
            let of_pod = pods(rendering).into_iter().find(|pods| {
                list_at(pods.spec, "/volumes").iter().any(|volume| text_at(volume, "/configMap/name") == name)
            });
            let of_pod = of_pod.unwrap_or_else(|| panic!("{}: nobody mounts {name}", rendering.name));
            let declared: BTreeSet<_> = of_pod
                .containers()
                .iter()
                .flat_map(|container| list_at(container, "/ports"))
                .map(|port| port["containerPort"].as_u64().unwrap())
                .collect();
            assert_eq!(listens_on(&config), declared, "{}: {name}", rendering.name);
            n_configurations += 1;
        }
    }
    assert!(n_configurations >= 4, "{n_configurations}");
}

#[test]
fn every_volume_is_mounted_and_every_config_map_is_there() {
    for rendering in every_rendering() {
        let maps: BTreeSet<_> =
            rendering.of_kind("ConfigMap").map(|map| text_at(map, "/metadata/name")).collect();
        for pods in pods(rendering) {
            let place = format!("{}: {}", rendering.name, id(pods.object));
            let volumes = list_at(pods.spec, "/volumes");
            let claims = list_at(pods.object, "/spec/volumeClaimTemplates");
            let names: BTreeSet<_> = volumes
                .iter()
                .map(|volume| text_at(volume, "/name"))
                .chain(claims.iter().map(|claim| text_at(claim, "/metadata/name")))
                .collect();
            let mounted: BTreeSet<_> = pods
                .containers()
                .iter()
                .flat_map(|container| list_at(container, "/volumeMounts"))
                .map(|mount| text_at(mount, "/name"))
                .collect();
            assert_eq!(names, mounted, "{place}");
            let asked = volumes.iter().filter_map(|volume| volume.get("configMap"));
            for map in asked.filter(|_| rendering.source == Source::Kustomization) {
                let name = text_at(map, "/name");
                assert!(maps.contains(name), "{place}: there is no ConfigMap {name}");
            }
        }
    }
}

#[test]
fn every_selector_chooses_pods_and_every_port_is_declared_by_them() {
    let mut n_checked = BTreeMap::<&str, usize>::new();
    for rendering in every_rendering() {
        let all = pods(rendering);
        let chosen = |object: &Value, labels: &Value| -> Vec<&Pods<'_>> {
            let of_them = all.iter().filter(|pods| {
                pods.are_chosen_by(labels)
                    && text_at(pods.object, "/metadata/namespace") == text_at(object, "/metadata/namespace")
            });
            let of_them: Vec<_> = of_them.collect();
            assert!(!of_them.is_empty(), "{}: {} chooses no pod", rendering.name, id(object));
            of_them
        };
        for object in &rendering.objects {
            let place = format!("{}: {}", rendering.name, id(object));
            let kind = text_at(object, "/kind");
            let (labels, ports): (_, Vec<&Value>) = match kind {
                "Service" => (
                    object.pointer("/spec/selector"),
                    list_at(object, "/spec/ports").iter().map(|port| &port["targetPort"]).collect(),
                ),
                "NetworkPolicy" => {
                    let rules = list_at(object, "/spec/ingress").iter();
                    let ports = rules.flat_map(|rule| list_at(rule, "/ports")).map(|port| &port["port"]);
                    (object.pointer("/spec/podSelector/matchLabels"), ports.collect())
                }
                "PodDisruptionBudget" | "Deployment" | "StatefulSet" | "DaemonSet" => {
                    (object.pointer("/spec/selector/matchLabels"), Vec::new())
                }
                _ => continue,
            };
            // A policy for the whole namespace, and a Service that is nothing but a name for a route.
            let Some(labels) = labels else {
                assert!(["NetworkPolicy", "Service"].contains(&kind), "{place} has no selector");
                continue;
            };
            let of_them = chosen(object, labels);
            for port in ports {
                let is_declared = of_them.iter().any(|pods| pods.port(port).is_some());
                assert!(is_declared, "{place}: no pod of it has a port {port}");
            }
            *n_checked.entry(kind).or_default() += 1;
        }
    }
    assert_eq!(n_checked.len(), 6, "{n_checked:?}");
}

#[test]
fn no_workload_of_ours_has_a_token_or_variables_of_services() {
    for rendering in every_rendering().iter().filter(|rendering| rendering.source == Source::Kustomization) {
        for pods in pods(rendering) {
            let place = format!("{}: {}", rendering.name, id(pods.object));
            assert_eq!(pods.spec["automountServiceAccountToken"], false, "{place}");
            assert_eq!(pods.spec["enableServiceLinks"], false, "{place}");
            let account = text_at(pods.spec, "/serviceAccountName");
            let accounts: Vec<_> =
                rendering.of_kind("ServiceAccount").map(|one| text_at(one, "/metadata/name")).collect();
            assert!(accounts.contains(&account), "{place}: no ServiceAccount {account}");
        }
    }
}
