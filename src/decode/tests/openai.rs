//! Chat, completions and embeddings, in one piece and streamed.

use serde_json::json;

use super::{column, shown_columns, shown_violations};
use crate::baseline::{Categories, ColumnKind, Role, Schema};
use crate::decode::{Batch, Body, Format, decode_request, decode_response, names_in};

fn schema() -> Schema {
    let number = |name, role| column(name, role, ColumnKind::Number);
    Schema::new([
        number("prompt_characters", Role::Feature),
        number("n_messages", Role::Feature),
        number("temperature", Role::Feature),
        number("completion_characters", Role::Prediction),
        column("finish_reason", Role::Prediction, ColumnKind::Category(Categories::new(["stop", "length"]))),
        number("completion_tokens", Role::Prediction),
    ])
}

#[track_caller]
fn check(request: &str, response: &str, features: [&str; 3], predictions: [&str; 3]) {
    let schema = schema();
    let mut batch = Batch::new(&schema);
    decode_request(Format::OpenAi, &Body::new(request.as_bytes()), &schema, &mut batch).unwrap();
    decode_response(Format::OpenAi, &Body::new(response.as_bytes()), &schema, &mut batch).unwrap();
    assert_eq!(shown_columns(&schema, &batch, Role::Feature), features, "{request}");
    assert_eq!(shown_columns(&schema, &batch, Role::Prediction), predictions, "{response}");
    assert_eq!(shown_violations(&schema, &batch), [""; 0]);
}

const CHAT: &str = r#"{"model": "llama", "temperature": 0.7, "messages": [
    {"role": "system", "content": "Be né."},
    {"role": "user", "content": [{"type": "text", "text": "Hello"}, {"type": "image_url", "image_url": {"url": "data:"}}]}]}"#;

#[test]
fn a_chat_is_a_row() {
    let answer = r#"{"id": "1", "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi \u00e9"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}}"#;
    check(CHAT, answer, ["11", "2", "0.7"], ["4", "0", "3"]);
    let (model, _) = names_in(Format::OpenAi, &Body::new(CHAT.as_bytes())).unwrap();
    assert_eq!(&*model, "llama");
}

#[test]
fn a_stream_is_the_same_row() {
    let part = |delta: &str, reason: &str| {
        format!(
            "data: {{\"choices\": [{{\"index\": 0, \"delta\": {delta}, \"finish_reason\": {reason}}}]}}\n\n"
        )
    };
    let stream = [
        part(r#"{"role": "assistant", "content": ""}"#, "null"),
        part(r#"{"content": "Hi"}"#, "null"),
        ": a comment\n\n".to_owned(),
        part(r#"{"content": " é"}"#, "null"),
        part("{}", r#""length""#),
        "data: {\"choices\": [], \"usage\": {\"prompt_tokens\": 9, \"completion_tokens\": 3}}\r\n\r\ndata: [DONE]\n\n".to_owned(),
    ];
    check(CHAT, &stream.concat(), ["11", "2", "0.7"], ["4", "1", "3"]);
}

#[test]
fn completions_have_prompts() {
    let answer =
        r#"{"choices": [{"text": "abc", "finish_reason": "stop"}, {"text": "d", "finish_reason": "stop"}]}"#;
    check(r#"{"prompt": ["ab", "c"], "max_tokens": 5}"#, answer, ["3", "_", "_"], ["4", "0", "_"]);
}

#[test]
fn embeddings_are_a_row_an_input() {
    let schema = Schema::new([
        column("prompt_characters", Role::Feature, ColumnKind::Number),
        column("embedding_norm", Role::Prediction, ColumnKind::Number),
    ]);
    let check = |input: serde_json::Value, embeddings: &[serde_json::Value], expected: [&str; 2]| {
        let mut batch = Batch::new(&schema);
        let request = json!({"input": input, "model": "e"}).to_string();
        decode_request(Format::OpenAi, &Body::new(request.as_bytes()), &schema, &mut batch).unwrap();
        let data: Vec<_> = embeddings
            .iter()
            .map(|embedding| json!({"object": "embedding", "embedding": embedding}))
            .collect();
        let response = json!({"data": data, "usage": {"prompt_tokens": 5}}).to_string();
        decode_response(Format::OpenAi, &Body::new(response.as_bytes()), &schema, &mut batch).unwrap();
        let shown =
            [Role::Feature, Role::Prediction].map(|role| shown_columns(&schema, &batch, role).concat());
        assert_eq!(shown, expected);
    };
    check(json!(["ab", "cde"]), &[json!([3.0, 4.0]), json!([0.0, 1.0])], ["2 3", "5 1"]);
    // 1.5 and 2 as 32-bit floats.
    check(json!("ab"), &[json!("AADAPwAAAEA=")], ["2", "2.5"]);
    check(json!([1, 2, 3]), &[json!([1.0])], ["_", "1"]);
    check(json!([[1, 2], [3]]), &[json!([1.0]), json!([2.0])], ["_ _", "1 2"]);
}

#[test]
fn what_is_no_exchange_of_theirs_is_an_error() {
    let schema = schema();
    let mut batch = Batch::new(&schema);
    for (body, kind) in [("{}", "no_rows"), (r#"{"messages": ["#, "truncated"), ("[]", "syntax")] {
        let error =
            decode_request(Format::OpenAi, &Body::new(body.as_bytes()), &schema, &mut batch).unwrap_err();
        assert_eq!(error.kind(), kind, "{body}");
    }
    for (body, kind) in [
        ("{}", "no_rows"),
        ("data: [DONE]\n\n", "no_rows"),
        ("data: {\"choices\": [\n", "truncated"),
        (r#"{"data": [{"embedding": "????"}]}"#, "binary_size"),
        (r#"{"data": [{"embedding": "AAAA"}]}"#, "binary_size"),
        (r#"{"data": [{"embedding": null}]}"#, "no_data"),
    ] {
        let error =
            decode_response(Format::OpenAi, &Body::new(body.as_bytes()), &schema, &mut batch).unwrap_err();
        assert_eq!(error.kind(), kind, "{body}");
    }
}
