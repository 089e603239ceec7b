//! The alerts as Grafana manages them: made from the text of the rules, so that there is one source.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Settings, joined, quoted};
use crate::config::HumanDuration;

const HEAD: &str = include_str!("grafana.yaml");
/// Grafana's scheduler has no shorter interval.
const SHORTEST: Duration = Duration::from_secs(10);
/// Of groups that name none.
const INTERVAL: Duration = Duration::from_mins(1);
/// The data source's `uid`.
const DATA_SOURCE: &str = "prometheus";

#[derive(Deserialize)]
struct File {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    name: String,
    interval: Option<HumanDuration>,
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
struct Rule {
    alert: Option<String>,
    expr: String,
    #[serde(rename = "for")]
    hold: Option<HumanDuration>,
    keep_firing_for: Option<HumanDuration>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

/// A file for `provisioning/alerting`.
pub fn provisioning(settings: &Settings) -> String {
    let file: File = serde_saphyr::from_str(&settings.prometheus()).expect("a test reads what we write");
    let mut text = HEAD.to_owned();
    for group in &file.groups {
        let interval = group.interval.map_or(INTERVAL, |interval| interval.0).max(SHORTEST);
        let alerts: Vec<_> =
            group.rules.iter().filter_map(|rule| Some((rule.alert.as_deref()?, rule))).collect();
        if alerts.is_empty() {
            continue;
        }
        let _infallible = write!(
            text,
            "  - orgId: 1\n    name: {}\n    folder: driftd\n    interval: {}\n    rules:\n",
            group.name,
            HumanDuration(interval)
        );
        let mut seen = BTreeMap::<&str, usize>::new();
        for (name, rule) in alerts {
            let nth = seen.entry(name).and_modify(|n| *n += 1).or_default();
            text += &alert(name, *nth, rule, interval);
        }
    }
    text
}

fn alert(name: &str, nth: usize, rule: &Rule, interval: Duration) -> String {
    // One alert of a name has that for its `uid`, so that it stays the same when others come and go.
    let suffix = if nth == 0 { String::new() } else { format!("-{}", nth + 1) };
    let uid = format!("{}{suffix}", name.to_lowercase());
    let title = format!("{name}{suffix}");
    let hold = rule.hold.map_or(Duration::ZERO, |hold| whole_intervals(hold.0, interval));
    let keep =
        rule.keep_firing_for.map_or_else(String::new, |keep| format!("        keepFiringFor: {keep}\n"));
    let data = joined(queries(&rule.expr).iter().map(|query| format!("          - {query}\n")));
    let map = |name: &str, pairs: &BTreeMap<String, String>, change: fn(&str) -> String| {
        let line = |(key, text): (&String, &String)| format!("          {key}: {}\n", quoted(&change(text)));
        format!("        {name}:\n{}", joined(pairs.iter().map(line)))
    };
    format!(
        "      - uid: {uid}
        title: {title}
        condition: firing
        data:
{data}        noDataState: OK
        execErrState: KeepLast
        missing_series_evals_to_resolve: 1
        for: {}
{keep}{}{}",
        HumanDuration(hold),
        map("labels", &rule.labels, str::to_owned),
        map("annotations", &rule.annotations, annotation),
    )
}

/// Up to the next multiple: Grafana looks no more often.
fn whole_intervals(hold: Duration, interval: Duration) -> Duration {
    let n = hold.as_millis().div_ceil(interval.as_millis());
    interval * u32::try_from(n).unwrap_or(u32::MAX)
}

/// As Prometheus means it: whatever the query answers fires, a 0 as well.
fn queries(expr: &str) -> [Value; 3] {
    let expression = |id: &str, more: Value| {
        let mut model = json!({"refId": id, "datasource": {"type": "__expr__", "uid": "__expr__"}});
        model.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        json!({"refId": id, "datasourceUid": "__expr__", "relativeTimeRange": {"from": 0, "to": 0}, "model": model})
    };
    let query = json!({
        "refId": "query",
        "datasourceUid": DATA_SOURCE,
        "relativeTimeRange": {"from": 600, "to": 0},
        "model": {
            "refId": "query", "datasource": {"type": "prometheus", "uid": DATA_SOURCE},
            "expr": expr, "instant": true, "range": false,
        },
    });
    let answered = "is_number($query) || is_nan($query) || is_inf($query)";
    [
        query,
        expression("answered", json!({"type": "math", "expression": answered})),
        expression(
            "firing",
            json!({
                "type": "threshold", "expression": "answered",
                "conditions": [{"evaluator": {"type": "gt", "params": [0]}}],
            }),
        ),
    ]
}

/// Grafana's templates call the value of a query by its name, and cannot ask for more: what a query of a template would have
/// listed is left out.
fn annotation(text: &str) -> String {
    let text = match (text.find("{{ range "), text.find("{{ end }}")) {
        (Some(from), Some(to)) if from < to => {
            let rest = &text[to + "{{ end }}".len()..];
            format!("{}{rest}", text[..from].trim_end_matches([':', ' ']))
        }
        _ => text.to_owned(),
    };
    text.replace("$value", "$values.query.Value")
}
