//! Our own metrics and log set-up.

pub mod controller;
pub mod log;
pub mod logs;
pub mod model;
pub mod process;
pub mod tap;
pub mod webhook;

pub use controller::ControllerMetrics;
pub use logs::{LogsFamilies, LogsMetrics};
pub use model::{ModelLabels, ModelMetrics, ModelSeries};
pub use process::ProcessMetrics;
pub use tap::{DropReason, Outcome, TapFamilies, TapMetrics};
pub use webhook::WebhookMetrics;
