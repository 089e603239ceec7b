//! Replacing the bytes of a scalar.

use std::ops::Range;

use granit_parser::ScalarStyle;
use yaml_serde::Value;

use super::path::Path;
use super::tree::{Node, What, parse};
use super::{ManifestError, proof, service};
use crate::gitops::incident::Edit;

/// Why nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpliceError {
    /// The text cannot be read, or the place must not be changed by bytes.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// No such document.
    #[error("there is no document {0} in the file")]
    NoDocument(usize),
    /// Nothing stands there.
    #[error("`{0}` is not there")]
    NoSuchPath(String),
    /// Another value stands there: somebody has acted already.
    #[error("`{path}` is `{found}`, not `{expected}`")]
    Found {
        /// Where.
        path: String,
        /// What was to be replaced.
        expected: String,
        /// What stands there.
        found: String,
    },
    /// A value that one line cannot hold.
    #[error("`{0}` cannot be written on one line")]
    Value(String),
    /// Two changes to one line would be one line of diff.
    #[error("`{0}` and another change are on the same line; put them on lines of their own")]
    SameLine(String),
    /// Not a line, or lines, that can go without a trace.
    #[error("`{path}` cannot be removed: {why}")]
    NotRemovable {
        /// Where.
        path: String,
        /// Why.
        why: &'static str,
    },
    /// The two parsers disagree, or something else would change.
    #[error("the change could not be proven to be the only one: {0}")]
    Unproven(String),
}

/// `bytes` with each edit made, on a line each, and nothing else changed: comments, quotes, line ends stay as they are.
///
/// # Errors
/// [`SpliceError`]; then nothing is known to be safe to write. [`SpliceError::Found`] if a value is not the expected one.
pub fn splice(bytes: &[u8], document: usize, edits: &[Edit]) -> Result<Vec<u8>, SpliceError> {
    let documents = parse(bytes)?;
    let root = documents.get(document).ok_or(SpliceError::NoDocument(document))?;
    let mut changes = Vec::with_capacity(edits.len());
    let mut lines = Vec::with_capacity(edits.len());
    for edit in edits {
        let path = Path::parse(&edit.path)?;
        let node = root.follow(&path)?.ok_or_else(|| SpliceError::NoSuchPath(edit.path.clone()))?;
        let field = service::field(bytes, node, &path)?;
        if field.value != edit.from {
            let (path, expected) = (edit.path.clone(), edit.from.clone());
            return Err(SpliceError::Found { path, expected, found: field.value });
        }
        if lines.contains(&field.line) {
            return Err(SpliceError::SameLine(edit.path.clone()));
        }
        lines.push(field.line);
        changes.push((node.at.clone(), written(bytes, node, edit)?));
    }
    let new = replaced(bytes, changes);
    prove(bytes, &new, document, edits)?;
    Ok(new)
}

fn replaced(bytes: &[u8], mut changes: Vec<(Range<usize>, String)>) -> Vec<u8> {
    changes.sort_by_key(|(range, _)| range.start);
    let mut new = Vec::with_capacity(bytes.len() + 64);
    let mut done = 0;
    for (range, text) in changes {
        new.extend_from_slice(&bytes[done..range.start]);
        new.extend_from_slice(text.as_bytes());
        done = range.end;
    }
    new.extend_from_slice(&bytes[done..]);
    new
}

/// The new value in the notation of the old one; a plain scalar is quoted if it would be read as something else.
fn written(bytes: &[u8], node: &Node, edit: &Edit) -> Result<String, SpliceError> {
    let to = &edit.to;
    if to.is_empty()
        || to.chars().any(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}'))
    {
        return Err(SpliceError::Value(to.escape_debug().to_string()));
    }
    let source = &bytes[node.at.clone()];
    let is_within =
        |quote: u8| source.len() >= 2 && source.first() == Some(&quote) && source.last() == Some(&quote);
    let What::Scalar { style, value } = &node.what else {
        return Err(SpliceError::NoSuchPath(edit.path.clone()));
    };
    match style {
        ScalarStyle::Plain if source == value.as_bytes() => {
            Ok(if is_plain(to, value) { to.clone() } else { single_quoted(to) })
        }
        ScalarStyle::SingleQuoted if is_within(b'\'') => Ok(single_quoted(to)),
        ScalarStyle::DoubleQuoted if is_within(b'"') => {
            Ok(format!("\"{}\"", to.replace('\\', "\\\\").replace('"', "\\\"")))
        }
        _ => Err(SpliceError::Unproven(format!("the parser gives no exact place for `{}`", edit.path))),
    }
}

fn single_quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Whether a text without quotes is read as itself, in a flow collection too, and as the kind of thing that stood there.
fn is_plain(to: &str, from: &str) -> bool {
    let kind =
        |text: &str| yaml_serde::from_str::<Value>(text).map(|value| std::mem::discriminant(&value)).ok();
    to.starts_with(|c: char| c.is_alphanumeric() || c == '/')
        && !to.ends_with(':')
        && to.chars().all(|c| c.is_alphanumeric() || "/._~%@+=-:?&!;()$".contains(c))
        && kind(to).is_some()
        && kind(to) == kind(from)
}

/// That a second parser sees these values at these places and no other change, and that so many lines differ.
fn prove(old: &[u8], new: &[u8], document: usize, edits: &[Edit]) -> Result<(), SpliceError> {
    proof::prove(old, new, document, |root| {
        for edit in edits {
            let path = Path::parse(&edit.path).map_err(|error| error.to_string())?;
            let place = proof::at(root, &path).ok_or_else(|| format!("`{path}` is not there"))?;
            let is = |place: &Value, text: &str| match place {
                Value::String(value) => value == text,
                _ => yaml_serde::from_str::<Value>(text).is_ok_and(|value| value == *place),
            };
            if !is(place, &edit.from) {
                return Err(format!("`{path}` is not `{}` to the second parser", edit.from));
            }
            *place = match place {
                Value::String(_) => Value::String(edit.to.clone()),
                _ => yaml_serde::from_str(&edit.to).map_err(|error| error.to_string())?,
            };
        }
        Ok(())
    })
    .map_err(SpliceError::Unproven)?;
    let lines = |text| <[u8]>::split(text, |byte: &u8| *byte == b'\n');
    let n_changed = lines(old).zip(lines(new)).filter(|(old, new)| old != new).count();
    if lines(old).count() != lines(new).count()
        || n_changed != edits.iter().filter(|e| e.from != e.to).count()
    {
        return Err(SpliceError::Unproven(format!("{n_changed} lines would change, not {}", edits.len())));
    }
    Ok(())
}
