//! Why something that a URI names could not be had.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::PathBuf;

/// The most of another program's message that is repeated in ours.
const MAX_REASON_BYTES: usize = 400;

/// What failed, where, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// A URI that is none, or not of a kind that we read.
    #[error("`{uri}` cannot be read: {problem}")]
    Uri {
        /// As given, without credentials.
        uri: String,
        /// What is wrong with it, and what to write.
        problem: String,
    },
    /// An environment variable that is missing or says nothing we understand.
    #[error("{uri}: `{name}` {problem}")]
    Setting {
        /// What was to be read.
        uri: String,
        /// The variable.
        name: &'static str,
        /// What is wrong, and what to write.
        problem: String,
    },
    /// Nothing is there.
    #[error("nothing is at {uri}{}; check the spelling, and that it was uploaded", in_brackets(.detail))]
    NotFound {
        /// Where.
        uri: String,
        /// What the server said, if anything that helps.
        detail: String,
    },
    /// The server wants other credentials.
    #[error("not allowed to read {uri}; {advice}")]
    Denied {
        /// Where.
        uri: String,
        /// Where this kind of storage gets its credentials from.
        advice: &'static str,
        /// What the server said.
        source: Reason,
    },
    /// More bytes than a baseline may have.
    #[error("{uri} is larger than {limit} bytes, so it is no baseline; check the URI")]
    TooLarge {
        /// Where.
        uri: String,
        /// How many were allowed.
        limit: u64,
    },
    /// The service does not answer, or only with failures of its own, also after trying again.
    #[error("cannot get {uri}: the service failed; check that it runs and can be reached from here{advice}")]
    Unavailable {
        /// Where.
        uri: String,
        /// What else to check, `""` if nothing comes to mind.
        advice: &'static str,
        /// What happened.
        source: Reason,
    },
    /// The service understood us and said no, for another reason than those above.
    #[error("cannot get {uri}: the service refused; check the URI and the service's log")]
    Refused {
        /// Where.
        uri: String,
        /// What it said.
        source: Reason,
    },
    /// A file of this machine.
    #[error("cannot use {}; check the path and its permissions", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl StorageError {
    /// Every value of [`Self::kind`].
    pub const KINDS: [&str; 7] =
        ["uri", "setting", "not_found", "denied", "too_large", "unavailable", "refused"];

    /// What is wrong, as a label value: one of [`Self::KINDS`], or `io`, which other errors share.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Uri { .. } => "uri",
            Self::Setting { .. } => "setting",
            Self::NotFound { .. } => "not_found",
            Self::Denied { .. } => "denied",
            Self::TooLarge { .. } => "too_large",
            Self::Unavailable { .. } => "unavailable",
            Self::Refused { .. } => "refused",
            Self::Io { .. } => "io",
        }
    }

    /// A server that says "not modified" to someone who knows nothing yet.
    pub(crate) fn unasked(uri: String) -> Self {
        Self::Refused { uri, source: Reason::new("it says that nothing has changed, but was not asked") }
    }

    /// Whether a service failed, rather than whoever wrote the URI.
    pub const fn is_unavailable(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }
}

/// What a library or a server gave as the reason: its own words without the layers around them, which repeat each other
/// and name addresses that may carry a signature.
#[derive(Debug)]
pub struct Reason(String);

impl Reason {
    /// In its own words, cut where a server answers with a page.
    pub(super) fn new(text: impl AsRef<str>) -> Self {
        let line = text.as_ref().split_whitespace().collect::<Vec<_>>().join(" ");
        let mut end = line.len().min(MAX_REASON_BYTES);
        while !line.is_char_boundary(end) {
            end -= 1;
        }
        let cut = if end < line.len() { "…" } else { "" };
        Self(format!("{}{cut}", &line[..end]))
    }

    /// The innermost error: the others only say that it happened.
    pub(super) fn innermost(error: &(dyn Error + 'static)) -> Self {
        let mut innermost = error;
        while let Some(source) = innermost.source() {
            innermost = source;
        }
        Self::new(innermost.to_string())
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Reason {}

fn in_brackets(detail: &str) -> String {
    if detail.is_empty() { String::new() } else { format!(" ({detail})") }
}
