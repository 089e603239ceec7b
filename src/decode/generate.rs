//! Triton's generate extension: `POST /v2/models/{model}/generate` and `/generate_stream`. A request is an object with the model's inputs by
//! name, an answer one with its outputs; a stream has many answers to one request, which are one row: texts are what all of
//! them say together, anything else is what the last one says.
//!
//! `MLServer` has the same paths for messages of its own protocol, which are read as such.

use std::ops::Range;

use super::columns::Columns;
use super::json::{Kind, Scanner};
use super::{Body, DecodeError, ViolationReason, stream, v2};

/// Reads a request. A name that is no feature of ours may be a parameter of the server's, so it is nothing unexpected.
pub(super) fn request(body: &Body<'_>, columns: &mut Columns<'_>) -> Result<(), DecodeError> {
    if has_list(body, "inputs") { v2::request(body, columns) } else { read(body, columns) }
}

/// Reads a response, in one piece or streamed.
pub(super) fn response(body: &Body<'_>, columns: &mut Columns<'_>) -> Result<(), DecodeError> {
    let first = stream::events(body).next().filter(|_| stream::is_stream(body));
    let first = first.map_or(*body, |data| Body { bytes: &body.bytes[data], ..*body });
    if has_list(&first, "outputs") { v2::response(body, columns) } else { read(body, columns) }
}

/// What is known of one column.
enum Found {
    /// Of a text, and of those that continue it.
    Characters(usize),
    /// Where the last value stands.
    Value(Range<usize>),
}

fn read(body: &Body<'_>, columns: &mut Columns<'_>) -> Result<(), DecodeError> {
    let scanner = Scanner::new(body.bytes);
    let mut found: Vec<(usize, Found)> = Vec::new();
    let mut read_object = |mut scanner: Scanner<'_>| {
        if scanner.kind()? != Kind::Object {
            return Err(scanner.error("no_rows"));
        }
        scanner.object(|scanner, key| {
            let Some(column) = columns.find(&key) else { return scanner.skip().map(drop) };
            let value = if columns.is_text(column) && scanner.kind()? == Kind::Text {
                Found::Characters(scanner.text()?.chars().count())
            } else {
                Found::Value(scanner.skip()?)
            };
            match (found.iter_mut().find(|(known, _)| *known == column), value) {
                (Some((_, Found::Characters(n))), Found::Characters(more)) => *n += more,
                (Some((_, found)), value) => *found = value,
                (None, value) => found.push((column, value)),
            }
            Ok(())
        })
    };
    if stream::is_stream(body) {
        stream::events(body).try_for_each(|data| read_object(scanner.within(&data)))?;
    } else {
        read_object(scanner)?;
    }
    if found.is_empty() && columns.width() > 0 {
        return Err(scanner.error("no_rows"));
    }
    for (column, found) in found {
        match found {
            Found::Characters(n) => columns.length(column, n),
            Found::Value(text) => columns.read(column, &mut scanner.within(&text))?,
        }
    }
    columns.end_rows(1, ViolationReason::MissingFeature, &scanner)
}

fn has_list(body: &Body<'_>, name: &str) -> bool {
    let mut has_it = false;
    // Cut off or not: whoever reads it next will say so.
    let _ = Scanner::new(body.bytes).object(|scanner, key| {
        has_it |= key == name && scanner.kind()? == Kind::Array;
        scanner.skip().map(drop)
    });
    has_it
}
