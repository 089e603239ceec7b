//! Reading Kubernetes objects: what is not there is empty.

use serde_json::Value;

use super::SOURCE_URI;

/// A text at a JSON pointer.
pub(super) fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// A number at a JSON pointer.
pub(super) fn number(value: &Value, pointer: &str) -> Option<i64> {
    value.pointer(pointer).and_then(Value::as_i64)
}

/// The elements of a list at a JSON pointer.
pub(super) fn list<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    value.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

/// `status.conditions`: type, status, and reason with message.
pub(super) fn conditions(value: &Value) -> impl Iterator<Item = (&str, &str, String)> {
    list(value, "/status/conditions").map(|condition| {
        let told = [text(condition, "/reason"), text(condition, "/message")];
        let told = told.into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join(": ");
        (text(condition, "/type"), text(condition, "/status"), told)
    })
}

/// [`SOURCE_URI`] in the annotations below a pointer to metadata.
pub(super) fn source_uri<'a>(value: &'a Value, metadata: &str) -> Option<&'a str> {
    value.pointer(metadata)?.get("annotations")?.get(SOURCE_URI)?.as_str()
}

/// A pod that is to stay.
pub(super) struct Pod<'a> {
    pub(super) name: &'a str,
    pub(super) app: &'a str,
    pub(super) uri: Option<&'a str>,
    pub(super) is_ready: bool,
    /// What keeps it from starting, where that does not pass by itself.
    pub(super) trouble: Option<String>,
}

/// Reasons of a waiting container that waiting does not cure.
const TROUBLE: [&str; 7] = [
    "CrashLoopBackOff",
    "ImagePullBackOff",
    "ErrImagePull",
    "InvalidImageName",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
];

impl<'a> Pod<'a> {
    /// `None` if it is on its way out: its endpoints are gone from the moment it is deleted.
    pub(super) fn read(pod: &'a Value) -> Option<Self> {
        if pod.pointer("/metadata/deletionTimestamp").is_some_and(|at| !at.is_null())
            || ["Succeeded", "Failed"].contains(&text(pod, "/status/phase"))
        {
            return None;
        }
        Some(Self {
            name: text(pod, "/metadata/name"),
            app: text(pod, "/metadata/labels/app"),
            uri: source_uri(pod, "/metadata"),
            is_ready: conditions(pod).any(|(kind, status, _)| kind == "Ready" && status == "True"),
            trouble: trouble(pod),
        })
    }
}

fn trouble(pod: &Value) -> Option<String> {
    let unschedulable = conditions(pod)
        .find(|(kind, status, told)| *kind == "PodScheduled" && *status == "False" && !told.is_empty());
    if let Some((_, _, told)) = unschedulable {
        return Some(told);
    }
    let containers = list(pod, "/status/initContainerStatuses").chain(list(pod, "/status/containerStatuses"));
    let waiting = |container: &Value| {
        let reason = text(container, "/state/waiting/reason");
        TROUBLE.contains(&reason).then(|| {
            let last = text(container, "/lastState/terminated/message");
            let message = if last.is_empty() { text(container, "/state/waiting/message") } else { last };
            let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
            let message: String = message.chars().filter(|char| !char.is_control()).take(200).collect();
            format!("{} in {}: {message}", reason, text(container, "/name"))
        })
    };
    containers.into_iter().find_map(waiting)
}
