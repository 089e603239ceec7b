//! Wire formats: bytes in, columns out. Sans-I/O, no panic, no allocation that the input's length does not bound.

pub mod batch;
mod body;
mod columns;
mod encoding;
mod error;
mod event;
mod examples;
mod generate;
mod grpc;
mod json;
mod mlflow;
mod openai;
pub mod pointers;
mod protobuf;
pub mod route;
mod row;
mod stream;
mod tensor;
mod tf_grpc;
mod torchserve;
mod v1;
mod v2;
mod v2_grpc;
pub mod value;

#[cfg(test)]
mod tests;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
pub use batch::{Batch, Column, Found, Violation, ViolationReason};
pub use body::{Body, BodyHeaders};
use columns::Columns;
pub use encoding::decode_content;
pub use error::DecodeError;
pub use route::{Format, Route};

use crate::baseline::{Categories, ColumnKind, ColumnSpec, Measure, Role, Schema, VectorColumn};

/// The model and version that a request names, where its path does not.
pub fn names_in(format: Format, request: &Body<'_>) -> Option<(Box<str>, Option<Box<str>>)> {
    match format {
        Format::V2Grpc => v2_grpc::names(request),
        Format::TfGrpc | Format::TfExamplesGrpc => tf_grpc::names(request),
        Format::OpenAi => opened(request, |request| Some((openai::model(request)?, None))),
        Format::V1
        | Format::V2
        | Format::Generate
        | Format::TfExamples
        | Format::TorchServe
        | Format::Mlflow
        | Format::Row => None,
    }
}

/// Reads the features of a request into `batch`, whose columns are those of `schema`.
///
/// # Errors
/// [`DecodeError`] if the body is not what its format says; the batch then has no feature rows.
pub fn decode_request(
    format: Format,
    body: &Body<'_>,
    schema: &Schema,
    batch: &mut Batch,
) -> Result<(), DecodeError> {
    let read = match format {
        Format::V1 => v1::request,
        Format::V2 => v2::request,
        Format::V2Grpc => v2_grpc::request,
        Format::Generate => generate::request,
        Format::TfGrpc => tf_grpc::request,
        Format::TfExamples => examples::request,
        Format::TfExamplesGrpc => examples::grpc_request,
        Format::TorchServe => torchserve::request,
        Format::Mlflow => mlflow::request,
        Format::OpenAi => openai::request,
        Format::Row => row::row,
    };
    opened(body, |body| {
        decode(Columns::new(schema, Role::Feature, batch, body.bytes.len()), |columns| read(body, columns))
    })
}

/// Reads the predictions of a response into `batch`, which already holds the features of its request: how many rows
/// they are tells a vector of predictions from a row of probabilities.
///
/// # Errors
/// [`DecodeError`] if the body is not what its format says; the batch then has no prediction rows.
pub fn decode_response(
    format: Format,
    body: &Body<'_>,
    schema: &Schema,
    batch: &mut Batch,
) -> Result<(), DecodeError> {
    let read = match format {
        Format::V1 | Format::Mlflow => v1::response,
        Format::V2 => v2::response,
        Format::V2Grpc => v2_grpc::response,
        Format::Generate => generate::response,
        Format::TfGrpc => tf_grpc::response,
        Format::TfExamples => examples::response,
        Format::TfExamplesGrpc => examples::grpc_response,
        Format::TorchServe => torchserve::response,
        Format::OpenAi => openai::response,
        Format::Row => row::row,
    };
    opened(body, |body| {
        decode(Columns::new(schema, Role::Prediction, batch, body.bytes.len()), |columns| read(body, columns))
    })
}

/// Reads a body, or, where that is an event, what is inside of it.
fn opened<T>(body: &Body<'_>, read: impl FnOnce(&Body<'_>) -> T) -> T {
    match event::Data::of(body) {
        Some(data) => read(&data.body(body)),
        None => read(body),
    }
}

fn decode(
    mut columns: Columns<'_>,
    read: impl FnOnce(&mut Columns<'_>) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    let result = read(&mut columns);
    if result.is_err() {
        columns.clear(); // half a body is no rows
    }
    columns.finish();
    result
}

/// Reads bytes by every decoder there is, with every set of headers that makes one read them another way: what fuzzing and the tests of
/// its corpus do.
///
/// # Panics
/// If a decoder leaves columns of different lengths; that none panics by itself is what is tried.
#[doc(hidden)]
pub fn try_everything(bytes: &[u8]) {
    let vector =
        |measure| ColumnKind::Vector(VectorColumn { vector: "embedding".into(), dimension: 2, measure });
    let distance = || vector(Measure::Distance { centroid: [1.0, -1.0].into() });
    let schema = Schema::new(
        [
            ("x0", Role::Feature, ColumnKind::Number),
            ("x1", Role::Feature, ColumnKind::Category(Categories::new(["a", "1"]))),
            ("x2", Role::Feature, ColumnKind::Boolean),
            ("embedding.norm", Role::Feature, vector(Measure::Norm)),
            ("embedding.distance", Role::Feature, distance()),
            ("prompt_characters", Role::Feature, ColumnKind::Number),
            ("y0", Role::Prediction, ColumnKind::Number),
            ("finish_reason", Role::Prediction, ColumnKind::Text),
            ("embedding.distance", Role::Prediction, distance()),
            ("y2", Role::Prediction, ColumnKind::Untyped),
        ]
        .map(|(name, role, kind)| ColumnSpec { name: name.into(), role, kind }),
    );
    let mut batch = Batch::new(&schema);
    batch.found = Some(Found::default());
    for encoding in ["gzip", "deflate", "zstd"] {
        let _ = decode_content(Some(encoding), bytes, 1 << 16);
    }
    let plain = Body::new(bytes);
    let event = format!(r#"{{"specversion": "1.0", "data_base64": "{}"}}"#, BASE64_STANDARD.encode(bytes));
    let bodies = [
        plain,
        Body {
            media_type: Some("text/csv"),
            compression: Some("gzip"),
            json_len: Some(bytes.len() / 2),
            ..plain
        },
        Body { media_type: Some("text/event-stream"), ..plain },
        Body { media_type: Some("application/grpc"), ..plain },
        Body { json_len: Some(0), ..plain },
        Body::new(event.as_bytes()),
    ];
    for body in &bodies {
        let _ = Format::of_body(body);
        for format in Format::ALL {
            batch.clear();
            let _ = names_in(format, body);
            let _ = decode_request(format, body, &schema, &mut batch);
            let _ = decode_response(format, body, &schema, &mut batch);
            for (spec, column) in schema.columns().iter().zip(&batch.columns) {
                let n_values = column.len();
                assert_eq!(n_values, batch.n_rows(spec.role), "{format:?} {}", spec.name);
            }
        }
    }
}
