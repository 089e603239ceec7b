//! Why no baseline could be built.

use std::path::PathBuf;

use crate::baseline::BaselineError;
use crate::table::TableError;

/// What is wrong with the data or with what was asked of it.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A table that cannot be read.
    #[error(transparent)]
    Table(#[from] TableError),
    /// A file that changed between the two passes.
    #[error("{} changed while it was read; build from a copy that nobody writes to", .path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// A column that was named and is not there.
    #[error("`{option} {column}`: there is no such column; there are: {known}")]
    NoColumn {
        /// Which option names it.
        option: &'static str,
        /// The column.
        column: String,
        /// All columns.
        known: String,
    },
    /// A column that was asked to be what it is not.
    #[error("column `{column}` cannot be {kind}: {problem}")]
    Kind {
        /// The column.
        column: String,
        /// What it was asked to be.
        kind: &'static str,
        /// Why it cannot.
        problem: String,
    },
    /// No rows at all.
    #[error("no rows in {inputs}; a baseline of nothing says nothing")]
    NoRows {
        /// What was read.
        inputs: String,
    },
    /// Every column was left out.
    #[error("no column is left to watch; name fewer in `--ignore`")]
    NoColumns,
    /// The baseline that gives the edges.
    #[error("`--edges-from`")]
    EdgesFrom(#[source] BaselineError),
    /// The result contradicts itself.
    #[error("building the baseline")]
    Baseline(#[from] BaselineError),
}
