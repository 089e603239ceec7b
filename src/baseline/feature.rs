//! One feature or prediction of a baseline.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::schema::hex;
use super::{BaselineError, Categories, ColumnKind, Measure, Role, VectorColumn};
use crate::drift::score::Bins;
use crate::drift::vector::MAX_DIMENSION;
use crate::drift::{BinEdges, Groups, Histogram, Reference};

/// One feature or prediction: what it looked like in training. Consistent by construction.
#[derive(Clone, Debug)]
pub struct FeatureBaseline {
    /// Its name.
    pub name: String,
    /// Whether it goes into the model or comes out of it.
    pub role: Role,
    distribution: Distribution,
    reference: Reference,
}

/// How the values of a feature were distributed, beside their counts.
#[derive(Clone, Debug, PartialEq)]
pub enum Distribution {
    /// Numbers, or the lengths of texts in characters.
    Numbers {
        /// Whether they are lengths.
        of_text: bool,
        /// Their moments.
        moments: Moments,
    },
    /// Norms of vectors, or their distances from a centroid.
    Vectors {
        /// Of which vectors, and which of the two.
        of: VectorColumn,
        /// Their moments.
        moments: Moments,
    },
    /// `false` and `true`.
    Booleans,
    /// Known categories, the most frequent first.
    Categories {
        /// As they are, or [`super::schema::hash_category`] of each.
        names: Vec<String>,
        /// Which of the two.
        hashed: bool,
    },
}

/// Of finite numbers; all `NaN` if there was none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moments {
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// Their mean.
    pub mean: f64,
    /// Their standard deviation, of the sample (n − 1); 0 for one number.
    pub std: f64,
}

impl FeatureBaseline {
    /// Numbers or lengths of texts, counted over `edges`.
    ///
    /// # Errors
    /// If the counts are not over the edges, or the groups not over the bins.
    pub fn numbers(
        (name, role): (String, Role),
        of_text: bool,
        moments: Moments,
        (edges, groups): (BinEdges, Groups),
        counts: Histogram,
    ) -> Result<Self, BaselineError> {
        let Moments { min, max, std, .. } = moments;
        let bins = Bins::Numeric { edges, groups, min, max, std };
        Self::new(name, role, Distribution::Numbers { of_text, moments }, bins, counts)
    }

    /// Norms of vectors, or their distances from a centroid, counted over `edges`.
    ///
    /// # Errors
    /// If the counts are not over the edges, or the groups not over the bins.
    pub fn vectors(
        of: VectorColumn,
        role: Role,
        moments: Moments,
        (edges, groups): (BinEdges, Groups),
        counts: Histogram,
    ) -> Result<Self, BaselineError> {
        let Moments { min, max, std, .. } = moments;
        let bins = Bins::Numeric { edges, groups, min, max, std };
        Self::new(of.name(), role, Distribution::Vectors { of, moments }, bins, counts)
    }

    /// Values of a known set.
    ///
    /// # Errors
    /// If the counts are not one a category.
    pub fn categories(
        (name, role): (String, Role),
        distribution: Distribution,
        counts: Histogram,
    ) -> Result<Self, BaselineError> {
        let n_categories = match &distribution {
            Distribution::Categories { names, .. } => names.len(),
            Distribution::Booleans | Distribution::Numbers { .. } | Distribution::Vectors { .. } => 2,
        };
        Self::new(name, role, distribution, Bins::Categorical { n_categories }, counts)
    }

    fn new(
        name: String,
        role: Role,
        distribution: Distribution,
        bins: Bins,
        counts: Histogram,
    ) -> Result<Self, BaselineError> {
        match Reference::new(bins, counts) {
            Ok(reference) => Ok(Self { name, role, distribution, reference }),
            Err(source) => Err(BaselineError::Counts { feature: name, source }),
        }
    }

    /// Its bins and their counts.
    pub fn reference(&self) -> &Reference {
        &self.reference
    }

    /// Its counts.
    pub fn counts(&self) -> &Histogram {
        self.reference.baseline()
    }

    /// What is known of its values beside the counts.
    pub fn distribution(&self) -> &Distribution {
        &self.distribution
    }

    /// The column of a table that it is made of: of the same name, but for what is made of a vector.
    pub fn source(&self) -> &str {
        match &self.distribution {
            Distribution::Vectors { of, .. } => &of.vector,
            _ => &self.name,
        }
    }

    /// How a decoder reads it.
    pub fn kind(&self) -> ColumnKind {
        match &self.distribution {
            Distribution::Numbers { of_text: false, .. } => ColumnKind::Number,
            Distribution::Numbers { of_text: true, .. } => ColumnKind::Text,
            Distribution::Vectors { of, .. } => ColumnKind::Vector(of.clone()),
            Distribution::Booleans => ColumnKind::Boolean,
            Distribution::Categories { names, hashed } => {
                let names = names.iter().map(String::as_str);
                ColumnKind::Category(if *hashed { Categories::hashed(names) } else { Categories::new(names) })
            }
        }
    }

    /// Identifies its name and bins, in 8 hex digits: counts may only be added up where this is the same.
    pub fn edges_id(&self) -> String {
        let mut digest = Sha256::new();
        let mut add = |part: &[u8]| {
            digest.update((part.len() as u64).to_le_bytes());
            digest.update(part);
        };
        add(self.name.as_bytes());
        add(self.kind().as_str().as_bytes());
        if let Bins::Numeric { edges, groups, .. } = self.reference.bins() {
            add(&edges.as_slice().iter().flat_map(|edge| edge.to_le_bytes()).collect::<Vec<_>>());
            add(&groups.starts().iter().flat_map(|&start| (start as u64).to_le_bytes()).collect::<Vec<_>>());
        }
        match &self.distribution {
            Distribution::Categories { names, .. } => names.iter().for_each(|name| add(name.as_bytes())),
            Distribution::Vectors { of, .. } => {
                add(&(of.dimension as u64).to_le_bytes());
                if let Measure::Distance { centroid } = &of.measure {
                    add(&centroid.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<_>>());
                }
            }
            Distribution::Numbers { .. } | Distribution::Booleans => (),
        }
        hex(&digest.finalize()[..4])
    }

    /// Adds the counts of the same feature elsewhere.
    ///
    /// # Errors
    /// [`BaselineError::NotMergeable`] if the bins differ.
    pub fn merge(&self, other: &Self) -> Result<Self, BaselineError> {
        if self.edges_id() != other.edges_id() || self.role != other.role {
            return Err(BaselineError::NotMergeable {
                feature: self.name.clone(),
                problem: "its role, kind or bins differ from file to file",
            });
        }
        let mut counts = self.counts().clone();
        counts.add(other.counts());
        let id = (self.name.clone(), self.role);
        let n = |feature: &Self| feature.counts().bins().iter().sum();
        match (&self.distribution, &other.distribution, self.reference.bins()) {
            (
                Distribution::Numbers { of_text, moments },
                Distribution::Numbers { moments: more, .. },
                Bins::Numeric { edges, groups, .. },
            ) => {
                let merged = moments.merge(n(self), *more, n(other));
                Self::numbers(id, *of_text, merged, (edges.clone(), groups.clone()), counts)
            }
            (
                Distribution::Vectors { of, moments },
                Distribution::Vectors { moments: more, .. },
                Bins::Numeric { edges, groups, .. },
            ) => {
                let merged = moments.merge(n(self), *more, n(other));
                Self::vectors(of.clone(), self.role, merged, (edges.clone(), groups.clone()), counts)
            }
            (distribution, ..) => Self::categories(id, distribution.clone(), counts),
        }
    }
}

impl Moments {
    /// Of no numbers.
    pub const NONE: Self = Self { min: f64::NAN, max: f64::NAN, mean: f64::NAN, std: f64::NAN };

    /// Of both samples together, of `n` and `m` numbers.
    /// * Source: Chan, Golub & `LeVeque` (1979), Stanford STAN-CS-79-773.
    fn merge(self, n: u64, other: Self, m: u64) -> Self {
        if m == 0 || other.mean.is_nan() {
            return self;
        }
        if n == 0 || self.mean.is_nan() {
            return other;
        }
        let (n, m) = (n as f64, m as f64);
        let delta = other.mean - self.mean;
        let squares =
            self.std.powi(2) * (n - 1.0) + other.std.powi(2) * (m - 1.0) + delta * delta * n * m / (n + m);
        Self {
            min: self.min.min(other.min),
            max: self.max.max(other.max),
            mean: self.mean + delta * m / (n + m),
            std: (squares / (n + m - 1.0)).max(0.0).sqrt(),
        }
    }
}

/// The feature as it stands in the file, in the order of its fields.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct RawFeature {
    name: String,
    role: Role,
    kind: String,
    rows: u64,
    missing: u64,
    other: u64,
    /// Of what is made of a vector: whose name that has, what is made of it, how many numbers it has, and their mean.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    vector: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    measure: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dimension: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    centroid: Option<Vec<f32>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    edges: Option<Vec<f64>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    group_starts: Option<Vec<usize>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    categories: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    categories_hashed: bool,
    counts: Vec<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    min: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mean: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    std: Option<f64>,
}

impl From<&FeatureBaseline> for RawFeature {
    fn from(feature: &FeatureBaseline) -> Self {
        let counts = feature.counts();
        let moments = match &feature.distribution {
            Distribution::Numbers { moments, .. } | Distribution::Vectors { moments, .. } => *moments,
            Distribution::Booleans | Distribution::Categories { .. } => Moments::NONE,
        };
        let (edges, group_starts) = match feature.reference.bins() {
            Bins::Numeric { edges, groups, .. } => {
                (Some(edges.as_slice().to_vec()), Some(groups.starts().to_vec()))
            }
            Bins::Categorical { .. } => (None, None),
        };
        let (categories, categories_hashed) = match &feature.distribution {
            Distribution::Categories { names, hashed } => (Some(names.clone()), *hashed),
            Distribution::Numbers { .. } | Distribution::Vectors { .. } | Distribution::Booleans => {
                (None, false)
            }
        };
        let of = match &feature.distribution {
            Distribution::Vectors { of, .. } => Some(of),
            _ => None,
        };
        let centroid = of.and_then(|of| match &of.measure {
            Measure::Distance { centroid } => Some(centroid.to_vec()),
            Measure::Norm => None,
        });
        let known = |value: f64| value.is_finite().then_some(value);
        Self {
            name: feature.name.clone(),
            role: feature.role,
            kind: feature.kind().as_str().to_owned(),
            rows: counts.total(),
            missing: counts.missing(),
            other: counts.other(),
            vector: of.map(|of| of.vector.to_string()),
            measure: of.map(|of| of.measure.as_str().to_owned()),
            dimension: of.map(|of| of.dimension),
            centroid,
            edges,
            group_starts,
            categories,
            categories_hashed,
            counts: counts.bins().to_vec(),
            min: known(moments.min),
            max: known(moments.max),
            mean: known(moments.mean),
            std: known(moments.std),
        }
    }
}

impl TryFrom<RawFeature> for FeatureBaseline {
    type Error = BaselineError;

    fn try_from(raw: RawFeature) -> Result<Self, BaselineError> {
        let feature = raw.name.clone();
        let inconsistent = |problem| BaselineError::Inconsistent { feature: feature.clone(), problem };
        let sum =
            raw.counts.iter().chain([&raw.missing, &raw.other]).try_fold(0u64, |sum, n| sum.checked_add(*n));
        if sum != Some(raw.rows) {
            return Err(inconsistent("`counts`, `missing` and `other` do not add up to `rows`"));
        }
        let counts = Histogram::from_parts(&raw.counts, raw.missing, raw.other);
        let id = (feature.clone(), raw.role);
        match raw.kind.as_str() {
            kind @ ("numeric" | "text" | "vector") => {
                let of = if kind == "vector" {
                    Some(vector_column(
                        &raw.name,
                        raw.vector,
                        raw.measure.as_deref(),
                        raw.dimension,
                        raw.centroid,
                    )?)
                } else {
                    None
                };
                let edges = raw.edges.ok_or_else(|| inconsistent("`edges` is missing"))?;
                let edges = BinEdges::new(edges)
                    .map_err(|source| BaselineError::Edges { feature: feature.clone(), source })?;
                let starts = raw.group_starts.ok_or_else(|| inconsistent("`group_starts` is missing"))?;
                let groups = Groups::new(starts, edges.n_bins())
                    .map_err(|source| BaselineError::Groups { feature: feature.clone(), source })?;
                let known = |value: Option<f64>| value.unwrap_or(f64::NAN);
                let moments = Moments {
                    min: known(raw.min),
                    max: known(raw.max),
                    mean: known(raw.mean),
                    std: known(raw.std),
                };
                if moments.min > moments.max || moments.std < 0.0 {
                    return Err(inconsistent("`min` is above `max`, or `std` below 0"));
                }
                match of {
                    Some(of) => Self::vectors(of, raw.role, moments, (edges, groups), counts),
                    None => Self::numbers(id, kind == "text", moments, (edges, groups), counts),
                }
            }
            "boolean" => Self::categories(id, Distribution::Booleans, counts),
            "categorical" => {
                let names = raw.categories.ok_or_else(|| inconsistent("`categories` is missing"))?;
                let mut sorted: Vec<_> = names.iter().collect();
                sorted.sort_unstable();
                if sorted.windows(2).any(|pair| pair[0] == pair[1]) {
                    return Err(inconsistent("a category is there twice"));
                }
                Self::categories(
                    id,
                    Distribution::Categories { names, hashed: raw.categories_hashed },
                    counts,
                )
            }
            _ => Err(BaselineError::Kind { feature, kind: raw.kind }),
        }
    }
}

/// What the fields of a vector's number say together.
fn vector_column(
    name: &str,
    vector: Option<String>,
    measure: Option<&str>,
    dimension: Option<usize>,
    centroid: Option<Vec<f32>>,
) -> Result<VectorColumn, BaselineError> {
    let inconsistent = |problem| BaselineError::Inconsistent { feature: name.to_owned(), problem };
    let vector = vector.ok_or_else(|| inconsistent("`vector` is missing"))?;
    let dimension = dimension.filter(|dimension| (1..=MAX_DIMENSION).contains(dimension));
    let dimension = dimension.ok_or_else(|| inconsistent("`dimension` is not from 1 to 4096"))?;
    let measure = match (measure, centroid) {
        (Some("norm"), _) => Measure::Norm,
        (Some("distance"), Some(centroid))
            if centroid.len() == dimension && centroid.iter().all(|number| number.is_finite()) =>
        {
            Measure::Distance { centroid: centroid.into() }
        }
        (Some("distance"), _) => return Err(inconsistent("`centroid` is not `dimension` numbers")),
        _ => return Err(inconsistent("`measure` is neither `norm` nor `distance`")),
    };
    let of = VectorColumn { vector: vector.into(), dimension, measure };
    if of.name() == name {
        Ok(of)
    } else {
        Err(inconsistent("its name is not that of its `vector` and `measure`"))
    }
}
