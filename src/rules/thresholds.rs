//! Where configured thresholds stand in expressions.

use std::fmt::Write;

use super::{Settings, selector};

/// What `statistic` is above its expectation, where that is at or above the threshold: that of all columns, or a column's own.
pub fn above(settings: &Settings, prefix: &str, statistic: &str, role: Option<&str>) -> String {
    let role: Vec<_> = role.map(|role| ("role", role)).into_iter().collect();
    let series = format!("driftd:{prefix}{statistic}");
    let excess = |labels: &str, threshold: f64| {
        format!("{series}:@window@{labels} - {series}_expected:@window@{labels} >= {threshold}")
    };
    let thresholds = settings.evaluation.thresholds;
    let of_all = if statistic == "psi" { thresholds.psi } else { thresholds.ks };
    let mut own = Vec::new();
    for model in &settings.models {
        for (column, thresholds) in &model.thresholds {
            if let Some(threshold) = if statistic == "psi" { thresholds.psi } else { thresholds.ks } {
                let mut labels = vec![("feature", column.as_str())];
                labels.extend(model.version.as_deref().map(|version| ("version", version)));
                labels.extend(&role);
                own.push((selector(model, &labels), threshold));
            }
        }
    }
    let of_role = role.first().map_or(String::new(), |(label, value)| format!("{{{label}=\"{value}\"}}"));
    let mut text = excess(&of_role, of_all);
    if !own.is_empty() {
        let excluded: Vec<_> = own.iter().map(|(labels, _)| format!("{series}:@window@{labels}")).collect();
        let _infallible = write!(text, "\n            unless ({})", excluded.join(" or "));
    }
    for (labels, threshold) in &own {
        let _infallible = write!(text, "\n            or {}", excess(labels, *threshold));
    }
    text
}

/// With `evaluation.min_features`: features alone make no alert while fewer of them have moved.
pub fn too_few_features(settings: &Settings) -> String {
    let share = settings.evaluation.min_features;
    if share <= 0.0 {
        return String::new();
    }
    let moved = [above(settings, "", "psi", Some("feature")), above(settings, "", "ks", Some("feature"))];
    format!(
        "
          unless on (namespace, inferenceservice, model, version, role) (
            count by (namespace, inferenceservice, model, version, role) (
              max by (namespace, inferenceservice, model, version, feature, role) (
                {}
                or
                {}
              )
            )
            < {share} * count by (namespace, inferenceservice, model, version, role)
            (max by (namespace, inferenceservice, model, version, feature, role) (driftd:psi:@window@{{role=\"feature\"}}))
          )",
        moved[0], moved[1]
    )
}
