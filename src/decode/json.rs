//! A pull scanner over JSON text: values go from bytes to where they are wanted, and no tree is built.
//!
//! It reads what servers and clients really write, which is more than RFC 8259 allows: `NaN`, `Infinity` and
//! `-Infinity` (TF Serving, Python's `json`), a byte order mark, lone surrogates, bytes that are not UTF-8.

use std::borrow::Cow;
use std::ops::Range;

use super::DecodeError;

/// Deeper than any request nests its data; every level costs a stack frame.
pub(super) const MAX_DEPTH: u32 = 64;

/// Where a reader stands in a JSON text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// What the next value is, by its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Object,
    Array,
    Text,
    Number,
    Bool,
    Null,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        let at = if bytes.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
        Self { bytes, at }
    }

    /// A reader of one part of this text; offsets stay those of the whole.
    pub(super) fn within(&self, range: &Range<usize>) -> Self {
        Self { bytes: &self.bytes[..range.end], at: range.start }
    }

    pub(super) fn offset(&self) -> usize {
        self.at
    }

    /// That something is wrong here, though it is JSON so far.
    pub(super) fn error(&self, kind: &'static str) -> DecodeError {
        DecodeError::at(kind, self.at)
    }

    fn syntax_error(&self) -> DecodeError {
        self.error(if self.at >= self.bytes.len() { "truncated" } else { "syntax" })
    }

    /// The next byte that is not white space, not consumed.
    #[inline]
    pub(super) fn peek(&mut self) -> Result<u8, DecodeError> {
        loop {
            match self.bytes.get(self.at) {
                Some(b' ' | b'\n' | b'\t' | b'\r') => self.at += 1,
                Some(&byte) => return Ok(byte),
                None => return Err(self.error("truncated")),
            }
        }
    }

    #[inline]
    pub(super) fn kind(&mut self) -> Result<Kind, DecodeError> {
        Ok(match self.peek()? {
            b'{' => Kind::Object,
            b'[' => Kind::Array,
            b'"' => Kind::Text,
            b'-' | b'0'..=b'9' | b'N' | b'I' => Kind::Number,
            b't' | b'f' => Kind::Bool,
            b'n' => Kind::Null,
            _ => return Err(self.syntax_error()),
        })
    }

    /// Consumes `byte` if it is next.
    #[inline]
    pub(super) fn eat(&mut self, byte: u8) -> Result<bool, DecodeError> {
        let is_next = self.peek()? == byte;
        self.at += usize::from(is_next);
        Ok(is_next)
    }

    #[inline]
    pub(super) fn expect(&mut self, byte: u8) -> Result<(), DecodeError> {
        if self.eat(byte)? { Ok(()) } else { Err(self.syntax_error()) }
    }

    /// After the opening bracket (`first`) or an element: whether another element follows. Consumes the comma, or the
    /// closing bracket.
    #[inline]
    pub(super) fn more(&mut self, first: bool, close: u8) -> Result<bool, DecodeError> {
        match self.peek()? {
            byte if byte == close => {
                self.at += 1;
                Ok(false)
            }
            b',' if !first => {
                self.at += 1;
                Ok(true)
            }
            _ if first => Ok(true),
            _ => Err(self.syntax_error()),
        }
    }

    /// Calls `each` in front of every element of an array.
    #[inline]
    pub(super) fn array(
        &mut self,
        mut each: impl FnMut(&mut Self) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        self.expect(b'[')?;
        let mut first = true;
        while self.more(first, b']')? {
            first = false;
            each(self)?;
        }
        Ok(())
    }

    /// Calls `each` with every key of an object, in front of its value.
    pub(super) fn object(
        &mut self,
        mut each: impl FnMut(&mut Self, Cow<'a, str>) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        self.expect(b'{')?;
        let mut first = true;
        while self.more(first, b'}')? {
            first = false;
            let key = self.key()?;
            each(self, key)?;
        }
        Ok(())
    }

    /// A key and the colon behind it.
    pub(super) fn key(&mut self) -> Result<Cow<'a, str>, DecodeError> {
        let key = self.text()?;
        self.expect(b':')?;
        Ok(key)
    }

    /// A number, correctly rounded however many digits it has.
    #[inline]
    pub(super) fn number(&mut self) -> Result<f64, DecodeError> {
        self.peek()?;
        let rest = &self.bytes[self.at..];
        // The parser also knows `nan` and `inf`, which `kind` keeps from it unless they are spelt as below.
        if matches!(rest, [b'0'..=b'9', ..] | [b'-', b'0'..=b'9', ..]) {
            let (number, len) = fast_float2::parse_partial(rest).map_err(|_| self.syntax_error())?;
            self.at += len;
            return Ok(number);
        }
        for (word, number) in
            [("NaN", f64::NAN), ("Infinity", f64::INFINITY), ("-Infinity", f64::NEG_INFINITY)]
        {
            if rest.starts_with(word.as_bytes()) {
                self.at += word.len();
                return Ok(number);
            }
        }
        Err(self.incomplete_word(&["NaN", "Infinity", "-Infinity"]))
    }

    pub(super) fn boolean(&mut self) -> Result<bool, DecodeError> {
        match self.peek()? {
            b't' => self.word("true").map(|()| true),
            _ => self.word("false").map(|()| false),
        }
    }

    pub(super) fn null(&mut self) -> Result<(), DecodeError> {
        self.peek()?;
        self.word("null")
    }

    fn word(&mut self, word: &'static str) -> Result<(), DecodeError> {
        if !self.bytes[self.at..].starts_with(word.as_bytes()) {
            return Err(self.incomplete_word(&[word]));
        }
        self.at += word.len();
        Ok(())
    }

    /// A text that ends within a word is cut off, anything else is not JSON.
    fn incomplete_word(&self, words: &[&str]) -> DecodeError {
        let rest = &self.bytes[self.at..];
        let cut = words.iter().any(|word| word.as_bytes().starts_with(rest));
        DecodeError::at(if cut { "truncated" } else { "syntax" }, self.at)
    }

    /// A string, borrowed where it holds no escapes.
    pub(super) fn text(&mut self) -> Result<Cow<'a, str>, DecodeError> {
        let (raw, has_escapes) = self.raw_text()?;
        Ok(if has_escapes { Cow::Owned(unescape(raw)) } else { String::from_utf8_lossy(raw) })
    }

    /// The bytes between the quotes, and whether there are escapes among them.
    #[inline]
    fn raw_text(&mut self) -> Result<(&'a [u8], bool), DecodeError> {
        self.expect(b'"')?;
        let (start, mut has_escapes) = (self.at, false);
        loop {
            let Some(found) = memchr::memchr2(b'"', b'\\', &self.bytes[self.at..]) else {
                self.at = self.bytes.len();
                return Err(self.error("truncated"));
            };
            self.at += found;
            if self.bytes[self.at] == b'"' {
                self.at += 1;
                return Ok((&self.bytes[start..self.at - 1], has_escapes));
            }
            has_escapes = true;
            self.at = (self.at + 2).min(self.bytes.len());
        }
    }

    /// Passes over a value and says where it stood.
    pub(super) fn skip(&mut self) -> Result<Range<usize>, DecodeError> {
        self.peek()?;
        let start = self.at;
        self.skip_nested(0)?;
        Ok(start..self.at)
    }

    /// The same for a value that somebody else will read, or nobody: of an array or an object it looks for the bracket that ends it, and
    /// at nothing that is no text and no bracket of this kind. What is no JSON in there is for those to say who read it.
    pub(super) fn skip_unread(&mut self) -> Result<Range<usize>, DecodeError> {
        let (open, close) = match self.peek()? {
            b'{' => (b'{', b'}'),
            b'[' => (b'[', b']'),
            _ => return self.skip(),
        };
        let (start, mut depth) = (self.at, 0usize);
        loop {
            let Some(found) = memchr::memchr3(b'"', open, close, &self.bytes[self.at..]) else {
                self.at = self.bytes.len();
                return Err(self.error("truncated"));
            };
            self.at += found;
            match self.bytes[self.at] {
                b'"' => {
                    self.raw_text()?;
                    continue;
                }
                byte if byte == open => depth += 1,
                _ => depth -= 1,
            }
            self.at += 1;
            if depth == 0 {
                return Ok(start..self.at);
            }
        }
    }

    /// The bytes of the next value.
    pub(super) fn raw(&mut self) -> Result<&'a [u8], DecodeError> {
        let range = self.skip()?;
        Ok(&self.bytes[range])
    }

    fn skip_nested(&mut self, depth: u32) -> Result<(), DecodeError> {
        if depth > MAX_DEPTH {
            return Err(self.error("too_deep"));
        }
        match self.kind()? {
            Kind::Object => self.object(|scanner, _| scanner.skip_nested(depth + 1)),
            Kind::Array => self.array(|scanner| scanner.skip_nested(depth + 1)),
            Kind::Text => self.raw_text().map(drop),
            Kind::Number => self.skip_number(),
            Kind::Bool => self.boolean().map(drop),
            Kind::Null => self.null(),
        }
    }

    /// Passes over a number's characters: whether they make one is for those to say who read it.
    fn skip_number(&mut self) -> Result<(), DecodeError> {
        let rest = &self.bytes[self.at..];
        let is_part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
        let len = rest.iter().position(|byte| !is_part(byte)).unwrap_or(rest.len());
        match rest.get(len - usize::from(len > 0)) {
            Some(b'0'..=b'9') => {
                self.at += len;
                Ok(())
            }
            _ => self.number().map(drop), // a word, or cut off
        }
    }
}

/// Resolves escapes; what is no valid escape becomes the replacement character.
fn unescape(raw: &[u8]) -> String {
    let mut out = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        out.extend_from_slice(&rest[..at]);
        let (replacement, len) = escape(&rest[at..]);
        out.extend_from_slice(replacement.encode_utf8(&mut [0; 4]).as_bytes());
        rest = &rest[at + len..];
    }
    out.extend_from_slice(rest);
    String::from_utf8_lossy(&out).into_owned()
}

/// The character that `rest` begins with, a backslash being its first byte, and its length there.
fn escape(rest: &[u8]) -> (char, usize) {
    let simple = match rest.get(1) {
        Some(b'n') => '\n',
        Some(b't') => '\t',
        Some(b'r') => '\r',
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(&byte @ (b'"' | b'\\' | b'/')) => char::from(byte),
        Some(b'u') => return escape_unicode(rest),
        Some(_) => return (char::REPLACEMENT_CHARACTER, 2),
        None => return (char::REPLACEMENT_CHARACTER, 1),
    };
    (simple, 2)
}

fn escape_unicode(rest: &[u8]) -> (char, usize) {
    let unit = |at: usize| {
        let digits = rest.get(at..at + 4)?;
        u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    };
    let Some(first) = unit(2) else { return (char::REPLACEMENT_CHARACTER, 2) };
    if (0xd800..0xdc00).contains(&first)
        && rest.get(6..8) == Some(br"\u")
        && let Some(second) = unit(8).filter(|second| (0xdc00..0xe000).contains(second))
    {
        let point = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
        return (char::from_u32(point).unwrap_or(char::REPLACEMENT_CHARACTER), 12);
    }
    (char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER), 6) // a lone surrogate
}
