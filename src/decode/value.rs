//! Single JSON values of a log line: a name, a time, a body within a text.

use std::borrow::Cow;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use chrono::DateTime;

use super::json::{Kind, Scanner};
use crate::drift::Timestamp;

/// A text, or the digits of a number; `None` for anything else.
pub fn text(raw: &[u8]) -> Option<Cow<'_, str>> {
    let mut scanner = Scanner::new(raw);
    match scanner.kind().ok()? {
        Kind::Text => scanner.text().ok(),
        Kind::Number => std::str::from_utf8(raw).ok().map(Cow::Borrowed),
        Kind::Object | Kind::Array | Kind::Bool | Kind::Null => None,
    }
}

/// A body: JSON as it stands there, or what a text holds, plain or in base64. No body of ours that is JSON or CSV is of base64's
/// letters alone.
pub fn body(raw: &[u8]) -> Cow<'_, [u8]> {
    let mut scanner = Scanner::new(raw);
    let text = match scanner.kind() {
        Ok(Kind::Text) => scanner.text().unwrap_or_default(),
        _ => return Cow::Borrowed(raw),
    };
    match from_base64(&text) {
        Some(bytes) => Cow::Owned(bytes),
        None => match text {
            Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
        },
    }
}

/// The bytes that a text stands for, if it is base64.
pub fn from_base64(text: &str) -> Option<Vec<u8>> {
    if text.starts_with(['{', '[']) { None } else { BASE64_STANDARD.decode(text).ok() }
}

/// A time: RFC 3339, or a number since 1970.
pub fn timestamp(raw: &[u8]) -> Option<Timestamp> {
    let text = text(raw)?;
    let text = text.trim();
    text.parse().ok().map_or_else(|| rfc3339(text), since_1970)
}

/// A time like `2026-05-01T12:00:00.123Z`.
pub fn rfc3339(text: &str) -> Option<Timestamp> {
    let millis = DateTime::parse_from_rfc3339(text).ok()?.timestamp_millis();
    u64::try_from(millis).ok().map(Timestamp::from_millis)
}

/// The unit is told by the size: what is a year between 1973 and 5138 in one of them is none in the others.
fn since_1970(number: f64) -> Option<Timestamp> {
    let per_millisecond = match number {
        number if !(0.0..1e20).contains(&number) => return None,
        number if number < 1e11 => 1e-3,
        number if number < 1e14 => 1.0,
        number if number < 1e17 => 1e3,
        _ => 1e6,
    };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked above")]
    Some(Timestamp::from_millis((number / per_millisecond).floor() as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_however_they_are_written() {
        let at = |raw: &str| timestamp(raw.as_bytes()).map(Timestamp::as_millis);
        let noon = Some(1_777_636_800_123);
        for raw in [
            r#""2026-05-01T12:00:00.123Z""#,
            r#""2026-05-01T14:00:00.123456789+02:00""#,
            "1777636800.1235",
            "1777636800123",
            r#""1777636800123""#,
            "1777636800123456",
            "1777636800123456789",
        ] {
            assert_eq!(at(raw), noon, "{raw}");
        }
        for raw in ["-1", "true", r#""yesterday""#, "1e30", r#""1960-01-01T00:00:00Z""#, "NaN", "[1]"] {
            assert_eq!(at(raw), None, "{raw}");
        }
    }

    #[test]
    fn bodies_are_read_however_they_are_embedded() {
        for raw in
            [r#"{"instances": [[1]]}"#, r#""{\"instances\": [[1]]}""#, r#""eyJpbnN0YW5jZXMiOiBbWzFdXX0=""#]
        {
            assert_eq!(&*body(raw.as_bytes()), br#"{"instances": [[1]]}"#, "{raw}");
        }
        assert_eq!(&*body(br#""a,b\n1,2\n""#), b"a,b\n1,2\n");
    }
}
