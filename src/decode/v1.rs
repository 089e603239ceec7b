//! KServe V1, and the TF Serving REST API that it comes from: rows under `instances` or `inputs`, predictions under
//! `predictions` or `outputs`.
//!
//! A row is an array by position, an object by name, or a lone value. An object whose values are arrays of one length is
//! a block of columns instead, as KServe's own scikit-learn server reads it (`pandas.DataFrame(instance)`).

use super::columns::Columns;
use super::json::{Kind, MAX_DEPTH, Scanner};
use super::{Body, DecodeError, ViolationReason};
use crate::baseline::Role;

/// Reads a request; where both keys are there, KServe looks at `inputs`.
pub(super) fn request(body: &Body<'_>, columns: &mut Columns<'_>) -> Result<(), DecodeError> {
    payload(Scanner::new(body.bytes), &["inputs", "instances"], columns)
}

/// Reads a response; KServe's batcher puts keys of its own beside `predictions`.
pub(super) fn response(body: &Body<'_>, columns: &mut Columns<'_>) -> Result<(), DecodeError> {
    payload(Scanner::new(body.bytes), &["predictions", "outputs"], columns)
}

/// Rows under the first of `keys` that is there.
pub(super) fn payload(
    mut scanner: Scanner<'_>,
    keys: &[&str],
    columns: &mut Columns<'_>,
) -> Result<(), DecodeError> {
    if scanner.kind()? != Kind::Object {
        return Err(scanner.error("no_rows"));
    }
    let mut found = None;
    scanner.object(|scanner, key| {
        let rank = keys.iter().position(|known| *known == key);
        if rank.is_some() && found.is_none_or(|found| rank <= Some(found)) {
            found = rank;
            columns.clear();
            return rows(scanner, columns);
        }
        scanner.skip().map(drop)
    })?;
    if found.is_some() { Ok(()) } else { Err(scanner.error("no_rows")) }
}

/// Rows, one after another.
pub(super) fn rows(scanner: &mut Scanner<'_>, columns: &mut Columns<'_>) -> Result<(), DecodeError> {
    match scanner.kind()? {
        Kind::Array => scanner.array(|scanner| row(scanner, columns)),
        // TF Serving: columns by name under `inputs` and `outputs`, or one bare value.
        _ => row(scanner, columns),
    }
}

/// One row, by position, by name, or a block of columns.
#[inline]
pub(super) fn row(scanner: &mut Scanner<'_>, columns: &mut Columns<'_>) -> Result<(), DecodeError> {
    match scanner.kind()? {
        Kind::Array => array(scanner, columns),
        Kind::Object if !is_binary(*scanner) || columns.find("b64").is_some() => object(scanner, columns),
        Kind::Object | Kind::Text | Kind::Number | Kind::Bool | Kind::Null => {
            columns.read(0, scanner)?;
            columns.end_rows(1, ViolationReason::Shape, scanner)
        }
    }
}

/// Whether an object is a binary value and no row: `{"b64": "…"}`.
fn is_binary(mut scanner: Scanner<'_>) -> bool {
    scanner.expect(b'{').and_then(|()| scanner.key()).is_ok_and(|key| key == "b64")
}

/// One row by position, or objects once more: KServe makes a table of each of those.
#[inline]
fn array(scanner: &mut Scanner<'_>, columns: &mut Columns<'_>) -> Result<(), DecodeError> {
    let mut inside = *scanner;
    inside.expect(b'[')?;
    if inside.peek()? == b'{' && !is_binary(inside) {
        return scanner.array(|scanner| {
            if scanner.kind()? == Kind::Object {
                return object(scanner, columns);
            }
            columns.violate(None, ViolationReason::Shape, 1);
            scanner.skip().map(drop)
        });
    }
    let is_too_wide = if columns.has_vectors() {
        columns.read_row(scanner)?
    } else {
        values(scanner, columns, 0, 0)? > columns.width()
    };
    if is_too_wide {
        columns.violate(None, ViolationReason::Shape, 1);
    }
    columns.end_rows(1, ViolationReason::Shape, scanner)
}

/// The values of one row, in row-major order where they are nested, from column `column` on. Returns where they end.
#[inline]
fn values(
    scanner: &mut Scanner<'_>,
    columns: &mut Columns<'_>,
    mut column: usize,
    depth: u32,
) -> Result<usize, DecodeError> {
    scanner.array(|scanner| {
        if scanner.peek()? == b'[' {
            column = nested_values(scanner, columns, column, depth + 1)?;
        } else {
            columns.read(column, scanner)?;
            column += 1;
        }
        Ok(())
    })?;
    Ok(column)
}

fn nested_values(
    scanner: &mut Scanner<'_>,
    columns: &mut Columns<'_>,
    column: usize,
    depth: u32,
) -> Result<usize, DecodeError> {
    if depth > MAX_DEPTH { Err(scanner.error("too_deep")) } else { values(scanner, columns, column, depth) }
}

fn object(scanner: &mut Scanner<'_>, columns: &mut Columns<'_>) -> Result<(), DecodeError> {
    // Servers name predictions as they like: names that are none of ours stand for the columns in their order.
    let by_position = columns.role() == Role::Prediction && !knows_any(*scanner, columns)?;
    let n_rows = block_len(*scanner, columns, by_position)?;
    let mut n_keys = 0;
    scanner.object(|scanner, key| {
        let column = if by_position { Some(columns.nth(n_keys)) } else { columns.find_nth(n_keys, &key) };
        n_keys += 1;
        let Some(column) = column else {
            columns.unexpected(&key, n_rows.unwrap_or(1) as u64);
            return scanner.skip().map(drop);
        };
        if columns.is_begun(column) {
            columns.violate(Some(column), ViolationReason::Shape, 1); // the key is there twice
            return scanner.skip().map(drop);
        }
        match n_rows {
            Some(_) => scanner.array(|scanner| columns.read(column, scanner)),
            None => columns.read(column, scanner),
        }
    })?;
    if by_position && n_keys > columns.n_values() {
        columns.violate(None, ViolationReason::Shape, n_rows.unwrap_or(1) as u64);
    }
    columns.end_rows(n_rows.unwrap_or(1), ViolationReason::MissingFeature, scanner)
}

/// The length of every value of an object, if all are arrays of one length. A vector is an array and no block.
fn block_len(
    mut scanner: Scanner<'_>,
    columns: &Columns<'_>,
    by_position: bool,
) -> Result<Option<usize>, DecodeError> {
    scanner.expect(b'{')?;
    let (mut len, mut n_keys) = (None, 0);
    while scanner.more(len.is_none(), b'}')? {
        let key = scanner.key()?;
        if scanner.kind()? != Kind::Array {
            return Ok(None);
        }
        if columns.has_vectors() {
            let column = if by_position { Some(columns.nth(n_keys)) } else { columns.find(&key) };
            n_keys += 1;
            if let Some(place) = column.and_then(|column| columns.vector_at(column))
                && Columns::n_vectors_in(place, scanner)?.is_none()
            {
                return Ok(None);
            }
        }
        let mut n_values = 0;
        scanner.array(|scanner| {
            n_values += 1;
            scanner.skip().map(drop)
        })?;
        if *len.get_or_insert(n_values) != n_values {
            return Ok(None);
        }
    }
    Ok(len)
}

fn knows_any(mut scanner: Scanner<'_>, columns: &Columns<'_>) -> Result<bool, DecodeError> {
    let mut knows_any = false;
    scanner.object(|scanner, key| {
        knows_any |= columns.find(&key).is_some();
        scanner.skip().map(drop)
    })?;
    Ok(knows_any)
}
