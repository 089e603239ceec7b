//! Pods that KServe and Knative really create, and pods that nobody has thought of ([`generated`]).

mod generated;
mod path;

use std::path::Path;

use json_patch::Patch;
use serde_json::{Value, json};

use super::*;
use crate::inject::WebhookConfig;

const PODS: [(&str, &str); 4] = [
    ("standard-plain", include_str!("../../../tests/it/pods/standard-plain.json")),
    ("standard-with-agent", include_str!("../../../tests/it/pods/standard-with-agent.json")),
    ("knative-plain", include_str!("../../../tests/it/pods/knative-plain.json")),
    ("knative-with-agent", include_str!("../../../tests/it/pods/knative-with-agent.json")),
];

pub(super) fn config(yaml: &str) -> InjectConfig {
    WebhookConfig::parse(yaml, Path::new("webhook.yaml")).unwrap().inject
}

pub(super) fn defaults() -> InjectConfig {
    config("sidecar: {image: 'registry.example/driftd:0.1.0'}")
}

/// One of [`PODS`], with annotations of ours.
fn pod(name: &str, annotations: &[(&str, &str)]) -> Value {
    let (_, text) = PODS.iter().find(|(known, _)| *known == name).unwrap();
    let mut pod: Value = serde_json::from_str(text).unwrap();
    for (key, value) in [("driftd.io/inject", "true")].iter().chain(annotations) {
        pod["metadata"]["annotations"][*key] = (*value).into();
    }
    pod
}

pub(super) fn review_of(pod: &Value) -> Vec<u8> {
    let request = json!({
        "uid": "7f3c-1", "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "resource": {"group": "", "version": "v1", "resource": "pods"},
        "namespace": "prod", "operation": "CREATE", "object": pod, "dryRun": false,
    });
    json!({"apiVersion": API_VERSION, "kind": "AdmissionReview", "request": request}).to_string().into_bytes()
}

/// What the API server makes of an answer: the pod, and the patch if there was one.
#[track_caller]
pub(super) fn admitted(config: &InjectConfig, asked: Asked, pod: &Value) -> (Value, Option<Value>, Reviewed) {
    let reviewed = answer(config, asked, &review_of(pod));
    let body: Value = serde_json::from_slice(&reviewed.body).unwrap();
    assert_eq!((&body["apiVersion"], &body["kind"]), (&json!(API_VERSION), &json!("AdmissionReview")));
    let response = &body["response"];
    assert_eq!((&response["uid"], &response["allowed"]), (&json!("7f3c-1"), &json!(true)));
    assert_eq!(response.get("patch").is_some(), response.get("patchType") == Some(&json!("JSONPatch")));
    for warning in response["warnings"].as_array().into_iter().flatten() {
        assert!(warning.as_str().unwrap().len() <= 120, "{warning}");
    }
    let patch = response.get("patch").map(|patch| {
        serde_json::from_slice::<Value>(&STANDARD.decode(patch.as_str().unwrap()).unwrap()).unwrap()
    });
    let mut changed = pod.clone();
    if let Some(patch) = &patch {
        let patch: Patch = serde_json::from_value(patch.clone()).unwrap();
        json_patch::patch(&mut changed, &patch).unwrap();
    }
    (changed, patch, reviewed)
}

#[track_caller]
fn injected(config: &InjectConfig, pod: &Value) -> Value {
    let (changed, _, reviewed) = admitted(config, Asked::ByPod, pod);
    assert_eq!(reviewed.outcome, Outcome::Injected, "{:?}", reviewed.refusal);
    changed
}

#[track_caller]
fn check_skipped(pod: &Value, reason: Reason, expected: &str) {
    let (changed, _, reviewed) = admitted(&defaults(), Asked::ByPod, pod);
    let refusal = reviewed.refusal.expect("it is refused");
    assert_eq!((refusal.reason, reviewed.outcome), (reason, Outcome::Skipped(reason)));
    assert!(refusal.text.contains(expected), "{refusal} should contain {expected:?}");
    let mut without_note = changed.clone();
    let note = without_note["metadata"]["annotations"].as_object_mut().unwrap().remove(SKIPPED).unwrap();
    assert_eq!(note, json!(refusal.to_string()));
    assert_eq!(without_note, *pod, "nothing else is changed");
    let (_, again, _) = admitted(&defaults(), Asked::ByPod, &changed);
    assert_eq!(again, None, "said once");
}

fn driftd(pod: &Value) -> &Value {
    let spec = &pod["spec"];
    let all = spec["containers"].as_array().into_iter().chain(spec["initContainers"].as_array()).flatten();
    all.into_iter().find(|container| container["name"] == "driftd").expect("there is a sidecar")
}

fn config_text(pod: &Value) -> Value {
    let variables = driftd(pod)["env"].as_array().unwrap();
    let text = variables.iter().find(|variable| variable["name"] == "DRIFTD_CONFIG_TEXT").unwrap();
    serde_json::from_str(&text["value"].as_str().unwrap().replace("$$", "$")).unwrap()
}

#[test]
fn the_patch_of_a_pod_of_each_mode() {
    for (name, _) in PODS {
        let (changed, patch, _) = admitted(&defaults(), Asked::ByPod, &pod(name, &[]));
        insta::assert_snapshot!(name, serde_json::to_string_pretty(&patch).unwrap());
        path::check(&pod(name, &[]), &changed);
    }
}

#[test]
fn its_own_output_is_left_as_it_is() {
    for (name, _) in PODS {
        let changed = injected(&defaults(), &pod(name, &[]));
        let (_, patch, reviewed) = admitted(&defaults(), Asked::ByPod, &changed);
        assert_eq!((patch, reviewed.outcome), (None, Outcome::Unchanged), "{name}");
    }
}

#[test]
fn an_agent_that_comes_after_us_leads_to_us() {
    for (plain, with_agent) in
        [("knative-plain", "knative-with-agent"), ("standard-plain", "standard-with-agent")]
    {
        let mut changed = injected(&defaults(), &pod(plain, &[]));
        // What KServe's webhook does to a pod that has no agent yet.
        let agent = pod(with_agent, &[])["spec"]["containers"].as_array().unwrap().last().unwrap().clone();
        assert_eq!(agent["name"], "agent");
        changed["spec"]["containers"].as_array_mut().unwrap().push(agent);
        for container in changed["spec"]["containers"].as_array_mut().unwrap() {
            if container["name"] == "queue-proxy" {
                let variables = container["env"].as_array_mut().unwrap();
                variables.iter_mut().find(|variable| variable["name"] == "USER_PORT").unwrap()["value"] =
                    "9081".into();
            }
        }
        let (repaired, _, reviewed) = admitted(&defaults(), Asked::ByPod, &changed);
        // In Standard mode the agent asks for port 8080, which is ours.
        let expected = if plain == "knative-plain" { Outcome::Repaired } else { Outcome::Unchanged };
        assert_eq!(reviewed.outcome, expected, "{plain}");
        path::check(&pod(with_agent, &[]), &repaired);
        let (_, patch, reviewed) = admitted(&defaults(), Asked::ByPod, &repaired);
        assert_eq!((patch, reviewed.outcome), (None, Outcome::Unchanged));
    }
}

#[test]
fn a_native_sidecar_is_an_init_container_after_those_that_are_there() {
    for (name, _) in PODS {
        let changed = injected(&defaults(), &pod(name, &[("driftd.io/sidecar", "native")]));
        let last = changed["spec"]["initContainers"].as_array().unwrap().last().unwrap();
        assert_eq!((&last["name"], &last["restartPolicy"]), (&json!("driftd"), &json!("Always")));
        assert!(last.get("startupProbe").is_none(), "a server must not wait for us");
        path::check(&pod(name, &[]), &changed);
    }
}

#[test]
fn a_sidecar_ends_no_sooner_than_its_server() {
    let hook = |name: &str, hook: Value| {
        let mut pod = pod(name, &[]);
        if !hook.is_null() {
            pod["spec"]["containers"][0]["lifecycle"] = json!({ "preStop": hook });
        }
        driftd(&injected(&defaults(), &pod))["lifecycle"]["preStop"].clone()
    };
    let wait = json!({"httpGet": {"path": "/wait-for-upstream-end", "port": 9464}});
    assert_eq!(hook("standard-plain", Value::Null), Value::Null);
    assert_eq!(hook("standard-plain", json!({"exec": {"command": ["sleep", "9"]}})), wait);
    assert_eq!(hook("standard-plain", json!({"sleep": {"seconds": 9}})), json!({"sleep": {"seconds": 9}}));
    assert_eq!(hook("knative-plain", Value::Null)["httpGet"]["path"], json!("/wait-for-drain"));
}

#[test]
fn only_pods_that_ask_have_a_sidecar() {
    let outcome = |asked, pod: &Value| admitted(&defaults(), asked, pod).2.outcome;
    let mut silent = pod("standard-plain", &[]);
    silent["metadata"]["annotations"].as_object_mut().unwrap().remove("driftd.io/inject");
    assert_eq!(outcome(Asked::ByPod, &silent), Outcome::NotAsked);
    assert_eq!(outcome(Asked::ByNamespace, &silent), Outcome::Injected);

    let mut by_label = silent.clone();
    by_label["metadata"]["labels"]["driftd.io/inject"] = "true".into();
    assert_eq!(outcome(Asked::ByPod, &by_label), Outcome::Injected);
    by_label["metadata"]["annotations"]["driftd.io/inject"] = "false".into();
    assert_eq!(outcome(Asked::ByPod, &by_label), Outcome::NotAsked);
    assert_eq!(outcome(Asked::ByNamespace, &by_label), Outcome::NotAsked);

    let other = json!({"metadata": {"generateName": "job-"}, "spec": {"containers": [{"name": "main"}]}});
    assert_eq!(outcome(Asked::ByNamespace, &other), Outcome::NotAsked);
    let mut transformer = silent.clone();
    transformer["metadata"]["labels"]["component"] = "transformer".into();
    assert_eq!(outcome(Asked::ByNamespace, &transformer), Outcome::NotAsked);
}

#[test]
fn the_baseline_is_where_the_annotation_says() {
    let model = |pod: &Value| config_text(pod)["models"].clone();
    let of = |annotations: &[(&str, &str)]| injected(&defaults(), &pod("standard-plain", annotations));
    let in_folder = json!([{"name": "credit", "baseline": "/mnt/models/driftd-baseline.json"}]);
    assert_eq!(model(&of(&[])), in_folder);
    let changed = of(&[
        ("driftd.io/baseline", "s3://baselines/credit.json"),
        ("driftd.io/model", "other"),
        ("driftd.io/credentials", "s3-reader"),
        ("driftd.io/sample-rate", "0.25"),
    ]);
    assert_eq!(model(&changed), json!([{"name": "other", "baseline": "s3://baselines/credit.json"}]));
    assert_eq!(driftd(&changed)["envFrom"], json!([{"secretRef": {"name": "s3-reader", "optional": true}}]));
    assert_eq!(config_text(&changed)["taps"][0]["proxy"]["sample_rate"], json!(0.25));

    let changed = of(&[("driftd.io/baseline", "configmap:credit-baseline/v3.json")]);
    assert_eq!(model(&changed), json!([{"name": "credit", "baseline": "/etc/driftd/baseline/v3.json"}]));
    let volume =
        json!({"name": "driftd-baseline", "configMap": {"name": "credit-baseline", "optional": true}});
    assert!(changed["spec"]["volumes"].as_array().unwrap().contains(&volume));

    // A model that is not unpacked into the pod: beside its URI, which the environment has.
    let mut no_folder = pod("standard-plain", &[]);
    no_folder["spec"]["containers"][0].as_object_mut().unwrap().remove("volumeMounts");
    assert_eq!(model(&injected(&defaults(), &no_folder)), json!([{"name": "credit"}]));
    no_folder["metadata"]["annotations"].as_object_mut().unwrap().remove(annotations::STORAGE_URI);
    assert_eq!(model(&injected(&defaults(), &no_folder)), json!([]), "forwarded, not counted");
}

#[test]
fn the_file_of_the_webhook_says_what_the_sidecar_is() {
    let config = config(
        "sidecar: {image: d:1, image_pull_policy: Always, run_as_user: null, scrape_annotations: true, state: false,
          resources: {cpu_request: 10m, memory_request: null, cpu_limit: '1', memory_limit: 1Gi},
          evaluation: {windows: [1m]}, metrics: {max_series: 10}, ports: {proxy: 1111, model: 2222, admin: 3333}}",
    );
    let changed = injected(&config, &pod("standard-plain", &[("driftd.io/memory-limit", "2Gi")]));
    let sidecar = driftd(&changed);
    assert_eq!((&sidecar["image"], &sidecar["imagePullPolicy"]), (&json!("d:1"), &json!("Always")));
    assert_eq!(
        sidecar["resources"],
        json!({"requests": {"cpu": "10m"}, "limits": {"cpu": "1", "memory": "2Gi"}})
    );
    assert!(sidecar["securityContext"].get("runAsUser").is_none());
    assert_eq!(sidecar["readinessProbe"]["httpGet"]["port"], json!(3333));
    let text = config_text(&changed);
    assert_eq!(
        (&text["evaluation"], &text["metrics"]),
        (&json!({"windows": ["1m"]}), &json!({"max_series": 10}))
    );
    assert_eq!(text["taps"][0]["proxy"]["upstream"], json!("http://127.0.0.1:2222"));
    assert!(text.get("state_dir").is_none());
    assert_eq!(text["shutdown_grace"], json!("25s"));
    assert_eq!(
        text["taps"][0]["proxy"]["stop_after_upstream"],
        json!(true),
        "never the first of the two to go"
    );
    assert_eq!(changed["metadata"]["annotations"]["prometheus.io/port"], json!("3333"));
}

#[test]
fn what_is_not_understood_is_left_alone_and_says_why() {
    let standard = |change: &dyn Fn(&mut Value)| {
        let mut pod = pod("standard-plain", &[]);
        change(&mut pod);
        pod
    };
    let server = "/spec/containers/0";
    let set = |at: String, value: Value| {
        move |pod: &mut Value| {
            let (parent, key) = at.rsplit_once('/').unwrap();
            pod.pointer_mut(parent).unwrap()[key] = value.clone();
        }
    };
    let unknown = set(format!("{server}/args"), json!(["--model_name=credit"]));
    check_skipped(&standard(&unknown), Reason::UnknownServer, "driftd.io/port-flag");
    let elsewhere = set(format!("{server}/args"), json!(["--http_port=9000"]));
    check_skipped(&standard(&elsewhere), Reason::UnknownServer, "with port 8080");
    let tls = set(format!("{server}/readinessProbe"), json!({"httpGet": {"port": 8080, "scheme": "HTTPS"}}));
    check_skipped(&standard(&tls), Reason::Tls, "HTTPS");
    let tls = set(format!("{server}/args"), json!(["--http_port=8080", "--ssl-keyfile=a"]));
    check_skipped(&standard(&tls), Reason::Tls, "--ssl-keyfile=a");
    let host = set("/spec/hostNetwork".to_owned(), json!(true));
    check_skipped(&standard(&host), Reason::HostNetwork, "clash");
    let transformer = |name: &str, image: &str| {
        let container = json!({"name": name, "image": image});
        move |pod: &mut Value| pod["spec"]["containers"].as_array_mut().unwrap().push(container.clone())
    };
    check_skipped(&standard(&transformer("driftd", "x")), Reason::AlreadyThere, "`driftd`");
    let ours = transformer("transformer-container", "registry.example/driftd:0.2.0@sha256:00");
    check_skipped(&standard(&ours), Reason::AlreadyThere, "transformer-container");
    let other = transformer("transformer-container", "registry.example:5000/other");
    check_skipped(&standard(&other), Reason::UnknownWiring, "transformer-container");
    let taken = |pod: &mut Value| {
        let other = json!({"name": "other", "args": ["--metrics=:9464"]});
        pod["spec"]["initContainers"].as_array_mut().unwrap().push(other);
    };
    check_skipped(&standard(&taken), Reason::PortTaken, "`other` uses port 9464");
    let asked_oddly = pod("standard-plain", &[("driftd.io/inject", "yes")]);
    check_skipped(&asked_oddly, Reason::BadAnnotation, "neither `true` nor `false`");
    check_skipped(
        &pod("standard-plain", &[("driftd.io/baseline", "ftp://a/b")]),
        Reason::BadAnnotation,
        "ftp",
    );
    let no_service =
        json!({"metadata": {"annotations": {"driftd.io/inject": "true"}}, "spec": {"containers": []}});
    check_skipped(&no_service, Reason::NotKserve, "inferenceservice");

    let mut agent = pod("standard-with-agent", &[]);
    agent["spec"]["containers"][1]["args"] = json!(["--log-url", "x"]);
    check_skipped(&agent, Reason::UnknownWiring, "--component-port");
    let mut agent = pod("knative-with-agent", &[]);
    agent["spec"]["containers"][1]["env"] = json!([{"name": "USER_PORT", "value": "8080"}]);
    check_skipped(&agent, Reason::UnknownWiring, "and not to the agent on 9081");
    let mut proxy = pod("knative-plain", &[]);
    proxy["spec"]["containers"][1]["env"] = json!([]);
    check_skipped(&proxy, Reason::UnknownWiring, "USER_PORT");

    let off = config("{sidecar: {image: d:1}, modes: {standard: {tap: none}}}");
    let reviewed = admitted(&off, Asked::ByPod, &pod("standard-plain", &[])).2;
    assert_eq!(reviewed.outcome, Outcome::Skipped(Reason::ModeOff));
}

#[test]
fn whatever_is_no_review_of_a_new_pod_is_let_through() {
    let outcome = |body: &[u8]| {
        let reviewed = answer(&defaults(), Asked::ByNamespace, body);
        let answer: Value = serde_json::from_slice(&reviewed.body).unwrap();
        assert_eq!(answer["response"]["allowed"], json!(true));
        assert!(answer["response"].get("patch").is_none());
        (reviewed.outcome, answer["response"]["uid"].as_str().unwrap().to_owned())
    };
    assert_eq!(outcome(b""), (Outcome::Malformed, String::new()));
    assert_eq!(outcome(b"[1]"), (Outcome::Malformed, String::new()));
    assert_eq!(outcome(br#"{"request":{"uid":"a-1","kind":"#), (Outcome::Malformed, "a-1".to_owned()));
    assert_eq!(outcome(br#"{"request":{"uid":"a\"1","kind":"#), (Outcome::Malformed, String::new()));
    assert_eq!(outcome("[".repeat(100_000).as_bytes()), (Outcome::Malformed, String::new()));
    let with = |key: &str, value: Value| {
        let mut review: Value = serde_json::from_slice(&review_of(&pod("standard-plain", &[]))).unwrap();
        review["request"][key] = value;
        outcome(review.to_string().as_bytes())
    };
    let other = (Outcome::Other, "7f3c-1".to_owned());
    assert_eq!(with("operation", json!("UPDATE")), other);
    assert_eq!(with("kind", json!({"group": "apps", "version": "v1", "kind": "Pod"})), other);
    assert_eq!(with("subResource", json!("ephemeralcontainers")), other);
    let unreadable = Outcome::Skipped(Reason::Unreadable);
    assert_eq!(with("object", json!({"spec": {"containers": {}}})).0, unreadable);
    assert_eq!(with("object", Value::Null).0, unreadable);
    assert_eq!(with("object", json!({"metadata": 3, "spec": {"containers": []}})).0, unreadable);
}
