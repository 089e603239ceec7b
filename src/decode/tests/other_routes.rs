//! What lies around the usual bodies: events, streams, Triton's generate, TF Serving's examples, raw tensors, binary values. All by the
//! bytes that their documentation gives.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::every_format::Writer;
use super::{column, numeric_schema, shown_columns, shown_violations};
use crate::baseline::{Categories, ColumnKind, Role, Schema};
use crate::decode::{Batch, Body, DecodeError, Format, decode_request, decode_response, names_in};

fn read(format: Format, role: Role, body: &Body<'_>, schema: &Schema) -> Result<Batch, DecodeError> {
    let mut batch = Batch::new(schema);
    match role {
        Role::Feature => decode_request(format, body, schema, &mut batch)?,
        Role::Prediction => decode_response(format, body, schema, &mut batch)?,
    }
    Ok(batch)
}

#[track_caller]
fn check(
    format: Format,
    role: Role,
    body: &Body<'_>,
    schema: &Schema,
    expected: &[&str],
    violations: &[&str],
) {
    let text = String::from_utf8_lossy(body.bytes);
    let batch = read(format, role, body, schema).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert_eq!(shown_columns(schema, &batch, role), expected, "{text}");
    assert_eq!(shown_violations(schema, &batch), violations, "{text}");
}

#[test]
fn an_event_is_opened_whatever_is_inside() {
    let schema = numeric_schema(2, 1);
    let event = |data: (&str, Value), media_type: Option<&str>| {
        let mut event = json!({"id": "1", "source": "/c", "specversion": "1.0", "time": "now", "type": "t"});
        event[data.0] = data.1;
        if let Some(media_type) = media_type {
            event["datacontenttype"] = media_type.into();
        }
        event.to_string()
    };
    let tensor = json!({"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP64", "data": [1, 2]}]});
    for (format, data) in [
        (Format::V1, json!({"instances": [[1, 2]]})),
        (Format::V2, tensor.clone()),
        (Format::Mlflow, json!({"dataframe_split": {"columns": ["x1", "x0"], "data": [[2, 1]]}})),
        (Format::TorchServe, json!([[1, 2]])),
        (Format::TorchServe, json!({"x0": 1, "x1": 2})),
        (Format::Generate, json!({"x0": 1, "x1": 2})),
        (Format::TfExamples, json!({"examples": [{"x0": 1, "x1": 2}]})),
    ] {
        let encoded = json!(BASE64_STANDARD.encode(data.to_string()));
        for body in
            [event(("data", data.clone()), Some("application/json")), event(("data_base64", encoded), None)]
        {
            check(format, Role::Feature, &Body::new(body.as_bytes()), &schema, &["1", "2"], &[]);
            if let Some(found) = Format::of_body(&Body::new(body.as_bytes())) {
                assert!(
                    format == found || matches!(format, Format::TorchServe | Format::Generate),
                    "{found:?}"
                );
            }
        }
    }
    let csv = event(("data", json!("x1,x0\r\n2,1\r\n")), Some("text/csv; charset=utf-8"));
    check(Format::Mlflow, Role::Feature, &Body::new(csv.as_bytes()), &schema, &["1", "2"], &[]);
    let answer = event(
        ("data", json!({"outputs": [{"name": "y", "shape": [1], "datatype": "FP64", "data": [7]}]})),
        None,
    );
    check(Format::V2, Role::Prediction, &Body::new(answer.as_bytes()), &schema, &["7"], &[]);
    let chat = event(("data", json!({"model": "llama", "messages": []})), None);
    assert_eq!(&*names_in(Format::OpenAi, &Body::new(chat.as_bytes())).unwrap().0, "llama");
    assert_eq!(Format::of_body(&Body::new(chat.as_bytes())), Some(Format::OpenAi));

    // The word alone makes no event, and an event in an event is none of ours.
    let word = json!({"instances": [[1, 2]], "id": "specversion"}).to_string();
    check(Format::V1, Role::Feature, &Body::new(word.as_bytes()), &schema, &["1", "2"], &[]);
    let twice = event(("data", serde_json::from_str(&event(("data", tensor), None)).unwrap()), None);
    assert_eq!(
        read(Format::V2, Role::Feature, &Body::new(twice.as_bytes()), &schema).unwrap_err().kind(),
        "no_rows"
    );
    let broken = r#"{"specversion": "1.0", "data_base64": "?"}"#;
    assert_eq!(
        read(Format::V1, Role::Feature, &Body::new(broken.as_bytes()), &schema).unwrap_err().kind(),
        "no_rows"
    );
}

fn generate_schema() -> Schema {
    Schema::new([
        column("text_input", Role::Feature, ColumnKind::Text),
        column("temperature", Role::Feature, ColumnKind::Number),
        column("text_output", Role::Prediction, ColumnKind::Text),
        column("n_tokens", Role::Prediction, ColumnKind::Number),
    ])
}

#[test]
fn tritons_generate_is_a_row_in_one_piece_and_streamed() {
    let schema = generate_schema();
    let request = br#"{"id": "1", "text_input": "Hello", "temperature": 0.5, "stream": true, "parameters": {"max": [1]}}"#;
    check(Format::Generate, Role::Feature, &Body::new(request), &schema, &["5", "0.5"], &[]);
    let absent = ["temperature missing_feature 1"];
    check(
        Format::Generate,
        Role::Feature,
        &Body::new(br#"{"text_input": "Hi"}"#),
        &schema,
        &["2", "_"],
        &absent,
    );
    let whole = br#"{"model_name": "m", "model_version": "1", "text_output": "Hi \u00e9", "n_tokens": 3}"#;
    let stream = "data: {\"model_name\": \"m\", \"text_output\": \"Hi\", \"n_tokens\": 1}\n\ndata: {\"text_output\": \" é\", \"n_tokens\": 3}\n\n";
    for body in [&whole[..], stream.as_bytes()] {
        check(Format::Generate, Role::Prediction, &Body::new(body), &schema, &["4", "3"], &[]);
    }
    for (body, kind) in [("{}", "no_rows"), ("[]", "no_rows"), ("data: {\"text_output\": \"a", "truncated")] {
        let error =
            read(Format::Generate, Role::Prediction, &Body::new(body.as_bytes()), &schema).unwrap_err();
        assert_eq!(error.kind(), kind, "{body}");
    }
}

#[test]
fn mlservers_streams_are_rows_one_after_another() {
    let schema = numeric_schema(1, 1);
    let answer = |value: u8| json!({"model_name": "m", "outputs": [{"name": "y0", "shape": [1, 1], "datatype": "FP64", "data": [value]}]});
    let stream = format!("data: {}\n\ndata: {}\r\n\r\ndata: {}\n\n", answer(1), answer(2), answer(3));
    let request =
        json!({"inputs": [{"name": "x0", "shape": [1], "datatype": "FP64", "data": [5]}]}).to_string();
    for format in [Format::V2, Format::Generate] {
        check(format, Role::Prediction, &Body::new(stream.as_bytes()), &schema, &["1 2 3"], &[]);
        check(format, Role::Feature, &Body::new(request.as_bytes()), &schema, &["5"], &[]);
    }
    let broken = stream.replace(r#""outputs""#, r#""error""#);
    assert_eq!(
        read(Format::V2, Role::Prediction, &Body::new(broken.as_bytes()), &schema).unwrap_err().kind(),
        "no_rows"
    );
}

/// `age`, `grade`; classes `low` and `high`, or a label.
fn example_schema(by_label: bool) -> Schema {
    let mut columns = vec![
        column("age", Role::Feature, ColumnKind::Number),
        column("grade", Role::Feature, ColumnKind::Category(Categories::new(["A", "B"]))),
    ];
    if by_label {
        columns.push(column(
            "risk",
            Role::Prediction,
            ColumnKind::Category(Categories::new(["low", "high"])),
        ));
    } else {
        columns.extend(["high", "low"].map(|name| column(name, Role::Prediction, ColumnKind::Number)));
    }
    Schema::new(columns)
}

#[test]
fn tf_serving_examples_are_rows_by_name() {
    let schema = example_schema(false);
    let body = |text: &str| text.to_owned();
    let with_context = body(
        r#"{"signature_name": "s", "context": {"grade": "B"}, "examples": [{"age": 31}, {"age": [44]}]}"#,
    );
    check(
        Format::TfExamples,
        Role::Feature,
        &Body::new(with_context.as_bytes()),
        &schema,
        &["31 44", "1 1"],
        &[],
    );
    let odd = body(
        r#"{"examples": [{"age": [1, 2], "grade": [], "zip": 1}, {"age": "old", "grade": {"b64": "QQ=="}}, 7]}"#,
    );
    check(
        Format::TfExamples,
        Role::Feature,
        &Body::new(odd.as_bytes()),
        &schema,
        &["_ _ _ ? ?", "_ 0 _"],
        &[
            "_unexpected shape 1",
            "_unexpected unexpected_feature 1",
            "age missing_feature 1",
            "age type 2",
            "grade missing_feature 1",
        ],
    );
    let classes = r#"{"result": [[["low", 0.75], ["high", 0.25]], [["high", 0.5], ["low", 0.5]]]}"#;
    check(
        Format::TfExamples,
        Role::Prediction,
        &Body::new(classes.as_bytes()),
        &schema,
        &["0.25 0.5", "0.75 0.5"],
        &[],
    );
    let unknown = r#"{"result": [[["0", 0.75], ["1", 0.25]]]}"#;
    check(
        Format::TfExamples,
        Role::Prediction,
        &Body::new(unknown.as_bytes()),
        &schema,
        &["0.75", "0.25"],
        &[],
    );
    let labels = example_schema(true);
    check(Format::TfExamples, Role::Prediction, &Body::new(classes.as_bytes()), &labels, &["0 1"], &[]);
    let numbers = r#"{"result": [0.5, 2]}"#;
    check(
        Format::TfExamples,
        Role::Prediction,
        &Body::new(numbers.as_bytes()),
        &numeric_schema(1, 1),
        &["0.5 2"],
        &[],
    );
    for nothing in ["{}", "[]", r#"{"instances": [[1]]}"#] {
        let error =
            read(Format::TfExamples, Role::Feature, &Body::new(nothing.as_bytes()), &schema).unwrap_err();
        assert_eq!(error.kind(), "no_rows", "{nothing}");
    }
}

#[test]
fn tf_serving_examples_over_grpc_are_the_same_rows() {
    let schema = example_schema(false);
    let floats = |numbers: &[f32]| numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<_>>();
    let feature = |name: &str, kind: u64, list: Writer| {
        Writer::default().bytes(1, name.as_bytes()).message(2, Writer::default().message(kind, list))
    };
    let example = |features: Vec<Writer>| {
        let map = features.into_iter().fold(Writer::default(), |map, feature| map.message(1, feature));
        Writer::default().message(1, map)
    };
    let of_age = |age: f32| example(vec![feature("age", 2, Writer::default().bytes(1, &floats(&[age])))]);
    let grade = feature("grade", 1, Writer::default().bytes(1, b"B"));
    let list =
        Writer::default().message(1, of_age(31.0)).message(1, of_age(44.0)).message(2, example(vec![grade]));
    let request = || {
        let spec = Writer::default().bytes(1, b"credit");
        Writer::default().message(1, spec)
    };
    let body = request().message(2, Writer::default().message(2, list)).framed();
    check(Format::TfExamplesGrpc, Role::Feature, &Body::new(&body), &schema, &["31 44", "1 1"], &[]);
    assert_eq!(&*names_in(Format::TfExamplesGrpc, &Body::new(&body)).unwrap().0, "credit");
    let whole = example(vec![
        feature("age", 3, Writer::default().packed(1, [7])),
        feature("zip", 3, Writer::default().packed(1, [1])),
    ]);
    let body =
        request().message(2, Writer::default().message(1, Writer::default().message(1, whole))).framed();
    let violations = ["_unexpected unexpected_feature 1", "grade missing_feature 1"];
    check(Format::TfExamplesGrpc, Role::Feature, &Body::new(&body), &schema, &["7", "_"], &violations);

    let class = |label: &str, score: f32| {
        let mut class = Writer::default().bytes(1, label.as_bytes()).varint(2 << 3 | 5);
        class.0.extend_from_slice(&score.to_le_bytes());
        class
    };
    let row = Writer::default().message(1, class("low", 0.75)).message(1, class("high", 0.25));
    let body = Writer::default().message(1, Writer::default().message(1, row)).framed();
    check(Format::TfExamplesGrpc, Role::Prediction, &Body::new(&body), &schema, &["0.25", "0.75"], &[]);
    check(Format::TfExamplesGrpc, Role::Prediction, &Body::new(&body), &example_schema(true), &["0"], &[]);
    let mut half = Writer::default().varint(1 << 3 | 5);
    half.0.extend_from_slice(&0.5f32.to_le_bytes());
    let body = Writer::default()
        .message(1, Writer::default().message(1, half).message(1, Writer::default()))
        .framed();
    check(
        Format::TfExamplesGrpc,
        Role::Prediction,
        &Body::new(&body),
        &numeric_schema(1, 1),
        &["0.5 0"],
        &[],
    );
}

#[test]
fn a_raw_tensor_is_read_where_its_type_shows() {
    let schema = numeric_schema(3, 1);
    let raw = |bytes: &[u8], schema: &Schema| {
        read(Format::V2, Role::Feature, &Body { json_len: Some(0), ..Body::new(bytes) }, schema)
    };
    let singles: Vec<u8> = [5.1f32, -2.0, 0.0].iter().flat_map(|number| number.to_le_bytes()).collect();
    let longs: Vec<u8> = [5i64, -2, 0].iter().flat_map(|number| number.to_le_bytes()).collect();
    assert_eq!(shown_columns(&schema, &raw(&singles, &schema).unwrap(), Role::Feature), ["5.1", "-2", "0"]);
    assert_eq!(shown_columns(&schema, &raw(&longs, &schema).unwrap(), Role::Feature), ["5", "-2", "0"]);
    let with_text = Schema::new([column("x0", Role::Feature, ColumnKind::Text)]);
    for (bytes, schema) in [
        (&singles[..8], &schema),
        (&[1; 3], &schema),
        (&[0; 6], &schema),
        (b"", &schema),
        (&[1, 0, 0, 0], &with_text),
    ] {
        assert_eq!(raw(bytes, schema).unwrap_err().kind(), "raw_tensor", "{bytes:?}");
    }
    assert_eq!(raw(b"\xff\xd8\xff\xe0 JFIF, no numbers", &schema).unwrap_err().kind(), "image");
}

#[test]
fn binary_values_are_what_they_stand_for() {
    let schema = Schema::new([
        column("note", Role::Feature, ColumnKind::Text),
        column("grade", Role::Feature, ColumnKind::Category(Categories::new(["A", "B"]))),
    ]);
    let body =
        br#"{"instances": [[{"b64": "aW1h"}, {"b64": "Qg=="}], [{"b64": "?"}, {"b64": "QQ==", "x": 1}]]}"#;
    let wrong = ["grade type 1", "note type 1"];
    check(Format::V1, Role::Feature, &Body::new(body), &schema, &["3 _ ?", "1 ?"], &wrong);
    // An instance may be one value.
    let only = Schema::new([column("note", Role::Feature, ColumnKind::Text)]);
    let body = br#"{"instances": [{"b64": "aW1h"}, "xy"]}"#;
    check(Format::V1, Role::Feature, &Body::new(body), &only, &["3 2"], &[]);
}

#[test]
fn images_are_told_from_what_else_is_not_read() {
    let schema = numeric_schema(1, 1);
    let kind = |body: &Body<'_>| read(Format::TorchServe, Role::Feature, body, &schema).unwrap_err().kind();
    for bytes in [&b"\xff\xd8\xff\xe0 JFIF"[..], b"\x89PNG\r\n\x1a\n", b"GIF89a", b"RIFF\0\0\0\0WEBPVP8 "] {
        assert_eq!(kind(&Body::new(bytes)), "image");
    }
    assert_eq!(kind(&Body { media_type: Some("image/tiff"), ..Body::new(b"II*\0") }), "image");
    assert_eq!(kind(&Body::new(b"\0asm")), "opaque");
}
