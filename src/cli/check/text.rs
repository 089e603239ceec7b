//! A report in words: tables for a terminal and for Markdown.

use super::push;
use crate::baseline::Baseline;
use crate::check::{CheckReport, ColumnReport};
use crate::cli::draw::{self, bars, heights};

/// Columns of a tiny histogram.
const N_BARS: usize = 12;

/// The report in a line.
pub(super) fn headline(report: &CheckReport) -> String {
    let model = match (&report.model, &report.version) {
        (Some(model), Some(version)) => format!(" of {model} {version}"),
        (Some(model), None) => format!(" of {model}"),
        _ => String::new(),
    };
    let verdict = match (report.verdict, report.cause) {
        ("no_data", _) => "too few rows to tell".to_owned(),
        (verdict, Some(cause)) if verdict != cause => format!("{verdict}, cause {cause}"),
        (verdict, _) => verdict.to_owned(),
    };
    let n_alarms = report.columns.iter().filter(|column| column.is_alarm()).count();
    let columns = if n_alarms > 0 {
        format!(" in {n_alarms} of {} columns", report.columns.len())
    } else {
        String::new()
    };
    format!("{} rows against a baseline{model} of {}: {verdict}{columns}", report.rows, report.baseline_rows)
}

/// What is unexpected, in a line; empty if nothing is.
pub(super) fn unexpected(report: &CheckReport) -> String {
    if report.unexpected.is_empty() {
        return String::new();
    }
    format!(
        "Columns that the baseline does not know (leave them out with --ignore): {}",
        report.unexpected.join(", ")
    )
}

/// Both shares, if they are not both 0.
fn change_of([before, now]: [f64; 2]) -> String {
    if before == 0.0 && now == 0.0 {
        String::new()
    } else {
        format!("{:.1} → {:.1} %", 100.0 * before, 100.0 * now)
    }
}

fn number(value: Option<f64>) -> String {
    value.map_or_else(String::new, |value| format!("{value:.4}"))
}

/// What another tool says, in words.
pub(super) fn peer(column: &ColumnReport) -> String {
    let score = |score: &crate::check::convention::PeerScore| {
        let about = if score.approximate { "≈ " } else { "" };
        let drift = match score.drift {
            Some(true) => " drift",
            _ => "",
        };
        format!("{} {about}{:.6}{drift}", score.statistic, score.value)
    };
    column.peer.iter().map(score).collect::<Vec<_>>().join(", ")
}

/// For a terminal.
pub(super) fn table(report: &CheckReport, baseline: &Baseline) -> String {
    let header = [
        "", "role", "verdict", "PSI", "expected", "KS", "JS", "W1/sd", "missing", "other", "baseline", "now",
        "",
    ];
    let mut table = draw::table(header);
    for column in &report.columns {
        let scores = column.scores;
        let Some(feature) = baseline.find(column.role, &column.name) else { continue };
        let shape = |counts| bars(&heights(feature.reference().bins(), counts, N_BARS));
        let mut why = column.reason.clone().unwrap_or_default();
        if !column.peer.is_empty() {
            push(&mut why, format_args!(" [{}]", peer(column)));
        }
        table.add_row([
            column.name.clone(),
            column.role.as_str().to_owned(),
            column.verdict.to_owned(),
            number(scores.map(|scores| scores.psi)),
            number(scores.map(|scores| scores.psi_null)),
            number(scores.and_then(|scores| scores.ks)),
            number(scores.map(|scores| scores.js)),
            number(scores.and_then(|scores| scores.wasserstein)),
            change_of(column.missing),
            change_of(column.other),
            shape(feature.counts()),
            shape(column.fine_counts()),
            why.trim().to_owned(),
        ]);
    }
    let mut text = format!("{}\n{table}", headline(report));
    let line = unexpected(report);
    if !line.is_empty() {
        push(&mut text, format_args!("\n{line}"));
    }
    text
}

/// For a comment: what is not ok, and the rest folded away.
pub(super) fn markdown(report: &CheckReport) -> String {
    let mut text = format!("**driftd: {}**\n", headline(report));
    let line = unexpected(report);
    if !line.is_empty() {
        push(&mut text, format_args!("\n{}\n", in_cell(&line)));
    }
    let (ok, told): (Vec<_>, Vec<_>) = report.columns.iter().partition(|column| column.reason.is_none());
    if !told.is_empty() {
        text += "\n";
        text += &rows(&told);
    }
    if !ok.is_empty() {
        push(
            &mut text,
            format_args!(
                "\n<details><summary>{} columns without a finding</summary>\n\n{}\n</details>\n",
                ok.len(),
                rows(&ok)
            ),
        );
    }
    text.truncate(text.trim_end().len());
    text
}

fn rows(columns: &[&ColumnReport]) -> String {
    let has_peer = columns.iter().any(|column| !column.peer.is_empty());
    let mut text = "| column | role | verdict | PSI | expected | KS | JS | missing | why |".to_owned();
    text += if has_peer { " peer |\n" } else { "\n" };
    text += "|---|---|---|--:|--:|--:|--:|--:|---|";
    text += if has_peer { "---|\n" } else { "\n" };
    for column in columns {
        let scores = column.scores;
        let cells = [
            in_cell(&column.name),
            column.role.as_str().to_owned(),
            column.verdict.to_owned(),
            number(scores.map(|scores| scores.psi)),
            number(scores.map(|scores| scores.psi_null)),
            number(scores.and_then(|scores| scores.ks)),
            number(scores.map(|scores| scores.js)),
            change_of(column.missing),
            in_cell(column.reason.as_deref().unwrap_or_default()),
        ];
        push(&mut text, format_args!("| {} |", cells.join(" | ")));
        if has_peer {
            push(&mut text, format_args!(" {} |", in_cell(&peer(column))));
        }
        text.push('\n');
    }
    text
}

/// Names come from data: nothing in them may end a cell or become a tag.
fn in_cell(text: &str) -> String {
    super::escape(text).replace('|', "\\|").replace('\n', " ").replace('`', "\\`")
}
