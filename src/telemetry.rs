//! Our own metrics and log set-up.

pub mod tap;

pub use tap::{DropReason, Outcome, TapMetrics};
