//! Gitea and Forgejo.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Ask, Dialect, Found, Listed, Look, of, text};
use crate::gitops::incident::PullRequest;

/// Ways to merge; a repository allows some of them.
const METHODS: [&str; 3] = ["merge", "squash", "rebase"];

#[derive(Debug)]
pub(super) struct Gitea {
    pub(super) project: Vec<String>,
}

impl Gitea {
    fn at(&self, parts: &[&str]) -> Vec<String> {
        let mut segments = of(&["api", "v1", "repos"]);
        segments.extend(self.project.iter().cloned());
        segments.extend(of(parts));
        segments
    }
}

impl Dialect for Gitea {
    fn who(&self) -> &'static str {
        "Gitea"
    }

    fn list(&self, _branch: &str, _base: &str, page: u32) -> Ask {
        // There is no filter by branch in all versions; one that we wait for was touched lately.
        let query = vec![
            ("state", "all".to_owned()),
            ("sort", "recentupdate".to_owned()),
            ("limit", "50".to_owned()),
            ("page", page.to_string()),
        ];
        Ask::get(self.at(&["pulls"]), query)
    }

    fn listed(&self, item: &Value, branch: &str, base: &str) -> Option<Listed> {
        // Once the branch is gone, `ref` is `refs/pull/N/head`; `label` is the branch's name for ever.
        let is_from = |place| text(item, place).is_some_and(|name| name == branch);
        let is_it = (is_from("/head/ref") || is_from("/head/label"))
            && text(item, "/base/ref")? == base
            && item.pointer("/head/repo_id")? == item.pointer("/base/repo_id")?;
        let pull_request = self.created(item, branch).filter(|_| is_it)?;
        Some(Listed { pull_request, is_open: text(item, "/state")? == "open" })
    }

    fn create(&self, branch: &str, base: &str, title: &str, description: &str) -> Ask {
        let body = json!({"title": title, "head": branch, "base": base, "body": description});
        Ask::send(Method::POST, self.at(&["pulls"]), body)
    }

    fn created(&self, answer: &Value, branch: &str) -> Option<PullRequest> {
        let number = answer.get("number")?.as_u64()?;
        Some(PullRequest { number, url: text(answer, "/html_url")?, branch: branch.to_owned() })
    }

    fn conflict(&self) -> StatusCode {
        StatusCode::CONFLICT
    }

    fn read(&self, number: u64) -> Ask {
        Ask::get(self.at(&["pulls", &number.to_string()]), Vec::new())
    }

    fn found(&self, answer: &Value) -> Option<Found> {
        let is_merged = answer.get("merged")?.as_bool()?;
        let look = match text(answer, "/state")?.as_str() {
            _ if is_merged => Look::Merged { commit: text(answer, "/merge_commit_sha")? },
            "open" => Look::Open,
            _ => Look::Closed { by: None },
        };
        let number = answer.get("number")?.as_u64()?;
        Some(Found { look, number, head: text(answer, "/head/sha")?, node: None })
    }

    fn closed_by(&self, number: u64) -> Option<Ask> {
        Some(Ask::get(self.at(&["issues", &number.to_string(), "timeline"]), Vec::new()))
    }

    fn who_closed(&self, answer: &Value) -> Option<String> {
        let events = answer.as_array()?;
        let closed =
            events.iter().rev().find(|event| event.get("type").is_some_and(|kind| kind == "close"))?;
        text(closed, "/user/login")
    }

    fn comment(&self, number: u64, text: &str) -> Ask {
        Ask::send(Method::POST, self.at(&["issues", &number.to_string(), "comments"]), json!({"body": text}))
    }

    fn known_labels(&self) -> Option<Ask> {
        Some(Ask::get(self.at(&["labels"]), vec![("limit", "50".to_owned())]))
    }

    fn label(&self, number: u64, labels: &[String], known: &Value) -> Option<Ask> {
        let wanted = |label: &&Value| text(label, "/name").is_some_and(|name| labels.contains(&name));
        let ids: Vec<&Value> =
            known.as_array()?.iter().filter(wanted).filter_map(|label| label.get("id")).collect();
        let segments = self.at(&["issues", &number.to_string(), "labels"]);
        (!ids.is_empty()).then(|| Ask::send(Method::POST, segments, json!({"labels": ids})))
    }

    fn merges(&self, found: &Found) -> Vec<Ask> {
        let ask = |method: &&str| {
            let segments = self.at(&["pulls", &found.number.to_string(), "merge"]);
            let body = json!({"Do": method, "head_commit_id": found.head, "merge_when_checks_succeed": true});
            Ask::send(Method::POST, segments, body)
        };
        METHODS.iter().map(ask).collect()
    }

    fn is_heard(&self, _answer: &Value) -> bool {
        true
    }

    fn merges_now(&self, _found: &Found, _answer: &Value) -> Vec<Ask> {
        Vec::new()
    }
}
