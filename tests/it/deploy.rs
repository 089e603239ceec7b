//! What `deploy/` renders to agrees with itself, with driftd and with the rest of this repository.

mod access;
mod certificate;
mod controller;
mod monitoring;
mod pods;
mod rendered;
mod webhook;

use std::collections::BTreeSet;

use rendered::{Source, every_rendering, id, text_at};

/// Kinds that are in no namespace.
const OF_THE_CLUSTER: [&str; 4] =
    ["Namespace", "ClusterRole", "ClusterRoleBinding", "MutatingWebhookConfiguration"];

#[test]
fn every_kustomization_renders_to_objects_that_are_somewhere_once() {
    let folders = |of: &str| std::fs::read_dir(rendered::deploy().join(of)).unwrap().count();
    let kustomizations: Vec<_> =
        every_rendering().iter().filter(|rendering| rendering.source == Source::Kustomization).collect();
    assert_eq!(kustomizations.len(), folders("overlays") + folders("environments"));
    for rendering in every_rendering() {
        let mut seen = BTreeSet::new();
        assert!(!rendering.objects.is_empty(), "{} is empty", rendering.name);
        for object in &rendering.objects {
            for pointer in ["/apiVersion", "/kind", "/metadata/name"] {
                assert!(!text_at(object, pointer).is_empty(), "{}: no {pointer}: {object:#}", rendering.name);
            }
            assert!(seen.insert(id(object)), "{}: {} is there twice", rendering.name, id(object));
            let is_somewhere = !text_at(object, "/metadata/namespace").is_empty()
                || OF_THE_CLUSTER.contains(&text_at(object, "/kind"))
                || rendering.source == Source::Plain;
            assert!(is_somewhere, "{}: {} has no namespace", rendering.name, id(object));
        }
    }
}

/// `kubectl apply` keeps what it has applied in an annotation, which may have 256 KiB.
#[test]
fn every_object_is_small_enough_for_kubectl_apply() {
    for rendering in every_rendering() {
        for object in &rendering.objects {
            let length = object.to_string().len();
            assert!(length < 200 << 10, "{}: {} has {length} bytes", rendering.name, id(object));
        }
    }
}

#[test]
fn argo_cd_may_create_what_the_environments_are_made_of_and_nothing_else() {
    let argocd = rendered::rendering("overlays-argocd");
    let project = argocd.one("AppProject");
    let listed = |pointer: &str| -> BTreeSet<String> {
        let entries = project.pointer(pointer).unwrap().as_array().unwrap();
        entries
            .iter()
            .map(|entry| format!("{}/{}", text_at(entry, "/group"), text_at(entry, "/kind")))
            .collect()
    };
    let allowed = &listed("/spec/clusterResourceWhitelist") | &listed("/spec/namespaceResourceWhitelist");
    let set = argocd.one("ApplicationSet");
    let elements = set.pointer("/spec/generators/0/list/elements").unwrap().as_array().unwrap();
    let mut used = BTreeSet::new();
    for element in elements {
        let environment = text_at(element, "/environment");
        for object in &rendered::rendering(&format!("environments-{environment}")).objects {
            let group = text_at(object, "/apiVersion").split_once('/').map_or("", |(group, _)| group);
            used.insert(format!("{group}/{}", text_at(object, "/kind")));
            let namespace = text_at(object, "/metadata/namespace");
            let destinations = project.pointer("/spec/destinations").unwrap().as_array().unwrap();
            let is_allowed = namespace.is_empty()
                || destinations.iter().any(|destination| {
                    text_at(destination, "/name") == environment
                        && text_at(destination, "/namespace") == namespace
                });
            assert!(is_allowed, "{environment}: no destination for {}", id(object));
        }
    }
    assert_eq!(used, allowed, "the project's lists and the kinds in the environments");
    assert_eq!(elements.len(), std::fs::read_dir(rendered::deploy().join("environments")).unwrap().count());
    assert_eq!(text_at(set, "/spec/template/spec/source/path"), "deploy/environments/{{.environment}}");
    assert_eq!(text_at(set, "/spec/template/spec/project"), text_at(project, "/metadata/name"));
    let repository = project.pointer("/spec/sourceRepos/0").unwrap();
    assert_eq!(set.pointer("/spec/template/spec/source/repoURL").unwrap(), repository);
}

#[test]
fn weights_lead_to_the_services_of_stable_and_canary() {
    let canary = rendered::rendering("examples-standard-canary");
    let service = canary.one("InferenceService");
    let name = text_at(service, "/metadata/name");
    let namespace = text_at(service, "/metadata/namespace");
    let percent = service.pointer("/spec/canary/0/trafficPercent").unwrap().as_u64().unwrap();
    let of_canary = text_at(service, "/spec/canary/0/predictor/name");
    let expected = [
        (format!("{name}-predictor.{namespace}.svc.cluster.local"), 100 - percent),
        (format!("{name}-{of_canary}-predictor.{namespace}.svc.cluster.local"), percent),
    ];
    let route = rendered::rendering("examples-virtualservice");
    let routes = route.one("VirtualService").pointer("/spec/http/0/route").unwrap().as_array().unwrap();
    let found: Vec<_> = routes
        .iter()
        .map(|route| {
            let weight = route.pointer("/weight").unwrap().as_u64().unwrap();
            (text_at(route, "/destination/host").to_owned(), weight)
        })
        .collect();
    assert_eq!(found, expected);
}
