//! What each column is: as the user says, else as its values look; and the bins that follow from it.

use std::fmt;

use super::passes::Profiled;
use super::profile::{MAX_DISTINCT_TEXTS, Profile};
use super::vectors::Measured;
use super::{BuildError, BuildOptions, role};
use crate::baseline::count::Counter;
use crate::baseline::feature::{Distribution, FeatureBaseline, Moments};
use crate::baseline::schema::hash_category;
use crate::baseline::{Baseline, Categories, Role, VectorColumn};
use crate::drift::binning::{edges_from_weighted, groups_from_counts};
use crate::drift::score::Bins;
use crate::drift::{BinEdges, Groups, Histogram};

/// Texts are categories if the most frequent ones, as many as a baseline keeps, are at least this share of all.
const CATEGORIES_SHARE: f64 = 0.9;

/// What was taken for what, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The column.
    pub column: String,
    /// What it is to the model.
    pub role: Role,
    /// What it is taken for.
    pub kind: &'static str,
    /// Why.
    pub why: Why,
}

/// Why a column is taken for what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// An option says so.
    Asked,
    /// The baseline that gives the edges says so.
    EdgesFrom,
    /// Its values look so: in words.
    Looks(String),
}

impl fmt::Display for Why {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Asked => formatter.write_str("as asked"),
            Self::EdgesFrom => formatter.write_str("as in --edges-from"),
            Self::Looks(words) => formatter.write_str(words),
        }
    }
}

/// What a column is to be counted as.
#[derive(Debug)]
pub(super) struct Plan {
    /// The column of the table.
    source: String,
    decision: Decision,
    bins: PlannedBins,
}

#[derive(Debug)]
enum PlannedBins {
    Numbers {
        edges: BinEdges,
        groups: Option<Groups>,
        of_text: bool,
        moments: Moments,
    },
    Vectors {
        of: VectorColumn,
        edges: BinEdges,
        groups: Option<Groups>,
        moments: Moments,
    },
    Booleans,
    /// Names as in the data, the most frequent first, or hashes of another baseline.
    Categories {
        names: Vec<String>,
        are_hashes: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Numeric,
    Text,
    Boolean,
    Categorical,
}

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Numeric => "numeric",
            Self::Text => "text",
            Self::Boolean => "boolean",
            Self::Categorical => "categorical",
        }
    }
}

/// A plan for every column that is not left out, and one for each number that is made of a vector.
pub(super) fn plans(
    profiled: &Profiled,
    measured: &[Measured],
    options: &BuildOptions,
    edges_from: Option<&Baseline>,
) -> Result<Vec<Plan>, BuildError> {
    check_names(profiled, options)?;
    let mut plans = Vec::with_capacity(profiled.columns.len());
    for (name, profile) in &profiled.columns {
        match measured.iter().find(|vector| vector.column == *name) {
            Some(vector) => plans.extend(
                vector.numbers.iter().map(|(of, profile)| Plan::of_vector(of, profile, options, edges_from)),
            ),
            None => plans.push(Plan::new(name, profile, options, edges_from)?),
        }
    }
    if plans.is_empty() { Err(BuildError::NoColumns) } else { Ok(plans) }
}

/// A misspelt name must not silently mean nothing. (What is to be ignored may be absent.)
fn check_names(profiled: &Profiled, options: &BuildOptions) -> Result<(), BuildError> {
    let named = [
        ("--prediction", &options.predictions),
        ("--categorical", &options.categorical),
        ("--numeric", &options.numeric),
        ("--text", &options.text),
    ];
    for (option, columns) in named {
        for column in columns {
            if !profiled.columns.iter().any(|(name, _)| **name == **column) {
                let known: Vec<_> = profiled.columns.iter().map(|(name, _)| &**name).collect();
                return Err(BuildError::NoColumn { option, column: column.clone(), known: known.join(", ") });
            }
        }
    }
    Ok(())
}

impl Plan {
    fn new(
        column: &str,
        profile: &Profile,
        options: &BuildOptions,
        edges_from: Option<&Baseline>,
    ) -> Result<Self, BuildError> {
        let role = role(options, column);
        let decision = |kind: &'static str, why| Decision { column: column.to_owned(), role, kind, why };
        if let Some(baseline) = edges_from {
            let feature = baseline.find(role, column).ok_or_else(|| BuildError::Kind {
                column: column.to_owned(),
                kind: role.as_str(),
                problem: "the baseline of `--edges-from` has no such column in that role".to_owned(),
            })?;
            let bins = PlannedBins::of(feature, profile);
            let decision = decision(feature.kind().as_str(), Why::EdgesFrom);
            return Ok(Self { source: column.to_owned(), decision, bins });
        }
        let (kind, why) = match asked(column, options) {
            Some(kind) => (kind, Why::Asked),
            None => looks(profile, options),
        };
        let bins = match kind {
            Kind::Numeric => {
                let (edges, moments) = edges_of(profile, options);
                PlannedBins::Numbers { edges, groups: None, of_text: false, moments }
            }
            Kind::Text => {
                let weighted: Vec<_> =
                    (0u32..).zip(&profile.lengths).map(|(length, n)| (f64::from(length), *n)).collect();
                let edges = edges_from_weighted(&weighted, options.max_bins);
                PlannedBins::Numbers { edges, groups: None, of_text: true, moments: moments_of(&weighted) }
            }
            Kind::Boolean => PlannedBins::Booleans,
            Kind::Categorical => {
                let counts = categories(profile).ok_or_else(|| BuildError::Kind {
                    column: column.to_owned(),
                    kind: "categorical",
                    problem: format!("it has more than {MAX_DISTINCT_TEXTS} distinct texts or 4096 distinct numbers; use `--text` or `--ignore`"),
                })?;
                let names = counts.into_iter().take(options.max_categories).map(|(name, _)| name).collect();
                PlannedBins::Categories { names, are_hashes: false }
            }
        };
        Ok(Self { source: column.to_owned(), decision: decision(kind.as_str(), why), bins })
    }

    /// That of a number that is made of a vector.
    fn of_vector(
        of: &VectorColumn,
        profile: &Profile,
        options: &BuildOptions,
        edges_from: Option<&Baseline>,
    ) -> Self {
        let (source, role) = (of.vector.to_string(), role(options, &of.vector));
        let theirs = edges_from.and_then(|baseline| baseline.find(role, &of.name()));
        let (edges, groups, why) = if let Some(Bins::Numeric { edges, groups, .. }) =
            theirs.map(|feature| feature.reference().bins())
        {
            (edges.clone(), Some(groups.clone()), Why::EdgesFrom)
        } else {
            let words = format!("lists of {} numbers: their {}", of.dimension, of.measure.as_str());
            (edges_of(profile, options).0, None, Why::Looks(words))
        };
        let decision = Decision { column: of.name(), role, kind: "vector", why };
        let moments = profile.sums.moments();
        Self { source, decision, bins: PlannedBins::Vectors { of: of.clone(), edges, groups, moments } }
    }

    /// The column of the table.
    pub(super) fn source(&self) -> &str {
        &self.source
    }

    pub(super) fn counter(&self) -> Counter {
        match &self.bins {
            PlannedBins::Numbers { edges, of_text, .. } => Counter::numbers(edges, *of_text),
            PlannedBins::Vectors { edges, of, .. } => Counter::vectors(edges, of.clone()),
            PlannedBins::Booleans => Counter::Booleans,
            PlannedBins::Categories { names, are_hashes } => {
                let names = names.iter().map(String::as_str);
                Counter::Categories(if *are_hashes {
                    Categories::hashed(names)
                } else {
                    Categories::new(names)
                })
            }
        }
    }

    /// The feature, once its column is counted.
    pub(super) fn finish(
        self,
        counts: Histogram,
        options: &BuildOptions,
    ) -> Result<(FeatureBaseline, Decision), BuildError> {
        let id = (self.decision.column.clone(), self.decision.role);
        let feature = match self.bins {
            PlannedBins::Numbers { edges, groups, of_text, moments } => {
                let groups = groups.unwrap_or_else(|| groups_from_counts(counts.bins(), options.max_groups));
                FeatureBaseline::numbers(id, of_text, moments, (edges, groups), counts)
            }
            PlannedBins::Vectors { of, edges, groups, moments } => {
                let groups = groups.unwrap_or_else(|| groups_from_counts(counts.bins(), options.max_groups));
                FeatureBaseline::vectors(of, self.decision.role, moments, (edges, groups), counts)
            }
            PlannedBins::Booleans => FeatureBaseline::categories(id, Distribution::Booleans, counts),
            PlannedBins::Categories { names, are_hashes } => {
                let hashed = are_hashes || options.hash_categories;
                let names = if hashed && !are_hashes {
                    names.iter().map(|name| hash_category(name)).collect()
                } else {
                    names
                };
                FeatureBaseline::categories(id, Distribution::Categories { names, hashed }, counts)
            }
        }?;
        Ok((feature, self.decision))
    }
}

impl PlannedBins {
    /// Those of another baseline.
    fn of(feature: &FeatureBaseline, profile: &Profile) -> Self {
        match (feature.distribution(), feature.reference().bins()) {
            (Distribution::Numbers { of_text, .. }, Bins::Numeric { edges, groups, .. }) => {
                let lengths = || (0u32..).zip(&profile.lengths).map(|(length, n)| (f64::from(length), *n));
                let moments = if *of_text {
                    moments_of(&lengths().collect::<Vec<_>>())
                } else {
                    profile.sums.moments()
                };
                Self::Numbers {
                    edges: edges.clone(),
                    groups: Some(groups.clone()),
                    of_text: *of_text,
                    moments,
                }
            }
            (Distribution::Categories { names, hashed }, _) => {
                Self::Categories { names: names.clone(), are_hashes: *hashed }
            }
            (Distribution::Booleans | Distribution::Numbers { .. } | Distribution::Vectors { .. }, _) => {
                Self::Booleans
            }
        }
    }
}

/// Edges of a column of numbers, and their moments.
fn edges_of(profile: &Profile, options: &BuildOptions) -> (BinEdges, Moments) {
    let (mut weighted, moments) = (profile.quantiles.weighted(), profile.sums.moments());
    // Quantiles of a sketch end short of the range, which the guards are to be beyond.
    if let Some((first, _)) = weighted.first_mut() {
        *first = first.min(moments.min);
    }
    if let Some((last, _)) = weighted.last_mut() {
        *last = last.max(moments.max);
    }
    (edges_from_weighted(&weighted, options.max_bins), moments)
}

fn asked(column: &str, options: &BuildOptions) -> Option<Kind> {
    let names = |columns: &[String]| columns.iter().any(|name| name == column);
    if names(&options.categorical) {
        Some(Kind::Categorical)
    } else if names(&options.numeric) {
        Some(Kind::Numeric)
    } else if names(&options.text) {
        Some(Kind::Text)
    } else {
        None
    }
}

/// What the values of a column look like. Whole numbers of few distinct values stay numbers: a code that is meant as a
/// category cannot be told from a count that is not.
fn looks(profile: &Profile, options: &BuildOptions) -> (Kind, Why) {
    let because = |kind, words: String| (kind, Why::Looks(words));
    let n_texts = profile.n_texts;
    if profile.n_values() == 0 {
        return because(Kind::Numeric, "no value at all".to_owned());
    }
    if n_texts == 0 && profile.n_numbers == 0 {
        return because(Kind::Boolean, "true and false".to_owned());
    }
    if n_texts == 0 {
        let whole = if profile.has_fractions { "numbers" } else { "whole numbers" };
        return because(
            Kind::Numeric,
            match profile.quantiles.n_distinct() {
                Some(1) => format!("{whole}, 1 value"),
                Some(n) => format!("{whole}, {n} values"),
                None => whole.to_owned(),
            },
        );
    }
    let Some(counts) = categories(profile) else {
        return because(Kind::Text, format!("more than {MAX_DISTINCT_TEXTS} texts"));
    };
    let n_distinct = counts.len();
    let n_covered: u64 = counts.iter().take(options.max_categories).map(|(_, n)| n).sum();
    let share = n_covered as f64 / profile.n_values() as f64;
    let also = if profile.n_numbers > 0 {
        format!(" ({n_texts} of {} no number)", profile.n_values())
    } else {
        String::new()
    };
    if share >= CATEGORIES_SHARE {
        because(Kind::Categorical, format!("{n_distinct} texts{also}"))
    } else {
        let kept = options.max_categories.min(n_distinct);
        because(Kind::Text, format!("{n_distinct} texts, {kept} are {:.0} %{also}", share * 100.0))
    }
}

/// Every category and how often it is there, the most frequent first; `None` if there are too many to count.
fn categories(profile: &Profile) -> Option<Vec<(String, u64)>> {
    let texts = profile.texts.0.as_ref()?;
    let mut counts: Vec<(String, u64)> = texts.iter().map(|(text, n)| (text.to_string(), *n)).collect();
    // In a CSV file a number is one of the texts already.
    let n_texts: u64 = counts.iter().map(|(_, n)| n).sum();
    let (n_numbers, n_booleans) = (profile.n_numbers, profile.n_booleans);
    if n_numbers > 0 && n_texts < profile.n_values() {
        profile.quantiles.n_distinct()?;
        counts.extend(profile.quantiles.weighted().iter().map(|(number, n)| (number.to_string(), *n)));
    }
    if n_booleans > 0 {
        counts.extend([("false".to_owned(), 0), ("true".to_owned(), n_booleans)]);
    }
    counts.sort_unstable_by(|(a, n), (b, m)| m.cmp(n).then_with(|| a.cmp(b)));
    counts.dedup_by(|(a, _), (b, _)| a == b);
    Some(counts)
}

/// Of numbers given with how often each is there.
fn moments_of(weighted: &[(f64, u64)]) -> Moments {
    let n: u64 = weighted.iter().map(|(_, n)| n).sum();
    let present = || weighted.iter().filter(|(_, n)| *n > 0).map(|(number, _)| *number);
    let (Some(min), Some(max)) = (present().next(), present().next_back()) else { return Moments::NONE };
    let sum = |f: &dyn Fn(f64) -> f64| weighted.iter().map(|(number, n)| f(*number) * *n as f64).sum::<f64>();
    let mean = sum(&|number| number) / n as f64;
    let variance = if n > 1 { sum(&|number| (number - mean).powi(2)) / (n - 1) as f64 } else { 0.0 };
    Moments { min, max, mean, std: variance.sqrt() }
}
