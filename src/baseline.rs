//! The baseline artifact: what the model's features and predictions looked like in training.

pub mod artifact;
pub mod build;
pub(crate) mod count;
pub mod error;
pub mod feature;
pub mod schema;
pub mod source;

pub use artifact::{Baseline, Source};
pub use build::{BuildError, BuildOptions};
pub use error::BaselineError;
pub use feature::{Distribution, FeatureBaseline};
pub use schema::{Categories, ColumnKind, ColumnSpec, Measure, Role, Schema, VectorColumn, VectorPlace};
pub use source::BaselineSource;
