//! Follows a request through a pod, from where KServe's Service or Knative's activator sends it to the model server.

use serde_json::Value;

use super::{config_text, driftd};

fn container<'a>(pod: &'a Value, name: &str) -> Option<&'a Value> {
    pod["spec"]["containers"].as_array().unwrap().iter().find(|container| container["name"] == name)
}

fn variable(container: &Value, name: &str) -> Option<u16> {
    let variables = container["env"].as_array()?;
    variables.iter().find(|variable| variable["name"] == name)?["value"].as_str()?.parse().ok()
}

/// The port after a flag, however it is written; the last one counts.
fn flag(container: &Value, flag: &str) -> Option<u16> {
    let words: Vec<_> = ["command", "args"]
        .iter()
        .flat_map(|list| container[*list].as_array().into_iter().flatten())
        .map(|word| word.as_str().unwrap())
        .collect();
    let joined = format!("{flag}=");
    let mut values = words.iter().enumerate().filter_map(|(at, word)| {
        word.strip_prefix(&joined).or_else(|| (*word == flag).then(|| words.get(at + 1).copied()).flatten())
    });
    values.next_back()?.parse().ok()
}

/// Where the server listens.
fn served(pod: &Value) -> u16 {
    let server = container(pod, "kserve-container").unwrap();
    ["--http_port", "--http-port", "--rest_api_port", "--rest_port", "--port", "--my-port"]
        .iter()
        .find_map(|name| flag(server, name))
        .or_else(|| variable(server, "MLSERVER_HTTP_PORT"))
        .or_else(|| server["ports"][0]["containerPort"].as_u64().map(|port| u16::try_from(port).unwrap()))
        .unwrap_or(8080)
}

/// Where requests enter the pod: what KServe has made of the pod before it was changed.
fn entered(original: &Value, changed: &Value) -> u16 {
    if let Some(proxy) = container(changed, "queue-proxy") {
        return variable(proxy, "USER_PORT").unwrap();
    }
    if container(changed, "agent").is_some() {
        return 9081;
    }
    let declared = original["spec"]["containers"][0]["ports"][0]["containerPort"].as_u64();
    declared.map_or(8080, |port| u16::try_from(port).unwrap())
}

/// Requests pass the sidecar once, and end at the server.
#[track_caller]
pub(super) fn check(original: &Value, changed: &Value) {
    let proxy = &config_text(changed)["taps"][0]["proxy"];
    let port =
        |address: &Value| address.as_str().unwrap().rsplit(':').next().unwrap().parse::<u16>().unwrap();
    let (listen, upstream) = (port(&proxy["listen"]), port(&proxy["upstream"]));
    let server = served(changed);
    let (mut at, mut passed) = (entered(original, changed), Vec::new());
    while at != server {
        assert!(passed.len() < 4, "requests go in circles: {passed:?}");
        let (who, next) = if at == listen {
            ("driftd", upstream)
        } else if let Some(agent) = container(changed, "agent").filter(|_| at == 9081) {
            ("agent", flag(agent, "--component-port").unwrap())
        } else {
            panic!("nobody listens on {at} after {passed:?}")
        };
        passed.push(who);
        at = next;
    }
    assert_eq!(passed.iter().filter(|who| **who == "driftd").count(), 1, "{passed:?}");
    // Who is reached from outside must listen outside.
    let is_first = passed[0] == "driftd" && container(changed, "queue-proxy").is_none();
    assert!(!is_first || proxy["listen"].as_str().unwrap().starts_with("0.0.0.0:"), "{proxy}");
    // Nobody else has a port of the sidecar's.
    let taken: Vec<_> =
        driftd(changed)["ports"].as_array().unwrap().iter().map(|port| &port["containerPort"]).collect();
    for other in changed["spec"]["containers"].as_array().unwrap() {
        for port in other["ports"].as_array().into_iter().flatten().filter(|_| other["name"] != "driftd") {
            assert!(!taken.contains(&&port["containerPort"]), "{port}");
            assert_ne!(port["containerPort"].as_u64(), Some(listen.into()));
        }
    }
    // Probes of the server ask the server.
    let before = container(original, "kserve-container").unwrap();
    let after = container(changed, "kserve-container").unwrap();
    for probe in ["readinessProbe", "livenessProbe", "startupProbe"] {
        for kind in ["httpGet", "tcpSocket", "grpc"] {
            let at = format!("/{probe}/{kind}/port");
            let asks_server = |of: &Value, pod: &Value| {
                of.pointer(&at).map(|port| port.as_u64() == Some(served(pod).into()))
            };
            if before.pointer(&at).is_some_and(Value::is_u64) {
                assert_eq!(asks_server(after, changed), asks_server(before, original), "{at}");
            }
        }
    }
}
