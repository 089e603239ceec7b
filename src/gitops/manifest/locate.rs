//! Which line of which file is the service's. Exactly one, or an error that names them all: never a guess.

use std::fmt;

use bytes::Bytes;
use memchr::memmem;

use super::path::Path;
use super::service::identity;
use super::tree::{Node, What, parse};
use super::{ManifestError, Selector, Service, read};
use crate::gitops::config::TargetConfig;
use crate::gitops::target::ServiceName;

/// Where a service is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// From the root of the repository.
    pub file: String,
    /// From 0.
    pub document: usize,
    /// By what.
    pub found_by: FoundBy,
    /// What finds it again in the same file at another commit.
    pub selector: Selector,
    /// What the file says.
    pub service: Service,
}

/// By what a line was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FoundBy {
    /// The configuration names the file.
    Map,
    /// A comment behind the line names the service.
    Marker,
    /// It is the only document of that kind and name.
    Index,
}

impl fmt::Display for FoundBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Map => "map",
            Self::Marker => "marker",
            Self::Index => "index",
        })
    }
}

/// Why there is no such line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LocateError {
    /// The configuration names a file that is not there.
    #[error("the repository has no file `{0}`")]
    NoSuchFile(String),
    /// The file is there, and says nothing of the service.
    #[error("`{file}` has no {what}")]
    NotInFile {
        /// Which.
        file: String,
        /// What was looked for.
        what: String,
    },
    /// No document, no marker.
    #[error("no InferenceService `{service}` with a storageUri and no marker for it is in the repository; name the file with `path`{}", also(.unreadable))]
    NotFound {
        /// Which.
        service: ServiceName,
        /// Files that name it but cannot be read, and why.
        unreadable: Vec<String>,
    },
    /// More than one.
    #[error("`{service}` could be any of {}; name the file with `path`, or mark the line", .hits.join(", "))]
    Ambiguous {
        /// Which.
        service: ServiceName,
        /// All of them.
        hits: Vec<String>,
    },
    /// The one file cannot be acted on.
    #[error("`{file}`: {source}")]
    Manifest {
        /// Which.
        file: String,
        /// Why.
        source: ManifestError,
    },
}

fn also(unreadable: &[String]) -> String {
    if unreadable.is_empty() { String::new() } else { format!(" (not read: {})", unreadable.join("; ")) }
}

/// Finds the line of a target: the file that the configuration names; else the line with a marker; else the only document.
///
/// # Errors
/// [`LocateError`] if there is none, more than one, or one that must not be changed by bytes.
pub fn locate(
    files: impl Iterator<Item = (String, Bytes)>,
    target: &TargetConfig,
) -> Result<Located, LocateError> {
    if let Some(path) = &target.path {
        let mut files = files;
        let file = files.find(|(name, _)| name == path);
        let (_, bytes) = file.ok_or_else(|| LocateError::NoSuchFile(path.clone()))?;
        return mapped(path, &bytes, target);
    }
    let service = &target.service;
    let (mut marked, mut indexed, mut unreadable) = (Vec::new(), Vec::new(), Vec::new());
    for (file, bytes) in files.filter(|(_, bytes)| mentions(bytes, service)) {
        match hits(&bytes, service) {
            Ok((marks, documents)) => {
                marked.extend(marks.into_iter().map(|mark| (file.clone(), bytes.clone(), mark)));
                indexed.extend(documents.into_iter().map(|at| (file.clone(), bytes.clone(), at)));
            }
            Err(error) => unreadable.push(format!("{file}: {error}")),
        }
    }
    let name = |file: &str, at: &dyn fmt::Display| format!("{file} ({at})");
    let ambiguous = |mut hits: Vec<String>, unreadable: Vec<String>| {
        hits.extend(unreadable);
        Err(LocateError::Ambiguous { service: service.clone(), hits })
    };
    match (&marked[..], &indexed[..]) {
        ([(file, bytes, mark)], _) if unreadable.is_empty() => {
            found(file, bytes, FoundBy::Marker, mark.selector(service))
        }
        ([], [(file, bytes, _)]) if unreadable.is_empty() => {
            found(file, bytes, FoundBy::Index, Selector::Service(service.clone()))
        }
        ([], []) => Err(LocateError::NotFound { service: service.clone(), unreadable }),
        ([], _) => {
            let hits = indexed.iter().map(|(file, _, at)| name(file, &format_args!("document {at}")));
            ambiguous(hits.collect(), unreadable)
        }
        _ => {
            let hits = marked.iter().map(|(file, _, mark)| name(file, &format_args!("line {}", mark.line)));
            ambiguous(hits.collect(), unreadable)
        }
    }
}

fn mapped(file: &str, bytes: &[u8], target: &TargetConfig) -> Result<Located, LocateError> {
    let selector = match &target.field {
        Some(path) => Selector::Field { document: None, path: path.clone() },
        None => Selector::Service(target.service.clone()),
    };
    found(file, bytes, FoundBy::Map, selector)
}

fn found(file: &str, bytes: &[u8], found_by: FoundBy, selector: Selector) -> Result<Located, LocateError> {
    let service = read(bytes, &selector)
        .map_err(|source| LocateError::Manifest { file: file.to_owned(), source })?
        .filter(|service| service.uri.is_some())
        .ok_or_else(|| LocateError::NotInFile {
            file: file.to_owned(),
            what: match &selector {
                Selector::Service(name) => format!("InferenceService `{name}` with a storageUri"),
                Selector::Field { path, .. } => format!("`{path}`"),
            },
        })?;
    Ok(Located { file: file.to_owned(), document: service.document, found_by, selector, service })
}

/// A quick look that leaves most files unparsed.
fn mentions(bytes: &[u8], service: &ServiceName) -> bool {
    let is_there = |text: &str| memmem::find(bytes, text.as_bytes()).is_some();
    is_there(service.name()) && (is_there("InferenceService") || is_there("\"$drift\""))
}

/// A line with the comment `# {"$drift": "NAMESPACE/NAME"}`.
struct Mark {
    line: usize,
    document: usize,
    path: Path,
    /// The document is an `InferenceService`, so that its canaries are read as well.
    is_service: bool,
}

impl Mark {
    fn selector(&self, service: &ServiceName) -> Selector {
        if self.is_service {
            Selector::Service(service.clone())
        } else {
            Selector::Field { document: Some(self.document), path: self.path.to_string() }
        }
    }
}

type Hits = (Vec<Mark>, Vec<usize>);

fn hits(bytes: &[u8], service: &ServiceName) -> Result<Hits, ManifestError> {
    let documents = parse(bytes)?;
    let comments = comments(bytes, service);
    let mut marks = Vec::new();
    for (document, root) in documents.iter().enumerate() {
        let is_service = identity(root).is_some_and(|found| found.may_be(service));
        walk(root, &Path::default(), &mut |node, path| {
            let is_marked = |(at, _): &&(usize, usize)| {
                node.scalar().is_some()
                    && *at >= node.at.end
                    && bytes[node.at.end..*at].iter().all(|b| b" \t".contains(b))
            };
            if let Some((_, line)) = comments.iter().find(is_marked) {
                let is_service = is_service && is_predictor_uri(path);
                marks.push(Mark { line: *line, document, path: path.clone(), is_service });
            }
        });
    }
    if marks.len() < comments.len() {
        let (_, line) = comments[0];
        let text = "the marker is not behind a value on its line".to_owned();
        return Err(ManifestError::Syntax { line, text });
    }
    let is_it = |root: &Node| identity(root).is_some_and(|found| found.may_be(service)) && may_have_uri(root);
    let indexed = documents.iter().enumerate().filter(|(_, root)| is_it(root)).map(|(at, _)| at).collect();
    Ok((marks, indexed))
}

/// Where comments of ours for this service begin, and on which lines.
fn comments(bytes: &[u8], service: &ServiceName) -> Vec<(usize, usize)> {
    let wanted = service.to_string();
    let is_ours = |text: &[u8]| {
        let marker = serde_json::from_slice::<serde_json::Value>(text.trim_ascii());
        marker.is_ok_and(|marker| marker.get("$drift").and_then(|name| name.as_str()) == Some(&wanted))
    };
    let mut found = Vec::new();
    let mut start = 0;
    for (at, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let hashes = memchr::memchr_iter(b'#', line);
        found.extend(hashes.filter(|hash| is_ours(&line[hash + 1..])).map(|hash| (start + hash, at + 1)));
        start += line.len() + 1;
    }
    found
}

fn is_predictor_uri(path: &Path) -> bool {
    let text = path.to_string();
    text.starts_with("spec.predictor.") && text.ends_with(".storageUri") && path.0.len() == 4
}

/// Every value of a document, with its path.
fn walk(node: &Node, path: &Path, see: &mut impl FnMut(&Node, &Path)) {
    see(node, path);
    match &node.what {
        What::Mapping { entries, .. } => {
            for (key, value) in entries {
                if let Some(key) = key.scalar() {
                    walk(value, &path.key(key), see);
                }
            }
        }
        What::Sequence { items, .. } => {
            for (index, item) in items.iter().enumerate() {
                walk(item, &path.index(index), see);
            }
        }
        What::Scalar { .. } | What::Alias => (),
    }
}

/// Whether the predictor says where its model is, in a way we can change or not: a patch of other fields does not.
fn may_have_uri(root: &Node) -> bool {
    let Some(predictor) = root.peek("spec").and_then(|spec| spec.peek("predictor")) else { return false };
    let keys = ["storageUri", "storageUris", "storage", "<<"];
    let has =
        |node: &Node| matches!(node.what, What::Alias) || keys.iter().any(|key| node.peek(key).is_some());
    has(predictor) || predictor.entries().iter().any(|(_, part)| has(part))
}
