//! Against stand-ins for the forges' APIs: no forge, but what their documentation says of these few addresses.

use std::sync::{Arc, Mutex as StdMutex};

use axum::extract::Request;
use axum::response::IntoResponse;
use axum::{Json, Router};
use serde_json::json;

use super::*;

/// Answers by a function, and keeps what it was asked: method, path with query, authorization, body.
struct StandIn {
    url: Url,
    asked: Arc<StdMutex<Vec<(String, Value)>>>,
}

type Answer = Box<dyn Fn(usize, &str) -> (u16, Value) + Send + Sync>;

impl StandIn {
    /// `answer` gets how many requests there were before, and `METHOD /path?query`.
    async fn start(path: &str, answer: impl Fn(usize, &str) -> (u16, Value) + Send + Sync + 'static) -> Self {
        let asked = Arc::new(StdMutex::new(Vec::new()));
        let (kept, answer): (_, Arc<Answer>) = (Arc::clone(&asked), Arc::new(Box::new(answer)));
        let router = Router::new().fallback(move |request: Request| {
            let (kept, answer) = (Arc::clone(&kept), Arc::clone(&answer));
            async move {
                let line = format!("{} {}", request.method(), request.uri());
                let token = request.headers()[http::header::AUTHORIZATION].to_str().unwrap().to_owned();
                let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
                let body: Value = serde_json::from_slice(&body).unwrap_or_default();
                let mut kept = kept.lock().unwrap();
                let (status, text) = answer(kept.len(), &line);
                kept.push((format!("{line} [{token}]"), body));
                (StatusCode::from_u16(status).unwrap(), Json(text)).into_response()
            }
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("http://{}{path}", listener.local_addr().unwrap())).unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, asked }
    }

    fn forge(&self, kind: ForgeKind, auto_merge: bool) -> (Forge, tempfile::NamedTempFile) {
        let token = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(token.path(), "secret\n").unwrap();
        let config = ForgeConfig {
            kind,
            url: self.url.clone(),
            project: "team/models".to_owned(),
            token_file: token.path().to_owned(),
            ca_file: None,
            labels: vec!["drift".to_owned()],
            auto_merge,
            expires_after: Duration::from_mins(1),
        };
        (Forge::new(&config).unwrap(), token)
    }

    fn lines(&self) -> Vec<String> {
        self.asked.lock().unwrap().iter().map(|(line, _)| line.clone()).collect()
    }

    fn bodies(&self) -> Vec<Value> {
        self.asked.lock().unwrap().iter().map(|(_, body)| body.clone()).collect()
    }
}

const BRANCH: &str = "drift/rb-0123456789abcdef";

fn pull(number: u64) -> PullRequest {
    PullRequest { number, url: format!("https://forge.example/{number}"), branch: BRANCH.to_owned() }
}

/// As GitHub and Gitea list one.
fn listed(number: u64, state: &str, head_repo: u64) -> Value {
    json!({
        "number": number, "html_url": format!("https://forge.example/{number}"), "state": state, "merged": false,
        "node_id": "PR_x", "merge_commit_sha": "7e57", "base": {"ref": "main", "repo_id": 1, "repo": {"id": 1}},
        "head": {"ref": BRANCH, "sha": "head", "repo_id": head_repo, "repo": {"id": head_repo}},
    })
}

async fn open(forge: &Forge) -> Result<PullRequest, ForgeError> {
    forge.open(BRANCH, "main", "rollback(model): a", "why").await
}

#[tokio::test]
async fn github_gets_one_pull_request_with_its_label() {
    let server = StandIn::start("", |_, line| match line.split(['?', ' ']).collect::<Vec<_>>()[..] {
        ["POST", "/repos/team/models/pulls"] => (201, listed(7, "open", 1)),
        ["GET", ..] | ["POST", "/repos/team/models/issues/7/labels"] => (200, json!([])),
        _ => (404, json!({"message": "Not Found"})),
    })
    .await;
    let (forge, _token) = server.forge(ForgeKind::Github, false);
    assert_eq!(open(&forge).await.unwrap(), pull(7));
    assert_eq!(
        server.lines(),
        [
            "GET /repos/team/models/pulls?state=all&head=team%3Adrift%2Frb-0123456789abcdef&base=main&per_page=100&page=1 [Bearer secret]",
            "POST /repos/team/models/pulls [Bearer secret]",
            "POST /repos/team/models/issues/7/labels [Bearer secret]",
        ]
    );
    let asked = json!({"title": "rollback(model): a", "head": BRANCH, "base": "main", "body": "why"});
    assert_eq!(server.bodies()[1..], [asked, json!({"labels": ["drift"]})]);
}

#[tokio::test]
async fn one_that_is_there_is_found_and_a_forks_is_not() {
    for kind in [ForgeKind::Github, ForgeKind::Gitea] {
        let page = json!([listed(9, "closed", 2), listed(8, "closed", 1), listed(7, "open", 1)]);
        let server = StandIn::start("", move |_, _| (200, page.clone())).await;
        assert_eq!(open(&server.forge(kind, false).0).await.unwrap(), pull(7));
        assert_eq!(server.lines().len(), 1, "nothing is opened");
        let pages = [json!([listed(9, "open", 2), listed(8, "closed", 1)]), json!([])];
        let server = StandIn::start("", move |n_before, _| (200, pages[n_before].clone())).await;
        let answer = open(&server.forge(kind, false).0).await.unwrap();
        assert_eq!(answer, pull(8), "a person has closed ours: it is not opened again");
    }
}

#[tokio::test]
async fn one_that_was_opened_meanwhile_is_found_and_another_refusal_is_said() {
    let already = |status: u16| {
        let answers = [
            (200, json!([])),
            (status, json!({"message": "Validation Failed", "errors": [{"message": "No commits between"}]})),
        ];
        move |n_before: usize, _: &str| match answers.get(n_before) {
            Some(answer) => answer.clone(),
            None => (200, json!([listed(7, "open", 1)])),
        }
    };
    for (kind, status) in [(ForgeKind::Github, 422), (ForgeKind::Gitea, 409)] {
        let server = StandIn::start("", already(status)).await;
        assert_eq!(open(&server.forge(kind, false).0).await.unwrap(), pull(7));
    }
    let refused = already(422);
    let server = StandIn::start(
        "",
        move |n_before, line| {
            if n_before == 2 { (200, json!([])) } else { refused(n_before, line) }
        },
    )
    .await;
    let error = open(&server.forge(ForgeKind::Github, false).0).await.unwrap_err().to_string();
    assert!(error.contains("Validation Failed") && error.contains("No commits between"), "{error}");
}

#[track_caller]
fn check_look(dialect: &dyn Dialect, answer: &Value, look: &Look) {
    assert_eq!(dialect.found(answer).unwrap().look, *look);
}

#[test]
fn merged_is_the_commit_on_the_branch() {
    let merged = |commit: &str| Look::Merged { commit: commit.to_owned() };
    let mut answer = listed(7, "closed", 1);
    for dialect in [&github::GitHub { project: vec![] } as &dyn Dialect, &gitea::Gitea { project: vec![] }] {
        // The forge tries a merge before anybody asks, and shows that commit.
        check_look(dialect, &listed(7, "open", 1), &Look::Open);
        answer["merged"] = json!(false);
        check_look(dialect, &answer, &Look::Closed { by: None });
        answer["merged"] = json!(true);
        check_look(dialect, &answer, &merged("7e57"));
    }
    let gitlab = gitlab::GitLab { project: String::new(), labels: vec![] };
    let mut answer = json!({"iid": 7, "state": "merged", "sha": "head", "merge_commit_sha": "m", "squash_commit_sha": "s"});
    check_look(&gitlab, &answer, &merged("m"));
    answer["merge_commit_sha"] = Value::Null;
    check_look(&gitlab, &answer, &merged("s"));
    answer["squash_commit_sha"] = Value::Null;
    check_look(&gitlab, &answer, &merged("head"));
    answer["state"] = json!("locked");
    check_look(&gitlab, &answer, &Look::Open);
    answer["state"] = json!("closed");
    answer["closed_by"] = json!({"username": "ann"});
    check_look(&gitlab, &answer, &Look::Closed { by: Some("ann".to_owned()) });
}

#[tokio::test]
async fn who_closed_it_is_asked_where_the_forge_says_it_elsewhere() {
    let by = Look::Closed { by: Some("ann".to_owned()) };
    for kind in [ForgeKind::Github, ForgeKind::Gitea] {
        let server = StandIn::start("", |_, line| match line {
            line if line.contains("/pulls/7") => (200, listed(7, "closed", 1)),
            line if line.ends_with("/issues/7") => (200, json!({"closed_by": {"login": "ann"}})),
            line if line.ends_with("/issues/7/timeline") => {
                let event = |kind: &str, who: &str| json!({"type": kind, "user": {"login": who}});
                (
                    200,
                    json!([
                        event("close", "bob"),
                        event("reopen", "bob"),
                        event("close", "ann"),
                        event("comment", "x")
                    ]),
                )
            }
            _ => (404, json!({})),
        })
        .await;
        assert_eq!(server.forge(kind, false).0.look(&pull(7)).await.unwrap(), by);
    }
}

#[tokio::test]
async fn gitlab_takes_the_project_as_one_segment() {
    let server = StandIn::start("/behind/", |_, line| match line.split(' ').next() {
        Some("GET") => (200, json!([])),
        _ => (201, json!({"iid": 7, "web_url": "https://forge.example/7"})),
    })
    .await;
    let (forge, _token) = server.forge(ForgeKind::Gitlab, false);
    let opened = open(&forge).await.unwrap();
    assert_eq!(opened, pull(7));
    forge.comment(&opened, "nobody came").await.unwrap();
    let root = "/behind/api/v4/projects/team%2Fmodels/merge_requests";
    let lines = server.lines();
    assert!(lines[0].starts_with(&format!("GET {root}?source_branch=drift%2Frb-")), "{lines:?}");
    assert_eq!(
        lines[1..],
        [format!("POST {root} [Bearer secret]"), format!("POST {root}/7/notes [Bearer secret]")]
    );
    assert_eq!(server.bodies()[1]["labels"], "drift");
    assert_eq!(server.bodies()[2], json!({"body": "nobody came"}));
}

#[tokio::test]
async fn gitea_labels_by_number_and_leaves_out_what_it_does_not_know() {
    let server = StandIn::start("", |_, line| match line {
        line if line.contains("/labels?") => {
            (200, json!([{"id": 3, "name": "other"}, {"id": 4, "name": "drift"}]))
        }
        line if line.starts_with("GET") => (200, json!([])),
        line if line.ends_with("/pulls") => (201, listed(7, "open", 1)),
        _ => (200, json!([])),
    })
    .await;
    open(&server.forge(ForgeKind::Gitea, false).0).await.unwrap();
    let last = server.lines().pop().unwrap();
    assert_eq!(last, "POST /api/v1/repos/team/models/issues/7/labels [token secret]");
    assert_eq!(server.bodies().pop().unwrap(), json!({"labels": [4]}));
}

#[tokio::test]
async fn github_is_asked_to_merge_until_it_promises_to() {
    let server = StandIn::start("/api/v3", |n_before, line| match (n_before, line) {
        (_, line) if line.starts_with("GET") => (200, listed(7, "open", 1)),
        (_, "POST /api/graphql") if n_before < 5 => (200, json!({"errors": [{"message": "not allowed"}]})),
        (_, "POST /api/graphql") => (200, json!({"data": {}})),
        _ => (404, json!({})),
    })
    .await;
    let (forge, _token) = server.forge(ForgeKind::Github, true);
    for _ in 0..3 {
        assert_eq!(forge.look(&pull(7)).await.unwrap(), Look::Open);
    }
    // Three ways in vain, then the first that is heard; then only looks.
    let kinds: String =
        server.lines().iter().map(|line| if line.starts_with("GET") { 'g' } else { 'p' }).collect();
    assert_eq!(kinds, "gpppgpg");
    let variables = &server.bodies()[1]["variables"];
    assert_eq!(*variables, json!({"id": "PR_x", "head": "head", "method": "MERGE"}));
}

#[tokio::test]
async fn what_waits_for_nothing_is_merged_at_once_and_nothing_but_this_head() {
    let server = StandIn::start("", |_, line| match line {
        line if line.starts_with("GET") => (200, listed(7, "open", 1)),
        "POST /graphql" => {
            (200, json!({"errors": [{"message": "Pull request Pull request is in clean status"}]}))
        }
        "PUT /repos/team/models/pulls/7/merge" => (200, json!({"merged": true})),
        _ => (404, json!({})),
    })
    .await;
    let (forge, _token) = server.forge(ForgeKind::Github, true);
    forge.look(&pull(7)).await.unwrap();
    assert_eq!(server.lines().len(), 3);
    assert_eq!(server.bodies()[2], json!({"sha": "head", "merge_method": "merge"}));
}

#[tokio::test]
async fn the_others_are_told_which_head_to_merge() {
    let gitea = StandIn::start("", |_, line| match line {
        line if line.starts_with("GET") => (200, listed(7, "open", 1)),
        _ => (409, json!({"message": "auto merge already scheduled for this pull"})),
    })
    .await;
    let (forge, _token) = gitea.forge(ForgeKind::Gitea, true);
    forge.look(&pull(7)).await.unwrap();
    forge.look(&pull(7)).await.unwrap();
    let expected = json!({"Do": "merge", "head_commit_id": "head", "merge_when_checks_succeed": true});
    assert_eq!(gitea.bodies(), [Value::Null, expected, Value::Null], "scheduled in an earlier life");
    let gitlab = StandIn::start("", |_, line| match line {
        line if line.starts_with("GET") => (200, json!({"iid": 7, "state": "opened", "sha": "head"})),
        _ => (200, json!({})),
    })
    .await;
    gitlab.forge(ForgeKind::Gitlab, true).0.look(&pull(7)).await.unwrap();
    assert_eq!(gitlab.bodies()[1]["sha"], "head");
    assert_eq!(gitlab.bodies()[1]["auto_merge"], true);
}

#[tokio::test]
async fn a_forge_that_was_asked_too_often_is_left_alone_for_a_minute() {
    let server = StandIn::start("", |n_before, _| match n_before {
        0 => (403, json!({"message": "You have exceeded a secondary rate limit"})),
        _ => (200, listed(7, "open", 1)),
    })
    .await;
    let (forge, _token) = server.forge(ForgeKind::Github, false);
    assert!(matches!(forge.look(&pull(7)).await, Err(ForgeError::Http(_))));
    let error = forge.look(&pull(7)).await.unwrap_err();
    assert!(matches!(error, ForgeError::Quiet { left, .. } if left > Duration::from_secs(50)), "{error}");
    assert_eq!(server.lines().len(), 1, "and is not asked");
    *forge.0.quiet_until.lock().unwrap() = Some(Instant::now());
    assert_eq!(forge.look(&pull(7)).await.unwrap(), Look::Open);
}

#[tokio::test]
async fn what_is_no_answer_of_a_forge_is_said() {
    let server = StandIn::start("", |_, _| (200, json!({"hello": "world"}))).await;
    let (forge, _token) = server.forge(ForgeKind::Gitea, false);
    let error = forge.look(&pull(7)).await.unwrap_err().to_string();
    assert_eq!(error, "Gitea answered without the state of a pull request");
    assert_eq!(open(&forge).await.unwrap_err().to_string(), "Gitea answered without a list");
}
