//! Why no baseline could be built.

use std::io;
use std::path::PathBuf;

use crate::baseline::BaselineError;

/// What is wrong with the data or with what was asked of it.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A file cannot be read.
    #[error("cannot read {}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A pattern that is none.
    #[error("`{pattern}` is not a file pattern; quote special characters like `[[]`")]
    Pattern {
        /// As given.
        pattern: String,
        /// What is wrong with it.
        source: glob::PatternError,
    },
    /// Nothing to read.
    #[error("no file is at `{pattern}`")]
    NoFile {
        /// As given.
        pattern: String,
    },
    /// A folder where a file is needed.
    #[error("{} is a folder; name its files, like `{}/*.parquet`", .path.display(), .path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
    },
    /// A file that does not say what it is.
    #[error("cannot tell what {} holds by its name; say so with `--input-format`", .path.display())]
    UnknownFormat {
        /// The file.
        path: PathBuf,
    },
    /// A file that changed between the two passes.
    #[error("{} changed while it was read; build from a copy that nobody writes to", .path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// Text that is not what its format says.
    #[error("{}, line {line}: {problem}", .path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: u64,
        /// What is wrong.
        problem: String,
    },
    /// A Parquet file that cannot be read.
    #[error("{} is not a Parquet file that can be read", .path.display())]
    Parquet {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A column of values that are no single number or text.
    #[error("{}: column `{column}` holds {found}; leave it out with `--ignore {column}`", .path.display())]
    Column {
        /// The file.
        path: PathBuf,
        /// The column.
        column: String,
        /// What it holds.
        found: String,
    },
    /// Files of one table with different columns.
    #[error("{}: column `{column}` is not in every file; all files must have the same columns", .path.display())]
    Columns {
        /// The file that differs.
        path: PathBuf,
        /// The column.
        column: String,
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
