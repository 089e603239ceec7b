//! A baseline as a table for people.

use comfy_table::CellAlignment;

use crate::baseline::build::Decision;
use crate::baseline::feature::Moments;
use crate::baseline::{Baseline, Distribution, FeatureBaseline};
use crate::cli::draw::{bars, heights, short, table};

/// Columns of a tiny histogram.
const N_BARS: usize = 16;

/// What a baseline says, and why columns were taken for what they are.
pub(super) fn description(baseline: &Baseline, decisions: &[Decision]) -> String {
    let mut table = table(["", "role", "kind", "missing", "from", "to", "mean", "std", "", "why"]);
    for at in [3, 4, 5, 6, 7] {
        if let Some(column) = table.column_mut(at) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    for (at, feature) in baseline.features().iter().enumerate() {
        let counts = feature.counts();
        let missing = counts.missing() as f64 / counts.total().max(1) as f64;
        let [from, to, mean, std] = range(feature);
        table.add_row([
            feature.name.clone(),
            feature.role.as_str().to_owned(),
            feature.kind().as_str().to_owned(),
            if counts.missing() == 0 { "0".to_owned() } else { format!("{:.2} %", missing * 100.0) },
            from,
            to,
            mean,
            std,
            bars(&heights(feature.reference().bins(), counts, N_BARS)),
            decisions.get(at).map_or_else(String::new, |decision| decision.why.to_string()),
        ]);
    }
    let or_unnamed = |name: Option<&str>| name.unwrap_or("(unnamed)").to_owned();
    format!(
        "model {}, version {}: {} rows\n{table}",
        or_unnamed(baseline.model()),
        or_unnamed(baseline.version()),
        baseline.rows()
    )
}

/// Smallest, largest, mean, spread; for categories the most frequent and how many there are.
fn range(feature: &FeatureBaseline) -> [String; 4] {
    match feature.distribution() {
        Distribution::Numbers { moments: Moments { min, max, mean, std }, .. }
        | Distribution::Vectors { moments: Moments { min, max, mean, std }, .. } => {
            [*min, *max, *mean, *std].map(short)
        }
        Distribution::Booleans => ["false".to_owned(), "true".to_owned(), String::new(), String::new()],
        Distribution::Categories { names, .. } => {
            let n_more = names.len().saturating_sub(1);
            let first: String = names.first().map_or("", String::as_str).chars().take(16).collect();
            [
                first,
                if n_more == 0 { String::new() } else { format!("+ {n_more}") },
                String::new(),
                String::new(),
            ]
        }
    }
}
