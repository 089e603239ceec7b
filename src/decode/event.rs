//! `CloudEvents` in structured mode: a JSON object around the body, whatever that is. KServe takes any object with an event's keys for one,
//! and so do we.

use std::borrow::Cow;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use memchr::memmem;

use super::Body;
use super::json::{Kind, Scanner};

/// The body inside of an event.
pub(super) struct Data<'a> {
    bytes: Cow<'a, [u8]>,
    media_type: Option<Cow<'a, str>>,
}

impl<'a> Data<'a> {
    /// That of an event; `None` for a body which is none. Only the keys are looked at, and of a body without the word not even those.
    pub(super) fn of(body: &Body<'a>) -> Option<Self> {
        let mut scanner = Scanner::new(body.bytes);
        if scanner.kind() != Ok(Kind::Object) || memmem::find(body.bytes, b"\"specversion\"").is_none() {
            return None;
        }
        let (mut is_event, mut bytes, mut media_type) = (false, None, None);
        scanner
            .object(|scanner, key| {
                match (&*key, scanner.kind()?) {
                    ("specversion", _) => is_event = true,
                    ("datacontenttype", Kind::Text) => {
                        media_type = Some(scanner.text()?);
                        return Ok(());
                    }
                    // CSV, for one, is a text in JSON.
                    ("data", Kind::Text) => {
                        bytes = Some(match scanner.text()? {
                            Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
                            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
                        });
                        return Ok(());
                    }
                    ("data", _) => {
                        bytes = Some(Cow::Borrowed(scanner.raw()?));
                        return Ok(());
                    }
                    ("data_base64", Kind::Text) => {
                        bytes = BASE64_STANDARD.decode(&*scanner.text()?).ok().map(Cow::Owned);
                        return Ok(());
                    }
                    _ => (),
                }
                scanner.skip().map(drop)
            })
            .ok()?;
        Some(Self { bytes: bytes.filter(|_| is_event)?, media_type })
    }

    /// As if it had come without the event.
    pub(super) fn body<'s>(&'s self, outer: &Body<'_>) -> Body<'s> {
        Body {
            bytes: &self.bytes,
            json_len: None,
            compression: None,
            media_type: self.media_type.as_deref(),
            max_inflated: outer.max_inflated,
        }
    }
}
