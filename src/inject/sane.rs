//! Whether a patched pod is one that the API server will take, as far as that depends on what we added: it refuses pods with two
//! containers of one name, or a mount of a volume that is not there, and a pod whose containers share a port never becomes ready.

use std::collections::BTreeSet;

use serde_json::Value;

use super::CONTAINER;
use super::pod::Pod;
use super::{Reason, Refusal};

/// Looks at a patched pod.
pub(super) fn check(patched: &Value) -> Result<(), Refusal> {
    let wrong = |text: String| Err(Refusal::new(Reason::NotSane, text));
    let pod = Pod::of(patched)?;
    let mut names = BTreeSet::new();
    if let Some(twice) = pod.all_containers().find(|container| !names.insert(&container.name)) {
        return wrong(format!("two containers are called `{}`", twice.name));
    }
    let mut volumes = BTreeSet::new();
    if let Some(twice) = pod.spec.volumes.iter().find(|volume| !volumes.insert(&volume.name)) {
        return wrong(format!("two volumes are called `{}`", twice.name));
    }
    let Some(ours) = pod.all_containers().find(|container| container.name == CONTAINER) else {
        return wrong("the sidecar is missing".to_owned());
    };
    if let Some(mount) = ours.volume_mounts.iter().find(|mount| !volumes.contains(&mount.name)) {
        return wrong(format!("the sidecar mounts `{}`, which is not there", mount.name));
    }
    let others = pod.all_containers().filter(|container| container.name != CONTAINER);
    for other in others {
        let shared = ours
            .ports
            .iter()
            .find(|port| other.ports.iter().any(|theirs| theirs.container_port == port.container_port));
        if let Some(port) = shared {
            return wrong(format!("`{}` has port {} too", other.name, port.container_port));
        }
    }
    Ok(())
}
