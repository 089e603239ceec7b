//! Where the demo's files are: models, repository, journal, configuration.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use tempfile::TempDir;

/// A folder of the demo's own.
#[derive(Debug)]
pub enum Files {
    /// Removed when dropped.
    Temporary(TempDir),
    /// Left.
    Kept(PathBuf),
}

impl Files {
    /// In `wanted`, which is made; or in a temporary folder.
    ///
    /// # Errors
    /// If `wanted` has something in it or cannot be made, or either has a name that no `file://` URI can have as it is.
    pub fn open(wanted: Option<&Path>) -> anyhow::Result<Self> {
        let Some(wanted) = wanted else {
            let folder = tempfile::Builder::new().prefix("driftd-demo-").tempdir();
            let folder = folder.context("creating a folder for the demo's files")?;
            check_plain(folder.path())?;
            return Ok(Self::Temporary(folder));
        };
        let folder =
            std::path::absolute(wanted).with_context(|| format!("`--files {}`", wanted.display()))?;
        check_plain(&folder)?;
        make_empty(&folder)?;
        Ok(Self::Kept(folder))
    }

    /// Where.
    pub fn path(&self) -> &Path {
        match self {
            Self::Temporary(folder) => folder.path(),
            Self::Kept(folder) => folder,
        }
    }

    /// Whether they stay when the demo ends.
    pub const fn are_kept(&self) -> bool {
        matches!(self, Self::Kept(_))
    }
}

/// The path stands in URIs and in a manifest, and is not escaped there.
fn check_plain(folder: &Path) -> anyhow::Result<()> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.".contains(&byte);
    if folder.as_os_str().as_encoded_bytes().iter().copied().all(is_plain) {
        return Ok(());
    }
    anyhow::bail!(
        "the demo's files cannot be in {}: the path becomes part of URIs, and may have letters, digits, `/`, `-`, `_` and `.` alone; \
         name another folder with `--files`",
        folder.display()
    )
}

fn make_empty(folder: &Path) -> anyhow::Result<()> {
    // Tokens will lie in it.
    match fs::DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => (),
        made => made.with_context(|| format!("creating {}", folder.display()))?,
    }
    let mut entries = fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    if entries.next().is_some() {
        anyhow::bail!(
            "{} is not empty; give `--files` a folder that is, or that is not there",
            folder.display()
        );
    }
    Ok(())
}
