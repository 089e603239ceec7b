//! From mirrored bytes to counts: bounded queues, and shards that own their counters.

pub mod exchange;
pub mod intake;

pub use exchange::{Exchange, MirrorBudget, MirrorError, MirroredBody};
pub use intake::{Intake, Refused};
