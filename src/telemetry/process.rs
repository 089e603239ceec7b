//! Series of the process itself: what was not understood, how long a tick takes, who we are.

use prometheus::{
    Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

use crate::baseline::BaselineError;
use crate::decode::{DecodeError, Format};

/// Why an exchange is not counted at all: no model has its name, or the model's baseline is not loaded, or not yet learnt.
pub const UNCOUNTED: [&str; 3] = [UNKNOWN_MODEL, NO_BASELINE, LEARNING_FULL];
/// No configured model has the name in the path.
pub const UNKNOWN_MODEL: &str = "unknown_model";
/// The model's baseline is not loaded.
pub const NO_BASELINE: &str = "no_baseline";
/// The model is being learnt, and its rows do not fit into the memory for that, or are enough already.
pub const LEARNING_FULL: &str = "learning_full";
/// Nothing but a body is known of an exchange, and that is in no format that we read; the label `format` is then [`UNKNOWN`].
pub const UNKNOWN_FORMAT: &str = "unknown_format";
/// In place of a format.
pub const UNKNOWN: &str = "unknown";

/// Why windows could not be kept, or were and are not used.
pub const STATE_ERRORS: [&str; 6] =
    ["io", "locked", "format", "baseline_changed", "settings_changed", "source_changed"];

/// Series of the process itself.
#[derive(Clone, Debug)]
pub struct ProcessMetrics {
    decode_errors: IntCounterVec,
    baseline_errors: IntCounterVec,
    state_errors: IntCounterVec,
    state_saved: Gauge,
    state_bytes: IntGauge,
    /// How long merging, scoring and publishing take.
    pub evaluation_seconds: Histogram,
    /// Bytes held by copies of exchanges, in flight and queued.
    pub mirrored_bytes: IntGauge,
    /// Per-feature series that `metrics.max_series` kept out of `/metrics`.
    pub series_cut: IntCounter,
}

impl ProcessMetrics {
    /// Registers the series, `process_*` and `driftd_build_info` among them.
    ///
    /// # Errors
    /// If the registry has them already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let decode_errors = IntCounterVec::new(
            Opts::new(
                "driftd_decode_errors_total",
                "Copied exchanges that could not be counted, in whole or in part.",
            ),
            &["format", "reason"],
        )?;
        let baseline_errors = IntCounterVec::new(
            Opts::new("driftd_baseline_errors_total", "Failed attempts to load a baseline, by reason."),
            &["reason"],
        )?;
        let state_errors = IntCounterVec::new(
            Opts::new(
                "driftd_state_errors_total",
                "Failed attempts to keep windows in state_dir, and kept ones that were not used, by reason.",
            ),
            &["reason"],
        )?;
        let state_saved = Gauge::new(
            "driftd_state_saved_timestamp_seconds",
            "When windows were last kept in state_dir, Unix time; 0 before the first time.",
        )?;
        let state_bytes = IntGauge::new("driftd_state_bytes", "Bytes that they take there.")?;
        let evaluation_seconds = Histogram::with_opts(
            HistogramOpts::new(
                "driftd_evaluation_seconds",
                "Time taken to merge, score and publish all models.",
            )
            .buckets(prometheus::exponential_buckets(1e-5, 4.0, 10)?),
        )?;
        let mirrored_bytes = IntGauge::new(
            "driftd_tap_mirrored_bytes",
            "Bytes held by copies of exchanges, in flight and queued, against max_mirrored_bytes.",
        )?;
        let series_cut = IntCounter::new(
            "driftd_metrics_series_cut_total",
            "Per-feature series that metrics.max_series kept out of /metrics; the features are still judged.",
        )?;
        // All at 0 from the start: a rate is blind to the event that a counter begins with.
        for format in Format::ALL {
            for reason in DecodeError::kinds().chain(UNCOUNTED) {
                decode_errors.with_label_values(&[format.as_str(), reason]);
            }
        }
        for reason in [UNKNOWN_FORMAT, "panic"] {
            decode_errors.with_label_values(&[UNKNOWN, reason]);
        }
        for reason in BaselineError::KINDS {
            baseline_errors.with_label_values(&[reason]);
        }
        for reason in STATE_ERRORS {
            state_errors.with_label_values(&[reason]);
        }
        registry.register(Box::new(state_errors.clone()))?;
        registry.register(Box::new(state_saved.clone()))?;
        registry.register(Box::new(state_bytes.clone()))?;
        registry.register(Box::new(decode_errors.clone()))?;
        registry.register(Box::new(baseline_errors.clone()))?;
        registry.register(Box::new(evaluation_seconds.clone()))?;
        registry.register(Box::new(mirrored_bytes.clone()))?;
        registry.register(Box::new(series_cut.clone()))?;
        register_itself(registry)?;
        Ok(Self {
            decode_errors,
            baseline_errors,
            state_errors,
            state_saved,
            state_bytes,
            evaluation_seconds,
            mirrored_bytes,
            series_cut,
        })
    }

    /// Counts exchanges that could not be counted; `reason` comes from an error's `kind`.
    pub fn count_decode_errors(&self, format: &'static str, reason: &'static str, n: u64) {
        self.decode_errors.with_label_values(&[format, reason]).inc_by(n);
    }

    /// Counts windows that could not be kept, or were and are not used; `reason` is one of [`STATE_ERRORS`].
    pub fn count_state_error(&self, reason: &'static str) {
        self.state_errors.with_label_values(&[reason]).inc();
    }

    /// Says when windows were last kept, and how many bytes they take.
    pub fn state_saved(&self, unix_seconds: f64, n_bytes: u64) {
        self.state_saved.set(unix_seconds);
        self.state_bytes.set(i64::try_from(n_bytes).unwrap_or(i64::MAX));
    }

    /// Counts a baseline that could not be loaded; `reason` comes from the error's `kind`.
    pub fn count_baseline_error(&self, reason: &'static str) {
        self.baseline_errors.with_label_values(&[reason]).inc();
    }
}

/// `driftd_build_info` and `process_*`, which every role has.
pub(super) fn register_itself(registry: &Registry) -> prometheus::Result<()> {
    let build_info =
        IntGaugeVec::new(Opts::new("driftd_build_info", "Always 1; the version is a label."), &["version"])?;
    build_info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
    registry.register(Box::new(build_info))?;
    #[cfg(target_os = "linux")]
    registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
    Ok(())
}
