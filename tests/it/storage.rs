//! URIs: against moto's S3 and a real MLflow tracking server, which `./test.sh` installs, and against a web server that
//! fails as it is told.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use driftd::baseline::Baseline;
use driftd::storage::{BASELINE_NAME, Fetched, Limits, Location, Revision, Settings};
use object_store::ObjectStoreExt;
use object_store::aws::AmazonS3Builder;
use serde_json::Value;
use tempfile::TempDir;

use crate::process::driftd;
use crate::support::from_env;

mod web;

/// What the servers hand out: a baseline beside a model, and a table in parts.
fn content() -> TempDir {
    let folder = TempDir::new().unwrap();
    let at = |path: &str| folder.path().join(path);
    fs::create_dir_all(at("credit/v1")).unwrap();
    fs::create_dir_all(at("train/2026")).unwrap();
    let part = |from: u32| {
        let row = |n: u32| format!("{},{}\n", n % 61, f64::from(n % 7) / 8.0);
        format!("age,risk\n{}", (from..from + 400).map(row).collect::<String>())
    };
    for (name, from) in
        [("train/2026/part-2.csv", 400), ("train/2026/part-1.csv", 0), ("train/other.csv", 800)]
    {
        fs::write(at(name), part(from)).unwrap();
    }
    fs::write(at("train/2026/_SUCCESS"), "").unwrap();
    fs::write(at("credit/v1/model.joblib"), "a model").unwrap();
    let options = driftd::baseline::BuildOptions {
        predictions: vec!["risk".to_owned()],
        model: Some("credit".to_owned()),
        ..Default::default()
    };
    let table = at("train/2026/part-1.csv").display().to_string();
    let built = driftd::baseline::build::build(&[table], &options).unwrap();
    built.baseline.write(&at("credit/v1").join(BASELINE_NAME)).unwrap();
    folder
}

/// `serve_storage.py` as a child. It ends with its standard input, and takes what it has started with it.
pub struct Servers {
    child: Child,
    report: Value,
    _state: TempDir,
}

impl Servers {
    pub fn start(folder: &Path, more: &[&str]) -> Self {
        let state = TempDir::new().unwrap();
        let mut child = Command::new(from_env("DRIFTD_TEST_STORAGE_PYTHON"))
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/python/serve_storage.py"))
            .args([folder.as_os_str(), state.path().as_os_str(), "--stop-with-stdin".as_ref()])
            .args(more)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let line = lines.find_map(|line| Some(line.ok()?.strip_prefix("ready ")?.to_owned()));
        let report = serde_json::from_str(&line.expect("it says `ready` before it ends")).expect("JSON");
        Self { child, report, _state: state }
    }

    pub fn url(&self, server: &str) -> String {
        format!("http://127.0.0.1:{}", self.report[server])
    }

    /// What a user of these servers has in the environment, and a cache of its own.
    pub fn environment(&self, cache: &TempDir) -> BTreeMap<String, String> {
        let mut variables = vec![
            ("XDG_CACHE_HOME", cache.path().display().to_string()),
            ("AWS_ENDPOINT_URL", self.url("s3")),
            ("AWS_ACCESS_KEY_ID", "tester".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "secret".to_owned()),
        ];
        if !self.report["mlflow"].is_null() {
            variables.push(("MLFLOW_TRACKING_URI", self.url("mlflow")));
        }
        variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    fn settings(&self, cache: &TempDir) -> Settings {
        Settings { environment: self.environment(cache), limits: Limits::default() }
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        drop(self.child.wait());
    }
}

fn location(uri: &str) -> Location {
    Location::parse(uri).unwrap()
}

#[track_caller]
fn fetched(uri: &str, known: Option<&Revision>, settings: &Settings) -> (Vec<u8>, Revision) {
    match location(uri).fetch_with(known, settings).unwrap() {
        Fetched::New { bytes, revision } => (bytes.to_vec(), revision),
        Fetched::NotModified => panic!("{uri} should be new"),
    }
}

#[track_caller]
fn check_is_known(uri: &str, known: &Revision, settings: &Settings) {
    let fetched = location(uri).fetch_with(Some(known), settings).unwrap();
    assert!(matches!(fetched, Fetched::NotModified), "{uri} has not changed");
}

/// The baseline of `credit/v1`, by whatever names it.
#[track_caller]
fn check_baseline(uri: &str, settings: &Settings) {
    let Fetched::New { bytes, revision } = location(uri).fetch_baseline_with(None, settings).unwrap() else {
        panic!("{uri} is new");
    };
    assert_eq!(Baseline::from_json(&bytes).unwrap().model(), Some("credit"), "{uri}");
    let again = location(uri).fetch_baseline_with(Some(&revision), settings).unwrap();
    assert!(matches!(again, Fetched::NotModified), "{uri} has not changed");
}

#[track_caller]
fn check_fails(uri: &str, settings: &Settings, kind: &str, expected: &[&str]) {
    let error = location(uri).fetch_with(None, settings).expect_err(uri);
    assert_eq!(error.kind(), kind, "{error}");
    let text = format!("{:#}", anyhow::Error::from(error));
    for part in expected {
        assert!(text.contains(part), "{text:?} should contain {part:?}");
    }
}

fn run(args: &[&str], environment: &BTreeMap<String, String>) -> Output {
    driftd().args(args).envs(environment).stdin(Stdio::null()).output().expect("the program starts")
}

#[track_caller]
fn check_run(args: &[&str], environment: &BTreeMap<String, String>, code: i32) -> String {
    let output = run(args, environment);
    let text =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert_eq!(output.status.code(), Some(code), "{args:?}: {text}");
    text
}

#[test]
fn s3_gives_baselines_and_tables_and_says_when_they_are_others() {
    let (content, cache) = (content(), TempDir::new().unwrap());
    let servers = Servers::start(content.path(), &["--s3-only"]);
    let settings = servers.settings(&cache);
    let uri = "s3://models/credit/v1/driftd-baseline.json";
    let (bytes, revision) = fetched(uri, None, &settings);
    assert_eq!(bytes, fs::read(content.path().join("credit/v1").join(BASELINE_NAME)).unwrap());
    check_is_known(uri, &revision, &settings);
    for model in
        [uri, "s3://models/credit/v1", "s3a://models/credit/v1/", "s3://models/credit/v1/model.joblib"]
    {
        check_baseline(model, &settings);
    }
    let mut kserve = settings.clone();
    kserve.environment.remove("AWS_ENDPOINT_URL");
    let endpoint =
        [("S3_ENDPOINT", format!("127.0.0.1:{}", servers.report["s3"])), ("S3_USE_HTTPS", "0".to_owned())];
    kserve.environment.extend(endpoint.map(|(name, value)| (name.to_owned(), value)));
    check_baseline("s3://models/credit/v1", &kserve);
    check_fails("s3://models/credit/v2/x.json", &settings, "not_found", &["s3://models/credit/v2/x.json"]);
    check_fails("s3://nowhere/x.json", &settings, "not_found", &["no such bucket"]);

    let put = |path: &str, body: &'static str| {
        let store = AmazonS3Builder::new()
            .with_endpoint(servers.url("s3"))
            .with_allow_http(true)
            .with_bucket_name("models")
            .with_access_key_id("tester")
            .with_secret_access_key("secret")
            .build()
            .unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(store.put(&path.into(), body.into())).unwrap();
    };
    put("credit/v1/driftd-baseline.json", "another");
    assert_eq!(fetched(uri, Some(&revision), &settings).0, b"another");

    let names = |uri: &str| -> Vec<String> {
        location(uri).list(&settings).unwrap().iter().map(ToString::to_string).collect()
    };
    let parts = ["s3://models/train/2026/part-1.csv", "s3://models/train/2026/part-2.csv"];
    assert_eq!(names("s3://models/train/2026/part-*.csv"), parts);
    assert_eq!(names("s3://models/train/20*/part-[12].csv"), parts);
    assert_eq!(names("s3://models/train/2026/"), parts, "what begins with `_` is no data");
    assert_eq!(names("s3://models/train/*.csv"), ["s3://models/train/other.csv"], "`*` is one folder's");
    assert_eq!(names("s3://models/nowhere/x.csv"), ["s3://models/nowhere/x.csv"]);
    assert_eq!(location("s3://models/train/*.parquet").list(&settings).unwrap_err().kind(), "not_found");

    let n_bytes = AtomicU64::new(0);
    let download = |uri: &str| {
        let progress = |n_done: u64, n_of: u64| {
            assert!(n_done <= n_of);
            n_bytes.store(n_done, Ordering::Relaxed);
        };
        location(uri).download(&settings, &progress).unwrap()
    };
    let first = download(parts[0]);
    let local = fs::read(content.path().join("train/2026/part-1.csv")).unwrap();
    assert_eq!(fs::read(first.path()).unwrap(), local);
    assert_eq!(first.path().extension().unwrap(), "csv");
    assert_eq!(n_bytes.swap(0, Ordering::Relaxed), local.len() as u64);
    assert_eq!(download(parts[0]).path(), first.path());
    assert_eq!(n_bytes.load(Ordering::Relaxed), 0, "nothing is sent twice");
    put("train/2026/part-1.csv", "age,risk\n1,0\n");
    assert_eq!(fs::read(download(parts[0]).path()).unwrap(), b"age,risk\n1,0\n");
}

#[test]
fn every_command_reads_from_s3_as_from_files() {
    let (content, cache) = (content(), TempDir::new().unwrap());
    let servers = Servers::start(content.path(), &["--s3-only"]);
    let environment = servers.environment(&cache);
    let at = |name: &str| content.path().join(name).display().to_string();
    let build = |data: &str, out: &str| {
        let args = ["baseline", "build", data, "--prediction", "risk", "--out", &at(out)];
        check_run(&args, &environment, 0);
        Baseline::read(Path::new(&at(out))).unwrap()
    };
    let remote = build("s3://models/train/2026/", "remote.json");
    let local = build(&at("train/2026/part-*.csv"), "local.json");
    let sources = &remote.header().source;
    assert_eq!(sources[1].uri, "s3://models/train/2026/part-2.csv");
    let digests = |baseline: &Baseline| -> Vec<String> {
        baseline.header().source.iter().map(|source| source.sha256.clone()).collect()
    };
    assert_eq!(digests(&remote), digests(&local));
    let features = |baseline: &Baseline| baseline.to_json().split_once("\"features\"").unwrap().1.to_owned();
    assert_eq!(features(&remote), features(&local));

    let (model, data) = ("s3://models/credit/v1", "s3://models/train/2026/part-1.csv");
    let said = check_run(&["check", "--baseline", model, data, "--min-samples", "100"], &environment, 0);
    assert!(said.contains("age"), "{said}");
    let said = check_run(&["replay", "--baseline", model, "--window", "1m", data], &environment, 0);
    assert!(said.contains("400 rows in"), "{said}");
    check_run(&["baseline", "show", model], &environment, 0);
    check_run(&["baseline", "diff", model, &at("credit/v1/driftd-baseline.json")], &environment, 0);
    let args =
        ["baseline", "build", data, "--edges-from", model, "--prediction", "risk", "--out", &at("part.json")];
    check_run(&args, &environment, 0);
    let args = ["baseline", "merge", model, &at("part.json"), "--out", &at("merged.json")];
    check_run(&args, &environment, 0);

    let said = check_run(&["check", "--baseline", "s3://models/none.json", data], &environment, 2);
    assert!(said.contains("nothing is at s3://models/none.json"), "{said}");
    let said = check_run(&["check", "--baseline", model, "s3://models/none.csv"], &environment, 2);
    assert!(said.contains("cannot read the data: nothing is at s3://models/none.csv"), "{said}");
    let said =
        check_run(&["check", "--baseline", model, "s3://models/credit/v1/model.joblib"], &environment, 2);
    assert!(said.contains("--input-format"), "{said}");
}

/// One server for all of it: it takes ten seconds to start.
#[test]
fn mlflow_gives_the_baseline_of_a_model_version_alias_and_run_wherever_it_keeps_them() {
    let (content, cache) = (content(), TempDir::new().unwrap());
    let servers = Servers::start(&content.path().join("credit/v1"), &[]);
    let settings = servers.settings(&cache);
    let (run, logged) = (servers.report["run"].as_str().unwrap(), servers.report["logged"].as_str().unwrap());
    for uri in [
        "mlflow:models:/credit/1",        // kept by the server
        "mlflow:models:/credit/2",        // in S3
        "mlflow:models:/credit/3",        // on this disk
        "mlflow:models:/credit/4",        // a logged model
        "models:/credit/4",               // as MLflow's users write it
        "mlflow:models:/credit@champion", // version 1
        "mlflow:models:/credit/latest",
        "mlflow:models:/credit/None", // a stage, that of versions which have none
        "mlflow:models:/credit/1/driftd-baseline.json",
        &format!("models:/{logged}"),
        &format!("runs:/{run}/model"),
        &format!("runs:/{run}/logged"), // a logged model, which is elsewhere
        &format!("mlflow:runs:/{run}/model/driftd-baseline.json"),
        &format!("mlflow-artifacts:/1/{run}/artifacts/model"),
    ] {
        check_baseline(uri, &settings);
    }
    let names = location(&format!("runs:/{run}/model/*.json")).list(&settings).unwrap();
    assert_eq!(names[0].to_string(), format!("runs:/{run}/model/driftd-baseline.json"));
    for version in ["1", "2", "3", "4", "None"] {
        for what in ["*.json", ""] {
            let found = location(&format!("models:/credit/{version}/{what}")).list(&settings).unwrap();
            assert!(found[0].to_string().ends_with("/driftd-baseline.json"), "{found:?}");
            assert_eq!(found.len(), if what.is_empty() { 2 } else { 1 }, "{found:?}");
            assert!(matches!(found[0].fetch_with(None, &settings).unwrap(), Fetched::New { .. }));
        }
    }
    let downloaded = names[0].download(&settings, &|_, _| ()).unwrap();
    assert_eq!(
        fs::read(downloaded.path()).unwrap(),
        fs::read(content.path().join("credit/v1").join(BASELINE_NAME)).unwrap()
    );

    check_fails("models:/credit/9", &settings, "not_found", &["models:/credit/9", "version=9"]);
    check_fails("models:/nobody/1", &settings, "not_found", &["nobody"]);
    check_fails("models:/credit@nobody", &settings, "not_found", &["alias nobody not found"]);
    check_fails("models:/credit/Production", &settings, "not_found", &["no version `Production`"]);
    check_fails("runs:/0123/model/x.json", &settings, "not_found", &["0123"]);
    check_fails("models:/credit/1/none.json", &settings, "not_found", &["models:/credit/1/none.json"]);
    let nowhere = Settings::default();
    check_fails("models:/credit/1", &nowhere, "setting", &["MLFLOW_TRACKING_URI", "is not set"]);

    let said = check_run(&["baseline", "show", "models:/credit@champion"], &servers.environment(&cache), 0);
    assert!(said.contains("credit"), "{said}");
}
