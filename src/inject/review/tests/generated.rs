//! Pods that nobody has thought of.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Value, json};

use super::{admitted, config, defaults, path, review_of};
use crate::inject::review::{Asked, Outcome, answer};

/// How a server is told its port; the last is one that we do not know.
fn told() -> impl Strategy<Value = Value> {
    let styles = |port: u16| {
        vec![
            json!({"args": ["--model_name=credit", format!("--http_port={port}")]}),
            json!({"args": ["--http_port", port.to_string(), "--model_name", "credit"]}),
            json!({"args": ["--http_port=7000", format!("--http_port={port}")]}),
            json!({"command": ["tritonserver", format!("--http-port={port}")]}),
            json!({"args": [format!("--rest_api_port={port}")]}),
            json!({"args": ["--rest_port", port.to_string()]}),
            json!({"command": ["python", "-m", "vllm"], "args": ["--port", port.to_string()]}),
            json!({"args": [format!("--my-port={port}")]}),
            json!({"env": [{"name": "MLSERVER_MODEL_NAME", "value": "credit"}, {"name": "MLSERVER_HTTP_PORT", "value": port.to_string()}]}),
            json!({"args": ["serve"], "env": null}),
        ]
    };
    (select(vec![8080_u16, 8080, 8080, 9000, 18080, 9464]), 0..10_usize).prop_map(move |(port, style)| {
        let mut server = styles(port)[style].clone();
        server["_port"] = port.into();
        server
    })
}

fn probe(port: u16) -> impl Strategy<Value = Option<Value>> {
    option::of(select(vec![
        json!({"tcpSocket": {"port": port}, "periodSeconds": 3}),
        json!({"httpGet": {"path": "/v2/health/ready", "port": port, "scheme": "HTTP"}, "later": {"x": 1}}),
        json!({"httpGet": {"path": "/", "port": "http1"}}),
        json!({"grpc": {"port": port}}),
        json!({"exec": {"command": ["true"]}}),
        json!({"httpGet": {"path": "/", "port": port, "scheme": "HTTPS"}}),
        json!({"tcpSocket": {"port": 8081}}),
    ]))
}

fn server() -> impl Strategy<Value = Value> {
    let port = told().prop_flat_map(|told| {
        let port = u16::try_from(told["_port"].as_u64().unwrap()).unwrap();
        (Just(told), probe(port), probe(port), any::<bool>(), any::<bool>())
    });
    port.prop_map(|(mut server, readiness, liveness, declares, declares_more)| {
        let port = server["_port"].take();
        server.as_object_mut().unwrap().remove("_port");
        server["name"] = "kserve-container".into();
        server["image"] = "server:1".into();
        server["fieldOfTomorrow"] = json!({"kept": [1, null, {"a": 1.5}]});
        server["volumeMounts"] =
            json!([{"name": "kserve-provision-location", "mountPath": "/mnt/models", "readOnly": true}]);
        let mut ports = Vec::new();
        if declares || port != json!(8080) {
            ports.push(json!({"containerPort": port, "name": "http1", "protocol": "TCP"}));
            if declares_more {
                ports.push(json!({"containerPort": 8081, "name": "h2c"}));
            }
            server["ports"] = ports.into();
        }
        for (field, probe) in [("readinessProbe", readiness), ("livenessProbe", liveness)] {
            if let Some(probe) = probe {
                server[field] = probe;
            }
        }
        server
    })
}

fn annotations() -> impl Strategy<Value = Vec<(&'static str, &'static str)>> {
    let all = vec![
        ("driftd.io/baseline", "configmap:credit"),
        ("driftd.io/baseline", "s3://bucket/with $(VAR) and \"quotes\""),
        ("driftd.io/baseline", "configmap:NOT A NAME"),
        ("driftd.io/model", "ünïcode\nname"),
        ("driftd.io/sample-rate", "0.5"),
        ("driftd.io/sidecar", "native"),
        ("driftd.io/credentials", "s3-reader"),
        ("driftd.io/port-flag", "--my-port"),
        ("driftd.io/memory-limit", "96Mi"),
        ("driftd.io/cpu-request", "lots"),
        ("driftd.io/skipped", "unknown_server: of another day"),
        ("driftd.io/injected", "tap=user_port,listen=18080,upstream=8080"),
        ("prometheus.io/scrape", "true"),
    ];
    subsequence(all, 0..=3)
}

fn others() -> impl Strategy<Value = Vec<Value>> {
    let other = select(vec![
        json!({"name": "istio-proxy", "ports": [{"containerPort": 15090, "name": "http-envoy-prom"}], "args": ["proxy"]}),
        json!({"name": "vault", "env": [{"name": "LISTEN", "value": "127.0.0.1:18081"}]}),
        json!({"name": "exporter", "ports": [{"containerPort": 9464, "name": "metrics"}]}),
        json!({"name": "logger", "resizePolicy": [{"resourceName": "cpu", "restartPolicy": "NotRequired"}]}),
        json!({"name": "driftd", "image": "mine"}),
    ]);
    vec(other, 0..2)
}

prop_compose! {
    fn pod()(
        server in server(),
        others in others(),
        is_knative in any::<bool>(),
        has_agent in any::<bool>(),
        annotations in annotations(),
        component in select(vec!["predictor", "predictor", "predictor", "transformer"]),
        has_no_lists in any::<bool>(),
        grace in option::of(0_u64..400),
    ) -> Value {
        let port = server["ports"][0]["containerPort"].as_u64().unwrap_or(8080);
        let mut containers = vec![server];
        if is_knative {
            let user_port = if has_agent { 9081 } else { port };
            let probe = json!({"tcpSocket": {"port": port, "host": "127.0.0.1"}, "successThreshold": 1}).to_string();
            containers.push(json!({
                "name": "queue-proxy", "ports": [{"containerPort": 8012, "name": "queue-port"}],
                "env": [{"name": "X"}, {"name": "USER_PORT", "value": user_port.to_string()},
                    {"name": "SERVING_READINESS_PROBE", "value": probe}],
            }));
        }
        containers.extend(others);
        if has_agent {
            containers.push(json!({
                "name": "agent", "ports": [{"containerPort": 9081, "name": "agent-port"}],
                "args": ["--log-url", "http://sink", "--component-port", port.to_string()],
            }));
        }
        let mut pod = json!({
            "metadata": {
                "generateName": "credit-predictor-",
                "labels": {"serving.kserve.io/inferenceservice": "credit", "component": component},
                "annotations": {"driftd.io/inject": "true", super::annotations::STORAGE_URI: "s3://models/credit/v1"},
                "creationTimestamp": null,
            },
            "spec": {"containers": containers, "overhead": {"cpu": "1m"}, "terminationGracePeriodSeconds": grace},
        });
        if has_no_lists {
            pod["spec"]["containers"][0]["volumeMounts"] = Value::Null;
        } else {
            pod["spec"]["volumes"] = json!([{"name": "kserve-provision-location", "emptyDir": {}}]);
            pod["spec"]["initContainers"] = json!([{"name": "storage-initializer", "args": ["s3://models/credit/v1", "/mnt/models"]}]);
        }
        for (key, value) in annotations {
            pod["metadata"]["annotations"][key] = value.into();
        }
        pod
    }
}

/// Places that may be changed, by the container that they are in.
fn may_change(pod: &Value, place: &str) -> bool {
    let parts: Vec<_> = place.split('/').skip(1).collect();
    match parts[..] {
        ["metadata", "annotations", key] => key.starts_with("driftd.io~1"),
        ["spec", "containers", at, field, ..] => {
            let name = pod["spec"]["containers"][at.parse::<usize>().unwrap()]["name"].as_str().unwrap();
            let fields: &[&str] = match name {
                "queue-proxy" => &["env"],
                "agent" => &["args"],
                "kserve-container" => &["args", "command", "env", "ports", "readinessProbe", "livenessProbe"],
                _ => &[],
            };
            let is_value = field != "env" || parts.last() == Some(&"value");
            let is_port = !field.ends_with("Probe") || parts.last() == Some(&"port");
            fields.contains(&field) && is_value && is_port
        }
        _ => false,
    }
}

/// The pod without what was added.
fn without_sidecar(pod: &Value) -> Value {
    let mut pod = pod.clone();
    for list in ["containers", "initContainers", "volumes"] {
        if let Some(values) = pod["spec"][list].as_array_mut() {
            values.retain(|value| !value["name"].as_str().unwrap().starts_with("driftd"));
        }
    }
    pod
}

proptest! {
    /// Every answer allows and applies; a sidecar stands in the path of requests and nothing else is changed; whatever the answer was, the
    /// next one changes nothing.
    #[test]
    fn any_pod_is_admitted_and_only_ever_gains_a_sidecar(pod in pod(), by_namespace in any::<bool>()) {
        let asked = if by_namespace { Asked::ByNamespace } else { Asked::ByPod };
        let config = defaults();
        let (changed, patch, reviewed) = admitted(&config, asked, &pod);
        match reviewed.outcome {
            Outcome::Injected => {
                path::check(&pod, &changed);
                let mut rest = without_sidecar(&changed);
                for list in ["initContainers", "volumes"] {
                    if pod["spec"].get(list).is_none() {
                        prop_assert!(rest["spec"][list].as_array().is_none_or(Vec::is_empty));
                        rest["spec"].as_object_mut().unwrap().remove(list);
                    }
                }
                for operation in json_patch::diff(&pod, &rest).0 {
                    let place = operation.path().to_string();
                    prop_assert!(may_change(&pod, &place), "{place} is changed: {operation}");
                }
            }
            Outcome::Skipped(_) => {
                let mut rest = changed.clone();
                rest["metadata"]["annotations"]["driftd.io/skipped"] = pod["metadata"]["annotations"]["driftd.io/skipped"].clone();
                let mut original = pod.clone();
                original["metadata"]["annotations"]["driftd.io/skipped"] = rest["metadata"]["annotations"]["driftd.io/skipped"].clone();
                prop_assert_eq!(rest, original);
            }
            // A container `driftd` and our note may both be somebody else's.
            Outcome::Unchanged | Outcome::Repaired => prop_assert!(pod.to_string().contains("\"image\":\"mine\"")),
            other => prop_assert!(false, "{other:?} with {patch:?}"),
        }
        let (_, again, _) = admitted(&config, asked, &changed);
        prop_assert_eq!(again, None);
    }

    /// A review that is damaged anywhere is still answered.
    #[test]
    fn any_bytes_are_answered(pod in pod(), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>()) {
        let mut body = review_of(&pod);
        let at = at.index(body.len());
        if cut { body.truncate(at) } else { body[at] = byte }
        let answered: Value = serde_json::from_slice(&answer(&config("sidecar: {image: d}"), Asked::ByPod, &body).body).unwrap();
        prop_assert_eq!(&answered["response"]["allowed"], &json!(true));
    }
}

/// The generator must reach what the properties are about.
#[test]
fn generated_pods_are_of_every_kind() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    let mut runner = TestRunner::deterministic();
    let mut seen = std::collections::BTreeMap::new();
    for _ in 0..600 {
        let pod = pod().new_tree(&mut runner).unwrap().current();
        let reviewed = admitted(&defaults(), Asked::ByPod, &pod).2;
        *seen.entry(reviewed.outcome.labels()).or_insert(0) += 1;
    }
    for (outcome, least) in [
        (["injected", ""], 80),
        (["skipped", "unknown_server"], 5),
        (["skipped", "port_taken"], 5),
        (["skipped", "bad_annotation"], 5),
        (["skipped", "tls"], 5),
        (["skipped", "already_there"], 5),
    ] {
        assert!(seen.get(&outcome).is_some_and(|n| *n >= least), "{outcome:?} in {seen:?}");
    }
}
