//! Open Inference Protocol V2 over REST, tensors as JSON.
//!
//! A tensor says by its own keys, in any order, what it holds, and only the whole request says whether its tensors are
//! columns by name or one table by position. So tensors are read first, numbers into one flat buffer, and then placed.

mod place;

use std::borrow::Cow;
use std::ops::Range;

use super::DecodeError;
use super::columns::Columns;
use super::json::{Kind, MAX_DEPTH, Scanner};
use crate::baseline::Role;

/// Reads the tensors of a request.
pub(super) fn request(body: &[u8], columns: &mut Columns<'_>) -> Result<(), DecodeError> {
    read(body, "inputs", columns)
}

/// Reads the tensors of a response.
pub(super) fn response(body: &[u8], columns: &mut Columns<'_>) -> Result<(), DecodeError> {
    read(body, "outputs", columns)
}

fn read(body: &[u8], tensors_key: &str, columns: &mut Columns<'_>) -> Result<(), DecodeError> {
    let mut scanner = Scanner::new(body);
    if scanner.kind()? != Kind::Object {
        return Err(scanner.error("no_rows"));
    }
    let (mut tensors, mut numbers) = (Vec::new(), Vec::new());
    scanner.object(|scanner, key| {
        if key != tensors_key || scanner.kind()? != Kind::Array {
            return scanner.skip().map(drop);
        }
        tensors.clear();
        numbers.clear();
        scanner.array(|scanner| {
            tensors.push(Tensor::read(scanner, &mut numbers)?);
            Ok(())
        })
    })?;
    if tensors.is_empty() {
        return Err(scanner.error("no_rows"));
    }
    let table = place::Table { tensors: &tensors, numbers: &numbers, scanner };
    match columns.role() {
        Role::Feature => table.place_features(columns),
        Role::Prediction => table.place_predictions(columns),
    }
}

/// One tensor as the wire has it.
#[derive(Debug)]
struct Tensor<'a> {
    name: Cow<'a, str>,
    shape: Vec<usize>,
    data: Data,
}

/// The values of a tensor, in row-major order.
#[derive(Debug)]
enum Data {
    /// Numbers and missing values: a part of the flat buffer.
    Numbers(Range<usize>),
    /// Other values among them: where they stand in the body, to be read once their columns are known.
    Mixed { body: Range<usize>, n_values: usize },
}

impl Data {
    fn len(&self) -> usize {
        match self {
            Self::Numbers(range) => range.len(),
            Self::Mixed { n_values, .. } => *n_values,
        }
    }
}

impl<'a> Tensor<'a> {
    fn read(scanner: &mut Scanner<'a>, numbers: &mut Vec<f64>) -> Result<Self, DecodeError> {
        if scanner.kind()? != Kind::Object {
            return Err(scanner.error("no_rows"));
        }
        let (mut name, mut shape, mut data) = (Cow::Borrowed(""), Vec::new(), None);
        scanner.object(|scanner, key| {
            match (&*key, scanner.kind()?) {
                ("name", Kind::Text) => name = scanner.text()?,
                ("shape", Kind::Array) => shape = read_shape(scanner)?,
                ("data", Kind::Array) => data = Some(read_data(scanner, numbers)?),
                ("parameters", Kind::Object) => check_parameters(scanner)?,
                _ => return scanner.skip().map(drop),
            }
            Ok(())
        })?;
        let data = data.ok_or_else(|| scanner.error("no_data"))?;
        Ok(Self { name, shape, data })
    }
}

/// The number of dimensions is that of the data's nesting at most.
fn read_shape(scanner: &mut Scanner<'_>) -> Result<Vec<usize>, DecodeError> {
    let mut shape = Vec::new();
    scanner.array(|scanner| {
        if scanner.kind()? != Kind::Number || shape.len() > MAX_DEPTH as usize {
            return Err(scanner.error("shape"));
        }
        let dimension = scanner.number()?;
        if dimension < 0.0 || dimension.fract() != 0.0 || dimension > f64::from(u32::MAX) {
            return Err(scanner.error("shape"));
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a whole number of 32 bits"
        )]
        shape.push(dimension as usize);
        Ok(())
    })?;
    Ok(shape)
}

/// Tensors whose data is somewhere else.
fn check_parameters(scanner: &mut Scanner<'_>) -> Result<(), DecodeError> {
    scanner.object(|scanner, key| match &*key {
        "binary_data_size" => Err(scanner.error("binary")),
        "shared_memory_region" => Err(scanner.error("shared_memory")),
        _ => scanner.skip().map(drop),
    })
}

fn read_data(scanner: &mut Scanner<'_>, numbers: &mut Vec<f64>) -> Result<Data, DecodeError> {
    let (start, begin) = (numbers.len(), *scanner);
    if read_numbers(scanner, numbers, 0)? {
        return Ok(Data::Numbers(start..numbers.len()));
    }
    numbers.truncate(start);
    *scanner = begin;
    let mut n_values = 0;
    let body = scanner.offset();
    for_each_leaf(scanner, 0, &mut |scanner| {
        n_values += 1;
        scanner.skip().map(drop)
    })?;
    Ok(Data::Mixed { body: body..scanner.offset(), n_values })
}

/// `false` at the first value that is no number.
fn read_numbers(scanner: &mut Scanner<'_>, numbers: &mut Vec<f64>, depth: u32) -> Result<bool, DecodeError> {
    if depth > MAX_DEPTH {
        return Err(scanner.error("too_deep"));
    }
    scanner.expect(b'[')?;
    let mut first = true;
    while scanner.more(first, b']')? {
        first = false;
        match scanner.kind()? {
            Kind::Number => numbers.push(scanner.number()?),
            Kind::Null => {
                scanner.null()?;
                numbers.push(f64::NAN);
            }
            Kind::Array if read_numbers(scanner, numbers, depth + 1)? => (),
            Kind::Array | Kind::Object | Kind::Text | Kind::Bool => return Ok(false),
        }
    }
    Ok(true)
}

/// Calls `each` in front of every value that is no array.
fn for_each_leaf<'a>(
    scanner: &mut Scanner<'a>,
    depth: u32,
    each: &mut impl FnMut(&mut Scanner<'a>) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    if depth > MAX_DEPTH {
        return Err(scanner.error("too_deep"));
    }
    scanner.array(|scanner| match scanner.kind()? {
        Kind::Array => for_each_leaf(scanner, depth + 1, each),
        _ => each(scanner),
    })
}
