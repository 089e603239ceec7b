//! Which state of a file was read, so that it is read again only once it is another.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

use serde::{Deserialize, Serialize};

/// The state of what was read: where it was, and what the service there said of it. Equal ones mean equal bytes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Revision {
    /// An alias may mean another place the next time.
    pub(super) place: String,
    pub(super) mark: Mark,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Mark {
    ETag(String),
    /// As the server wrote it.
    LastModified {
        at: String,
        n_bytes: Option<u64>,
    },
    /// A file that is renamed into place may have the time and the length of the one before, but is another file.
    File {
        seconds: i64,
        nanoseconds: i64,
        n_bytes: u64,
        inode: u64,
    },
    /// The server says nothing: it may be another one at any time.
    Unknown,
}

impl Revision {
    pub(super) fn of_file(place: String, metadata: &Metadata) -> Self {
        let mark = Mark::File {
            seconds: metadata.mtime(),
            nanoseconds: metadata.mtime_nsec(),
            n_bytes: metadata.len(),
            inode: metadata.ino(),
        };
        Self { place, mark }
    }

    /// Whether it is certain that both are the same.
    pub fn is(&self, other: &Self) -> bool {
        self.mark != Mark::Unknown && self.mark == other.mark && self.place == other.place
    }

    /// What to ask a server with, if this is of the same place.
    pub(super) fn mark_at(&self, place: &str) -> Option<&Mark> {
        (self.place == place).then_some(&self.mark)
    }
}
