//! Files of object stores that are kept for the next time, in the user's cache folder, within a bound.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::StorageError;
use super::revision::Revision;

/// A file here, of something elsewhere. It stays as long as this is held, whatever the cache does.
#[derive(Debug)]
pub struct Downloaded {
    path: PathBuf,
    /// Locked, which keeps others from deleting it.
    _lease: Option<File>,
    /// Deleted at the end where there is no cache to keep it in.
    _temporary: Option<tempfile::TempPath>,
}

impl Downloaded {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn of_file(path: PathBuf) -> Self {
        Self { path, _lease: None, _temporary: None }
    }

    pub(super) fn temporary(file: tempfile::NamedTempFile) -> Self {
        let path = file.into_temp_path();
        Self { path: path.to_owned(), _lease: None, _temporary: Some(path) }
    }
}

/// The folder.
#[derive(Debug)]
pub(super) struct Cache {
    folder: PathBuf,
    max_bytes: u64,
}

/// What is kept of one place; beside its file, and written after it.
#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    revision: Revision,
    file: String,
    n_bytes: u64,
}

/// A place in the cache, and what is there.
#[derive(Debug)]
pub(super) struct Slot<'a> {
    cache: &'a Cache,
    name: String,
    extension: String,
    entry: Option<(Entry, File)>,
}

impl Cache {
    /// Opens it; `None` where there is nowhere to keep files, which is no reason not to read them.
    pub(super) fn open(folder: Option<PathBuf>, max_bytes: u64) -> Option<Self> {
        let folder = folder?.join("objects");
        // Training data is nobody else's business.
        let mut builder = fs::DirBuilder::new();
        std::os::unix::fs::DirBuilderExt::mode(builder.recursive(true), 0o700);
        builder.create(&folder).ok()?;
        tempfile::tempfile_in(&folder).ok()?; // may be read-only
        Some(Self { folder, max_bytes })
    }

    /// What is kept of `place`, whose file name ends in `extension`.
    pub(super) fn slot(&self, place: &str, extension: &str) -> Slot<'_> {
        let name = digest(place.as_bytes());
        let mut slot = Slot { cache: self, name, extension: extension.to_owned(), entry: None };
        slot.entry = slot.read();
        slot
    }

    /// Deletes what was not used for longest until the rest fits; what somebody reads stays.
    fn shrink(&self) {
        let Ok(entries) = fs::read_dir(&self.folder) else { return };
        let with_use = |entry: io::Result<fs::DirEntry>| {
            let entry = entry.ok()?;
            // What is said of a file goes with the file.
            let name = entry.file_name().into_string().ok().filter(|name| name.contains('-'))?;
            let metadata = entry.metadata().ok()?;
            Some((metadata.modified().ok()?, metadata.len(), name))
        };
        let mut files: Vec<_> = entries.filter_map(with_use).collect();
        let mut n_bytes: u64 = files.iter().map(|(_, n_bytes, _)| n_bytes).sum();
        files.sort();
        for (_, n_file_bytes, name) in files {
            if n_bytes <= self.max_bytes {
                return;
            }
            if delete(&self.folder.join(&name)) {
                n_bytes -= n_file_bytes;
                let place = name.split('-').next().unwrap_or_default();
                drop(fs::remove_file(self.folder.join(format!("{place}.json"))));
            }
        }
    }
}

impl Slot<'_> {
    fn entry_path(&self) -> PathBuf {
        self.cache.folder.join(format!("{}.json", self.name))
    }

    /// An entry that is whole, with its file locked.
    fn read(&self) -> Option<(Entry, File)> {
        let entry: Entry = serde_json::from_slice(&fs::read(self.entry_path()).ok()?).ok()?;
        let file = File::open(self.cache.folder.join(&entry.file)).ok()?;
        file.try_lock_shared().ok()?;
        let is_whole = file.metadata().ok()?.len() == entry.n_bytes && entry.file.ends_with(&self.extension);
        is_whole.then_some((entry, file))
    }

    /// The revision that is here.
    pub(super) fn known(&self) -> Option<&Revision> {
        self.entry.as_ref().map(|(entry, _)| &entry.revision)
    }

    /// What is here is what is there.
    pub(super) fn take(self) -> Option<Downloaded> {
        let (entry, file) = self.entry?;
        // For `shrink`, which goes by it. A cache that cannot be written to is still one that can be read.
        drop(file.set_modified(SystemTime::now()));
        Some(Downloaded { path: self.cache.folder.join(entry.file), _lease: Some(file), _temporary: None })
    }

    /// A file to write to.
    pub(super) fn begin(&self) -> Result<tempfile::NamedTempFile, StorageError> {
        let io = |source| StorageError::Io { path: self.cache.folder.clone(), source };
        let file = tempfile::Builder::new().prefix("partial-").tempfile_in(&self.cache.folder).map_err(io)?;
        // Another process that shrinks the cache must not take it for something forgotten.
        file.as_file().try_lock_shared().map_err(|error| io(error.into()))?;
        Ok(file)
    }

    /// Keeps it, whole or not at all.
    pub(super) fn keep(
        self,
        file: tempfile::NamedTempFile,
        revision: &Revision,
    ) -> Result<Downloaded, StorageError> {
        let io = |source| StorageError::Io { path: self.cache.folder.clone(), source };
        let n_bytes = file.as_file().metadata().map_err(io)?.len();
        let mark = serde_json::to_vec(revision).map_err(|error| io(error.into()))?;
        let dot = if self.extension.is_empty() { "" } else { "." };
        let file_name = format!("{}-{}{dot}{}", self.name, &digest(&mark)[..16], self.extension);
        let path = self.cache.folder.join(&file_name);
        file.as_file().sync_all().map_err(io)?;
        let lease = file.persist(&path).map_err(|error| io(error.error))?;
        let entry = Entry { revision: revision.clone(), file: file_name, n_bytes };
        let mut written =
            tempfile::Builder::new().prefix("partial-").tempfile_in(&self.cache.folder).map_err(io)?;
        serde_json::to_writer(&mut written, &entry).map_err(|error| io(error.into()))?;
        written.flush().map_err(io)?;
        written.persist(self.entry_path()).map_err(|error| io(error.error))?;
        if let Some((old, lease)) = self.entry.filter(|(old, _)| old.file != entry.file) {
            drop(lease);
            delete(&self.cache.folder.join(old.file));
        }
        self.cache.shrink();
        Ok(Downloaded { path, _lease: Some(lease), _temporary: None })
    }
}

/// Deletes a file that nobody reads.
fn delete(path: &Path) -> bool {
    let is_free = File::open(path).is_ok_and(|file| file.try_lock().is_ok());
    is_free && fs::remove_file(path).is_ok()
}

/// Half of a SHA-256 in hex: enough to name a file after.
pub(super) fn digest(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    Sha256::digest(bytes)[..16].iter().fold(String::with_capacity(32), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a String cannot fail");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::super::revision::Mark;
    use super::*;

    fn put(cache: &Cache, place: &str, etag: &str, bytes: &[u8]) -> Downloaded {
        let slot = cache.slot(place, "csv");
        let mut file = slot.begin().unwrap();
        file.write_all(bytes).unwrap();
        let revision = Revision { place: place.to_owned(), mark: Mark::ETag(etag.to_owned()) };
        slot.keep(file, &revision).unwrap()
    }

    fn files(cache: &Cache) -> usize {
        fs::read_dir(&cache.folder).unwrap().count()
    }

    #[test]
    fn what_was_kept_is_found_again_and_replaced_whole() {
        let directory = tempfile::TempDir::new().unwrap();
        let cache = Cache::open(Some(directory.path().to_owned()), 1000).unwrap();
        assert!(cache.slot("a", "csv").known().is_none());
        drop(put(&cache, "a", "1", b"one"));
        assert!(matches!(&cache.slot("a", "csv").known().unwrap().mark, Mark::ETag(etag) if etag == "1"));
        let downloaded = put(&cache, "a", "2", b"two");
        assert_eq!(fs::read(downloaded.path()).unwrap(), b"two");
        assert_eq!(downloaded.path().extension().unwrap(), "csv");
        assert_eq!(files(&cache), 2, "the file before is gone");
        fs::write(downloaded.path(), b"cut off by a full disk").unwrap();
        assert!(cache.slot("a", "csv").known().is_none(), "a file of another length is not what was kept");
    }

    #[test]
    fn the_bound_holds_except_for_what_is_in_use() {
        let directory = tempfile::TempDir::new().unwrap();
        let cache = Cache::open(Some(directory.path().to_owned()), 1000).unwrap();
        let used = put(&cache, "used", "1", &[0; 900]);
        drop(put(&cache, "other", "1", &[0; 900]));
        drop(put(&cache, "third", "1", &[0; 100]));
        assert!(used.path().exists());
        assert!(cache.slot("other", "csv").known().is_none(), "the bound is 1000 bytes");
        assert!(cache.slot("third", "csv").known().is_some());
        drop(used);
        drop(put(&cache, "fourth", "1", &[0; 900]));
        assert!(cache.slot("used", "csv").known().is_none());
        assert_eq!(files(&cache), 4, "two files, and what is said of each");
    }
}
