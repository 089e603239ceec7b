//! The first rows of one model, in columns that are found on the way.

use std::sync::Arc;

use super::{Read, is_anything};
use crate::baseline::build::{BuildError, BuildOptions, RowsColumn, build_from_rows};
use crate::baseline::{Baseline, ColumnKind, ColumnSpec, Role, Schema};
use crate::decode::{Batch, Column, Found};
use crate::table::Cell;
use crate::telemetry::process::LEARNING_FULL;

/// A body whose columns are still not all known when it was read so often is none that can be learnt from. The first time finds names,
/// the second how they are laid out, the third reads.
const MAX_PASSES: usize = 4;

/// The first rows of one model.
#[derive(Debug)]
pub struct Sample {
    schema: Schema,
    /// In the order of the schema.
    columns: Vec<Vec<Cell>>,
    n_rows: u64,
    n_bytes: usize,
}

impl Default for Sample {
    fn default() -> Self {
        Self { schema: Schema::new([]), columns: Vec::new(), n_rows: 0, n_bytes: 0 }
    }
}

impl Sample {
    /// Rows so far.
    pub fn n_rows(&self) -> u64 {
        self.n_rows
    }

    /// Adds the rows of an exchange: it is read again while it has columns that are new. Rows without an answer of the same number
    /// of rows have no predictions.
    ///
    /// # Errors
    /// Why it was left out, as a label value.
    pub fn add(&mut self, read: &mut Read<'_>, max_rows: u64, max_bytes: usize) -> Result<(), &'static str> {
        for _ in 0..MAX_PASSES {
            let mut batch = Batch::new(&self.schema);
            batch.found = Some(Found::default());
            read(Role::Feature, &self.schema, &mut batch).map_err(|error| error.kind())?;
            let of_features = batch.found.replace(Found::default()).unwrap_or_default();
            // What is no answer that we read leaves the features all the same.
            let of_predictions = match read(Role::Prediction, &self.schema, &mut batch) {
                Ok(()) => batch.found.take().unwrap_or_default(),
                Err(_) => Found::default(),
            };
            if !is_anything(&of_features) && !is_anything(&of_predictions) {
                return self.append(&mut batch, max_rows, max_bytes);
            }
            if of_features.is_too_wide() || of_predictions.is_too_wide() {
                return Err("too_many_cells");
            }
            self.grow([(Role::Feature, of_features), (Role::Prediction, of_predictions)], max_bytes)?;
        }
        Err("no_rows")
    }

    fn grow(&mut self, found: [(Role, Found); 2], max_bytes: usize) -> Result<(), &'static str> {
        let mut specs = self.schema.columns().to_vec();
        for (role, Found { names, width }) in found {
            let untyped = |name: Box<str>| ColumnSpec { name, role, kind: ColumnKind::Untyped };
            let is_there = |specs: &[ColumnSpec], name: &str| {
                specs.iter().any(|spec| spec.role == role && *spec.name == *name)
            };
            for name in names {
                if !is_there(&specs, &name) {
                    specs.push(untyped(name));
                }
            }
            let n_columns = specs.iter().filter(|spec| spec.role == role).count();
            for at in n_columns..width {
                let mut name = format!("{}_{at}", role.as_str());
                while is_there(&specs, &name) {
                    name.push('_');
                }
                specs.push(untyped(name.into()));
            }
        }
        let n_new = specs.len() - self.columns.len();
        let n_rows = usize::try_from(self.n_rows).unwrap_or(usize::MAX);
        let n_bytes = self.n_bytes + n_new * n_rows * size_of::<Cell>();
        if specs.len() > 2 * Found::MAX_COLUMNS || n_bytes > max_bytes {
            return Err(LEARNING_FULL);
        }
        self.n_bytes = n_bytes;
        let schema = Schema::new(specs);
        let mut known = std::mem::take(&mut self.columns).into_iter();
        let (old, mut columns) = (&self.schema, Vec::with_capacity(schema.columns().len()));
        for spec in schema.columns() {
            let is_known = old.find(spec.role, &spec.name).is_some();
            // Both orders are the same for what both have.
            let column = if is_known { known.next() } else { None };
            columns.push(column.unwrap_or_else(|| vec![Cell::Missing; n_rows]));
        }
        (self.schema, self.columns) = (schema, columns);
        Ok(())
    }

    fn append(&mut self, batch: &mut Batch, max_rows: u64, max_bytes: usize) -> Result<(), &'static str> {
        if self.columns.is_empty() {
            return Err("no_rows");
        }
        let n_left = usize::try_from(max_rows.saturating_sub(self.n_rows)).unwrap_or(usize::MAX);
        let n_new = batch.n_feature_rows.min(n_left);
        let has_answer = batch.n_prediction_rows == batch.n_feature_rows;
        let heap = |cell: &Cell| if let Cell::Text(text) = cell { text.len() } else { 0 };
        let mut n_bytes = self.n_bytes + n_new * self.columns.len() * size_of::<Cell>();
        for column in &batch.columns {
            if let Column::Cells(cells) = column {
                n_bytes += cells.iter().take(n_new).map(heap).sum::<usize>();
            }
        }
        if n_bytes > max_bytes {
            return Err(LEARNING_FULL);
        }
        for ((spec, column), rows) in
            self.schema.columns().iter().zip(&mut batch.columns).zip(&mut self.columns)
        {
            match column {
                Column::Cells(cells) if spec.role == Role::Feature || has_answer => {
                    rows.extend(cells.drain(..).take(n_new));
                }
                _ => (),
            }
            let n_whole = usize::try_from(self.n_rows).unwrap_or(usize::MAX).saturating_add(n_new);
            rows.resize(n_whole.max(rows.len()), Cell::Missing);
        }
        self.n_rows += n_new as u64;
        self.n_bytes = n_bytes;
        Ok(())
    }

    /// The baseline of these rows, by the builder of all baselines. Categories are kept as hashes: nobody has agreed to have values of
    /// traffic written down.
    ///
    /// # Errors
    /// [`BuildError`] if there is nothing to make one of.
    pub fn into_baseline(self) -> Result<Baseline, BuildError> {
        let options = BuildOptions { hash_categories: true, ..BuildOptions::default() };
        let specs = self.schema.columns().iter().zip(self.columns);
        let column = |(spec, cells): (&ColumnSpec, Vec<Cell>)| RowsColumn {
            name: Arc::from(&*spec.name),
            role: spec.role,
            cells,
        };
        build_from_rows(specs.map(column).collect(), self.n_rows, &options).map(|built| built.baseline)
    }
}
