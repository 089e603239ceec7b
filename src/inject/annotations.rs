//! What a pod asks for: labels and annotations under our prefix.

use super::config::Form;
use super::pod::Pod;
use super::quantity::{Quantity, Resources};
use super::{Reason, Refusal};

/// On the pod or its namespace: whether it has a sidecar.
pub const INJECT: &str = "driftd.io/inject";
/// Where the baseline is.
pub const BASELINE: &str = "driftd.io/baseline";
/// The model's name.
pub const MODEL: &str = "driftd.io/model";
/// Share of exchanges that are counted.
pub const SAMPLE_RATE: &str = "driftd.io/sample-rate";
/// A Secret for object stores.
pub const CREDENTIALS: &str = "driftd.io/credentials";
/// Container or native sidecar.
pub const SIDECAR: &str = "driftd.io/sidecar";
/// How the server is told its port.
pub const PORT_FLAG: &str = "driftd.io/port-flag";
/// Written by us: where the sidecar stands.
pub const INJECTED: &str = "driftd.io/injected";
/// Written by us: why there is none.
pub const SKIPPED: &str = "driftd.io/skipped";
/// KServe's: where the model comes from.
pub const STORAGE_URI: &str = "internal.serving.kserve.io/storage-initializer-sourceuri";

/// The key of a baseline in a `ConfigMap` that names none.
const DEFAULT_KEY: &str = crate::storage::BASELINE_NAME;

/// Where the baseline is, if somebody says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BaselineAsked {
    /// A path or a URI.
    At(String),
    /// A `ConfigMap` of the pod's namespace.
    ConfigMap {
        /// Its name.
        name: String,
        /// The key.
        key: String,
    },
}

/// What a pod asks for.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Its baseline.
    pub baseline: Option<BaselineAsked>,
    /// The model's name.
    pub model: Option<String>,
    /// Share of exchanges that are counted.
    pub sample_rate: Option<f64>,
    /// A Secret of its namespace.
    pub credentials: Option<String>,
    /// Container or native sidecar.
    pub form: Option<Form>,
    /// How the server is told its port.
    pub port_flag: Option<String>,
    /// What the sidecar asks for.
    pub resources: Resources,
}

/// Whether the pod says that it wants a sidecar; the annotation goes before the label.
pub(super) fn is_wanted(pod: &Pod) -> Result<Option<bool>, Refusal> {
    match pod.annotation(INJECT).or_else(|| pod.label(INJECT)) {
        None => Ok(None),
        Some("true" | "enabled") => Ok(Some(true)),
        Some("false" | "disabled") => Ok(Some(false)),
        Some(other) => Err(bad(INJECT, &format!("`{other}` is neither `true` nor `false`"))),
    }
}

impl Ask {
    /// Reads all of them: a value that the API server would refuse must not get into the patch.
    pub(super) fn of(pod: &Pod, defaults: &Resources) -> Result<Self, Refusal> {
        let text = |name| pod.annotation(name).filter(|text| !text.is_empty()).map(str::to_owned);
        let sample_rate = text(SAMPLE_RATE).map(|text| {
            let rate = text.parse::<f64>().ok().filter(|rate| (0.0..=1.0).contains(rate));
            rate.ok_or_else(|| bad(SAMPLE_RATE, &format!("`{text}` is not a number between 0 and 1")))
        });
        let form = text(SIDECAR).map(|text| match &*text {
            "container" => Ok(Form::Container),
            "native" => Ok(Form::Native),
            _ => Err(bad(SIDECAR, &format!("`{text}` is neither `container` nor `native`"))),
        });
        let credentials = text(CREDENTIALS).map(|name| {
            let is_name = is_object_name(&name);
            is_name
                .then(|| name.clone())
                .ok_or_else(|| bad(CREDENTIALS, &format!("`{name}` is not the name of a Secret")))
        });
        let port_flag = text(PORT_FLAG).map(|flag| {
            let is_flag = flag.starts_with('-') && !flag.contains(['=', ' ']);
            let problem = || format!("`{flag}` is not a flag; write it like `--listen-port`");
            is_flag.then(|| flag.clone()).ok_or_else(|| bad(PORT_FLAG, &problem()))
        });
        Ok(Self {
            baseline: text(BASELINE).map(|text| baseline(&text)).transpose()?,
            model: text(MODEL),
            sample_rate: sample_rate.transpose()?,
            credentials: credentials.transpose()?,
            form: form.transpose()?,
            port_flag: port_flag.transpose()?,
            resources: resources(pod, defaults)?,
        })
    }
}

fn baseline(text: &str) -> Result<BaselineAsked, Refusal> {
    let Some(place) = text.strip_prefix("configmap:") else { return Ok(BaselineAsked::At(text.to_owned())) };
    let (name, key) = place.split_once('/').unwrap_or((place, DEFAULT_KEY));
    let is_key = !key.is_empty()
        && key.len() <= 253
        && !key.starts_with("..")
        && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        && key != ".";
    if !is_object_name(name) || !is_key {
        return Err(bad(
            BASELINE,
            &format!("`{text}` names no ConfigMap; write configmap:NAME or configmap:NAME/KEY"),
        ));
    }
    Ok(BaselineAsked::ConfigMap { name: name.to_owned(), key: key.to_owned() })
}

fn resources(pod: &Pod, defaults: &Resources) -> Result<Resources, Refusal> {
    let amount = |name: &str, default: &Option<Quantity>| match pod.annotation(name) {
        None => Ok(default.clone()),
        Some(text) => text.parse().map(Some).map_err(|problem: String| bad(name, &problem)),
    };
    let resources = Resources {
        cpu_request: amount("driftd.io/cpu-request", &defaults.cpu_request)?,
        memory_request: amount("driftd.io/memory-request", &defaults.memory_request)?,
        cpu_limit: amount("driftd.io/cpu-limit", &defaults.cpu_limit)?,
        memory_limit: amount("driftd.io/memory-limit", &defaults.memory_limit)?,
    };
    resources.check().map_err(|problem| Refusal::new(Reason::BadAnnotation, problem))?;
    Ok(resources)
}

/// A DNS subdomain, as names of `ConfigMap`s and Secrets are.
fn is_object_name(name: &str) -> bool {
    let is_label = |label: &str| {
        let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let bytes = label.as_bytes();
        bytes.first().is_some_and(|&byte| is_word(byte))
            && bytes.last().is_some_and(|&byte| is_word(byte))
            && bytes.iter().all(|&byte| is_word(byte) || byte == b'-')
    };
    name.len() <= 253 && name.split('.').all(is_label)
}

fn bad(annotation: &str, problem: &str) -> Refusal {
    Refusal::new(Reason::BadAnnotation, format!("{annotation}: {problem}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ask(annotation: &str, value: &str) -> Result<Ask, String> {
        let pod = json!({"metadata": {"annotations": {annotation: value}}, "spec": {"containers": []}});
        Ask::of(&Pod::of(&pod).unwrap(), &Resources::default()).map_err(|refusal| refusal.to_string())
    }

    #[test]
    fn what_the_api_server_would_refuse_is_refused_here() {
        for (annotation, value, expected) in [
            (BASELINE, "configmap:Credit", "configmap:NAME/KEY"),
            (BASELINE, "configmap:credit/../etc", "configmap:NAME/KEY"),
            (BASELINE, "configmap:", "configmap:NAME/KEY"),
            (CREDENTIALS, "a..b", "not the name of a Secret"),
            (SAMPLE_RATE, "NaN", "not a number between 0 and 1"),
            (SIDECAR, "initContainer", "neither"),
            (PORT_FLAG, "port", "not a flag"),
            ("driftd.io/cpu-limit", "1cpu", "not an amount"),
            ("driftd.io/cpu-limit", "10m", "above the limit"),
        ] {
            let error = ask(annotation, value).expect_err(value);
            assert!(error.starts_with("bad_annotation: ") && error.contains(expected), "{value}: {error}");
        }
    }

    #[test]
    fn a_config_map_has_a_key_of_its_own_or_ours() {
        let of = |text: &str| ask(BASELINE, text).unwrap().baseline;
        let config_map =
            |key: &str| Some(BaselineAsked::ConfigMap { name: "credit".to_owned(), key: key.to_owned() });
        assert_eq!(of("configmap:credit"), config_map("driftd-baseline.json"));
        assert_eq!(of("configmap:credit/v3.json"), config_map("v3.json"));
        assert_eq!(of("s3://bucket/a.json"), Some(BaselineAsked::At("s3://bucket/a.json".to_owned())));
        assert_eq!(of(""), None);
    }
}
