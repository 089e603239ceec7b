//! The router around a real journal, with an engine that asks a Prometheus that is not there: what comes in stays where it is.

mod pages;
mod payloads;
mod refusals;

use std::time::Duration;

use axum::body::Bytes;
use axum::http::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::super::config::{ControllerConfig, RawControllerConfig};
use super::super::engine::{Book, Context, Measure, run};
use super::super::git::Repository;
use super::super::journal::{FILE, Journal, Verified};
use super::super::prometheus::Prometheus;
use super::*;
use crate::telemetry::ControllerMetrics;

const ALERTS: &str = "alerts-token-1";
const ANN: &str = "token-of-ann";

struct World {
    router: Router,
    registry: Registry,
    folder: TempDir,
    handle: EngineHandle,
    term: watch::Sender<Option<u64>>,
    stop: CancellationToken,
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl World {
    async fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let file = |name: &str, text: &str| {
            std::fs::write(folder.path().join(name), text).unwrap();
            folder.path().join(name).display().to_string()
        };
        let text = format!(
            "state_dir: x\nalerts: {{bearer_token_file: '{}'}}\napi: {{operators: [{{name: ann, token_file: '{}'}}]}}\n\
             prometheus: {{url: 'http://127.0.0.1:1'}}\ngit: {{url: 'file:///nowhere', author: 'd <d@example.com>'}}\n\
             targets: [{{namespace: prod, name: credit}}]\n",
            file("alerts.token", &format!("{ALERTS}\n")),
            file("ann.token", ANN),
        );
        let raw: RawControllerConfig = serde_saphyr::from_str(&text).unwrap();
        let config = ControllerConfig::try_from(raw).unwrap();
        let registry = Registry::new();
        let metrics = ControllerMetrics::register(&registry, &[]).unwrap();
        let journal = Journal::open(folder.path()).unwrap();
        let (term, receiver) = watch::channel(Some(1));
        let handle = EngineHandle::new(Context {
            book: Book::read(&journal).await.unwrap(),
            repository: Repository::open(&config.git, folder.path(), &metrics).await.unwrap(),
            witness: Arc::new(Prometheus::new(&config.prometheus).unwrap()),
            argocd: None,
            cluster: None,
            forge: None,
            journal,
            measure: Measure::new(metrics),
            term: receiver,
            config: Arc::new(config.clone()),
        });
        let shared = Arc::new(shared(&config, handle.clone(), registry.clone()));
        let stop = CancellationToken::new();
        tokio::spawn(run(handle.clone(), stop.clone()));
        handle.ready().await;
        Self { router: router(shared), registry, folder, handle, term, stop }
    }

    async fn call(&self, request: Request<Body>) -> Response {
        hyper::service::Service::call(&TowerToHyperService::new(self.router.clone()), request).await.unwrap()
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        token: &str,
        body: impl Into<Body>,
    ) -> (StatusCode, Value) {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json")
            .body(body.into())
            .unwrap();
        let response = self.call(request).await;
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    async fn deliver(&self, body: impl Into<Body>) -> (StatusCode, Value) {
        self.ask(Method::POST, "/api/v1/alerts", ALERTS, body).await
    }

    #[track_caller]
    fn check_counted(&self, outcome: AlertOutcome, expected: u64) {
        let text = prometheus::TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap();
        let line = format!("driftd_alerts_received_total{{outcome=\"{}\"}} {expected}\n", outcome.as_str());
        assert!(text.contains(&line), "{text}\nexpected {line}");
    }

    async fn n_incidents(&self) -> usize {
        self.handle.context().journal.incidents(None).await.unwrap().len()
    }
}

fn alert(service: &str, idx: usize) -> Value {
    json!({
        "status": "firing",
        "labels": {
            "alertname": "DriftdModelDrift", "driftd_action": "rollback", "namespace": "prod", "inferenceservice": service,
            "version": "2-0a1b2c3d", "feature": format!("f{idx}"),
        },
        "startsAt": "2026-11-26T12:00:00Z",
        "fingerprint": format!("{idx:016x}"),
    })
}

fn payload(alerts: &[Value]) -> String {
    json!({ "version": "4", "status": "firing", "alerts": alerts }).to_string()
}

#[tokio::test]
async fn a_delivery_is_in_the_journal_when_it_is_accepted() {
    let world = World::start().await;
    let (status, said) = world.deliver(payload(&[alert("credit", 1)])).await;
    assert_eq!((status, &said["begun"]), (StatusCode::ACCEPTED, &json!(1)));
    let incident = world.handle.context().journal.incident("1").await.unwrap().unwrap();
    assert_eq!(incident.accusations[0].fingerprint, format!("{:016x}", 1));
    world.check_counted(AlertOutcome::Accepted, 1);
}

/// Alertmanagers in a cluster deliver the same alert once each, and each tries again after an error.
#[tokio::test]
async fn the_same_alert_again_is_no_second_incident() {
    let world = World::start().await;
    for n in 1..=3 {
        let (status, _) = world.deliver(payload(&[alert("credit", 1)])).await;
        assert_eq!(status, StatusCode::ACCEPTED);
        let incident = world.handle.context().journal.incident("1").await.unwrap().unwrap();
        assert_eq!(incident.accusations[0].n_seen, n);
    }
    assert_eq!(world.n_incidents().await, 1);
    world.check_counted(AlertOutcome::Duplicate, 2);
}

#[tokio::test]
async fn ten_thousand_alerts_are_one_incident_in_time() {
    let world = World::start().await;
    let alerts: Vec<Value> = (0..10_000).map(|idx| alert("credit", idx)).collect();
    let body = payload(&alerts);
    assert!(body.len() < MAX_BODY_BYTES, "{}", body.len());
    let (status, _) = tokio::time::timeout(Duration::from_mins(1), world.deliver(body)).await.unwrap();
    assert_eq!(status, StatusCode::ACCEPTED);
    assert_eq!(world.n_incidents().await, 1);
    let incident = world.handle.context().journal.incident("1").await.unwrap().unwrap();
    assert_eq!(incident.accusations.len(), 10_000);
}

#[tokio::test]
async fn alerts_about_models_that_nobody_knows_are_accepted() {
    let world = World::start().await;
    let (status, said) = world.deliver(payload(&[alert("unknown", 1)])).await;
    assert_eq!((status, &said["other"]), (StatusCode::ACCEPTED, &json!(1)));
    assert_eq!(world.n_incidents().await, 0);
}

#[tokio::test]
async fn who_has_not_the_token_is_not_heard() {
    let world = World::start().await;
    let body = || payload(&[alert("credit", 1)]);
    for token in ["", "alerts-token-2", "alerts-token-11", ANN] {
        let (status, _) = world.ask(Method::POST, "/api/v1/alerts", token, body()).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{token:?}");
    }
    let bare = Request::post("/api/v1/alerts").body(Body::from(body())).unwrap();
    assert_eq!(world.call(bare).await.status(), StatusCode::UNAUTHORIZED);
    world.check_counted(AlertOutcome::Unauthorized, 5);
    assert_eq!(world.n_incidents().await, 0);
}

#[tokio::test]
async fn a_token_that_was_replaced_counts_from_the_next_request_on() {
    let world = World::start().await;
    assert_eq!(world.deliver(payload(&[])).await.0, StatusCode::ACCEPTED);
    let path = world.folder.path().join("alerts.token");
    std::fs::write(&path, "another-token").unwrap();
    // As a Secret is replaced: long after it was made.
    let later = std::time::SystemTime::now() + Duration::from_mins(1);
    std::fs::File::open(&path).unwrap().set_modified(later).unwrap();
    assert_eq!(world.deliver(payload(&[])).await.0, StatusCode::UNAUTHORIZED);
    let (status, _) = world.ask(Method::POST, "/api/v1/alerts", "another-token", payload(&[])).await;
    assert_eq!(status, StatusCode::ACCEPTED);
    // A token that cannot be read is our fault, and Alertmanager's to try again.
    std::fs::remove_file(&path).unwrap();
    assert_eq!(world.deliver(payload(&[])).await.0, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn what_is_no_payload_is_refused_for_good() {
    let world = World::start().await;
    for body in
        ["", "{}", "nonsense", r#"{"version": "3", "alerts": []}"#, r#"{"version": "4", "alerts": [7]}"#]
    {
        assert_eq!(world.deliver(body).await.0, StatusCode::BAD_REQUEST, "{body}");
    }
    world.check_counted(AlertOutcome::Malformed, 5);
}

#[tokio::test]
async fn four_mebibytes_are_read_and_not_a_byte_more() {
    let world = World::start().await;
    let mut body = payload(&[alert("credit", 1)]).into_bytes();
    body.resize(MAX_BODY_BYTES, b' '); // white space at the end is JSON still
    assert_eq!(world.deliver(body.clone()).await.0, StatusCode::ACCEPTED);
    body.push(b' ');
    // In chunks and without a length, so that it has to be counted.
    let chunks: Vec<_> =
        body.chunks(64 << 10).map(|chunk| Ok::<_, io::Error>(Bytes::copy_from_slice(chunk))).collect();
    let streamed = Body::from_stream(futures_util::stream::iter(chunks));
    assert_eq!(world.deliver(streamed).await.0, StatusCode::PAYLOAD_TOO_LARGE);
    world.check_counted(AlertOutcome::TooLarge, 1);
}

#[tokio::test]
async fn what_cannot_be_written_down_is_not_accepted() {
    let world = World::start().await;
    let connection = rusqlite::Connection::open(world.folder.path().join(FILE)).unwrap();
    // As a full disk: every write fails, from now on.
    connection
        .execute_batch(
            "CREATE TRIGGER full BEFORE INSERT ON events BEGIN SELECT RAISE(FAIL, 'disk full'); END",
        )
        .unwrap();
    for service in ["credit", "unknown"] {
        let (status, said) = world.deliver(payload(&[alert(service, 1)])).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{said}");
    }
    world.check_counted(AlertOutcome::Unavailable, 2);
    let (status, _) =
        world.ask(Method::POST, "/api/v1/pauses", ANN, json!({"scope": "fleet"}).to_string()).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    connection.execute_batch("DROP TRIGGER full").unwrap();
    assert_eq!(world.deliver(payload(&[alert("credit", 1)])).await.0, StatusCode::ACCEPTED);
    assert_eq!(world.n_incidents().await, 1);
}

#[tokio::test]
async fn a_standby_sends_callers_to_another_connection() {
    let world = World::start().await;
    world.term.send(None).unwrap();
    let ask = |method: Method, path: &str, token: &str, body: String| {
        let request =
            Request::builder().method(method).uri(path).header("authorization", format!("Bearer {token}"));
        let request = request.header("content-type", "application/json").body(Body::from(body)).unwrap();
        world.call(request)
    };
    let rollback = json!({"service": "prod/credit"}).to_string();
    for (method, path, token, body) in [
        (Method::POST, "/api/v1/alerts", ALERTS, payload(&[alert("credit", 1)])),
        (Method::POST, "/api/v1/rollback", ANN, rollback),
        (Method::GET, "/api/v1/incidents", ANN, String::new()),
        (Method::GET, "/api/v1/verify", ANN, String::new()),
    ] {
        let response = ask(method, path, token, body).await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE, "{path}");
        assert_eq!(response.headers()[header::CONNECTION], "close", "{path}");
    }
    // Its own journal can be read where that is meant.
    let response = ask(Method::GET, "/api/v1/incidents?here=true", ANN, String::new()).await;
    assert_eq!(response.status(), StatusCode::OK);
}

#[tokio::test]
async fn people_ask_by_a_token_of_their_own() {
    let world = World::start().await;
    for path in
        ["/api/v1/status", "/api/v1/incidents", "/api/v1/verify", "/api/v1/pauses", "/api/v1/incidents/1"]
    {
        for token in ["", ALERTS, "token-of-an"] {
            assert_eq!(
                world.ask(Method::GET, path, token, "").await.0,
                StatusCode::UNAUTHORIZED,
                "{path} {token:?}"
            );
        }
    }
    let ask = json!({"service": "prod/credit", "reason": "complaints", "dry_run": true}).to_string();
    let (status, said) = world.ask(Method::POST, "/api/v1/rollback", ANN, ask.clone()).await;
    assert_eq!((status, &said["incident"]), (StatusCode::ACCEPTED, &json!(1)));
    let (status, whole) = world.ask(Method::GET, "/api/v1/incidents/1", ANN, "").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(whole["incident"]["origin"]["person"]["by"], "ann");
    assert_eq!(whole["events"][0]["incident"]["state"], "RECEIVED");
    // What a person may not: something that is no target, or that does not exist, or waits for nobody.
    let unknown = json!({"service": "prod/unknown"}).to_string();
    assert_eq!(world.ask(Method::POST, "/api/v1/rollback", ANN, unknown).await.0, StatusCode::NOT_FOUND);
    assert_eq!(world.ask(Method::GET, "/api/v1/incidents/99", ANN, "").await.0, StatusCode::NOT_FOUND);
    assert_eq!(world.ask(Method::POST, "/api/v1/incidents/1/approve", ANN, "").await.0, StatusCode::CONFLICT);
    assert!(world.ask(Method::POST, "/api/v1/rollback", ANN, "{}").await.0.is_client_error());
}

#[tokio::test]
async fn pauses_are_made_replaced_and_ended() {
    let world = World::start().await;
    let pause = |reason: &str| json!({"scope": "prod/credit", "reason": reason}).to_string();
    for reason in ["first", "second"] {
        assert_eq!(
            world.ask(Method::POST, "/api/v1/pauses", ANN, pause(reason)).await.0,
            StatusCode::ACCEPTED
        );
    }
    let (_, pauses) = world.ask(Method::GET, "/api/v1/pauses", ANN, "").await;
    assert_eq!(pauses.as_array().unwrap().len(), 1);
    assert_eq!((&pauses[0]["reason"], &pauses[0]["by"]), (&json!("second"), &json!("ann")));
    let resume = || world.ask(Method::DELETE, "/api/v1/pauses/prod/credit", ANN, "");
    assert_eq!(resume().await.0, StatusCode::ACCEPTED);
    assert_eq!(resume().await.0, StatusCode::NOT_FOUND);
    assert!(world.ask(Method::POST, "/api/v1/pauses", ANN, r#"{"scope": "Prod"}"#).await.0.is_client_error());
}

#[tokio::test]
async fn a_changed_journal_is_told() {
    let world = World::start().await;
    world.deliver(payload(&[alert("credit", 1)])).await;
    let (status, verified) = world.ask(Method::GET, "/api/v1/verify", ANN, "").await;
    assert_eq!(status, StatusCode::OK);
    assert!(serde_json::from_value::<Verified>(verified).unwrap().n_events >= 1);
    let connection = rusqlite::Connection::open(world.folder.path().join(FILE)).unwrap();
    connection
        .execute_batch(
            "DROP TRIGGER never_changed; UPDATE events SET at = '2020-01-01T00:00:00Z' WHERE seq = 1",
        )
        .unwrap();
    let (status, said) = world.ask(Method::GET, "/api/v1/verify", ANN, "").await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(said["error"].as_str().unwrap().contains("event 1 of the journal was changed"), "{said}");
}

#[tokio::test]
async fn it_ends_while_somebody_says_nothing() {
    let world = World::start().await;
    let config = Arc::clone(&world.handle.context().config);
    let config = ControllerConfig { listen: "127.0.0.1:0".parse().unwrap(), ..(*config).clone() };
    let server = Server::bind(&config, world.handle.clone(), Registry::new()).await.unwrap();
    let addr = server.local_addr().unwrap();
    let stop = CancellationToken::new();
    let running = tokio::spawn(server.run(stop.clone().cancelled_owned()));
    let _silent = TcpStream::connect(addr).await.unwrap();
    crate::storage::install_tls();
    let live = reqwest::get(format!("http://{addr}/livez")).await.unwrap();
    assert_eq!(live.status(), StatusCode::OK);
    stop.cancel();
    tokio::time::timeout(GRACE * 2, running).await.expect("it ends").unwrap();
}
