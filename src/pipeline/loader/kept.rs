//! Baselines from elsewhere, kept on this machine: what starts while their storage is down is watched against the last ones.

use std::io::{self, Write};
use std::path::PathBuf;

use sha2::{Digest, Sha256};
use tracing::warn;

use crate::baseline::schema::hex;
use crate::baseline::{Baseline, BaselineSource};

/// A folder of them.
#[derive(Clone, Debug)]
pub(super) struct Kept(PathBuf);

impl Kept {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self(folder)
    }

    /// Named by where it is from, which may be anything but a file name.
    fn path(&self, source: &BaselineSource) -> PathBuf {
        let digest = Sha256::digest(source.to_string());
        self.0.join(hex(&digest[..16]) + ".json")
    }

    /// Keeps what is a baseline. That it could not be kept harms only a start that finds its storage down.
    pub(super) fn keep(&self, source: &BaselineSource, bytes: &[u8]) {
        let write = || {
            std::fs::create_dir_all(&self.0)?;
            let mut file = tempfile::NamedTempFile::new_in(&self.0)?;
            file.write_all(bytes)?;
            file.persist(self.path(source)).map_err(|failed| failed.error)?;
            Ok::<_, io::Error>(())
        };
        if let Err(error) = write() {
            warn!(%error, folder = %self.0.display(), "cannot keep a baseline");
        }
    }

    /// The last one from there, if there was any.
    pub(super) fn last(&self, source: &BaselineSource) -> Option<Baseline> {
        Baseline::from_json(&std::fs::read(self.path(source)).ok()?).ok()
    }
}
