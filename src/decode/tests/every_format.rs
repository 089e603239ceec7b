//! One table of numbers through every format, and every format through noise.

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::json;

use super::{column, numeric_schema, table};
use crate::baseline::{ColumnKind, Role, Schema};
use crate::decode::{Batch, Body, Column, Format, decode_request, decode_response, names_in};

/// Protocol Buffers, written.
#[derive(Default)]
pub(super) struct Writer(pub(super) Vec<u8>);

impl Writer {
    pub(super) fn varint(mut self, mut value: u64) -> Self {
        while value >= 0x80 {
            self.0.push(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.0.push(value.to_le_bytes()[0]);
        self
    }

    fn number(self, field: u64, value: u64) -> Self {
        self.varint(field << 3).varint(value)
    }

    pub(super) fn bytes(self, field: u64, bytes: &[u8]) -> Self {
        let mut with_head = self.varint(field << 3 | 2).varint(bytes.len() as u64);
        with_head.0.extend_from_slice(bytes);
        with_head
    }

    pub(super) fn message(self, field: u64, Self(message): Self) -> Self {
        self.bytes(field, &message)
    }

    pub(super) fn packed(self, field: u64, numbers: impl IntoIterator<Item = u64>) -> Self {
        let packed = numbers.into_iter().fold(Self::default(), Self::varint);
        self.message(field, packed)
    }

    /// In one frame of gRPC.
    pub(super) fn framed(self) -> Vec<u8> {
        framed(0, &self.0)
    }
}

fn framed(flag: u8, message: &[u8]) -> Vec<u8> {
    [&[flag], &u32::try_from(message.len()).unwrap().to_be_bytes()[..], message].concat()
}

fn of_doubles(values: impl IntoIterator<Item = f64>) -> Vec<u8> {
    values.into_iter().flat_map(f64::to_le_bytes).collect()
}

/// How the contents of a gRPC tensor travel.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Contents {
    Typed,
    Raw,
}

pub(super) fn v2_grpc(tensors: &[(String, [usize; 2], Vec<f64>)], how: Contents) -> Vec<u8> {
    let mut request = Writer::default().bytes(1, b"credit").bytes(2, b"3").bytes(3, b"an id");
    for (name, shape, values) in tensors {
        let tensor = Writer::default()
            .bytes(1, name.as_bytes())
            .bytes(2, b"FP64")
            .packed(3, shape.iter().map(|size| *size as u64));
        let contents = Writer::default().bytes(7, &of_doubles(values.iter().copied()));
        request =
            request.message(5, if how == Contents::Typed { tensor.message(5, contents) } else { tensor });
    }
    if how == Contents::Raw {
        for (_, _, values) in tensors {
            request = request.bytes(7, &of_doubles(values.iter().copied()));
        }
    }
    request.framed()
}

pub(super) fn tf_grpc(tensors: &[(String, [usize; 2], Vec<f64>)], how: Contents) -> Vec<u8> {
    let version = Writer::default().number(1, 3);
    let spec = Writer::default().bytes(1, b"credit").message(2, version);
    let mut request = Writer::default().message(1, spec);
    for (name, shape, values) in tensors {
        let sizes = shape.iter().fold(Writer::default(), |shape, size| {
            shape.message(2, Writer::default().number(1, *size as u64))
        });
        let field = if how == Contents::Typed { 6 } else { 4 };
        let tensor = Writer::default()
            .number(1, 2)
            .message(2, sizes)
            .bytes(field, &of_doubles(values.iter().copied()));
        request = request.message(2, Writer::default().bytes(1, name.as_bytes()).message(2, tensor));
    }
    request.framed()
}

/// V2 with its tensors behind the JSON, and where that ends.
pub(super) fn v2_binary(tensors: &[(String, [usize; 2], Vec<f64>)]) -> (Vec<u8>, usize) {
    let heads: Vec<_> = tensors
        .iter()
        .map(|(name, shape, values)| {
            json!({"name": name, "shape": shape, "datatype": "FP64", "parameters": {"binary_data_size": 8 * values.len()}})
        })
        .collect();
    let mut body = json!({"inputs": heads}).to_string().into_bytes();
    let json_len = body.len();
    body.extend(tensors.iter().flat_map(|(_, _, values)| of_doubles(values.iter().copied())));
    (body, json_len)
}

fn csv(rows: &[Vec<Option<f64>>]) -> String {
    let header = (0..rows[0].len()).map(|at| format!("x{at}")).collect::<Vec<_>>().join(",");
    // A lone missing cell would be an empty line, which is no row.
    let missing = if rows[0].len() == 1 { "\"\"" } else { "" };
    let cell = |cell: &Option<f64>| cell.map_or(missing.to_owned(), |number| format!("{number:e}"));
    let line = |row: &Vec<Option<f64>>| row.iter().map(cell).collect::<Vec<_>>().join(",");
    let lines: Vec<_> = rows.iter().map(line).collect();
    format!("{header}\n{}\r\n", lines.join("\r\n"))
}

#[track_caller]
fn check(format: Format, body: &Body<'_>, rows: &[Vec<Option<f64>>]) -> Result<(), TestCaseError> {
    let schema = numeric_schema(rows[0].len(), 1);
    let mut batch = Batch::new(&schema);
    decode_request(format, body, &schema, &mut batch).unwrap_or_else(|error| panic!("{format:?}: {error}"));
    prop_assert_eq!(batch.n_feature_rows, rows.len(), "{:?}", format);
    prop_assert_eq!(&batch.violations, &[], "{:?}", format);
    for at in 0..rows[0].len() {
        let Column::Numbers { values, n_other } = &batch.columns[at] else { panic!("numbers") };
        let expected: Vec<_> = rows.iter().map(|row| row[at].unwrap_or(f64::NAN).to_bits()).collect();
        let values: Vec<_> = values.iter().map(|value| value.to_bits()).collect();
        prop_assert_eq!(values, expected, "{:?}", format);
        prop_assert_eq!(*n_other, 0);
    }
    Ok(())
}

proptest! {
    /// The same rows through any format give the same columns.
    #[test]
    fn one_table_is_the_same_in_every_format(rows in table()) {
        let (n_rows, width) = (rows.len(), rows[0].len());
        let number = |cell: &Option<f64>| cell.unwrap_or(f64::NAN);
        let columns: Vec<_> = (0..width)
            .map(|at| (format!("x{at}"), [n_rows, 1], rows.iter().map(|row| number(&row[at])).collect()))
            .collect();
        let matrix = [("input-0".to_owned(), [n_rows, width], rows.iter().flatten().map(number).collect::<Vec<_>>())];
        for tensors in [&columns[..], &matrix[..]] {
            for how in [Contents::Typed, Contents::Raw] {
                check(Format::V2Grpc, &Body::new(&v2_grpc(tensors, how)), &rows)?;
                check(Format::TfGrpc, &Body::new(&tf_grpc(tensors, how)), &rows)?;
            }
            let (body, json_len) = v2_binary(tensors);
            // With the header, and where KServe's logger has lost it.
            for json_len in [Some(json_len), None] {
                check(Format::V2, &Body { json_len, ..Body::new(&body) }, &rows)?;
            }
        }
        let names: Vec<_> = (0..width).map(|at| format!("x{at}")).collect();
        let object = |row: &Vec<Option<f64>>| names.iter().cloned().zip(row.iter().map(|cell| json!(cell))).collect::<serde_json::Map<_, _>>();
        let records: Vec<_> = rows.iter().map(object).collect();
        let split = json!({"dataframe_split": {"data": rows, "index": [0], "columns": names}});
        for body in [split, json!({"dataframe_records": records}), json!({"instances": rows}), json!({"inputs": records, "params": {"a": 1}})] {
            check(Format::Mlflow, &Body::new(body.to_string().as_bytes()), &rows)?;
        }
        let csv = csv(&rows);
        check(Format::Mlflow, &Body { media_type: Some("text/csv; charset=utf-8"), ..Body::new(csv.as_bytes()) }, &rows)?;
        for body in [json!(rows), json!({"instances": rows}), json!(records), json!({"inputs": [{"name": "x", "datatype": "FP64", "shape": [n_rows, width], "data": rows}]})] {
            check(Format::TorchServe, &Body::new(body.to_string().as_bytes()), &rows)?;
        }
    }

    /// FP32 tensors hold the same decimals as the table they are made of.
    #[test]
    fn single_precision_is_no_drift(cents in vec(-999_999i32..999_999, 1..20)) {
        let rows: Vec<_> = cents.iter().map(|cents| vec![Some(f64::from(*cents) / 100.0)]).collect();
        #[expect(clippy::cast_possible_truncation, reason = "the loss is what is tested")]
        let singles: Vec<f32> = rows.iter().map(|row| row[0].unwrap() as f32).collect();
        let raw: Vec<u8> = singles.iter().flat_map(|single| single.to_le_bytes()).collect();
        let shape = [rows.len()];
        let head = json!({"inputs": [{"name": "x0", "shape": shape, "datatype": "FP32", "parameters": {"binary_data_size": raw.len()}}]});
        let body = [head.to_string().as_bytes(), &raw].concat();
        check(Format::V2, &Body::new(&body), &rows)?;
        // As Python writes an array of them.
        let widened: Vec<f64> = singles.iter().map(|single| f64::from(*single)).collect();
        check(Format::V1, &Body::new(json!({"instances": widened}).to_string().as_bytes()), &rows)?;
    }

    /// Whatever bytes come, decoders answer, and leave columns of one length.
    #[test]
    fn noise_is_an_error_or_whole_rows(
        which in 0usize..10,
        cut in 0usize..500,
        changes in vec((0usize..500, any::<u8>()), 0..4),
        json_len in proptest::option::of(0usize..300),
        media_type in prop_oneof![Just(None), Just(Some("text/csv")), Just(Some("multipart/form-data"))],
    ) {
        let tensors = [("x0".to_owned(), [2, 1], vec![1.0, 2.0]), ("x1".to_owned(), [2, 1], vec![3.0, f64::NAN])];
        let mut bytes = match which {
            0 => v2_grpc(&tensors, Contents::Typed),
            1 => v2_grpc(&tensors, Contents::Raw),
            2 => tf_grpc(&tensors, Contents::Typed),
            3 => tf_grpc(&tensors, Contents::Raw),
            4 => v2_binary(&tensors).0,
            5 => br#"{"model": "m", "messages": [{"content": [{"text": "ab"}]}], "choices": [{"delta": {"content": "a"}}]}"#.to_vec(),
            6 => b"data: {\"choices\": [{\"text\": \"a\"}]}\n\ndata: {\"data\": [{\"embedding\": \"AADAPw==\"}]}\n\n".to_vec(),
            7 => br#"{"examples": [{"x0": [1], "x1": 2}], "result": [[["y0", 1]], 2], "text_input": "a"}"#.to_vec(),
            8 => br#"{"specversion": "1.0", "data": {"instances": [[1, [2]]], "predictions": [1]}}"#.to_vec(),
            _ => json!({"dataframe_split": {"columns": ["x0", 1], "data": [[1, 2], [3]]}}).to_string().into_bytes(),
        };
        for (at, byte) in changes {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        bytes.truncate(cut.max(1));
        let body = Body { json_len, media_type, ..Body::new(&bytes) };
        let schema = numeric_schema(2, 1);
        let mut batch = Batch::new(&schema);
        crate::decode::try_everything(&bytes); // over columns of every kind
        for format in Format::ALL {
            let _ = names_in(format, &body);
            let _ = decode_request(format, &body, &schema, &mut batch);
            let _ = decode_response(format, &body, &schema, &mut batch);
            for (idx, column) in batch.columns.iter().enumerate() {
                let len = column.len();
                prop_assert_eq!(len, batch.n_rows(if idx < 2 { Role::Feature } else { Role::Prediction }));
            }
        }
    }
}

fn read(format: Format, body: &Body<'_>, schema: &Schema) -> Result<Batch, crate::decode::DecodeError> {
    let mut batch = Batch::new(schema);
    decode_request(format, body, schema, &mut batch).map(|()| batch)
}

#[test]
fn grpc_requests_name_their_model() {
    let tensors = [("x0".to_owned(), [1, 1], vec![1.0])];
    for (format, body) in [
        (Format::V2Grpc, v2_grpc(&tensors, Contents::Raw)),
        (Format::TfGrpc, tf_grpc(&tensors, Contents::Typed)),
    ] {
        let (model, version) = names_in(format, &Body::new(&body)).unwrap();
        assert_eq!((&*model, version.as_deref()), ("credit", Some("3")));
    }
    assert_eq!(names_in(Format::V2Grpc, &Body::new(b"\0\0\0\0\x05ab")), None);
}

#[test]
fn streamed_messages_are_rows_one_after_another() {
    let message = |value| v2_grpc(&[("x0".to_owned(), [1, 1], vec![value])], Contents::Typed);
    let stream = [message(1.0), message(2.0), message(3.0)].concat();
    let batch = read(Format::V2Grpc, &Body::new(&stream), &numeric_schema(1, 1)).unwrap();
    assert_eq!(batch.columns[0], Column::Numbers { values: vec![1.0, 2.0, 3.0], n_other: 0 });
}

#[test]
fn tritons_streamed_responses_are_unwrapped() {
    let shape = Writer::default().bytes(1, b"y0").bytes(2, b"FP64").packed(3, [1]);
    let response =
        || Writer::default().bytes(1, b"m").message(5, Writer(shape.0.clone())).bytes(6, &of_doubles([7.0]));
    let schema = numeric_schema(0, 1);
    for body in [response().framed(), Writer::default().message(2, response()).framed()] {
        let mut batch = Batch::new(&schema);
        decode_response(Format::V2Grpc, &Body::new(&body), &schema, &mut batch).unwrap();
        assert_eq!(batch.columns[0], Column::Numbers { values: vec![7.0], n_other: 0 });
    }
}

#[test]
fn compressed_messages_are_read_within_their_bound() {
    use std::io::Write;
    let plain = &v2_grpc(&[("x0".to_owned(), [1, 1], vec![5.0])], Contents::Raw)[5..];
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(plain).unwrap();
    let bytes = framed(1, &encoder.finish().unwrap());
    let body = Body { compression: Some("gzip"), ..Body::new(&bytes) };
    let schema = numeric_schema(1, 1);
    let batch = read(Format::V2Grpc, &body, &schema).unwrap();
    assert_eq!(batch.columns[0], Column::Numbers { values: vec![5.0], n_other: 0 });
    let bounded = Body { max_inflated: plain.len() - 1, ..body };
    assert_eq!(read(Format::V2Grpc, &bounded, &schema).unwrap_err().kind(), "too_long");
    assert_eq!(read(Format::V2Grpc, &Body::new(&framed(2, plain)), &schema).unwrap_err().kind(), "framing");
}

#[test]
fn text_and_booleans_travel_as_themselves() {
    let schema = Schema::new([
        column(
            "grade",
            Role::Feature,
            ColumnKind::Category(crate::baseline::Categories::new(["RL", "CollgCr"])),
        ),
        column("sold", Role::Feature, ColumnKind::Boolean),
        column(
            "is_new",
            Role::Feature,
            ColumnKind::Category(crate::baseline::Categories::new(["false", "true"])),
        ),
        column("price", Role::Feature, ColumnKind::Number),
    ]);
    let texts = [&[2, 0, 0, 0][..], b"RL", &[7, 0, 0, 0], b"CollgCr", &[0, 0, 0, 0]].concat();
    let head = json!({"inputs": [
        {"name": "grade", "shape": [3, 1], "datatype": "BYTES", "parameters": {"binary_data_size": texts.len()}},
        {"name": "price", "shape": [3], "datatype": "FP64", "data": [1.5, null, 2.5]},
        {"name": "sold", "shape": [3], "datatype": "BOOL", "parameters": {"binary_data_size": 3}},
        {"name": "is_new", "shape": [3], "datatype": "BOOL", "parameters": {"binary_data_size": 3}},
    ]});
    let body = [head.to_string().as_bytes(), &texts, &[1, 0, 1], &[0, 1, 1]].concat();
    let batch = read(Format::V2, &Body::new(&body), &schema).unwrap();
    assert_eq!(batch.columns[0], Column::Codes(vec![0, 1, 3]), "the empty text is no category");
    assert_eq!(batch.columns[1], Column::Codes(vec![1, 0, 1]));
    assert_eq!(batch.columns[2], Column::Codes(vec![0, 1, 1]));
    let Column::Numbers { values, .. } = &batch.columns[3] else { panic!("numbers") };
    assert_eq!(format!("{values:?}"), "[1.5, NaN, 2.5]");
}

#[test]
fn what_cannot_be_read_says_so() {
    let schema = numeric_schema(1, 1);
    let kind = |format, body: &Body<'_>| read(format, body, &schema).unwrap_err().kind();
    assert_eq!(kind(Format::V2, &Body { json_len: Some(0), ..Body::new(b"\0\0\x80") }), "raw_tensor");
    assert_eq!(kind(Format::V2, &Body { json_len: Some(999), ..Body::new(b"{}") }), "truncated");
    let long = br#"{"inputs":[{"name":"x0","shape":[1],"datatype":"FP64","data":[1]}]}12345678"#;
    assert_eq!(kind(Format::V2, &Body::new(long)), "binary_size");
    let form = Body { media_type: Some("multipart/form-data; boundary=x"), ..Body::new(b"{}") };
    assert_eq!(kind(Format::TorchServe, &form), "opaque");
    let parquet = Body { media_type: Some("application/vnd.apache.parquet"), ..Body::new(b"PAR1") };
    assert_eq!(kind(Format::Mlflow, &parquet), "opaque");
    assert_eq!(kind(Format::Mlflow, &Body::new(br#"{"messages": []}"#)), "no_rows");
    let region = Writer::default().bytes(1, b"shared_memory_region").bytes(2, b"");
    let tensor = Writer::default().bytes(1, b"x0").message(4, region);
    assert_eq!(
        kind(Format::V2Grpc, &Body::new(&Writer::default().message(5, tensor).framed())),
        "shared_memory"
    );
}

#[test]
fn torchserve_answers_as_handlers_please() {
    let schema = numeric_schema(1, 2);
    for (body, n_rows, expected) in [
        ("[0.2, 0.8]", 1, [vec![0.2], vec![0.8]]),
        ("[[0.2, 0.8], [0.4, 0.6]]", 2, [vec![0.2, 0.4], vec![0.8, 0.6]]),
        (r#"{"tabby": 0.2, "tiger": 0.8}"#, 1, [vec![0.2], vec![0.8]]),
        (r#"{"predictions": [[0.2, 0.8]]}"#, 1, [vec![0.2], vec![0.8]]),
    ] {
        let mut batch = Batch::new(&schema);
        batch.n_feature_rows = n_rows;
        decode_response(Format::TorchServe, &Body::new(body.as_bytes()), &schema, &mut batch).unwrap();
        for (column, expected) in batch.columns[1..].iter().zip(expected) {
            assert_eq!(*column, Column::Numbers { values: expected, n_other: 0 }, "{body}");
        }
    }
}
