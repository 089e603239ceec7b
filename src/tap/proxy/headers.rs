//! Hop-by-hop headers (RFC 9110 §7.6.1): what belongs to one connection is not forwarded to the next.

use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Version};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// Whether a request asks to leave HTTP (RFC 9110 §7.8).
pub(super) fn wants_upgrade(version: Version, headers: &HeaderMap) -> bool {
    version == Version::HTTP_11
        && headers.contains_key(UPGRADE)
        && names_in_connection(headers).any(|n| is(n, UPGRADE))
}

/// Leaves what is meant for the other side, in the order in which it came.
///
/// `Transfer-Encoding` stays where it was: hyper takes the `chunked` off and puts it on again, and codings under it
/// are part of the bytes that we pass on. With `keep_upgrade` the offer or acceptance of an upgrade stays. `TE:
/// trailers` stays, as we forward trailers; other values of `TE` are about the connection.
pub(super) fn strip_hop_by_hop(headers: &mut HeaderMap, keep_upgrade: bool) {
    let framed_twice = headers.contains_key(TRANSFER_ENCODING) && headers.contains_key(CONTENT_LENGTH);
    if !framed_twice && !headers.keys().any(is_hop_by_hop) {
        return;
    }
    let named: Vec<HeaderName> = names_in_connection(headers)
        .filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok())
        .collect();
    let wants_trailers = values(headers, TE).any(|value| is(value, "trailers"));
    let connection = match (keep_upgrade, wants_trailers && headers.contains_key(CONNECTION)) {
        (true, true) => Some(HeaderValue::from_static("upgrade, te")),
        (true, false) => Some(HeaderValue::from_static("upgrade")),
        (false, true) => Some(HeaderValue::from_static("te")),
        (false, false) => None,
    };
    // Rebuilt rather than removed from: `HeaderMap::remove` moves the last header into the gap.
    let mut kept = HeaderMap::with_capacity(headers.len());
    let mut current = None;
    for (name, value) in headers.drain() {
        let starts = name.is_some();
        if starts {
            current = name;
        }
        let Some(name) = &current else { continue };
        let replacement = match name {
            &CONNECTION if starts => connection.clone(),
            &TE if starts && wants_trailers => Some(HeaderValue::from_static("trailers")),
            &UPGRADE if keep_upgrade => Some(value),
            // RFC 9112 §6.3: the coding overrides the length, and a proxy takes the length away.
            &CONTENT_LENGTH if framed_twice => None,
            _ if is_hop_by_hop(name) => None,
            // Framing is not the caller's to take away, whatever it lists.
            &TRANSFER_ENCODING | &CONTENT_LENGTH | &HOST => Some(value),
            _ if named.contains(name) => None,
            _ => Some(value),
        };
        if let Some(value) = replacement {
            kept.append(name, value);
        }
    }
    *headers = kept;
}

fn is_hop_by_hop(name: &HeaderName) -> bool {
    matches!(*name, CONNECTION | TE | UPGRADE) || name == KEEP_ALIVE || name == PROXY_CONNECTION
}

fn names_in_connection(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    values(headers, CONNECTION)
}

/// The members of a comma-separated field, over all its lines.
fn values(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|line| line.split(','))
        .map(str::trim)
        .filter(|member| !member.is_empty())
}

fn is(member: &str, name: impl AsRef<str>) -> bool {
    member.eq_ignore_ascii_case(name.as_ref())
}
