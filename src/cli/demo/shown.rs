//! What the story says of a report.

use crate::pipeline::Report;
use crate::pipeline::report::{ChangeReport, FeatureReport, FeatureWindow, ModelReport, ModelWindow};

/// The model in its shortest window; a pod has one model.
pub fn window(report: &Report) -> Option<&ModelWindow> {
    report.models.first()?.windows.first()
}

/// What has changed in any window of a model, by how much, and why.
pub fn drifted(model: &ModelReport) -> Option<String> {
    let window = model.windows.iter().find(|window| window.is_alarm())?;
    let scores = window.drifted.iter().filter_map(|name| {
        let feature = model.features.iter().find(|feature| feature.name == *name)?;
        let of_window = feature.windows.iter().find(|of_feature| of_feature.window == window.window)?;
        Some(format!("{} {} {}", feature.role.as_str(), feature.name, effect(of_window.change.as_ref()?)))
    });
    Some(format!(
        "{}; cause {}, window {}",
        scores.collect::<Vec<_>>().join(", "),
        window.cause.unwrap_or("?"),
        window.window
    ))
}

/// How far the rows since a change are from the baseline.
fn effect(change: &ChangeReport) -> String {
    let rows = change.rows_since;
    if let (Some(breach), Some(share)) = (change.breach, change.breach_share) {
        return format!("{:.0} % {} in {rows} rows", 100.0 * share, breach.replace('_', " "));
    }
    let ks = change.ks.map_or_else(String::new, |ks| format!(" KS {ks:.2}"));
    format!("PSI {:.2}{ks} in {rows} rows", change.psi.unwrap_or(f64::NAN))
}

/// The feature nearest to drift in the shortest window.
pub fn worst(report: &Report) -> String {
    let Some(model) = report.models.first() else { return String::new() };
    let scored = model.features.iter().filter_map(|feature| Some((feature, feature.windows.first()?)));
    let psi = |window: &FeatureWindow| window.scores.as_ref().map_or(0.0, |scores| scores.psi);
    let worst = scored.max_by(|(_, a), (_, b)| psi(a).total_cmp(&psi(b)));
    worst.map_or_else(String::new, |(feature, window)| {
        format!("no drift; largest score {} on {} rows", scores(feature, window), window.samples)
    })
}

fn scores(feature: &FeatureReport, window: &FeatureWindow) -> String {
    let Some(scores) = &window.scores else { return feature.name.clone() };
    let ks = scores.ks.map_or_else(String::new, |ks| format!(" KS {ks:.3}"));
    format!("{} {} PSI {:.3}{ks}", feature.role.as_str(), feature.name, scores.psi)
}
