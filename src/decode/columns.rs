//! The columns of one role while a body is read into them: every value goes to its column, every deviation from the
//! model's contract is noted once.

mod vectors;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::json::{Kind, Scanner};
use super::{Batch, Column, DecodeError, Found, ViolationReason};
use crate::baseline::{ColumnKind, Role, Schema, VectorPlace};
use crate::drift::{Histogram, decimal};
use crate::table::{Cell, Untyped, meaning};

/// Cells a batch may have beside one a byte of the body: enough for a few rows of the widest table.
const SPARE_CELLS: usize = 1 << 16;

/// Writes one role's columns of a batch.
pub(super) struct Columns<'a> {
    schema: &'a Schema,
    batch: &'a mut Batch,
    role: Role,
    start: usize,
    /// Columns of the role; a row has [`Self::width`] cells.
    width: usize,
    vectors: &'a [VectorPlace],
    n_rows: usize,
    max_rows: usize,
}

impl<'a> Columns<'a> {
    /// For a body of `body_len` bytes. Rows that leave columns out are filled up, so without a bound a short body
    /// could ask for any amount of memory; a body that says what it means has at most a cell a byte.
    pub(super) fn new(schema: &'a Schema, role: Role, batch: &'a mut Batch, body_len: usize) -> Self {
        let range = schema.range(role);
        let (width, vectors) = (range.len(), schema.vectors(role));
        let max_rows = (body_len + SPARE_CELLS) / width.max(1);
        let start = range.start;
        let mut columns = Self { schema, batch, role, start, width, vectors, n_rows: 0, max_rows };
        columns.clear();
        columns
    }

    /// Cells of a row by position: one a column, and of a vector one for each of its numbers.
    pub(super) fn width(&self) -> usize {
        self.vectors.iter().fold(self.width, |n, place| n + place.dimension - place.columns.len())
    }

    /// The place of a column among those of its role.
    pub(super) fn find(&self, name: &str) -> Option<usize> {
        self.schema.find(self.role, name).map(|idx| idx - self.start)
    }

    /// The same of the name that is `nth` in its row: most callers write names in the order of the training table, and need not be looked
    /// up for that.
    #[inline]
    pub(super) fn find_nth(&self, nth: usize, name: &str) -> Option<usize> {
        let guessed = if nth < self.width { self.schema.columns().get(self.start + nth) } else { None };
        match guessed {
            Some(column) if *column.name == *name && !matches!(column.kind, ColumnKind::Vector(_)) => {
                Some(nth)
            }
            _ => self.find(name),
        }
    }

    /// Forgets every row and what was wrong with it.
    pub(super) fn clear(&mut self) {
        self.n_rows = 0;
        self.truncate(0);
        let range = self.start..self.start + self.width;
        let role = self.role;
        self.batch.violations.retain(|violation| match violation.column {
            Some(column) => !range.contains(&column),
            None => role == Role::Prediction,
        });
    }

    /// Cuts every column back to `n_rows`.
    fn truncate(&mut self, n_rows: usize) {
        for column in &mut self.batch.columns[self.start..self.start + self.width] {
            match column {
                Column::Numbers { values, n_other } => {
                    values.truncate(n_rows);
                    if n_rows == 0 {
                        *n_other = 0;
                    }
                }
                Column::Codes(codes) => codes.truncate(n_rows),
                Column::Cells(cells) => cells.truncate(n_rows),
            }
        }
    }

    /// A role that is not watched has no contract.
    pub(super) fn violate(&mut self, column: Option<usize>, reason: ViolationReason, n_rows: u64) {
        if n_rows > 0 && self.width > 0 {
            self.batch.violate(column.map(|column| self.start + column), reason, n_rows);
        }
    }

    /// A column that the baseline does not have.
    pub(super) fn unexpected(&mut self, name: &str, n_rows: u64) {
        self.found_name(name);
        self.unexpected_named(name, n_rows);
    }

    /// A tensor that the baseline does not have: were it known, its columns would be `name[0]`, `name[1]` and so on.
    pub(super) fn unexpected_tensor(&mut self, name: &str, width: usize, n_rows: u64) {
        if self.batch.found.is_some() && width > 1 {
            for at in 0..width.min(Found::MAX_COLUMNS) {
                self.found_name(&format!("{name}[{at}]"));
            }
        } else {
            self.found_name(name);
        }
        self.unexpected_named(name, n_rows);
    }

    fn unexpected_named(&mut self, name: &str, n_rows: u64) {
        self.violate(None, ViolationReason::UnexpectedFeature, n_rows);
        if self.width == 0 {
            return;
        }
        let names = &mut self.batch.unexpected;
        if names.len() < Batch::MAX_UNEXPECTED && !names.iter().any(|known| **known == *name) {
            names.push(name.into());
        }
    }

    /// A name that the schema has no column for, which is nothing wrong.
    pub(super) fn found_name(&mut self, name: &str) {
        if let Some(found) = &mut self.batch.found {
            found.name(name);
        }
    }

    /// A row by position that has `width` values.
    pub(super) fn found_width(&mut self, width: usize) {
        if let Some(found) = &mut self.batch.found
            && width > self.width
        {
            found.width = found.width.max(width);
        }
    }

    /// The role of these columns.
    pub(super) fn role(&self) -> Role {
        self.role
    }

    /// Feature rows of the exchange: known once its request was read.
    pub(super) fn n_feature_rows(&self) -> usize {
        self.batch.n_feature_rows
    }

    /// Whether a column has a value in the rows that have not ended.
    pub(super) fn is_begun(&self, column: usize) -> bool {
        column < self.width && self.len(column) > self.n_rows
    }

    /// Values in a column so far.
    fn len(&self, column: usize) -> usize {
        self.batch.columns[self.start + column].len()
    }

    /// Ends `n_new` rows. Columns that have fewer values get missing ones: `absent` says what it means to have none at
    /// all, and to have some is a matter of shape.
    pub(super) fn end_rows(
        &mut self,
        n_new: usize,
        absent: ViolationReason,
        scanner: &Scanner<'_>,
    ) -> Result<(), DecodeError> {
        let n_before = self.n_rows;
        self.n_rows += n_new;
        if self.n_rows > self.max_rows {
            return Err(DecodeError::at("too_many_cells", scanner.offset()));
        }
        for column in 0..self.width {
            let len = self.len(column);
            if len < self.n_rows {
                let n_absent = self.n_rows - len;
                let reason = if len == n_before { absent } else { ViolationReason::Shape };
                self.violate(Some(column), reason, n_absent as u64);
                for _ in 0..n_absent {
                    self.missing(column);
                }
            }
        }
        Ok(())
    }

    /// The rows are complete.
    pub(super) fn finish(self) {
        match self.role {
            Role::Feature => self.batch.n_feature_rows = self.n_rows,
            Role::Prediction => self.batch.n_prediction_rows = self.n_rows,
        }
    }

    /// Reads the next value into a column; passes over it where there is no such column.
    #[inline]
    pub(super) fn read(&mut self, column: usize, scanner: &mut Scanner<'_>) -> Result<(), DecodeError> {
        if column >= self.width {
            self.found_width(column + 1);
            return scanner.skip().map(drop);
        }
        if let Some(place) = self.vector_at(column) {
            return self.read_vector(place, scanner);
        }
        match scanner.kind()? {
            Kind::Number => {
                let number = scanner.number()?;
                self.number(column, number);
            }
            Kind::Null => {
                scanner.null()?;
                self.missing(column);
            }
            Kind::Text => {
                let text = scanner.text()?;
                self.text(column, &text);
            }
            Kind::Bool => {
                let value = scanner.boolean()?;
                self.boolean(column, value);
            }
            Kind::Object => match binary(scanner)? {
                Some(bytes) => self.text(column, &String::from_utf8_lossy(&bytes)),
                None => self.wrong_type(column),
            },
            Kind::Array => {
                scanner.skip()?;
                if !self.cell(column, || Cell::Nested) {
                    self.wrong_type(column);
                }
            }
        }
        Ok(())
    }

    /// Adds numbers to a column, `NaN` for missing ones.
    pub(super) fn numbers(&mut self, column: usize, numbers: impl Iterator<Item = f64>) {
        if let Column::Numbers { values, .. } = &mut self.batch.columns[self.start + column]
            && let ColumnKind::Number = self.schema.columns()[self.start + column].kind
        {
            values.extend(numbers.map(decimal));
        } else {
            numbers.for_each(|number| self.number_as_code(column, number));
        }
    }

    #[inline]
    fn number(&mut self, column: usize, number: f64) {
        if let Column::Numbers { values, .. } = &mut self.batch.columns[self.start + column]
            && let ColumnKind::Number = self.schema.columns()[self.start + column].kind
        {
            values.push(decimal(number));
            return;
        }
        self.number_as_code(column, number);
    }

    fn number_as_code(&mut self, column: usize, number: f64) {
        if number.is_nan() {
            return self.missing(column);
        }
        if self.cell(column, || Cell::Number(decimal(number))) {
            return;
        }
        match &self.schema.columns()[self.start + column].kind {
            ColumnKind::Boolean if [0.0, 1.0].contains(&number) => self.code(column, u32::from(number > 0.0)),
            ColumnKind::Category(categories) => {
                let found = categories.of_number(decimal(number));
                self.category(column, found);
            }
            ColumnKind::Number
            | ColumnKind::Text
            | ColumnKind::Boolean
            | ColumnKind::Vector(_)
            | ColumnKind::Untyped => {
                self.wrong_type(column);
            }
        }
    }

    /// Adds a text to a column.
    pub(super) fn text(&mut self, column: usize, text: &str) {
        if self.cell(column, || Cell::Text(text.into())) {
            return;
        }
        match &self.schema.columns()[self.start + column].kind {
            ColumnKind::Text => self.push_number(column, text.chars().count() as f64),
            ColumnKind::Category(categories) => {
                let found = categories.of_text(text);
                self.category(column, found);
            }
            ColumnKind::Boolean if text.eq_ignore_ascii_case("false") => self.code(column, 0),
            ColumnKind::Boolean if text.eq_ignore_ascii_case("true") => self.code(column, 1),
            ColumnKind::Boolean | ColumnKind::Number | ColumnKind::Vector(_) | ColumnKind::Untyped => {
                self.wrong_type(column);
            }
        }
    }

    /// Adds a text of so many characters to a column of texts.
    pub(super) fn length(&mut self, column: usize, n_characters: usize) {
        self.push_number(column, n_characters as f64);
    }

    pub(super) fn is_text(&self, column: usize) -> bool {
        matches!(self.kind(column), ColumnKind::Text)
    }

    pub(super) fn is_number(&self, column: usize) -> bool {
        matches!(self.kind(column), ColumnKind::Number)
    }

    /// Whether every cell of a row is a number.
    pub(super) fn are_numbers(&self) -> bool {
        (0..self.width).all(|column| matches!(self.kind(column), ColumnKind::Number | ColumnKind::Vector(_)))
    }

    fn kind(&self, column: usize) -> &'a ColumnKind {
        &self.schema.columns()[self.start + column].kind
    }

    /// Adds a boolean to a column.
    pub(super) fn boolean(&mut self, column: usize, value: bool) {
        if self.cell(column, || Cell::Boolean(value)) {
            return;
        }
        match &self.schema.columns()[self.start + column].kind {
            ColumnKind::Boolean => self.code(column, u32::from(value)),
            ColumnKind::Number => self.push_number(column, f64::from(u8::from(value))),
            ColumnKind::Category(categories) => {
                let names: &[&str] = if value { &["true", "True"] } else { &["false", "False"] };
                let found = names.iter().find_map(|name| categories.of_text(name));
                self.category(column, found);
            }
            ColumnKind::Text | ColumnKind::Vector(_) | ColumnKind::Untyped => self.wrong_type(column),
        }
    }

    /// Adds a cell of CSV, which has no types but those of the columns.
    pub(super) fn untyped(&mut self, column: usize, cell: &str) {
        if let Some(place) = self.vector_at(column) {
            return self.vector_of_text(place, cell);
        }
        match (meaning(cell), &self.schema.columns()[self.start + column].kind) {
            (Untyped::Missing, _) => self.missing(column),
            (Untyped::Number(number), ColumnKind::Number | ColumnKind::Boolean | ColumnKind::Untyped) => {
                self.number(column, number);
            }
            (Untyped::Boolean(value), ColumnKind::Number | ColumnKind::Untyped) => {
                self.boolean(column, value);
            }
            _ => self.text(column, cell),
        }
    }

    pub(super) fn missing(&mut self, column: usize) {
        let code = self.extra_code(column, Histogram::missing_code);
        match &mut self.batch.columns[self.start + column] {
            Column::Numbers { values, .. } => values.push(f64::NAN),
            Column::Codes(codes) => codes.push(code),
            Column::Cells(cells) => cells.push(Cell::Missing),
        }
    }

    /// Adds a cell to a column that nobody knows yet; `false` if the column is no such.
    #[inline]
    fn cell(&mut self, column: usize, cell: impl FnOnce() -> Cell) -> bool {
        let Column::Cells(cells) = &mut self.batch.columns[self.start + column] else { return false };
        cells.push(cell());
        true
    }

    pub(super) fn wrong_type(&mut self, column: usize) {
        self.violate(Some(column), ViolationReason::Type, 1);
        self.other(column);
    }

    fn category(&mut self, column: usize, found: Option<u32>) {
        if let Some(code) = found {
            self.code(column, code);
        } else {
            self.violate(Some(column), ViolationReason::UnseenCategory, 1);
            self.other(column);
        }
    }

    fn other(&mut self, column: usize) {
        let code = self.extra_code(column, Histogram::other_code);
        match &mut self.batch.columns[self.start + column] {
            Column::Numbers { values, n_other } => {
                values.push(f64::NAN);
                *n_other += 1;
            }
            Column::Codes(codes) => codes.push(code),
            Column::Cells(cells) => cells.push(Cell::Nested),
        }
    }

    fn code(&mut self, column: usize, code: u32) {
        if let Column::Codes(codes) = &mut self.batch.columns[self.start + column] {
            codes.push(code);
        }
    }

    fn push_number(&mut self, column: usize, number: f64) {
        if let Column::Numbers { values, .. } = &mut self.batch.columns[self.start + column] {
            values.push(number);
        }
    }

    /// One of the codes that follow those of values.
    fn extra_code(&self, column: usize, code: impl Fn(usize) -> usize) -> u32 {
        let n_codes = match &self.schema.columns()[self.start + column].kind {
            ColumnKind::Category(categories) => categories.len(),
            ColumnKind::Boolean => 2,
            ColumnKind::Number | ColumnKind::Text | ColumnKind::Vector(_) | ColumnKind::Untyped => 0,
        };
        u32::try_from(code(n_codes)).expect("`Categories` gives codes of 32 bits")
    }
}

/// The bytes of `{"b64": "…"}`, as TF Serving writes them; `None` for any other object.
fn binary(scanner: &mut Scanner<'_>) -> Result<Option<Vec<u8>>, DecodeError> {
    let (mut bytes, mut n_keys) = (None, 0);
    scanner.object(|scanner, key| {
        n_keys += 1;
        if key != "b64" || scanner.kind()? != Kind::Text {
            return scanner.skip().map(drop);
        }
        bytes = BASE64_STANDARD.decode(&*scanner.text()?).ok();
        Ok(())
    })?;
    Ok(bytes.filter(|_| n_keys == 1))
}
