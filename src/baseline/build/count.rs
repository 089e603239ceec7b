//! The second pass over a column: its cells into its bins.

use arrow_array::Array;

use super::profile::{Untyped, meaning};
use super::table::{Cell, Cells};
use crate::baseline::Categories;
use crate::drift::{BinEdges, Histogram, Recorder, kernels};

/// Counts the cells of one column.
#[derive(Debug)]
pub(super) enum Counter {
    /// Numbers by edges.
    Numbers(Recorder, usize),
    /// Lengths of texts by edges.
    Lengths(Recorder, usize),
    /// `false` and `true`.
    Booleans,
    /// Known categories.
    Categories(Categories),
}

impl Counter {
    pub(super) fn numbers(edges: &BinEdges, of_text: bool) -> Self {
        let recorder = Recorder::new(edges);
        if of_text {
            Self::Lengths(recorder, edges.n_bins())
        } else {
            Self::Numbers(recorder, edges.n_bins())
        }
    }

    pub(super) fn zero(&self) -> Histogram {
        Histogram::new(match self {
            Self::Numbers(_, n_bins) | Self::Lengths(_, n_bins) => *n_bins,
            Self::Booleans => 2,
            Self::Categories(categories) => categories.len(),
        })
    }

    /// Counts as the daemon counts the same values in traffic.
    pub(super) fn count(&self, cells: &Cells, histogram: &mut Histogram) {
        match (self, cells) {
            (Self::Numbers(recorder, _), Cells::Numbers(numbers)) => recorder.record(numbers, histogram),
            (Self::Numbers(recorder, _) | Self::Lengths(recorder, _), _) => {
                let (mut values, mut n_other) = (Vec::new(), 0);
                for_each(cells, |cell| {
                    if let Some(number) = self.number(cell) {
                        values.push(number);
                    } else {
                        values.push(f64::NAN);
                        n_other += 1;
                    }
                });
                recorder.record(&values, histogram);
                histogram.missing_to_other(n_other);
            }
            (Self::Booleans | Self::Categories(_), _) => {
                let n_bins = histogram.n_bins();
                let mut codes = Vec::new();
                for_each(cells, |cell| {
                    let code = match cell {
                        Value::Missing => Histogram::missing_code(n_bins),
                        value => {
                            self.code(&value).map_or(Histogram::other_code(n_bins), |code| code as usize)
                        }
                    };
                    codes.push(u32::try_from(code).expect("`Categories` gives codes of 32 bits"));
                });
                kernels::record_codes(&codes, histogram);
            }
        }
    }

    /// The number that a cell counts as, `NaN` for a missing one; `None` if it is of the wrong type.
    fn number(&self, cell: Value<'_>) -> Option<f64> {
        match (self, cell) {
            (_, Value::Missing) => Some(f64::NAN),
            (Self::Lengths(..), Value::Text(text) | Value::Untyped(text)) => {
                Some(text.chars().count() as f64)
            }
            (Self::Numbers(..), Value::Number(number)) => Some(number),
            (Self::Numbers(..), Value::Boolean(value)) => Some(f64::from(u8::from(value))),
            (Self::Numbers(..), Value::Untyped(text)) => match meaning(text) {
                Untyped::Number(number) => Some(number),
                Untyped::Boolean(value) => Some(f64::from(u8::from(value))),
                Untyped::Missing | Untyped::Text => None,
            },
            _ => None,
        }
    }

    fn code(&self, cell: &Value<'_>) -> Option<u32> {
        match (self, cell) {
            (Self::Categories(categories), Value::Text(text) | Value::Untyped(text)) => {
                categories.of_text(text)
            }
            (Self::Categories(categories), Value::Number(number)) => categories.of_number(*number),
            (Self::Categories(categories), Value::Boolean(value)) => {
                categories.of_text(if *value { "true" } else { "false" })
            }
            (_, Value::Boolean(value)) => Some(u32::from(*value)),
            (_, Value::Number(number)) => [0.0, 1.0].contains(number).then(|| u32::from(*number > 0.0)),
            (_, Value::Text(text) | Value::Untyped(text)) => match meaning(text) {
                Untyped::Boolean(value) => Some(u32::from(value)),
                Untyped::Number(number) => [0.0, 1.0].contains(&number).then(|| u32::from(number > 0.0)),
                Untyped::Missing | Untyped::Text => None,
            },
            (_, Value::Missing) => None,
        }
    }
}

/// One cell of any column.
enum Value<'a> {
    Missing,
    Number(f64),
    Boolean(bool),
    Text(&'a str),
    /// Not missing.
    Untyped(&'a str),
}

fn for_each(cells: &Cells, mut each: impl FnMut(Value<'_>)) {
    match cells {
        Cells::Numbers(numbers) => numbers.iter().for_each(|&number| {
            each(if number.is_nan() { Value::Missing } else { Value::Number(number) });
        }),
        Cells::Booleans(booleans) => {
            booleans.iter().for_each(|value| each(value.map_or(Value::Missing, Value::Boolean)));
        }
        Cells::Texts(texts) => texts.iter().for_each(|text| each(text.map_or(Value::Missing, Value::Text))),
        Cells::Untyped(texts) => {
            for at in 0..texts.len() {
                let text = if texts.is_null(at) { "" } else { texts.value(at) };
                each(if matches!(meaning(text), Untyped::Missing) {
                    Value::Missing
                } else {
                    Value::Untyped(text)
                });
            }
        }
        Cells::Mixed(cells) => cells.iter().for_each(|cell| {
            each(match cell {
                Cell::Missing | Cell::Nested => Value::Missing,
                Cell::Number(number) => Value::Number(*number),
                Cell::Boolean(value) => Value::Boolean(*value),
                Cell::Text(text) => Value::Text(text),
            });
        }),
    }
}
