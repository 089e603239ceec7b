//! Why a table could not be read.

use std::io;
use std::path::PathBuf;

use crate::storage::StorageError;

/// What is wrong with a file, and where.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// A file cannot be read.
    #[error("cannot read {}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Nothing came from where a URI says it is.
    #[error("cannot read the data")]
    Storage(#[from] StorageError),
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
}
