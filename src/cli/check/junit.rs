//! A report as a test suite: what CI systems show without being taught.

use super::{escape, push, text};
use crate::check::{CheckReport, ColumnReport};

/// A test case a column; one that is an alarm has failed, one that cannot be told was skipped.
pub(super) fn suite(report: &CheckReport) -> String {
    let columns = &report.columns;
    let is_skipped = |column: &&ColumnReport| column.verdict == "filling";
    let n_failures =
        columns.iter().filter(|column| column.is_alarm()).count() + usize::from(has_unexpected(report));
    let n_tests = columns.len() + 1;
    let n_skipped = columns.iter().filter(is_skipped).count();
    let mut xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <testsuites name=\"driftd check\" tests=\"{n_tests}\" failures=\"{n_failures}\" skipped=\"{n_skipped}\">\n\
         <testsuite name=\"{}\" tests=\"{n_tests}\" failures=\"{n_failures}\" skipped=\"{n_skipped}\" errors=\"0\">\n",
        escape(&text::headline(report))
    );
    for column in columns {
        let reason = escape(column.reason.as_deref().unwrap_or_default());
        push(
            &mut xml,
            format_args!(
                "<testcase classname=\"{}\" name=\"{}\">",
                column.role.as_str(),
                escape(&column.name)
            ),
        );
        if column.is_alarm() {
            push(&mut xml, format_args!("<failure type=\"{}\" message=\"{reason}\"/>", column.verdict));
        } else if is_skipped(&column) {
            push(&mut xml, format_args!("<skipped message=\"{reason}\"/>"));
        } else if !reason.is_empty() {
            push(&mut xml, format_args!("<system-out>{}: {reason}</system-out>", column.verdict));
        }
        xml += "</testcase>\n";
    }
    xml += "<testcase classname=\"schema\" name=\"no unexpected columns\">";
    if has_unexpected(report) {
        push(
            &mut xml,
            format_args!("<failure type=\"schema\" message=\"{}\"/>", escape(&text::unexpected(report))),
        );
    }
    xml += "</testcase>\n</testsuite>\n</testsuites>";
    xml
}

/// Whether unknown columns are more than an accident: then the verdict is theirs too.
fn has_unexpected(report: &CheckReport) -> bool {
    report.verdict == "schema" && !report.unexpected.is_empty()
}
