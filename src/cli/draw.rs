//! What several subcommands print: tables, numbers, shapes of distributions.

use comfy_table::presets::NOTHING;
use comfy_table::{ContentArrangement, Table};

use crate::drift::Histogram;
use crate::drift::score::Bins;

/// A table without lines.
pub(super) fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Disabled).set_header(header);
    table
}

/// Four significant digits.
pub(super) fn short(number: f64) -> String {
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

/// The shape of a column in so many bars: numbers over equal parts of the baseline's range, categories one a
/// bar, then what is missing and what is another.
pub(super) fn heights(bins: &Bins, histogram: &Histogram, n_bars: usize) -> Vec<f64> {
    let counts = histogram.bins();
    match bins {
        Bins::Numeric { edges, min, max, .. } if max > min => {
            spread(edges.as_slice(), (*min, *max), counts, n_bars)
        }
        Bins::Numeric { .. } => vec![counts.iter().sum::<u64>() as f64],
        Bins::Categorical { .. } => {
            let shown = counts.len().min(n_bars.saturating_sub(2));
            let rest = counts[shown..].iter().sum::<u64>() + histogram.other();
            let all = counts[..shown].iter().copied().chain([histogram.missing(), rest]);
            all.map(|count| count as f64).collect()
        }
    }
}

/// Bars of text, an eighth of a line the least.
pub(super) fn bars(heights: &[f64]) -> String {
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

/// Counts over the fine bins as counts over `n_bars` equal parts of the range, each bin spread evenly over its width.
fn spread(edges: &[f64], (min, max): (f64, f64), counts: &[u64], n_bars: usize) -> Vec<f64> {
    let width = (max - min) / n_bars as f64;
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
                f64::from(u8::from(from <= low && (low < to || at + 1 == n_bars)))
            }
        };
        bins().map(|(low, high, count)| count * share((low, high))).sum()
    };
    (0..n_bars).map(bar).collect()
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
        let heights = spread(&[4.0, 8.0], (0.0, 16.0), &[8, 0, 8], 16);
        assert_eq!(heights[..8], [2.0, 2.0, 2.0, 2.0, 0.0, 0.0, 0.0, 0.0]);
        assert_eq!(heights[8..], [1.0; 8]);
    }
}
