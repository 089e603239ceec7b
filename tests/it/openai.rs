//! The client of `OpenAI` through the sidecar.

use axum::Json;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use driftd::baseline::build::BuildOptions;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::real::run_python;
use crate::support::{self, Daemon, from_env};

/// What an OpenAI-compatible server answers; the model says its prompt backwards. Named a mock: no such server can be had here.
async fn mock_openai_server(request: Request) -> Response {
    let is_embedding = request.uri().path().ends_with("/embeddings");
    let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap();
    if is_embedding {
        let inputs = body["input"].as_array().unwrap().iter().enumerate();
        let embedding = |text: &Value| {
            let vector = [3.0f32, 4.0 * text.as_str().unwrap().len() as f32];
            base64::Engine::encode(
                &base64::prelude::BASE64_STANDARD,
                vector.map(f32::to_le_bytes).as_flattened(),
            )
        };
        assert_eq!(body["encoding_format"], "base64", "the client asks for it");
        let data: Vec<_> = inputs
            .map(|(index, text)| json!({"object": "embedding", "index": index, "embedding": embedding(text)}))
            .collect();
        let usage = json!({"prompt_tokens": 2, "total_tokens": 2});
        return Json(json!({"object": "list", "model": "embedder", "data": data, "usage": usage}))
            .into_response();
    }
    let text: String = body["messages"][1]["content"].as_str().unwrap().chars().rev().collect();
    let answer = |object: &str, part: &str, content: Value, reason: Value| {
        json!({"id": "1", "object": object, "created": 1, "model": "llama",
            "choices": [{"index": 0, part: content, "finish_reason": reason}]})
    };
    if body["stream"] == true {
        let letters = text.chars().map(|letter| json!({"content": letter.to_string()}));
        let parts = letters.map(|delta| answer("chat.completion.chunk", "delta", delta, Value::Null));
        let last = answer("chat.completion.chunk", "delta", json!({}), "stop".into());
        let parts = parts.chain([last]).map(|part| part.to_string()).chain(["[DONE]".to_owned()]);
        let events: String = parts.flat_map(|part| ["data: ".to_owned(), part, "\n\n".to_owned()]).collect();
        return ([("content-type", "text/event-stream")], events).into_response();
    }
    let message = json!({"role": "assistant", "content": text});
    Json(answer("chat.completion", "message", message, "stop".into())).into_response()
}

#[tokio::test]
async fn calls_of_openais_client_to_a_mock_server_are_counted_exactly() {
    let directory = TempDir::new().unwrap();
    let baseline = |name: &str, table: &str, predictions: &[&str]| {
        let folder = directory.path().join(name);
        std::fs::create_dir(&folder).unwrap();
        let options = BuildOptions {
            model: Some(name.to_owned()),
            predictions: predictions.iter().map(|name| (*name).to_owned()).collect(),
            ..BuildOptions::default()
        };
        support::baseline(&folder, table, &options)
    };
    let rows = |row: &dyn Fn(usize) -> String| (0..200).map(row).collect::<Vec<_>>().join("\n");
    let chats = rows(&|row| format!("{row},{row},{}", ["stop", "length"][row % 2]));
    let chats = format!("prompt_characters,completion_characters,finish_reason\n{chats}\n");
    let norms = format!("prompt_characters,embedding_norm\n{}\n", rows(&|row| format!("{row},{row}.5")));
    let files = [
        baseline("llama", &chats, &["completion_characters", "finish_reason"]),
        baseline("embedder", &norms, &["embedding_norm"]),
    ];
    let server = support::mock_model_server(mock_openai_server).await;
    let daemon = Daemon::start(support::config(server, &[&files[0], &files[1]])).await;
    let python = from_env("DRIFTD_TEST_KSERVE_PYTHON");
    let url = format!("http://{}/openai/v1", daemon.tap);
    let sent = run_python(&python, "openai_calls.py", &[&url, "30"]).await;
    let n_rows = sent["chats"]["rows"].as_u64().unwrap() + sent["embeddings"]["rows"].as_u64().unwrap();
    let report = daemon.wait_for_rows(n_rows).await;
    let feature = |model: &str, name: &str| {
        let model = report.models.iter().find(|report| report.labels.model == model).unwrap();
        assert_eq!(model.violations, [], "{}", model.labels.model);
        model.features.iter().find(|feature| feature.name == name).unwrap().windows[0].counts.clone()
    };
    // Every row has its value: nothing is missing, nothing is other.
    for (model, name, rows) in [
        ("llama", "prompt_characters", 30),
        ("llama", "completion_characters", 30),
        ("embedder", "prompt_characters", 60),
        ("embedder", "embedding_norm", 60),
    ] {
        let counts = feature(model, name);
        assert_eq!(counts.iter().sum::<u64>(), rows, "{model} {name}");
        assert_eq!(counts[counts.len() - 2..], [0, 0], "{model} {name}");
    }
    let reasons = feature("llama", "finish_reason");
    assert_eq!(reasons.iter().max(), sent["chats"]["stopped"].as_u64().as_ref());
    daemon.stop().await;
}
