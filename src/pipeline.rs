//! From mirrored bytes to verdicts: bounded queues, shards that own their counters, and the tick that merges,
//! scores and publishes.

pub mod count;
pub mod evaluate;
pub(crate) mod event;
pub mod exchange;
pub mod intake;
mod keeper;
pub mod learn;
pub mod loader;
pub mod model;
pub mod models;
pub(crate) mod pairs;
pub mod report;
pub mod shard;
pub mod snapshot;
mod state;
pub mod timed;

pub use evaluate::Evaluator;
pub use exchange::{Exchange, Message, MirrorBudget, MirrorError, MirroredBody, Part, Service};
pub use intake::{Intake, Refused};
pub use learn::Learner;
pub use loader::{Catalog, Loader};
pub use model::{Model, Origin};
pub use models::{Found, Models};
pub use report::Report;
pub use shard::{Shard, ShardHandle};
pub use snapshot::{StateDir, StateError};
pub use state::Context;
