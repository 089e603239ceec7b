//! A baseline as a table for people.

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, ContentArrangement, Table};

use crate::baseline::build::Decision;
use crate::baseline::feature::Moments;
use crate::baseline::{Baseline, Distribution, FeatureBaseline};
use crate::drift::score::Bins;

/// Columns of a tiny histogram.
const N_BARS: usize = 16;

/// A table without lines.
pub(super) fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Disabled).set_header(header);
    table
}

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
            bars(feature),
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
        Distribution::Numbers { moments: Moments { min, max, mean, std }, .. } => {
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

/// Four significant digits.
fn short(number: f64) -> String {
    let magnitude = number.abs();
    if !number.is_finite() {
        String::new()
    } else if number == 0.0 || (1e-3..1e6).contains(&magnitude) {
        let digits = if magnitude >= 1000.0 { 0 } else { 3 };
        let text = format!("{number:.digits$}");
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
    } else {
        format!("{number:.3e}")
    }
}

/// The shape of a feature: numbers over equal parts of their range, categories one a bar.
fn bars(feature: &FeatureBaseline) -> String {
    let counts = feature.counts().bins();
    let heights = match feature.reference().bins() {
        Bins::Numeric { edges, min, max, .. } if max > min => spread(edges.as_slice(), (*min, *max), counts),
        Bins::Numeric { .. } => vec![counts.iter().sum::<u64>() as f64],
        Bins::Categorical { .. } => counts.iter().take(N_BARS).map(|&count| count as f64).collect(),
    };
    let highest = heights.iter().copied().fold(0.0, f64::max);
    // Eighths of the highest; what is there at all shows.
    let bar = |height: &f64| {
        let eighths =
            [7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0].iter().filter(|eighth| height * 8.0 > **eighth * highest);
        if *height > 0.0 {
            ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'][eighths.count()]
        } else {
            ' '
        }
    };
    heights.iter().map(bar).collect()
}

/// Counts over the fine bins as counts over [`N_BARS`] equal parts of the range, each bin spread evenly over its width.
fn spread(edges: &[f64], (min, max): (f64, f64), counts: &[u64]) -> Vec<f64> {
    let width = (max - min) / N_BARS as f64;
    let bins = || {
        (0..counts.len()).map(|at| {
            let low = at.checked_sub(1).map_or(min, |below| edges[below]).clamp(min, max);
            (low, edges.get(at).map_or(max, |edge| *edge).clamp(min, max), counts[at] as f64)
        })
    };
    let bar = |at: usize| {
        let (from, to) = (min + at as f64 * width, min + (at + 1) as f64 * width);
        // A bin without a width (a spike, an outer bin) belongs to the part it begins in, the last one to the last.
        let share = |(low, high): (f64, f64)| {
            if high - low > width * 1e-9 {
                ((high.min(to) - low.max(from)) / (high - low)).max(0.0)
            } else {
                f64::from(u8::from(from <= low && (low < to || at + 1 == N_BARS)))
            }
        };
        bins().map(|(low, high, count)| count * share((low, high))).sum()
    };
    (0..N_BARS).map(bar).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let shown = [0.0, 1.0, 0.1234, -12.5, 999.96, 1234.4, 1e6, 1e-4, f64::NAN].map(short);
        assert_eq!(shown, ["0", "1", "0.123", "-12.5", "999.96", "1234", "1.000e6", "1.000e-4", ""]);
    }

    #[test]
    fn counts_are_spread_over_their_bins() {
        let heights = spread(&[4.0, 8.0], (0.0, 16.0), &[8, 0, 8]);
        assert_eq!(heights[..8], [2.0, 2.0, 2.0, 2.0, 0.0, 0.0, 0.0, 0.0]);
        assert_eq!(heights[8..], [1.0; 8]);
    }
}
