//! Why a file is no baseline.

use std::io;
use std::path::PathBuf;

use crate::drift::score::ReferenceError;
use crate::drift::{EdgeError, GroupError};
use crate::storage::StorageError;

/// A baseline that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BaselineError {
    /// The file cannot be read.
    #[error("cannot read baseline {}; check the path and the volume mount", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Nothing came from where its URI says it is.
    #[error("it could not be fetched")]
    Storage(#[from] StorageError),
    /// The file cannot be written.
    #[error("cannot write baseline {}; check that its folder is there and may be written to", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Far longer than any baseline.
    #[error("{} is longer than {max_bytes} bytes, which no baseline is; check the path", .path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The most that is read.
        max_bytes: u64,
    },
    /// More models than the daemon may hold.
    #[error(
        "there are more than {max_models} models, and those past it are not watched; raise `max_models` or remove some"
    )]
    TooMany {
        /// As configured.
        max_models: usize,
    },
    /// Two baselines for one model.
    #[error(
        "model `{model}` version `{version}` has another baseline already, from {first}; give this one another model, version or namespace"
    )]
    Twice {
        /// Its name.
        model: String,
        /// Its version.
        version: String,
        /// Where the one in force is from.
        first: String,
    },
    /// Not JSON, or not with our fields.
    #[error("not a baseline; make one with `driftd baseline build`")]
    Json(#[source] serde_json::Error),
    /// Of another format, or another major version of ours.
    #[error(
        "format is `{found}`, this driftd reads `{}`; rebuild the file with `driftd baseline build` of this version",
        super::artifact::FORMAT
    )]
    Format {
        /// What `format` says.
        found: String,
    },
    /// A kind of feature that a later version may know.
    #[error(
        "feature `{feature}` is of kind `{kind}`, which this driftd does not know; update driftd or rebuild the file without it"
    )]
    Kind {
        /// The feature.
        feature: String,
        /// What `kind` says.
        kind: String,
    },
    /// Cut points that are none.
    #[error("feature `{feature}`: bad bin edges; rebuild the file with `driftd baseline build`")]
    Edges {
        /// The feature.
        feature: String,
        /// What is wrong with them.
        source: EdgeError,
    },
    /// Groups that are none.
    #[error("feature `{feature}`: bad `group_starts`; rebuild the file with `driftd baseline build`")]
    Groups {
        /// The feature.
        feature: String,
        /// What is wrong with them.
        source: GroupError,
    },
    /// Counts that do not fit the bins.
    #[error(
        "feature `{feature}`: the counts are not those of its bins; rebuild the file with `driftd baseline build`"
    )]
    Counts {
        /// The feature.
        feature: String,
        /// What is wrong with them.
        source: ReferenceError,
    },
    /// Fields that contradict each other.
    #[error("feature `{feature}`: {problem}; rebuild the file with `driftd baseline build`")]
    Inconsistent {
        /// The feature.
        feature: String,
        /// What contradicts what.
        problem: &'static str,
    },
    /// Baselines over different bins.
    #[error("feature `{feature}`: {problem}; build all parts with `--edges-from` one of them")]
    NotMergeable {
        /// The feature.
        feature: String,
        /// How they differ.
        problem: &'static str,
    },
}

impl BaselineError {
    /// Every value of [`Self::kind`].
    pub const KINDS: [&str; 15] = {
        let [uri, setting, not_found, denied, too_large, unavailable, refused] = StorageError::KINDS;
        [
            "io",
            "json",
            "format",
            "kind",
            "invalid",
            "not_mergeable",
            "too_many",
            "twice",
            uri,
            setting,
            not_found,
            denied,
            too_large,
            unavailable,
            refused,
        ]
    };

    /// What is wrong, as a label value: one of [`Self::KINDS`].
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Read { .. } | Self::Write { .. } => "io",
            Self::TooLarge { .. } => "too_large",
            Self::TooMany { .. } => "too_many",
            Self::Twice { .. } => "twice",
            Self::Storage(error) => error.kind(),
            Self::Json(_) => "json",
            Self::Format { .. } => "format",
            Self::Kind { .. } => "kind",
            Self::Edges { .. } | Self::Groups { .. } | Self::Counts { .. } | Self::Inconsistent { .. } => {
                "invalid"
            }
            Self::NotMergeable { .. } => "not_mergeable",
        }
    }
}
