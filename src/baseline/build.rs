//! Builds a baseline from tables in two passes, each over all cores: the first finds out what every column is and where
//! its edges go, in memory that does not grow with the rows; the second counts exactly. Vectors take a pass between the two.
//!
//! Files divide into units that depend on nothing but the files. Units are read side by side and merged in their order,
//! so the same input gives the same bytes on any machine.

mod decide;
mod error;
mod passes;
mod profile;
mod quantiles;
mod rows;
mod vectors;

use std::path::PathBuf;

pub use decide::{Decision, Why};
pub use error::BuildError;
pub use rows::{RowsColumn, build_from_rows};

use super::artifact::Header;
use super::schema::hex;
use super::{Baseline, Role, Source};
use crate::table::{InputFormat, Inputs, Progress, Stdin};
use passes::Passes;

/// What to build, beside the data.
#[derive(Clone, Debug)]
pub struct BuildOptions {
    /// The model's name.
    pub model: Option<String>,
    /// The model's version.
    pub version: Option<String>,
    /// Columns that the model predicts.
    pub predictions: Vec<String>,
    /// Columns of a known set, whatever they look like.
    pub categorical: Vec<String>,
    /// Columns of numbers, whatever they look like.
    pub numeric: Vec<String>,
    /// Columns of free text, of which only the length is kept.
    pub text: Vec<String>,
    /// Columns to leave out.
    pub ignore: Vec<String>,
    /// Fine bins of a numeric column, at most.
    pub max_bins: usize,
    /// PSI groups of a numeric column, at most.
    pub max_groups: usize,
    /// Categories of a column, at most; the rest are `other`.
    pub max_categories: usize,
    /// Whether the file keeps hashes of categories instead of their names.
    pub hash_categories: bool,
    /// A baseline whose bins to use, so that the counts of both can be compared and added.
    pub edges_from: Option<PathBuf>,
    /// What the files hold; by their names if not given.
    pub input_format: Option<InputFormat>,
    /// What `created_at` is to say.
    pub created_at: Option<String>,
    /// Threads; all cores if not given.
    pub n_threads: Option<usize>,
}

impl Default for BuildOptions {
    fn default() -> Self {
        Self {
            model: None,
            version: None,
            predictions: Vec::new(),
            categorical: Vec::new(),
            numeric: Vec::new(),
            text: Vec::new(),
            ignore: Vec::new(),
            max_bins: 128,
            max_groups: 10,
            max_categories: 50,
            hash_categories: false,
            edges_from: None,
            input_format: None,
            created_at: None,
            n_threads: None,
        }
    }
}

/// A baseline and how it came about.
#[derive(Debug)]
pub struct Built {
    /// The baseline.
    pub baseline: Baseline,
    /// What was taken for what, in the order of the baseline's features.
    pub decisions: Vec<Decision>,
}

/// Builds the baseline of the tables that `inputs` name: paths, patterns, or `-` for standard input.
///
/// # Errors
/// [`BuildError`] if the data is not what its format says or has not the columns that were named.
pub fn build(inputs: &[String], options: &BuildOptions) -> Result<Built, BuildError> {
    build_with_progress(inputs, options, &|_, _| ())
}

/// The same, telling `progress` how far it is, in both passes.
///
/// # Errors
/// As [`build`].
pub fn build_with_progress(
    inputs: &[String],
    options: &BuildOptions,
    progress: Progress<'_>,
) -> Result<Built, BuildError> {
    let edges_from =
        options.edges_from.as_deref().map(Baseline::read).transpose().map_err(BuildError::EdgesFrom)?;
    let files =
        Inputs::find(inputs, options.input_format, (Stdin::Spool, InputFormat::Csv), progress)?.prepared()?;
    let mut passes = Passes::new(&files, options, progress);
    let profiled = passes.profile()?;
    if profiled.n_rows() == 0 {
        return Err(BuildError::NoRows { inputs: inputs.join(", ") });
    }
    let measured = passes.measure(vectors::find(&profiled, options, edges_from.as_ref())?)?;
    let plans = decide::plans(&profiled, &measured, options, edges_from.as_ref())?;
    let counts = passes.count(&plans, &profiled)?;

    let mut features = Vec::with_capacity(plans.len());
    let mut decisions = Vec::with_capacity(plans.len());
    for (plan, counts) in plans.into_iter().zip(counts) {
        let (feature, decision) = plan.finish(counts, options)?;
        features.push(feature);
        decisions.push(decision);
    }
    decisions.sort_by_key(|decision| decision.role); // stable, as the baseline sorts its features
    let mut source = Vec::with_capacity(files.len());
    for (file, &rows) in files.iter().zip(&profiled.rows_by_file) {
        source.push(Source { uri: file.input.uri.clone(), sha256: hex(&file.input.sha256()?), rows });
    }
    let header = Header {
        model: options.model.clone(),
        version: options.version.clone(),
        source,
        rows: profiled.n_rows(),
        created_at: options.created_at.clone(),
    };
    Ok(Built { baseline: Baseline::new(header, features)?, decisions })
}

/// The role that a column has.
fn role(options: &BuildOptions, column: &str) -> Role {
    if options.predictions.iter().any(|prediction| prediction == column) {
        Role::Prediction
    } else {
        Role::Feature
    }
}

#[cfg(test)]
mod tests;
