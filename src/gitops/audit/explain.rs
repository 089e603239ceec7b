//! One incident in words: what was known, what each gate said, what was done, and what came of it.

use super::super::incident::{CommitRecord, Incident, Plan, Timestamp};
use super::super::journal::Event;
use super::{Times, origin, seconds};

/// The whole of it. Every figure is the journal's: nothing is asked of anybody.
pub fn explain(incident: &Incident, events: &[Event]) -> String {
    let mut text = head(incident);
    section(&mut text, "Why it began", &why(incident));
    let plan = incident.plan.as_ref();
    section(&mut text, "What was known", &plan.map_or_else(Vec::new, known));
    let evidence = incident.evidence.iter().map(|(question, answer)| format!("{question}: {answer}"));
    section(&mut text, "What Prometheus and the others said", &evidence.collect::<Vec<_>>());
    section(&mut text, "What the gates said", &gates(incident));
    section(&mut text, "What was done", &done(incident));
    section(&mut text, "How long it took", &took(incident));
    section(&mut text, "What happened", &timeline(events));
    text
}

fn head(incident: &Incident) -> String {
    let action = incident.action().map_or_else(String::new, |action| format!(", {action}"));
    format!(
        "Incident {}{action}: {} is {}\n  {}\n",
        incident.id, incident.service, incident.state, incident.reason
    )
}

fn section(text: &mut String, title: &str, lines: &[String]) {
    if lines.is_empty() {
        return;
    }
    text.extend(["\n", title, "\n"]);
    for line in lines.iter().flat_map(|line| line.lines()) {
        text.extend(["  ", line, "\n"]);
    }
}

fn why(incident: &Incident) -> Vec<String> {
    let mut lines = vec![origin(incident)];
    if !incident.version.is_empty() {
        lines.push(format!("accused: version {}", incident.version));
    }
    for accusation in &incident.accusations {
        lines.push(format!(
            "{} since {}, came {} (first {}, last {}), fingerprint {}",
            accusation.name,
            moment(accusation.starts_at),
            times(accusation.n_seen),
            moment(accusation.first_seen),
            moment(accusation.last_seen),
            accusation.fingerprint,
        ));
        let labels = accusation.labels.iter().map(|(name, value)| format!("{name}={value:?}"));
        lines.push(format!("  {{{}}}", labels.collect::<Vec<_>>().join(", ")));
    }
    lines
}

/// The snapshot of what the decision rests on.
fn known(plan: &Plan) -> Vec<String> {
    let verified = if plan.is_verified { "has served well" } else { "has no verdict of ours" };
    let mut lines = vec![
        format!("file {}, document {}, found by {}", plan.file, plan.document, plan.found_by),
        format!("read at {}", plan.tip),
        format!(
            "accused: {} ({}), came with {} at {}",
            plan.bad_uri,
            plan.component,
            plan.introduced_by,
            moment(plan.introduced_at)
        ),
        format!("good: {}, came with {}; it {verified}", plan.good_uri, or_nothing(&plan.good_commit)),
    ];
    for edit in &plan.edits {
        lines.push(format!("{}: {} → {}", edit.path, edit.from, edit.to));
    }
    for other in &plan.coupled {
        lines.push(format!("changed together with it: {other}"));
    }
    lines
}

fn gates(incident: &Incident) -> Vec<String> {
    let width = incident.gates.iter().map(|answer| answer.gate.len()).max().unwrap_or_default();
    let line = |passes: bool, gate: &str, why: &str| {
        let answer = if passes { "yes" } else { "NO " };
        format!("{answer}  {gate:width$}  {why}")
    };
    incident.gates.iter().map(|answer| line(answer.passes, &answer.gate, &answer.why)).collect()
}

fn done(incident: &Incident) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(by) = &incident.approved_by {
        lines.push(format!("approved by {by}"));
    }
    if let Some(pull_request) = &incident.pull_request {
        lines.push(format!("pull request {} ({})", pull_request.url, pull_request.branch));
    }
    let mut commit = |what: &str, record: &CommitRecord| {
        lines.push(format!(
            "{what} {} on {}, pushed {}, {}",
            record.commit,
            record.parent,
            moment(record.pushed_at),
            record.id
        ));
        lines.extend(record.diff.lines().map(|line| format!("    {line}")));
    };
    if let Some(record) = &incident.commit {
        commit("commit", record);
    }
    if let Some(record) = &incident.cleanup {
        commit("clean-up", record);
    }
    lines
}

fn took(incident: &Incident) -> Vec<String> {
    let times = Times::of(incident);
    let of = [
        ("alert → pushed", times.pushed_seconds),
        ("alert → serving", times.serving_seconds),
        ("alert → recovered", times.recovered_seconds),
    ];
    of.iter().filter_map(|(what, took)| Some(format!("{what:17}  {}", seconds((*took)?)))).collect()
}

/// What happened, a line an event, with the time since the first.
pub fn timeline(events: &[Event]) -> Vec<String> {
    let Some(first) = events.first() else { return Vec::new() };
    let line = |event: &Event| {
        let since = (event.at - first.at).to_std().unwrap_or_default().as_secs_f64();
        let (state, reason) = (event.incident.state.as_str(), &event.incident.reason);
        let note = if event.note == *reason { String::new() } else { format!(" [{}]", event.note) };
        format!("{}  +{:<11}  {state:17}  {reason}{note}", moment(event.at), seconds(since))
    };
    events.iter().map(line).collect()
}

fn moment(at: Timestamp) -> String {
    at.format("%FT%T%.3fZ").to_string()
}

fn times(n: u64) -> String {
    if n == 1 { "once".to_owned() } else { format!("{n} times") }
}

fn or_nothing(commit: &str) -> &str {
    if commit.is_empty() { "a commit that is not known" } else { commit }
}
