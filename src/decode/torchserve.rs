//! TorchServe's `POST /predictions/{model}`: what a handler takes is its own affair, so whatever is JSON is read as rows, be it
//! in one of KServe's envelopes or bare, and the rest is counted as an image or as opaque.

use super::columns::Columns;
use super::json::{Kind, Scanner};
use super::{Body, DecodeError, v1, v2};
use crate::baseline::Role;

/// Reads a request.
pub(super) fn request(body: &Body<'_>, columns: &mut Columns<'_>) -> Result<(), DecodeError> {
    read(body, columns)
}

/// Reads a response.
pub(super) fn response(body: &Body<'_>, columns: &mut Columns<'_>) -> Result<(), DecodeError> {
    read(body, columns)
}

fn read(body: &Body<'_>, columns: &mut Columns<'_>) -> Result<(), DecodeError> {
    if body.is_image() {
        return Err(DecodeError::at("image", 0));
    }
    let mut scanner = Scanner::new(body.bytes);
    if body.is_of_type("multipart/form-data") || scanner.kind().is_err() {
        return Err(DecodeError::at("opaque", 0));
    }
    match scanner.kind()? {
        Kind::Object => match envelope(scanner)? {
            Envelope::V1 if columns.role() == Role::Feature => v1::request(body, columns),
            Envelope::V1 => v1::response(body, columns),
            Envelope::V2 if columns.role() == Role::Feature => v2::request(body, columns),
            Envelope::V2 => v2::response(body, columns),
            Envelope::None => v1::row(&mut scanner, columns),
        },
        Kind::Array if is_one_row(scanner, columns)? => v1::row(&mut scanner, columns),
        _ => v1::rows(&mut scanner, columns),
    }
}

#[derive(Clone, Copy)]
enum Envelope {
    None,
    V1,
    V2,
}

fn envelope(mut scanner: Scanner<'_>) -> Result<Envelope, DecodeError> {
    let mut found = Envelope::None;
    scanner.object(|scanner, key| {
        if matches!(&*key, "instances" | "predictions" | "inputs" | "outputs") {
            found = if is_tensors(*scanner)? { Envelope::V2 } else { Envelope::V1 };
        }
        scanner.skip().map(drop)
    })?;
    Ok(found)
}

/// A list of objects that say their data type.
fn is_tensors(mut scanner: Scanner<'_>) -> Result<bool, DecodeError> {
    let mut is_it = false;
    if scanner.kind()? == Kind::Array {
        scanner.array(|scanner| {
            if scanner.kind()? != Kind::Object {
                return scanner.skip().map(drop);
            }
            scanner.object(|scanner, key| {
                is_it |= key == "datatype";
                scanner.skip().map(drop)
            })
        })?;
    }
    Ok(is_it)
}

/// Values, not rows, and as many as the model has columns.
fn is_one_row(mut scanner: Scanner<'_>, columns: &Columns<'_>) -> Result<bool, DecodeError> {
    let (mut n_values, mut has_rows) = (0, false);
    scanner.array(|scanner| {
        n_values += 1;
        has_rows |= matches!(scanner.kind()?, Kind::Array | Kind::Object);
        scanner.skip().map(drop)
    })?;
    let answers_each = columns.role() == Role::Prediction && n_values == columns.n_feature_rows();
    Ok(!has_rows && n_values > 1 && n_values == columns.width() && !answers_each)
}
