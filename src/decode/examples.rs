//! TF Serving's Classify and Regress: rows are `tf.Example`s, whose features are lists by name, and the answer is a number a row, or
//! classes with their scores.

use std::borrow::Cow;

use super::columns::Columns;
use super::json::{Kind, Scanner};
use super::protobuf::{Field, Message};
use super::{Body, DecodeError, ViolationReason, grpc};
use crate::drift::vector::element;

/// Reads `{"context": {…}, "examples": [{…}]}`; what is in the context is in every row.
pub(super) fn request(body: &Body<'_>, columns: &mut Columns<'_>) -> Result<(), DecodeError> {
    let mut scanner = Scanner::new(body.bytes);
    let (mut examples, mut context) = (None, None);
    if scanner.kind()? == Kind::Object {
        scanner.object(|scanner, key| {
            let value = scanner.skip()?;
            match &*key {
                "examples" => examples = Some(value),
                "context" => context = Some(value),
                _ => (),
            }
            Ok(())
        })?;
    }
    let examples = examples.ok_or_else(|| scanner.error("no_rows"))?;
    scanner.within(&examples).array(|row| {
        features(row, columns)?;
        if let Some(context) = &context {
            features(&mut scanner.within(context), columns)?;
        }
        columns.end_rows(1, ViolationReason::MissingFeature, row)
    })
}

fn features(scanner: &mut Scanner<'_>, columns: &mut Columns<'_>) -> Result<(), DecodeError> {
    if scanner.kind()? != Kind::Object {
        columns.violate(None, ViolationReason::Shape, 1);
        return scanner.skip().map(drop);
    }
    scanner.object(|scanner, key| {
        let Some(column) = place(&key, columns) else { return scanner.skip().map(drop) };
        if scanner.kind()? != Kind::Array || columns.vector_at(column).is_some() {
            return columns.read(column, scanner);
        }
        let (mut inside, mut n_values) = (*scanner, 0);
        inside.array(|scanner| {
            n_values += 1;
            scanner.skip().map(drop)
        })?;
        match n_values {
            0 => columns.missing(column),
            1 => return scanner.array(|scanner| columns.read(column, scanner)),
            _ => return columns.read(column, scanner), // a list where the model has a single value
        }
        *scanner = inside;
        Ok(())
    })
}

/// The column of a feature, if the row has no value in it yet.
fn place(name: &str, columns: &mut Columns<'_>) -> Option<usize> {
    let Some(column) = columns.find(name) else {
        columns.unexpected(name, 1);
        return None;
    };
    if columns.is_begun(column) {
        columns.violate(Some(column), ViolationReason::Shape, 1); // the name is there twice
        return None;
    }
    Some(column)
}

/// Reads `{"result": […]}`: a number a row, or a list of `[label, score]`.
pub(super) fn response(body: &Body<'_>, columns: &mut Columns<'_>) -> Result<(), DecodeError> {
    let mut scanner = Scanner::new(body.bytes);
    let mut result = None;
    if scanner.kind()? == Kind::Object {
        scanner.object(|scanner, key| {
            let value = scanner.skip()?;
            if key == "result" {
                result = Some(value);
            }
            Ok(())
        })?;
    }
    let result = result.ok_or_else(|| scanner.error("no_rows"))?;
    scanner.within(&result).array(|row| {
        if row.kind()? != Kind::Array {
            columns.read(0, row)?;
            return columns.end_rows(1, ViolationReason::Shape, row);
        }
        let mut classes = Vec::new();
        row.array(|row| {
            let (mut label, mut score) = (Cow::Borrowed(""), f64::NAN);
            row.array(|row| {
                match row.kind()? {
                    Kind::Text => label = row.text()?,
                    Kind::Number => score = row.number()?,
                    _ => row.skip().map(drop)?,
                }
                Ok(())
            })?;
            classes.push((label, score));
            Ok(())
        })?;
        place_classes(&classes, columns);
        columns.end_rows(1, ViolationReason::Shape, row)
    })
}

/// Scores go to the predictions that are named like their labels. Where none is: to those in order, or, if the first prediction is no
/// number, the label of the highest score is it.
fn place_classes(classes: &[(Cow<'_, str>, f64)], columns: &mut Columns<'_>) {
    if classes.iter().any(|(label, _)| columns.find(label).is_some()) {
        for (label, score) in classes {
            // Labels are values: those that the baseline does not know are not told.
            if let Some(column) = columns.find(label).filter(|column| !columns.is_begun(*column)) {
                columns.numbers(column, std::iter::once(*score));
            }
        }
    } else if columns.width() > 0 && !columns.is_number(0) {
        if let Some((label, _)) = classes.iter().rev().max_by(|(_, a), (_, b)| a.total_cmp(b)) {
            columns.text(0, label);
        }
    } else {
        if classes.len() > columns.width() {
            columns.violate(None, ViolationReason::Shape, 1);
        }
        for (at, (_, score)) in classes.iter().enumerate().take(columns.width()) {
            columns.numbers(at, std::iter::once(*score));
        }
    }
}

/// Reads `ClassificationRequest` or `RegressionRequest`, which are alike.
pub(super) fn grpc_request(body: &Body<'_>, columns: &mut Columns<'_>) -> Result<(), DecodeError> {
    grpc::messages(body, |bytes, offset| {
        let (mut examples, mut context) = (Vec::new(), None);
        Message::new(bytes, offset).fields(|number, input| {
            if number != 2 {
                return Ok(());
            }
            // `ExampleList`, or `ExampleListWithContext`.
            input.message()?.fields(|_, list| {
                list.message()?.fields(|number, example| {
                    match number {
                        1 => examples.push(example.message()?),
                        2 => context = Some(example.message()?),
                        _ => (),
                    }
                    Ok(())
                })
            })
        })?;
        let scanner = Scanner::new(&[]);
        if examples.is_empty() {
            return Err(DecodeError::at("no_rows", offset));
        }
        examples.into_iter().try_for_each(|example| {
            for part in std::iter::once(example).chain(context) {
                each_feature(part, columns)?;
            }
            columns.end_rows(1, ViolationReason::MissingFeature, &scanner)
        })
    })
}

/// `Example.features.feature`, a map.
fn each_feature(example: Message<'_>, columns: &mut Columns<'_>) -> Result<(), DecodeError> {
    example.fields(|_, features| {
        features.message()?.fields(|_, entry| {
            let (mut name, mut value) = (Cow::Borrowed(""), None);
            entry.message()?.fields(|number, field| {
                match number {
                    1 => name = String::from_utf8_lossy(field.message()?.bytes()),
                    2 => value = Some(field.message()?),
                    _ => (),
                }
                Ok(())
            })?;
            match (place(&name, columns), value) {
                (Some(column), Some(value)) => feature(column, value, columns),
                _ => Ok(()),
            }
        })
    })
}

/// `BytesList`, `FloatList` or `Int64List`, each with its values in field 1.
fn feature(column: usize, value: Message<'_>, columns: &mut Columns<'_>) -> Result<(), DecodeError> {
    let (mut numbers, mut texts) = (Vec::new(), Vec::new());
    value.fields(|kind, list| {
        list.message()?.fields(|_, field| match kind {
            1 => {
                texts.push(field.message()?.bytes());
                Ok(())
            }
            2 => field.floats(&mut numbers),
            _ => field.integers(&mut numbers),
        })
    })?;
    match (columns.vector_at(column), &*numbers, &*texts) {
        (_, [], []) => columns.missing(column), // what else is made of a vector is filled up at the end of the row
        (Some(place), ..) => {
            columns.vector(place, &numbers.iter().copied().map(element).collect::<Vec<_>>());
        }
        (None, [number], []) => columns.numbers(column, std::iter::once(*number)),
        (None, [], [text]) => columns.text(column, &String::from_utf8_lossy(text)),
        (None, ..) => columns.wrong_type(column),
    }
    Ok(())
}

/// Reads `ClassificationResponse` or `RegressionResponse`: what a row holds tells which.
pub(super) fn grpc_response(body: &Body<'_>, columns: &mut Columns<'_>) -> Result<(), DecodeError> {
    let scanner = Scanner::new(&[]);
    grpc::messages(body, |bytes, offset| {
        Message::new(bytes, offset).fields(|number, result| {
            if number != 1 {
                return Ok(());
            }
            result.message()?.fields(|_, row| {
                let (mut classes, mut value) = (Vec::new(), None);
                row.message()?.fields(|_, field| match field {
                    Field::Delimited(class) => {
                        let (mut label, mut score) = (Cow::Borrowed(""), Vec::new());
                        class.fields(|number, field| match number {
                            1 => {
                                label = String::from_utf8_lossy(field.message()?.bytes());
                                Ok(())
                            }
                            2 => field.floats(&mut score),
                            _ => Ok(()),
                        })?;
                        classes.push((label, score.last().copied().unwrap_or(0.0)));
                        Ok(())
                    }
                    Field::Fixed32(cell) => {
                        value = Some(f64::from(f32::from_le_bytes(cell)));
                        Ok(())
                    }
                    Field::Varint(_) | Field::Fixed64(_) => Ok(()),
                })?;
                if classes.is_empty() && columns.width() > 0 {
                    // A regression of 0 is written as nothing.
                    columns.numbers(0, std::iter::once(value.unwrap_or(0.0)));
                } else {
                    place_classes(&classes, columns);
                }
                columns.end_rows(1, ViolationReason::Shape, &scanner)
            })
        })
    })
}
