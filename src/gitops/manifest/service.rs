//! Reading one service out of a manifest.

use granit_parser::ScalarStyle;

use super::path::Path;
use super::tree::{Node, What, parse};
use super::{CanaryEntry, Field, ManifestError, Refusal, Selector, Service};
use crate::gitops::target::ServiceName;

/// What `bytes` says of what is selected; `None` if it says nothing of it.
///
/// # Errors
/// [`ManifestError`] if the text cannot be read, or says it in a way that must not be changed by bytes.
pub fn read(bytes: &[u8], selector: &Selector) -> Result<Option<Service>, ManifestError> {
    let documents = parse(bytes)?;
    let found = match selector {
        Selector::Service(name) => service(bytes, &documents, name)?,
        Selector::Field { document, path } => scalar(bytes, &documents, *document, &Path::parse(path)?)?,
    };
    match found {
        Some(found) => check_generated(bytes).map(|()| Some(found)),
        None => Ok(None),
    }
}

fn service(bytes: &[u8], documents: &[Node], name: &ServiceName) -> Result<Option<Service>, ManifestError> {
    let is_it = |document: &&Node| identity(document).is_some_and(|found| found.may_be(name));
    let found: Vec<usize> =
        documents.iter().enumerate().filter(|(_, d)| is_it(d)).map(|(at, _)| at).collect();
    match found[..] {
        [] => Ok(None),
        [only] => inference_service(bytes, &documents[only], only).map(Some),
        _ => Err(ManifestError::Ambiguous { documents: found }),
    }
}

fn scalar(
    bytes: &[u8],
    documents: &[Node],
    document: Option<usize>,
    path: &Path,
) -> Result<Option<Service>, ManifestError> {
    let mut found = Vec::new();
    for (at, root) in documents.iter().enumerate() {
        if document.is_none_or(|wanted| wanted == at)
            && let Some(node) = root.follow(path)?
        {
            found.push((at, node));
        }
    }
    match found[..] {
        [] => Ok(None),
        [(at, node)] => Ok(Some(Service { uri: Some(field(bytes, node, path)?), ..nothing(at) })),
        _ => Err(ManifestError::Ambiguous { documents: found.iter().map(|(at, _)| *at).collect() }),
    }
}

fn nothing(document: usize) -> Service {
    Service {
        document,
        uri: None,
        canary_percent: None,
        canaries: Vec::new(),
        predictor_name: None,
        mode_annotation: None,
    }
}

/// The name of an `InferenceService`, as its document has it.
pub(super) struct Identity<'a> {
    pub(super) name: &'a str,
    pub(super) namespace: Option<&'a str>,
}

impl Identity<'_> {
    pub(super) fn may_be(&self, name: &ServiceName) -> bool {
        self.name == name.name() && self.namespace.is_none_or(|namespace| namespace == name.namespace())
    }
}

pub(super) fn identity(document: &Node) -> Option<Identity<'_>> {
    let is_ours = document.peek("kind")?.scalar()? == "InferenceService"
        && document.peek("apiVersion")?.scalar()?.starts_with("serving.kserve.io/");
    let metadata = document.peek("metadata")?;
    let namespace = metadata.peek("namespace").and_then(Node::scalar).filter(|name| !name.is_empty());
    is_ours.then_some(Identity { name: metadata.peek("name")?.scalar()?, namespace })
}

fn inference_service(bytes: &[u8], root: &Node, document: usize) -> Result<Service, ManifestError> {
    let here = Path::default();
    let mut service = nothing(document);
    service.mode_annotation = root
        .peek("metadata")
        .and_then(|metadata| metadata.peek("annotations"))
        .and_then(|annotations| annotations.peek("serving.kserve.io/deploymentMode"))
        .and_then(Node::scalar)
        .map(str::to_owned);
    let Some(spec) = root.key("spec", &here)? else { return Ok(service) };
    let here = here.key("spec");
    if let Some(predictor) = spec.key("predictor", &here)? {
        let here = here.key("predictor");
        service.uri = model_uri(bytes, predictor, &here)?;
        service.canary_percent = optional(bytes, predictor, "canaryTrafficPercent", &here)?;
        service.predictor_name = predictor.peek("name").and_then(Node::scalar).map(str::to_owned);
    }
    if let Some(canaries) = spec.key("canary", &here)? {
        let here = here.key("canary");
        canaries.check_route(&here)?;
        for (index, entry) in canaries.items().iter().enumerate() {
            service.canaries.push(canary(bytes, entry, index, &here.index(index))?);
        }
    }
    Ok(service)
}

fn canary(bytes: &[u8], entry: &Node, index: usize, here: &Path) -> Result<CanaryEntry, ManifestError> {
    let percent = optional(bytes, entry, "trafficPercent", here)?;
    let predictor = entry.key("predictor", here)?;
    let name = [predictor, Some(entry)]
        .into_iter()
        .flatten()
        .find_map(|node| node.peek("name")?.scalar())
        .unwrap_or_default()
        .to_owned();
    let uri = match predictor {
        Some(predictor) => model_uri(bytes, predictor, &here.key("predictor"))?,
        None => None,
    };
    Ok(CanaryEntry { index, name, percent, uri })
}

/// `model.storageUri`, or the old `sklearn.storageUri` and its like: of whatever part of a predictor has one.
fn model_uri(bytes: &[u8], predictor: &Node, here: &Path) -> Result<Option<Field>, ManifestError> {
    let mut found: Option<Field> = None;
    predictor.check_route(here)?;
    for (key, part) in predictor.entries() {
        let Some(key) = key.scalar() else { continue };
        let there = here.key(key);
        if key == "storageUris" {
            return Err(part.refused(&there, Refusal::StorageUris));
        }
        for (other, why) in [("storageUris", Refusal::StorageUris), ("storage", Refusal::StorageSpec)] {
            if let Some(node) = part.peek(other) {
                return Err(node.refused(&there.key(other), why));
            }
        }
        let may_come_from_elsewhere = matches!(part.what, What::Alias) || part.peek("<<").is_some();
        if part.peek("storageUri").is_none() && !(key == "model" && may_come_from_elsewhere) {
            continue;
        }
        // Once more by the strict steps, which refuse what makes the value, or its place, not the only one.
        let Some(part) = predictor.key(key, here)? else { continue };
        let Some(node) = part.key("storageUri", &there)? else { continue };
        let path = there.key("storageUri");
        if found.is_some() {
            return Err(node.refused(&path, Refusal::SeveralModels));
        }
        found = Some(field(bytes, node, &path)?);
    }
    Ok(found)
}

fn optional(bytes: &[u8], node: &Node, key: &str, here: &Path) -> Result<Option<Field>, ManifestError> {
    node.key(key, here)?.map(|value| field(bytes, value, &here.key(key))).transpose()
}

/// A scalar that may be changed by bytes.
pub(super) fn field(bytes: &[u8], node: &Node, path: &Path) -> Result<Field, ManifestError> {
    node.check_route(path)?;
    let refuse = |why| Err(node.refused(path, why));
    let (value, style) = match &node.what {
        What::Scalar { value, style } => (value, *style),
        What::Mapping { is_flow: true, .. } if line_of(bytes, node.at.start).contains("{{") => {
            return refuse(Refusal::Template);
        }
        _ => return refuse(Refusal::NotScalar),
    };
    if matches!(style, ScalarStyle::Literal | ScalarStyle::Folded) {
        return refuse(Refusal::BlockScalar);
    }
    let is_plain = style == ScalarStyle::Plain;
    if value.is_empty() || (is_plain && matches!(value.as_str(), "null" | "~" | "Null" | "NULL")) {
        return refuse(Refusal::Empty);
    }
    if bytes.get(node.at.clone()).is_none_or(|source| source.contains(&b'\n') || source.contains(&b'\r')) {
        return refuse(Refusal::SeveralLines);
    }
    if line_of(bytes, node.at.start).contains("{{") || value.contains("${") || value.contains("$(") {
        return refuse(Refusal::Template);
    }
    Ok(Field { path: path.to_string(), value: value.clone(), line: node.line })
}

/// The line that this byte is on, without its end.
pub(super) fn line_of(bytes: &[u8], at: usize) -> std::borrow::Cow<'_, str> {
    let start = bytes[..at].iter().rposition(|byte| *byte == b'\n').map_or(0, |before| before + 1);
    let end = bytes[at..].iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |behind| at + behind);
    String::from_utf8_lossy(&bytes[start..end])
}

/// A rendered file is written over by what renders it, and our line with it. Such files say so on top.
fn check_generated(bytes: &[u8]) -> Result<(), ManifestError> {
    let top = bytes.split(|byte| *byte == b'\n').take(5).enumerate();
    for (at, line) in top {
        let is_comment = line.trim_ascii_start().starts_with(b"#");
        if is_comment && memchr::memmem::find(line, b"DO NOT EDIT").is_some() {
            return Err(ManifestError::Generated { line: at + 1 });
        }
    }
    Ok(())
}
