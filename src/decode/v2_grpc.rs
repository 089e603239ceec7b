//! Open Inference Protocol V2 over gRPC: `ModelInfer`, and `ModelStreamInfer`, whose messages are rows one after another.

use std::borrow::Cow;

use super::columns::Columns;
use super::json::Scanner;
use super::protobuf::{Field, Message};
use super::tensor::{Data, Table, Tensor, dimension, read_raw};
use super::{Body, DecodeError, grpc};

/// Reads the tensors of a request.
pub(super) fn request(body: &Body<'_>, columns: &mut Columns<'_>) -> Result<(), DecodeError> {
    grpc::messages(body, |bytes, offset| infer(Message::new(bytes, offset), columns, 7))
}

/// Reads the tensors of a response.
pub(super) fn response(body: &Body<'_>, columns: &mut Columns<'_>) -> Result<(), DecodeError> {
    grpc::messages(body, |bytes, offset| {
        let message = Message::new(bytes, offset);
        match triton_stream_response(message)? {
            Some(inner) => infer(inner, columns, 6),
            None => infer(message, columns, 6),
        }
    })
}

/// The model and version that a request is for.
pub(super) fn names(body: &Body<'_>) -> Option<(Box<str>, Option<Box<str>>)> {
    let mut names = None;
    // The first message says; that others follow is none of our business here.
    let _ = grpc::messages(body, |bytes, offset| {
        let (mut model, mut version) = (None, None);
        Message::new(bytes, offset).fields(|number, field| {
            match number {
                1 => model = Some(text(field)?),
                2 => version = Some(text(field)?).filter(|version| !version.is_empty()),
                _ => (),
            }
            Ok(())
        })?;
        names = names.take().or(model.map(|model| (model.into(), version.map(Into::into))));
        Ok(())
    });
    names
}

/// Triton wraps what it streams: an error in field 1, the response in field 2, where a bare response has its version.
fn triton_stream_response(message: Message<'_>) -> Result<Option<Message<'_>>, DecodeError> {
    let (mut inner, mut is_bare) = (None, false);
    message.fields(|number, field| {
        match (number, field) {
            (1, _) => (),
            (2, Field::Delimited(found)) => inner = Some(found),
            _ => is_bare = true,
        }
        Ok(())
    })?;
    Ok(inner.filter(|_| !is_bare))
}

/// One `ModelInferRequest` or `ModelInferResponse`: they differ in the number of their raw contents.
fn infer(message: Message<'_>, columns: &mut Columns<'_>, raw_contents: u32) -> Result<(), DecodeError> {
    let (mut heads, mut raw, mut numbers) = (Vec::new(), Vec::new(), Vec::new());
    message.fields(|number, field| {
        if number == 5 {
            heads.push(Head::read(field.message()?, &mut numbers)?);
        } else if number == raw_contents {
            raw.push(field.message()?);
        }
        Ok(())
    })?;
    let mut raw = raw.into_iter();
    let tensors = heads.into_iter().map(|head| head.with_data(&mut raw, &mut numbers));
    let tensors = tensors.collect::<Result<Vec<_>, _>>()?;
    if tensors.is_empty() {
        return Err(DecodeError::at("no_rows", message.offset()));
    }
    Table { tensors: &tensors, numbers: &numbers, json: Scanner::new(&[]) }.place(columns)
}

/// What a tensor's own message says.
struct Head<'a> {
    name: Cow<'a, str>,
    datatype: Cow<'a, str>,
    shape: Vec<usize>,
    data: Option<Data<'a>>,
    offset: usize,
}

impl<'a> Head<'a> {
    fn read(message: Message<'a>, numbers: &mut Vec<f64>) -> Result<Self, DecodeError> {
        let (name, datatype) = (Cow::Borrowed(""), Cow::Borrowed(""));
        let mut head = Self { name, datatype, shape: Vec::new(), data: None, offset: message.offset() };
        let shape_error = || DecodeError::at("shape", message.offset());
        message.fields(|number, field| {
            match number {
                1 => head.name = text(field)?,
                2 => head.datatype = text(field)?,
                3 => {
                    let mut is_size = true;
                    field.varints(|size| match dimension(size.cast_signed()) {
                        Some(size) => head.shape.push(size),
                        None => is_size = false,
                    })?;
                    if !is_size {
                        return Err(shape_error());
                    }
                }
                4 if is_shared_memory(field)? => {
                    return Err(DecodeError::at("shared_memory", message.offset()));
                }
                5 => head.data = contents(field.message()?, numbers)?.or(head.data.take()),
                _ => (),
            }
            Ok(())
        })?;
        Ok(head)
    }

    /// Servers are laxer than the specification: a tensor without contents takes the next raw ones, whatever the others do.
    fn with_data(
        self,
        raw: &mut impl Iterator<Item = Message<'a>>,
        numbers: &mut Vec<f64>,
    ) -> Result<Tensor<'a>, DecodeError> {
        let Self { name, datatype, shape, data, offset } = self;
        let data = match (data, shape.contains(&0)) {
            (Some(data), _) => data,
            (None, is_empty) => match raw.next() {
                Some(raw) => read_raw(&datatype, raw.bytes(), raw.offset(), numbers)?,
                None if is_empty => Data::Numbers(0..0),
                None => return Err(DecodeError::at("no_data", offset)),
            },
        };
        Ok(Tensor { name, shape, data })
    }
}

fn is_shared_memory(parameter: Field<'_>) -> Result<bool, DecodeError> {
    let mut is_it = false;
    parameter.message()?.fields(|number, field| {
        is_it |= number == 1 && text(field)? == "shared_memory_region";
        Ok(())
    })?;
    Ok(is_it)
}

/// `InferTensorContents`; `None` if there are none.
fn contents<'a>(message: Message<'a>, numbers: &mut Vec<f64>) -> Result<Option<Data<'a>>, DecodeError> {
    let start = numbers.len();
    let (mut booleans, mut texts) = (Vec::new(), Vec::new());
    message.fields(|number, field| match number {
        1 => field.varints(|value| booleans.push(u8::from(value != 0))),
        2 | 3 => field.integers(numbers),
        4 | 5 => field.varints(|value| numbers.push(value as f64)),
        6 => field.floats(numbers),
        7 => field.doubles(numbers),
        8 => {
            texts.push(field.message()?.bytes());
            Ok(())
        }
        _ => Ok(()),
    })?;
    Ok(if numbers.len() > start {
        Some(Data::Numbers(start..numbers.len()))
    } else if !texts.is_empty() {
        Some(Data::Texts(texts))
    } else if !booleans.is_empty() {
        Some(Data::Booleans(booleans.into()))
    } else {
        None
    })
}

fn text(field: Field<'_>) -> Result<Cow<'_, str>, DecodeError> {
    Ok(String::from_utf8_lossy(field.message()?.bytes()))
}
