//! What a second parser says of two texts.

use yaml_serde::{Mapping, Value};

use super::path::{Path, Step};

/// Every document of a text, as the second parser has it; keys that stand twice are an error to it.
pub(super) fn values(bytes: &[u8]) -> Result<Vec<Value>, String> {
    use serde::Deserialize as _;
    // libyaml counts a byte order mark as a column, so that the first line is indented more than the second.
    let documents =
        yaml_serde::Deserializer::from_slice(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes));
    documents.map(|one| Value::deserialize(one).map_err(|error| error.to_string())).collect()
}

/// The place that a path leads to.
pub(super) fn at<'a>(root: &'a mut Value, path: &Path) -> Option<&'a mut Value> {
    path.0.iter().try_fold(root, |here, step| match (step, here) {
        (Step::Key(key), Value::Mapping(mapping)) => mapping.get_mut(key.as_str()),
        (Step::Index(index), Value::Sequence(items)) => items.get_mut(*index),
        _ => None,
    })
}

/// Says how two texts differ in more than `expected` makes them: its changes are made to what was read of the old text, and
/// what was read of the new one has to equal that.
pub(super) fn prove(
    old: &[u8],
    new: &[u8],
    document: usize,
    expected: impl FnOnce(&mut Value) -> Result<(), String>,
) -> Result<(), String> {
    let mut before = values(old)?;
    let after = values(new)?;
    let root = before.get_mut(document).ok_or_else(|| format!("there is no document {document}"))?;
    expected(root)?;
    if before == after { Ok(()) } else { Err("something else would change too".to_owned()) }
}

/// Paths of the document in which two texts differ, besides `except`: what a commit changed together with the line. At most
/// 20, in order. A text that cannot be read says so instead.
pub fn other_changes(old: &[u8], new: &[u8], document: usize, except: &[&str]) -> Vec<String> {
    let (old, new) = match (values(old), values(new)) {
        (Ok(old), Ok(new)) => (old, new),
        (Err(error), _) => return vec![format!("the file before it cannot be read: {error}")],
        (_, Err(error)) => return vec![format!("the file cannot be read: {error}")],
    };
    let Some(new) = new.get(document) else { return vec![format!("there is no document {document}")] };
    let same = |value: &&Value| !name_of(value).is_null() && name_of(value) == name_of(new);
    let Some(old) = old.iter().find(same).or_else(|| old.get(document)) else {
        return vec!["the document is new".to_owned()];
    };
    let mut changes = Vec::new();
    compare(Some(old), Some(new), &Path::default(), except, &mut changes);
    changes
}

/// What Kubernetes tells documents apart by; documents move within a file.
fn name_of(value: &Value) -> Value {
    let of = |value: &Value, key: &str| value.get(key).cloned().unwrap_or_default();
    let metadata = of(value, "metadata");
    if of(&metadata, "name").is_null() {
        return Value::Null;
    }
    Value::Sequence(vec![of(value, "kind"), of(&metadata, "namespace"), of(&metadata, "name")])
}

fn compare(
    old: Option<&Value>,
    new: Option<&Value>,
    path: &Path,
    except: &[&str],
    changes: &mut Vec<String>,
) {
    if old == new || changes.len() >= 20 || except.contains(&path.to_string().as_str()) {
        return;
    }
    match (old, new) {
        (Some(Value::Mapping(old)), Some(Value::Mapping(new))) => {
            for key in keys(old, new) {
                let name = key.as_str().map_or_else(|| format!("{key:?}"), str::to_owned);
                compare(old.get(key), new.get(key), &path.key(&name), except, changes);
            }
        }
        (Some(Value::Sequence(old)), Some(Value::Sequence(new))) => {
            for index in 0..old.len().max(new.len()) {
                compare(old.get(index), new.get(index), &path.index(index), except, changes);
            }
        }
        _ => changes.push(path.to_string()),
    }
}

fn keys<'a>(old: &'a Mapping, new: &'a Mapping) -> impl Iterator<Item = &'a Value> {
    old.keys().chain(new.keys().filter(|key| !old.contains_key(*key)))
}
