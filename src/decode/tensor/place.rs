//! Which column of the model each value of a table of tensors belongs to.

use std::borrow::Cow;

use super::{Data, Table, Tensor};
use crate::baseline::VectorPlace;
use crate::decode::columns::Columns;
use crate::decode::json::Kind;
use crate::decode::v2::for_each_leaf;
use crate::decode::{DecodeError, ViolationReason};
use crate::drift::vector::element;

/// How a tensor divides into rows: its data is `n_rows` times `width` values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Layout {
    n_rows: usize,
    width: usize,
}

/// Where the values of a tensor go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    /// The cells of a row by position, from this one on.
    From(usize),
    /// A vector of another dimension, by its first column.
    NoVector(usize),
    /// The columns `name[0]`, `name[1]` and so on.
    Indexed,
    /// Nowhere: the model has no such column.
    Unexpected,
}

impl Table<'_> {
    /// Several tensors are a column each, by name. One tensor is that too if the model knows its name, else a table by
    /// position.
    pub(super) fn place_features(&self, columns: &mut Columns<'_>) -> Result<(), DecodeError> {
        let layouts: Vec<_> = self.tensors.iter().map(|tensor| layout(tensor, columns)).collect();
        if let ([tensor], [layout]) = (self.tensors, &*layouts)
            && by_name(tensor, *layout, columns) == Target::Unexpected
        {
            return self.place_by_position(&[one_row_or_many(tensor, *layout, columns)], columns);
        }
        if self.none_known(&layouts, columns) && total_width(&layouts) == columns.width() {
            return self.place_by_position(&layouts, columns);
        }
        self.place_by_name(&layouts, columns)
    }

    /// Outputs are named as servers please (`predict`, `predict_proba`, `output-0`), so names that the model does not know
    /// are nothing unexpected: the outputs stand for its predictions in their order, or one of them is as wide as those.
    pub(super) fn place_predictions(&self, columns: &mut Columns<'_>) -> Result<(), DecodeError> {
        let layouts: Vec<_> = self.tensors.iter().map(|tensor| layout(tensor, columns)).collect();
        if !self.none_known(&layouts, columns) {
            return self.place_by_name(&layouts, columns);
        }
        if total_width(&layouts) == columns.width() {
            return self.place_by_position(&layouts, columns);
        }
        columns.found_width(total_width(&layouts));
        let fits = layouts.iter().position(|layout| layout.width == columns.width()).unwrap_or(0);
        let (tensor, layout) = (&self.tensors[fits], layouts[fits]);
        Table { tensors: std::slice::from_ref(tensor), ..*self }
            .place_by_position(&[one_row_or_many(tensor, layout, columns)], columns)
    }

    fn none_known(&self, layouts: &[Layout], columns: &Columns<'_>) -> bool {
        let mut targets =
            self.tensors.iter().zip(layouts).map(|(tensor, layout)| by_name(tensor, *layout, columns));
        targets.all(|target| target == Target::Unexpected)
    }

    fn place_by_position(&self, layouts: &[Layout], columns: &mut Columns<'_>) -> Result<(), DecodeError> {
        let mut column = 0;
        for (tensor, layout) in self.tensors.iter().zip(layouts) {
            self.write(tensor, *layout, Target::From(column), columns)?;
            column += layout.width;
        }
        let n_rows = layouts.iter().map(|layout| layout.n_rows).max().unwrap_or(0);
        if column > columns.width() {
            columns.found_width(column);
            columns.violate(None, ViolationReason::Shape, n_rows as u64);
        }
        columns.end_rows(n_rows, ViolationReason::Shape, &self.json)
    }

    fn place_by_name(&self, layouts: &[Layout], columns: &mut Columns<'_>) -> Result<(), DecodeError> {
        for (tensor, layout) in self.tensors.iter().zip(layouts) {
            self.write(tensor, *layout, by_name(tensor, *layout, columns), columns)?;
        }
        let n_rows = layouts.iter().map(|layout| layout.n_rows).max().unwrap_or(0);
        columns.end_rows(n_rows, ViolationReason::MissingFeature, &self.json)
    }

    fn write(
        &self,
        tensor: &Tensor<'_>,
        layout: Layout,
        target: Target,
        columns: &mut Columns<'_>,
    ) -> Result<(), DecodeError> {
        let Layout { n_rows, width } = layout;
        if target == Target::Unexpected {
            columns.unexpected_tensor(&tensor.name, width, n_rows as u64);
            return Ok(());
        }
        if let Target::NoVector(column) = target {
            if let Some(place) = columns.vector_at(column).filter(|_| !columns.is_begun(column)) {
                (0..n_rows).for_each(|_| columns.no_vector(place, ViolationReason::Shape));
            }
            return Ok(());
        }
        // A tensor of any width takes no more room here than the model has columns.
        let n_cells = columns.width();
        let mut targets: Vec<Option<usize>> = (0..width)
            .map_while(|at| match target {
                Target::From(start) => (start + at < n_cells).then(|| columns.column_of_cell(start + at)),
                Target::Indexed => Some(columns.find(&format!("{}[{at}]", tensor.name))),
                Target::Unexpected | Target::NoVector(_) => None,
            })
            .collect();
        for target in &mut targets {
            if let Some(column) = target.take_if(|column| columns.is_begun(*column)) {
                columns.violate(Some(column), ViolationReason::Shape, n_rows as u64); // a tensor is there twice
            }
        }
        if let Target::From(start) = target
            && columns.has_vectors()
        {
            self.write_vectors(tensor, layout, start, columns)?;
        }
        let target_of = |idx: usize| {
            let column = targets.get(idx % width.max(1)).copied().flatten();
            column.filter(|_| idx < n_rows.saturating_mul(width))
        };
        match &tensor.data {
            Data::Numbers(range) => {
                let numbers = &self.numbers[range.clone()];
                for (at, column) in targets.into_iter().enumerate() {
                    if let Some(column) = column {
                        columns.numbers(column, numbers.iter().skip(at).step_by(width).take(n_rows).copied());
                    }
                }
            }
            Data::Json { text, .. } => {
                let mut idx = 0;
                for_each_leaf(&mut self.json.within(text), 0, &mut |scanner| {
                    let column = target_of(idx);
                    idx += 1;
                    match column {
                        Some(column) => columns.read(column, scanner),
                        None => scanner.skip().map(drop),
                    }
                })?;
            }
            Data::Texts(texts) => {
                for (idx, text) in texts.iter().enumerate() {
                    if let Some(column) = target_of(idx) {
                        columns.text(column, &String::from_utf8_lossy(text));
                    }
                }
            }
            Data::Booleans(booleans) => {
                for (idx, boolean) in booleans.iter().enumerate() {
                    if let Some(column) = target_of(idx) {
                        columns.boolean(column, *boolean != 0);
                    }
                }
            }
        }
        Ok(())
    }

    /// The vectors that begin in the cells of a tensor, row by row.
    fn write_vectors(
        &self,
        tensor: &Tensor<'_>,
        Layout { n_rows, width }: Layout,
        start: usize,
        columns: &mut Columns<'_>,
    ) -> Result<(), DecodeError> {
        let cells = start..start.saturating_add(width);
        let begin_here = |place: &&VectorPlace| cells.contains(&place.first_cell);
        let mut places = columns.vectors().iter().filter(begin_here).peekable();
        if places.peek().is_none() {
            return Ok(());
        }
        let values = tensor.as_numbers(self)?;
        let mut numbers = Vec::new();
        for place in places {
            if columns.is_begun(place.columns.start) {
                columns.violate(Some(place.columns.start), ViolationReason::Shape, n_rows as u64);
                continue;
            }
            let first = place.first_cell - start;
            // What is all of a wider row is no vector with something behind it.
            let len = if columns.is_one_vector() { width } else { place.dimension.min(width - first) };
            for row in values.chunks_exact(width).take(n_rows) {
                numbers.clear();
                numbers.extend(row[first..][..len].iter().copied().map(element));
                columns.vector(place, &numbers);
            }
        }
        Ok(())
    }
}

impl Tensor<'_> {
    /// Its values as numbers, `NaN` for what is none.
    fn as_numbers<'n>(&self, table: &Table<'n>) -> Result<Cow<'n, [f64]>, DecodeError> {
        let mut numbers = Vec::new();
        match &self.data {
            Data::Numbers(range) => return Ok(table.numbers[range.clone()].into()),
            Data::Json { text, .. } => for_each_leaf(&mut table.json.within(text), 0, &mut |scanner| {
                let number = match scanner.kind()? {
                    Kind::Number => scanner.number()?,
                    _ => scanner.skip().map(|_| f64::NAN)?,
                };
                numbers.push(number);
                Ok(())
            })?,
            Data::Texts(texts) => numbers.resize(texts.len(), f64::NAN),
            Data::Booleans(booleans) => {
                numbers.extend(booleans.iter().map(|boolean| f64::from(u8::from(*boolean != 0))));
            }
        }
        Ok(numbers.into())
    }
}

fn by_name(tensor: &Tensor<'_>, layout: Layout, columns: &Columns<'_>) -> Target {
    let column = columns.find(&tensor.name);
    match column.map(|column| (column, columns.vector_at(column))) {
        Some((column, Some(place))) if layout.width != place.dimension => Target::NoVector(column),
        Some((_, Some(place))) => Target::From(place.first_cell),
        Some((column, None)) if layout.width <= 1 => Target::From(columns.cell_of_column(column)),
        _ if columns.find(&format!("{}[0]", tensor.name)).is_some() => Target::Indexed,
        _ => Target::Unexpected,
    }
}

fn total_width(layouts: &[Layout]) -> usize {
    layouts.iter().map(|layout| layout.width).fold(0, usize::saturating_add)
}

/// The first dimension counts rows. Servers reshape, and so some callers send shapes that are not those of their data:
/// then the data counts.
fn layout(tensor: &Tensor<'_>, columns: &mut Columns<'_>) -> Layout {
    let n_values = tensor.data.len();
    let width =
        tensor.shape.iter().skip(1).fold(1usize, |product, &dimension| product.saturating_mul(dimension));
    let n_rows = tensor.shape.first().copied().unwrap_or(1);
    // One vector by name, without a dimension for rows.
    if columns.has_vectors()
        && tensor.shape.len() < 2
        && let Some(place) = columns.find(&tensor.name).and_then(|column| columns.vector_at(column))
        && place.dimension == n_values
    {
        return Layout { n_rows: 1, width: n_values };
    }
    if n_values == 0 && (n_rows == 0 || width == 0) {
        return Layout { n_rows: 0, width: width.min(columns.width()) };
    }
    if n_rows.saturating_mul(width) == n_values {
        return Layout { n_rows, width };
    }
    columns.violate(None, ViolationReason::Shape, 1);
    if width > 0 && n_values.is_multiple_of(width) {
        Layout { n_rows: n_values / width, width }
    } else {
        Layout { n_rows: n_values, width: 1 }
    }
}

/// `[n]` is `n` rows of one column, as MLServer has it. Only where that cannot be, it is one row: the model has as many
/// columns, and a response has not one row for each of the request's.
fn one_row_or_many(tensor: &Tensor<'_>, layout: Layout, columns: &Columns<'_>) -> Layout {
    let is_flat = tensor.shape.len() < 2 && layout.width == 1;
    let as_many_rows =
        columns.role() == crate::baseline::Role::Prediction && layout.n_rows == columns.n_feature_rows();
    if is_flat && columns.width() > 1 && layout.n_rows == columns.width() && !as_many_rows {
        Layout { n_rows: 1, width: layout.n_rows }
    } else {
        layout
    }
}
