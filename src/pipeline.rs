//! From mirrored bytes to verdicts: bounded queues, shards that own their counters, and the tick that merges,
//! scores and publishes.

pub mod evaluate;
pub mod exchange;
pub mod intake;
pub mod learn;
pub mod loader;
pub mod model;
pub mod models;
pub mod report;
pub mod shard;
mod state;

pub use evaluate::Evaluator;
pub use exchange::{Exchange, MirrorBudget, MirrorError, MirroredBody, Service};
pub use intake::{Intake, Refused};
pub use learn::Learner;
pub use loader::{Catalog, Loader};
pub use model::{Model, Origin};
pub use models::{Found, Models};
pub use report::Report;
pub use shard::{Shard, ShardHandle};
pub use state::Context;
