//! Wire formats: bytes in, columns out. Sans-I/O, no panic, no allocation that the input's length does not bound.

pub mod batch;
pub mod route;

pub use batch::{Batch, Column, Violation, ViolationReason};
pub use route::{Format, Route};
