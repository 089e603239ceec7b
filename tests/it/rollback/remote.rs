//! A bare repository behind `git http-backend`, with a password.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::sync::Notify;

use crate::support;

pub const USER: &str = "driftd";
pub const PASSWORD: &str = "not-a-secret-either";

pub struct Remote {
    folder: TempDir,
    addr: SocketAddr,
    trouble: Arc<Mutex<Trouble>>,
}

/// What is wrong with the server.
#[derive(Clone, Debug, Default)]
pub enum Trouble {
    #[default]
    None,
    /// Connections are cut before anything is answered.
    Down,
    /// A push is taken, and the connection cut in place of the answer.
    NoAnswer,
    /// The same, and from then on it is down.
    LastPush,
    /// A push is taken once the second is notified; the first tells that it is there, and then that it was answered.
    Held { told: Arc<Notify>, go_on: Arc<Notify> },
}

impl Remote {
    /// With `file` in its first commit.
    pub async fn start(file: &str, text: &str) -> Self {
        let folder = TempDir::new().unwrap();
        run(folder.path(), &["init", "-q", "--bare", "-b", "main", "models.git"]);
        let bare = folder.path().join("models.git");
        for setting in
            ["http.receivepack", "receive.denyNonFastForwards", "receive.denyDeletes", "receive.fsckObjects"]
        {
            run(&bare, &["config", setting, "true"]);
        }
        run(folder.path(), &["clone", "-q", "models.git", "people"]);
        let (root, trouble) = (folder.path().to_owned(), Arc::<Mutex<Trouble>>::default());
        let of_server = Arc::clone(&trouble);
        let addr = support::mock_model_server(move |request| {
            let (root, trouble) = (root.clone(), Arc::clone(&of_server));
            async move { answer_in_trouble(root, request, &trouble).await }
        })
        .await;
        let remote = Self { folder, addr, trouble };
        remote.write(file, text);
        remote
    }

    pub fn url(&self) -> String {
        format!("http://{}/models.git", self.addr)
    }

    /// What is wrong with the server from now on.
    pub fn trouble(&self, trouble: Trouble) {
        *self.trouble.lock().unwrap() = trouble;
    }

    /// What the repository runs at a push, by `sh`.
    pub fn hook(&self, name: &str, script: &str) {
        let path = self.path().join("hooks").join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("models.git")
    }

    pub fn git(&self, arguments: &[&str]) -> String {
        run(&self.path(), arguments)
    }

    pub fn tip(&self) -> String {
        self.git(&["rev-parse", "main"])
    }

    /// As a person does it: commit and push.
    pub fn write(&self, file: &str, text: &str) {
        self.change(|people| std::fs::write(people.join(file), text).unwrap());
    }

    /// The same, for a file that goes.
    pub fn remove(&self, file: &str) {
        self.change(|people| std::fs::remove_file(people.join(file)).unwrap());
    }

    fn change(&self, edit: impl FnOnce(&Path)) {
        let people = self.folder.path().join("people");
        run(&people, &["fetch", "-q"]);
        if !self.git(&["branch", "--list", "main"]).is_empty() {
            run(&people, &["checkout", "-q", "-B", "main", "origin/main"]);
        }
        edit(&people);
        run(&people, &["add", "-A"]);
        run(&people, &["commit", "-q", "-m", "models: another version"]);
        run(&people, &["push", "-q", "origin", "HEAD:main"]);
    }
}

pub fn run(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .current_dir(folder)
        .args(["-c", "user.name=People", "-c", "user.email=people@example.com"])
        .args(arguments)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()
        .unwrap();
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

async fn answer_in_trouble(root: PathBuf, request: Request, trouble: &Mutex<Trouble>) -> Response {
    let is_push = request.uri().path().ends_with("/git-receive-pack");
    let of_now = trouble.lock().unwrap().clone();
    match of_now {
        Trouble::Down => return cut(),
        Trouble::Held { told, go_on } if is_push => {
            told.notify_one();
            go_on.notified().await;
            let answer = answer(root, request).await;
            told.notify_one();
            return answer;
        }
        _ => (),
    }
    let answer = answer(root, request).await;
    let after = trouble.lock().unwrap().clone();
    match after {
        Trouble::NoAnswer if is_push => cut(),
        Trouble::LastPush if is_push => {
            *trouble.lock().unwrap() = Trouble::Down;
            cut()
        }
        _ => answer,
    }
}

/// A connection that breaks off in the middle of its answer.
fn cut() -> Response {
    let broken = std::io::Error::other("the connection is cut");
    Body::from_stream(futures_util::stream::iter([Err::<Bytes, _>(broken)])).into_response()
}

/// What a web server does for `git http-backend`: the request as a CGI program wants it (RFC 3875).
async fn answer(root: PathBuf, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    if !is_known(&parts.headers) {
        let challenge = [("WWW-Authenticate", "Basic realm=\"models\"")];
        return (StatusCode::UNAUTHORIZED, challenge, "who are you?").into_response();
    }
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let header = |name: &str| parts.headers.get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
    let mut command = tokio::process::Command::new("git");
    command
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("REMOTE_USER", USER)
        .env("REQUEST_METHOD", parts.method.as_str())
        .env("PATH_INFO", parts.uri.path())
        .env("QUERY_STRING", parts.uri.query().unwrap_or_default())
        .env("CONTENT_TYPE", header("content-type"))
        .env("CONTENT_LENGTH", body.len().to_string())
        .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
        .env("GIT_PROTOCOL", header("git-protocol"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let write = async move {
        let _ = stdin.write_all(&body).await; // it may have read enough
    };
    let (output, ()) = tokio::join!(child.wait_with_output(), write);
    response(&Bytes::from(output.unwrap().stdout))
}

fn is_known(headers: &HeaderMap) -> bool {
    let expected = base64::engine::general_purpose::STANDARD.encode(format!("{USER}:{PASSWORD}"));
    headers.get(AUTHORIZATION).is_some_and(|sent| sent.as_bytes() == format!("Basic {expected}").as_bytes())
}

fn response(output: &Bytes) -> Response {
    let end = output.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("a CGI head");
    let head = String::from_utf8(output[..end].to_vec()).unwrap();
    let mut response = Response::new(Body::from(output.slice(end + 4..)));
    for (name, value) in head.lines().filter_map(|line| line.split_once(": ")) {
        if name.eq_ignore_ascii_case("status") {
            *response.status_mut() = value.split(' ').next().unwrap().parse().unwrap();
        } else if name.eq_ignore_ascii_case("content-type") {
            response.headers_mut().insert(CONTENT_TYPE, value.parse().unwrap());
        }
    }
    response
}
