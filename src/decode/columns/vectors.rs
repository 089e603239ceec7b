//! Vectors among the columns: a list of numbers that is one value, counted as what is made of it.

use super::Columns;
use crate::baseline::{ColumnKind, VectorPlace};
use crate::decode::json::{Kind, Scanner};
use crate::decode::v2::for_each_leaf;
use crate::decode::{DecodeError, ViolationReason};
use crate::drift::vector::element;
use crate::table::{Untyped, list_of_numbers, meaning};

impl<'a> Columns<'a> {
    pub(in crate::decode) fn has_vectors(&self) -> bool {
        !self.vectors.is_empty()
    }

    /// Whether all that a row holds is one vector.
    pub(in crate::decode) fn is_one_vector(&self) -> bool {
        matches!(self.vectors, [only] if only.columns == (0..self.width))
    }

    pub(in crate::decode) fn vectors(&self) -> &'a [VectorPlace] {
        self.vectors
    }

    /// The vector whose first column this is.
    pub(in crate::decode) fn vector_at(&self, column: usize) -> Option<&'a VectorPlace> {
        self.vectors.iter().find(|place| place.columns.start == column)
    }

    /// The column of a cell in a row by position; `None` for one of a vector's, and for those that the model has not.
    pub(in crate::decode) fn column_of_cell(&self, cell: usize) -> Option<usize> {
        let mut column = cell;
        for place in self.vectors.iter().take_while(|place| place.first_cell <= cell) {
            if cell < place.first_cell + place.dimension {
                return None;
            }
            column = column + place.columns.len() - place.dimension;
        }
        (column < self.width).then_some(column)
    }

    /// The first cell of a column in a row by position.
    pub(in crate::decode) fn cell_of_column(&self, column: usize) -> usize {
        self.vectors
            .iter()
            .filter(|place| place.columns.end <= column)
            .fold(column, |cell, place| cell + place.dimension - place.columns.len())
    }

    /// The first column of the value at some place in a row, where a vector is one value; past the last column if there is none.
    pub(in crate::decode) fn nth(&self, n: usize) -> usize {
        if !self.has_vectors() {
            return n;
        }
        let next = |column| self.vector_at(column).map_or(column + 1, |place| place.columns.end);
        (0..n.min(self.width)).fold(0, |column, _| next(column))
    }

    /// Values in a row, where a vector is one.
    pub(in crate::decode) fn n_values(&self) -> usize {
        self.vectors.iter().fold(self.width, |n, place| n + 1 - place.columns.len())
    }

    /// Adds a vector to the columns that are made of it.
    pub(in crate::decode) fn vector(&mut self, place: &VectorPlace, numbers: &[f32]) {
        if numbers.len() != place.dimension {
            return self.no_vector(place, ViolationReason::Shape);
        }
        for column in place.columns.clone() {
            let ColumnKind::Vector(of) = &self.schema.columns()[self.start + column].kind else { continue };
            match of.of(numbers) {
                Some(number) => self.push_number(column, number),
                None => self.wrong_type(column),
            }
        }
    }

    /// Adds something that is no vector, or none of the right dimension.
    pub(in crate::decode) fn no_vector(&mut self, place: &VectorPlace, reason: ViolationReason) {
        for column in place.columns.clone() {
            self.violate(Some(column), reason, 1);
            self.other(column);
        }
    }

    /// Reads the next value as a vector: a list, however nested.
    pub(super) fn read_vector(
        &mut self,
        place: &VectorPlace,
        scanner: &mut Scanner<'_>,
    ) -> Result<(), DecodeError> {
        match scanner.kind()? {
            Kind::Array => {
                let mut numbers = Vec::new();
                for_each_leaf(scanner, 0, &mut |scanner| {
                    let number = read_element(scanner)?;
                    if numbers.len() <= place.dimension {
                        numbers.push(number); // what is longer is no vector of ours, however long it is
                    }
                    Ok(())
                })?;
                self.vector(place, &numbers);
            }
            Kind::Null => {
                scanner.null()?;
                place.columns.clone().for_each(|column| self.missing(column));
            }
            Kind::Object | Kind::Text | Kind::Number | Kind::Bool => {
                scanner.skip()?;
                self.no_vector(place, ViolationReason::Type);
            }
        }
        Ok(())
    }

    /// A cell of text, which holds a list in JSON.
    pub(super) fn vector_of_text(&mut self, place: &VectorPlace, text: &str) {
        match list_of_numbers(text) {
            None if matches!(meaning(text), Untyped::Missing) => {
                place.columns.clone().for_each(|column| self.missing(column));
            }
            Some(numbers) => self.vector(place, &numbers),
            None => self.no_vector(place, ViolationReason::Type),
        }
    }

    /// One row by position. A vector is a list among the other values, or its numbers stand among them, or the whole row is it. Returns
    /// whether there is more in the row than the model has.
    pub(in crate::decode) fn read_row(&mut self, scanner: &mut Scanner<'_>) -> Result<bool, DecodeError> {
        if self.is_one_vector() {
            self.read_vector(&self.vectors[0], scanner)?;
            return Ok(false);
        }
        let (mut column, mut numbers) = (0, Vec::new());
        scanner.array(|scanner| {
            let Some(place) = self.vector_at(column) else {
                self.read(column, scanner)?;
                column += 1;
                return Ok(());
            };
            if numbers.is_empty() && scanner.kind()? != Kind::Number {
                self.read_vector(place, scanner)?;
                column = place.columns.end;
                return Ok(());
            }
            numbers.push(read_element(scanner)?);
            if numbers.len() == place.dimension {
                self.vector(place, &numbers);
                numbers.clear();
                column = place.columns.end;
            }
            Ok(())
        })?;
        if let Some(place) = self.vector_at(column).filter(|_| !numbers.is_empty()) {
            self.vector(place, &numbers); // too short
        }
        Ok(column > self.width)
    }

    /// How many rows an array is for a vector by name: a list of lists is a row each, unless it is one vector that is nested.
    pub(in crate::decode) fn n_vectors_in(
        place: &VectorPlace,
        mut scanner: Scanner<'_>,
    ) -> Result<Option<usize>, DecodeError> {
        let (mut n_lists, mut n_others) = (0, 0);
        let mut whole = scanner;
        scanner.array(|scanner| {
            let is_list = matches!(scanner.kind()?, Kind::Array | Kind::Null);
            *(if is_list { &mut n_lists } else { &mut n_others }) += 1;
            scanner.skip().map(drop)
        })?;
        if n_others > 0 || n_lists == 0 {
            return Ok(None);
        }
        let mut n_numbers = 0;
        for_each_leaf(&mut whole, 0, &mut |scanner| {
            n_numbers += 1;
            scanner.skip().map(drop)
        })?;
        Ok((n_lists == 1 || n_numbers != place.dimension).then_some(n_lists))
    }
}

/// One number of a vector; what is none is `NaN`, which makes the whole of it no vector.
fn read_element(scanner: &mut Scanner<'_>) -> Result<f32, DecodeError> {
    if scanner.kind()? == Kind::Number {
        return scanner.number().map(element);
    }
    scanner.skip()?;
    Ok(f32::NAN)
}
