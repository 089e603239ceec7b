//! TF Serving's `PredictionService/Predict`: tensors by name in a map.

use std::borrow::Cow;

use super::columns::Columns;
use super::json::Scanner;
use super::protobuf::{Field, Message};
use super::tensor::{Data, Table, Tensor, dimension, half, read_raw};
use super::{Body, DecodeError, grpc};

/// Reads `PredictRequest.inputs`.
pub(super) fn request(body: &Body<'_>, columns: &mut Columns<'_>) -> Result<(), DecodeError> {
    grpc::messages(body, |bytes, offset| predict(Message::new(bytes, offset), columns, 2))
}

/// Reads `PredictResponse.outputs`.
pub(super) fn response(body: &Body<'_>, columns: &mut Columns<'_>) -> Result<(), DecodeError> {
    grpc::messages(body, |bytes, offset| predict(Message::new(bytes, offset), columns, 1))
}

/// The model and version of `PredictRequest.model_spec`.
pub(super) fn names(body: &Body<'_>) -> Option<(Box<str>, Option<Box<str>>)> {
    let (mut model, mut version) = (None, None);
    let _ = grpc::messages(body, |bytes, offset| {
        Message::new(bytes, offset).fields(|number, field| {
            let (1, Field::Delimited(spec)) = (number, field) else { return Ok(()) };
            spec.fields(|number, field| {
                match (number, field) {
                    (1, Field::Delimited(name)) => model = Some(String::from_utf8_lossy(name.bytes()).into()),
                    (2, Field::Delimited(wrapped)) => wrapped.fields(|_, field| {
                        field.varints(|number| version = Some(number.to_string().into()))
                    })?,
                    _ => (),
                }
                Ok(())
            })
        })
    });
    Some((model?, version))
}

fn predict(message: Message<'_>, columns: &mut Columns<'_>, map: u32) -> Result<(), DecodeError> {
    let (mut tensors, mut numbers) = (Vec::new(), Vec::new());
    message.fields(|number, field| {
        if number != map {
            return Ok(());
        }
        let (mut name, mut value) = (Cow::Borrowed(""), None);
        field.message()?.fields(|number, field| {
            match number {
                1 => name = String::from_utf8_lossy(field.message()?.bytes()),
                2 => value = Some(field.message()?),
                _ => (),
            }
            Ok(())
        })?;
        let value = value.ok_or_else(|| DecodeError::at("no_data", message.offset()))?;
        tensors.push(tensor(name, value, &mut numbers)?);
        Ok(())
    })?;
    if tensors.is_empty() {
        return Err(DecodeError::at("no_rows", message.offset()));
    }
    // A map has no order, and what is written in one varies: names give the same columns every time.
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    Table { tensors: &tensors, numbers: &numbers, json: Scanner::new(&[]) }.place(columns)
}

/// One `TensorProto`.
fn tensor<'a>(
    name: Cow<'a, str>,
    message: Message<'a>,
    numbers: &mut Vec<f64>,
) -> Result<Tensor<'a>, DecodeError> {
    let start = numbers.len();
    let (mut datatype, mut shape, mut content) = (0, Vec::new(), None);
    let (mut texts, mut booleans) = (Vec::new(), Vec::new());
    message.fields(|number, field| match number {
        1 => field.varints(|value| datatype = value),
        2 => read_shape(field.message()?, &mut shape),
        4 => {
            content = Some(field.message()?).filter(|content| !content.bytes().is_empty());
            Ok(())
        }
        5 => field.floats(numbers),
        6 => field.doubles(numbers),
        7 | 10 => field.integers(numbers),
        16 | 17 => field.varints(|value| numbers.push(value as f64)),
        8 => {
            texts.push(field.message()?.bytes());
            Ok(())
        }
        11 => field.varints(|value| booleans.push(u8::from(value != 0))),
        13 => field.varints(|bits| {
            let [low, high, ..] = bits.to_le_bytes();
            let bits = u16::from_le_bytes([low, high]);
            let is_bfloat = datatype == 14;
            numbers.push(if is_bfloat { f32::from_bits(u32::from(bits) << 16).into() } else { half(bits) });
        }),
        _ => Ok(()),
    })?;
    let data = if let Some(content) = content {
        numbers.truncate(start);
        read_raw(name_of(datatype), content.bytes(), content.offset(), numbers)?
    } else if numbers.len() > start {
        repeat_last(&shape, start, numbers);
        Data::Numbers(start..numbers.len())
    } else if !texts.is_empty() {
        Data::Texts(texts)
    } else if !booleans.is_empty() {
        Data::Booleans(booleans.into())
    } else if shape.contains(&0) {
        Data::Numbers(start..start)
    } else {
        return Err(DecodeError::at("no_data", message.offset()));
    };
    Ok(Tensor { name, shape, data })
}

/// Equal values at a tensor's end may be written once (`tf.make_tensor_proto` does so for a constant).
fn repeat_last(shape: &[usize], start: usize, numbers: &mut Vec<f64>) {
    /// Constants longer than this are left as they are, and their shape is counted as wrong: a short body may not ask for any amount of memory.
    const MAX_REPEATED: usize = 1 << 16;
    let len = shape.iter().try_fold(1usize, |product, &size| product.checked_mul(size));
    if let (Some(len), Some(&last)) = (len.filter(|len| *len <= MAX_REPEATED), numbers.last()) {
        numbers.resize(numbers.len().max(start + len), last);
    }
}

fn read_shape(message: Message<'_>, shape: &mut Vec<usize>) -> Result<(), DecodeError> {
    let error = || DecodeError::at("shape", message.offset());
    message.fields(|number, field| {
        if number != 2 {
            return Ok(());
        }
        let mut size = Some(0);
        field.message()?.fields(|number, field| match number {
            1 => field.varints(|value| size = dimension(value.cast_signed())),
            _ => Ok(()),
        })?;
        shape.push(size.ok_or_else(error)?);
        Ok(())
    })
}

/// The other protocol's name of a `DataType`.
fn name_of(datatype: u64) -> &'static str {
    match datatype {
        1 => "FP32",
        2 => "FP64",
        3 => "INT32",
        4 => "UINT8",
        5 => "INT16",
        6 => "INT8",
        9 => "INT64",
        10 => "BOOL",
        14 => "BF16",
        17 => "UINT16",
        19 => "FP16",
        22 => "UINT32",
        23 => "UINT64",
        _ => "",
    }
}
