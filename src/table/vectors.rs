//! Lists of numbers: of a Parquet column, and as JSON in a cell of CSV.

use std::ops::Range;

use arrow_array::cast::AsArray;
use arrow_array::types::Float64Type;
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;

use crate::drift::vector::element;

/// The vectors of one column, in row order.
#[derive(Debug, Default)]
pub(crate) struct Vectors {
    /// All their numbers, `NaN` for a null among them.
    numbers: Vec<f32>,
    /// Which of them are a row's; `None` for a row without a vector.
    rows: Vec<Option<Range<usize>>>,
}

impl Vectors {
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn get(&self, row: usize) -> Option<&[f32]> {
        self.rows.get(row)?.clone().map(|range| &self.numbers[range])
    }

    /// Those of a column of lists; `None` if it is none, or not one of numbers.
    pub(super) fn of(array: &ArrayRef) -> Option<Result<Self, String>> {
        if !matches!(item(array.data_type()), Some(item) if item.is_numeric()) {
            return None;
        }
        Some(Self::read(array).map_err(|error| error.to_string()))
    }

    fn read(array: &ArrayRef) -> Result<Self, arrow_schema::ArrowError> {
        let rows = |range: &dyn Fn(usize) -> Range<usize>| {
            (0..array.len()).map(|row| array.is_valid(row).then(|| range(row))).collect()
        };
        let (values, rows): (_, Vec<_>) = match array.data_type() {
            DataType::FixedSizeList(_, size) => {
                let size = usize::try_from(*size).unwrap_or(0);
                let lists = array.as_fixed_size_list();
                let start = |row| lists.value_offset_at(row);
                (lists.values(), rows(&|row| start(row)..start(row) + size))
            }
            DataType::LargeList(_) => {
                let lists = array.as_list::<i64>();
                let offset = |at: usize| usize::try_from(lists.value_offsets()[at]).unwrap_or(0);
                (lists.values(), rows(&|row| offset(row)..offset(row + 1)))
            }
            _ => {
                let lists = array.as_list::<i32>();
                let offset = |at: usize| usize::try_from(lists.value_offsets()[at]).unwrap_or(0);
                (lists.values(), rows(&|row| offset(row)..offset(row + 1)))
            }
        };
        let values = arrow_cast::cast(values, &DataType::Float64)?;
        let numbers = values.as_primitive::<Float64Type>().iter();
        Ok(Self { numbers: numbers.map(|number| number.map_or(f32::NAN, element)).collect(), rows })
    }
}

/// What the lists of a column hold.
pub(super) fn item(data_type: &DataType) -> Option<&DataType> {
    match data_type {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            Some(item.data_type())
        }
        _ => None,
    }
}

/// The numbers of a cell of text that holds a list in JSON, `NaN` for `null` and what else is no number; `None` if it holds none.
pub(crate) fn list_of_numbers(text: &str) -> Option<Vec<f32>> {
    let text = text.trim();
    if !text.starts_with('[') {
        return None;
    }
    let cells: Vec<Option<f64>> = serde_json::from_str(text).ok()?;
    Some(cells.into_iter().map(|cell| cell.map_or(f32::NAN, element)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_holds_a_list_or_not() {
        assert_eq!(list_of_numbers(" [1, -2.5,3e2] ").unwrap(), [1.0, -2.5, 300.0]);
        assert_eq!(list_of_numbers("[]"), Some(Vec::new()));
        assert!(list_of_numbers("[1, null]").unwrap()[1].is_nan());
        for text in ["", "1", "[1", "[1] 2", "[[1]]", "[\"a\"]", "[true]", "{}", "[1 2]"] {
            assert_eq!(list_of_numbers(text), None, "{text}");
        }
    }
}
