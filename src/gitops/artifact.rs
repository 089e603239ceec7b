//! Whether what a URI names is there, and whether it is still the same.

use std::path::Path;

use sha2::{Digest as _, Sha256};

use crate::baseline::schema::hex;
use crate::storage::{Bucket, Location, Settings, StorageError};

/// A model of more files is not looked through on this machine's disk.
const MAX_FILES: usize = 100_000;

/// What is known of an artifact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Artifact {
    /// It is there. Equal digests are of the same objects: names, sizes and entity tags.
    Digest(String),
    /// Nothing is there.
    Missing,
    /// Nobody can say: a store that cannot be listed, or that does not answer.
    Unknown(String),
}

/// Looks at what a storage URI names: the folder of a model, or its one file.
pub async fn look(uri: &str) -> Artifact {
    look_with(uri, &Settings::from_env()).await
}

/// The same with settings of one's own.
pub async fn look_with(uri: &str, settings: &Settings) -> Artifact {
    let folder = format!("{}/", uri.trim_end_matches('/'));
    let location = match Location::parse(uri) {
        Ok(location) => location,
        Err(error) => return Artifact::Unknown(error.to_string()),
    };
    if let Some(path) = location.local_path() {
        let path = path.to_owned();
        return match tokio::task::spawn_blocking(move || of_files(&path)).await {
            Ok(artifact) => artifact,
            Err(error) => Artifact::Unknown(error.to_string()),
        };
    }
    // As KServe does: what lies below the URI, or the object of that very name.
    for candidate in [folder.as_str(), uri.trim_end_matches('/')] {
        match of_bucket(candidate, settings).await {
            Ok(lines) if lines.is_empty() => (),
            Ok(lines) => return digest(lines),
            Err(StorageError::NotFound { .. }) => (),
            Err(error) => return Artifact::Unknown(error.to_string()),
        }
    }
    Artifact::Missing
}

async fn of_bucket(uri: &str, settings: &Settings) -> Result<Vec<String>, StorageError> {
    let bucket = Bucket::open(&Location::parse(uri)?, settings)?;
    let line =
        |stored: crate::storage::Stored| format!("{}\0{}\0{}\n", stored.uri, stored.n_bytes, stored.revision);
    Ok(bucket.list().await?.into_iter().map(line).collect())
}

/// Files have no entity tags; who changes one changes its length or its time.
fn of_files(root: &Path) -> Artifact {
    let (mut folders, mut lines) = (vec![root.to_owned()], Vec::new());
    while let Some(path) = folders.pop() {
        let metadata = match std::fs::metadata(&path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && path == root => {
                return Artifact::Missing;
            }
            Err(error) => return Artifact::Unknown(format!("{}: {error}", path.display())),
        };
        if lines.len() >= MAX_FILES {
            return Artifact::Unknown(format!("more than {MAX_FILES} files are in {}", root.display()));
        }
        if metadata.is_file() {
            let name = path.strip_prefix(root).unwrap_or(&path).display().to_string();
            let modified =
                metadata.modified().ok().and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
            let modified = modified.unwrap_or_default().as_nanos();
            lines.push(format!("{name}\0{}\0{modified}\n", metadata.len()));
            continue;
        }
        match std::fs::read_dir(&path) {
            Ok(entries) => folders.extend(entries.filter_map(Result::ok).map(|entry| entry.path())),
            Err(error) => return Artifact::Unknown(format!("{}: {error}", path.display())),
        }
    }
    if lines.is_empty() { Artifact::Missing } else { digest(lines) }
}

fn digest(mut lines: Vec<String>) -> Artifact {
    lines.sort_unstable();
    Artifact::Digest(format!("sha256:{}", hex(&Sha256::digest(lines.concat()))))
}

#[cfg(test)]
mod tests;
