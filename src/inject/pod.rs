//! The fields of a pod that we read. All others stay in the JSON value that these are read from.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::{Reason, Refusal};

/// A pod.
#[derive(Debug, Deserialize)]
pub(super) struct Pod {
    #[serde(default)]
    pub metadata: Metadata,
    pub spec: Spec,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Metadata {
    #[serde(default, deserialize_with = "or_default")]
    pub labels: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "or_default")]
    pub annotations: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Spec {
    pub containers: Vec<Container>,
    #[serde(default, deserialize_with = "or_default")]
    pub init_containers: Vec<Container>,
    #[serde(default, deserialize_with = "or_default")]
    pub volumes: Vec<Volume>,
    #[serde(default, deserialize_with = "or_default")]
    pub host_network: bool,
    pub termination_grace_period_seconds: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Container {
    pub name: String,
    #[serde(default, deserialize_with = "or_default")]
    pub image: String,
    #[serde(default, deserialize_with = "or_default")]
    pub command: Vec<String>,
    #[serde(default, deserialize_with = "or_default")]
    pub args: Vec<String>,
    #[serde(default, deserialize_with = "or_default")]
    pub env: Vec<EnvVar>,
    #[serde(default, deserialize_with = "or_default")]
    pub ports: Vec<Port>,
    #[serde(default, deserialize_with = "or_default")]
    pub volume_mounts: Vec<Mount>,
    pub readiness_probe: Option<Value>,
    pub liveness_probe: Option<Value>,
    pub startup_probe: Option<Value>,
    pub lifecycle: Option<Value>,
}

#[derive(Debug, Deserialize)]
pub(super) struct EnvVar {
    pub name: String,
    pub value: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Port {
    pub name: Option<String>,
    pub container_port: u16,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Mount {
    pub name: String,
    #[serde(rename = "mountPath")]
    pub path: String,
    pub sub_path: Option<String>,
    pub sub_path_expr: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Volume {
    pub name: String,
}

/// `null` stands for what is not there, as it does for the API server.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

impl Pod {
    pub(super) fn of(object: &Value) -> Result<Self, Refusal> {
        Self::deserialize(object).map_err(|error| Refusal::new(Reason::Unreadable, error.to_string()))
    }

    /// A container and its place.
    pub(super) fn container(&self, name: &str) -> Option<(usize, &Container)> {
        self.spec.containers.iter().enumerate().find(|(_, container)| container.name == name)
    }

    /// All of them, those that run first among them.
    pub(super) fn all_containers(&self) -> impl Iterator<Item = &Container> {
        self.spec.init_containers.iter().chain(&self.spec.containers)
    }

    pub(super) fn label(&self, name: &str) -> Option<&str> {
        self.metadata.labels.get(name).map(String::as_str)
    }

    pub(super) fn annotation(&self, name: &str) -> Option<&str> {
        self.metadata.annotations.get(name).map(String::as_str)
    }
}

impl Container {
    /// A variable that is written out, and its place.
    pub(super) fn env(&self, name: &str) -> Option<(usize, &str)> {
        let (at, variable) = self.env.iter().enumerate().find(|(_, variable)| variable.name == name)?;
        Some((at, variable.value.as_deref()?))
    }

    /// What follows a flag in the arguments, as `--flag value` or `--flag=value`: the last of them, which is the one that counts.
    pub(super) fn flag(&self, flag: &str) -> Option<Flag<'_>> {
        let lists = [("command", &self.command), ("args", &self.args)];
        let found = lists.into_iter().flat_map(|(list, words)| {
            words.iter().enumerate().filter_map(move |(at, word)| {
                if word == flag {
                    return Some(Flag { list, at: at + 1, value: words.get(at + 1)?, is_joined: false });
                }
                let value = word.strip_prefix(flag)?.strip_prefix('=')?;
                Some(Flag { list, at, value, is_joined: true })
            })
        });
        found.last()
    }

    /// Whether a number stands anywhere in how it is started, which then may be a port of its own.
    pub(super) fn mentions(&self, port: u16) -> bool {
        let values = self.env.iter().filter_map(|variable| variable.value.as_ref());
        let numbers = |text: &str| {
            text.split(|character: char| !character.is_ascii_digit()).any(|number| number.parse() == Ok(port))
        };
        self.ports.iter().any(|declared| declared.container_port == port)
            || self.command.iter().chain(&self.args).chain(values).any(|text| numbers(text))
    }

    /// Its probes, by the field that they stand in.
    pub(super) fn probes(&self) -> impl Iterator<Item = (&'static str, &Value)> {
        [
            ("readinessProbe", &self.readiness_probe),
            ("livenessProbe", &self.liveness_probe),
            ("startupProbe", &self.startup_probe),
        ]
        .into_iter()
        .filter_map(|(field, probe)| Some((field, probe.as_ref()?)))
    }
}

/// A flag of a container, and where its value stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flag<'a> {
    /// `command` or `args`.
    pub list: &'static str,
    /// Which word of it holds the value.
    pub at: usize,
    /// The value.
    pub value: &'a str,
    /// Whether the word is `--flag=value`.
    pub is_joined: bool,
}
