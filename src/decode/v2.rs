//! Open Inference Protocol V2 over REST: tensors as JSON, or as bytes behind the JSON (the binary tensor data extension).
//!
//! Servers say in `inference-header-content-length` where the JSON ends; where that header was lost on the way (KServe's
//! logger loses it), it ends where its first value does.

use std::borrow::Cow;
use std::ops::Range;

use super::columns::Columns;
use super::json::{Kind, MAX_DEPTH, Scanner};
use super::tensor::{Data, Table, Tensor, dimension, of_bits, read_raw};
use super::{Body, DecodeError, stream};

/// Reads the tensors of a request.
pub(super) fn request(body: &Body<'_>, columns: &mut Columns<'_>) -> Result<(), DecodeError> {
    if body.json_len == Some(0) { read_one(body, columns) } else { read(body, "inputs", columns) }
}

/// Reads the tensors of a response. Those of a stream (`MLServer`'s `infer_stream`) are rows one after another.
pub(super) fn response(body: &Body<'_>, columns: &mut Columns<'_>) -> Result<(), DecodeError> {
    if stream::is_stream(body) {
        let part = |data| Body { bytes: &body.bytes[data], json_len: None, ..*body };
        return stream::events(body).try_for_each(|data| read(&part(data), "outputs", columns));
    }
    read(body, "outputs", columns)
}

/// A body that is one tensor, without anything that says so. Its type is known to the server alone, and to us where all features are numbers,
/// the body is as long as one row of them, and its bits make sense in one type only.
fn read_one(body: &Body<'_>, columns: &mut Columns<'_>) -> Result<(), DecodeError> {
    if body.is_image() {
        return Err(DecodeError::at("image", 0));
    }
    let width = columns.width();
    let datatype = Some(width).filter(|width| *width > 0 && columns.are_numbers());
    let datatype = datatype.and_then(|width| of_bits(body.bytes, width));
    let Some(datatype) = datatype else { return Err(DecodeError::at("raw_tensor", 0)) };
    let mut numbers = Vec::new();
    let data = read_raw(datatype, body.bytes, 0, &mut numbers)?;
    let tensor = Tensor { name: Cow::Borrowed(""), shape: vec![1, width], data };
    Table { tensors: &[tensor], numbers: &numbers, json: Scanner::new(&[]) }.place(columns)
}

fn read(body: &Body<'_>, tensors_key: &str, columns: &mut Columns<'_>) -> Result<(), DecodeError> {
    if body.json_len == Some(0) {
        return Err(DecodeError::at("raw_tensor", 0));
    }
    let json = match body.json_len {
        Some(len) => body.bytes.get(..len).ok_or_else(|| DecodeError::at("truncated", body.bytes.len()))?,
        None => body.bytes,
    };
    let mut scanner = Scanner::new(json);
    if scanner.kind()? != Kind::Object {
        return Err(scanner.error("no_rows"));
    }
    let (mut heads, mut numbers) = (Vec::new(), Vec::new());
    scanner.object(|scanner, key| {
        if key != tensors_key || scanner.kind()? != Kind::Array {
            return scanner.skip().map(drop);
        }
        heads.clear();
        numbers.clear();
        scanner.array(|scanner| {
            heads.push(Head::read(scanner, &mut numbers)?);
            Ok(())
        })
    })?;
    let mut tail = Tail { bytes: body.bytes, at: body.json_len.unwrap_or(scanner.offset()) };
    let tensors = heads.into_iter().map(|head| head.with_data(&mut tail, &mut numbers));
    let tensors = tensors.collect::<Result<Vec<_>, _>>()?;
    tail.check_end()?;
    Table { tensors: &tensors, numbers: &numbers, json: scanner }.place(columns)
}

/// What follows the JSON.
struct Tail<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Tail<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let taken = self.bytes.get(self.at..).and_then(|rest| rest.get(..len));
        let taken = taken.ok_or_else(|| DecodeError::at("truncated", self.bytes.len()))?;
        self.at += len;
        Ok(taken)
    }

    /// White space may follow JSON.
    fn check_end(&self) -> Result<(), DecodeError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        if rest.trim_ascii().is_empty() { Ok(()) } else { Err(DecodeError::at("binary_size", self.at)) }
    }
}

/// What the JSON says of one tensor, its keys in any order.
#[derive(Debug)]
struct Head<'a> {
    name: Cow<'a, str>,
    shape: Vec<usize>,
    datatype: Cow<'a, str>,
    data: Option<Data<'a>>,
    /// Bytes of the tail that are its values.
    binary_len: Option<usize>,
    /// Where it ends in the text.
    end: usize,
}

impl<'a> Head<'a> {
    fn read(scanner: &mut Scanner<'a>, numbers: &mut Vec<f64>) -> Result<Self, DecodeError> {
        if scanner.kind()? != Kind::Object {
            return Err(scanner.error("no_rows"));
        }
        let (name, datatype) = (Cow::Borrowed(""), Cow::Borrowed(""));
        let mut head = Self { name, shape: Vec::new(), datatype, data: None, binary_len: None, end: 0 };
        scanner.object(|scanner, key| {
            match (&*key, scanner.kind()?) {
                ("name", Kind::Text) => head.name = scanner.text()?,
                ("shape", Kind::Array) => head.shape = read_shape(scanner)?,
                ("datatype", Kind::Text) => head.datatype = scanner.text()?,
                ("data", Kind::Array) => head.data = Some(read_data(scanner, numbers)?),
                ("parameters", Kind::Object) => head.binary_len = read_parameters(scanner)?,
                _ => return scanner.skip().map(drop),
            }
            Ok(())
        })?;
        head.end = scanner.offset();
        Ok(head)
    }

    fn with_data(self, tail: &mut Tail<'a>, numbers: &mut Vec<f64>) -> Result<Tensor<'a>, DecodeError> {
        let Self { name, shape, datatype, data, binary_len, end } = self;
        let data = match (data, binary_len) {
            (Some(data), _) => data,
            (None, Some(len)) => {
                let offset = tail.at;
                read_raw(&datatype, tail.take(len)?, offset, numbers)?
            }
            (None, None) => return Err(DecodeError::at("no_data", end)),
        };
        Ok(Tensor { name, shape, data })
    }
}

/// The number of dimensions is that of the data's nesting at most.
fn read_shape(scanner: &mut Scanner<'_>) -> Result<Vec<usize>, DecodeError> {
    let mut shape = Vec::new();
    scanner.array(|scanner| {
        if scanner.kind()? != Kind::Number || shape.len() > MAX_DEPTH as usize {
            return Err(scanner.error("shape"));
        }
        shape.push(whole_number(scanner)?);
        Ok(())
    })?;
    Ok(shape)
}

fn whole_number(scanner: &mut Scanner<'_>) -> Result<usize, DecodeError> {
    let number = scanner.number()?;
    #[expect(clippy::cast_possible_truncation, reason = "saturates, and what does is no size")]
    let size = if number.fract() == 0.0 { dimension(number as i64) } else { None };
    size.ok_or_else(|| scanner.error("shape"))
}

/// How much of the tail is this tensor's.
fn read_parameters(scanner: &mut Scanner<'_>) -> Result<Option<usize>, DecodeError> {
    let mut binary_len = None;
    scanner.object(|scanner, key| match &*key {
        "binary_data_size" => {
            binary_len = Some(whole_number(scanner)?);
            Ok(())
        }
        "shared_memory_region" => Err(scanner.error("shared_memory")),
        _ => scanner.skip().map(drop),
    })?;
    Ok(binary_len)
}

fn read_data<'a>(scanner: &mut Scanner<'a>, numbers: &mut Vec<f64>) -> Result<Data<'a>, DecodeError> {
    let (start, begin) = (numbers.len(), *scanner);
    if read_numbers(scanner, numbers, 0)? {
        return Ok(Data::Numbers(start..numbers.len()));
    }
    numbers.truncate(start);
    *scanner = begin;
    let mut n_values = 0;
    let start = scanner.offset();
    for_each_leaf(scanner, 0, &mut |scanner| {
        n_values += 1;
        scanner.skip().map(drop)
    })?;
    let text: Range<usize> = start..scanner.offset();
    Ok(Data::Json { text, n_values })
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
pub(super) fn for_each_leaf<'a>(
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
