//! The baseline artifact: what the model's features and predictions looked like in training.

pub mod schema;

pub use schema::{Categories, ColumnKind, ColumnSpec, Role, Schema};
