//! What lines are wrapped in: by container runtimes with time, stream and whether more follows, and long lines cut into parts.

use std::borrow::Cow;

use crate::config::RawLines;
use crate::decode::pointers::{Places, Pointers};
use crate::decode::value;
use crate::drift::Timestamp;

/// One line, unwrapped.
#[derive(Debug, PartialEq)]
pub(super) enum Framed<'a> {
    /// All of it, where its first part began, and when it was written, where the wrapping tells.
    Whole { content: Cow<'a, [u8]>, from: u64, at: Option<Timestamp> },
    /// A part; more follows.
    Part,
    /// Not wrapped as the others.
    Junk,
    /// It was counted before.
    Known,
    /// Its parts together are longer than a line may be.
    TooLong,
}

/// Unwraps the lines of one file.
#[derive(Debug)]
pub(super) struct Framer {
    kind: Option<Kind>,
    max_bytes: usize,
    /// Parts of lines, a stream each.
    open: [Open; 2],
    /// Lines of either stream that begin before this were counted in an earlier life.
    known: [u64; 2],
}

#[derive(Clone, Debug, Default)]
struct Open {
    bytes: Vec<u8>,
    /// Where its first part began.
    start: Option<u64>,
    is_too_long: bool,
}

#[derive(Clone, Debug)]
enum Kind {
    Plain,
    Cri,
    Docker { pointers: Pointers, places: Places },
}

/// A line as a container runtime writes it.
struct Wrapped<'a> {
    at: Option<Timestamp>,
    stream: usize,
    is_last: bool,
    content: Cow<'a, [u8]>,
}

impl Framer {
    /// A line is at most `max_bytes` long, its parts together.
    pub(super) fn new(lines: RawLines, max_bytes: usize, known: [u64; 2]) -> Self {
        let kind = match lines {
            RawLines::Auto => None,
            RawLines::Plain => Some(Kind::Plain),
            RawLines::Cri => Some(Kind::Cri),
            RawLines::Docker => Some(Kind::docker()),
        };
        Self { kind, max_bytes, open: [Open::default(), Open::default()], known }
    }

    /// Unwraps the line that begins at `start`, without its line feed.
    pub(super) fn frame<'a>(&mut self, line: &'a [u8], start: u64) -> Framed<'a> {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let kind = self.kind.get_or_insert_with(|| Kind::of(line));
        if matches!(kind, Kind::Plain) {
            return Framed::Whole { content: Cow::Borrowed(line), from: start, at: None };
        }
        let Some(wrapped) = kind.unwrap(line) else { return Framed::Junk };
        let Wrapped { at, stream, is_last, content } = wrapped;
        if start < self.known[stream] {
            return Framed::Known;
        }
        let open = &mut self.open[stream];
        if is_last && open.start.is_none() {
            return Framed::Whole { content, from: start, at };
        }
        let from = *open.start.get_or_insert(start);
        open.is_too_long |= open.bytes.len() + content.len() > self.max_bytes;
        if open.is_too_long {
            open.bytes = Vec::new();
        } else {
            open.bytes.extend_from_slice(&content);
        }
        match (is_last, open.is_too_long) {
            (false, _) => Framed::Part,
            (true, true) => {
                *open = Open::default();
                Framed::TooLong
            }
            (true, false) => {
                let content = std::mem::take(open).bytes;
                Framed::Whole { content: Cow::Owned(content), from, at }
            }
        }
    }

    /// Whether a line is open of which only a part was written.
    pub(super) fn has_open(&self) -> bool {
        self.open.iter().any(|open| open.start.is_some())
    }

    /// Up to where everything is counted if all lines before `next` have been framed, and up to where lines of either stream are.
    pub(super) fn counted(&self, next: u64) -> (u64, [u64; 2]) {
        let starts = self.open.each_ref().map(|open| open.start);
        let from = starts.iter().flatten().copied().fold(next, u64::min);
        if from == next {
            return (next, [0; 2]);
        }
        let of_stream = |stream: usize| starts[stream].unwrap_or(next);
        (from, [of_stream(0), of_stream(1)])
    }
}

impl Kind {
    fn docker() -> Self {
        let pointers = Pointers::new([Some("/log"), Some("/stream"), Some("/time")]);
        Self::Docker { pointers, places: Places::default() }
    }

    fn of(line: &[u8]) -> Self {
        if cri(line).is_some() {
            return Self::Cri;
        }
        let mut docker = Self::docker();
        if docker.unwrap(line).is_some() { docker } else { Self::Plain }
    }

    /// `None` if the line is not wrapped so.
    fn unwrap<'a>(&mut self, line: &'a [u8]) -> Option<Wrapped<'a>> {
        match self {
            Self::Plain => None,
            Self::Cri => cri(line),
            Self::Docker { pointers, places } => {
                pointers.find(line, places).ok()?;
                let text = |place| places.of(place, line).and_then(value::text);
                let (log, stream) = (text(0)?, text(1)?);
                let stream = stream_of(stream.as_bytes())?;
                let at = text(2).and_then(|time| value::rfc3339(&time));
                let is_last = log.ends_with('\n');
                let content = match log {
                    Cow::Borrowed(log) => Cow::Borrowed(log.trim_end_matches('\n').as_bytes()),
                    Cow::Owned(log) => Cow::Owned(log.trim_end_matches('\n').as_bytes().to_vec()),
                };
                Some(Wrapped { at, stream, is_last, content })
            }
        }
    }
}

/// `2026-05-01T12:00:00.123456789Z stdout F {"instances": …}`
fn cri(line: &[u8]) -> Option<Wrapped<'_>> {
    let mut parts = line.splitn(4, |&byte| byte == b' ');
    let (time, stream, tags) = (parts.next()?, parts.next()?, parts.next()?);
    let stream = stream_of(stream)?;
    // The first of its tags says it, others may follow behind colons.
    let is_last = match tags.split(|&byte| byte == b':').next()? {
        b"F" => true,
        b"P" => false,
        _ => return None,
    };
    let at = value::rfc3339(std::str::from_utf8(time).ok()?)?;
    Some(Wrapped { at: Some(at), stream, is_last, content: Cow::Borrowed(parts.next().unwrap_or_default()) })
}

fn stream_of(name: &[u8]) -> Option<usize> {
    match name {
        b"stdout" => Some(0),
        b"stderr" => Some(1),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(framed: Framed<'_>) -> (String, Option<u64>) {
        match framed {
            Framed::Whole { content, at, .. } => {
                (String::from_utf8(content.into_owned()).unwrap(), at.map(Timestamp::as_millis))
            }
            other => panic!("{other:?}"),
        }
    }

    const NOON: u64 = 1_777_636_800_123;

    #[test]
    fn parts_of_a_line_are_joined_a_stream_each() {
        let mut framer = Framer::new(RawLines::Auto, 100, [0; 2]);
        assert_eq!(framer.counted(0), (0, [0; 2]));
        assert_eq!(
            whole(framer.frame(b"2026-05-01T12:00:00.123456789Z stdout F {\"a\": 1}\r", 0)),
            ("{\"a\": 1}".to_owned(), Some(NOON))
        );
        assert_eq!(
            framer.frame(b"2026-05-01T12:00:00.123456789Z stdout P {\"instances\":[[1,2,", 50),
            Framed::Part
        );
        assert_eq!(framer.counted(100), (50, [50, 100]));
        assert_eq!(whole(framer.frame(b"2026-05-01T12:00:00.123Z stderr F:x oops", 100)).0, "oops");
        assert_eq!(framer.counted(150), (50, [50, 150]));
        assert_eq!(
            whole(framer.frame(b"2026-05-01T14:00:00.123456799+02:00 stdout F 3]]}", 150)),
            ("{\"instances\":[[1,2,3]]}".to_owned(), Some(NOON))
        );
        assert_eq!(framer.counted(200), (200, [0; 2]));
        assert_eq!(framer.frame(b"not a line of a container", 200), Framed::Junk);
        // Read again from the part, as after a crash.
        let mut framer = Framer::new(RawLines::Cri, 100, [50, 150]);
        assert_eq!(framer.frame(b"2026-05-01T12:00:00.123Z stdout P {", 50), Framed::Part);
        assert_eq!(framer.frame(b"2026-05-01T12:00:00.123Z stderr F oops", 100), Framed::Known);
        assert_eq!(whole(framer.frame(b"2026-05-01T12:00:00.123Z stdout F }", 150)).0, "{}");
    }

    #[test]
    fn a_line_of_endless_parts_holds_no_memory() {
        let mut framer = Framer::new(RawLines::Auto, 100, [0; 2]);
        for at in 0..10 {
            let line = format!("2026-05-01T12:00:00Z stdout P {}", "x".repeat(30));
            assert_eq!(framer.frame(line.as_bytes(), 60 * at), Framed::Part);
        }
        assert!(framer.open[0].bytes.capacity() <= 200);
        assert_eq!(framer.frame(b"2026-05-01T12:00:00Z stdout F y", 600), Framed::TooLong);
        assert_eq!(whole(framer.frame(b"2026-05-01T12:00:00Z stdout F y", 650)).0, "y");
    }

    #[test]
    fn what_is_wrapped_otherwise_is_told_by_the_first_line() {
        let mut docker = Framer::new(RawLines::Auto, 100, [0; 2]);
        let line = br#"{"log":"{\"a\":","stream":"stdout","time":"2026-05-01T12:00:00.1Z"}"#;
        assert_eq!(docker.frame(line, 0), Framed::Part);
        let line = br#"{"log":"1}\n","stream":"stdout","time":"2026-05-01T12:00:00.123Z"}"#;
        assert_eq!(whole(docker.frame(line, 10)), ("{\"a\":1}".to_owned(), Some(NOON)));
        let mut plain = Framer::new(RawLines::Auto, 100, [0; 2]);
        assert_eq!(whole(plain.frame(br#"{"a": 1}"#, 0)), ("{\"a\": 1}".to_owned(), None));
    }
}
