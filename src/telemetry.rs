//! Our own metrics and log set-up.

pub mod log;
pub mod model;
pub mod process;
pub mod tap;

pub use model::{ModelLabels, ModelMetrics, ModelSeries};
pub use process::ProcessMetrics;
pub use tap::{DropReason, Outcome, TapFamilies, TapMetrics};
