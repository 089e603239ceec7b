//! What is kept over a restart, in one file: the windows of every model, and how far their sources have been read. Written whole or
//! not at all, so that rows which are in the windows are never read again, and rows which are not are.

use std::borrow::Cow;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::state::ModelMemory;
use super::timed::Marks;
use crate::drift::Timestamp;
use crate::telemetry::ModelLabels;

/// First line of the file. Another one is of another version: what it holds cannot be told from what it means.
const FORMAT: &[u8] = b"driftd.state/v1\n";

/// Counts are mostly small or zero: this is fast, and a tenth of their size.
const ZSTD_LEVEL: i32 = 1;

/// All that was kept.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Snapshot {
    pub(super) saved_at: Timestamp,
    pub(super) models: Vec<SavedModel<'static>>,
    pub(super) sources: Vec<SavedSource<'static>>,
}

/// All that is to be kept: the same, as it lies there.
#[derive(Debug, Default, Serialize)]
pub(super) struct Keep<'a> {
    pub(super) saved_at: Timestamp,
    pub(super) models: Vec<KeepModel<'a>>,
    pub(super) sources: Vec<SavedSource<'a>>,
}

/// A model as it is now, or as it was kept and is not loaded yet.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum KeepModel<'a> {
    Now(Box<SavedModel<'a>>),
    Then(&'a SavedModel<'static>),
}

/// One model.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SavedModel<'a> {
    pub(super) labels: Cow<'a, ModelLabels>,
    /// SHA-256 of its baseline.
    pub(super) baseline: Cow<'a, str>,
    /// What else its counts and evidence depend on.
    pub(super) settings: Cow<'a, str>,
    /// Keys of the sources that it had rows of.
    pub(super) fed_by: Vec<Cow<'a, str>>,
    pub(super) memory: ModelMemory<'a>,
}

/// One source.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SavedSource<'a> {
    /// What makes it this one.
    pub(super) key: Cow<'a, str>,
    pub(super) watermark: Timestamp,
    pub(super) marks: Cow<'a, Marks>,
}

/// Why nothing was kept or restored.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The folder or its file cannot be read or written.
    #[error("cannot read or write {}; check `state_dir` and the volume mount", .path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Another process is at it.
    #[error("{} is used by another process; give every driftd its own `state_dir`", .path.display())]
    Locked {
        /// The folder.
        path: PathBuf,
    },
    /// The file is of another version, or broken.
    #[error("{} is not of this version of driftd, or broken: windows begin empty and logs are read anew", .path.display())]
    Format {
        /// The file.
        path: PathBuf,
    },
}

impl StateError {
    /// What is wrong, as a label value.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Io { .. } => "io",
            Self::Locked { .. } => "locked",
            Self::Format { .. } => "format",
        }
    }
}

/// The folder of `state_dir`, ours alone while this lives.
#[derive(Debug)]
pub struct StateDir {
    file: PathBuf,
    _lock: File,
}

impl StateDir {
    /// Takes the folder, which is made if it is not there.
    ///
    /// # Errors
    /// [`StateError`] if it cannot be, or another process has it.
    pub fn open(folder: &Path) -> Result<Self, StateError> {
        let io = |source| StateError::Io { path: folder.to_owned(), source };
        fs::create_dir_all(folder).map_err(io)?;
        let lock = File::options().create(true).append(true).open(folder.join("driftd.lock")).map_err(io)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { file: folder.join("driftd.state"), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(StateError::Locked { path: folder.to_owned() }),
            Err(TryLockError::Error(source)) => Err(io(source)),
        }
    }

    /// What was kept; `None` if nothing was yet.
    pub(super) fn read(&self) -> Result<Option<Snapshot>, StateError> {
        let format = || StateError::Format { path: self.file.clone() };
        let mut file = match File::open(&self.file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(|source| self.io(source))?,
        };
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(|source| self.io(source))?;
        let packed = bytes.strip_prefix(FORMAT).ok_or_else(format)?;
        let plain = zstd::decode_all(packed).map_err(|_| format())?;
        postcard::from_bytes(&plain).map(Some).map_err(|_| format())
    }

    /// Keeps this instead of what was kept. Returns how many bytes it takes.
    pub(super) fn write(&self, snapshot: &Keep<'_>) -> Result<u64, StateError> {
        let write = || {
            let folder = self.file.parent().unwrap_or(Path::new("."));
            let mut file = tempfile::Builder::new().prefix(".driftd.state.").tempfile_in(folder)?;
            file.write_all(FORMAT)?;
            let mut packed = zstd::Encoder::new(&mut file, ZSTD_LEVEL)?;
            // What a disk has spoilt must not be taken for counts.
            packed.include_checksum(true)?;
            let buffered = postcard::to_io(snapshot, io::BufWriter::with_capacity(1 << 16, packed));
            let packed =
                buffered.map_err(io::Error::other)?.into_inner().map_err(io::IntoInnerError::into_error)?;
            packed.finish()?;
            file.as_file().sync_all()?;
            let n_bytes = file.as_file().metadata()?.len();
            file.persist(&self.file).map_err(|failed| failed.error)?;
            // The name is kept once the folder is.
            File::open(folder)?.sync_all()?;
            Ok(n_bytes)
        };
        write().map_err(|source| self.io(source))
    }

    fn io(&self, source: io::Error) -> StateError {
        StateError::Io { path: self.file.clone(), source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_broken_or_of_another_version_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::open(&folder.path().join("not/there/yet")).unwrap();
        assert!(state.read().unwrap().is_none());
        let source = SavedSource {
            key: "logs".into(),
            watermark: Timestamp::from_millis(7),
            marks: Cow::Owned(Marks::from([(1, vec![5; 1000].into())])),
        };
        state.write(&Keep { sources: vec![source], ..Keep::default() }).unwrap();
        let read = state.read().unwrap().unwrap();
        assert_eq!((&*read.sources[0].key, read.sources[0].marks[&1].len()), ("logs", 1000));
        let good = fs::read(&state.file).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            fs::write(&state.file, &bad).unwrap();
            match state.read() {
                Err(StateError::Format { .. }) => (),
                // A bit of the frame's header means nothing.
                Ok(Some(read)) => assert_eq!(read.sources[0].marks[&1].len(), 1000, "byte {at}"),
                other => panic!("byte {at}: {other:?}"),
            }
            fs::write(&state.file, &good[..at]).unwrap();
            assert!(matches!(state.read(), Err(StateError::Format { .. })), "cut at {at}");
        }
    }

    #[test]
    fn a_folder_is_one_processs() {
        let folder = tempfile::tempdir().unwrap();
        let held = StateDir::open(folder.path()).unwrap();
        let error = StateDir::open(folder.path()).unwrap_err();
        assert_eq!(error.kind(), "locked");
        drop(held);
        StateDir::open(folder.path()).unwrap();
    }
}
