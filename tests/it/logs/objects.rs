//! Object stores as a source of logs: moto's S3, with what KServe's own agent stores there and with what others do.

use std::collections::BTreeMap;

use object_store::ObjectStoreExt;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use serde_json::json;

use super::*;
use crate::agent::{self, Agent, free_port, mock_scorer};
use crate::storage::Servers;

/// moto, and a client that puts objects into its bucket `models`.
struct Bucket {
    servers: Servers,
    store: AmazonS3,
    environment: BTreeMap<String, String>,
    _empty: [TempDir; 2],
}

impl Bucket {
    fn new() -> Self {
        let empty = [TempDir::new().unwrap(), TempDir::new().unwrap()];
        let servers = Servers::start(empty[0].path(), &["--s3-only"]);
        let environment = servers.environment(&empty[1]);
        Self { store: client(&servers, "models"), servers, environment, _empty: empty }
    }

    async fn put(&self, key: &str, content: impl Into<Vec<u8>>) {
        self.store.put(&key.into(), content.into().into()).await.unwrap();
    }
}

fn client(servers: &Servers, bucket: &str) -> AmazonS3 {
    driftd::storage::install_tls();
    let builder = AmazonS3Builder::new().with_endpoint(servers.url("s3")).with_allow_http(true);
    let builder = builder.with_access_key_id("tester").with_secret_access_key("secret");
    builder.with_bucket_name(bucket).build().unwrap()
}

/// A configuration file whose only tap is the given one, with windows that outlive the daemon.
fn written(directory: &TempDir, logs: &str) -> PathBuf {
    let yaml =
        yaml(directory, logs) + &format!("state_dir: '{}'\n", directory.path().join("state").display());
    let file = directory.path().join("driftd.yaml");
    fs::write(&file, yaml).unwrap();
    file
}

async fn wait_for_metric(daemon: &Sidecar, series: &str, is_it: impl Fn(f64) -> bool) {
    let deadline = tokio::time::Instant::now() + support::PATIENCE;
    loop {
        let value = metric(&daemon.metrics().await, series);
        if value.is_some_and(&is_it) {
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "{series} is {value:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn kill(daemon: Sidecar) {
    daemon.signal("KILL");
    assert_eq!(daemon.wait().await, None);
}

fn gzipped(text: &str) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    packed.write_all(text.as_bytes()).unwrap();
    packed.finish().unwrap()
}

#[track_caller]
fn check_rows(api: &Api, n_rows: u64) {
    let model = &api.models[0];
    assert_eq!((&model.rows, model.late.feature), (&Counted { feature: n_rows, prediction: n_rows }, 0));
}

/// JSON of one record and of batches, CSV and Parquet, by four agents of KServe's, while driftd is killed and started again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_kserves_own_agent_stores_in_a_bucket_is_counted_exactly() {
    const N_REQUESTS: u64 = 60;
    let (bucket, directory) = (Bucket::new(), TempDir::new().unwrap());
    let mut environment = bucket.environment.clone();
    for (name, value) in [("AWS_REGION", "us-east-1"), ("S3_USER_VIRTUAL_BUCKET", "false")] {
        environment.insert(name.to_owned(), value.to_owned());
    }
    let options = BuildOptions {
        model: Some("credit".to_owned()),
        predictions: vec!["score".to_owned()],
        ..BuildOptions::default()
    };
    let baseline = support::baseline(directory.path(), &agent::training(), &options);
    let config = directory.path().join("driftd.yaml");
    let yaml = format!(
        "admin: {}\nstate_dir: '{}'\nmodels: [{{namespace: prod, baseline: '{}'}}]\nevaluation: {{interval: 50ms}}\n\
         taps: [{{logs: {{include: ['s3://models/logs/'], format: kserve, list_interval: 100ms}}}}]\n",
        localhost(),
        directory.path().join("state").display(),
        baseline.display(),
    );
    fs::write(&config, yaml).unwrap();
    let scorer = support::mock_model_server(mock_scorer).await;
    let mut daemon = Sidecar::without_proxy_in(&config, &bucket.environment);
    let (mut n_rows, mut amounts) = (0, [0_u64; 50]);
    for (format, batch) in [("json", "1"), ("json", "7"), ("csv", "5"), ("parquet", "9")] {
        let port = free_port().to_string();
        let marshaller = format!("http://localhost:{port}/marshal");
        let more = ["--log-store-path", format, "--log-store-format", format, "--log-marshaller-port", &port];
        let batches = ["--log-marshaller-url", &marshaller, "--log-batch-size", batch];
        let more = [&more[..], &batches, &["--log-batch-interval", "200ms"]].concat();
        let agent = Agent::start(scorer, "s3://models/logs", &more, &environment).await;
        let client = reqwest::Client::new();
        for sent in 0..N_REQUESTS {
            let rows: Vec<_> = (0..=sent % 3).map(|row| [(7 * sent + row) % 50, 20 + row]).collect();
            n_rows += rows.len() as u64;
            for row in &rows {
                amounts[usize::try_from(row[0]).unwrap()] += 1;
            }
            let body = json!({"instances": rows}).to_string();
            let url = format!("{}/v1/models/credit:predict", agent.url);
            let request = client.post(&url).header("content-type", "application/json").body(body);
            assert_eq!(request.send().await.unwrap().status(), 200);
            if sent == N_REQUESTS / 2 {
                kill(daemon).await;
                daemon = Sidecar::without_proxy_in(&config, &bucket.environment);
            }
        }
        // All is stored before the agent goes: it would take the rest along.
        wait_for_rows(&daemon, n_rows).await;
    }
    let api = wait_for_rows(&daemon, n_rows).await;
    check_rows(&api, n_rows);
    let amount = api.models[0].features.iter().find(|feature| feature.name == "amount").unwrap();
    let counts = amount.windows.last().unwrap().counts.iter().zip(&amount.baseline);
    let counts: Vec<u64> = counts.filter(|(_, baseline)| **baseline > 0).map(|(count, _)| *count).collect();
    let expected: Vec<u64> = amounts.chunks(5).map(|group| group.iter().sum()).collect();
    assert_eq!(counts, expected);
}

#[tokio::test]
async fn an_object_is_read_once_for_each_of_its_revisions_through_kills() {
    let (bucket, directory) = (Bucket::new(), TempDir::new().unwrap());
    bucket.put("rows/b.jsonl", lines(100..200)).await;
    bucket.put("rows/2026/a.jsonl.gz", gzipped(&lines(0..100))).await;
    bucket.put("rows/_started", "not JSON").await;
    bucket.put("rows/skipped.jsonl", lines(0..7)).await;
    bucket.put("elsewhere.jsonl", lines(0..9)).await;
    let local = directory.path().join("local.jsonl");
    append(&local, &lines(200..300));
    let logs = format!(
        "{{include: ['{}', 's3://models/rows/'], exclude: ['*/skipped*'], {JSONL}, list_interval: 50ms, max_object_bytes: 20KiB}}",
        local.display()
    );
    let config = written(&directory, &logs);
    let daemon = Sidecar::without_proxy_in(&config, &bucket.environment);
    check_rows(&wait_for_rows(&daemon, 300).await, 300);
    kill(daemon).await;
    // Of what was there nothing is new, of what is there now one object is, one is another one, and one is gone.
    bucket.put("rows/c.jsonl", lines(300..310)).await;
    bucket.put("rows/b.jsonl", lines(310..330)).await;
    bucket.store.delete(&"rows/2026/a.jsonl.gz".into()).await.unwrap();
    append(&local, &lines(330..340));
    let daemon = Sidecar::without_proxy_in(&config, &bucket.environment);
    check_rows(&wait_for_rows(&daemon, 340).await, 340);
    bucket.put("rows/large.jsonl", lines(0..400)).await;
    let too_large = dropped("too_large");
    wait_for_metric(&daemon, &too_large, |value| value == 1.0).await;
    bucket.put("rows/d.jsonl", lines(340..350)).await;
    check_rows(&wait_for_rows(&daemon, 350).await, 350);
    let text = daemon.metrics().await;
    assert_eq!(metric(&text, &too_large), Some(1.0), "it is said once");
    let source = format!("{{source=\"{}\"}}", local.display());
    assert_eq!(metric(&text, &format!("driftd_logs_fetch_errors_total{source}")), Some(0.0));
    wait_for_metric(&daemon, &format!("driftd_logs_unread_bytes{source}"), |value| value == 0.0).await;
}

/// One of KServe's records.
fn record(id: u64, side: &str, body: &serde_json::Value) -> serde_json::Value {
    use base64::Engine;
    let bytes = base64::prelude::BASE64_STANDARD.encode(body.to_string());
    json!({"bytes": bytes, "contentType": "application/json", "reqType": format!("org.kubeflow.serving.inference.{side}"),
           "id": id.to_string(), "inferenceService": "credit", "namespace": "prod", "component": "predictor",
           "occurrenceTime": "2026-05-01T12:00:00Z"})
}

#[tokio::test]
async fn a_request_whose_response_comes_in_another_object_after_a_kill_is_counted_once() {
    let (bucket, directory) = (Bucket::new(), TempDir::new().unwrap());
    let logs = "{include: ['s3://models/kserve/**/*.json'], format: kserve, list_interval: 50ms}";
    let config = written(&directory, logs);
    let request = |id| record(id, "request", &json!({"instances": [[id % 50, 21]]}));
    let response = |id| record(id, "response", &json!({"predictions": [0.5]}));
    // The first object has a request without its response between exchanges that are whole.
    bucket
        .put(
            "kserve/p/1.json",
            json!([request(1), response(1), request(2), request(3), response(3)]).to_string(),
        )
        .await;
    let mut daemon = Sidecar::without_proxy_in(&config, &bucket.environment);
    wait_for_rows(&daemon, 2).await;
    kill(daemon).await;
    bucket.put("kserve/p/q/2.json", json!([response(2), request(4)]).to_string()).await;
    daemon = Sidecar::without_proxy_in(&config, &bucket.environment);
    wait_for_rows(&daemon, 3).await;
    kill(daemon).await;
    bucket.put("kserve/p/q/3.json", response(4).to_string()).await;
    daemon = Sidecar::without_proxy_in(&config, &bucket.environment);
    check_rows(&wait_for_rows(&daemon, 4).await, 4);
    kill(daemon).await;
    bucket.put("kserve/p/5.json", json!([request(5), response(5)]).to_string()).await;
    daemon = Sidecar::without_proxy_in(&config, &bucket.environment);
    check_rows(&wait_for_rows(&daemon, 5).await, 5);
}

#[tokio::test]
async fn a_bucket_that_fails_is_counted_and_read_once_it_does_not() {
    let (bucket, directory) = (Bucket::new(), TempDir::new().unwrap());
    let config = written(&directory, &format!("{{include: ['s3://later/'], {JSONL}, list_interval: 50ms}}"));
    let daemon = Sidecar::without_proxy_in(&config, &bucket.environment);
    let errors = "driftd_logs_fetch_errors_total{source=\"s3://later/\"}";
    wait_for_metric(&daemon, errors, |value| value >= 2.0).await;
    let created =
        reqwest::Client::new().put(format!("{}/later", bucket.servers.url("s3"))).send().await.unwrap();
    assert_eq!(created.status(), 200);
    client(&bucket.servers, "later").put(&"a.jsonl".into(), lines(0..10).into()).await.unwrap();
    check_rows(&wait_for_rows(&daemon, 10).await, 10);
}

#[tokio::test]
async fn a_store_that_never_answers_holds_up_neither_files_nor_the_end() {
    let directory = TempDir::new().unwrap();
    // Connections are taken and nothing is ever said.
    let silent = std::net::TcpListener::bind(localhost()).unwrap();
    let local = directory.path().join("local.jsonl");
    append(&local, &lines(0..100));
    let logs =
        format!("{{include: ['s3://models/rows/', '{}'], {JSONL}, list_interval: 50ms}}", local.display());
    let config = written(&directory, &logs);
    let environment = [
        ("AWS_ENDPOINT_URL", format!("http://{}", silent.local_addr().unwrap())),
        ("AWS_ACCESS_KEY_ID", "tester".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "secret".to_owned()),
    ];
    let environment = environment.map(|(name, value)| (name.to_owned(), value)).into();
    let daemon = Sidecar::without_proxy_in(&config, &environment);
    let (_asks, _) = silent.accept().unwrap();
    append(&local, &lines(100..200));
    check_rows(&wait_for_rows(&daemon, 200).await, 200);
    daemon.signal("TERM");
    assert_eq!(daemon.wait().await, Some(0));
}

/// As parquet-go writes texts, which is what KServe's marshaller uses: `pyarrow` is told to.
#[tokio::test]
async fn parquet_with_delta_length_byte_arrays_is_read() {
    let (bucket, directory) = (Bucket::new(), TempDir::new().unwrap());
    let records: Vec<_> = (0..200)
        .flat_map(|id| {
            let request = record(id, "request", &json!({"instances": [[id % 50, 21], [id % 50, 22]]}));
            [request, record(id, "response", &json!({"predictions": [0.5, 0.25]}))]
        })
        .collect();
    let (from, to) = (directory.path().join("records.json"), directory.path().join("records.parquet"));
    fs::write(&from, json!(records).to_string()).unwrap();
    let program = "import json, sys\nimport pyarrow as pa, pyarrow.parquet as pq\n\
        table = pa.Table.from_pylist(json.load(open(sys.argv[1])))\n\
        names = table.column_names\n\
        pq.write_table(table, sys.argv[2], use_dictionary=False, row_group_size=150,\n\
                       column_encoding={name: 'DELTA_LENGTH_BYTE_ARRAY' for name in names})\n\
        groups = pq.ParquetFile(sys.argv[2]).metadata\n\
        assert all('DELTA_LENGTH_BYTE_ARRAY' in groups.row_group(0).column(at).encodings for at in range(len(names)))\n";
    let python = support::from_env("DRIFTD_TEST_STORAGE_PYTHON");
    let made = std::process::Command::new(python).arg("-c").arg(program).args([&from, &to]).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    bucket.put("kserve/records.parquet", fs::read(&to).unwrap()).await;
    let config =
        written(&directory, "{include: ['s3://models/kserve/'], format: kserve, list_interval: 50ms}");
    let daemon = Sidecar::without_proxy_in(&config, &bucket.environment);
    check_rows(&wait_for_rows(&daemon, 400).await, 400);
}
