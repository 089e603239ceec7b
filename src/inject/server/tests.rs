//! The whole webhook in this process, called as an API server calls it: over TLS, by a certificate of an authority that it trusts.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;

const PATIENCE: Duration = Duration::from_mins(1);
const NAME: &str = "driftd-webhook.driftd-system.svc";

/// Who signs certificates.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// Writes a new certificate and its key, as a Secret's volume has them.
    fn sign(&self, folder: &Path) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![NAME.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let paths = (folder.join("tls.crt"), folder.join("tls.key"));
        std::fs::write(&paths.0, certificate.pem()).unwrap();
        std::fs::write(&paths.1, key.serialize_pem()).unwrap();
        paths
    }

    /// A client that trusts this authority alone; connections are not shared where `is_new_each_time`.
    fn client(&self, addr: SocketAddr, is_new_each_time: bool) -> reqwest::Client {
        crate::storage::install_tls();
        let root = reqwest::Certificate::from_pem(self.pem.as_bytes()).unwrap();
        let client = reqwest::Client::builder().tls_certs_only([root]).resolve(NAME, addr).timeout(PATIENCE);
        let client = if is_new_each_time { client.pool_max_idle_per_host(0) } else { client };
        client.build().unwrap()
    }

    /// A connection that speaks `protocol`.
    async fn connect(&self, addr: SocketAddr, protocol: &[u8]) -> TlsStream<TcpStream> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap()).unwrap();
        let provider = rustls::crypto::ring::default_provider().into();
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![protocol.to_vec()];
        let stream = TcpStream::connect(addr).await.unwrap();
        let name = ServerName::try_from(NAME).unwrap();
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(protocol));
        stream
    }

    /// A connection of HTTP/2, as the API server has one.
    async fn http2(&self, addr: SocketAddr) -> http2::SendRequest<Full<Bytes>> {
        let stream = TokioIo::new(self.connect(addr, b"h2").await);
        let (sender, connection) = http2::handshake(TokioExecutor::new(), stream).await.unwrap();
        tokio::spawn(connection);
        sender
    }
}

/// The webhook, on free ports.
struct Running {
    addr: SocketAddr,
    admin: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Running {
    async fn start(folder: &Path, change: impl FnOnce(&mut WebhookConfig)) -> Self {
        let mut config =
            WebhookConfig::parse("sidecar: {image: driftd:1}", Path::new("webhook.yaml")).unwrap();
        (config.listen, config.admin) = ((Ipv4Addr::LOCALHOST, 0).into(), (Ipv4Addr::LOCALHOST, 0).into());
        (config.tls.certificate, config.tls.key) = (folder.join("tls.crt"), folder.join("tls.key"));
        config.tls.reload_interval.0 = Duration::from_millis(20);
        config.shutdown_delay = Duration::from_millis(10);
        change(&mut config);
        let webhook = Webhook::bind(config).await.unwrap();
        let (addr, admin) = (webhook.local_addr().unwrap(), webhook.admin_addr().unwrap());
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(async move { webhook.run(async { drop(stopped.await) }).await.unwrap() });
        Self { addr, admin, stop, task }
    }

    fn url(&self) -> String {
        format!("https://{NAME}:{}/mutate", self.addr.port())
    }

    async fn get(&self, path: &str) -> (u16, String) {
        crate::storage::install_tls();
        let response = reqwest::get(format!("http://{}{path}", self.admin)).await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    async fn metric(&self, series: &str) -> f64 {
        let text = self.get("/metrics").await.1;
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {series} in {text}")).parse().unwrap()
    }

    /// Waits until a series has at least this value.
    async fn wait_for(&self, series: &str, least: f64) {
        let waiting = async {
            while self.metric(series).await < least {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("{series} does not reach {least}"));
    }

    async fn stop(self) {
        drop(self.stop);
        timeout(PATIENCE, self.task).await.expect("stops in time").expect("no panic");
    }
}

fn review() -> Value {
    let text = include_str!("../../../tests/it/pods/knative-plain.json");
    let mut pod: Value = serde_json::from_str(text).unwrap();
    pod["metadata"]["annotations"]["driftd.io/inject"] = "true".into();
    json!({
        "kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1",
        "request": {"uid": "0a-1", "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "namespace": "prod", "operation": "CREATE", "object": pod},
    })
}

#[track_caller]
fn check_allowed(body: &[u8], uid: &str, has_patch: bool) {
    let answer: Value = serde_json::from_slice(body).unwrap();
    let response = &answer["response"];
    assert_eq!((&response["allowed"], &response["uid"]), (&json!(true), &json!(uid)));
    assert_eq!(response.get("patch").is_some(), has_patch, "{response}");
}

async fn post(client: &reqwest::Client, url: &str, body: impl Into<reqwest::Body>) -> Bytes {
    let response =
        client.post(url).header("content-type", "application/json").body(body).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    response.bytes().await.unwrap()
}

#[tokio::test]
async fn five_hundred_reviews_at_once_are_all_answered() {
    let (folder, authority) = (TempDir::new().unwrap(), Authority::new());
    authority.sign(folder.path());
    let webhook = Running::start(folder.path(), |config| config.max_in_flight = 100).await;
    let (sender, body) = (authority.http2(webhook.addr).await, Bytes::from(review().to_string()));
    let mut reviews = JoinSet::new();
    for idx in 0..500 {
        let (mut sender, body, url) = (sender.clone(), body.clone(), webhook.url());
        let url = if idx % 2 == 0 { url } else { url + "/namespace" };
        reviews.spawn(async move {
            let request = Request::post(url).body(Full::new(body)).unwrap();
            let response = timeout(PATIENCE, sender.send_request(request)).await.unwrap().unwrap();
            assert_eq!(response.status(), StatusCode::OK);
            check_allowed(&response.into_body().collect().await.unwrap().to_bytes(), "0a-1", true);
        });
    }
    while let Some(review) = reviews.join_next().await {
        review.unwrap();
    }
    let injected = r#"driftd_webhook_reviews_total{outcome="injected",reason=""}"#;
    assert_eq!(webhook.metric(injected).await.to_bits(), 500.0_f64.to_bits());
    assert_eq!(webhook.metric("driftd_webhook_in_flight").await.to_bits(), 0.0_f64.to_bits());
    webhook.stop().await;
}

#[tokio::test]
async fn a_certificate_rotates_under_load_and_no_review_is_lost() {
    let (folder, old, new) = (TempDir::new().unwrap(), Authority::new(), Authority::new());
    old.sign(folder.path());
    let webhook = Running::start(folder.path(), |_| ()).await;
    let loaded = r#"driftd_webhook_certificate_loads_total{outcome="loaded"}"#;
    let refused = r#"driftd_webhook_certificate_loads_total{outcome="refused"}"#;

    // One connection lives through all of it; others are made anew for every review.
    let mut lasting = old.http2(webhook.addr).await;
    let (stop, mut stopped) = oneshot::channel::<()>();
    let (url, body) = (webhook.url(), Bytes::from(review().to_string()));
    let (load_url, load_body) = (url.clone(), body.clone());
    let load = tokio::spawn(async move {
        let mut n_answered = 0;
        while stopped.try_recv() == Err(oneshot::error::TryRecvError::Empty) {
            let request = Request::post(&*load_url).body(Full::new(load_body.clone())).unwrap();
            let response = lasting.send_request(request).await.unwrap();
            check_allowed(&response.into_body().collect().await.unwrap().to_bytes(), "0a-1", true);
            n_answered += 1;
        }
        n_answered
    });

    // The moment between two writes, and a file that is cut: what was good stays in force.
    std::fs::write(folder.path().join("tls.key"), KeyPair::generate().unwrap().serialize_pem()).unwrap();
    webhook.wait_for(refused, 1.0).await;
    check_allowed(&post(&old.client(webhook.addr, true), &url, body.clone()).await, "0a-1", true);

    new.sign(folder.path());
    webhook.wait_for(loaded, 2.0).await;
    check_allowed(&post(&new.client(webhook.addr, true), &url, body.clone()).await, "0a-1", true);
    let error = old.client(webhook.addr, true).post(&url).body(body).send().await;
    assert!(error.is_err(), "a new connection has the new certificate, which the old authority did not sign");
    webhook.wait_for("driftd_webhook_handshake_errors_total", 1.0).await;

    drop(stop);
    assert!(timeout(PATIENCE, load).await.unwrap().unwrap() > 0);
    webhook.stop().await;
}

#[tokio::test]
async fn what_is_too_long_or_no_review_is_let_through() {
    let (folder, authority) = (TempDir::new().unwrap(), Authority::new());
    authority.sign(folder.path());
    let webhook = Running::start(folder.path(), |_| ()).await;
    let (client, url) = (authority.client(webhook.addr, false), webhook.url());

    // As long as an object of Kubernetes may be: read, understood, and patched.
    let mut long = review();
    long["request"]["object"]["metadata"]["annotations"]["filler"] = "x".repeat(3 << 20).into();
    check_allowed(&post(&client, &url, long.to_string()).await, "0a-1", true);
    // serde_json sorts keys; the API server writes the identifier first.
    let too_long = json!({"filler": "x".repeat(5 << 20)}).to_string();
    let too_long = format!(r#"{{"request":{{"uid":"0b-2","object":{too_long}}}}}"#);
    check_allowed(&post(&client, &url, too_long).await, "0b-2", false);
    check_allowed(&post(&client, &url, "{\"request\":{\"uid\":\"0c-3\"").await, "0c-3", false);
    check_allowed(&post(&client, &url, Vec::<u8>::new()).await, "", false);
    let deep = "[".repeat(1 << 20);
    check_allowed(&post(&client, &url, deep).await, "", false);
    for (outcome, n) in [("injected", 1.0_f64), ("too_large", 1.0), ("malformed", 3.0)] {
        let series = format!(r#"driftd_webhook_reviews_total{{outcome="{outcome}",reason=""}}"#);
        assert_eq!(webhook.metric(&series).await.to_bits(), n.to_bits(), "{outcome}");
    }
    let elsewhere = client.post(url.replace("/mutate", "/validate")).send().await.unwrap();
    assert_eq!(elsewhere.status(), StatusCode::NOT_FOUND);
    webhook.stop().await;
}

#[tokio::test]
async fn clients_that_are_slow_keep_nobody_waiting() {
    let (folder, authority) = (TempDir::new().unwrap(), Authority::new());
    authority.sign(folder.path());
    let webhook = Running::start(folder.path(), |_| ()).await;
    // Some say nothing, some begin a review and send no more of it.
    let silent =
        [TcpStream::connect(webhook.addr).await.unwrap(), TcpStream::connect(webhook.addr).await.unwrap()];
    let (client, url) = (authority.client(webhook.addr, false), webhook.url());
    let mut halves = Vec::new();
    for _ in 0..20 {
        let mut half = authority.connect(webhook.addr, b"http/1.1").await;
        let head = "POST /mutate HTTP/1.1\r\nhost: webhook\r\ncontent-length: 1000\r\n\r\n{\"request\":";
        half.write_all(head.as_bytes()).await.unwrap();
        half.flush().await.unwrap();
        halves.push(half);
    }
    webhook.wait_for("driftd_webhook_in_flight", 20.0).await;
    for _ in 0..20 {
        check_allowed(&post(&client, &url, review().to_string()).await, "0a-1", true);
    }
    drop(halves);
    webhook.wait_for("driftd_webhook_broken_off_total", 20.0).await; // whoever hangs up is let go
    drop(silent);
    webhook.stop().await;
}

#[tokio::test]
async fn it_is_ready_once_there_is_a_certificate_and_until_it_leaves() {
    let (folder, authority) = (TempDir::new().unwrap(), Authority::new());
    let webhook =
        Running::start(folder.path(), |config| config.shutdown_delay = Duration::from_mins(1)).await;
    assert_eq!(webhook.get("/livez").await.0, 200);
    assert_eq!(webhook.get("/readyz").await, (503, "not ready: there is no certificate yet\n".to_owned()));
    authority.sign(folder.path());
    webhook.wait_for(r#"driftd_webhook_certificate_loads_total{outcome="loaded"}"#, 1.0).await;
    assert_eq!(webhook.get("/readyz").await.0, 200);

    let Running { addr, admin, stop, task } = webhook;
    drop(stop);
    let webhook = Running { addr, admin, stop: oneshot::channel().0, task };
    let leaving = async {
        while webhook.get("/readyz").await != (503, "not ready: stopping\n".to_owned()) {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, leaving).await.unwrap();
    // API servers that have not heard of it yet are answered.
    let client = authority.client(addr, true);
    check_allowed(&post(&client, &webhook.url(), review().to_string()).await, "0a-1", true);
    webhook.task.abort();
}
