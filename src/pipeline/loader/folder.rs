//! A folder of baselines: `<model>.json`, and `<namespace>/<inferenceservice>.json`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::baseline::BaselineError;
use crate::config::ModelConfig;

/// What names a file of the folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) namespace: Option<String>,
    pub(super) stem: String,
}

impl Key {
    /// The model of a file. A folder names a namespace, and its files the services in it; a file beside the folders names a model
    /// unless its baseline does.
    pub(super) fn config(&self, path: PathBuf) -> ModelConfig {
        ModelConfig {
            default_name: Some(self.stem.clone()),
            inferenceservice: self.namespace.is_some().then(|| self.stem.clone()),
            namespace: self.namespace.clone(),
            ..ModelConfig::new(path)
        }
    }
}

/// What is in the folder.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// The first ones by name.
    pub(super) files: BTreeMap<Key, PathBuf>,
    /// Whether there are more.
    pub(super) is_cut: bool,
}

/// The baselines in a folder and one level below, at most `max_files`, held in no more memory than that.
pub(super) fn list(folder: &Path, max_files: usize) -> Result<Listing, BaselineError> {
    let mut listing = Listing::default();
    list_into(&mut listing, folder, None, max_files)?;
    Ok(listing)
}

fn list_into(
    listing: &mut Listing,
    folder: &Path,
    namespace: Option<&str>,
    max_files: usize,
) -> Result<(), BaselineError> {
    let failed = |source| BaselineError::Read { path: folder.to_owned(), source };
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        // Kubernetes keeps the files of a volume in `..2026_11_26_…`, behind a link `..data`; editors hide theirs with a dot, too.
        // A name that is no Unicode is no label either.
        let Some(name) = name.to_str().filter(|name| !name.starts_with('.')) else { continue };
        let path = entry.path();
        // Follows links, which is what the files of a volume are. One that leads nowhere is a file that was taken away.
        let Ok(metadata) = std::fs::metadata(&path) else { continue };
        if metadata.is_dir() && namespace.is_none() {
            list_into(listing, &path, Some(name), max_files)?;
        } else if metadata.is_file()
            && let Some(stem) = name.strip_suffix(".json").filter(|stem| !stem.is_empty())
        {
            let key = Key { namespace: namespace.map(str::to_owned), stem: stem.to_owned() };
            listing.files.insert(key, path);
            if listing.files.len() > max_files {
                listing.files.pop_last();
                listing.is_cut = true;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_a_namespace_and_what_is_hidden_is_nothing() {
        let folder = tempfile::TempDir::new().unwrap();
        let at = |path: &str| folder.path().join(path);
        for directory in ["prod/deeper", "..2026"] {
            std::fs::create_dir_all(at(directory)).unwrap();
        }
        for file in [
            "b.json",
            "a.json",
            "a.txt",
            ".a.json",
            "prod/credit.json",
            "prod/deeper/x.json",
            "..2026/x.json",
        ] {
            std::fs::write(at(file), "").unwrap();
        }
        std::os::unix::fs::symlink("nowhere", at("gone.json")).unwrap();
        std::os::unix::fs::symlink("..2026/x.json", at("x.json")).unwrap();
        let names = |max_files| {
            let Listing { files, is_cut } = list(folder.path(), max_files).unwrap();
            let paths = files.into_values();
            let name = |path: PathBuf| path.strip_prefix(folder.path()).unwrap().display().to_string();
            (paths.map(name).collect::<Vec<_>>(), is_cut)
        };
        let all = ["a.json", "b.json", "x.json", "prod/credit.json"].map(str::to_owned);
        assert_eq!(names(4), (all.to_vec(), false));
        assert_eq!(names(2), (all[..2].to_vec(), true));
        let error = list(&at("missing"), 1).unwrap_err();
        assert!(error.is_absent() && error.to_string().contains("missing"), "{error}");
    }
}
