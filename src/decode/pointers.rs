//! JSON pointers (RFC 6901) into a text, all found in one pass over it and without a tree.

use std::ops::Range;

use super::DecodeError;
use super::json::{Kind, Scanner};

/// Some pointers, each with a place in the result.
#[derive(Clone, Debug)]
pub struct Pointers {
    root: Node,
    n_places: usize,
}

/// What is wanted at and below one place of the text.
#[derive(Clone, Debug, Default)]
struct Node {
    place: Option<usize>,
    below: Vec<(Box<str>, Node)>,
}

/// Where the values stand that [`Pointers`] lead to. Reused from text to text.
#[derive(Clone, Debug, Default)]
pub struct Places(Vec<Option<Range<usize>>>);

impl Pointers {
    /// Pointers like `/features` and `/meta/time`; an absent one finds nothing.
    pub fn new<'a>(pointers: impl IntoIterator<Item = Option<&'a str>>) -> Self {
        let mut root = Node::default();
        let mut n_places = 0;
        for pointer in pointers {
            if let Some(pointer) = pointer {
                let segments = pointer.split('/').skip(1);
                let node = segments.fold(&mut root, |node, segment| node.child(segment));
                node.place = Some(n_places);
            }
            n_places += 1;
        }
        Self { root, n_places }
    }

    /// Finds them in `text`, which may be followed by white space alone.
    ///
    /// # Errors
    /// [`DecodeError`] if it is not one JSON value, as far as it is looked at: what is inside of values that are found, or that no
    /// pointer leads to, is not.
    pub fn find(&self, text: &[u8], places: &mut Places) -> Result<(), DecodeError> {
        places.0.clear();
        places.0.resize(self.n_places, None);
        let mut scanner = Scanner::new(text);
        self.root.find(&mut scanner, places)?;
        if scanner.peek().is_ok() { Err(scanner.error("syntax")) } else { Ok(()) }
    }
}

impl Node {
    fn child(&mut self, segment: &str) -> &mut Self {
        let name = segment.replace("~1", "/").replace("~0", "~");
        let at = self.below.iter().position(|(known, _)| **known == *name).unwrap_or_else(|| {
            self.below.push((name.into(), Self::default()));
            self.below.len() - 1
        });
        &mut self.below[at].1
    }

    fn find(&self, scanner: &mut Scanner<'_>, places: &mut Places) -> Result<(), DecodeError> {
        let start = *scanner;
        self.find_below(scanner, places)?;
        if let Some(place) = self.place {
            places.0[place] = Some(start.offset()..scanner.offset());
        }
        Ok(())
    }

    fn find_below(&self, scanner: &mut Scanner<'_>, places: &mut Places) -> Result<(), DecodeError> {
        let below = |name: &str| self.below.iter().find(|(known, _)| **known == *name).map(|(_, node)| node);
        match (scanner.kind()?, self.below.is_empty()) {
            (Kind::Object, false) => scanner.object(|scanner, key| match below(&key) {
                Some(node) => node.find(scanner, places),
                None => scanner.skip_unread().map(drop),
            }),
            (Kind::Array, false) => {
                let mut at = 0u32;
                scanner.array(|scanner| {
                    let node = below(&at.to_string());
                    at += 1;
                    match node {
                        Some(node) => node.find(scanner, places),
                        None => scanner.skip_unread().map(drop),
                    }
                })
            }
            _ => scanner.skip_unread().map(drop),
        }
    }
}

impl Places {
    /// The value that a pointer leads to, as it stands in the text; `None` where there is none, or `null`.
    pub fn of<'a>(&self, place: usize, text: &'a [u8]) -> Option<&'a [u8]> {
        let value = text[self.0.get(place)?.clone()?].trim_ascii_start();
        (value != b"null").then_some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_lead_to_what_rfc_6901_says() {
        let text = br#" {"a": {"b": [10, {"c": "x"}], "~": null}, "a/b": true, "last": {"deep": [[1]]}} "#;
        let pointers = [
            Some("/a/b/0"),
            Some("/a/b/1/c"),
            None,
            Some("/a~1b"),
            Some("/a/~0"),
            Some("/last"),
            Some("/last/deep"),
            Some("/none"),
        ];
        let mut places = Places::default();
        let compiled = Pointers::new(pointers);
        compiled.find(text, &mut places).unwrap();
        let found: Vec<_> =
            (0..8).map(|at| places.of(at, text).map(|value| std::str::from_utf8(value).unwrap())).collect();
        let expected = [
            Some("10"),
            Some("\"x\""),
            None,
            Some("true"),
            None,
            Some(r#"{"deep": [[1]]}"#),
            Some("[[1]]"),
            None,
        ];
        assert_eq!(found, expected);
        let quoted = br#"{"other": {"a": "}\"]", "b": ["{"]}, "last": [["]\\"], {"b": "["}], "a/b": 7}"#;
        compiled.find(quoted, &mut places).unwrap();
        let last = br#"[["]\\"], {"b": "["}]"#;
        assert_eq!((places.of(5, quoted), places.of(3, quoted)), (Some(&last[..]), Some(&b"7"[..])));
        assert_eq!(compiled.find(br#"{"a": 1} x"#, &mut places).unwrap_err().kind(), "syntax");
        assert_eq!(compiled.find(br#"{"a": [1"#, &mut places).unwrap_err().kind(), "truncated");
    }
}
