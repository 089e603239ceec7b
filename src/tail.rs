//! Logs as a source: files that somebody else writes requests and responses into, followed through rotation and crashes.
//!
//! Rows have times of their own. What was counted of them goes to the evaluator together with how far their files are read, so
//! that both are kept or lost together.

mod content;
mod count;
mod fetch;
mod files;
mod followed;
mod frame;
mod line;
mod objects;
mod position;
mod store;
mod worker;

use std::io;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::config::{EvaluationConfig, LogsConfig};
use crate::drift::Timestamp;
use crate::pipeline::Learner;
use crate::pipeline::loader::Catalog;
use crate::pipeline::timed::{Counted, Marks, Slots};
use crate::telemetry::{LogsFamilies, TapMetrics};
use worker::{Start, Worker};

/// All sources, to be [`start`](Self::start)ed.
#[derive(Debug)]
pub struct Logs {
    configs: Vec<LogsConfig>,
    slots: Slots,
    models: (watch::Receiver<Arc<Catalog>>, Option<Learner>),
    tap: TapMetrics,
    families: LogsFamilies,
}

impl Logs {
    /// Over these sources; their rows are counted by the slots of `evaluation`'s windows, for the models of the catalog, and those of
    /// others are the learner's.
    pub fn new(
        configs: Vec<LogsConfig>,
        evaluation: &EvaluationConfig,
        models: (watch::Receiver<Arc<Catalog>>, Option<Learner>),
        (tap, families): (TapMetrics, LogsFamilies),
    ) -> Self {
        Self { configs, slots: Slots::new(evaluation), models, tap, families }
    }

    /// Reads, a thread a source, each from where `restored` says, until `stop`. All have ended when `counted` is closed.
    ///
    /// # Errors
    /// If a thread cannot be started.
    pub fn start(
        self,
        restored: impl Fn(usize) -> (Marks, Timestamp),
        counted: &mpsc::Sender<Counted>,
        stop: &CancellationToken,
    ) -> io::Result<()> {
        for (source, config) in self.configs.into_iter().enumerate() {
            let (marks, watermark) = restored(source);
            let metrics = self.families.of(&config.include[0]);
            let (slots, models) = (self.slots.clone(), self.models.clone());
            let start =
                Start { source, config, slots, models, marks, watermark, tap: self.tap.clone(), metrics };
            let worker = Worker::new(start, counted.clone(), stop.clone());
            std::thread::Builder::new().name(format!("driftd-logs-{source}")).spawn(move || worker.run())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
