//! A commit's message, with trailers that are one line each whatever is in them.

use std::fmt::Write;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

/// A trailer for people at most, in bytes.
const MAX_SHOWN_BYTES: usize = 256;
/// From these an action is read back, so they are never cut.
const READ_BACK: [&str; 11] = [
    "Drift-Action",
    "Drift-Action-Id",
    "Drift-Target",
    "Drift-From-Uri",
    "Drift-To-Uri",
    "Drift-Bad-Commit",
    "Drift-Good-Commit",
    "Drift-File",
    "Drift-Field",
    "Drift-From-Percent",
    "Drift-Recipe",
];
/// What would end a line, in any reading of the word.
const UNSAFE: &AsciiSet = &CONTROLS.add(0x7F);

/// Subject, body, trailers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// At most 72 characters.
    pub subject: String,
    /// Plain sentences.
    pub body: String,
    /// Name and value.
    pub trailers: Vec<(&'static str, String)>,
}

impl Message {
    /// As Git keeps it.
    pub fn text(&self) -> String {
        let mut text = format!("{}\n\n{}\n\n", line(&self.subject), paragraph(&self.body));
        for (name, value) in &self.trailers {
            let _ = writeln!(text, "{name}: {}", value_of(name, value)); // to a string: cannot fail
        }
        text
    }

    /// For a pull request: the body, why a person is asked, and the trailers.
    pub fn description(&self, why: &str) -> String {
        let mut text =
            format!("{}\n\nA person decides, because {}.\n\n```\n", paragraph(&self.body), line(why));
        for (name, value) in &self.trailers {
            let _ = writeln!(text, "{name}: {}", value_of(name, value));
        }
        text.push_str("```\n");
        text
    }
}

fn line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").chars().filter(|char| !char.is_control()).collect()
}

/// A line that looks like a trailer would be one where it stands in the last paragraph; it does not.
fn paragraph(text: &str) -> String {
    text.lines().map(line).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
}

fn value_of(name: &str, text: &str) -> String {
    let mut value = encoded(text.trim());
    if READ_BACK.contains(&name) {
        return value;
    }
    // It encodes what is not ASCII too, so any place is between two characters.
    let mut end = value.len().min(MAX_SHOWN_BYTES);
    // Not within `%0A`.
    if let Some(percent) = value[..end].rfind('%').filter(|percent| percent + 3 > end) {
        end = percent;
    }
    value.truncate(end);
    value
}

/// One line of printable ASCII, from which [`decoded`] makes the same text again.
fn encoded(text: &str) -> String {
    let mut pieces = text.split('%');
    let mut encoded: String =
        pieces.next().map(|piece| utf8_percent_encode(piece, UNSAFE)).into_iter().flatten().collect();
    for piece in pieces {
        // "95 % of rows" stays as people write it; `a%20b`, which reads as encoded, does not.
        let is_code = piece.len() >= 2 && piece.bytes().take(2).all(|byte| byte.is_ascii_hexdigit());
        encoded.push_str(if is_code { "%25" } else { "%" });
        encoded.extend(utf8_percent_encode(piece, UNSAFE));
    }
    encoded
}

/// A trailer's value as it was before it was written there.
pub(super) fn decoded(value: &str) -> String {
    percent_decode_str(value).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_value_cannot_begin_a_trailer_of_its_own() {
        let message = Message {
            subject: "rollback(model): a\nb".into(),
            body: "One.\n\nTwo.".into(),
            trailers: vec![("Drift-Reason", "x\nDrift-To-Uri: s3://evil\u{2028}y".into())],
        };
        let text = message.text();
        assert!(text.starts_with("rollback(model): a b\n\nOne.\nTwo.\n\n"), "{text}");
        assert_eq!(text.lines().last(), Some("Drift-Reason: x%0ADrift-To-Uri: s3://evil%E2%80%A8y"));
    }

    proptest! {
        #[test]
        fn any_value_is_one_line_and_short_or_whole(text in "\\PC*|.*|.{300,600}|(%|%25|%0a|[0-9a-f]|é|\n){0,9}") {
            let is_line = |value: &str| value.bytes().all(|byte| (0x20..0x7F).contains(&byte));
            let shown = value_of("Drift-Reason", &text);
            prop_assert!(shown.len() <= MAX_SHOWN_BYTES && is_line(&shown));
            let read_back = value_of("Drift-From-Uri", &text);
            prop_assert!(is_line(&read_back));
            prop_assert_eq!(decoded(&read_back), text.trim());
        }
    }
}
