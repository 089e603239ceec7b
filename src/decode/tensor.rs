//! Tensors by name, as the Open Inference Protocol and TF Serving have them, whatever they are written in.
//!
//! Only the whole message says whether its tensors are columns by name or one table by position. So tensors are read
//! first, numbers into one flat buffer, and then placed.

mod place;
mod raw;

use std::borrow::Cow;
use std::ops::Range;

use super::DecodeError;
use super::columns::Columns;
use super::json::Scanner;
use crate::baseline::Role;
pub(super) use raw::{half, of_bits, read_raw};

/// The tensors of one message.
#[derive(Debug)]
pub(super) struct Table<'a> {
    pub(super) tensors: &'a [Tensor<'a>],
    /// All numbers, one tensor after another.
    pub(super) numbers: &'a [f64],
    /// The text that [`Data::Json`] lies in.
    pub(super) json: Scanner<'a>,
}

/// One tensor as the wire has it.
#[derive(Debug)]
pub(super) struct Tensor<'a> {
    pub(super) name: Cow<'a, str>,
    pub(super) shape: Vec<usize>,
    pub(super) data: Data<'a>,
}

/// The values of a tensor, in row-major order.
#[derive(Debug)]
pub(super) enum Data<'a> {
    /// Numbers and missing values: a part of the flat buffer.
    Numbers(Range<usize>),
    /// Other values among them: where they stand in the text, to be read once their columns are known.
    Json { text: Range<usize>, n_values: usize },
    /// Texts; what is not UTF-8 is replaced.
    Texts(Vec<&'a [u8]>),
    /// Zero is false.
    Booleans(Cow<'a, [u8]>),
}

impl Data<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Numbers(range) => range.len(),
            Self::Json { n_values, .. } => *n_values,
            Self::Texts(texts) => texts.len(),
            Self::Booleans(booleans) => booleans.len(),
        }
    }
}

impl Table<'_> {
    /// Writes every value to its column.
    pub(super) fn place(&self, columns: &mut Columns<'_>) -> Result<(), DecodeError> {
        if self.tensors.is_empty() {
            return Err(self.json.error("no_rows"));
        }
        match columns.role() {
            Role::Feature => self.place_features(columns),
            Role::Prediction => self.place_predictions(columns),
        }
    }
}

/// A size on the wire, which may be anything; no data is as long as what does not fit.
pub(super) fn dimension(size: i64) -> Option<usize> {
    u32::try_from(size).ok().map(|size| size as usize)
}
