//! How far a file has been read, and by what it is known again: by its place on the disk, and by its first bytes, as files are
//! renamed, copied and compressed while they are read.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_64;

use super::content::PACKED;

/// So many first bytes tell one file from all others of its name.
pub(super) const HEAD_BYTES: usize = 1024;

/// Events of a file that are counted although an earlier one still waits for its other half, at most; past this, those that wait
/// are given up for lost if we die before their other half comes.
pub(super) const MAX_DONE: usize = 100_000;

/// Where a file lies: a path may lead to another one later, and a file be found under another path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Inode {
    pub(super) device: u64,
    pub(super) number: u64,
}

impl Inode {
    /// Of no file.
    pub(super) const NONE: Self = Self { device: 0, number: 0 };
}

/// The first bytes of a file's content, as far as it had any when they were read; whole lines, if it had less than are asked for: a
/// part of one tells no file from others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    len: u32,
    hash: u64,
}

impl Head {
    pub(super) fn of(bytes: &[u8]) -> Self {
        let is_full = bytes.len() >= HEAD_BYTES;
        let n_bytes = if is_full { HEAD_BYTES } else { memchr::memrchr(b'\n', bytes).map_or(0, |at| at + 1) };
        Self::of_all(&bytes[..n_bytes])
    }

    /// That of a file which is whole without a line feed.
    pub(super) fn of_all(bytes: &[u8]) -> Self {
        let bytes = &bytes[..bytes.len().min(HEAD_BYTES)];
        let len = u32::try_from(bytes.len()).expect("cut to a few bytes above");
        if len == 0 { Self::default() } else { Self { len, hash: XxHash3_64::oneshot(bytes) } }
    }

    /// Whether content that begins so may be this one, grown since or not. Nothing is known of an empty file.
    pub(super) fn begins(&self, bytes: &[u8]) -> bool {
        let len = self.len as usize;
        len > 0 && bytes.len() >= len && Self::of_all(&bytes[..len]) == *self
    }

    /// Whether more is known by it.
    pub(super) fn is_longer_than(&self, other: &Self) -> bool {
        self.len > other.len
    }
}

/// How far a file has been read. What stands before `offset` was counted, and no other line than those named here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Position {
    pub(super) path: PathBuf,
    pub(super) inode: Inode,
    pub(super) head: Head,
    /// Of the content, which in a compressed file is not that of the file.
    pub(super) offset: u64,
    /// Lines of either stream of a container are counted up to here, where one has a line of which only a part was written.
    pub(super) streams: [u64; 2],
    /// Events behind `offset` that are counted already: the start of their line, and which of its events.
    pub(super) done: BTreeSet<(u64, u32)>,
    /// Nothing more will come.
    pub(super) is_finished: bool,
}

impl Position {
    pub(super) fn start(path: &Path, inode: Inode, head: Head) -> Self {
        Self {
            path: path.to_owned(),
            inode,
            head,
            offset: 0,
            streams: [0; 2],
            done: BTreeSet::new(),
            is_finished: false,
        }
    }

    /// The same under another name, with content that begins with `head`.
    pub(super) fn found_at(&self, path: PathBuf, inode: Inode, head: &[u8]) -> Self {
        let head = Head::of(head);
        let head = if head.is_longer_than(&self.head) { head } else { self.head };
        Self { path, inode, head, ..self.clone() }
    }

    /// For a state file.
    pub(super) fn to_bytes(&self) -> Box<[u8]> {
        postcard::to_allocvec(self).expect("plain data has a form").into()
    }

    /// From a state file; `None` if it was written by another version.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        postcard::from_bytes(bytes).ok()
    }
}

/// Whether one log may have been rotated into both, by their names: `app.log`, `app.log.1`, `app.log-20260501.gz`, `app.log.bak`.
pub(super) fn are_kin(a: &Path, b: &Path) -> bool {
    let name =
        |path: &Path| path.file_name().map(|name| name.as_encoded_bytes().to_vec()).unwrap_or_default();
    let is_prefix = || {
        let (a, b) = (name(a), name(b));
        a.starts_with(&b) || b.starts_with(&a)
    };
    a.parent() == b.parent() && (family(a) == family(b) || is_prefix())
}

/// A path without what rotation adds to it.
fn family(path: &Path) -> PathBuf {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let mut stem = name.as_str();
    for packed in PACKED {
        stem = stem.strip_suffix(packed).and_then(|stem| stem.strip_suffix('.')).unwrap_or(stem);
    }
    let is_stamp =
        |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'-' | b'_' | b'T' | b':'));
    while let Some(at) = stem.rfind(['.', '-', '_'])
        && at > 0
        && is_stamp(&stem[at + 1..])
    {
        stem = &stem[..at];
    }
    path.with_file_name(stem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotated_files_are_of_one_family() {
        let are_kin = |a: &str, b: &str| are_kin(Path::new(a), Path::new(b));
        let rotated =
            ["app.log", "app.log.1", "app.log.2.gz", "app.log-20260501.zst", "app.log.20260501-120000.gz"];
        for (a, b) in rotated.iter().flat_map(|a| rotated.map(|b| (a, b))) {
            assert!(are_kin(a, b), "{a} {b}");
        }
        assert!(are_kin("app.log", "app.log.bak") && are_kin("app-2026-05-01.log", "app-2026-05-01.log.gz"));
        assert!(are_kin("0.log", "0.log.20260501-120000.gz") && !are_kin("0.log", "1.log"));
        assert!(!are_kin("a/app.log", "b/app.log") && !are_kin("2026-05-01.jsonl", "2026-05-02.jsonl"));
    }

    #[test]
    fn a_head_is_that_of_the_same_content_grown_and_of_no_other() {
        let content: Vec<u8> = (0..3000u32).map(|at| (at % 251) as u8).collect();
        let head = Head::of_all(&content[..100]);
        assert!(head.begins(&content) && head.begins(&content[..100]));
        assert!(!head.begins(&content[..99]) && !head.begins(&content[1..]));
        assert_eq!(Head::of(&content), Head::of(&content[..HEAD_BYTES]));
        assert!(Head::of(&content).is_longer_than(&head));
        assert!(!Head::of(b"").begins(&content), "an empty file may be any");
        assert_eq!(Head::of(b"one\ntw"), Head::of(b"one\n"));
        assert_eq!(Head::of(b"on"), Head::default(), "and so may one with a part of a line");
    }
}
