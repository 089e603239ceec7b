//! Taking out the lines of one entry.

use std::ops::Range;

use yaml_serde::Value;

use super::path::{Path, Step};
use super::splice::SpliceError;
use super::tree::{Node, What, parse};
use super::{proof, service};

/// `bytes` without the lines of one entry: a key with its scalar, as `spec.predictor.canaryTrafficPercent`, or an item of a
/// list, as `spec.canary[0]`; with the only item its key goes too. Comments on lines of their own stay.
///
/// # Errors
/// [`SpliceError`]: what shares its lines with something else is left alone.
pub fn remove_entry(bytes: &[u8], document: usize, path: &str) -> Result<Vec<u8>, SpliceError> {
    let documents = parse(bytes)?;
    let root = documents.get(document).ok_or(SpliceError::NoDocument(document))?;
    let mut path = Path::parse(path)?;
    let is_there = |path: &Path| root.follow(path)?.ok_or_else(|| SpliceError::NoSuchPath(path.to_string()));
    is_there(&path)?;
    let mut parent = parent_of(root, &path)?;
    if let (Some(Step::Index(_)), [_]) = (path.0.last(), parent.items()) {
        path.0.pop();
        parent = parent_of(root, &path)?;
    }
    let range = lines_of(bytes, parent, &path)?;
    let mut new = bytes[..range.start].to_vec();
    new.extend_from_slice(&bytes[range.end..]);
    proof::prove(bytes, &new, document, |root| take_out(root, &path)).map_err(SpliceError::Unproven)?;
    Ok(new)
}

fn parent_of<'a>(root: &'a Node, path: &Path) -> Result<&'a Node, SpliceError> {
    let above = Path(path.0[..path.0.len().saturating_sub(1)].to_vec());
    let parent = root.follow(&above)?.ok_or_else(|| SpliceError::NoSuchPath(above.to_string()))?;
    parent.check_route(&above)?;
    Ok(parent)
}

/// The lines from where the entry begins to its last one.
fn lines_of(bytes: &[u8], parent: &Node, path: &Path) -> Result<Range<usize>, SpliceError> {
    let no = |why| SpliceError::NotRemovable { path: path.to_string(), why };
    let (start, value, lead) = match (path.0.last(), &parent.what) {
        (Some(Step::Key(key)), What::Mapping { entries, is_flow: false }) => {
            if entries.len() == 1 {
                return Err(no("nothing would be left beside it"));
            }
            let entry = entries.iter().find(|(name, _)| name.scalar() == Some(key.as_str()));
            let (name, value) = entry.ok_or_else(|| SpliceError::NoSuchPath(path.to_string()))?;
            if value.scalar().is_some() {
                service::field(bytes, value, path)?;
            }
            (name.at.start, value, "")
        }
        (Some(Step::Index(index)), What::Sequence { items, is_flow: false }) => {
            let value = items.get(*index).ok_or_else(|| SpliceError::NoSuchPath(path.to_string()))?;
            (value.at.start, value, "-")
        }
        _ => return Err(no("it is in a flow collection (`{…}` or `[…]`)")),
    };
    let line_start = bytes[..start].iter().rposition(|byte| *byte == b'\n').map_or(0, |before| before + 1);
    if String::from_utf8_lossy(&bytes[line_start..start]).trim() != lead {
        return Err(no("its line begins with something else"));
    }
    let last = bytes[..value.at.end].trim_ascii_end().len();
    let end =
        bytes[last..].iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |behind| last + behind + 1);
    Ok(line_start..end)
}

/// The same, in what the second parser has.
fn take_out(root: &mut Value, path: &Path) -> Result<(), String> {
    let (last, above) = path.0.split_last().ok_or("no path")?;
    let parent = proof::at(root, &Path(above.to_vec())).ok_or_else(|| format!("`{path}` is not there"))?;
    let is_gone = match (last, parent) {
        (Step::Key(key), Value::Mapping(mapping)) => mapping.shift_remove(key.as_str()).is_some(),
        (Step::Index(index), Value::Sequence(items)) if *index < items.len() => {
            items.remove(*index);
            true
        }
        _ => false,
    };
    if is_gone { Ok(()) } else { Err(format!("`{path}` is not there")) }
}
