//! One review: what the API server asks, and what it is told.

use std::panic::{AssertUnwindSafe, catch_unwind};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::annotations::{self, Ask, INJECTED, SKIPPED};
use super::config::{Form, InjectConfig};
use super::pod::Pod;
use super::wiring::{Edit, Mode, Place, SERVER, rewire, wire};
use super::{CONTAINER, Reason, Refusal, sane, sidecar};

/// What a label `serving.kserve.io/inferenceservice` tells: the pod serves a model.
const INFERENCESERVICE: &str = "serving.kserve.io/inferenceservice";
/// Kubernetes shows no longer warnings.
const MAX_WARNING: usize = 120;
const API_VERSION: &str = "admission.k8s.io/v1";

/// Who is asked when a pod says nothing: the path that the API server calls tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// The pod itself: without a word from it there is no sidecar.
    ByPod,
    /// Its namespace, which has asked for all of its pods.
    ByNamespace,
}

/// What became of a review, for labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The pod has a sidecar now.
    Injected,
    /// It had one, which was passed by.
    Repaired,
    /// It has one.
    Unchanged,
    /// It wants none.
    NotAsked,
    /// It should have one and has none.
    Skipped(Reason),
    /// Not the creation of a pod.
    Other,
    /// Not a review.
    Malformed,
    /// A longer one than we read.
    TooLarge,
}

impl Outcome {
    /// The label values `outcome` and `reason`.
    pub const fn labels(self) -> [&'static str; 2] {
        match self {
            Self::Injected => ["injected", ""],
            Self::Repaired => ["repaired", ""],
            Self::Unchanged => ["unchanged", ""],
            Self::NotAsked => ["not_asked", ""],
            Self::Skipped(reason) => ["skipped", reason.as_str()],
            Self::Other => ["other", ""],
            Self::Malformed => ["malformed", ""],
            Self::TooLarge => ["too_large", ""],
        }
    }
}

/// The question.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AdmissionReview {
    api_version: String,
    request: AdmissionRequest,
}

/// What of it is read.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AdmissionRequest {
    uid: String,
    kind: GroupVersionKind,
    #[serde(default)]
    operation: String,
    #[serde(default)]
    sub_resource: Option<String>,
    #[serde(default)]
    object: Value,
}

#[derive(Debug, Deserialize)]
struct GroupVersionKind {
    #[serde(default)]
    group: String,
    #[serde(default)]
    kind: String,
}

/// The answer: always `allowed`, with a patch or without.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct AnswerBody<'a> {
    api_version: &'a str,
    kind: &'static str,
    response: AdmissionResponse<'a>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct AdmissionResponse<'a> {
    uid: &'a str,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

/// An answer, and what it came of.
#[derive(Debug)]
pub struct Reviewed {
    /// The `AdmissionReview` to send back.
    pub body: Vec<u8>,
    /// For metrics.
    pub outcome: Outcome,
    /// For the log: why a pod that should have a sidecar has none.
    pub refusal: Option<Refusal>,
}

/// Answers a review. Pure, and total: whatever the bytes are, the answer allows.
pub fn answer(config: &InjectConfig, asked: Asked, body: &[u8]) -> Reviewed {
    let Ok(AdmissionReview { api_version, request }) = serde_json::from_slice(body) else {
        return let_through(body, Outcome::Malformed);
    };
    let is_new_pod = request.kind.group.is_empty()
        && request.kind.kind == "Pod"
        && request.operation == "CREATE"
        && request.sub_resource.as_deref().is_none_or(str::is_empty);
    if api_version != API_VERSION || !is_new_pod {
        return reviewed(&api_version, &request.uid, None, Outcome::Other, None);
    }
    // A bug of ours must not keep a pod from being created.
    let changed = catch_unwind(AssertUnwindSafe(|| change(config, asked, &request.object)));
    let changed = changed.unwrap_or_else(|_| Changed {
        pod: None,
        outcome: Outcome::Skipped(Reason::NotSane),
        refusal: Some(Refusal::new(Reason::NotSane, "the review panicked; report this")),
    });
    let (outcome, refusal) = (changed.outcome, changed.refusal);
    match changed.pod.map(|pod| difference(&request.object, &pod)).transpose() {
        Ok(patch) => reviewed(&api_version, &request.uid, patch.flatten(), outcome, refusal),
        Err(refusal) => {
            let outcome = Outcome::Skipped(refusal.reason);
            reviewed(&api_version, &request.uid, None, outcome, Some(refusal))
        }
    }
}

/// Lets a body through that was not read as a whole: its identifier stands near its beginning, if it has one.
pub(super) fn let_through(body: &[u8], outcome: Outcome) -> Reviewed {
    reviewed(API_VERSION, uid_in(body), None, outcome, None)
}

fn reviewed(
    api_version: &str,
    uid: &str,
    patch: Option<Vec<u8>>,
    outcome: Outcome,
    refusal: Option<Refusal>,
) -> Reviewed {
    let warnings = refusal.iter().map(warning).collect();
    let response = AdmissionResponse {
        uid,
        allowed: true,
        patch_type: patch.is_some().then_some("JSONPatch"),
        patch: patch.map(|patch| STANDARD.encode(patch)),
        warnings,
    };
    let answer = AnswerBody { api_version, kind: "AdmissionReview", response };
    // Only texts and lists of them: there is nothing that JSON cannot say.
    Reviewed { body: serde_json::to_vec(&answer).unwrap_or_default(), outcome, refusal }
}

fn warning(refusal: &Refusal) -> String {
    let mut text =
        format!("driftd: no sidecar: {refusal}").replace(|character: char| character.is_control(), " ");
    if text.len() > MAX_WARNING {
        let end = (0..=MAX_WARNING - 3).rev().find(|&end| text.is_char_boundary(end)).unwrap_or_default();
        text.truncate(end);
        text.push_str("...");
    }
    text
}

/// The API server writes `request.uid` first.
fn uid_in(body: &[u8]) -> &str {
    const KEY: &[u8] = b"\"uid\":\"";
    let head = &body[..body.len().min(4096)];
    let Some(at) = head.windows(KEY.len()).position(|window| window == KEY) else { return "" };
    let rest = &head[at + KEY.len()..];
    let end = rest.iter().position(|&byte| byte == b'"').unwrap_or_default();
    let is_uid = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-';
    rest.get(..end)
        .filter(|uid| uid.iter().all(is_uid))
        .and_then(|uid| str::from_utf8(uid).ok())
        .unwrap_or("")
}

/// What becomes of a pod.
#[derive(Debug)]
struct Changed {
    /// The pod as it should be, if that is not as it is.
    pod: Option<Value>,
    outcome: Outcome,
    refusal: Option<Refusal>,
}

fn change(config: &InjectConfig, asked: Asked, object: &Value) -> Changed {
    let nothing = |outcome| Changed { pod: None, outcome, refusal: None };
    let refused = |refusal: Refusal, is_noted: bool| Changed {
        pod: is_noted.then(|| noted(object, SKIPPED, &refusal.to_string())),
        outcome: Outcome::Skipped(refusal.reason),
        refusal: Some(refusal),
    };
    let pod = match Pod::of(object) {
        Ok(pod) => pod,
        Err(refusal) => return refused(refusal, false),
    };
    let wanted = match annotations::is_wanted(&pod) {
        Ok(wanted) => wanted,
        Err(refusal) => return refused(refusal, true),
    };
    match (wanted, asked) {
        (Some(false), _) | (None, Asked::ByPod) => return nothing(Outcome::NotAsked),
        // In a namespace that has asked there are other pods too.
        (None, Asked::ByNamespace) if serves(&pod, config).is_err() => return nothing(Outcome::NotAsked),
        (None, Asked::ByNamespace) | (Some(true), _) => (),
    }
    let is_there = pod.all_containers().any(|container| container.name == CONTAINER);
    let injected = pod.annotation(INJECTED).and_then(|text| text.parse::<Place>().ok());
    let done = match injected.filter(|_| is_there) {
        Some(place) => rewire(&pod, place).map(|edits| {
            if edits.is_empty() {
                return nothing(Outcome::Unchanged);
            }
            let mut changed = object.clone();
            apply(&mut changed, edits);
            Changed { pod: Some(changed), outcome: Outcome::Repaired, refusal: None }
        }),
        None => inject(config, &pod, object)
            .and_then(|changed| sane::check(&changed).map(|()| changed))
            .map(|changed| Changed { pod: Some(changed), outcome: Outcome::Injected, refusal: None }),
    };
    done.unwrap_or_else(|refusal| refused(refusal, true))
}

/// Whether it is a pod that serves a model.
fn serves(pod: &Pod, config: &InjectConfig) -> Result<(), Refusal> {
    let refuse = |text: String| Err(Refusal::new(Reason::NotKserve, text));
    if pod.label(INFERENCESERVICE).is_none() {
        return refuse(format!("the pod has no label {INFERENCESERVICE}"));
    }
    let component = pod.label("component").unwrap_or_default();
    if !config.components.iter().any(|wanted| wanted == component) {
        return refuse(format!("component `{component}` is not in `components` of webhook.yaml"));
    }
    if pod.container(SERVER).is_none() {
        return refuse(format!("the pod has no container `{SERVER}`"));
    }
    Ok(())
}

/// The pod with a sidecar.
fn inject(config: &InjectConfig, pod: &Pod, object: &Value) -> Result<Value, Refusal> {
    serves(pod, config)?;
    if pod.spec.host_network {
        return Err(Refusal::new(
            Reason::HostNetwork,
            "the pod has the node's network, where ports would clash",
        ));
    }
    let is_driftd = |container: &super::pod::Container| {
        let is_transformer = container.name == "transformer-container";
        container.name == CONTAINER
            || (is_transformer && repository(&container.image) == repository(&config.sidecar.image))
    };
    if let Some(container) = pod.all_containers().find(|container| is_driftd(container)) {
        return Err(Refusal::new(Reason::AlreadyThere, format!("the pod has its own, `{}`", container.name)));
    }
    let ask = Ask::of(pod, &config.sidecar.resources)?;
    let wiring = wire(pod, config.modes, config.sidecar.ports, ask.port_flag.as_deref())?;
    let taken = wiring.takes_port.then(|| object.pointer("/spec/containers/0/ports/0").cloned()).flatten();
    let form = config.modes.of(Mode::of(pod)).form;
    let added = sidecar::add(pod, &ask, (&config.sidecar, form), wiring.place, taken)?;

    let mut changed = object.clone();
    apply(&mut changed, wiring.edits);
    let list = if added.form == Form::Native { "initContainers" } else { "containers" };
    append(&mut changed["spec"], list, vec![added.container]);
    append(&mut changed["spec"], "volumes", added.volumes);
    let mut changed = noted(&changed, INJECTED, &wiring.place.to_string());
    let notes = object_at(&mut changed["metadata"], "annotations");
    notes.remove(SKIPPED);
    if config.sidecar.scrape_annotations
        && !pod.metadata.annotations.keys().any(|key| key.starts_with("prometheus.io/"))
    {
        let port = config.sidecar.ports.admin.to_string();
        for (key, value) in [("scrape", "true"), ("port", &port), ("path", "/metrics")] {
            notes.insert(format!("prometheus.io/{key}"), value.into());
        }
    }
    Ok(changed)
}

/// An image without its tag or digest.
fn repository(image: &str) -> &str {
    let image = image.split('@').next().unwrap_or(image);
    let name = image.rfind('/').map_or(0, |slash| slash + 1);
    image[name..].find(':').map_or(image, |colon| &image[..name + colon])
}

/// A place that `wiring` has found is there.
fn apply(pod: &mut Value, edits: Vec<Edit>) {
    for edit in edits {
        match edit {
            Edit::Set { at, value } => {
                if let Some(place) = pod.pointer_mut(&at) {
                    *place = value;
                }
            }
            Edit::Remove { list, at } => {
                if let Some(list) = pod.pointer_mut(&list).and_then(Value::as_array_mut)
                    && at < list.len()
                {
                    list.remove(at);
                }
            }
        }
    }
}

fn append(spec: &mut Value, list: &str, values: Vec<Value>) {
    match spec[list].as_array_mut() {
        Some(there) => there.extend(values),
        None => spec[list] = values.into(),
    }
}

fn noted(pod: &Value, key: &str, text: &str) -> Value {
    let mut changed = pod.clone();
    object_at(&mut changed["metadata"], "annotations").insert(key.to_owned(), text.into());
    changed
}

fn object_at<'a>(parent: &'a mut Value, key: &str) -> &'a mut Map<String, Value> {
    if !parent.is_object() {
        *parent = json!({});
    }
    if !parent[key].is_object() {
        parent[key] = json!({});
    }
    parent[key].as_object_mut().expect("it is an object now")
}

/// The patch from one pod to the other, if they differ; applied here first, as a patch that does not apply would keep the pod from being
/// created.
fn difference(from: &Value, to: &Value) -> Result<Option<Vec<u8>>, Refusal> {
    let bug = |text: String| Refusal::new(Reason::NotSane, text);
    let patch = json_patch::diff(from, to);
    if patch.0.is_empty() {
        return Ok(None);
    }
    let mut patched = from.clone();
    json_patch::patch(&mut patched, &patch)
        .map_err(|error| bug(format!("the patch does not apply: {error}")))?;
    if patched != *to {
        return Err(bug("the patch does not give the pod that was meant".to_owned()));
    }
    serde_json::to_vec(&patch).map(Some).map_err(|error| bug(error.to_string()))
}

#[cfg(test)]
mod tests;
