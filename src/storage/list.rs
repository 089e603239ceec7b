//! Which locations a pattern or a folder stands for.

use std::path::Path;

use super::StorageError;
use super::location::{Kind, Location, Object, Place};
use super::open::Reader;
use super::read::waited;
use super::settings::Settings;

/// What makes a path a pattern.
pub(super) const SPECIAL: [char; 3] = ['*', '?', '['];

impl Location {
    /// The locations that this stands for, in order: those that match it where it is a pattern, those below it where it
    /// ends in a slash (without what begins with `_` or `.`, which is how Spark marks what is no data), else itself.
    ///
    /// # Errors
    /// [`StorageError`] if nothing is there, or the place cannot be listed.
    pub fn list(&self, settings: &Settings) -> Result<Vec<Self>, StorageError> {
        let shown = self.to_string();
        let is_single = matches!(self.kind, Kind::Place(Place::Http(_) | Place::File(_)));
        if is_single || !(shown.contains(SPECIAL) || shown.ends_with('/')) {
            return Ok(vec![self.clone()]);
        }
        waited(Some(settings.limits.fetch_timeout * 10), self, || {
            self.at_place(settings, async |place| {
                let key = match place {
                    Place::Object(Object { key, .. }) | Place::Artifact { path: key, .. } => key.as_str(),
                    Place::File(path) => return self.files(path),
                    Place::Http(_) => return Ok(vec![self.clone()]),
                };
                // The root of a run or a model is a folder, without a slash at its end.
                let slash =
                    if shown.ends_with('/') && !key.is_empty() && !key.ends_with('/') { "/" } else { "" };
                let key = format!("{key}{slash}");
                let fixed = key.split(SPECIAL).next().unwrap_or_default();
                let folder = fixed.rsplit_once('/').map_or("", |(folder, _)| folder);
                let mut keys = Reader { place, settings, shown: &shown }.list(folder).await?;
                let is_wanted =
                    wanted(&key).map_err(|problem| StorageError::Uri { uri: shown.clone(), problem })?;
                keys.retain(|key| is_wanted(key));
                keys.sort();
                if keys.is_empty() {
                    return Err(self.no_match());
                }
                Ok(keys.into_iter().map(|found| self.sibling(place, &key, found)).collect())
            })
        })
    }

    /// Another key of the same store, named as the user would have named it.
    pub(super) fn sibling(&self, place: &Place, own: &str, key: String) -> Self {
        let shown = self.to_string();
        // What both have in common is what the user wrote; a pattern may begin within the last folder of it.
        let n_common = own.bytes().zip(key.bytes()).take_while(|(a, b)| a == b).count();
        let n_common =
            own.as_bytes()[..n_common].iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1);
        let n_written = shown.len().saturating_sub(own.len() - n_common);
        let shown = format!("{}{}", shown.get(..n_written).unwrap_or(&shown), &key[n_common..]);
        let place = match place {
            Place::Object(Object { store, .. }) => Place::Object(Object { store: store.clone(), key }),
            Place::Artifact { server, .. } => Place::Artifact { server: server.clone(), path: key },
            place => place.clone(),
        };
        Self::at(shown, place)
    }

    /// An MLflow server may keep its artifacts on a disk that is this machine's too.
    fn files(&self, path: &Path) -> Result<Vec<Self>, StorageError> {
        let text = path.to_string_lossy();
        let pattern = if text.contains(SPECIAL) { text.into_owned() } else { format!("{text}/*") };
        let paths = glob::glob(&pattern)
            .map_err(|error| StorageError::Uri { uri: self.to_string(), problem: error.to_string() })?;
        let is_data = |path: &Path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            path.is_file() && !name.starts_with(['_', '.'])
        };
        let files: Vec<_> = paths
            .filter_map(Result::ok)
            .filter(|path| is_data(path))
            .map(|path| Self::at(path.display().to_string(), Place::File(path)))
            .collect();
        if files.is_empty() { Err(self.no_match()) } else { Ok(files) }
    }

    fn no_match(&self) -> StorageError {
        StorageError::NotFound { uri: self.to_string(), detail: "nothing there matches".to_owned() }
    }
}

/// Whether a key is one of those that a pattern or a folder means.
pub(super) fn wanted(key: &str) -> Result<impl Fn(&str) -> bool + Send + use<>, String> {
    let pattern = key.contains(SPECIAL).then(|| glob::Pattern::new(key)).transpose();
    let pattern = pattern.map_err(|error| format!("{error}; quote special characters like `[[]`"))?;
    let options = glob::MatchOptions { require_literal_separator: true, ..glob::MatchOptions::new() };
    let folder = key.to_owned();
    Ok(move |candidate: &str| match &pattern {
        Some(pattern) => pattern.matches_with(candidate, options),
        None => candidate.strip_prefix(&folder).is_some_and(|below| {
            !below.is_empty() && !below.split('/').any(|name| name.starts_with(['_', '.']))
        }),
    })
}
