//! What a service really serves, from its pods and what made them. Pure.
//!
//! Neither KServe's Ready nor Argo CD's Healthy says it: both hold while old pods serve because the new ones never start, and
//! generations cannot be compared, since KServe copies them from its children. What counts is the URI that the pods, the
//! Deployment's template or Knative's revisions were made for.

mod knative;
mod objects;
mod standard;

use super::incident::{Component, Plan, Recipe};
use objects::{Pod, conditions, text};
use serde_json::Value;

pub use knative::{may_drop_percent, rolled_out_uri, shares};
pub use standard::splits_traffic;

/// Where KServe writes what a pod was made for.
pub const SOURCE_URI: &str = "internal.serving.kserve.io/storage-initializer-sourceuri";

/// The objects of one service, as the API server has them.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// The `InferenceService`.
    pub service: Value,
    /// Its pods.
    pub pods: Vec<Value>,
    /// Its Deployments, in Standard mode.
    pub deployments: Vec<Value>,
    /// Its Knative revisions, in Knative mode.
    pub revisions: Vec<Value>,
    /// Its `HTTPRoutes`, where the Gateway API is used.
    pub routes: Vec<Value>,
}

/// Whether the good version serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Serving {
    /// It does, and the accused one gets no traffic.
    Ready,
    /// On the way.
    Waiting(String),
    /// It will not come by itself, whatever KServe says; the old pods serve on.
    Hung(String),
    /// The model cannot be loaded.
    Failed(String),
}

/// How KServe runs a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Deployments.
    Standard,
    /// Knative Serving.
    Knative,
}

impl View {
    /// The status wins over the annotation; a service without either is told by Knative's revisions.
    pub fn mode(&self) -> Mode {
        let annotation = self.service.pointer("/metadata/annotations/serving.kserve.io~1deploymentMode");
        let named = [self.service.pointer("/status/deploymentMode"), annotation];
        match named.into_iter().flatten().filter_map(Value::as_str).find(|name| !name.is_empty()) {
            Some(name) if ["Knative", "Serverless"].contains(&name) => Mode::Knative,
            None if self.service.pointer("/status/components/predictor/latestCreatedRevision").is_some() => {
                Mode::Knative
            }
            _ => Mode::Standard,
        }
    }

    /// The URI that the live service asks for: what Argo CD has applied.
    pub fn wanted_uri(&self) -> Option<&str> {
        model_uri(self.service.pointer("/spec/predictor")?)
    }
}

/// Whether what the plan puts back serves, and what it takes away does not.
pub fn judge(view: &View, plan: &Plan) -> Serving {
    if let Component::Canary(name) = &plan.component {
        return standard::canary_stopped(view, name, plan);
    }
    match view.wanted_uri() {
        None => return Serving::Waiting("the InferenceService has no storageUri".to_owned()),
        Some(uri) if !is_same(uri, &plan.good_uri) => {
            return Serving::Waiting(format!("the InferenceService still asks for {uri}"));
        }
        Some(_) => (),
    }
    let serving = match (view.mode(), plan.recipe) {
        (Mode::Standard, _) => standard::rolled_out(view, plan),
        (Mode::Knative, recipe) => knative::rolled_out(view, plan, recipe == Recipe::KnativeCanary),
    };
    match serving {
        Serving::Waiting(why) => refused(view).unwrap_or(Serving::Waiting(why)),
        serving => serving,
    }
}

/// A spec that KServe refuses is as it was applied, and no pod will come of it. Its word that a model cannot be loaded is not used
/// here: that may still be about the version before.
fn refused(view: &View) -> Option<Serving> {
    let status = view.service.pointer("/status/modelStatus")?;
    let is_refused = text(status, "/transitionStatus") == "InvalidSpec";
    is_refused.then(|| {
        Serving::Failed(format!("KServe refuses the spec: {}", text(status, "/lastFailureInfo/message")))
    })
}

/// A pod of the good version that waiting does not help. The model's own container is told apart from its image and its node: then it
/// is the model.
fn does_not_start(view: &View, pod: &Pod<'_>, figures: &str) -> Serving {
    let trouble = pod.trouble.as_deref().unwrap_or_default();
    let why = format!("pod {} does not start: {trouble}; {figures}; {}", pod.name, kserve_says(view));
    let is_load = trouble.starts_with("CrashLoopBackOff")
        && text(&view.service, "/status/modelStatus/transitionStatus") == "BlockedByFailedLoad";
    if is_load { Serving::Failed(why) } else { Serving::Hung(why) }
}

/// What KServe says itself, for those who wonder why a hung rollout looks healthy elsewhere.
fn kserve_says(view: &View) -> String {
    let ready = conditions(&view.service).find(|(kind, ..)| *kind == "Ready");
    let ready = ready.map_or("nothing", |(_, status, _)| status);
    let model = text(&view.service, "/status/modelStatus/transitionStatus");
    format!("KServe says Ready={ready}, model {}", if model.is_empty() { "unknown" } else { model })
}

/// One of a predictor's spellings; KServe's defaults make `model` of the others.
fn model_uri(predictor: &Value) -> Option<&str> {
    let of = |value: &'_ Value| -> bool { value.get("storageUri").is_some_and(Value::is_string) };
    let model = predictor.get("model").filter(|model| of(model));
    let model = model.or_else(|| predictor.as_object()?.values().find(|value| of(value)));
    model?.get("storageUri")?.as_str()
}

/// A slash at the end is none of the version.
fn is_same(a: &str, b: &str) -> bool {
    a.trim_end_matches('/') == b.trim_end_matches('/')
}

#[cfg(test)]
mod tests;
