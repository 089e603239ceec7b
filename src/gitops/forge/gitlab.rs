//! GitLab, whose pull requests are merge requests.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Ask, Dialect, Found, Listed, Look, of, text};
use crate::gitops::incident::PullRequest;

#[derive(Debug)]
pub(super) struct GitLab {
    /// The whole path, which is one segment of an address.
    pub(super) project: String,
    pub(super) labels: Vec<String>,
}

impl GitLab {
    fn at(&self, parts: &[&str]) -> Vec<String> {
        let mut segments = of(&["api", "v4", "projects", &self.project, "merge_requests"]);
        segments.extend(of(parts));
        segments
    }
}

impl Dialect for GitLab {
    fn who(&self) -> &'static str {
        "GitLab"
    }

    fn list(&self, branch: &str, base: &str, page: u32) -> Ask {
        let query = vec![
            ("source_branch", branch.to_owned()),
            ("target_branch", base.to_owned()),
            ("per_page", "100".to_owned()),
            ("page", page.to_string()),
        ];
        Ask::get(self.at(&[]), query)
    }

    fn listed(&self, item: &Value, branch: &str, base: &str) -> Option<Listed> {
        let is_it = text(item, "/source_branch")? == branch
            && text(item, "/target_branch")? == base
            && item.get("source_project_id")? == item.get("target_project_id")?;
        let pull_request = self.created(item, branch).filter(|_| is_it)?;
        Some(Listed { pull_request, is_open: text(item, "/state")? == "opened" })
    }

    fn create(&self, branch: &str, base: &str, title: &str, description: &str) -> Ask {
        let body = json!({
            "source_branch": branch,
            "target_branch": base,
            "title": title,
            "description": description,
            "labels": self.labels.join(","),
            "remove_source_branch": true,
        });
        Ask::send(Method::POST, self.at(&[]), body)
    }

    fn created(&self, answer: &Value, branch: &str) -> Option<PullRequest> {
        let number = answer.get("iid")?.as_u64()?;
        Some(PullRequest { number, url: text(answer, "/web_url")?, branch: branch.to_owned() })
    }

    fn conflict(&self) -> StatusCode {
        StatusCode::CONFLICT
    }

    fn read(&self, number: u64) -> Ask {
        Ask::get(self.at(&[&number.to_string()]), Vec::new())
    }

    fn found(&self, answer: &Value) -> Option<Found> {
        let head = text(answer, "/sha")?;
        // A fast-forward merge has no commit of its own.
        let commit = || text(answer, "/merge_commit_sha").or_else(|| text(answer, "/squash_commit_sha"));
        let look = match text(answer, "/state")?.as_str() {
            "merged" => Look::Merged { commit: commit().unwrap_or_else(|| head.clone()) },
            "closed" => Look::Closed { by: text(answer, "/closed_by/username") },
            _ => Look::Open, // `locked` is one that is being merged
        };
        Some(Found { look, number: answer.get("iid")?.as_u64()?, head, node: None })
    }

    fn closed_by(&self, _number: u64) -> Option<Ask> {
        None
    }

    fn who_closed(&self, _answer: &Value) -> Option<String> {
        None
    }

    fn comment(&self, number: u64, text: &str) -> Ask {
        Ask::send(Method::POST, self.at(&[&number.to_string(), "notes"]), json!({"body": text}))
    }

    fn known_labels(&self) -> Option<Ask> {
        None
    }

    fn label(&self, _number: u64, _labels: &[String], _known: &Value) -> Option<Ask> {
        None // they came with it
    }

    fn merges(&self, found: &Found) -> Vec<Ask> {
        // The second name is that of versions before 17.11.
        let body = json!({"auto_merge": true, "merge_when_pipeline_succeeds": true, "sha": found.head});
        vec![Ask::send(Method::PUT, self.at(&[&found.number.to_string(), "merge"]), body)]
    }

    fn is_heard(&self, _answer: &Value) -> bool {
        true
    }

    fn merges_now(&self, _found: &Found, _answer: &Value) -> Vec<Ask> {
        Vec::new()
    }
}
