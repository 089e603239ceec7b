//! A body and what its headers say of it.

use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};

/// The headers of a message that say how its body is to be read.
#[derive(Clone, Debug, Default)]
pub struct BodyHeaders {
    content_encoding: Option<HeaderValue>,
    content_type: Option<HeaderValue>,
    /// `inference-header-content-length`.
    json_len: Option<HeaderValue>,
    grpc_encoding: Option<HeaderValue>,
}

impl BodyHeaders {
    /// Those of a message.
    pub fn of(headers: &HeaderMap) -> Self {
        let get = |name: &str| headers.get(name).cloned();
        Self {
            content_encoding: headers.get(CONTENT_ENCODING).cloned(),
            content_type: headers.get(CONTENT_TYPE).cloned(),
            json_len: get("inference-header-content-length"),
            grpc_encoding: get("grpc-encoding"),
        }
    }

    /// The same where the body has a content type of its own.
    #[must_use]
    pub fn with_media_type(mut self, media_type: Option<&str>) -> Self {
        if let Some(value) = media_type.and_then(|media_type| HeaderValue::from_str(media_type).ok()) {
            self.content_type = Some(value);
        }
        self
    }

    /// `content-encoding`; a value that is no text is no encoding that is read.
    pub fn content_encoding(&self) -> Option<&str> {
        self.content_encoding.as_ref().map(|value| value.to_str().unwrap_or("?"))
    }

    /// The body they came with, its content encoding removed; compressed messages inside of it may grow to
    /// `max_inflated` bytes.
    pub fn body<'a>(&'a self, bytes: &'a [u8], max_inflated: usize) -> Body<'a> {
        let text = |value: &'a Option<HeaderValue>| value.as_ref().and_then(|value| value.to_str().ok());
        Body {
            bytes,
            json_len: text(&self.json_len).and_then(|len| len.trim().parse().ok()),
            compression: text(&self.grpc_encoding),
            media_type: text(&self.content_type),
            max_inflated,
        }
    }
}

/// One side of an exchange.
#[derive(Clone, Copy, Debug)]
pub struct Body<'a> {
    /// Without its content encoding.
    pub bytes: &'a [u8],
    /// How much of it is JSON, where binary tensors follow.
    pub json_len: Option<usize>,
    /// Of compressed gRPC messages inside of it.
    pub compression: Option<&'a str>,
    /// Its content type.
    pub media_type: Option<&'a str>,
    /// What compressed messages may grow to.
    pub max_inflated: usize,
}

impl<'a> Body<'a> {
    /// One that came without headers.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, json_len: None, compression: None, media_type: None, max_inflated: 8 * bytes.len() }
    }

    /// Whether it is an image, by its type or its first bytes.
    pub(super) fn is_image(&self) -> bool {
        const JPEG: &[u8] = b"\xff\xd8\xff";
        const PNG: &[u8] = b"\x89PNG\r\n";
        let begins = |with: &&[u8]| self.bytes.starts_with(with);
        let is_webp = self.bytes.starts_with(b"RIFF") && self.bytes.get(8..12) == Some(b"WEBP");
        let of_type = |media_type: &str| media_type.trim_start().to_ascii_lowercase().starts_with("image/");
        self.media_type.is_some_and(of_type) || is_webp || [JPEG, PNG, b"GIF8", b"BM"].iter().any(begins)
    }

    /// Whether its content type is this one, whatever its parameters.
    pub(super) fn is_of_type(&self, media_type: &str) -> bool {
        let essence = |full: &str| {
            full.split(';').next().is_some_and(|essence| essence.trim().eq_ignore_ascii_case(media_type))
        };
        self.media_type.is_some_and(essence)
    }
}
