//! What accounts may do is what `deploy/rbac.md` says.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::rendered::{Rendering, deploy, every_rendering, list_at, text_at};

/// What an account may do, as the list writes it: the rights, and where.
type Rights = BTreeSet<(String, String)>;

/// The list: an account a row.
fn written() -> BTreeMap<String, Rights> {
    let text = std::fs::read_to_string(deploy().join("rbac.md")).unwrap();
    let rows = text.lines().filter(|line| line.starts_with("| `"));
    let mut accounts = BTreeMap::<String, Rights>::new();
    for row in rows {
        let cells: Vec<_> =
            row.trim_matches('|').split('|').map(|cell| cell.trim().replace('`', "")).collect();
        let rights = accounts.entry(cells[0].clone()).or_default();
        if cells[1] != "nothing" {
            rights.insert((cells[1].clone(), cells[2].clone()));
        }
    }
    accounts
}

/// A rule, as the list writes it, a resource each: `get, list deployments.apps`, and where it is for some by name, `get leases mine`.
fn rule(rule: &Value) -> Vec<String> {
    let words =
        |pointer: &str| list_at(rule, pointer).iter().map(|word| word.as_str().unwrap()).collect::<Vec<_>>();
    assert!(rule.get("nonResourceURLs").is_none(), "{rule}");
    let (verbs, names) = (words("/verbs").join(", "), words("/resourceNames").join(", "));
    let groups = words("/apiGroups");
    assert_eq!(groups.len(), 1, "{rule}");
    let full = |resource: &str| match groups[0] {
        "" => format!("{verbs} {resource} {names}"),
        group => format!("{verbs} {resource}.{group} {names}"),
    };
    words("/resources").into_iter().map(|resource| full(resource).trim_end().to_owned()).collect()
}

fn rights_of(account: &Value, rendering: &Rendering) -> Rights {
    let (name, namespace) = (text_at(account, "/metadata/name"), text_at(account, "/metadata/namespace"));
    let is_subject = |binding: &&Value| {
        list_at(binding, "/subjects").iter().any(|subject| {
            text_at(subject, "/kind") == "ServiceAccount"
                && text_at(subject, "/name") == name
                && text_at(subject, "/namespace") == namespace
        })
    };
    let bindings =
        rendering.of_kind("ClusterRoleBinding").chain(rendering.of_kind("RoleBinding")).filter(is_subject);
    bindings
        .flat_map(|binding| {
            let place = match text_at(binding, "/kind") {
                "ClusterRoleBinding" => "every namespace".to_owned(),
                _ => text_at(binding, "/metadata/namespace").to_owned(),
            };
            let role = rendering
                .of_kind(text_at(binding, "/roleRef/kind"))
                .find(|role| text_at(role, "/metadata/name") == text_at(binding, "/roleRef/name"));
            let rules = list_at(role.expect("the role is beside its binding"), "/rules").iter();
            rules.flat_map(rule).map(|one| (one, place.clone())).collect::<Vec<_>>()
        })
        .collect()
}

#[test]
fn accounts_may_do_what_is_written_and_nothing_else() {
    let mut found = BTreeMap::<String, Rights>::new();
    for rendering in every_rendering() {
        for account in rendering.of_kind("ServiceAccount") {
            let name =
                format!("{}/{}", text_at(account, "/metadata/namespace"), text_at(account, "/metadata/name"));
            found.entry(name).or_default().extend(rights_of(account, rendering));
        }
    }
    assert_eq!(found, written());
}

#[test]
fn no_right_is_given_to_everybody() {
    let mut n_subjects = 0;
    for rendering in every_rendering() {
        for binding in rendering.of_kind("ClusterRoleBinding").chain(rendering.of_kind("RoleBinding")) {
            for subject in list_at(binding, "/subjects") {
                assert_eq!(text_at(subject, "/kind"), "ServiceAccount", "{}: {subject}", rendering.name);
                n_subjects += 1;
            }
        }
        for role in rendering.of_kind("ClusterRole").chain(rendering.of_kind("Role")) {
            assert!(!role["rules"].to_string().contains('*'), "{}: {role:#}", rendering.name);
        }
    }
    assert!(n_subjects > 0);
}
