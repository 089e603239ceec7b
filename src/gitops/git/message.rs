//! A commit's message, with trailers that are one line each whatever is in them.

use std::fmt::Write;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

/// A trailer's value at most, in bytes.
pub(super) const MAX_VALUE_BYTES: usize = 256;
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
            let _ = writeln!(text, "{name}: {}", value_of(value)); // to a string: cannot fail
        }
        text
    }

    /// For a pull request: the body, why a person is asked, and the trailers.
    pub fn description(&self, why: &str) -> String {
        let mut text =
            format!("{}\n\nA person decides, because {}.\n\n```\n", paragraph(&self.body), line(why));
        for (name, value) in &self.trailers {
            let _ = writeln!(text, "{name}: {}", value_of(value));
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

fn value_of(text: &str) -> String {
    let mut value = utf8_percent_encode(text.trim(), UNSAFE).to_string();
    // It encodes what is not ASCII too, so any place is between two characters.
    let mut end = value.len().min(MAX_VALUE_BYTES);
    // Not within `%0A`.
    if let Some(percent) = value[..end].rfind('%').filter(|percent| percent + 3 > end) {
        end = percent;
    }
    value.truncate(end);
    value
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
        fn any_value_is_one_short_line(value in "\\PC*|.*|.{300,600}") {
            let value = value_of(&value);
            prop_assert!(value.len() <= MAX_VALUE_BYTES && value.bytes().all(|byte| (0x20..0x7F).contains(&byte)));
        }
    }
}
