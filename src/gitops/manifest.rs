//! The one line of the one file: finding it, reading it, and putting another value there. Pure functions on bytes.
//!
//! Nothing here writes YAML. A value is changed by replacing the bytes of one scalar that stands there already and says what
//! is expected ([`splice()`]); a second parser, which shares no code with the first, has to find both texts equal but there.
//! What cannot be changed so (an alias, a template, a block scalar …) is refused with the reason ([`Refusal`]).

mod locate;
mod path;
mod proof;
mod remove;
mod service;
mod splice;
#[cfg(test)]
mod tests;
mod tree;

use std::fmt;

pub use locate::{FoundBy, LocateError, Located, locate};
pub use proof::other_changes;
pub use remove::remove_entry;
pub use service::read;
pub use splice::{SpliceError, splice};

use super::target::ServiceName;

/// What a manifest says of one service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Which document of the file, from 0.
    pub document: usize,
    /// The URI of the model that `spec.predictor` serves, or the scalar that a selector named.
    pub uri: Option<Field>,
    /// `spec.predictor.canaryTrafficPercent`.
    pub canary_percent: Option<Field>,
    /// `spec.canary[]`, in order.
    pub canaries: Vec<CanaryEntry>,
    /// `spec.predictor.name`.
    pub predictor_name: Option<String>,
    /// The annotation `serving.kserve.io/deploymentMode`.
    pub mode_annotation: Option<String>,
}

/// A scalar and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Keys and indices from the root of the document, as `spec.predictor.model.storageUri`.
    pub path: String,
    /// Its value, without quotes.
    pub value: String,
    /// Its line in the file, from 1.
    pub line: usize,
}

/// One entry of `spec.canary[]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CanaryEntry {
    /// From 0.
    pub index: usize,
    /// Its predictor's name.
    pub name: String,
    /// Its `trafficPercent`.
    pub percent: Option<Field>,
    /// The URI of its model.
    pub uri: Option<Field>,
}

/// Which document, or which scalar, is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// The `InferenceService` of this name. A document without a namespace gets it from elsewhere (a kustomization, an
    /// Application) and is taken.
    Service(ServiceName),
    /// A scalar of a file that is no `InferenceService`. Without a number: of the only document that has it.
    Field {
        /// From 0.
        document: Option<usize>,
        /// Keys and indices from the root, as `models.credit.uri`.
        path: String,
    },
}

/// Why a text says nothing that could be acted on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// Not UTF-8.
    #[error("it is not UTF-8 text")]
    NotText,
    /// What Git LFS leaves in place of a file.
    #[error("it is a pointer of Git LFS, not the file; keep manifests out of LFS")]
    LfsPointer,
    /// It says that a program writes it.
    #[error(
        "line {line} says that it is generated (DO NOT EDIT); name the file it is made from with `path` and `field`"
    )]
    Generated {
        /// From 1.
        line: usize,
    },
    /// Not YAML; a template, often.
    #[error("line {line} is not YAML: {text}")]
    Syntax {
        /// From 1.
        line: usize,
        /// As the parser says it.
        text: String,
    },
    /// YAML that must not be changed by bytes.
    #[error("`{path}` on line {line} {why}")]
    Refused {
        /// Where.
        path: String,
        /// From 1.
        line: usize,
        /// Why.
        why: Refusal,
    },
    /// The same service, or field, in several documents.
    #[error("documents {} of the file are all it; say which with another file or a marker", .documents.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))]
    Ambiguous {
        /// From 0.
        documents: Vec<usize>,
    },
    /// Not a path.
    #[error("`{0}` is no path of keys and indices, as `models.credit.uri` or `models[0].uri`")]
    Path(String),
}

/// Why a scalar must not be changed by bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// `*name`: the value stands elsewhere.
    Alias,
    /// `&name`: the value may be used elsewhere too.
    Anchor,
    /// `<<`: the value may come from elsewhere.
    MergeKey,
    /// `|` or `>`.
    BlockScalar,
    /// A quoted or plain scalar over several lines.
    SeveralLines,
    /// `{{ … }}`, `${…}` or `$(…)`.
    Template,
    /// `!tag`.
    Tag,
    /// The same key twice.
    DuplicateKey,
    /// Not a scalar.
    NotScalar,
    /// Not a mapping or sequence, where one has to be.
    NotCollection,
    /// Nothing, or `null`.
    Empty,
    /// `storageUris`: which of them is the model?
    StorageUris,
    /// `storage.key` and `storage.path`: the place is in a Secret.
    StorageSpec,
    /// Two models in one predictor.
    SeveralModels,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Alias => "is an alias: its value stands elsewhere in the file",
            Self::Anchor => "has an anchor: its value may be used elsewhere in the file",
            Self::MergeKey => "is in a mapping with a merge key (`<<`): its value may come from elsewhere",
            Self::BlockScalar => "is a block scalar (`|` or `>`); write it on one line",
            Self::SeveralLines => "goes over several lines; write it on one",
            Self::Template => "is a template; name the values file with `path` and `field`, or mark its line",
            Self::Tag => "has a tag (`!`)",
            Self::DuplicateKey => "stands in a mapping that has this key twice",
            Self::NotScalar => "is no scalar",
            Self::NotCollection => "has no keys or items",
            Self::Empty => "is empty",
            Self::StorageUris => "lists several URIs; only one `storageUri` can be put back",
            Self::StorageSpec => {
                "gives the place by `storage`, not by `storageUri`; name the line with `path` and `field`"
            }
            Self::SeveralModels => "is not the only `storageUri` of this predictor",
        })
    }
}
