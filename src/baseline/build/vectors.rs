//! Columns of vectors: their centroid by the first pass, and, as nobody can tell a distance from what is not known yet, their norms and
//! distances by a pass of their own.

use std::sync::Arc;

use super::passes::Profiled;
use super::profile::Profile;
use super::{BuildError, BuildOptions, role};
use crate::baseline::{Baseline, Distribution, Measure, VectorColumn};
use crate::drift::vector::{MAX_DIMENSION, element};

/// What the first pass keeps of a column's vectors: as much as one of them.
#[derive(Debug, Default)]
pub(super) struct VectorSums {
    /// Cells that hold a list.
    pub(super) n_lists: u64,
    /// The fewest and the most numbers in one.
    lengths: Option<(usize, usize)>,
    /// Vectors without anything in them that is no finite number: these make the centroid.
    n_whole: u64,
    /// Sums over these, a number a dimension. One order of addition, whoever adds: within a unit of a file as it stands, then
    /// unit by unit.
    sums: Vec<f64>,
}

impl VectorSums {
    pub(super) fn add(&mut self, numbers: &[f32]) {
        self.n_lists += 1;
        self.see_lengths((numbers.len(), numbers.len()));
        if self.is_one_dimension() && numbers.iter().all(|number| number.is_finite()) {
            self.n_whole += 1;
            self.sums.resize(numbers.len(), 0.0);
            self.sums.iter_mut().zip(numbers).for_each(|(sum, number)| *sum += f64::from(*number));
        }
    }

    pub(super) fn merge(&mut self, later: &Self) {
        self.n_lists += later.n_lists;
        later.lengths.into_iter().for_each(|lengths| self.see_lengths(lengths));
        if self.is_one_dimension() {
            self.n_whole += later.n_whole;
            self.sums.resize(self.sums.len().max(later.sums.len()), 0.0);
            self.sums.iter_mut().zip(&later.sums).for_each(|(sum, more)| *sum += more);
        }
    }

    fn see_lengths(&mut self, (fewest, most): (usize, usize)) {
        let (old_fewest, old_most) = self.lengths.unwrap_or((fewest, most));
        self.lengths = Some((fewest.min(old_fewest), most.max(old_most)));
        if !self.is_one_dimension() {
            self.sums = Vec::new(); // of no use any more
        }
    }

    fn is_one_dimension(&self) -> bool {
        self.lengths.is_some_and(|(fewest, most)| fewest == most && (1..=MAX_DIMENSION).contains(&most))
    }

    /// How many numbers each vector has.
    fn dimension(&self) -> Result<usize, String> {
        match self.lengths {
            Some((fewest, most)) if fewest != most => Err(format!(
                "its lists have from {fewest} to {most} numbers, those of a vector have one length (a missing one is null)"
            )),
            Some((_, 0)) | None => Err("its lists are empty".to_owned()),
            Some((_, most)) if most > MAX_DIMENSION => {
                Err(format!("its lists have {most} numbers, at most {MAX_DIMENSION} are watched"))
            }
            Some((_, dimension)) => Ok(dimension),
        }
    }

    fn centroid(&self, dimension: usize) -> Arc<[f32]> {
        // Of no whole vector at all, any point serves: there is no distance to count.
        let n = self.n_whole.max(1) as f64;
        (0..dimension).map(|at| element(self.sums.get(at).map_or(0.0, |sum| sum / n))).collect()
    }
}

/// A column that is watched as vectors: what is made of them, and how the results are distributed.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) column: Arc<str>,
    pub(super) numbers: [(VectorColumn, Profile); 2],
}

/// The columns of vectors, their results not measured yet.
pub(super) fn find(
    profiled: &Profiled,
    options: &BuildOptions,
    edges_from: Option<&Baseline>,
) -> Result<Vec<Measured>, BuildError> {
    let mut found = Vec::new();
    for (column, profile) in &profiled.columns {
        let sums = &profile.vectors;
        let refused = |problem| BuildError::Kind { column: column.to_string(), kind: "vector", problem };
        if !is_vector(column, profile, options).map_err(&refused)? {
            continue;
        }
        let dimension = sums.dimension().map_err(|problem| {
            refused(format!("{problem}; leave the column out with `--ignore {column}`"))
        })?;
        let centroid = match edges_from {
            None => sums.centroid(dimension),
            Some(baseline) => centroid_of(baseline, column, options).ok_or_else(|| {
                refused("the baseline of `--edges-from` has no such vector in that role".to_owned())
            })?,
        };
        if centroid.len() != dimension {
            let theirs = centroid.len();
            return Err(refused(format!("it has {dimension} numbers, and {theirs} in `--edges-from`")));
        }
        let number =
            |measure| (VectorColumn { vector: (**column).into(), dimension, measure }, Profile::default());
        let numbers = [number(Measure::Norm), number(Measure::Distance { centroid })];
        found.push(Measured { column: Arc::clone(column), numbers });
    }
    Ok(found)
}

/// Whether all values are lists of numbers, and nobody said otherwise.
fn is_vector(column: &str, profile: &Profile, options: &BuildOptions) -> Result<bool, String> {
    let n_lists = profile.vectors.n_lists;
    let is_text = profile.n_list_texts == n_lists; // CSV: a list is a text as well
    let named =
        [("numeric", &options.numeric), ("categorical", &options.categorical), ("text", &options.text)];
    let asked = named.iter().find(|(_, columns)| columns.iter().any(|name| name == column));
    match asked {
        _ if n_lists == 0 => Ok(false),
        Some(_) if is_text => Ok(false),
        Some((kind, _)) => Err(format!("its lists of numbers are nothing {kind}; drop `--{kind} {column}`")),
        None if n_lists == profile.n_values() => Ok(true),
        None if is_text => Ok(false),
        None => Err(format!(
            "only {n_lists} of its {} values are lists of numbers; leave the column out with `--ignore {column}`",
            profile.n_values()
        )),
    }
}

fn centroid_of(baseline: &Baseline, column: &str, options: &BuildOptions) -> Option<Arc<[f32]>> {
    let feature = baseline.find(role(options, column), &format!("{column}.distance"))?;
    match feature.distribution() {
        Distribution::Vectors {
            of: VectorColumn { measure: Measure::Distance { centroid }, .. }, ..
        } => Some(Arc::clone(centroid)),
        _ => None,
    }
}

impl Measured {
    /// Adds what is made of some vectors; each column's in a scratch of its own.
    pub(super) fn add(&mut self, vectors: &mut dyn Iterator<Item = &[f32]>) {
        let mut results = [Vec::new(), Vec::new()];
        for vector in vectors {
            for ((of, _), results) in self.numbers.iter().zip(&mut results) {
                results.extend(of.of(vector));
            }
        }
        for ((_, profile), results) in self.numbers.iter_mut().zip(&results) {
            profile.add_numbers(results);
        }
    }

    /// The same columns, nothing measured.
    pub(super) fn zero(&self) -> Self {
        let numbers = self.numbers.each_ref().map(|(of, _)| (of.clone(), Profile::default()));
        Self { column: Arc::clone(&self.column), numbers }
    }

    pub(super) fn merge(&mut self, later: Self) {
        for ((_, profile), (_, more)) in self.numbers.iter_mut().zip(later.numbers) {
            profile.merge(more);
        }
    }
}

#[cfg(test)]
mod tests;
