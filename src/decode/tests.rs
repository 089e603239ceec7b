mod every_format;
mod openai;
mod other_routes;
mod vectors;

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::baseline::{Categories, ColumnKind, ColumnSpec};
use crate::drift::Histogram;

fn column(name: &str, role: Role, kind: ColumnKind) -> ColumnSpec {
    ColumnSpec { name: name.into(), role, kind }
}

/// `age`, `income`: numbers; `grade`: A, B or 3; `employed`: boolean; `note`: text. Predicts `default_risk`.
fn schema() -> Schema {
    Schema::new([
        column("age", Role::Feature, ColumnKind::Number),
        column("income", Role::Feature, ColumnKind::Number),
        column("grade", Role::Feature, ColumnKind::Category(Categories::new(["A", "B", "3"]))),
        column("employed", Role::Feature, ColumnKind::Boolean),
        column("note", Role::Feature, ColumnKind::Text),
        column("default_risk", Role::Prediction, ColumnKind::Number),
    ])
}

/// `n` numbers in, `k` numbers out.
fn numeric_schema(n: usize, k: usize) -> Schema {
    let features = (0..n).map(|at| column(&format!("x{at}"), Role::Feature, ColumnKind::Number));
    let predictions = (0..k).map(|at| column(&format!("y{at}"), Role::Prediction, ColumnKind::Number));
    Schema::new(features.chain(predictions))
}

/// What a column holds, for people: `_` for missing, `?` for other.
fn shown(column: &Column, kind: &ColumnKind) -> Vec<String> {
    let n_codes = match kind {
        ColumnKind::Category(categories) => categories.len(),
        _ => 2,
    };
    match column {
        Column::Numbers { values, n_other } => {
            let mut shown: Vec<_> = values
                .iter()
                .map(|value| if value.is_nan() { "_".to_owned() } else { value.to_string() })
                .collect();
            shown.extend((0..*n_other).map(|_| "?".to_owned()));
            shown
        }
        Column::Codes(codes) => codes
            .iter()
            .map(|&code| match code as usize {
                code if code == Histogram::missing_code(n_codes) => "_".to_owned(),
                code if code == Histogram::other_code(n_codes) => "?".to_owned(),
                code => code.to_string(),
            })
            .collect(),
        Column::Cells(cells) => cells.iter().map(|cell| format!("{cell:?}")).collect(),
    }
}

fn shown_columns(schema: &Schema, batch: &Batch, role: Role) -> Vec<String> {
    schema.range(role).map(|idx| shown(&batch.columns[idx], &schema.columns()[idx].kind).join(" ")).collect()
}

fn shown_violations(schema: &Schema, batch: &Batch) -> Vec<String> {
    let name = |column: Option<usize>| column.map_or("_unexpected", |column| &schema.columns()[column].name);
    let mut shown: Vec<_> = batch
        .violations
        .iter()
        .map(|violation| {
            format!("{} {} {}", name(violation.column), violation.reason.as_str(), violation.n_rows)
        })
        .collect();
    shown.sort();
    shown
}

fn read_request(format: Format, body: &str, schema: &Schema) -> Result<Batch, DecodeError> {
    let mut batch = Batch::new(schema);
    decode_request(format, &Body::new(body.as_bytes()), schema, &mut batch).map(|()| batch)
}

#[track_caller]
fn check_request(format: Format, body: &str, columns: [&str; 5], violations: &[&str]) {
    let schema = schema();
    let batch = read_request(format, body, &schema).unwrap();
    assert_eq!(shown_columns(&schema, &batch, Role::Feature), columns, "{body}");
    assert_eq!(shown_violations(&schema, &batch), violations, "{body}");
    let n_rows = batch.n_feature_rows;
    for column in &batch.columns[..5] {
        let len = column.len();
        assert_eq!(len, n_rows, "every column is as long as there are rows: {body}");
    }
}

#[track_caller]
fn check_numbers(format: Format, n_features: usize, body: &str, expected: &[&str], violations: &[&str]) {
    let schema = numeric_schema(n_features, 1);
    let batch = read_request(format, body, &schema).unwrap();
    assert_eq!(shown_columns(&schema, &batch, Role::Feature), expected, "{body}");
    assert_eq!(shown_violations(&schema, &batch), violations, "{body}");
}

#[track_caller]
fn check_response(
    format: Format,
    n_predictions: usize,
    n_rows: usize,
    body: &str,
    expected: &[&str],
    violations: &[&str],
) {
    let schema = numeric_schema(1, n_predictions);
    let mut batch = Batch::new(&schema);
    batch.n_feature_rows = n_rows;
    decode_response(format, &Body::new(body.as_bytes()), &schema, &mut batch).unwrap();
    assert_eq!(shown_columns(&schema, &batch, Role::Prediction), expected, "{body}");
    assert_eq!(shown_violations(&schema, &batch), violations, "{body}");
}

#[track_caller]
fn check_error(format: Format, body: &str, kind: &str) {
    let error = read_request(format, body, &schema()).unwrap_err();
    assert_eq!(error.kind(), kind, "{body}: {error}");
}

#[test]
fn v1_rows_by_position() {
    check_request(
        Format::V1,
        r#"{"instances": [[31, 5200.5, "A", true, "hello"], [44, null, "B", false, "né"]]}"#,
        ["31 44", "5200.5 _", "0 1", "1 0", "5 2"],
        &[],
    );
    check_request(Format::V1, r#"{"instances": []}"#, ["", "", "", "", ""], &[]);
}

#[test]
fn v1_inputs_win_over_instances_in_any_order() {
    let row = |age: u32| format!(r#"[[{age}, 1, "A", true, "x"]]"#);
    for body in [
        format!(r#"{{"instances": {}, "inputs": {}}}"#, row(1), row(2)),
        format!(r#"{{"inputs": {}, "instances": {}}}"#, row(2), row(1)),
    ] {
        check_request(Format::V1, &body, ["2", "1", "0", "1", "1"], &[]);
    }
}

#[test]
fn v1_rows_by_name() {
    check_request(
        Format::V1,
        r#"{"signature_name": "serving_default", "instances": [
            {"income": 1, "age": 2, "grade": "B", "employed": 1, "note": ""},
            {"note": "ab", "age": "old", "employed": "TRUE", "grade": 3.0, "zip": [1]}]}"#,
        ["2 _ ?", "1 _", "1 2", "1 1", "0 2"],
        &["_unexpected unexpected_feature 1", "age type 1", "income missing_feature 1"],
    );
}

#[test]
fn v1_blocks_of_columns() {
    let columns = r#"{"age": [1, 2], "income": [3, 4], "grade": ["A", "C"], "employed": [true, null], "note": ["a", "b"]}"#;
    let expected = ["1 2", "3 4", "0 ?", "1 _", "1 1"];
    for body in [
        format!(r#"{{"instances": [{columns}]}}"#),
        format!(r#"{{"instances": [[{columns}]]}}"#),
        format!(r#"{{"inputs": {columns}}}"#),
    ] {
        check_request(Format::V1, &body, expected, &["grade unseen_category 1"]);
    }
    // Two blocks after another, and a row among them.
    check_request(
        Format::V1,
        &format!(r#"{{"instances": [{columns}, {{"age": 9}}, {columns}]}}"#),
        ["1 2 9 1 2", "3 4 _ 3 4", "0 ? _ 0 ?", "1 _ _ 1 _", "1 1 _ 1 1"],
        &[
            "employed missing_feature 1",
            "grade missing_feature 1",
            "grade unseen_category 2",
            "income missing_feature 1",
            "note missing_feature 1",
        ],
    );
}

#[test]
fn v1_arrays_of_unequal_length_are_one_row_of_the_wrong_type() {
    check_request(
        Format::V1,
        r#"{"instances": [{"age": [1, 2], "income": [3], "grade": "A", "employed": true, "note": "x"}]}"#,
        ["_ ?", "_ ?", "0", "1", "1"],
        &["age type 1", "income type 1"],
    );
}

#[test]
fn v1_scalars_are_rows_of_one_feature() {
    check_numbers(Format::V1, 1, r#"{"instances": [3.1, 4.2, null]}"#, &["3.1 4.2 _"], &[]);
    check_numbers(Format::V1, 2, r#"{"instances": [3.1]}"#, &["3.1", "_"], &["x1 shape 1"]);
}

#[test]
fn v1_nested_values_lie_in_row_major_order() {
    check_numbers(Format::V1, 4, r#"{"instances": [[[1, 2], [3, 4]]]}"#, &["1", "2", "3", "4"], &[]);
}

#[test]
fn v1_rows_of_the_wrong_width_are_counted() {
    check_numbers(
        Format::V1,
        2,
        r#"{"instances": [[1], [1, 2, 3], []]}"#,
        &["1 1 _", "_ 2 _"],
        &["_unexpected shape 1", "x0 shape 1", "x1 shape 2"],
    );
}

#[test]
fn numbers_as_servers_write_them() {
    check_numbers(
        Format::V1,
        1,
        r#"{"instances": [NaN, Infinity, -Infinity, -0.0, 1e400, 123456789012345678901234567890, 18446744073709551615]}"#,
        &["_ inf -inf -0 inf 123456789012345680000000000000 18446744073709552000"],
        &[],
    );
}

#[test]
fn numbers_are_read_to_the_last_bit() {
    let schema = numeric_schema(1, 0);
    let batch = read_request(
        Format::V1,
        r#"{"instances": [5e-324, 0.1, 9007199254740993, 2.2250738585072011e-308]}"#,
        &schema,
    );
    let expected = Column::Numbers {
        values: vec![5e-324, 0.1, 9_007_199_254_740_992.0, 2.225_073_858_507_201e-308],
        n_other: 0,
    };
    assert_eq!(batch.unwrap().columns[0], expected);
}

#[test]
fn binary_wrappers_are_of_the_wrong_type() {
    check_numbers(Format::V1, 1, r#"{"instances": [{"x0": {"b64": "aW1h"}}]}"#, &["_ ?"], &["x0 type 1"]);
}

#[test]
fn v1_cloud_events_have_the_payload_inside() {
    let event = |data: &str| {
        format!(r#"{{"specversion":"1.0","id":"1","source":"/c","type":"t","time":"now","data":{data}}}"#)
    };
    check_numbers(Format::V1, 2, &event(r#"{"instances":[[1,2]]}"#), &["1", "2"], &[]);
    check_error(Format::V1, &event(&event("{}")), "no_rows");
    check_error(Format::V1, r#"{"data": {"instances": [[1, 2]]}}"#, "no_rows");
}

#[test]
fn v1_predictions() {
    check_response(Format::V1, 1, 2, r#"{"predictions": [0, 1]}"#, &["0 1"], &[]);
    check_response(
        Format::V1,
        2,
        2,
        r#"{"predictions": [[0.1, 0.9], [0.7, 0.3]]}"#,
        &["0.1 0.7", "0.9 0.3"],
        &[],
    );
    check_response(Format::V1, 2, 1, r#"{"predictions": [{"col_a": 1, "col_b": 0.2}]}"#, &["1", "0.2"], &[]);
    check_response(Format::V1, 2, 1, r#"{"predictions": [{"y1": 1, "y0": 0.2}]}"#, &["0.2", "1"], &[]);
    check_response(Format::V1, 1, 1, r#"{"predictions": 3}"#, &["3"], &[]);
    check_response(Format::V1, 2, 2, r#"{"outputs": {"y0": [1, 2], "y1": [3, 4]}}"#, &["1 2", "3 4"], &[]);
    check_response(Format::V1, 1, 1, r#"{"message": "", "batchId": "f00", "predictions": [1]}"#, &["1"], &[]);
    check_response(Format::V1, 1, 1, r#"{"predictions": [[1, 2]]}"#, &["1"], &["_unexpected shape 1"]);
}

#[test]
fn v2_tensors_by_name() {
    check_request(
        Format::V2,
        r#"{"id": "42", "parameters": {"content_type": "pd", "headers": {"a": "b"}}, "inputs": [
            {"name": "grade", "shape": [2, 1], "datatype": "BYTES", "parameters": {"content_type": "str"}, "data": ["A", "C"]},
            {"data": [31, 44], "datatype": "INT64", "shape": [2], "name": "age"},
            {"name": "employed", "shape": [2], "datatype": "BOOL", "data": ["true", false]},
            {"name": "note", "shape": [2, 1], "datatype": "BYTES", "data": [["ab"], ["c"]]},
            {"name": "zip", "shape": [2], "datatype": "INT64", "data": [1, 2]}],
          "outputs": [{"name": "predict"}]}"#,
        ["31 44", "_ _", "0 ?", "1 0", "2 1"],
        &["_unexpected unexpected_feature 2", "grade unseen_category 1", "income missing_feature 2"],
    );
}

#[test]
fn v2_one_tensor_is_a_table() {
    let table = |shape: &str, data: &str| {
        format!(
            r#"{{"inputs": [{{"name": "input-0", "shape": {shape}, "datatype": "FP64", "data": {data}}}]}}"#
        )
    };
    check_numbers(Format::V2, 2, &table("[3, 2]", "[1, 2, 3, 4, 5, 6]"), &["1 3 5", "2 4 6"], &[]);
    check_numbers(Format::V2, 2, &table("[3, 2]", "[[1, 2], [3, null], [5, NaN]]"), &["1 3 5", "2 _ _"], &[]);
    check_numbers(Format::V2, 4, &table("[1, 2, 2]", "[[[1, 2], [3, 4]]]"), &["1", "2", "3", "4"], &[]);
    check_numbers(Format::V2, 1, &table("[3]", "[1, 2, 3]"), &["1 2 3"], &[]);
    check_numbers(Format::V2, 3, &table("[3]", "[1, 2, 3]"), &["1", "2", "3"], &[]);
    check_numbers(Format::V2, 2, &table("[2, 1]", "[1, 2]"), &["1 2", "_ _"], &["x1 shape 2"]);
    check_numbers(Format::V2, 1, &table("[1, 2]", "[1, 2]"), &["1"], &["_unexpected shape 1"]);
    check_request(
        Format::V2,
        &table("[2, 5]", r#"[[31, 1, "A", true, "x"], [44, 2, "B", false, "yz"]]"#),
        ["31 44", "1 2", "0 1", "1 0", "1 2"],
        &[],
    );
}

#[test]
fn v2_unknown_names_stand_for_the_columns_in_order() {
    let body = r#"{"inputs": [{"name": "a", "shape": [2], "datatype": "FP32", "data": [1, 2]},
                              {"name": "b", "shape": [2], "datatype": "FP32", "data": [3, 4]}]}"#;
    check_numbers(Format::V2, 2, body, &["1 2", "3 4"], &[]);
    check_numbers(
        Format::V2,
        3,
        body,
        &["_ _", "_ _", "_ _"],
        &[
            "_unexpected unexpected_feature 4",
            "x0 missing_feature 2",
            "x1 missing_feature 2",
            "x2 missing_feature 2",
        ],
    );
}

#[test]
fn v2_shapes_that_contradict_their_data_are_counted_and_the_data_believed() {
    let table = |shape: &str, data: &str| {
        format!(r#"{{"inputs": [{{"name": "x", "shape": {shape}, "datatype": "FP64", "data": {data}}}]}}"#)
    };
    check_numbers(Format::V2, 1, &table("[3]", "[1]"), &["1"], &["_unexpected shape 1"]);
    check_numbers(Format::V2, 2, &table("[1, 2]", "[1, 2, 3, 4]"), &["1 3", "2 4"], &["_unexpected shape 1"]);
    check_numbers(Format::V2, 1, &table("[0, 4294967295, 4294967295]", "[]"), &[""], &[]);
    check_numbers(
        Format::V2,
        1,
        &table("[4294967295, 4294967295]", "[1, 2]"),
        &["1 2"],
        &["_unexpected shape 1"],
    );
}

#[test]
fn v2_columns_of_unequal_length_are_filled_up() {
    let body = r#"{"inputs": [{"name": "x0", "shape": [2], "datatype": "FP32", "data": [1, 2]},
                              {"name": "x1", "shape": [1], "datatype": "FP32", "data": [3]}]}"#;
    check_numbers(Format::V2, 2, body, &["1 2", "3 _"], &["x1 shape 1"]);
}

#[test]
fn v2_a_name_given_twice_counts_once() {
    let body = r#"{"inputs": [{"name": "x0", "shape": [1], "datatype": "FP32", "data": [1]},
                              {"name": "x0", "shape": [1], "datatype": "FP32", "data": [3]}]}"#;
    check_numbers(Format::V2, 1, body, &["1"], &["x0 shape 1"]);
    check_numbers(Format::V1, 1, r#"{"instances": [{"x0": 1, "x0": 3}]}"#, &["1"], &["x0 shape 1"]);
}

#[test]
fn v2_predictions() {
    let output = |name: &str, shape: &str, data: &str| {
        format!(r#"{{"name": "{name}", "shape": {shape}, "datatype": "FP64", "data": {data}}}"#)
    };
    let body = |outputs: &[String]| format!(r#"{{"model_name": "m", "outputs": [{}]}}"#, outputs.join(", "));
    let predict = output("predict", "[2, 1]", "[0, 1]");
    let proba = output("predict_proba", "[2, 3]", "[1, 2, 3, 4, 5, 6]");
    check_response(Format::V2, 1, 2, &body(std::slice::from_ref(&predict)), &["0 1"], &[]);
    check_response(Format::V2, 1, 2, &body(&[output("output-0", "[2]", "[0, 1]")]), &["0 1"], &[]);
    check_response(Format::V2, 3, 2, &body(std::slice::from_ref(&proba)), &["1 4", "2 5", "3 6"], &[]);
    // Both at once: whichever the baseline is of.
    check_response(Format::V2, 1, 2, &body(&[predict.clone(), proba.clone()]), &["0 1"], &[]);
    check_response(Format::V2, 3, 2, &body(&[predict.clone(), proba.clone()]), &["1 4", "2 5", "3 6"], &[]);
    check_response(Format::V2, 4, 2, &body(&[predict, proba]), &["0 1", "1 4", "2 5", "3 6"], &[]);
    // A vector as long as the model predicts columns is one row only if the request was one.
    let flat = [output("output-0", "[3]", "[1, 2, 3]")];
    check_response(Format::V2, 3, 1, &body(&flat), &["1", "2", "3"], &[]);
    check_response(
        Format::V2,
        3,
        3,
        &body(&flat),
        &["1 2 3", "_ _ _", "_ _ _"],
        &["y1 shape 3", "y2 shape 3"],
    );
    // By name where the baseline knows it.
    let named = [output("y1", "[1]", "[5]"), output("y0", "[1]", "[6]")];
    check_response(Format::V2, 2, 1, &body(&named), &["6", "5"], &[]);
}

#[test]
fn tensors_elsewhere_are_said_to_be() {
    let with = |parameters: &str| {
        format!(
            r#"{{"inputs": [{{"name": "x", "shape": [1], "datatype": "FP64", "parameters": {parameters}}}]}}"#
        )
    };
    check_error(Format::V2, &with(r#"{"binary_data_size": 8}"#), "truncated");
    check_error(Format::V2, &with(r#"{"shared_memory_region": "r"}"#), "shared_memory");
    check_error(Format::V2, &with("{}"), "no_data");
}

#[test]
fn what_is_no_request_is_an_error() {
    for format in [Format::V1, Format::V2] {
        check_error(format, "", "truncated");
        check_error(format, "[1, 2]", "no_rows");
        check_error(format, "{}", "no_rows");
        check_error(format, "hello", "syntax");
        check_error(format, r#"{"error": "no such model"}"#, "no_rows");
        check_error(format, r#"{"a" 1}"#, "syntax");
    }
    check_error(Format::V1, r#"{"instances": [[1, 2],]}"#, "syntax");
    check_error(Format::V1, r#"{"instances": [[1 2]]}"#, "syntax");
    check_error(Format::V1, &format!(r#"{{"instances": [{}]}}"#, "[".repeat(100_000)), "too_deep");
    check_error(Format::V1, &format!(r#"{{"a": {}"#, "[".repeat(100_000)), "too_deep");
    check_error(Format::V1, &format!(r#"{{"instances": [{}]}}"#, r#"{"a":"#.repeat(100_000)), "too_deep");
    let deep = format!(r#"{{"inputs": [{{"name": "x", "shape": [1], "data": {}"#, "[".repeat(100_000));
    check_error(Format::V2, &deep, "too_deep");
}

#[test]
fn a_short_body_cannot_ask_for_many_cells() {
    let schema = numeric_schema(1000, 1);
    let body = format!(r#"{{"instances": [{}]}}"#, vec!["[]"; 10_000].join(","));
    assert_eq!(read_request(Format::V1, &body, &schema).unwrap_err().kind(), "too_many_cells");
}

#[test]
fn an_error_leaves_no_rows_and_no_violations() {
    let schema = schema();
    let mut batch = Batch::new(&schema);
    let body = Body::new(br#"{"instances": [[1, 2, "C"], ["#);
    decode_request(Format::V1, &body, &schema, &mut batch).unwrap_err();
    assert_eq!(batch, Batch::new(&schema));
}

#[test]
fn a_role_that_is_not_watched_has_rows_and_no_contract() {
    let schema = numeric_schema(0, 0);
    let batch = read_request(Format::V1, r#"{"instances": [[1, 2], {"a": 3}, 4]}"#, &schema).unwrap();
    assert_eq!((batch.n_feature_rows, &*batch.violations, &*batch.unexpected), (3, &[][..], &[][..]));
}

/// Cells that every way of writing a table can hold.
fn cell() -> impl Strategy<Value = Option<f64>> {
    prop_oneof![
        4 => any::<f64>().prop_filter("JSON has no word for it", |value| value.is_finite()).prop_map(Some),
        2 => (-1000i32..1000).prop_map(|value| Some(value.into())),
        1 => Just(None),
    ]
}

fn table() -> impl Strategy<Value = Vec<Vec<Option<f64>>>> {
    (1usize..6, 1usize..8).prop_flat_map(|(width, n_rows)| vec(vec(cell(), width), n_rows))
}

proptest! {
    /// One table, written in every way, gives the same columns.
    #[test]
    fn every_way_of_writing_a_table_gives_the_same_columns(rows in table()) {
        let (n_rows, width) = (rows.len(), rows[0].len());
        let schema = numeric_schema(width, 1);
        let name = |at: usize| format!("x{at}");
        let column = |at: usize| rows.iter().map(|row| json!(row[at])).collect::<Vec<_>>();
        let by_name: Vec<Value> = rows
            .iter()
            .map(|row| row.iter().enumerate().rev().map(|(at, cell)| (name(at), json!(cell))).collect::<serde_json::Map<_, _>>().into())
            .collect();
        let block: Value = (0..width).map(|at| (name(at), column(at).into())).collect::<serde_json::Map<_, _>>().into();
        let flat: Vec<_> = rows.concat();
        let columns: Vec<_> = (0..width).map(|at| json!({"name": name(at), "datatype": "FP64", "shape": [n_rows, 1], "data": column(at)})).collect();
        let bodies = [
            (Format::V1, json!({"instances": rows})),
            (Format::V1, json!({"inputs": by_name})),
            (Format::V1, json!({"instances": [block]})),
            (Format::V1, json!({"inputs": block})),
            (Format::V2, json!({"inputs": [{"name": "input-0", "shape": [n_rows, width], "datatype": "FP64", "data": flat}]})),
            (Format::V2, json!({"inputs": [{"name": "input-0", "shape": [n_rows, width], "datatype": "FP64", "data": rows}]})),
            (Format::V2, json!({"inputs": columns})),
        ];
        for (format, body) in bodies {
            let batch = read_request(format, &body.to_string(), &schema).unwrap();
            prop_assert_eq!(batch.n_feature_rows, n_rows);
            prop_assert_eq!(&batch.violations, &[]);
            for at in 0..width {
                let Column::Numbers { values, n_other } = &batch.columns[at] else { panic!("numbers") };
                let expected: Vec<_> = rows.iter().map(|row| row[at].unwrap_or(f64::NAN).to_bits()).collect();
                prop_assert_eq!(values.iter().map(|value| value.to_bits()).collect::<Vec<_>>(), expected, "{}", &body);
                prop_assert_eq!(*n_other, 0);
            }
        }
    }

    /// No prefix of a body is taken for a body, and no change of a byte brings a decoder down or leaves ragged columns.
    #[test]
    fn broken_bodies_are_errors_or_whole_rows(at in 0usize..400, byte in any::<u8>(), which in 0usize..4) {
        let bodies = [
            (Format::V1, r#"{"instances": [[31, 5200.5, "A", true, "hel\"lo\u00e9"], {"age": 1, "grade": "B"}]}"#),
            (Format::V1, r#"{"specversion":"1.0","data":{"inputs": {"age": [1, NaN], "note": ["a", "-Infinity"]}}}"#),
            (Format::V2, r#"{"inputs": [{"name": "age", "shape": [2, 1], "datatype": "INT64", "data": [31, 44]}, {"name": "grade", "shape": [2], "data": ["A", null]}]}"#),
            (Format::V2, r#"{"id": "1", "inputs": [{"data": [[1, 2, "A", false, "x"]], "name": "input-0", "shape": [1, 5]}], "outputs": []}"#),
        ];
        let (format, body) = bodies[which];
        let schema = schema();
        prop_assert!(read_request(format, body, &schema).is_ok());
        let at = at % body.len();
        prop_assert!(read_request(format, &body[..at], &schema).is_err());
        let mut changed = body.as_bytes().to_vec();
        changed[at] = byte;
        let mut batch = Batch::new(&schema);
        for role in [Role::Feature, Role::Prediction] {
            let _ = match role {
                Role::Feature => decode_request(format, &Body::new(&changed), &schema, &mut batch),
                Role::Prediction => decode_response(format, &Body::new(&changed), &schema, &mut batch),
            };
            for column in &batch.columns[schema.range(role)] {
                let len = column.len();
                prop_assert_eq!(len, batch.n_rows(role));
            }
        }
    }
}
