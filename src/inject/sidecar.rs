//! The container that is added, its volumes, and the configuration that it reads.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::CONTAINER;
use super::annotations::{Ask, BaselineAsked, STORAGE_URI};
use super::config::{Form, SidecarConfig};
use super::pod::Pod;
use super::wiring::{Mode, Place, SERVER, Tap};
use super::{Reason, Refusal};
use crate::config::Config;

/// Where KServe mounts the model.
const MODEL_FOLDER: &str = "/mnt/models";
/// Where a `ConfigMap` with the baseline is mounted.
const BASELINE_FOLDER: &str = "/etc/driftd/baseline";
/// What outlives a restart of the container, and the only place that it can write to.
const STATE_FOLDER: &str = "/var/lib/driftd";
const STATE_VOLUME: &str = "driftd-state";
const BASELINE_VOLUME: &str = "driftd-baseline";
/// Kubernetes waits this long for a pod that does not say.
const DEFAULT_GRACE_SECS: u64 = 30;
/// Of that, what is left for the last look after the last request.
const LAST_LOOK_SECS: u64 = 5;
/// Knative's queue-proxy answers here once it has let all requests pass.
const DRAIN_PORT: u16 = 8022;

/// All that is added to a pod.
#[derive(Debug)]
pub(super) struct Added {
    pub container: Value,
    pub volumes: Vec<Value>,
    pub form: Form,
}

/// Where the baseline is, for this pod.
struct Baseline {
    /// The entry of `models`, if there is a model to watch.
    model: Option<Map<String, Value>>,
    mount: Option<Value>,
    volume: Option<Value>,
}

/// What is added to a pod whose sidecar stands at `place`; `taken_port` is what was the server's.
pub(super) fn add(
    pod: &Pod,
    ask: &Ask,
    (config, form): (&SidecarConfig, Form),
    place: Place,
    taken_port: Option<Value>,
) -> Result<Added, Refusal> {
    let baseline = baseline(pod, ask);
    let text = text(config, place, ask.sample_rate, grace(pod), baseline.model);
    check_text(&text).map_err(|error| Refusal::new(Reason::BadAnnotation, error))?;

    let form = ask.form.unwrap_or(form);
    let mut mounts = vec![json!({"name": STATE_VOLUME, "mountPath": STATE_FOLDER})];
    mounts.extend(baseline.mount);
    let mut volumes = vec![json!({"name": STATE_VOLUME, "emptyDir": {}})];
    volumes.extend(baseline.volume);
    let mut container = json!({
        "name": CONTAINER,
        "image": config.image,
        "args": ["run", "--log-format=json"],
        "env": environment(pod, &text),
        "ports": declared_ports(config, place, taken_port),
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": config.ports.admin}, "periodSeconds": 5, "timeoutSeconds": 2},
        "livenessProbe": {
            "httpGet": {"path": "/livez", "port": config.ports.admin},
            "periodSeconds": 10, "timeoutSeconds": 5, "failureThreshold": 6
        },
        "resources": ask.resources.to_json(),
        "securityContext": security(config),
        "volumeMounts": mounts,
        "terminationMessagePolicy": "FallbackToLogsOnError",
    });
    let mut set = |key: &str, value: Value| container[key] = value;
    if let Some(policy) = config.image_pull_policy {
        set("imagePullPolicy", json!(policy));
    }
    if let Some(secret) = &ask.credentials {
        // Optional, as all that is ours: a missing Secret keeps the baseline away and not the pod.
        set("envFrom", json!([{"secretRef": {"name": secret, "optional": true}}]));
    }
    if form == Form::Native {
        set("restartPolicy", json!("Always"));
    } else if let Some(hook) = last_words(pod, config.ports.admin) {
        set("lifecycle", json!({ "preStop": hook }));
    }
    Ok(Added { container, volumes, form })
}

/// What a sidecar is told where no pod asks for anything.
pub(super) fn plainest_text(config: &SidecarConfig, place: Place) -> String {
    text(config, place, None, DEFAULT_GRACE_SECS, None)
}

/// The configuration of the sidecar, as JSON, which is YAML.
fn text(
    config: &SidecarConfig,
    place: Place,
    sample_rate: Option<f64>,
    grace_secs: u64,
    model: Option<Map<String, Value>>,
) -> String {
    let mut proxy = json!({
        "listen": place.listen_addr().to_string(),
        "upstream": format!("http://127.0.0.1:{}", place.upstream),
        // Kubernetes tells both to stop at once, and requests come until all have heard that the pod is going.
        "stop_after_upstream": true,
    });
    if let Some(rate) = sample_rate {
        proxy["sample_rate"] = rate.into();
    }
    let mut text = json!({
        "admin": format!("0.0.0.0:{}", config.ports.admin),
        "models": Vec::from_iter(model),
        "taps": [{ "proxy": proxy }],
        "shutdown_grace": format!("{}s", grace_secs.saturating_sub(LAST_LOOK_SECS).max(1)),
    });
    if config.state {
        text["state_dir"] = STATE_FOLDER.into();
    }
    let sections =
        [("evaluation", &config.evaluation), ("metrics", &config.metrics), ("pipeline", &config.pipeline)];
    for (name, section) in sections {
        if !section.is_empty() {
            text[name] = Value::Object(section.clone());
        }
    }
    text.to_string()
}

/// A sidecar that refuses its configuration would stand in the path of requests and not serve: it is read here first.
pub(super) fn check_text(text: &str) -> Result<(), String> {
    // The model's URI comes from the environment; any will do to see that the rest is right.
    let uri = Some("s3://models/model");
    Config::parse_for(text, Path::new("DRIFTD_CONFIG_TEXT"), uri).map(drop).map_err(|error| error.to_string())
}

fn grace(pod: &Pod) -> u64 {
    pod.spec.termination_grace_period_seconds.unwrap_or(DEFAULT_GRACE_SECS)
}

fn baseline(pod: &Pod, ask: &Ask) -> Baseline {
    let folder = model_folder(pod);
    let (at, volume, mount) = match &ask.baseline {
        Some(BaselineAsked::ConfigMap { name, key }) => {
            let volume = json!({"name": BASELINE_VOLUME, "configMap": {"name": name, "optional": true}});
            let mount = json!({"name": BASELINE_VOLUME, "mountPath": BASELINE_FOLDER, "readOnly": true});
            (Some(format!("{BASELINE_FOLDER}/{key}")), Some(volume), Some(mount))
        }
        Some(BaselineAsked::At(place)) => (Some(place.clone()), None, folder),
        None => {
            let beside =
                folder.is_some().then(|| format!("{MODEL_FOLDER}/{}", crate::storage::BASELINE_NAME));
            (beside, None, folder)
        }
    };
    let name = ask.model.clone().or_else(|| model_name(pod));
    let is_served_from_somewhere = pod.annotation(STORAGE_URI).is_some_and(|uri| !uri.is_empty());
    let model = (at.is_some() || is_served_from_somewhere).then(|| {
        let given = [("name", name), ("baseline", at)].into_iter();
        given.filter_map(|(key, value)| Some((key.to_owned(), value?.into()))).collect()
    });
    Baseline { model, mount, volume }
}

/// The server's mount of the model, for us to read from.
fn model_folder(pod: &Pod) -> Option<Value> {
    let (_, server) = pod.container(SERVER)?;
    let mount = server.volume_mounts.iter().find(|mount| mount.path.trim_end_matches('/') == MODEL_FOLDER)?;
    let mut copy = json!({"name": mount.name, "mountPath": MODEL_FOLDER, "readOnly": true});
    if mount.sub_path_expr.is_some() {
        return None; // made of the server's environment, which we do not have
    }
    if let Some(path) = &mount.sub_path {
        copy["subPath"] = path.clone().into();
    }
    Some(copy)
}

/// What the server calls the model in the paths of requests.
fn model_name(pod: &Pod) -> Option<String> {
    let (_, server) = pod.container(SERVER)?;
    let flag = server.flag("--model_name").map(|flag| flag.value);
    let name = flag.or_else(|| server.env("MLSERVER_MODEL_NAME").map(|(_, value)| value))?;
    let is_plain = !name.is_empty() && !name.contains('$') && !name.contains("{{");
    is_plain.then(|| name.to_owned())
}

/// Who we watch for, by the downward API: labels and annotations that other webhooks add after us count too.
fn environment(pod: &Pod, text: &str) -> Value {
    let revision = "serving.knative.dev/revision";
    let revision = if pod.label(revision).is_some() { revision } else { "pod-template-hash" };
    let fields = [
        ("DRIFTD_NAMESPACE", "metadata.namespace".to_owned()),
        ("DRIFTD_INFERENCESERVICE", "metadata.labels['serving.kserve.io/inferenceservice']".to_owned()),
        ("DRIFTD_COMPONENT", "metadata.labels['component']".to_owned()),
        ("DRIFTD_REVISION", format!("metadata.labels['{revision}']")),
        ("DRIFTD_STORAGE_URI", format!("metadata.annotations['{STORAGE_URI}']")),
    ];
    // Kubernetes puts variables in for `$(NAME)`, and takes `$$` for a dollar.
    let literal = [("DRIFTD_CONFIG_TEXT", text.replace('$', "$$")), ("TMPDIR", STATE_FOLDER.to_owned())];
    let literal = literal.into_iter().map(|(name, value)| json!({"name": name, "value": value}));
    let fields = fields.into_iter().map(|(name, path)| {
        json!({"name": name, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}})
    });
    literal.chain(fields).collect()
}

fn declared_ports(config: &SidecarConfig, place: Place, taken: Option<Value>) -> Value {
    let metrics = json!({"name": "driftd-metrics", "containerPort": config.ports.admin, "protocol": "TCP"});
    // On loopback there is nothing for others to know.
    let proxy = (place.tap == Tap::MovePort).then(|| {
        taken.unwrap_or_else(
            || json!({"name": "driftd-proxy", "containerPort": place.listen, "protocol": "TCP"}),
        )
    });
    proxy.into_iter().chain([metrics]).collect()
}

fn security(config: &SidecarConfig) -> Value {
    let mut context = json!({
        "runAsNonRoot": true,
        "allowPrivilegeEscalation": false,
        "readOnlyRootFilesystem": true,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    });
    if let Some(user) = config.run_as_user {
        context["runAsUser"] = user.into();
    }
    context
}

/// What keeps the sidecar from ending before the server: the server's own hook where that does no more than wait, else our waiting for
/// the server. One without a hook ends as soon as it is told to, and so do we.
fn last_words(pod: &Pod, admin: u16) -> Option<Value> {
    let (_, server) = pod.container(SERVER)?;
    let hook = server.lifecycle.as_ref()?.get("preStop").filter(|hook| !hook.is_null())?;
    let port = hook.pointer("/httpGet/port").and_then(Value::as_u64);
    let is_of_queue_proxy = Mode::of(pod).is_knative() && port == Some(DRAIN_PORT.into());
    if is_of_queue_proxy || hook.get("sleep").is_some() {
        return Some(hook.clone());
    }
    Some(json!({"httpGet": {"path": "/wait-for-upstream-end", "port": admin}}))
}
