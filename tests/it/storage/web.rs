//! A mock of a web server that fails as it is told: none that can be had does so on demand.

use std::sync::atomic::AtomicBool;

use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};

use super::*;
use crate::process::Sidecar;
use crate::support::{self, metric, mock_model_server};

/// A mock web server; tells how often it was asked.
struct MockWeb {
    url: String,
    n_asked: Arc<AtomicU64>,
}

impl MockWeb {
    async fn start<F>(answer: F) -> Self
    where
        F: Fn(u64, Request) -> Response + Clone + Send + Sync + 'static,
    {
        let n_asked = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&n_asked);
        let addr = mock_model_server(move |request| {
            let answered = answer(counter.fetch_add(1, Ordering::Relaxed), request);
            async move { answered }
        })
        .await;
        Self { url: format!("http://{addr}"), n_asked }
    }

    fn n_asked(&self) -> u64 {
        self.n_asked.load(Ordering::Relaxed)
    }
}

/// Impatient, so that the tests are quick; which of these bounds is met depends on no timing.
fn settings() -> Settings {
    let limits =
        Limits { first_pause: Duration::from_millis(1), max_fetched_bytes: 1000, ..Limits::default() };
    Settings { environment: BTreeMap::new(), limits }
}

/// As the daemon does: on a thread that may wait.
async fn waiting<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("no panic")
}

#[tokio::test]
async fn a_mock_web_server_is_asked_whether_it_has_something_new() {
    let web = MockWeb::start(|_, request| {
        let etag = "\"1\"";
        if request.headers().get(header::IF_NONE_MATCH).is_some_and(|known| known == etag) {
            return StatusCode::NOT_MODIFIED.into_response();
        }
        ([(header::ETAG, etag)], "content").into_response()
    })
    .await;
    let uri = format!("{}/x.json?signature=secret", web.url);
    waiting(move || {
        let (bytes, revision) = fetched(&uri, None, &settings());
        assert_eq!(bytes, b"content");
        check_is_known(&uri, &revision, &settings());
        let elsewhere = uri.replace("x.json", "y.json");
        assert_eq!(
            fetched(&elsewhere, Some(&revision), &settings()).0,
            b"content",
            "another place's ETag says nothing"
        );
    })
    .await;
    assert_eq!(web.n_asked(), 3);
}

#[tokio::test]
async fn a_mock_web_server_that_knows_no_etags_is_asked_by_time_and_else_read_again() {
    let web = MockWeb::start(|_, request| match request.uri().path() {
        "/dated.json" if request.headers().contains_key(header::IF_MODIFIED_SINCE) => {
            StatusCode::NOT_MODIFIED.into_response()
        }
        "/dated.json" => {
            ([(header::LAST_MODIFIED, "Thu, 01 Jan 1970 00:00:00 GMT")], "content").into_response()
        }
        _ => "content".into_response(),
    })
    .await;
    waiting(move || {
        let uri = |name: &str| format!("{}/{name}", web.url);
        let (_, revision) = fetched(&uri("dated.json"), None, &settings());
        check_is_known(&uri("dated.json"), &revision, &settings());
        let (_, revision) = fetched(&uri("plain.json"), None, &settings());
        fetched(&uri("plain.json"), Some(&revision), &settings());
    })
    .await;
}

#[tokio::test]
async fn what_may_pass_is_tried_again_and_nothing_else() {
    for (n_failures, is_found) in [(3, true), (4, false)] {
        let web = MockWeb::start(move |n_before, _| {
            if n_before < n_failures {
                return StatusCode::SERVICE_UNAVAILABLE.into_response();
            }
            "content".into_response()
        })
        .await;
        let uri = web.url.clone();
        waiting(move || {
            if is_found {
                assert_eq!(fetched(&uri, None, &settings()).0, b"content");
            } else {
                check_fails(&uri, &settings(), "unavailable", &["the service failed", "503"]);
            }
        })
        .await;
        assert_eq!(web.n_asked(), 4);
    }
    let statuses = [
        (StatusCode::NOT_FOUND, "not_found", "nothing is at"),
        (StatusCode::FORBIDDEN, "denied", "user:password@"),
        (StatusCode::UNAUTHORIZED, "denied", "user:password@"),
        (StatusCode::BAD_REQUEST, "refused", "400"),
    ];
    for (status, kind, expected) in statuses {
        let web = MockWeb::start(move |_, _| status.into_response()).await;
        let uri = format!("{}/x.json?signature=secret", web.url);
        waiting(move || check_fails(&uri, &settings(), kind, &[expected, "/x.json"])).await;
        assert_eq!(web.n_asked(), 1);
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_is_read_again_from_its_beginning() {
    let web = MockWeb::start(|n_before, _| {
        let whole = "the whole content";
        let sent = if n_before == 0 { &whole[..5] } else { whole };
        let pieces = [Ok(sent.as_bytes()), Err(std::io::Error::other("cut off"))];
        let n_pieces = if n_before == 0 { 2 } else { 1 };
        let stream = futures_util::stream::iter(pieces.into_iter().take(n_pieces));
        Response::new(Body::from_stream(stream))
    })
    .await;
    let (uri, cache) = (format!("{}/x.csv", web.url), TempDir::new().unwrap());
    waiting(move || {
        assert_eq!(fetched(&uri, None, &settings()).0, b"the whole content");
        let mut settings = settings();
        settings.environment.insert("XDG_CACHE_HOME".to_owned(), cache.path().display().to_string());
        let downloaded = location(&uri).download(&settings, &|_, _| ()).unwrap();
        assert_eq!(fs::read(downloaded.path()).unwrap(), b"the whole content");
    })
    .await;
    assert_eq!(web.n_asked(), 3);
}

#[tokio::test]
async fn a_mock_web_server_that_never_answers_is_left_in_time() {
    let addr = mock_model_server(|_| std::future::pending::<Response>()).await;
    waiting(move || {
        let mut settings = settings();
        settings.limits.idle_timeout = Duration::from_millis(20);
        let uri = format!("http://{addr}/x.json");
        check_fails(&uri, &settings, "unavailable", &[&uri, "did not answer in time"]);
        settings.limits.idle_timeout = Duration::from_hours(1);
        settings.limits.fetch_timeout = Duration::from_millis(20);
        check_fails(&uri, &settings, "unavailable", &[&uri, "not done within 20ms"]);
        for (uri, name) in [("s3://b/x.json", "AWS_ENDPOINT_URL"), ("models:/m/1", "MLFLOW_TRACKING_URI")] {
            let mut settings = Settings {
                limits: Limits { idle_timeout: Duration::from_millis(20), ..settings.limits.clone() },
                ..Settings::default()
            };
            settings.limits.fetch_timeout = Duration::from_hours(1);
            let environment = [
                (name, format!("http://{addr}")),
                ("AWS_ACCESS_KEY_ID", "a".to_owned()),
                ("AWS_SECRET_ACCESS_KEY", "b".to_owned()),
            ];
            settings.environment = environment.map(|(name, value)| (name.to_owned(), value)).into();
            check_fails(uri, &settings, "unavailable", &[uri, "did not answer in time"]);
        }
    })
    .await;
}

#[tokio::test]
async fn more_than_the_bound_is_not_read_with_a_length_or_without() {
    let web = MockWeb::start(|_, request| match request.uri().path() {
        "/length.json" => "x".repeat(1001).into_response(),
        "/fits.json" => "x".repeat(1000).into_response(),
        _ => {
            let pieces = std::iter::repeat_with(|| Ok::<_, std::io::Error>("x".repeat(100)));
            Response::new(Body::from_stream(futures_util::stream::iter(pieces))) // without an end
        }
    })
    .await;
    waiting(move || {
        for name in ["length.json", "endless.json"] {
            check_fails(&format!("{}/{name}", web.url), &settings(), "too_large", &[name, "1000 bytes"]);
        }
        assert_eq!(fetched(&format!("{}/fits.json", web.url), None, &settings()).0.len(), 1000);
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("large.json");
        fs::write(&file, "x".repeat(1001)).unwrap();
        check_fails(file.to_str().unwrap(), &settings(), "too_large", &["large.json"]);
    })
    .await;
}

/// With an environment.
fn settings_with<const N: usize>(environment: [(&str, &str); N]) -> Settings {
    let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    Settings { environment, ..settings() }
}

#[tokio::test]
async fn a_mock_s3_that_is_busy_is_asked_again_and_one_that_refuses_is_not() {
    let web = MockWeb::start(|n_before, request| match request.uri().path() {
        "/bucket/busy.json" if n_before < 2 => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        "/bucket/busy.json" => {
            let headers = [(header::ETAG, "\"1\""), (header::LAST_MODIFIED, "Thu, 01 Jan 1970 00:00:00 GMT")];
            (headers, "content").into_response()
        }
        "/bucket/down.json" => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        _ => (StatusCode::FORBIDDEN, "<Error><Code>SignatureDoesNotMatch</Code></Error>").into_response(),
    })
    .await;
    let url = web.url.clone();
    waiting(move || {
        let settings = settings_with([
            ("AWS_ENDPOINT_URL", &url),
            ("AWS_ACCESS_KEY_ID", "a"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
        ]);
        assert_eq!(fetched("s3://bucket/busy.json", None, &settings).0, b"content");
        check_fails("s3://bucket/down.json", &settings, "unavailable", &["s3://bucket/down.json", "503"]);
        let expected = ["AWS_ACCESS_KEY_ID", "SignatureDoesNotMatch"];
        check_fails("s3://bucket/x.json", &settings, "denied", &expected);
    })
    .await;
    assert_eq!(web.n_asked(), 3 + 4 + 1);
}

/// MLflow's own server with accounts needs packages that nothing else here does.
#[tokio::test]
async fn a_mock_tracking_server_gets_the_credentials_and_no_other_server_does() {
    let elsewhere = MockWeb::start(|_, request| {
        assert!(!request.headers().contains_key(header::AUTHORIZATION), "not its credentials");
        "content of another server".into_response()
    })
    .await;
    let host = elsewhere.url.trim_start_matches("http://").to_owned();
    let web = MockWeb::start(move |_, request| {
        let given = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        // `tester:secret` in Base64
        if ![Some("Basic dGVzdGVyOnNlY3JldA=="), Some("Bearer secret")].contains(&given) {
            return (StatusCode::UNAUTHORIZED, r#"{"message": "who are you"}"#).into_response();
        }
        match request.uri().path() {
            "/base/api/2.0/mlflow/runs/get" => {
                let uri = format!("mlflow-artifacts://{host}/1/artifacts");
                axum::Json(serde_json::json!({"run": {"info": {"artifact_uri": uri}}})).into_response()
            }
            "/base/api/2.0/mlflow-artifacts/artifacts/1/x.json" => "content".into_response(),
            _ => StatusCode::NOT_FOUND.into_response(),
        }
    })
    .await;
    waiting(move || {
        let url = format!("{}/base", web.url);
        let server = ("MLFLOW_TRACKING_URI", url.as_str());
        let user = ("MLFLOW_TRACKING_USERNAME", "tester");
        for settings in [
            settings_with([server, user, ("MLFLOW_TRACKING_PASSWORD", "secret")]),
            settings_with([server, ("MLFLOW_TRACKING_TOKEN", "secret")]),
        ] {
            assert_eq!(fetched("mlflow-artifacts:/1/x.json", None, &settings).0, b"content");
            assert_eq!(fetched("runs:/1/x.json", None, &settings).0, b"content of another server");
        }
        let settings = settings_with([server, user]);
        let expected = ["MLFLOW_TRACKING_TOKEN", "who are you"];
        check_fails("mlflow-artifacts:/1/x.json", &settings, "denied", &expected);
    })
    .await;
}

#[test]
fn a_file_is_new_once_it_is_another() {
    let folder = TempDir::new().unwrap();
    let (file, next) = (folder.path().join("x.json"), folder.path().join("next"));
    fs::write(&file, "old").unwrap();
    let uri = format!("file://{}", file.display());
    let (_, revision) = fetched(&uri, None, &settings());
    check_is_known(file.to_str().unwrap(), &revision, &settings());
    // Of the same length, and perhaps within the same tick of the file system's clock.
    fs::write(&next, "new").unwrap();
    fs::rename(&next, &file).unwrap();
    assert_eq!(fetched(&uri, Some(&revision), &settings()).0, b"new");
    check_fails("/nowhere/x.json", &settings(), "not_found", &["/nowhere/x.json"]);
}

#[test]
fn a_service_that_is_not_there_ends_with_69_and_shows_no_password() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    drop(listener);
    let environment = BTreeMap::from([
        ("AWS_ENDPOINT_URL".to_owned(), format!("http://{addr}")),
        ("MLFLOW_TRACKING_URI".to_owned(), format!("http://{addr}")),
        ("AWS_ACCESS_KEY_ID".to_owned(), "a".to_owned()),
        ("AWS_SECRET_ACCESS_KEY".to_owned(), "secret".to_owned()),
    ]);
    let web = format!("http://user:secret@{addr}/x.json?sig=secret");
    for uri in [web.as_str(), "s3://b/x.json", "models:/m/1"] {
        let said = check_run(&["baseline", "show", uri], &environment, 69);
        assert!(said.contains("Connection refused") && said.contains("check that it runs"), "{said}");
        assert!(!said.contains("secret"), "{said}");
    }
    let said = check_run(&["baseline", "show", "hdfs://x/y"], &environment, 2);
    assert!(said.contains("`hdfs:` is no storage"), "{said}");
}

#[tokio::test]
async fn the_sidecar_takes_its_baseline_from_a_mock_web_server() {
    let content = content();
    let bytes = fs::read(content.path().join("credit/v1").join(BASELINE_NAME)).unwrap();
    let is_down = Arc::new(AtomicBool::new(false));
    let down = Arc::clone(&is_down);
    let web = MockWeb::start(move |_, request| match request.uri().path() {
        _ if down.load(Ordering::Relaxed) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        "/credit/driftd-baseline.json" => bytes.clone().into_response(),
        _ => StatusCode::NOT_FOUND.into_response(),
    })
    .await;
    let upstream = mock_model_server(|_| async { "{}".into_response() }).await;
    let uri = format!("{}/credit/model.joblib", web.url);
    let state = TempDir::new().unwrap();
    let folder = state.path().display().to_string();
    let start = move || {
        let (uri, folder) = (uri.clone(), folder.clone());
        waiting(move || Sidecar::start(upstream, &["--baseline", &uri, "--state-dir", &folder]))
    };
    let watches = |text: &str| {
        text.lines().any(|line| line.starts_with("driftd_baseline_info") && line.contains("model=\"credit\""))
    };
    let sidecar = start().await;
    let text = wait_for_text(&sidecar, watches).await;
    assert_eq!(metric(&text, r#"driftd_baseline_errors_total{reason="not_found"}"#), Some(0.0));
    sidecar.signal("TERM");
    assert_eq!(sidecar.wait().await, Some(0));
    // The next one begins with what was there, and says that it could not ask.
    is_down.store(true, Ordering::Relaxed);
    let sidecar = start().await;
    let failed = r#"driftd_baseline_errors_total{reason="unavailable"}"#;
    wait_for_text(&sidecar, |text| watches(text) && metric(text, failed).is_some_and(|n| n > 0.0)).await;
}

/// What the sidecar exports once it is as wanted.
async fn wait_for_text(sidecar: &Sidecar, is_wanted: impl Fn(&str) -> bool) -> String {
    let deadline = tokio::time::Instant::now() + 2 * support::PATIENCE;
    loop {
        let url = format!("http://{}/metrics", sidecar.admin);
        let text = reqwest::get(url).await.unwrap().text().await.unwrap();
        if is_wanted(&text) {
            return text;
        }
        assert!(tokio::time::Instant::now() < deadline, "{text}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
