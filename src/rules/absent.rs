//! An alert for every configured model that nobody watches: rules for any model cannot know which ought to be there.

use std::collections::BTreeSet;

use super::{Settings, quoted, selector};

/// The group; empty where no model is configured by name.
pub fn group(settings: &Settings) -> String {
    let selectors: BTreeSet<_> = settings.models.iter().map(|model| selector(model, &[])).collect();
    let rules: Vec<_> =
        selectors.iter().filter(|selector| !selector.is_empty()).map(|one| rule(one)).collect();
    if rules.is_empty() {
        return "\n".to_owned();
    }
    format!(
        "
  - name: driftd-configured
    # The models of the configuration that these rules are made for.
    rules:
{}
",
        rules.join("\n")
    )
}

fn rule(selector: &str) -> String {
    let what = selector.trim_matches(['{', '}']).replace('"', "").replace(',', ", ");
    let summary = quoted(&format!("Nobody watches the configured model with {what}"));
    format!(
        "      - alert: DriftdModelAbsent
        expr: absent(driftd_baseline_info{selector})
        for: 10m
        labels:
          severity: warning
        annotations:
          summary: {summary}
          description: No process with this model and a baseline is scraped. Fine while it is scaled to zero.
          runbook_url: docs/runbook.md#driftdmodelabsent
"
    )
}
