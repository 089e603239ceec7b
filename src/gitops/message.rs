//! What a commit says: a subject for people, two sentences why, and trailers from which everything can be read back.

use std::collections::BTreeSet;

use super::decide::short;
use super::git::Message;
use super::incident::{Incident, Origin, Plan, Recipe};
use crate::baseline::source::version_of;

/// Which of an action's commits it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// It moves traffic.
    Traffic,
    /// It takes away what a stopped canary has left.
    CleanUp,
}

/// Longest subject that Git's tools show whole.
const MAX_SUBJECT: usize = 72;

/// Of this incident's commit.
pub fn of(cluster: &str, incident: &Incident, plan: &Plan, purpose: Purpose) -> Message {
    let good = version_of(&plan.good_uri);
    // As its pods call it, where somebody has given it a name of its own.
    let bad = match &*incident.version {
        "" => version_of(&plan.bad_uri),
        version => version.to_owned(),
    };
    let service = &incident.service;
    let (kind, subject, body, number) = match purpose {
        Purpose::Traffic => (
            "rollback",
            format!("rollback(model): {service} {bad} → {good}"),
            format!("{}\n{}", why(incident, plan), what(plan)),
            1,
        ),
        Purpose::CleanUp => (
            "cleanup",
            format!("cleanup(model): {service} without the stopped canary"),
            format!(
                "The canary of {bad} gets no traffic since {}.\nWhat it left in the manifest is removed.",
                plan.action.of_commit(1)
            ),
            2,
        ),
    };
    let mut trailers = vec![
        ("Drift-Action", kind.to_owned()),
        ("Drift-Action-Id", plan.action.of_commit(number)),
        ("Drift-Target", format!("{cluster}/{service}/{}", plan.component)),
        ("Drift-From-Uri", plan.bad_uri.clone()),
        ("Drift-To-Uri", plan.good_uri.clone()),
        ("Drift-From-Version", bad),
        ("Drift-To-Version", good),
        ("Drift-Bad-Commit", plan.introduced_by.clone()),
    ];
    let recipe = match plan.recipe {
        Recipe::Uri => "uri",
        Recipe::KnativeCanary => "knative_canary",
        Recipe::StandardCanary => "standard_canary",
    };
    trailers.push(("Drift-File", plan.file.clone()));
    trailers.extend(plan.edits.iter().map(|edit| ("Drift-Field", edit.path.clone())));
    if let (Recipe::KnativeCanary | Recipe::StandardCanary, Some(percent)) = (plan.recipe, plan.edits.first())
    {
        trailers.push(("Drift-From-Percent", percent.from.clone()));
    }
    trailers.push(("Drift-Recipe", recipe.to_owned()));
    if !plan.good_commit.is_empty() {
        trailers.push(("Drift-Good-Commit", plan.good_commit.clone()));
    }
    trailers.push(("Drift-Reason", reason(incident)));
    for accusation in &incident.accusations {
        let since = accusation.starts_at.format("%FT%TZ");
        trailers.push((
            "Drift-Alert",
            format!("{} fp={} firing-since={since}", accusation.name, accusation.fingerprint),
        ));
    }
    if let Some(evidence) = incident.evidence.get("confirmed") {
        trailers.push(("Drift-Evidence", evidence.clone()));
    }
    match &incident.origin {
        Origin::Person { by, .. } => trailers.push(("Drift-Requested-By", by.clone())),
        Origin::Alert | Origin::TakeOver => (),
    }
    if let Some(by) = &incident.approved_by {
        trailers.push(("Drift-Approved-By", by.clone()));
    }
    Message { subject: cut(subject), body, trailers }
}

fn cut(subject: String) -> String {
    match subject.char_indices().nth(MAX_SUBJECT - 1) {
        Some((end, _)) if subject.chars().count() > MAX_SUBJECT => format!("{}…", &subject[..end]),
        _ => subject,
    }
}

fn why(incident: &Incident, plan: &Plan) -> String {
    let came = format!("{} came with {}", plan.bad_uri, short(&plan.introduced_by));
    match &incident.origin {
        Origin::Person { by, reason, .. } if reason.is_empty() => {
            format!("{came}; {by} asked for its rollback.")
        }
        Origin::Person { by, reason, .. } => format!("{came}; {by} asked for its rollback: {reason}."),
        Origin::Alert | Origin::TakeOver => {
            let name = incident.accusations.first().map_or("an alert", |accusation| &*accusation.name);
            format!("{came} and is accused by {name}.")
        }
    }
}

fn what(plan: &Plan) -> &'static str {
    match plan.recipe {
        Recipe::Uri => "This puts an earlier version back, and changes nothing else.",
        Recipe::KnativeCanary => {
            "This leads all traffic to the stable version; a second commit drops the percent once that is safe."
        }
        Recipe::StandardCanary => {
            "This leads all traffic to the stable version; a second commit removes the canary."
        }
    }
}

fn reason(incident: &Incident) -> String {
    match &incident.origin {
        Origin::Person { reason, .. } if reason.is_empty() => "asked for".to_owned(),
        Origin::Person { reason, .. } => reason.clone(),
        Origin::Alert | Origin::TakeOver => {
            // One alert may accuse by several windows.
            let names: BTreeSet<&str> =
                incident.accusations.iter().map(|accusation| &*accusation.name).collect();
            names.into_iter().collect::<Vec<_>>().join(", ")
        }
    }
}
