//! gRPC's framing: each message has a flag and its length in front.

use std::borrow::Cow;

use super::{Body, DecodeError, decode_content};

const HEAD: usize = 5;

/// Calls `each` with every message of a body, decompressed, and where it begins.
pub(super) fn messages(
    body: &Body<'_>,
    mut each: impl FnMut(&[u8], usize) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    let mut at = 0;
    let mut left = body.max_inflated;
    while at < body.bytes.len() {
        let truncated = || DecodeError::at("truncated", at);
        let (head, rest) = body.bytes[at..].split_first_chunk::<HEAD>().ok_or_else(truncated)?;
        let [flag, len @ ..] = *head;
        let len = usize::try_from(u32::from_be_bytes(len)).map_err(|_| truncated())?;
        let message = rest.get(..len).ok_or_else(truncated)?;
        let message = match flag {
            0 => Cow::Borrowed(message),
            1 => decode_content(body.compression, message, left)?,
            _ => return Err(DecodeError::at("framing", at)),
        };
        // Many messages of few bytes each may not grow without bound together.
        if flag == 1 {
            left -= message.len();
        }
        each(&message, at + HEAD)?;
        at += HEAD + len;
    }
    Ok(())
}
