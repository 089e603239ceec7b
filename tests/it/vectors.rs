//! Models whose features are one vector, on real servers by real clients: counts of norms and distances against NumPy's.

use std::path::Path;

use driftd::baseline::build::{self, BuildOptions};
use serde_json::Value;
use tempfile::TempDir;

use crate::real::{ModelServer, run_python};
use crate::support::{self, Daemon, from_env};

/// 10 measures with decimals, and 64 pixels.
const MODELS: [&str; 2] = ["diabetes", "digits"];

async fn check_against(python: &Path, (server_program, protocol): (&str, &str), scenarios: &[&str]) {
    let directory = TempDir::new().unwrap();
    let models = directory.path().join("models");
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    run_python(python, "train.py", &[&text(&models)]).await;
    let mut baselines = Vec::new();
    for name in MODELS {
        let folder = models.join(name);
        let table = text(&folder.join("vectors.jsonl"));
        let args = ["table", &text(&folder.join("train.csv")), &text(&folder.join("columns.json")), &table];
        run_python(python, "vectors.py", &args).await;
        let options = BuildOptions {
            model: Some(name.to_owned()),
            version: Some("1".to_owned()),
            predictions: vec!["prediction".to_owned()],
            ..BuildOptions::default()
        };
        let baseline = folder.join("driftd-baseline.json");
        build::build(&[table], &options).unwrap().baseline.write(&baseline).unwrap();
        baselines.push(baseline);
    }
    let server = ModelServer::start(python, server_program, &models).await;
    let files: Vec<_> = baselines.iter().map(|file| &**file).collect();
    let daemon = Daemon::start(support::config(server.addr(protocol), &files)).await;

    let sent = directory.path().join("sent");
    let addresses = [server.addr(protocol), daemon.tap].map(|addr| format!("http://{addr}"));
    let mut args: Vec<&str> = addresses.iter().map(String::as_str).collect();
    args.extend(scenarios);
    let (models_arg, sent_arg) = (text(&models), text(&sent));
    args.extend([
        "--models",
        &models_arg,
        "--out",
        &sent_arg,
        "--rows",
        "plain",
        "--n",
        "600",
        "--batch",
        "30",
    ]);
    args.extend(MODELS.iter().flat_map(|name| ["--only", name]));
    let driven = run_python(python, "drive.py", &args).await;
    assert_eq!(driven["mismatches"], 0, "answers differ from asking the server directly: {driven:#}");

    let n_rows = driven["rows"].as_object().unwrap().values().filter_map(Value::as_u64).sum::<u64>();
    assert!(n_rows > 0);
    let report = daemon.wait_for_rows(n_rows).await;
    for (name, baseline) in MODELS.iter().zip(&baselines) {
        let rows = sent.join(format!("sent-{name}.csv"));
        if !rows.exists() {
            continue;
        }
        let args = ["recount", &text(baseline), &text(&models.join(name).join("columns.json")), &text(&rows)];
        let recount = run_python(python, "vectors.py", &args).await;
        let model = report.models.iter().find(|model| model.labels.model == *name).unwrap();
        assert!(model.violations.is_empty(), "{name} {:?}", model.violations);
        for column in ["x.norm", "x.distance"] {
            let feature = model.features.iter().find(|feature| feature.name == column).unwrap();
            assert_eq!(feature.kind, "vector");
            let mut expected: Vec<u64> = serde_json::from_value(recount[column].clone()).unwrap();
            expected.extend([0, 0]); // none missing, none of the wrong type
            assert_eq!(feature.windows[0].counts, expected, "{name} {column}");
        }
        assert_eq!(model.windows[0].verdict, "ok", "{name} {:?}", model.windows[0]);
    }
    daemon.stop().await;
}

#[tokio::test]
async fn vectors_through_mlserver_are_counted_as_numpy_counts_them() {
    let python = from_env("DRIFTD_TEST_MLSERVER_PYTHON");
    let scenarios = ["mlserver-np", "triton-mlserver", "raw-mlserver-v2"];
    check_against(&python, ("serve_mlserver.py", "http"), &scenarios).await;
}

#[tokio::test]
async fn vectors_through_mlservers_grpc_are_counted_as_numpy_counts_them() {
    let python = from_env("DRIFTD_TEST_MLSERVER_PYTHON");
    check_against(&python, ("serve_mlserver.py", "grpc"), &["triton-grpc-mlserver"]).await;
}

#[tokio::test]
async fn vectors_through_kserves_python_server_are_counted_as_numpy_counts_them() {
    let python = from_env("DRIFTD_TEST_KSERVE_PYTHON");
    let scenarios =
        ["kserve-v1", "kserve-v2", "kserve-v2-binary", "triton-kserve-binary", "raw-v1-instances"];
    check_against(&python, ("serve_kserve.py", "http"), &scenarios).await;
}
