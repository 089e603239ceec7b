//! Servers that cannot be had here, by the bytes that their documentation gives: TF Serving and TorchServe (no wheels for this), `MLflow`'s
//! scoring server (a wheel of its own weight).

use axum::extract::Request;
use axum::response::IntoResponse;
use driftd::baseline::build::BuildOptions;
use tempfile::TempDir;

use crate::support::{self, Daemon, metric};

struct Documented {
    path: &'static str,
    format: &'static str,
    content_type: &'static str,
    request: &'static str,
    response: &'static str,
    rows: u64,
}

const JSON: &str = "application/json";

const EXCHANGES: [Documented; 9] = [
    Documented {
        path: "/v1/models/half_plus_two/versions/123:predict",
        format: "v1",
        content_type: JSON,
        request: r#"{"signature_name": "serving_default", "instances": [{"a": 1.0, "b": 2}, {"a": 3, "b": 4}]}"#,
        response: "{\n    \"predictions\": [2.5, 3.5\n    ]\n}",
        rows: 2,
    },
    Documented {
        path: "/v1/models/half_plus_two/labels/stable:predict",
        format: "v1",
        content_type: JSON,
        request: r#"{"inputs": {"a": [1.0, 2.0, 5.0], "b": [1, 2, 3]}}"#,
        response: r#"{"outputs": [2.5, 3.0, 4.5]}"#,
        rows: 3,
    },
    Documented {
        path: "/predictions/half_plus_two/1.0",
        format: "torchserve",
        content_type: "text/plain",
        request: r#"[{"a": 1, "b": 2}]"#,
        response: "[2.5]",
        rows: 1,
    },
    Documented {
        path: "/predictions/half_plus_two",
        format: "torchserve",
        content_type: JSON,
        request: r#"{"instances": [[1, 2], [3, 4]]}"#,
        response: r#"{"predictions": [2.5, 3.5]}"#,
        rows: 2,
    },
    Documented {
        path: "/invocations",
        format: "mlflow",
        content_type: JSON,
        request: r#"{"dataframe_split": {"columns": ["b", "a"], "index": [0, 1], "data": [[2, 1], [4, 3]]}}"#,
        response: r#"{"predictions": [2.5, 3.5]}"#,
        rows: 2,
    },
    Documented {
        path: "/invocations",
        format: "mlflow",
        content_type: JSON,
        request: r#"{"dataframe_records": [{"a": 1, "b": 2}]}"#,
        response: r#"{"predictions": [2.5]}"#,
        rows: 1,
    },
    Documented {
        path: "/invocations",
        format: "mlflow",
        content_type: JSON,
        request: r#"{"inputs": {"a": [1, 3], "b": [2, 4]}, "params": {"temperature": 0.1}}"#,
        response: r#"{"predictions": [{"0": 2.5}, {"0": 3.5}]}"#,
        rows: 2,
    },
    Documented {
        path: "/invocations",
        format: "mlflow",
        content_type: "text/csv; charset=utf-8",
        request: "b,a\n2,1\n4,\n",
        response: r#"{"predictions": [2.5, NaN]}"#,
        rows: 2,
    },
    Documented {
        path: "/v1/models/half_plus_two:predict",
        format: "v1",
        content_type: JSON,
        request: r#"{"instances": [[1, 2]]}"#,
        response: r#"{"message":"","batchId":"f00","predictions":[2.5]}"#,
        rows: 1,
    },
];

/// Answers as documented, whichever exchange is asked for by a header.
async fn answer_by_documentation(request: Request) -> axum::response::Response {
    let at: usize = request.headers()["x-exchange"].to_str().unwrap().parse().unwrap();
    let Documented { content_type, request: expected, response, .. } = EXCHANGES[at];
    let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
    assert_eq!(body, expected.as_bytes(), "the request came through unchanged");
    let content_type = if content_type == JSON { JSON } else { "text/plain" };
    ([("content-type", content_type)], response).into_response()
}

#[tokio::test]
async fn documented_bytes_of_servers_that_cannot_be_had_here_are_passed_on_and_counted() {
    let directory = TempDir::new().unwrap();
    let rows: Vec<_> = (0..200).map(|row| format!("{row},{},{}.5", row % 9, row % 7)).collect();
    let options = BuildOptions {
        model: Some("half_plus_two".to_owned()),
        predictions: vec!["y".to_owned()],
        ..BuildOptions::default()
    };
    let baseline = support::baseline(directory.path(), &format!("a,b,y\n{}\n", rows.join("\n")), &options);
    let server = support::mock_model_server(answer_by_documentation).await;
    let daemon = Daemon::start(support::config(server, &[&baseline])).await;
    let client = reqwest::Client::new();
    for (at, exchange) in EXCHANGES.iter().enumerate() {
        let answer = client
            .post(format!("http://{}{}", daemon.tap, exchange.path))
            .header("content-type", exchange.content_type)
            .header("x-exchange", at)
            .body(exchange.request)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.text().await.unwrap(), exchange.response);
    }
    let n_rows = EXCHANGES.iter().map(|exchange| exchange.rows).sum();
    let report = daemon.wait_for_rows(n_rows).await;
    let model = &report.models[0];
    assert_eq!((model.rows.feature, model.rows.prediction), (n_rows, n_rows));
    assert_eq!(model.violations, []);
    let n_missing = |name: &str| {
        let feature = model.features.iter().find(|feature| feature.name == name).unwrap();
        let counts = &feature.windows[0].counts;
        (counts[counts.len() - 2], counts[counts.len() - 1])
    };
    assert_eq!((n_missing("a"), n_missing("b"), n_missing("y")), ((1, 0), (0, 0), (1, 0)), "in the CSV");
    let text = daemon.metrics().await;
    for exchange in &EXCHANGES {
        for reason in ["syntax", "no_rows", "unknown_model", "panic"] {
            let series =
                format!(r#"driftd_decode_errors_total{{format="{}",reason="{reason}"}}"#, exchange.format);
            assert_eq!(metric(&text, &series), Some(0.0), "{series}");
        }
    }
    daemon.stop().await;
}
