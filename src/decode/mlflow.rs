//! `MLflow`'s scoring server: `POST /invocations` with one of `dataframe_split`, `dataframe_records`, `instances` and
//! `inputs`, or CSV; predictions as in V1.

use super::columns::Columns;
use super::json::{Kind, Scanner};
use super::{Body, DecodeError, ViolationReason, v1};

/// Reads a request.
pub(super) fn request(body: &Body<'_>, columns: &mut Columns<'_>) -> Result<(), DecodeError> {
    if body.is_of_type("text/csv") {
        return csv(body.bytes, columns);
    }
    if body.is_of_type("application/vnd.apache.parquet") {
        return Err(DecodeError::at("opaque", 0));
    }
    let scanner = Scanner::new(body.bytes);
    let mut split = None;
    let mut outer = scanner;
    if outer.kind()? == Kind::Object {
        outer.object(|scanner, key| {
            let value = scanner.skip()?;
            if key == "dataframe_split" {
                split = Some(value);
            }
            Ok(())
        })?;
    }
    match split {
        Some(split) => dataframe_split(scanner.within(&split), columns),
        None => v1::payload(scanner, &["inputs", "instances", "dataframe_records"], columns),
    }
}

/// Column names beside the rows, in any order.
fn dataframe_split(mut scanner: Scanner<'_>, columns: &mut Columns<'_>) -> Result<(), DecodeError> {
    let (mut names, mut data) = (Vec::new(), None);
    scanner.object(|scanner, key| {
        match (&*key, scanner.kind()?) {
            ("columns", Kind::Array) => scanner.array(|scanner| {
                // A name may be a number.
                let name = match scanner.kind()? {
                    Kind::Text => scanner.text()?.into_owned(),
                    _ => String::from_utf8_lossy(scanner.raw()?).into_owned(),
                };
                names.push(name);
                Ok(())
            })?,
            ("data", Kind::Array) => data = Some(scanner.skip()?),
            _ => return scanner.skip().map(drop),
        }
        Ok(())
    })?;
    let Some(data) = data else { return Err(scanner.error("no_data")) };
    let mut rows = scanner.within(&data);
    if names.is_empty() {
        return v1::rows(&mut rows, columns);
    }
    let mut targets = Targets::of(&names, columns);
    rows.array(|scanner| {
        let mut at = 0;
        scanner.array(|scanner| {
            let target = targets.at(at);
            at += 1;
            match target {
                Some(column) => columns.read(column, scanner),
                None => scanner.skip().map(drop),
            }
        })?;
        targets.end_row(at, columns);
        columns.end_rows(1, ViolationReason::MissingFeature, scanner)
    })
}

/// A header and rows, as pandas reads them.
fn csv(body: &[u8], columns: &mut Columns<'_>) -> Result<(), DecodeError> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(body);
    let offset_of = |error: &csv::Error| error.position().map_or(0, csv::Position::byte);
    let failed = |error: csv::Error| DecodeError::at("csv", usize::try_from(offset_of(&error)).unwrap_or(0));
    let names: Vec<String> = reader.headers().map_err(failed)?.iter().map(str::to_owned).collect();
    let mut targets = Targets::of(&names, columns);
    let mut record = csv::StringRecord::new();
    let scanner = Scanner::new(body);
    while reader.read_record(&mut record).map_err(failed)? {
        for (at, cell) in record.iter().enumerate() {
            if let Some(column) = targets.at(at) {
                columns.untyped(column, cell);
            }
        }
        targets.end_row(record.len(), columns);
        columns.end_rows(1, ViolationReason::MissingFeature, &scanner)?;
    }
    Ok(())
}

/// Where the values of a row go, given the names of its columns.
struct Targets<'a> {
    names: &'a [String],
    columns: Vec<Option<usize>>,
}

impl<'a> Targets<'a> {
    fn of(names: &'a [String], columns: &mut Columns<'_>) -> Self {
        let mut targets: Vec<Option<usize>> = Vec::with_capacity(names.len());
        for name in names {
            let found = columns.find(name);
            if found.is_some() && targets.contains(&found) {
                columns.violate(found, ViolationReason::Shape, 1); // the name is there twice
                targets.push(None);
            } else {
                targets.push(found);
            }
        }
        Self { names, columns: targets }
    }

    fn at(&self, at: usize) -> Option<usize> {
        self.columns.get(at).copied().flatten()
    }

    fn end_row(&mut self, n_values: usize, columns: &mut Columns<'_>) {
        if n_values > self.names.len() {
            columns.violate(None, ViolationReason::Shape, 1);
        }
        for (name, _) in self.names.iter().zip(&self.columns).filter(|(_, column)| column.is_none()) {
            columns.unexpected(name, 1);
        }
    }
}
