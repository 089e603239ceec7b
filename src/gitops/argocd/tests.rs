use std::collections::{BTreeMap, HashMap};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::*;

/// Stands in for Argo CD's API: one Application, which becomes what is planned for the next refresh.
#[derive(Clone)]
struct StandIn {
    url: url::Url,
    application: Arc<Mutex<Value>>,
    after_refresh: Arc<Mutex<Option<Value>>>,
    may_sync: Arc<AtomicBool>,
    windows: Arc<Mutex<Value>>,
    asked: Arc<Mutex<Vec<String>>>,
    token: Arc<tempfile::NamedTempFile>,
}

impl StandIn {
    fn start(application: Value) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let token = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(token.path(), "secret").unwrap();
        let stand_in = Self {
            url,
            token: Arc::new(token),
            application: Arc::new(Mutex::new(application)),
            after_refresh: Arc::default(),
            may_sync: Arc::new(AtomicBool::new(true)),
            windows: Arc::new(Mutex::new(json!({"canSync": true}))),
            asked: Arc::default(),
        };
        let server = stand_in.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut asked = [0; 4096];
                let n_read = stream.read(&mut asked).unwrap();
                let asked = String::from_utf8_lossy(&asked[..n_read]).into_owned();
                let line = asked.lines().next().unwrap_or_default().replace(" HTTP/1.1", "");
                let body = server.answer(&line).to_string();
                let is_delete = line.starts_with("DELETE");
                // As Argo CD's own server does it.
                let status = if is_delete && !asked.contains("content-type: application/json") {
                    "415 Unsupported Media Type"
                } else if is_delete && !server.may_sync.load(Ordering::Relaxed) {
                    "403 Forbidden"
                } else {
                    "200 OK"
                };
                let head = format!(
                    "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
                    body.len()
                );
                stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
            }
        });
        stand_in
    }

    fn answer(&self, line: &str) -> Value {
        self.asked.lock().unwrap().push(line.to_owned());
        if line.contains("/syncwindows") {
            return self.windows.lock().unwrap().clone();
        }
        let mut application = self.application.lock().unwrap();
        if line.starts_with("DELETE") && !self.may_sync.load(Ordering::Relaxed) {
            return json!({"code": 7, "message": "permission denied"});
        }
        if line.starts_with("DELETE") {
            application["operation"] = Value::Null;
            application["status"]["operationState"]["phase"] = json!("Failed");
            return json!({});
        }
        if line.contains("refresh=normal")
            && let Some(next) = self.after_refresh.lock().unwrap().take()
        {
            *application = next;
        }
        application.clone()
    }

    fn watch(&self, terminate_stuck: bool) -> SyncWatch {
        let config = ArgoCdConfig {
            url: self.url.clone(),
            token_file: self.token.path().to_owned(),
            ca_file: None,
            terminate_stuck,
        };
        SyncWatch::new(ArgoCd::new(&config).unwrap(), "team/credit".to_owned())
    }

    fn n_asked(&self, what: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|line| line.contains(what)).count()
    }
}

/// Commits by name.
struct Commits(HashMap<&'static str, At>);

impl History for Commits {
    async fn at(&self, revision: &str) -> At {
        self.0.get(revision).cloned().unwrap_or_else(|| At::Unknown("no such commit".to_owned()))
    }
}

fn commits() -> Commits {
    Commits(HashMap::from([
        ("bad", At::Before { is_accused: true }),
        ("older", At::Before { is_accused: false }),
        ("ours", At::Ours),
        ("later", At::Ours),
        ("newer", At::Changed),
    ]))
}

#[allow(clippy::needless_pass_by_value, reason = "every caller makes it for this")]
fn application(revision: &str, status: &str, operation: Value) -> Value {
    json!({
        "metadata": {"name": "credit", "namespace": "team"},
        "spec": {
            "project": "models",
            "source": {"repoURL": "https://git.example/models", "path": "prod", "targetRevision": "main"},
            "syncPolicy": {"automated": {"selfHeal": true}},
        },
        "status": {
            "sync": {"status": status, "revision": revision},
            "health": {"status": "Healthy"},
            "reconciledAt": "2026-11-23T00:10:00Z",
            "operationState": operation,
        },
    })
}

fn operation(phase: &str, revision: &str) -> Value {
    let finished = if phase == "Running" { Value::Null } else { json!("2026-11-23T00:09:58Z") };
    json!({"phase": phase, "message": "waiting for\nhooks", "operation": {"sync": {"revision": revision}},
        "startedAt": "2026-11-23T00:09:50Z", "finishedAt": finished})
}

async fn look(application: Value) -> Sync {
    StandIn::start(application).watch(false).look(&commits()).await.unwrap()
}

fn waiting(why: &str) -> Sync {
    Sync::Waiting(why.to_owned())
}

fn blocked(why: &str, command: &str) -> Sync {
    Sync::Blocked { why: why.to_owned(), command: command.to_owned() }
}

#[tokio::test]
async fn a_commit_is_applied_once_a_revision_with_it_is_compared_and_synced() {
    let applied = |revision: &str| Sync::Applied { revision: revision.to_owned() };
    assert_eq!(look(application("ours", "Synced", operation("Succeeded", "ours"))).await, applied("ours"));
    assert_eq!(look(application("later", "Synced", operation("Succeeded", "ours"))).await, applied("later"));
    assert_eq!(look(application("ours", "Synced", Value::Null)).await, applied("ours"));
    assert_eq!(
        look(application("newer", "Synced", operation("Succeeded", "newer"))).await,
        Sync::Superseded { revision: "newer".to_owned() }
    );
    let mut several = application("", "Synced", operation("Succeeded", "ours"));
    several["status"]["sync"]["revisions"] = json!(["of another repository", "ours"]);
    assert_eq!(look(several).await, applied("ours"));
}

#[tokio::test]
async fn what_is_not_applied_says_why() {
    let operation_of = |phase| operation(phase, "ours");
    let check = async |application: Value, expected: Sync| assert_eq!(look(application).await, expected);
    let mut early = application("ours", "Synced", operation_of("Succeeded"));
    early["status"]["reconciledAt"] = json!("2026-11-23T00:09:57Z");
    check(early, waiting("it was not compared since its last sync")).await;
    let running = application("ours", "OutOfSync", operation_of("Running"));
    check(running, waiting("it is being applied: waiting for hooks")).await;
    let mut asked = application("ours", "OutOfSync", Value::Null);
    asked["operation"] = json!({"sync": {}});
    check(asked, waiting("a sync has been asked for")).await;
    let old = application("bad", "Synced", operation("Succeeded", "bad"));
    check(old, waiting("it is compared with bad (asked to look 1 times)")).await;
    let foreign = application("x", "Synced", Value::Null);
    check(foreign, waiting("nothing is known of x: no such commit")).await;
    let failed = application("ours", "OutOfSync", operation_of("Failed"));
    let command = "argocd app get team/credit --show-operation";
    check(failed, blocked("its sync failed: waiting for hooks", command)).await;
    // An older one has failed, and ours is next.
    let next = application("ours", "OutOfSync", operation("Failed", "bad"));
    check(next, waiting("ours is OutOfSync")).await;
    for off in [json!({}), json!({"automated": {"enabled": false}})] {
        let mut manual = application("ours", "OutOfSync", Value::Null);
        manual["spec"]["syncPolicy"] = off;
        let command = "argocd app sync team/credit --revision ours";
        check(manual, blocked("automated sync is off", command)).await;
    }
    let mut wrong = application("ours", "Unknown", Value::Null);
    wrong["status"]["conditions"] = json!([{"type": "ComparisonError", "message": "bad\nyaml"}]);
    let command = "argocd app get team/credit --hard-refresh";
    check(wrong, blocked("it cannot be compared: bad yaml", command)).await;
    let mut hydrated = application("ours", "Synced", Value::Null);
    hydrated["spec"]["sourceHydrator"] = json!({"drySource": {}});
    assert!(matches!(look(hydrated).await, Sync::Blocked { .. }));
}

#[tokio::test]
async fn a_sync_window_that_is_closed_is_named() {
    let stand_in = StandIn::start(application("ours", "OutOfSync", Value::Null));
    let allow = json!({"kind": "allow", "schedule": "0 8 * * *", "duration": "1h"});
    let deny = json!({"kind": "deny", "schedule": "* * * * *", "duration": "2h"});
    let check = async |windows: Value, expected: Sync| {
        *stand_in.windows.lock().unwrap() = windows;
        assert_eq!(stand_in.watch(false).look(&commits()).await.unwrap(), expected);
    };
    let listed = "argocd proj windows list models";
    let windows = json!({"assignedWindows": [allow], "canSync": false});
    check(windows, blocked("it is outside its sync window: `0 8 * * *` for 1h", listed)).await;
    let windows = json!({"assignedWindows": [allow, deny], "activeWindows": [allow, deny], "canSync": true});
    let by_hand = "argocd app sync team/credit";
    check(windows, blocked("a sync window denies it: `* * * * *` for 2h", by_hand)).await;
    let windows = json!({"assignedWindows": [allow, deny], "activeWindows": [allow], "canSync": true});
    check(windows, waiting("ours is OutOfSync")).await;
}

#[tokio::test]
async fn a_lost_refresh_is_asked_for_again() {
    let stand_in = StandIn::start(application("bad", "Synced", operation("Succeeded", "bad")));
    let mut watch = stand_in.watch(false);
    assert!(matches!(watch.look(&commits()).await.unwrap(), Sync::Waiting(_)));
    assert!(matches!(watch.look(&commits()).await.unwrap(), Sync::Waiting(_)));
    assert_eq!(stand_in.n_asked("refresh=normal"), 1, "not at every look");
    watch.refreshed_at = watch.refreshed_at.map(|last| last.checked_sub(Duration::from_secs(6)).unwrap());
    *stand_in.after_refresh.lock().unwrap() =
        Some(application("ours", "Synced", operation("Succeeded", "ours")));
    assert_eq!(watch.look(&commits()).await.unwrap(), Sync::Applied { revision: "ours".to_owned() });
    assert_eq!((stand_in.n_asked("refresh=normal"), watch.n_refreshed), (2, 2));
    assert_eq!(stand_in.n_asked("GET /api/v1/applications/credit?appNamespace=team"), 5);
}

/// Ages what the watch has seen, in place of waiting.
fn sixteen_seconds_later(watch: &mut SyncWatch) {
    let before = |at: tokio::time::Instant| at.checked_sub(Duration::from_secs(16)).unwrap();
    watch.stuck_since = watch.stuck_since.map(|(since, started)| (before(since), started));
}

#[tokio::test]
async fn a_stuck_sync_is_ended_only_if_it_applies_what_is_accused_and_only_if_allowed() {
    let check = async |of: &str, may_terminate: bool, is_ended: bool| {
        let stand_in = StandIn::start(application("ours", "OutOfSync", operation("Running", of)));
        let mut watch = stand_in.watch(may_terminate);
        let first = watch.look(&commits()).await.unwrap();
        assert_eq!(first, waiting(&format!("a sync of {of} is under way: waiting for hooks")));
        sixteen_seconds_later(&mut watch);
        let then = watch.look(&commits()).await.unwrap();
        assert_eq!(stand_in.n_asked("DELETE /api/v1/applications/credit/operation"), usize::from(is_ended));
        if is_ended {
            assert_eq!(watch.n_terminated, 1);
            assert_eq!(watch.look(&commits()).await.unwrap(), waiting("ours is OutOfSync"));
        } else {
            let why = format!("a sync of {of} is under way: waiting for hooks");
            assert_eq!(then, blocked(&why, "argocd app terminate-op team/credit"));
        }
    };
    check("bad", true, true).await;
    check("bad", false, false).await;
    check("older", true, false).await;
    check("main", true, false).await;
}

#[tokio::test]
async fn a_stuck_sync_that_the_token_may_not_end_is_told_with_the_reason() {
    let stand_in = StandIn::start(application("ours", "OutOfSync", operation("Running", "bad")));
    stand_in.may_sync.store(false, Ordering::Relaxed);
    let mut watch = stand_in.watch(true);
    watch.look(&commits()).await.unwrap();
    sixteen_seconds_later(&mut watch);
    let why = "a sync of bad is under way: waiting for hooks; it could not be ended, which takes the right `sync`: \
               Argo CD answered 403 Forbidden: permission denied";
    assert_eq!(watch.look(&commits()).await.unwrap(), blocked(why, "argocd app terminate-op team/credit"));
    watch.look(&commits()).await.unwrap();
    assert_eq!(stand_in.n_asked("DELETE"), 1, "a refusal is not asked for again");
    assert_eq!(watch.n_terminated, 0);
}

/// Argo CD looks again by itself only after minutes, and is not told that a window has ended.
#[tokio::test]
async fn what_waits_to_be_applied_is_asked_for_again() {
    let stand_in = StandIn::start(application("ours", "OutOfSync", Value::Null));
    let mut watch = stand_in.watch(false);
    watch.look(&commits()).await.unwrap();
    watch.look(&commits()).await.unwrap();
    assert_eq!(stand_in.n_asked("refresh=normal"), 1);
    *stand_in.after_refresh.lock().unwrap() =
        Some(application("ours", "Synced", operation("Succeeded", "ours")));
    watch.refreshed_at = watch.refreshed_at.map(|last| last.checked_sub(Duration::from_secs(6)).unwrap());
    assert!(matches!(watch.look(&commits()).await.unwrap(), Sync::Applied { .. }));
}

#[track_caller]
fn check_seen(annotation: Option<&str>, path: &str, file: &str, expected: bool) {
    let mut application = application("ours", "Synced", Value::Null);
    application["spec"]["source"]["path"] = json!(path);
    let annotations: BTreeMap<_, _> =
        annotation.map(|paths| ("argocd.argoproj.io/manifest-generate-paths", paths)).into_iter().collect();
    application["metadata"]["annotations"] = json!(annotations);
    let application: Application = serde_json::from_value(application).unwrap();
    assert_eq!(application.sees(file), expected, "{annotation:?} in {path} for {file}");
}

#[test]
fn argo_cd_looks_at_the_paths_it_was_given() {
    check_seen(None, "prod", "elsewhere/a.yaml", true);
    check_seen(Some("."), "prod", "prod/credit/a.yaml", true);
    check_seen(Some("."), "prod", "production/a.yaml", false);
    check_seen(Some("../shared;."), "prod/eu", "prod/shared/a.yaml", true);
    check_seen(Some("/models"), "prod", "models/a.yaml", true);
    check_seen(Some("/models"), "prod", "prod/models/a.yaml", false);
    check_seen(Some("/models/*.yaml"), "prod", "models/a.yaml", true);
    check_seen(Some(" ; "), "prod", "prod/a.yaml", false);
}
