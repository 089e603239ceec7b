//! Deployments, and canaries by the weights of an `HTTPRoute`.

use serde_json::Value;

use super::objects::{Pod, conditions, list, number, source_uri, text};
use super::{Serving, View, does_not_start, is_same, kserve_says};
use crate::gitops::incident::Plan;

/// The Deployment of a predictor: promoting a canary by name makes its Deployment the stable one.
fn workload(view: &View, predictor: &str) -> String {
    let service = text(&view.service, "/metadata/name");
    if predictor.is_empty() {
        format!("{service}-predictor")
    } else {
        format!("{service}-{predictor}-predictor")
    }
}

/// Whether the predictor's Deployment has only pods of the good version, all of them ready.
pub(super) fn rolled_out(view: &View, plan: &Plan) -> Serving {
    let name = workload(view, text(&view.service, "/spec/predictor/name"));
    let Some(deployment) = view.deployments.iter().find(|each| text(each, "/metadata/name") == name) else {
        return Serving::Waiting(format!("there is no Deployment {name}"));
    };
    let template = source_uri(deployment, "/spec/template/metadata").unwrap_or("no URI");
    if !is_same(template, &plan.good_uri) {
        return Serving::Waiting(format!("Deployment {name} still makes pods of {template}"));
    }
    let pods: Vec<Pod<'_>> = view.pods.iter().filter_map(Pod::read).collect();
    let app = format!("isvc.{name}");
    let own = || pods.iter().filter(|pod| pod.app == app);
    let is_good = |pod: &&Pod<'_>| pod.uri.is_some_and(|uri| is_same(uri, &plan.good_uri));
    let n_good = own().filter(is_good).filter(|pod| pod.is_ready).count();
    let old: Vec<&Pod<'_>> = own().filter(|pod| !is_good(pod)).collect();
    let figures = || {
        let serve_on = old.iter().filter(|pod| pod.is_ready).count();
        format!("{n_good} pods of the good version are ready, {serve_on} of another one serve on")
    };
    if let Some(pod) = own().filter(is_good).find(|pod| !pod.is_ready && pod.trouble.is_some()) {
        return does_not_start(view, pod, &figures());
    }
    let stalled =
        conditions(deployment).find(|(kind, status, _)| *kind == "Progressing" && *status == "False");
    if let Some((_, _, told)) = stalled {
        return Serving::Hung(format!("Deployment {name}: {told}; {}; {}", figures(), kserve_says(view)));
    }
    let status = |field: &str| number(deployment, &format!("/status/{field}")).unwrap_or(0);
    let wanted = number(deployment, "/spec/replicas").unwrap_or(1);
    if status("observedGeneration") < number(deployment, "/metadata/generation").unwrap_or(0) {
        return Serving::Waiting(format!("Deployment {name} has not been looked at yet"));
    }
    if status("updatedReplicas") < wanted || status("availableReplicas") < wanted || !old.is_empty() {
        return Serving::Waiting(figures());
    }
    if wanted > 0 && n_good == 0 { Serving::Waiting(figures()) } else { Serving::Ready }
}

/// Whether a canary gets no traffic any more. Its percent in the status only echoes the spec: what counts are the weights of the
/// route, once every gateway has taken them over.
pub(super) fn canary_stopped(view: &View, name: &str, plan: &Plan) -> Serving {
    let canary = list(&view.service, "/spec/canary").find(|each| text(each, "/predictor/name") == name);
    let percent = canary.map_or(0, |canary| number(canary, "/trafficPercent").unwrap_or(0));
    if percent > 0 {
        return Serving::Waiting(format!("the InferenceService still gives canary {name} {percent} %"));
    }
    let (own, stable) = (workload(view, name), workload(view, text(&view.service, "/spec/predictor/name")));
    for route in &view.routes {
        let weight = weight_of(route, &own);
        if weight > 0 {
            return Serving::Waiting(format!(
                "HTTPRoute {} still gives {own} weight {weight}",
                text(route, "/metadata/name")
            ));
        }
        let generation = number(route, "/metadata/generation").unwrap_or(0);
        let mut taken = list(route, "/status/parents").flat_map(|parent| list(parent, "/conditions"));
        if taken
            .any(|condition| number(condition, "/observedGeneration").is_some_and(|seen| seen < generation))
        {
            let route = text(route, "/metadata/name");
            return Serving::Waiting(format!("a gateway has not taken over HTTPRoute {route} yet"));
        }
    }
    let app = format!("isvc.{stable}");
    let ready = |pod: &Pod<'_>| {
        pod.app == app && pod.is_ready && pod.uri.is_some_and(|uri| !is_same(uri, &plan.bad_uri))
    };
    if view.pods.iter().filter_map(Pod::read).any(|pod| ready(&pod)) {
        Serving::Ready
    } else {
        Serving::Waiting(format!("no pod of {stable} is ready that serves another version than the accused"))
    }
}

/// Whether the cluster's KServe splits traffic in this mode: a canary is a backend of its route.
pub fn splits_traffic(view: &View) -> bool {
    let has_two = |rule: &Value| list(rule, "/backendRefs").count() > 1;
    view.routes.iter().any(|route| list(route, "/spec/rules").any(has_two))
}

/// The largest weight of a Service in a route; a backend without one has 1.
fn weight_of(route: &Value, service: &str) -> i64 {
    list(route, "/spec/rules")
        .flat_map(|rule| list(rule, "/backendRefs"))
        .filter(|backend| text(backend, "/name") == service)
        .map(|backend| number(backend, "/weight").unwrap_or(1))
        .max()
        .unwrap_or(0)
}
