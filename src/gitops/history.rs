//! What a line said at each commit: the semantic history of one value, which re-indenting, comments and moved lines do not confuse. Pure.

use super::choose::Run;
use super::git::Version;
use super::incident::Component;
use super::manifest::{self, Selector, Service};

/// What stood for `component` in one version of the file.
pub fn value_of(service: &Service, component: &Component) -> Option<String> {
    match component {
        Component::Predictor => service.uri.as_ref().map(|field| field.value.clone()),
        Component::Canary(name) => {
            let entry = service.canaries.iter().find(|entry| entry.name == *name)?;
            entry.uri.as_ref().map(|field| field.value.clone())
        }
    }
}

/// The stretches of `versions`, newest first, in which the value was the same. A version of the file that nobody can read, or that
/// is not there, is a stretch of an empty value: nothing is guessed across it.
pub fn runs(
    versions: &[Version],
    selector: &Selector,
    component: &Component,
    is_ours: impl Fn(&str) -> bool,
) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for version in versions {
        let read =
            version.content.as_deref().and_then(|bytes| manifest::read(bytes, selector).ok().flatten());
        let value = read.and_then(|service| value_of(&service, component)).unwrap_or_default();
        match runs.last_mut() {
            Some(run) if run.value == value => {
                // Older, with the same value: that one introduced it.
                run.introduced_by.clone_from(&version.commit);
                run.introduced_at = version.committed_at;
                run.is_ours = is_ours(&version.commit);
            }
            _ => runs.push(Run {
                value,
                introduced_by: version.commit.clone(),
                introduced_at: version.committed_at,
                is_ours: is_ours(&version.commit),
            }),
        }
    }
    runs
}

/// What else changed, in the same document, in the commit that brought the newest run: paths.
pub fn changed_together(
    versions: &[Version],
    introduced_by: &str,
    document: usize,
    except: &[&str],
) -> Vec<String> {
    let Some(idx) = versions.iter().position(|version| version.commit == introduced_by) else {
        return Vec::new();
    };
    let contents =
        (versions.get(idx + 1).and_then(|older| older.content.as_ref()), versions[idx].content.as_ref());
    let (Some(old), Some(new)) = contents else { return Vec::new() };
    manifest::other_changes(old, new, document, except)
}
