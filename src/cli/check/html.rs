//! A report as one page that needs nothing else: no script, no font, no picture from elsewhere.

use super::{escape, push, text};
use crate::baseline::Baseline;
use crate::check::{CheckReport, ColumnReport};
use crate::cli::draw::{heights, short};
use crate::drift::score::Bins;

/// Bars of a plot.
const N_BARS: usize = 48;
const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 120.0;

const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1c1e21;--soft:#6a7078;--line:#d9dce0;--back:#fff;--card:#f7f8f9;--base:#9aa4b0;--now:#0b62c4;--bad:#b3261e;--warn:#9a6700;--good:#1a7f37}
@media(prefers-color-scheme:dark){:root{--ink:#e6e8ea;--soft:#9aa2ab;--line:#3a3f45;--back:#16181b;--card:#1f2226;--base:#6d7782;--now:#6cb2ff;--bad:#ff8a80;--warn:#e3b341;--good:#56d364}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--back);margin:0 auto;padding:24px;max-width:1080px}
h1{font-size:22px;margin:0 0 4px}h2{font-size:16px;margin:0;overflow-wrap:anywhere}p{margin:4px 0}
.soft{color:var(--soft)}.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(320px,1fr));gap:16px;margin-top:20px}
.card{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:14px}
.tag{font-weight:600}.drift,.schema{color:var(--bad)}.warning{color:var(--warn)}.ok{color:var(--good)}
svg{width:100%;height:auto;display:block;margin:8px 0 2px}.base{fill:var(--base);opacity:.55}.now{fill:none;stroke:var(--now);stroke-width:2;stroke-linejoin:round}
table{border-collapse:collapse;font-size:13px;width:100%}td{padding:1px 8px 1px 0}td:last-child{text-align:right;font-variant-numeric:tabular-nums}
.ends{display:flex;justify-content:space-between;font-size:12px;color:var(--soft)}";

/// The page, the worst column first.
pub(super) fn page(report: &CheckReport, baseline: &Baseline) -> String {
    let headline = escape(&text::headline(report));
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <title>driftd check: {}</title><style>{STYLE}</style></head><body>\n\
         <h1>driftd check: <span class=\"tag {verdict}\">{verdict}</span></h1><p>{headline}</p>\n",
        escape(report.verdict),
        verdict = escape(report.verdict),
    );
    let unexpected = text::unexpected(report);
    if !unexpected.is_empty() {
        push(&mut html, format_args!("<p class=\"schema\">{}</p>\n", escape(&unexpected)));
    }
    html += "<p class=\"soft\">Filled: the baseline. Line: these rows. Both as shares; numbers over the range of the baseline, \
             what lies beyond it at its ends; \
             the last two of categories are missing values and all others.</p>\n<div class=\"cards\">\n";
    for column in &report.columns {
        card(&mut html, column, baseline);
    }
    html += "</div></body></html>";
    html
}

fn card(html: &mut String, column: &ColumnReport, baseline: &Baseline) {
    let Some(feature) = baseline.find(column.role, &column.name) else { return };
    push(
        html,
        format_args!(
            "<div class=\"card\"><h2>{}</h2><p><span class=\"tag {}\">{}</span> <span class=\"soft\">{} {}</span></p>",
            escape(&column.name),
            column.verdict,
            column.verdict,
            column.kind,
            column.role.as_str()
        ),
    );
    if let Some(reason) = &column.reason {
        push(html, format_args!("<p>{}</p>", escape(reason)));
    }
    let bins = feature.reference().bins();
    plot(html, &heights(bins, feature.counts(), N_BARS), &heights(bins, column.fine_counts(), N_BARS));
    if let Bins::Numeric { min, max, .. } = bins {
        push(
            html,
            format_args!(
                "<div class=\"ends\"><span>{}</span><span>{}</span></div>",
                short(*min),
                short(*max)
            ),
        );
    }
    html.push_str("<table>");
    let mut row = |name: &str, value: String| {
        push(html, format_args!("<tr><td>{}</td><td>{}</td></tr>", escape(name), escape(&value)));
    };
    row("rows", column.samples.to_string());
    if let Some(scores) = column.scores {
        row("PSI (expected without drift)", format!("{:.4} ({:.4})", scores.psi, scores.psi_null));
        for (name, value) in [
            ("Kolmogorov–Smirnov", scores.ks),
            ("Jensen–Shannon distance", Some(scores.js)),
            ("Wasserstein, baseline sd", scores.wasserstein),
            ("Hellinger", Some(scores.hellinger)),
        ] {
            if let Some(value) = value {
                row(name, format!("{value:.4}"));
            }
        }
    }
    for (name, [before, now]) in [("missing", column.missing), ("other type or category", column.other)] {
        if before > 0.0 || now > 0.0 {
            row(name, format!("{:.2} % → {:.2} %", 100.0 * before, 100.0 * now));
        }
    }
    if !column.peer.is_empty() {
        row("peer", text::peer(column));
    }
    html.push_str("</table></div>\n");
}

/// The baseline as bars, the rows as a line of steps, both of area 1.
fn plot(html: &mut String, baseline: &[f64], now: &[f64]) {
    let shares = |heights: &[f64]| {
        let total: f64 = heights.iter().sum();
        heights.iter().map(|height| if total > 0.0 { height / total } else { 0.0 }).collect::<Vec<_>>()
    };
    let (baseline, now) = (shares(baseline), shares(now));
    let highest = baseline.iter().chain(&now).copied().fold(1e-12, f64::max);
    let width = WIDTH / baseline.len().max(1) as f64;
    let y = |share: f64| HEIGHT - share / highest * (HEIGHT - 4.0);
    push(
        html,
        format_args!(
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"baseline and current distribution\">"
        ),
    );
    for (at, &share) in baseline.iter().enumerate().filter(|(_, share)| **share > 0.0) {
        let (x, top) = (at as f64 * width, y(share));
        push(
            html,
            format_args!(
                "<rect class=\"base\" x=\"{x:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\"/>",
                (width - 1.0).max(1.0),
                HEIGHT - top
            ),
        );
    }
    html.push_str("<path class=\"now\" d=\"");
    for (at, &share) in now.iter().enumerate() {
        let (from, to, top) = (at as f64 * width, (at + 1) as f64 * width, y(share));
        let begin = if at == 0 { 'M' } else { 'L' };
        push(html, format_args!("{begin}{from:.1} {top:.1}L{to:.1} {top:.1}"));
    }
    html.push_str("\"/></svg>");
}
