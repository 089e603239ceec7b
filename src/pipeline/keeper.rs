//! What was kept in an earlier life, until the models it is of are loaded; and when to keep it anew.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::snapshot::{Keep, KeepModel, SavedModel, SavedSource, Snapshot, StateDir};
use super::state::ModelState;
use super::timed::Source;
use crate::drift::Timestamp;
use crate::telemetry::ProcessMetrics;

/// Windows age although nothing comes: what is kept is written at least this often.
const AT_LEAST: Duration = Duration::from_mins(1);

/// Why a model's memory is not used.
const BASELINE_CHANGED: &str = "baseline_changed";
const SETTINGS_CHANGED: &str = "settings_changed";
const SOURCE_CHANGED: &str = "source_changed";

/// Keeps states, and gives them back.
#[derive(Debug)]
pub(super) struct Keeper {
    folder: StateDir,
    /// Of models that are not loaded yet.
    waiting: Vec<SavedModel<'static>>,
    /// Keys of sources, in their order.
    keys: Vec<String>,
    /// Of what was kept, those that are not there any more.
    lost_keys: Vec<String>,
    written: Option<Instant>,
    failed: bool,
}

impl Keeper {
    /// What is in the folder; sources go on where they were. Also, when it was kept.
    pub(super) fn new(
        folder: StateDir,
        keys: &[String],
        sources: &mut [Source],
        metrics: &ProcessMetrics,
    ) -> (Self, Timestamp) {
        let snapshot = match folder.read() {
            Ok(snapshot) => snapshot.unwrap_or_default(),
            Err(error) => {
                warn!(error = %crate::net::chain(&error), "what was kept is not used");
                metrics.count_state_error(error.kind());
                Snapshot::default()
            }
        };
        let mut lost_keys = Vec::new();
        for saved in snapshot.sources {
            match keys.iter().position(|key| **key == *saved.key).and_then(|at| sources.get_mut(at)) {
                Some(source) => {
                    (source.watermark, source.marks) = (saved.watermark, saved.marks.into_owned());
                }
                None => lost_keys.push(saved.key.into_owned()),
            }
        }
        let keeper = Self {
            folder,
            waiting: snapshot.models,
            keys: keys.to_vec(),
            lost_keys,
            written: None,
            failed: false,
        };
        (keeper, snapshot.saved_at)
    }

    /// Gives a model back what was kept of it.
    pub(super) fn restore(&mut self, state: &mut ModelState, metrics: &ProcessMetrics) {
        let Some(at) = self.waiting.iter().position(|saved| *saved.labels == *state.labels()) else { return };
        let SavedModel { labels, baseline, settings, fed_by, memory } = self.waiting.swap_remove(at);
        let refuse = |reason: &'static str| {
            warn!(
                model = %labels.model,
                version = %labels.version,
                reason,
                "what was kept of a model is not used, its windows begin empty"
            );
            metrics.count_state_error(reason);
        };
        if *baseline != *state.baseline_sha256() {
            return refuse(BASELINE_CHANGED);
        }
        // Its rows would be read again.
        if fed_by.iter().any(|key| self.lost_keys.iter().any(|lost| **lost == **key)) {
            return refuse(SOURCE_CHANGED);
        }
        if *settings != *state.settings() || state.restore(memory).is_err() {
            return refuse(SETTINGS_CHANGED);
        }
        info!(model = %labels.model, version = %labels.version, "windows go on where they were");
        let sources = fed_by.iter().filter_map(|key| self.keys.iter().position(|known| **known == **key));
        state.fed_by.extend(sources);
    }

    /// Keeps everything, if anything has changed.
    pub(super) fn keep<'a>(
        &'a mut self,
        (now, has_changed): (Timestamp, bool),
        states: impl Iterator<Item = &'a ModelState>,
        sources: &'a [Source],
        metrics: &ProcessMetrics,
    ) {
        if !has_changed && self.written.is_some_and(|written| written.elapsed() < AT_LEAST) {
            return;
        }
        let saved = |state: &'a ModelState| {
            let keys = state.fed_by.iter().filter_map(|&source| self.keys.get(source));
            KeepModel::Now(Box::new(SavedModel {
                labels: Cow::Borrowed(state.labels()),
                baseline: state.baseline_sha256().into(),
                settings: state.settings().into(),
                fed_by: keys.map(|key| key.as_str().into()).collect(),
                memory: state.memory(),
            }))
        };
        let source = |(source, key): (&'a Source, &'a String)| SavedSource {
            key: key.as_str().into(),
            watermark: source.watermark,
            marks: Cow::Borrowed(&source.marks),
        };
        let then = self.waiting.iter().map(KeepModel::Then);
        let keep = Keep {
            saved_at: now,
            models: states.map(saved).chain(then).collect(),
            sources: sources.iter().zip(&self.keys).map(source).collect(),
        };
        match self.folder.write(&keep) {
            Ok(n_bytes) => {
                metrics.state_saved(now.as_millis() as f64 / 1e3, n_bytes);
                self.failed = false;
            }
            Err(error) => {
                metrics.count_state_error(error.kind());
                if !std::mem::replace(&mut self.failed, true) {
                    warn!(error = %crate::net::chain(&error), "cannot keep the windows, trying again at every tick");
                }
                self.written = None;
                return;
            }
        }
        self.written = Some(Instant::now());
    }
}
