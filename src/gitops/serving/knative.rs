//! Knative's revisions, told by the URI that they were made for: names are never used twice, and a rollback makes a new one.

use std::collections::BTreeMap;

use serde_json::Value;

use super::objects::{Pod, conditions, list, number, source_uri, text};
use super::{Serving, View, does_not_start, is_same, kserve_says};
use crate::gitops::incident::Plan;

const PREDICTOR: &str = "/status/components/predictor";

fn status_of<'a>(view: &'a View, field: &str) -> &'a str {
    text(&view.service, &format!("{PREDICTOR}/{field}"))
}

fn revision<'a>(view: &'a View, name: &str) -> Option<&'a Value> {
    view.revisions.iter().find(|each| text(each, "/metadata/name") == name)
}

fn uri_of<'a>(view: &'a View, name: &str) -> Option<&'a str> {
    source_uri(revision(view, name)?, "/metadata")
}

/// Percent of the traffic by URI. The same revision may stand twice; one that nobody knows is listed by its name.
pub fn shares(view: &View) -> BTreeMap<String, i64> {
    let mut shares = BTreeMap::new();
    for target in list(&view.service, &format!("{PREDICTOR}/traffic")) {
        let name = text(target, "/revisionName");
        let uri = uri_of(view, name).unwrap_or(name).trim_end_matches('/');
        *shares.entry(uri.to_owned()).or_insert(0) += number(target, "/percent").unwrap_or(0);
    }
    shares
}

/// The URI that had all traffic last: percent 0 leads all traffic to it.
pub fn rolled_out_uri(view: &View) -> Option<&str> {
    uri_of(view, status_of(view, "latestRolledoutRevision"))
}

/// Whether dropping the percent of a stopped canary moves no traffic to another version than this. It then all goes to the latest ready
/// revision: that has to be the latest one, of the good version, which has to have the traffic already.
///
/// # Errors
/// Why not yet.
pub fn may_drop_percent(view: &View, good_uri: &str) -> Result<(), String> {
    is_latest_ready(view, good_uri)?;
    match rolled_out_uri(view) {
        Some(uri) if is_same(uri, good_uri) => Ok(()),
        Some(uri) => Err(format!("{uri} has the traffic, and {good_uri} would get it")),
        None => Err("nobody knows what has the traffic".to_owned()),
    }
}

fn is_latest_ready(view: &View, good_uri: &str) -> Result<(), String> {
    let (created, ready) = (status_of(view, "latestCreatedRevision"), status_of(view, "latestReadyRevision"));
    if created.is_empty() || created != ready {
        return Err(format!("revision {created} is not ready, {ready} is the last that was"));
    }
    match uri_of(view, ready) {
        Some(uri) if is_same(uri, good_uri) => Ok(()),
        Some(uri) => Err(format!("revision {ready} serves {uri}")),
        None => Err(format!("nobody knows what revision {ready} serves")),
    }
}

/// Whether all traffic goes to the good version. A stopped canary is that before its new revision is ready; the rest is cleaned up
/// later.
pub(super) fn rolled_out(view: &View, plan: &Plan, is_canary: bool) -> Serving {
    let shares = shares(view);
    let share = |uri: &str| shares.get(uri.trim_end_matches('/')).copied().unwrap_or(0);
    let figures = shares.iter().map(|(uri, share)| format!("{uri} {share} %")).collect::<Vec<_>>().join(", ");
    let (created, ready) = (status_of(view, "latestCreatedRevision"), status_of(view, "latestReadyRevision"));
    let is_all_good = share(&plan.good_uri) == 100 && share(&plan.bad_uri) == 0;
    if is_all_good && (is_canary || created == ready) {
        return Serving::Ready;
    }
    let failed = revision(view, created)
        .filter(|revision| source_uri(revision, "/metadata").is_some_and(|uri| is_same(uri, &plan.good_uri)))
        .and_then(|revision| {
            conditions(revision).find(|(kind, status, _)| *kind == "Ready" && *status == "False")
        });
    if let Some((_, _, told)) = failed {
        let why =
            format!("revision {created} is not ready: {told}; traffic: {figures}; {}", kserve_says(view));
        let is_load = text(&view.service, "/status/modelStatus/transitionStatus") == "BlockedByFailedLoad";
        return if is_load { Serving::Failed(why) } else { Serving::Hung(why) };
    }
    // A revision calls itself not ready only once its deadline is over, which is ten minutes: its pods say it before. A canary's stop
    // does not depend on them.
    let of_created = |pod: &&Value| text(pod, "/metadata/labels/serving.knative.dev~1revision") == created;
    let is_stuck = |pod: &Pod<'_>| {
        !pod.is_ready && pod.trouble.is_some() && pod.uri.is_some_and(|uri| is_same(uri, &plan.good_uri))
    };
    let mut starting = view.pods.iter().filter(of_created).filter_map(Pod::read);
    if let Some(pod) = starting.find(is_stuck).filter(|_| !is_canary) {
        return does_not_start(view, &pod, &format!("revision {created} is not ready; traffic: {figures}"));
    }
    // Ready, of the good version, and yet without traffic: a percent pins it to the revision before, for ever.
    let is_pinned = number(&view.service, "/spec/predictor/canaryTrafficPercent")
        .is_some_and(|percent| percent < 100)
        && is_latest_ready(view, &plan.good_uri).is_ok()
        && share(&plan.bad_uri) > 0;
    if is_pinned {
        return Serving::Hung(format!(
            "revision {ready} is ready, and canaryTrafficPercent keeps traffic elsewhere: {figures}; {}",
            kserve_says(view)
        ));
    }
    Serving::Waiting(format!("traffic: {}", if figures.is_empty() { "nobody knows" } else { &figures }))
}
