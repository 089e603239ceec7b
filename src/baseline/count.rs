//! Cells of a table into bins, as the daemon counts the same values in traffic.

use std::collections::HashMap;
use std::ops::Range;

use arrow_array::Array;
use twox_hash::XxHash3_64;

use super::{Baseline, Categories, ColumnKind, FeatureBaseline, Role, VectorColumn};
use crate::drift::{BinEdges, Bins, Histogram, Recorder, kernels};
use crate::table::{Cell, Cells, Table, Untyped, list_of_numbers, meaning};

/// Counts the cells of one column.
#[derive(Debug)]
pub(crate) enum Counter {
    /// Numbers by edges.
    Numbers(Recorder, usize),
    /// Lengths of texts by edges.
    Lengths(Recorder, usize),
    /// What is made of vectors, by edges.
    Vectors(Recorder, usize, VectorColumn),
    /// `false` and `true`.
    Booleans,
    /// Known categories.
    Categories(Categories),
}

impl Counter {
    pub(crate) fn numbers(edges: &BinEdges, of_text: bool) -> Self {
        let recorder = Recorder::new(edges);
        if of_text {
            Self::Lengths(recorder, edges.n_bins())
        } else {
            Self::Numbers(recorder, edges.n_bins())
        }
    }

    pub(crate) fn vectors(edges: &BinEdges, of: VectorColumn) -> Self {
        Self::Vectors(Recorder::new(edges), edges.n_bins(), of)
    }

    pub(crate) fn zero(&self) -> Histogram {
        Histogram::new(match self {
            Self::Numbers(_, n_bins) | Self::Lengths(_, n_bins) | Self::Vectors(_, n_bins, _) => *n_bins,
            Self::Booleans => 2,
            Self::Categories(categories) => categories.len(),
        })
    }

    /// That of a feature as it was counted for its baseline.
    pub(crate) fn of(feature: &FeatureBaseline) -> Self {
        match (feature.kind(), feature.reference().bins()) {
            (ColumnKind::Vector(of), Bins::Numeric { edges, .. }) => Self::vectors(edges, of),
            (kind, Bins::Numeric { edges, .. }) => Self::numbers(edges, matches!(kind, ColumnKind::Text)),
            (ColumnKind::Category(categories), _) => Self::Categories(categories),
            (_, Bins::Categorical { .. }) => Self::Booleans,
        }
    }

    /// Counts some rows as the daemon counts the same values in traffic.
    pub(crate) fn count(&self, cells: &Cells, rows: Range<usize>, histogram: &mut Histogram) {
        match (self, cells) {
            (Self::Numbers(recorder, _), Cells::Numbers(numbers)) => {
                recorder.record(&numbers[rows], histogram);
            }
            (Self::Numbers(recorder, _) | Self::Lengths(recorder, _) | Self::Vectors(recorder, ..), _) => {
                let (mut values, mut n_other) = (Vec::new(), 0);
                for_each(cells, rows, |cell| {
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
                for_each(cells, rows, |cell| {
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
            (Self::Vectors(_, _, of), Value::Vector(numbers)) => of.of(numbers),
            (Self::Vectors(_, _, of), Value::Untyped(text)) => of.of(&list_of_numbers(text)?),
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
            (_, Value::Missing | Value::Vector(_)) => None,
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
    Vector(&'a [f32]),
}

fn for_each(cells: &Cells, rows: Range<usize>, mut each: impl FnMut(Value<'_>)) {
    match cells {
        Cells::Numbers(numbers) => numbers[rows].iter().for_each(|&number| {
            each(if number.is_nan() { Value::Missing } else { Value::Number(number) });
        }),
        Cells::Booleans(booleans) => rows.for_each(|at| {
            each(if booleans.is_null(at) { Value::Missing } else { Value::Boolean(booleans.value(at)) });
        }),
        Cells::Texts(texts) => rows.for_each(|at| {
            each(if texts.is_null(at) { Value::Missing } else { Value::Text(texts.value(at)) });
        }),
        Cells::Untyped(texts) => rows.for_each(|at| {
            let text = if texts.is_null(at) { "" } else { texts.value(at) };
            each(if matches!(meaning(text), Untyped::Missing) {
                Value::Missing
            } else {
                Value::Untyped(text)
            });
        }),
        Cells::Vectors(vectors) => {
            rows.for_each(|at| each(vectors.get(at).map_or(Value::Missing, Value::Vector)));
        }
        // A line of JSON may leave columns out, the last ones too.
        Cells::Mixed(cells) => rows.for_each(|at| {
            each(match cells.get(at) {
                None | Some(Cell::Missing | Cell::Nested) => Value::Missing,
                Some(Cell::Number(number)) => Value::Number(*number),
                Some(Cell::Boolean(value)) => Value::Boolean(*value),
                Some(Cell::Text(text)) => Value::Text(text),
                Some(Cell::Vector(numbers)) => Value::Vector(numbers),
            });
        }),
    }
}

/// Counts the columns of tables over the bins of a baseline, all of them.
#[derive(Debug)]
pub(crate) struct TableCounter {
    columns: Vec<(Role, Counter)>,
    /// By the name in tables, which is that of a vector where several columns are made of one.
    by_name: HashMap<String, Vec<usize>>,
}

impl TableCounter {
    pub(crate) fn new(baseline: &Baseline) -> Self {
        let features = baseline.features();
        let mut by_name: HashMap<String, Vec<usize>> = HashMap::new();
        for (at, feature) in features.iter().enumerate() {
            by_name.entry(feature.source().to_owned()).or_default().push(at);
        }
        Self {
            columns: features.iter().map(|feature| (feature.role, Counter::of(feature))).collect(),
            by_name,
        }
    }

    /// A histogram a column, all empty.
    pub(crate) fn zero(&self) -> Vec<Histogram> {
        self.columns.iter().map(|(_, counter)| counter.zero()).collect()
    }

    /// Whether the baseline has a column of this name.
    pub(crate) fn knows(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    /// Counts some rows of a table. A feature that the table has not is missing in all of them; a prediction is not there.
    pub(crate) fn count(&self, table: &Table, rows: &Range<usize>, counts: &mut [Histogram]) {
        let mut is_there = vec![false; self.columns.len()];
        for (name, cells) in &table.columns {
            for &at in self.by_name.get(&**name).into_iter().flatten() {
                self.columns[at].1.count(cells, rows.clone(), &mut counts[at]);
                is_there[at] = true;
            }
        }
        for (at, (role, _)) in self.columns.iter().enumerate() {
            if !is_there[at] && *role == Role::Feature {
                let missing = vec![0; counts[at].n_bins()];
                counts[at].add(&Histogram::from_parts(&missing, rows.len() as u64, 0));
            }
        }
    }

    /// How many rows have a value in a column that the baseline does not know.
    pub(crate) fn n_unexpected(&self, table: &Table, rows: &Range<usize>) -> u64 {
        let unknown = table.columns.iter().filter(|(name, _)| !self.knows(name));
        let has_value = |cells: &Cells, at| match cells {
            Cells::Mixed(cells) => cells.get(at).is_some_and(|cell| *cell != Cell::Missing),
            _ => true,
        };
        let unknown: Vec<_> = unknown.map(|(_, cells)| cells).collect();
        rows.clone().filter(|&at| unknown.iter().any(|cells| has_value(cells, at))).count() as u64
    }

    /// A hash of the features of every row: what stands for a request's body. `None` where a value is missing, which makes
    /// rows alike that need not be.
    pub(crate) fn hashes(&self, table: &Table) -> Vec<Option<u64>> {
        let n_rows = usize::try_from(table.n_rows).expect("a table fits into memory");
        let mut hashes = vec![Some(0u64); n_rows];
        for (name, cells) in &table.columns {
            let Some(&at) = self.by_name.get(&**name).and_then(|columns| columns.first()) else { continue };
            if self.columns[at].0 != Role::Feature {
                continue;
            }
            let mut hash = hashes.iter_mut();
            for_each(cells, 0..n_rows, |value| {
                let of_value = match value {
                    Value::Missing => None,
                    Value::Number(number) => Some(number.to_bits()),
                    Value::Boolean(value) => Some(u64::from(value)),
                    Value::Text(text) | Value::Untyped(text) => Some(XxHash3_64::oneshot(text.as_bytes())),
                    Value::Vector(numbers) => {
                        Some(numbers.iter().fold(0, |hash, number| {
                            XxHash3_64::oneshot_with_seed(hash, &number.to_le_bytes())
                        }))
                    }
                };
                if let Some(hash) = hash.next() {
                    let mix = |(hash, value): (u64, u64)| {
                        XxHash3_64::oneshot_with_seed(hash ^ at as u64, &value.to_le_bytes())
                    };
                    *hash = hash.zip(of_value).map(mix);
                }
            });
        }
        hashes
    }
}
