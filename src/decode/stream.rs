//! Server-sent events: each with JSON behind `data:`.

use std::ops::Range;

use super::Body;

/// Whether a body is a stream of them; some servers say nothing of its type.
pub(super) fn is_stream(body: &Body<'_>) -> bool {
    body.is_of_type("text/event-stream") || body.bytes.trim_ascii_start().starts_with(b"data:")
}

/// Where the data of each event stand, without the `[DONE]` that some streams end with.
pub(super) fn events<'a>(body: &Body<'a>) -> impl Iterator<Item = Range<usize>> + use<'a> {
    const FIELD: &[u8] = b"data:";
    let mut at = 0;
    body.bytes.split_inclusive(|byte| *byte == b'\n').filter_map(move |line| {
        let start = at;
        at += line.len();
        let data = line.strip_prefix(FIELD)?.trim_ascii();
        (!data.is_empty() && data != b"[DONE]").then_some(start + FIELD.len()..at)
    })
}
