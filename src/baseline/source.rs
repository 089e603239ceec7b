//! Where a baseline comes from, and whether it is still the same there.

use std::borrow::Cow;
use std::fmt;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::BaselineError;
use super::schema::hex;
use crate::storage::{self, Location, StorageError};

/// A longer file is none of ours: a hundred features take some tens of KiB.
const MAX_BYTES: u64 = 64 << 20;

/// Time stamps of files are as coarse as the kernel's tick, or as the file system pleases: a file that was changed this
/// recently may change once more without another stamp, and is read again.
const SETTLED_AFTER: Duration = Duration::from_secs(2);

/// Where a baseline comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BaselineSource {
    /// A file.
    File(PathBuf),
    /// Somewhere else: the baseline itself, or the model that it lies beside.
    Remote(Box<Location>),
    /// Nowhere that can be read, as a pod's storage URI may be: told wherever a baseline is asked of it.
    Unreadable(String),
}

/// What a source held when it was read. Equal only if it need not be read again.
#[derive(Clone, Debug)]
pub enum Revision {
    /// Of a file.
    File(Stamp),
    /// Of what is elsewhere.
    Remote(storage::Revision),
}

impl PartialEq for Revision {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::File(a), Self::File(b)) => a == b,
            (Self::Remote(a), Self::Remote(b)) => a.is(b),
            _ => false,
        }
    }
}

/// What the file system says of a file, which takes microseconds to ask: followed through links, so that a Kubernetes
/// volume whose `..data` link is swapped has another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    device: u64,
    inode: u64,
    len: u64,
    modified: Option<SystemTime>,
}

impl From<&Metadata> for Stamp {
    fn from(metadata: &Metadata) -> Self {
        let modified = metadata.modified().ok();
        Self { device: metadata.dev(), inode: metadata.ino(), len: metadata.len(), modified }
    }
}

/// The answer of a source.
#[derive(Debug)]
pub enum Fetched {
    /// What is there is what was there.
    NotModified,
    /// What is there now.
    New {
        /// The file's bytes.
        bytes: Bytes,
        /// To ask with next time; `None` if that would miss a change.
        revision: Option<Revision>,
    },
}

impl BaselineSource {
    /// A path or a URI, of the baseline or of the model that it lies beside.
    pub fn parse(uri: &str) -> Self {
        match Location::parse(uri) {
            Err(_) => Self::Unreadable(uri.to_owned()),
            Ok(location) => match location.local_path() {
                Some(path) => Self::File(path.to_owned()),
                None => Self::Remote(Box::new(location)),
            },
        }
    }

    /// That of the baseline beside a model.
    pub fn beside(storage_uri: &str) -> Self {
        match Self::parse(storage_uri) {
            Self::File(path) => Self::File(path.join(storage::BASELINE_NAME)),
            elsewhere => elsewhere,
        }
    }

    /// Whether it is read in the time that a local file takes.
    pub const fn is_local(&self) -> bool {
        matches!(self, Self::File(_) | Self::Unreadable(_))
    }

    /// What is there, if that is not `known`.
    ///
    /// # Errors
    /// [`BaselineError`] if it cannot be read; [`BaselineError::is_absent`] tells whether that is because nothing is there.
    pub fn fetch(&self, known: Option<&Revision>) -> Result<Fetched, BaselineError> {
        match self {
            Self::File(path) => read_file(&file_at(path), known),
            Self::Remote(location) => {
                let known = known.and_then(|known| match known {
                    Revision::Remote(known) => Some(known),
                    Revision::File(_) => None,
                });
                Ok(match location.fetch_baseline(known)? {
                    storage::Fetched::NotModified => Fetched::NotModified,
                    storage::Fetched::New { bytes, revision } => {
                        Fetched::New { bytes, revision: Some(Revision::Remote(revision)) }
                    }
                })
            }
            Self::Unreadable(uri) => Err(Location::parse(uri).err().map_or_else(
                || BaselineError::Read { path: uri.into(), source: io::ErrorKind::Unsupported.into() },
                BaselineError::Storage,
            )),
        }
    }

    /// The revision that is there now, where that costs next to nothing to know.
    pub fn glance(&self) -> Option<Revision> {
        let Self::File(path) = self else { return None };
        std::fs::metadata(file_at(path)).ok().map(|metadata| Revision::File(Stamp::from(&metadata)))
    }
}

impl fmt::Display for BaselineSource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(formatter),
            Self::Remote(location) => location.fmt(formatter),
            Self::Unreadable(uri) => formatter.write_str(&storage::without_credentials(uri)),
        }
    }
}

/// A folder stands for the model in it.
fn file_at(path: &Path) -> Cow<'_, Path> {
    if path.is_dir() { path.join(storage::BASELINE_NAME).into() } else { path.into() }
}

fn read_file(path: &Path, known: Option<&Revision>) -> Result<Fetched, BaselineError> {
    let failed = |source| BaselineError::Read { path: path.to_owned(), source };
    // Asked before it is read: what changes meanwhile has another stamp, and is read the next time.
    let metadata = std::fs::metadata(path).map_err(failed)?;
    let stamp = Stamp::from(&metadata);
    if known.is_some_and(|known| *known == Revision::File(stamp.clone())) {
        return Ok(Fetched::NotModified);
    }
    if metadata.len() > MAX_BYTES {
        return Err(BaselineError::TooLarge { path: path.to_owned(), max_bytes: MAX_BYTES });
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(BaselineError::TooLarge { path: path.to_owned(), max_bytes: MAX_BYTES });
    }
    let age = stamp.modified.and_then(|modified| SystemTime::now().duration_since(modified).ok());
    let is_settled = age.is_some_and(|age| age > SETTLED_AFTER);
    Ok(Fetched::New { bytes: bytes.into(), revision: is_settled.then_some(Revision::File(stamp)) })
}

/// The version that is served from a place: its last segment, and 8 hex digits of the whole, since many are called `model`.
pub fn version_of(storage_uri: &str) -> String {
    let uri = storage_uri.trim_end_matches('/');
    let segment = uri.rsplit(['/', ':']).next().unwrap_or_default();
    format!("{segment}-{}", hash_of(uri))
}

/// 8 hex digits of the SHA-256 of a URI.
pub(crate) fn hash_of(uri: &str) -> String {
    hex(&Sha256::digest(uri)[..4])
}

impl BaselineError {
    /// Whether nothing is there, as opposed to something that cannot be read.
    pub fn is_absent(&self) -> bool {
        match self {
            Self::Read { source, .. } => {
                matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
            }
            Self::Storage(error) => matches!(error, StorageError::NotFound { .. }),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_a_path_unless_it_has_a_scheme() {
        let file = |path: &str| BaselineSource::File(path.into());
        assert_eq!(BaselineSource::parse("/etc/driftd/a.json"), file("/etc/driftd/a.json"));
        assert_eq!(BaselineSource::parse("a:b/c.json"), file("a:b/c.json"));
        assert_eq!(BaselineSource::parse("file:///a.json"), file("/a.json"));
        assert_eq!(BaselineSource::beside("/mnt/models/"), file("/mnt/models/driftd-baseline.json"));
        assert!(matches!(BaselineSource::beside("s3://bucket/credit/v3"), BaselineSource::Remote(_)));
        let nowhere = BaselineSource::beside("hf://user:secret@org/model");
        let error = nowhere.fetch(None).unwrap_err();
        assert_eq!((error.kind(), error.is_absent(), nowhere.is_local()), ("uri", false, true));
        assert!(!nowhere.to_string().contains("secret"), "{nowhere}");
    }

    #[test]
    fn a_version_is_told_by_the_uri_and_not_by_its_trailing_slash() {
        let version = version_of("s3://bucket/credit/v3");
        assert_eq!(version, "v3-41c83040");
        assert_eq!(version_of("s3://bucket/credit/v3/"), version);
        assert_ne!(version_of("s3://bucket/fraud/v3"), version);
    }

    #[test]
    fn a_file_is_read_again_until_its_stamp_can_be_trusted() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("a.json");
        let source = BaselineSource::File(path.clone());
        assert!(source.fetch(None).unwrap_err().is_absent() && source.glance().is_none());
        std::fs::write(&path, "one").unwrap();
        let Fetched::New { bytes, revision: None } = source.fetch(None).unwrap() else {
            panic!("just changed")
        };
        assert_eq!(&*bytes, b"one");
        let an_hour_ago = SystemTime::now() - Duration::from_hours(1);
        File::options().write(true).open(&path).unwrap().set_modified(an_hour_ago).unwrap();
        let Fetched::New { revision: Some(revision), .. } = source.fetch(None).unwrap() else {
            panic!("old")
        };
        assert_eq!(source.glance().as_ref(), Some(&revision));
        assert!(matches!(source.fetch(Some(&revision)).unwrap(), Fetched::NotModified));
        std::fs::write(&path, "two").unwrap();
        assert!(
            matches!(source.fetch(Some(&revision)).unwrap(), Fetched::New { bytes, .. } if &*bytes == b"two")
        );
    }
}
