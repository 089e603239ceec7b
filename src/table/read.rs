//! One unit of a file into columns of cells.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Float64Type;
use arrow_array::{Array, ArrayRef};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ParquetRecordBatchReaderBuilder};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::source::{Input, InputFormat, Unit};
use super::vectors::{Vectors, item};
use super::{Cell, Cells, Table, TableError};
use crate::drift::decimal;
use crate::drift::vector::element;

/// Rows that are held as columns at a time.
const BATCH_ROWS: usize = 8192;

/// Numbers in lists that are held at a time: rows are fewer where they hold long ones.
const BATCH_LISTED: usize = 1 << 20;

/// What the columns of a file are, where it has some on top.
#[derive(Clone, Debug)]
pub(crate) enum Header {
    Csv(SchemaRef),
    Parquet(SchemaRef),
    /// Each line says for itself.
    Jsonl,
}

impl Header {
    /// Reads it.
    pub(crate) fn read(input: &Input) -> Result<Self, TableError> {
        match input.format {
            InputFormat::Jsonl => Ok(Self::Jsonl),
            InputFormat::Parquet => match input.units()?.schema() {
                Some(schema) => Ok(Self::Parquet(schema)),
                None => Err(input.parquet_error("no schema")),
            },
            InputFormat::Csv => {
                let file = File::open(&input.path).map_err(|source| input.read_error(source))?;
                let mut reader = csv::ReaderBuilder::new().from_reader(file);
                let names = reader.headers().map_err(|error| input.line_error(1, error))?;
                let names: Vec<&str> = names.iter().map(|name| name.trim_start_matches('\u{feff}')).collect();
                if let Some((at, _)) = names.iter().enumerate().find(|(at, name)| names[..*at].contains(name))
                {
                    let problem = format!("column `{}` is there twice in the header", names[at]);
                    return Err(input.line_error(1, problem));
                }
                let fields: Vec<_> =
                    names.iter().map(|name| Field::new(*name, DataType::Utf8, true)).collect();
                Ok(Self::Csv(Arc::new(Schema::new(fields))))
            }
        }
    }

    /// Names of its columns; `None` where each line says for itself.
    pub(crate) fn names(&self) -> Option<Vec<&str>> {
        match self {
            Self::Csv(schema) | Self::Parquet(schema) => {
                Some(schema.fields().iter().map(|field| field.name().as_str()).collect())
            }
            Self::Jsonl => None,
        }
    }
}

/// Reads a unit and hands it on in tables of a few thousand rows, leaving out the columns that are not `wanted`.
pub(crate) fn read(
    input: &Input,
    header: &Header,
    unit: Unit,
    wanted: &(dyn Fn(&str) -> bool + Sync),
    each: &mut dyn FnMut(Table) -> Result<(), TableError>,
) -> Result<(), TableError> {
    match (unit, header) {
        (Unit::Block { bytes, first_line }, Header::Csv(schema)) => {
            read_csv(input, schema, &bytes, first_line, wanted, each)
        }
        (Unit::Block { bytes, first_line }, _) => read_jsonl(input, &bytes, first_line, wanted, each),
        (Unit::RowGroup { metadata, at }, _) => {
            let file = File::open(&input.path).map_err(|source| input.read_error(source))?;
            let fields = metadata.schema().fields();
            let roots = fields.iter().enumerate().filter(|(_, field)| wanted(field.name())).map(|(at, _)| at);
            let mask = ProjectionMask::roots(metadata.parquet_schema(), roots.collect::<Vec<_>>());
            let n_rows = rows_at_a_time(&metadata, at, &mask);
            let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata)
                .with_row_groups(vec![at])
                .with_projection(mask)
                .with_batch_size(n_rows)
                .build()
                .map_err(|source| input.parquet_error(source))?;
            for batch in reader {
                let batch = batch.map_err(|source| input.parquet_error(source))?;
                let schema = batch.schema();
                let columns = schema.fields().iter().zip(batch.columns()).map(|(field, array)| {
                    let cells = typed_cells(array).map_err(|found| TableError::Column {
                        path: input.name(),
                        column: field.name().clone(),
                        found,
                    })?;
                    Ok((Arc::from(field.name().as_str()), cells))
                });
                let columns = columns.collect::<Result<_, TableError>>()?;
                each(Table { n_rows: batch.num_rows() as u64, columns })?;
            }
            Ok(())
        }
    }
}

/// Rows of a row group that may be columns at a time. Its metadata say how many numbers its lists have.
fn rows_at_a_time(metadata: &ArrowReaderMetadata, row_group: usize, mask: &ProjectionMask) -> usize {
    let row_group = metadata.metadata().row_group(row_group);
    let leaves = row_group.columns().iter().enumerate();
    let listed = leaves
        .filter(|(at, leaf)| mask.leaf_included(*at) && leaf.column_descr().max_rep_level() > 0)
        .map(|(_, leaf)| u64::try_from(leaf.num_values()).unwrap_or(0))
        .sum::<u64>();
    let n_rows = u64::try_from(row_group.num_rows()).unwrap_or(0).max(1);
    let per_row = usize::try_from(listed.div_ceil(n_rows)).unwrap_or(usize::MAX);
    (BATCH_LISTED / per_row.max(1)).clamp(1, BATCH_ROWS)
}

fn read_csv(
    input: &Input,
    schema: &SchemaRef,
    bytes: &[u8],
    first_line: u64,
    wanted: &(dyn Fn(&str) -> bool + Sync),
    each: &mut dyn FnMut(Table) -> Result<(), TableError>,
) -> Result<(), TableError> {
    let fields = schema.fields();
    let kept: Vec<_> = (0..fields.len()).filter(|at| wanted(fields[*at].name())).collect();
    let names: Vec<Arc<str>> = kept.iter().map(|at| fields[*at].name().as_str().into()).collect();
    let reader = arrow_csv::ReaderBuilder::new(Arc::clone(schema))
        .with_header(first_line == 1)
        .with_batch_size(BATCH_ROWS)
        .with_projection(kept)
        .build_buffered(bytes)
        .map_err(|error| input.line_error(first_line, error))?;
    for batch in reader {
        // Its own line numbers count from the start of the block.
        let batch = batch.map_err(|error| input.line_error(first_line, format!("or after it: {error}")))?;
        let cells = batch.columns().iter().map(|array| Cells::Untyped(array.as_string::<i32>().clone()));
        each(Table { n_rows: batch.num_rows() as u64, columns: names.iter().cloned().zip(cells).collect() })?;
    }
    Ok(())
}

/// A column of a Parquet file; what it holds instead if that is nothing to count.
fn typed_cells(array: &ArrayRef) -> Result<Cells, String> {
    let cast = |to: &DataType| arrow_cast::cast(array, to).map_err(|error| error.to_string());
    match array.data_type() {
        DataType::Boolean => Ok(Cells::Booleans(array.as_boolean().clone())),
        DataType::Utf8 => Ok(Cells::Texts(array.as_string::<i32>().clone())),
        DataType::LargeUtf8 | DataType::Utf8View | DataType::Dictionary(..) => {
            Ok(Cells::Texts(cast(&DataType::Utf8)?.as_string::<i32>().clone()))
        }
        data_type if data_type.is_numeric() => {
            let array = cast(&DataType::Float64)?;
            let numbers = array.as_primitive::<Float64Type>();
            Ok(Cells::Numbers(if numbers.null_count() == 0 {
                numbers.values().iter().copied().map(decimal).collect()
            } else {
                numbers.iter().map(|number| number.map_or(f64::NAN, decimal)).collect()
            }))
        }
        DataType::Null => Ok(Cells::Numbers(vec![f64::NAN; array.len()])),
        other if item(other).is_some() => match Vectors::of(array) {
            Some(vectors) => vectors.map(Cells::Vectors),
            None => Err(format!("values of type {other}, which are no lists of numbers")),
        },
        other => Err(format!("values of type {other}, which is no number, text, boolean or list of numbers")),
    }
}

/// A line of JSON: only its keys and the kind of each value, in the order of the text.
struct Row(Vec<(Box<str>, Cell)>);

fn read_jsonl(
    input: &Input,
    bytes: &[u8],
    first_line: u64,
    wanted: &(dyn Fn(&str) -> bool + Sync),
    each: &mut dyn FnMut(Table) -> Result<(), TableError>,
) -> Result<(), TableError> {
    let mut names: HashMap<Box<str>, usize> = HashMap::new();
    let mut table = Table { n_rows: 0, columns: Vec::new() };
    for (line, text) in (first_line..).zip(bytes.split(|byte| *byte == b'\n')) {
        if text.trim_ascii().is_empty() {
            continue;
        }
        let Row(cells) = serde_json::from_slice(text).map_err(|error| {
            let hint = "each line must be a JSON object; a missing number is `null`";
            input.line_error(line, format!("{error}; {hint}"))
        })?;
        for (name, cell) in cells {
            if !wanted(&name) {
                continue;
            }
            if cell == Cell::Nested {
                let found = format!("an object, or a list of something else than numbers, in line {line}");
                return Err(TableError::Column { path: input.name(), column: name.into(), found });
            }
            let at = *names.entry(name).or_insert_with_key(|name| {
                table.columns.push((Arc::from(&**name), Cells::Mixed(Vec::new())));
                table.columns.len() - 1
            });
            if let Cells::Mixed(column) = &mut table.columns[at].1 {
                // A key that is there twice counts as its last value, as in every JSON library.
                let row = usize::try_from(table.n_rows).expect("at most `BATCH_ROWS`");
                column.truncate(row);
                column.resize_with(row, || Cell::Missing);
                column.push(cell);
            }
        }
        table.n_rows += 1;
        if table.n_rows == BATCH_ROWS as u64 {
            names.clear();
            each(std::mem::replace(&mut table, Table { n_rows: 0, columns: Vec::new() }))?;
        }
    }
    each(table)
}

impl<'de> Deserialize<'de> for Row {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct RowVisitor;
        impl<'de> Visitor<'de> for RowVisitor {
            type Value = Row;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Row, A::Error> {
                let mut cells: Vec<(Box<str>, Cell)> = Vec::with_capacity(map.size_hint().unwrap_or(16));
                while let Some(entry) = map.next_entry()? {
                    cells.push(entry);
                }
                Ok(Row(cells))
            }
        }
        deserializer.deserialize_map(RowVisitor)
    }
}

impl<'de> Deserialize<'de> for Cell {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct CellVisitor;
        #[expect(clippy::cast_precision_loss, reason = "features are f64 wherever they come from")]
        impl<'de> Visitor<'de> for CellVisitor {
            type Value = Cell;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a value")
            }

            fn visit_bool<E>(self, value: bool) -> Result<Cell, E> {
                Ok(Cell::Boolean(value))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Cell, E> {
                Ok(Cell::Number(value as f64))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Cell, E> {
                Ok(Cell::Number(value as f64))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Cell, E> {
                Ok(Cell::Number(decimal(value)))
            }

            fn visit_str<E>(self, value: &str) -> Result<Cell, E> {
                Ok(Cell::Text(value.into()))
            }

            fn visit_unit<E>(self) -> Result<Cell, E> {
                Ok(Cell::Missing)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Cell, A::Error> {
                let mut numbers = Some(Vec::new());
                while let Some(cell) = seq.next_element::<Cell>()? {
                    match (&mut numbers, cell) {
                        (Some(numbers), Cell::Number(number)) => numbers.push(element(number)),
                        (Some(numbers), Cell::Missing) => numbers.push(f32::NAN),
                        _ => numbers = None,
                    }
                }
                Ok(numbers.map_or(Cell::Nested, |numbers| Cell::Vector(numbers.into())))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Cell, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Cell::Nested)
            }
        }
        deserializer.deserialize_any(CellVisitor)
    }
}
