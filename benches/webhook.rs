//! What a review costs: `cargo bench --bench webhook`. Deciding alone, and the whole answer over TLS on one connection and on eight,
//! from a webhook that is a process of its own, as the API server sees it.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use driftd::inject::{Asked, WebhookConfig, answer};
use hdrhistogram::Histogram;
use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};

const N_REVIEWS: usize = 4000;
const CONFIG: &str = "sidecar: {image: driftd:1}";
const PODS: [(&str, &str); 4] = [
    ("standard-plain", include_str!("../tests/it/pods/standard-plain.json")),
    ("standard-with-agent", include_str!("../tests/it/pods/standard-with-agent.json")),
    ("knative-plain", include_str!("../tests/it/pods/knative-plain.json")),
    ("knative-with-agent", include_str!("../tests/it/pods/knative-with-agent.json")),
];

/// Killed when dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _gone = self.0.wait();
    }
}

fn review(pod: &str) -> String {
    let mut pod: Value = serde_json::from_str(pod).unwrap();
    pod["metadata"]["annotations"]["driftd.io/inject"] = "true".into();
    let request = json!({"uid": "1", "kind": {"group": "", "version": "v1", "kind": "Pod"}, "operation": "CREATE", "object": pod});
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}).to_string()
}

fn print(what: &str, histogram: &Histogram<u64>) {
    let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
    println!("{what:34} p50 {:7.1} µs   p99 {:7.1} µs   max {:8.1} µs", at(0.5), at(0.99), at(1.0));
}

fn main() {
    let config = WebhookConfig::parse(CONFIG, Path::new("webhook.yaml")).unwrap().inject;
    for (name, pod) in PODS {
        let review = review(pod);
        let mut histogram = Histogram::<u64>::new(3).unwrap();
        for _ in 0..N_REVIEWS {
            let began = Instant::now();
            std::hint::black_box(answer(&config, Asked::ByPod, review.as_bytes()));
            histogram.record(u64::try_from(began.elapsed().as_nanos()).unwrap()).unwrap();
        }
        print(&format!("deciding, {name}"), &histogram);
    }

    let folder = tempfile::tempdir().unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    let file = |name: &str, text: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let (crt, key) = (file("tls.crt", certificate.pem()), file("tls.key", key.serialize_pem()));
    let yaml = format!(
        "listen: 127.0.0.1:0\nadmin: 127.0.0.1:0\ntls: {{certificate: {}, key: {}}}\n{CONFIG}\n",
        crt.display(),
        key.display()
    );
    let mut command = Command::new(env!("CARGO_BIN_EXE_driftd"));
    command.args(["webhook", "--log-format", "json", "--config"]).arg(file("webhook.yaml", yaml));
    let mut process = Process(command.stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap());
    let port = port(&mut process.0);

    driftd::storage::install_tls();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let root = reqwest::Certificate::from_pem(certificate.pem().as_bytes()).unwrap();
    let client = reqwest::Client::builder().tls_certs_only([root]).build().unwrap();
    let (url, body) = (format!("https://localhost:{port}/mutate"), review(PODS[3].1));
    for n_callers in [1, 8] {
        let histogram = runtime.block_on(async {
            let callers: Vec<_> = (0..n_callers)
                .map(|_| tokio::spawn(call(client.clone(), url.clone(), body.clone(), N_REVIEWS / n_callers)))
                .collect();
            let mut all = Histogram::<u64>::new(3).unwrap();
            for caller in callers {
                all.add(caller.await.unwrap()).unwrap();
            }
            all
        });
        print(&format!("over TLS, {n_callers} at a time"), &histogram);
    }
}

async fn call(client: reqwest::Client, url: String, body: String, n_reviews: usize) -> Histogram<u64> {
    let mut histogram = Histogram::new(3).unwrap();
    for _ in 0..n_reviews {
        let began = Instant::now();
        let response = client.post(&url).body(body.clone()).send().await.unwrap();
        assert!(response.bytes().await.unwrap().windows(9).any(|part| part == b"JSONPatch"));
        histogram.record(u64::try_from(began.elapsed().as_nanos()).unwrap()).unwrap();
    }
    histogram
}

/// Where it says that it listens.
fn port(process: &mut Child) -> u16 {
    let (out, err) = (process.stdout.take().unwrap(), process.stderr.take().unwrap());
    let (send, receive) = std::sync::mpsc::sync_channel(1);
    for lines in [Box::new(out) as Box<dyn std::io::Read + Send>, Box::new(err)] {
        let send = send.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(lines).lines().map_while(Result::ok) {
                let line: Value = serde_json::from_str(&line).unwrap_or_default();
                let addr = line["fields"]["https"].as_str().or(line["https"].as_str());
                if let Some(port) = addr.and_then(|addr| addr.rsplit(':').next()?.parse().ok()) {
                    let _told_before = send.try_send(port);
                }
            }
        });
    }
    receive.recv().unwrap()
}
