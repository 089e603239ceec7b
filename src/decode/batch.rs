//! The rows of one exchange as columns, ready to be counted.

use crate::baseline::{ColumnKind, Role, Schema};
use crate::table::Cell;

/// The values of one column, in row order.
#[derive(Clone, Debug, PartialEq)]
pub enum Column {
    /// A number a row; `NaN` for a missing value and for one of the wrong type, of which there are `n_other`.
    Numbers {
        /// One a row.
        values: Vec<f64>,
        /// How many of the `NaN`s stand for a value of the wrong type rather than a missing one.
        n_other: u64,
    },
    /// A histogram index a row: the category's code, or the codes of [`crate::drift::Histogram`] for missing and other.
    Codes(Vec<u32>),
    /// A cell a row as it stands, of a column that nobody knows yet.
    Cells(Vec<Cell>),
}

impl Column {
    /// Number of rows.
    pub fn len(&self) -> usize {
        match self {
            Self::Numbers { values, .. } => values.len(),
            Self::Codes(codes) => codes.len(),
            Self::Cells(cells) => cells.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What a body has that the schema has no column for: how the columns of an unknown model are found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Names, in the order of the body.
    pub names: Vec<Box<str>>,
    /// Values of the widest row by position; 0 if none is wider than the schema.
    pub width: usize,
}

impl Found {
    /// Columns of a body that are looked at.
    pub const MAX_COLUMNS: usize = 512;
    /// Bytes of a name: a longer one is no name.
    pub const MAX_NAME_LEN: usize = 128;

    /// Whether there may be more than is looked at.
    pub fn is_too_wide(&self) -> bool {
        self.names.len() >= Self::MAX_COLUMNS || self.width >= Self::MAX_COLUMNS
    }

    /// Notes a name, if there is room.
    pub(super) fn name(&mut self, name: &str) {
        let fits = self.names.len() < Self::MAX_COLUMNS && name.len() <= Self::MAX_NAME_LEN;
        if fits && !self.names.iter().any(|known| **known == *name) {
            self.names.push(name.into());
        }
    }
}

/// A way in which an exchange broke the model's contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub enum ViolationReason {
    /// A feature of the baseline was not in the request at all.
    MissingFeature,
    /// The request had a feature that the baseline does not know.
    UnexpectedFeature,
    /// A value was not of the column's type.
    Type,
    /// Rows were not as wide as the model, or a tensor's shape contradicts its data.
    Shape,
    /// A category the baseline has not seen.
    UnseenCategory,
}

impl ViolationReason {
    /// The label value of this reason.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MissingFeature => "missing_feature",
            Self::UnexpectedFeature => "unexpected_feature",
            Self::Type => "type",
            Self::Shape => "shape",
            Self::UnseenCategory => "unseen_category",
        }
    }
}

/// How often one column broke the contract in one way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Index in [`Schema::columns`]; `None` for a column that the baseline does not know.
    pub column: Option<usize>,
    /// In which way.
    pub reason: ViolationReason,
    /// In how many rows.
    pub n_rows: u64,
}

/// The rows of one exchange: a column for each of [`Schema::columns`], all features of one length and all predictions
/// of one length. Reused from exchange to exchange, so a decoder allocates only while its largest batch grows.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// Rows in the feature columns.
    pub n_feature_rows: usize,
    /// Rows in the prediction columns.
    pub n_prediction_rows: usize,
    /// In the order of [`Schema::columns`].
    pub columns: Vec<Column>,
    /// What broke the contract, each `(column, reason)` at most once.
    pub violations: Vec<Violation>,
    /// Names of unexpected features, at most [`Self::MAX_UNEXPECTED`], for people to read.
    pub unexpected: Vec<Box<str>>,
    /// What the schema has no column for, where that is looked for.
    pub found: Option<Found>,
}

impl Batch {
    /// Names of unexpected features kept for one exchange.
    pub const MAX_UNEXPECTED: usize = 16;

    /// An empty batch for the columns of `schema`.
    pub fn new(schema: &Schema) -> Self {
        let column = |kind: &ColumnKind| match kind {
            ColumnKind::Number | ColumnKind::Text | ColumnKind::Vector(_) => {
                Column::Numbers { values: Vec::new(), n_other: 0 }
            }
            ColumnKind::Boolean | ColumnKind::Category(_) => Column::Codes(Vec::new()),
            ColumnKind::Untyped => Column::Cells(Vec::new()),
        };
        Self {
            n_feature_rows: 0,
            n_prediction_rows: 0,
            columns: schema.columns().iter().map(|spec| column(&spec.kind)).collect(),
            violations: Vec::new(),
            unexpected: Vec::new(),
            found: None,
        }
    }

    /// Rows of one role.
    pub fn n_rows(&self, role: Role) -> usize {
        match role {
            Role::Feature => self.n_feature_rows,
            Role::Prediction => self.n_prediction_rows,
        }
    }

    /// Forgets the rows and keeps the memory.
    pub fn clear(&mut self) {
        for column in &mut self.columns {
            match column {
                Column::Numbers { values, n_other } => {
                    values.clear();
                    *n_other = 0;
                }
                Column::Codes(codes) => codes.clear(),
                Column::Cells(cells) => cells.clear(),
            }
        }
        (self.n_feature_rows, self.n_prediction_rows) = (0, 0);
        self.violations.clear();
        self.unexpected.clear();
    }

    /// Counts `n_rows` more rows in which `column` broke the contract in the way of `reason`.
    pub fn violate(&mut self, column: Option<usize>, reason: ViolationReason, n_rows: u64) {
        match self.violations.iter_mut().find(|seen| seen.column == column && seen.reason == reason) {
            Some(seen) => seen.n_rows += n_rows,
            None => self.violations.push(Violation { column, reason, n_rows }),
        }
    }
}
