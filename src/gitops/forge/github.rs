//! GitHub and GitHub Enterprise: REST, and GraphQL for what REST lacks.

use http::{Method, StatusCode};
use serde_json::{Value, json};
use url::Url;

use super::{Ask, Dialect, Found, Listed, Look, of, text};
use crate::gitops::incident::PullRequest;

/// Ways to merge; a repository allows some of them.
const METHODS: [&str; 3] = ["merge", "squash", "rebase"];

const AUTO_MERGE: &str = "mutation($id: ID!, $head: GitObjectID!, $method: PullRequestMergeMethod!) {\
    enablePullRequestAutoMerge(input: {pullRequestId: $id, expectedHeadOid: $head, mergeMethod: $method})\
    { clientMutationId } }";

#[derive(Debug)]
pub(super) struct GitHub {
    pub(super) project: Vec<String>,
}

/// `api.github.com/graphql`; in an own installation REST is below `/api/v3` and this is beside it.
pub(super) fn graphql_url(rest: &Url) -> Url {
    let mut url = rest.clone();
    if let Some(path) = rest.path().trim_end_matches('/').strip_suffix("/v3") {
        url.set_path(path);
    }
    url
}

impl GitHub {
    fn at(&self, parts: &[&str]) -> Vec<String> {
        let mut segments = of(&["repos"]);
        segments.extend(self.project.iter().cloned());
        segments.extend(of(parts));
        segments
    }
}

impl Dialect for GitHub {
    fn who(&self) -> &'static str {
        "GitHub"
    }

    fn list(&self, branch: &str, base: &str, page: u32) -> Ask {
        let owner = self.project.first().map_or("", String::as_str);
        let query = vec![
            ("state", "all".to_owned()),
            ("head", format!("{owner}:{branch}")),
            ("base", base.to_owned()),
            ("per_page", "100".to_owned()),
            ("page", page.to_string()),
        ];
        Ask::get(self.at(&["pulls"]), query)
    }

    fn listed(&self, item: &Value, branch: &str, base: &str) -> Option<Listed> {
        let is_it = text(item, "/head/ref")? == branch
            && text(item, "/base/ref")? == base
            && item.pointer("/head/repo/id")? == item.pointer("/base/repo/id")?;
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
        StatusCode::UNPROCESSABLE_ENTITY
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
        Some(Found { look, number, head: text(answer, "/head/sha")?, node: text(answer, "/node_id") })
    }

    fn closed_by(&self, number: u64) -> Option<Ask> {
        Some(Ask::get(self.at(&["issues", &number.to_string()]), Vec::new()))
    }

    fn who_closed(&self, answer: &Value) -> Option<String> {
        text(answer, "/closed_by/login")
    }

    fn comment(&self, number: u64, text: &str) -> Ask {
        Ask::send(Method::POST, self.at(&["issues", &number.to_string(), "comments"]), json!({"body": text}))
    }

    fn known_labels(&self) -> Option<Ask> {
        None
    }

    fn label(&self, number: u64, labels: &[String], _known: &Value) -> Option<Ask> {
        let segments = self.at(&["issues", &number.to_string(), "labels"]);
        Some(Ask::send(Method::POST, segments, json!({"labels": labels})))
    }

    fn merges(&self, found: &Found) -> Vec<Ask> {
        let ask = |method: &&str| {
            let variables =
                json!({"id": found.node, "head": found.head, "method": method.to_ascii_uppercase()});
            let body = json!({"query": AUTO_MERGE, "variables": variables});
            Ask { is_graphql: true, ..Ask::send(Method::POST, of(&["graphql"]), body) }
        };
        METHODS.iter().map(ask).collect()
    }

    fn is_heard(&self, answer: &Value) -> bool {
        // GraphQL answers 200 to errors too; the plain merge says `merged`.
        answer.get("errors").is_none()
    }

    fn merges_now(&self, found: &Found, answer: &Value) -> Vec<Ask> {
        // What needs no check is not waited for: "Pull request is in clean status".
        if !answer.to_string().contains("clean status") {
            return Vec::new();
        }
        let ask = |method: &&str| {
            let segments = self.at(&["pulls", &found.number.to_string(), "merge"]);
            Ask::send(Method::PUT, segments, json!({"sha": found.head, "merge_method": method}))
        };
        METHODS.iter().map(ask).collect()
    }
}
