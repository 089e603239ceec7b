//! Vectors: the same rows in every format and in tables, and what is no vector.

use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::every_format::{Contents, tf_grpc, v2_binary, v2_grpc};
use super::{column, shown_columns, shown_violations};
use crate::baseline::build::{self, BuildOptions};
use crate::baseline::{Baseline, ColumnKind, ColumnSpec, Measure, Role, Schema, VectorColumn};
use crate::check::{self, CheckOptions};
use crate::decode::{Batch, Body, Column, Format, decode_request, decode_response};
use crate::drift::Histogram;

/// Both columns of a vector of a given centroid.
fn vector(name: &str, role: Role, centroid: &[f32]) -> [ColumnSpec; 2] {
    [Measure::Norm, Measure::Distance { centroid: Arc::from(centroid) }].map(|measure| {
        let of = VectorColumn { vector: name.into(), dimension: centroid.len(), measure };
        column(&of.name(), role, ColumnKind::Vector(of))
    })
}

/// `a`, a number; `v`, a vector of 2; `b`, a number. Predicts `w`, a vector of 3.
fn schema() -> Schema {
    let [norm, distance] = vector("v", Role::Feature, &[3.0, 0.0]);
    let number = |name| column(name, Role::Feature, ColumnKind::Number);
    let [out_norm, out_distance] = vector("w", Role::Prediction, &[0.0; 3]);
    Schema::new([number("a"), norm, distance, number("b"), out_norm, out_distance])
}

#[track_caller]
fn check(format: Format, body: &Value, expected: [&str; 4], violations: &[&str]) {
    let schema = schema();
    let mut batch = Batch::new(&schema);
    decode_request(format, &Body::new(body.to_string().as_bytes()), &schema, &mut batch).unwrap();
    assert_eq!(shown_columns(&schema, &batch, Role::Feature), expected, "{body}");
    assert_eq!(shown_violations(&schema, &batch), violations, "{body}");
}

const TWO: [&str; 4] = ["1 2", "5 13", "4 12.165", "7 8"];

/// Norms and distances of the rows above, rounded for people.
fn rounded(columns: &[String]) -> Vec<String> {
    let short = |number: &str| number.chars().take(6).collect::<String>();
    columns.iter().map(|column| column.split(' ').map(short).collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn a_vector_is_one_value_wherever_it_stands() {
    let schema = schema();
    let tensor = |name: &str, shape: &[usize], data: Value| json!({"name": name, "shape": shape, "datatype": "FP32", "data": data});
    for (format, body) in [
        (Format::V1, json!({"instances": [[1, [3, 4], 7], [2, [5, 12], 8]]})),
        (Format::V1, json!({"instances": [[1, 3, 4, 7], [2, 5, 12, 8]]})),
        (Format::V1, json!({"instances": [[1, [[3], [4]], 7], [2, 5, 12, 8]]})),
        (Format::V1, json!({"instances": [{"v": [3, 4], "b": 7, "a": 1}, {"a": 2, "v": [[5, 12]], "b": 8}]})),
        (Format::V1, json!({"inputs": {"v": [[3, 4], [5, 12]], "b": [7, 8], "a": [1, 2]}})),
        (
            Format::Mlflow,
            json!({"dataframe_split": {"columns": ["b", "v", "a"], "data": [[7, [3, 4], 1], [8, [5, 12], 2]]}}),
        ),
        (Format::Mlflow, json!({"dataframe_split": {"data": [[1, [3, 4], 7], [2, [5, 12], 8]]}})),
        (
            Format::Mlflow,
            json!({"dataframe_records": [{"a": 1, "v": [3, 4], "b": 7}, {"a": 2, "v": [5, 12], "b": 8}]}),
        ),
        (Format::TorchServe, json!([[1, [3, 4], 7], [2, [5, 12], 8]])),
        (Format::V2, json!({"inputs": [tensor("x", &[2, 4], json!([1, 3, 4, 7, 2, 5, 12, 8]))]})),
        (
            Format::V2,
            json!({"inputs": [tensor("b", &[2], json!([7, 8])), tensor("v", &[2, 2], json!([[3, 4], [5, 12]])), tensor("a", &[2, 1], json!([1, 2]))]}),
        ),
        (
            Format::V2,
            json!({"inputs": [tensor("p", &[2], json!([1, 2])), tensor("q", &[2, 2], json!([3, 4, 5, 12])), tensor("r", &[2, 1], json!([7, 8]))]}),
        ),
    ] {
        let mut batch = Batch::new(&schema);
        decode_request(format, &Body::new(body.to_string().as_bytes()), &schema, &mut batch).unwrap();
        assert_eq!(rounded(&shown_columns(&schema, &batch, Role::Feature)), TWO, "{body}");
        assert_eq!(shown_violations(&schema, &batch), [""; 0], "{body}");
    }
    let csv = b"v,a,b\n\"[3, 4]\",1,7\n\"[5.0,12]\",2,8\n";
    let mut batch = Batch::new(&schema);
    let body = Body { media_type: Some("text/csv"), ..Body::new(csv) };
    decode_request(Format::Mlflow, &body, &schema, &mut batch).unwrap();
    assert_eq!(rounded(&shown_columns(&schema, &batch, Role::Feature)), TWO);
    // One vector alone, without a dimension for rows.
    let one = json!({"inputs": [tensor("v", &[2], json!([3, 4])), tensor("a", &[1], json!([1])), tensor("b", &[1], json!([7]))]});
    check(Format::V2, &one, ["1", "5", "4", "7"], &[]);
}

#[test]
fn a_vector_of_another_dimension_breaks_its_shape() {
    let shape = ["v.distance shape 1", "v.norm shape 1"];
    let none = ["1", "_ ?", "_ ?", "7"];
    let tensor = |name, shape: [usize; 2], data| json!({"name": name, "shape": shape, "datatype": "FP32", "data": data});
    check(Format::V1, &json!({"instances": [[1, [3, 4, 5], 7]]}), none, &shape);
    check(Format::V1, &json!({"instances": [[1, [], 7]]}), none, &shape);
    check(Format::V1, &json!({"instances": [{"a": 1, "v": [3], "b": 7}]}), none, &shape);
    let named = json!({"inputs": [tensor("a", [1, 1], vec![1]), tensor("v", [1, 3], vec![3, 4, 5]), tensor("b", [1, 1], vec![7])]});
    check(Format::V2, &named, none, &shape);
    let csv = Body { media_type: Some("text/csv"), ..Body::new(b"a,b,v\n1,7,\"[1,2,3]\"\n") };
    let schema = schema();
    let mut batch = Batch::new(&schema);
    decode_request(Format::Mlflow, &csv, &schema, &mut batch).unwrap();
    assert_eq!(shown_violations(&schema, &batch), shape);
    // Too short a row ends within the vector; one too long has more than the model.
    let short = ["b shape 1", "v.distance shape 1", "v.norm shape 1"];
    check(Format::V1, &json!({"instances": [[1, 3]]}), ["1", "_ ?", "_ ?", "_"], &short);
    let matrix = json!({"inputs": [tensor("x", [1, 2], vec![1, 3])]});
    check(Format::V2, &matrix, ["1", "_ ?", "_ ?", "_"], &short);
    check(
        Format::V1,
        &json!({"instances": [[1, 3, 4, 7, 9]]}),
        ["1", "5", "4", "7"],
        &["_unexpected shape 1"],
    );
}

#[test]
fn what_is_no_number_makes_no_vector_and_null_is_missing() {
    let wrong = ["v.distance type 1", "v.norm type 1"];
    let none = ["1", "_ ?", "_ ?", "7"];
    for value in
        [json!([3, null]), json!([3, "4"]), json!("3, 4"), json!(3), json!({"x": 1}), json!([3, true])]
    {
        check(Format::V1, &json!({"instances": [{"a": 1, "v": value, "b": 7}]}), none, &wrong);
    }
    check(Format::V1, &json!({"instances": [[1, null, 7]]}), ["1", "_", "_", "7"], &[]);
    let absent = ["v.distance missing_feature 1", "v.norm missing_feature 1"];
    check(Format::V1, &json!({"instances": [{"a": 1, "b": 7}]}), ["1", "_", "_", "7"], &absent);
    let tensor =
        json!({"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, null, 4, 7]}]});
    check(Format::V2, &tensor, none, &wrong);
    let mixed =
        json!({"inputs": [{"name": "x", "shape": [1, 4], "datatype": "BYTES", "data": [1, 3, "a", 7]}]});
    check(Format::V2, &mixed, none, &wrong);
}

#[test]
fn the_columns_made_of_a_vector_are_no_names_of_the_callers() {
    check(
        Format::V1,
        &json!({"instances": [{"a": 1, "v": [3, 4], "b": 7, "v.norm": 9}]}),
        ["1", "5", "4", "7"],
        &["_unexpected unexpected_feature 1"],
    );
}

#[test]
fn answers_are_vectors_too() {
    let schema = schema();
    for (format, body) in [
        (Format::V1, json!({"predictions": [[1, 2, 2], [2, 3, 6]]})),
        (Format::V1, json!({"predictions": [{"output": [1, 2, 2]}, {"w": [2, 3, 6]}]})),
        (Format::V1, json!({"outputs": {"w": [[1, 2, 2], [2, 3, 6]]}})),
        (
            Format::V2,
            json!({"outputs": [{"name": "predict", "shape": [2, 3], "datatype": "FP32", "data": [1, 2, 2, 2, 3, 6]}]}),
        ),
        (Format::TorchServe, json!([[1, 2, 2], [2, 3, 6]])),
    ] {
        let mut batch = Batch::new(&schema);
        batch.n_feature_rows = 2;
        decode_response(format, &Body::new(body.to_string().as_bytes()), &schema, &mut batch).unwrap();
        assert_eq!(shown_columns(&schema, &batch, Role::Prediction), ["3 7", "3 7"], "{body}");
        assert_eq!(shown_violations(&schema, &batch), [""; 0], "{body}");
    }
}

#[test]
fn embeddings_are_vectors_in_numbers_and_in_base64() {
    let [norm, distance] = vector("embedding", Role::Prediction, &[0.0, 4.0]);
    let schema =
        Schema::new([column("embedding_norm", Role::Prediction, ColumnKind::Number), norm, distance]);
    let raw: Vec<u8> = [3f32, 0.0].iter().flat_map(|number| number.to_le_bytes()).collect();
    let body = json!({"data": [{"embedding": [3, 4]}, {"embedding": BASE64_STANDARD.encode(raw)}, {"embedding": [1]}]});
    let mut batch = Batch::new(&schema);
    decode_response(Format::OpenAi, &Body::new(body.to_string().as_bytes()), &schema, &mut batch).unwrap();
    assert_eq!(shown_columns(&schema, &batch, Role::Prediction), ["5 3 1", "5 3 _ ?", "3 5 _ ?"]);
    assert_eq!(shown_violations(&schema, &batch), ["embedding.distance shape 1", "embedding.norm shape 1"]);
}

/// Every format that can hold rows of one vector, with its body.
fn every_body(rows: &[Vec<f64>]) -> Vec<(Format, Vec<u8>, Option<&'static str>)> {
    let (n, d) = (rows.len(), rows[0].len());
    let flat = rows.concat();
    let named = [("v".to_owned(), [n, d], flat.clone())];
    let unnamed = [("input-0".to_owned(), [n, d], flat.clone())];
    let objects: Vec<_> = rows.iter().map(|row| json!({"v": row})).collect();
    let of_text = |body: Value| body.to_string().into_bytes();
    let tensor = |name: &str| {
        of_text(json!({"inputs": [{"name": name, "shape": [n, d], "datatype": "FP64", "data": flat}]}))
    };
    let mut bodies = vec![
        (Format::V1, of_text(json!({"instances": rows})), None),
        (Format::V1, of_text(json!({"instances": objects})), None),
        (Format::V1, of_text(json!({"inputs": {"v": rows}})), None),
        (Format::V2, tensor("v"), None),
        (Format::V2, tensor("input-0"), None),
        (Format::Mlflow, of_text(json!({"dataframe_records": objects})), None),
        (
            Format::Mlflow,
            of_text(
                json!({"dataframe_split": {"columns": ["v"], "data": rows.iter().map(|row| [row]).collect::<Vec<_>>()}}),
            ),
            None,
        ),
        (Format::TorchServe, of_text(json!({"instances": rows})), None),
        (Format::Mlflow, format!("v\n{}\n", csv_cells(rows).join("\n")).into_bytes(), Some("text/csv")),
    ];
    for tensors in [&named[..], &unnamed[..]] {
        bodies.push((Format::V2, v2_binary(tensors).0, None));
        for how in [Contents::Typed, Contents::Raw] {
            bodies.push((Format::V2Grpc, v2_grpc(tensors, how), None));
            bodies.push((Format::TfGrpc, tf_grpc(tensors, how), None));
        }
    }
    bodies
}

fn csv_cells(rows: &[Vec<f64>]) -> Vec<String> {
    rows.iter().map(|row| format!("\"{}\"", json!(row))).collect()
}

/// Counts of the columns of a batch over the bins of a baseline.
fn counts(baseline: &Baseline, batch: &Batch) -> Vec<Histogram> {
    let count = |(reference, column): (&crate::drift::Reference, &Column)| {
        let crate::drift::Bins::Numeric { edges, .. } = reference.bins() else { panic!("numbers") };
        let Column::Numbers { values, n_other } = column else { panic!("numbers") };
        let mut histogram = Histogram::new(edges.n_bins());
        crate::drift::Recorder::new(edges).record(values, &mut histogram);
        histogram.missing_to_other(*n_other);
        histogram
    };
    baseline.references().iter().zip(&batch.columns).map(count).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// The training rows, sent back in any format or checked as a table, give the very counts of the baseline.
    #[test]
    fn vectors_are_the_same_in_every_format(
        rows in (1usize..20).prop_flat_map(|d| vec(vec(prop_oneof![-1e3f64..1e3, (-4i8..4).prop_map(f64::from)], d), 1..12))
    ) {
        let directory = TempDir::new().unwrap();
        let write = |name: &str, text: String| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let jsonl: Vec<_> = rows.iter().map(|row| json!({"v": row}).to_string()).collect();
        let jsonl = write("t.jsonl", jsonl.join("\n"));
        let csv = write("t.csv", format!("v\n{}\n", csv_cells(&rows).join("\n")));
        let options = BuildOptions::default();
        let baseline = build::build(std::slice::from_ref(&jsonl), &options).unwrap().baseline;
        let from_csv = build::build(std::slice::from_ref(&csv), &options).unwrap().baseline;
        let expected: Vec<_> = baseline.features().iter().map(|feature| feature.counts().clone()).collect();
        prop_assert_eq!(expected.len(), 2);
        for (ours, theirs) in baseline.features().iter().zip(from_csv.features()) {
            prop_assert_eq!(ours.edges_id(), theirs.edges_id());
            prop_assert_eq!(ours.counts(), theirs.counts());
        }
        let schema = baseline.schema();
        for (format, bytes, media_type) in every_body(&rows) {
            let mut batch = Batch::new(&schema);
            decode_request(format, &Body { media_type, ..Body::new(&bytes) }, &schema, &mut batch).unwrap();
            prop_assert_eq!(batch.n_feature_rows, rows.len());
            prop_assert_eq!(&batch.violations, &[], "{:?}", format);
            prop_assert_eq!(&counts(&baseline, &batch), &expected, "{:?}", format);
        }
        for table in [jsonl, csv] {
            let report = check::check(&baseline, &[table], &CheckOptions::default(), &|_, _| ()).unwrap();
            for column in &report.columns {
                let feature = baseline.find(Role::Feature, &column.name).unwrap();
                prop_assert_eq!(column.fine_counts(), feature.counts());
            }
        }
    }
}
