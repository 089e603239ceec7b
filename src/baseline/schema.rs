//! What a decoder must know of a model: its columns, in order, and how the values of each are read.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::drift::vector;

/// Whether a column goes into the model or comes out of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// An input of the model.
    Feature,
    /// An output of the model.
    Prediction,
}

impl Role {
    /// The label value of this role.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Feature => "feature",
            Self::Prediction => "prediction",
        }
    }
}

/// The known categories of one column. A category's code is its index, and so its bin in the histogram.
#[derive(Clone, Debug, Default)]
pub struct Categories {
    by_text: HashMap<Box<str>, u32>,
    by_number: HashMap<u64, u32>,
    hashed: bool,
}

/// What stands for a category where the baseline must not tell: the first 8 bytes of its SHA-256, in hex. Categories
/// that can be guessed can be found again; this keeps them from being read, not from being tested.
pub fn hash_category(category: &str) -> String {
    hex(&Sha256::digest(category)[..8])
}

impl Categories {
    /// Codes `0..n` in the order given. A category that reads as a number is also found by that number, so that
    /// `3`, `3.0` and `"3"` are one category whatever the wire format calls it.
    pub fn new<'a>(categories: impl IntoIterator<Item = &'a str>) -> Self {
        let mut index = Self::default();
        for (code, category) in (0u32..).zip(categories) {
            index.by_text.insert(category.into(), code);
            if let Ok(number) = category.parse::<f64>() {
                index.by_number.entry(canonical_bits(number)).or_insert(code);
            }
        }
        index
    }

    /// The same for categories that are given as [`hash_category`] of each.
    pub fn hashed<'a>(categories: impl IntoIterator<Item = &'a str>) -> Self {
        let by_text = categories.into_iter().map(Box::from).zip(0u32..).collect();
        Self { by_text, by_number: HashMap::new(), hashed: true }
    }

    /// Number of categories.
    pub fn len(&self) -> usize {
        self.by_text.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_text.is_empty()
    }

    /// The code of a category given as text.
    pub fn of_text(&self, text: &str) -> Option<u32> {
        if self.hashed {
            return self.by_text.get(&*hash_category(text)).copied();
        }
        let found = self.by_text.get(text).copied();
        found.or_else(|| self.by_number.get(&canonical_bits(text.parse().ok()?)).copied())
    }

    /// The code of a category given as a number.
    pub fn of_number(&self, number: f64) -> Option<u32> {
        if self.hashed {
            return self.of_text(&(number + 0.0).to_string());
        }
        self.by_number.get(&canonical_bits(number)).copied()
    }
}

/// `-0.0` and `0.0` are one category.
fn canonical_bits(number: f64) -> u64 {
    (number + 0.0).to_bits()
}

/// Bytes in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut out, byte| {
        write!(out, "{byte:02x}").expect("writing to a String cannot fail");
        out
    })
}

/// How the values of a column are read.
#[derive(Clone, Debug)]
pub enum ColumnKind {
    /// A number as it is.
    Number,
    /// A text, watched through its length in characters.
    Text,
    /// `false` is code 0, `true` code 1; also given as 0 and 1.
    Boolean,
    /// One of a known set.
    Category(Categories),
    /// A number that is made of a vector.
    Vector(VectorColumn),
    /// As it stands: nobody knows yet what the column is.
    Untyped,
}

/// One of the numbers that a vector is watched through. Each is a column of its own: histograms, thresholds, series and reports know
/// nothing of vectors.
#[derive(Clone, Debug, PartialEq)]
pub struct VectorColumn {
    /// The vector's own name, as tables and callers have it.
    pub vector: Box<str>,
    /// How many numbers it has.
    pub dimension: usize,
    /// What is made of them.
    pub measure: Measure,
}

/// What is made of a vector.
#[derive(Clone, Debug, PartialEq)]
pub enum Measure {
    /// Its Euclidean norm.
    Norm,
    /// Its Euclidean distance from the mean of the baseline's vectors.
    Distance {
        /// That mean.
        centroid: Arc<[f32]>,
    },
}

impl Measure {
    /// Its name, in the file and at the end of the column's.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Norm => "norm",
            Self::Distance { .. } => "distance",
        }
    }
}

impl VectorColumn {
    /// The column's name.
    pub fn name(&self) -> String {
        format!("{}.{}", self.vector, self.measure.as_str())
    }

    /// The number that a vector counts as; `None` for one of another dimension, or with something in it that is no number.
    pub fn of(&self, numbers: &[f32]) -> Option<f64> {
        if numbers.len() != self.dimension {
            return None;
        }
        let number = match &self.measure {
            Measure::Norm => vector::norm(numbers),
            Measure::Distance { centroid } => vector::distance(numbers, centroid),
        };
        (!number.is_nan()).then_some(number)
    }
}

impl ColumnKind {
    /// The name of this kind in a baseline and in the API.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Number => "numeric",
            Self::Text => "text",
            Self::Boolean => "boolean",
            Self::Category(_) => "categorical",
            Self::Vector(_) => "vector",
            Self::Untyped => "untyped",
        }
    }

    /// Whether more of a value is not watched than is: a model may see what a length or a norm does not show.
    pub const fn is_watched_in_part(&self) -> bool {
        matches!(self, Self::Text | Self::Vector(_))
    }
}

/// One column of a model.
#[derive(Clone, Debug)]
pub struct ColumnSpec {
    /// Its name in the baseline.
    pub name: Box<str>,
    /// Whether it goes in or comes out.
    pub role: Role,
    /// How its values are read.
    pub kind: ColumnKind,
}

/// The columns of a model: the features in the order of the baseline, then the predictions in theirs.
#[derive(Clone, Debug)]
pub struct Schema {
    columns: Box<[ColumnSpec]>,
    n_features: usize,
    by_name: [HashMap<Box<str>, usize>; 2],
    places: [Box<[VectorPlace]>; 2],
}

/// Where a vector stands. In a row by position it takes as many cells as it has numbers, and all other columns one each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VectorPlace {
    /// The columns that are made of it, among those of its role.
    pub columns: Range<usize>,
    /// Its first cell in such a row.
    pub first_cell: usize,
    /// How many numbers it has.
    pub dimension: usize,
}

impl Schema {
    /// Orders features before predictions, keeping the order within each role.
    pub fn new(columns: impl IntoIterator<Item = ColumnSpec>) -> Self {
        let mut columns: Vec<_> = columns.into_iter().collect();
        columns.sort_by_key(|column| column.role); // stable
        let n_features = columns.iter().filter(|column| column.role == Role::Feature).count();
        let mut by_name = [HashMap::new(), HashMap::new()];
        for (idx, column) in columns.iter().enumerate() {
            let names = &mut by_name[column.role as usize];
            match &column.kind {
                ColumnKind::Vector(of) => _ = names.entry(of.vector.clone()).or_insert(idx),
                _ => _ = names.insert(column.name.clone(), idx),
            }
        }
        let (features, predictions) = columns.split_at(n_features);
        let places = [places(features), places(predictions)];
        Self { columns: columns.into(), n_features, by_name, places }
    }

    /// All columns: features, then predictions.
    pub fn columns(&self) -> &[ColumnSpec] {
        &self.columns
    }

    /// Where the columns of a role lie among [`Self::columns`].
    pub fn range(&self, role: Role) -> std::ops::Range<usize> {
        match role {
            Role::Feature => 0..self.n_features,
            Role::Prediction => self.n_features..self.columns.len(),
        }
    }

    /// The vectors of a role, in order.
    pub fn vectors(&self, role: Role) -> &[VectorPlace] {
        &self.places[role as usize]
    }

    /// The index of a column by the name that callers have for it; of a vector, the first of its columns.
    pub fn find(&self, role: Role, name: &str) -> Option<usize> {
        self.by_name[role as usize].get(name).copied()
    }
}

/// The vectors among the columns of a role: neighbours that are made of the same one are one place.
fn places(columns: &[ColumnSpec]) -> Box<[VectorPlace]> {
    let mut places: Vec<VectorPlace> = Vec::new();
    let (mut cell, mut before) = (0, None);
    for (at, column) in columns.iter().enumerate() {
        let ColumnKind::Vector(of) = &column.kind else {
            (cell, before) = (cell + 1, None);
            continue;
        };
        if let Some(place) = places.last_mut()
            && before == Some((&of.vector, of.dimension))
        {
            place.columns.end = at + 1;
        } else {
            places.push(VectorPlace { columns: at..at + 1, first_cell: cell, dimension: of.dimension });
            cell += of.dimension;
        }
        before = Some((&of.vector, of.dimension));
    }
    places.into()
}
