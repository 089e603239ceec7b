//! Tables in files: CSV, Parquet and JSON Lines, read in units side by side and handed on in order as columns of cells.

mod error;
mod parallel;
mod read;
mod source;
mod vectors;

use std::sync::Arc;

use arrow_array::{Array, BooleanArray, StringArray};

pub use error::TableError;
pub use parallel::Progress;
pub(crate) use parallel::{Prepared, Reader};
pub use source::InputFormat;
pub(crate) use source::{Inputs, Stdin};
pub(crate) use vectors::{Vectors, list_of_numbers};

use crate::drift::decimal;

/// Some rows of some columns.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) n_rows: u64,
    /// Those of a JSON Lines file may be absent from some tables and shorter than others.
    pub(crate) columns: Vec<(Arc<str>, Cells)>,
}

/// The cells of one column, in row order.
#[derive(Debug)]
pub(crate) enum Cells {
    /// `NaN` for missing ones.
    Numbers(Vec<f64>),
    /// Of a column that is boolean by its type.
    Booleans(BooleanArray),
    /// Of a column that is text by its type.
    Texts(StringArray),
    /// Of a CSV file, where everything is text and some of it means a number.
    Untyped(StringArray),
    /// Of a column that holds lists of numbers by its type.
    Vectors(Vectors),
    /// Of JSON, where every cell has its own type.
    Mixed(Vec<Cell>),
}

impl Cells {
    /// Number of cells; less than the table has rows where the last lines of JSON leave the column out.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Numbers(numbers) => numbers.len(),
            Self::Booleans(booleans) => booleans.len(),
            Self::Texts(texts) | Self::Untyped(texts) => texts.len(),
            Self::Vectors(vectors) => vectors.len(),
            Self::Mixed(cells) => cells.len(),
        }
    }
}

/// One cell of JSON.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// No value.
    Missing,
    /// A number.
    Number(f64),
    /// True or false.
    Boolean(bool),
    /// A text.
    Text(Box<str>),
    /// A list of numbers, `NaN` for `null`.
    Vector(Box<[f32]>),
    /// Another list, or an object.
    Nested,
}

/// Texts that mean "no value" in a CSV file, whatever their case.
const MISSING_WORDS: [&str; 6] = ["nan", "na", "n/a", "null", "none", "-nan"];

/// A cell of a CSV file.
pub(crate) enum Untyped {
    Missing,
    Number(f64),
    Boolean(bool),
    Text,
}

/// What a text in a CSV file means.
pub(crate) fn meaning(text: &str) -> Untyped {
    let trimmed = text.trim();
    if trimmed.is_empty() {
        return Untyped::Missing;
    }
    if let Ok(number) = fast_float2::parse::<f64, _>(trimmed) {
        return if number.is_nan() { Untyped::Missing } else { Untyped::Number(decimal(number)) };
    }
    let is = |word: &str| trimmed.eq_ignore_ascii_case(word);
    if is("true") || is("false") {
        Untyped::Boolean(is("true"))
    } else if MISSING_WORDS.iter().any(|word| is(word)) {
        Untyped::Missing
    } else {
        Untyped::Text
    }
}
