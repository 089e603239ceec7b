//! A YAML text as a tree that knows the bytes of every scalar.

use std::ops::Range;

use granit_parser::{Event, Options, Parser, ScalarStyle, Span, StructureStyle, Tag};

use super::path::{Path, Step};
use super::{ManifestError, Refusal};

/// A node of a document.
#[derive(Debug)]
pub(super) struct Node {
    /// Its bytes; of a scalar with its quotes.
    pub(super) at: Range<usize>,
    /// Where it begins, from 1.
    pub(super) line: usize,
    pub(super) is_anchored: bool,
    pub(super) has_tag: bool,
    pub(super) what: What,
}

/// What a node is.
#[derive(Debug)]
pub(super) enum What {
    Scalar { value: String, style: ScalarStyle },
    Mapping { entries: Vec<(Node, Node)>, is_flow: bool },
    Sequence { items: Vec<Node>, is_flow: bool },
    Alias,
}

/// A node that has been begun, and a key that waits for its value.
struct Open {
    node: Node,
    key: Option<Node>,
}

/// The documents of a text, in order.
pub(super) fn parse(bytes: &[u8]) -> Result<Vec<Node>, ManifestError> {
    let text = std::str::from_utf8(bytes).map_err(|_| ManifestError::NotText)?;
    if text.starts_with("version https://git-lfs.github.com/spec/") {
        return Err(ManifestError::LfsPointer);
    }
    let mut options = Options::default();
    options.set_emit_comments(false); // a long licence text would be more comments than the parser keeps
    let mut documents = Vec::new();
    let mut open: Vec<Open> = Vec::new();
    for next in Parser::new_from_str_with_options(text, options) {
        let (event, span) =
            next.map_err(|error| ManifestError::Syntax { line: error.marker().line(), text: error.info() })?;
        let done = match event {
            Event::Scalar(value, style, anchor, tag) => {
                let what = What::Scalar { value: value.into_owned(), style };
                Some(node(what, &span, anchor, tag.as_deref())?)
            }
            Event::Alias(_) => Some(node(What::Alias, &span, 0, None)?),
            Event::MappingStart(style, anchor, tag) => {
                let what = What::Mapping { entries: Vec::new(), is_flow: style == StructureStyle::Flow };
                open.push(Open { node: node(what, &span, anchor, tag.as_deref())?, key: None });
                None
            }
            Event::SequenceStart(style, anchor, tag) => {
                let what = What::Sequence { items: Vec::new(), is_flow: style == StructureStyle::Flow };
                open.push(Open { node: node(what, &span, anchor, tag.as_deref())?, key: None });
                None
            }
            Event::MappingEnd | Event::SequenceEnd => open.pop().map(|mut closed| {
                closed.node.at.end = closed.node.end().max(closed.node.at.end);
                closed.node
            }),
            _ => None,
        };
        if let Some(done) = done {
            put(done, &mut open, &mut documents);
        }
    }
    Ok(documents)
}

fn node(what: What, span: &Span, anchor: usize, tag: Option<&Tag>) -> Result<Node, ManifestError> {
    let line = span.start.line();
    let at = span
        .byte_range()
        .ok_or_else(|| ManifestError::Syntax { line, text: "the parser gives no position".to_owned() })?;
    Ok(Node { at, line, is_anchored: anchor != 0, has_tag: tag.is_some(), what })
}

/// Into the collection that is open, or among the documents.
fn put(done: Node, open: &mut [Open], documents: &mut Vec<Node>) {
    let Some(parent) = open.last_mut() else {
        documents.push(done);
        return;
    };
    match &mut parent.node.what {
        What::Sequence { items, .. } => items.push(done),
        What::Mapping { entries, .. } => match parent.key.take() {
            Some(key) => entries.push((key, done)),
            None => parent.key = Some(done),
        },
        What::Scalar { .. } | What::Alias => (), // neither is ever open
    }
}

impl Node {
    /// Where the last scalar of it ends: a block collection's own end is at what follows it.
    fn end(&self) -> usize {
        match &self.what {
            What::Mapping { entries, is_flow: false } => {
                entries.iter().map(|(key, value)| key.end().max(value.end())).max().unwrap_or(self.at.end)
            }
            What::Sequence { items, is_flow: false } => {
                items.iter().map(Self::end).max().unwrap_or(self.at.end)
            }
            _ => self.at.end,
        }
    }

    /// The value of a scalar.
    pub(super) fn scalar(&self) -> Option<&str> {
        match &self.what {
            What::Scalar { value, .. } => Some(value),
            _ => None,
        }
    }

    /// The entries of a mapping.
    pub(super) fn entries(&self) -> &[(Self, Self)] {
        match &self.what {
            What::Mapping { entries, .. } => entries,
            _ => &[],
        }
    }

    /// The items of a sequence.
    pub(super) fn items(&self) -> &[Self] {
        match &self.what {
            What::Sequence { items, .. } => items,
            _ => &[],
        }
    }

    /// The value of a key, without a look at what else is there: to see which document this is.
    pub(super) fn peek(&self, key: &str) -> Option<&Self> {
        self.entries().iter().find(|(name, _)| name.scalar() == Some(key)).map(|(_, value)| value)
    }

    /// The value of a key on the way to what is changed, so in a mapping whose value can stand nowhere else.
    pub(super) fn key(&self, key: &str, path: &Path) -> Result<Option<&Self>, ManifestError> {
        let refuse = |why| Err(self.refused(&path.key(key), why));
        self.check_route(path)?;
        match &self.what {
            What::Mapping { entries, .. } => {
                if entries.iter().any(|(name, _)| name.scalar() == Some("<<")) {
                    return refuse(Refusal::MergeKey);
                }
                let mut found = entries.iter().filter(|(name, _)| name.scalar() == Some(key));
                let first = found.next();
                match found.next() {
                    Some(_) => refuse(Refusal::DuplicateKey),
                    None => Ok(first.map(|(_, value)| value)),
                }
            }
            What::Scalar { value, .. } if value.is_empty() || value == "null" || value == "~" => Ok(None),
            _ => Err(self.refused(path, Refusal::NotCollection)),
        }
    }

    /// What one path leads to.
    pub(super) fn follow(&self, path: &Path) -> Result<Option<&Self>, ManifestError> {
        let mut here = self;
        let mut so_far = Path::default();
        for step in &path.0 {
            let next = match step {
                Step::Key(key) => here.key(key, &so_far)?,
                Step::Index(index) => {
                    here.check_route(&so_far)?;
                    here.items().get(*index)
                }
            };
            let Some(next) = next else { return Ok(None) };
            so_far.0.push(step.clone());
            here = next;
        }
        Ok(Some(here))
    }

    /// That this stands here and nowhere else.
    pub(super) fn check_route(&self, path: &Path) -> Result<(), ManifestError> {
        let why = match &self.what {
            What::Alias => Refusal::Alias,
            _ if self.is_anchored => Refusal::Anchor,
            _ if self.has_tag => Refusal::Tag,
            _ => return Ok(()),
        };
        Err(self.refused(path, why))
    }

    pub(super) fn refused(&self, path: &Path, why: Refusal) -> ManifestError {
        ManifestError::Refused { path: path.to_string(), line: self.line, why }
    }
}
