//! How far logs have been read.

use prometheus::{Gauge, GaugeVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

/// The families of all sources' series.
#[derive(Clone, Debug)]
pub struct LogsFamilies {
    read_bytes: IntCounterVec,
    unread_bytes: IntGaugeVec,
    files: IntGaugeVec,
    fetch_errors: IntCounterVec,
    watermark: GaugeVec,
}

/// The series of one source.
#[derive(Clone, Debug)]
pub struct LogsMetrics {
    /// Bytes read, decompressed.
    pub read_bytes: IntCounter,
    /// Bytes that wait to be read.
    pub unread_bytes: IntGauge,
    /// Files that are followed.
    pub files: IntGauge,
    /// Lists and objects that an object store did not give.
    pub fetch_errors: IntCounter,
    /// Time of the latest row.
    pub watermark: Gauge,
}

impl LogsFamilies {
    /// Registers them.
    ///
    /// # Errors
    /// If the registry has them already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let label = &["source"];
        let read_bytes = IntCounterVec::new(
            Opts::new(
                "driftd_logs_read_bytes_total",
                "Bytes of logs read, decompressed; source is the first pattern.",
            ),
            label,
        )?;
        let unread_bytes = IntGaugeVec::new(
            Opts::new(
                "driftd_logs_unread_bytes",
                "Bytes of uncompressed logs and of objects that are there and not read yet.",
            ),
            label,
        )?;
        let files =
            IntGaugeVec::new(Opts::new("driftd_logs_files", "Files of logs that are followed."), label)?;
        let fetch_errors = IntCounterVec::new(
            Opts::new(
                "driftd_logs_fetch_errors_total",
                "Lists and objects that an object store did not give; they are asked for again.",
            ),
            label,
        )?;
        let watermark = GaugeVec::new(
            Opts::new(
                "driftd_logs_watermark_timestamp_seconds",
                "Time of the latest row read, Unix time: the clock of the models that logs tell of.",
            ),
            label,
        )?;
        registry.register(Box::new(read_bytes.clone()))?;
        registry.register(Box::new(unread_bytes.clone()))?;
        registry.register(Box::new(files.clone()))?;
        registry.register(Box::new(fetch_errors.clone()))?;
        registry.register(Box::new(watermark.clone()))?;
        Ok(Self { read_bytes, unread_bytes, files, fetch_errors, watermark })
    }

    /// Those of a source.
    pub fn of(&self, source: &str) -> LogsMetrics {
        let label = &[source];
        LogsMetrics {
            read_bytes: self.read_bytes.with_label_values(label),
            unread_bytes: self.unread_bytes.with_label_values(label),
            files: self.files.with_label_values(label),
            fetch_errors: self.fetch_errors.with_label_values(label),
            watermark: self.watermark.with_label_values(label),
        }
    }
}
