//! What a plan makes of the bytes of a manifest, on whichever tip. Pure.

use super::super::git::Superseded;
use super::super::incident::{Edit, Plan, Recipe};
use super::super::manifest::{self, Selector};
use super::super::target::ServiceName;
use crate::net::chain;

/// The manifest as `plan` wants it, made from what stands there now.
///
/// # Errors
/// [`Superseded`] if that is not what the plan was made for.
pub fn rewrite(
    bytes: &[u8],
    service: &ServiceName,
    plan: &Plan,
    is_field: bool,
) -> Result<Vec<u8>, Superseded> {
    let document = document(bytes, service, plan, is_field)?;
    manifest::splice(bytes, document, &plan.edits).map_err(|error| Superseded(chain(&error)))
}

/// Where the document is in this version of the file: others may have been put before it. `is_field` says that the configuration names a
/// key, not a service.
///
/// # Errors
/// [`Superseded`] if it is not there any more.
pub fn document(
    bytes: &[u8],
    service: &ServiceName,
    plan: &Plan,
    is_field: bool,
) -> Result<usize, Superseded> {
    if is_field {
        return Ok(plan.document);
    }
    let found = manifest::read(bytes, &Selector::Service(service.clone()));
    match found.map_err(|error| Superseded(chain(&error)))? {
        Some(service) => Ok(service.document),
        // Found by a marker, in a file that is no InferenceService.
        None if plan.found_by != "index" => Ok(plan.document),
        None => Err(Superseded(format!("{service} is not in {} any more", plan.file))),
    }
}

/// The manifest without what a stopped canary has left in it.
///
/// # Errors
/// [`Superseded`] if somebody else has cleaned up, or has written something there since: a percent that is not ours any more is a canary.
pub fn clean(
    bytes: &[u8],
    service: &ServiceName,
    plan: &Plan,
    is_field: bool,
) -> Result<Vec<u8>, Superseded> {
    let document = document(bytes, service, plan, is_field)?;
    for edit in &plan.edits {
        still_says(bytes, document, edit)?;
    }
    let path = &*plan.edits[0].path;
    let path = match plan.recipe {
        Recipe::StandardCanary => path.trim_end_matches(".trafficPercent"),
        Recipe::KnativeCanary | Recipe::Uri => path,
    };
    manifest::remove_entry(bytes, document, path).map_err(|error| Superseded(chain(&error)))
}

fn still_says(bytes: &[u8], document: usize, edit: &Edit) -> Result<(), Superseded> {
    let at = Selector::Field { document: Some(document), path: edit.path.clone() };
    let found = manifest::read(bytes, &at).map_err(|error| Superseded(chain(&error)))?;
    match found.and_then(|service| service.uri).map(|field| field.value) {
        Some(value) if value == edit.to => Ok(()),
        Some(value) => Err(Superseded(format!("{} is {value} now", edit.path))),
        None => Err(Superseded(format!("{} is not there any more", edit.path))),
    }
}
