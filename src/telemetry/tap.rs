//! What a tap did with each exchange, and what it cost.

use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts, Registry};

/// What became of an exchange's copy. The traffic itself was passed on in every case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Copied whole and queued for counting.
    Mirrored,
    /// Not chosen by `sample_rate`.
    SampledOut,
    /// Not an inference request in a format that we read.
    Unrecognised,
    /// The upstream did not answer 200, so there is no prediction to count.
    NotOk,
    /// The copy was lost: `driftd_tap_dropped_total` says why.
    Dropped,
    /// The upstream could not be reached or broke off: the caller got a 502 or 504, or a cut body.
    UpstreamFailed,
    /// The caller went away before the exchange was over.
    DownstreamGone,
}

impl Outcome {
    /// Every outcome, so that each series exists from the start.
    pub const ALL: [Self; 7] = [
        Self::Mirrored,
        Self::SampledOut,
        Self::Unrecognised,
        Self::NotOk,
        Self::Dropped,
        Self::UpstreamFailed,
        Self::DownstreamGone,
    ];

    /// The label value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mirrored => "mirrored",
            Self::SampledOut => "sampled_out",
            Self::Unrecognised => "unrecognised",
            Self::NotOk => "not_ok",
            Self::Dropped => "dropped",
            Self::UpstreamFailed => "upstream_failed",
            Self::DownstreamGone => "downstream_gone",
        }
    }
}

/// Why a copy was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// A body above `max_body_bytes`.
    TooLarge,
    /// All copies together above `max_mirrored_bytes`.
    OverBudget,
    /// The queue to the shards was full.
    QueueFull,
    /// The daemon was shutting down.
    Closing,
    /// A request without its response, or the other way round, for too long.
    Unpaired,
    /// More of those than may wait.
    PairsFull,
    /// Of a log: older than every window by the time it was read.
    Late,
    /// Of a log: more than an hour ahead of this machine's clock.
    Future,
    /// A file was cut off before all of it was read: lines of unknown number, counted as one.
    Truncated,
}

impl DropReason {
    /// Every reason, so that each series exists from the start.
    pub const ALL: [Self; 9] = [
        Self::TooLarge,
        Self::OverBudget,
        Self::QueueFull,
        Self::Closing,
        Self::Unpaired,
        Self::PairsFull,
        Self::Late,
        Self::Future,
        Self::Truncated,
    ];

    /// The label value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TooLarge => "too_large",
            Self::OverBudget => "over_budget",
            Self::QueueFull => "queue_full",
            Self::Closing => "closing",
            Self::Unpaired => "unpaired",
            Self::PairsFull => "pairs_full",
            Self::Late => "late",
            Self::Future => "future",
            Self::Truncated => "truncated",
        }
    }
}

/// The metrics of one tap; handles are taken once, nothing is looked up while traffic flows.
#[derive(Clone, Debug)]
pub struct TapMetrics {
    exchanges: [IntCounter; Outcome::ALL.len()],
    dropped: [IntCounter; DropReason::ALL.len()],
    /// Time an exchange spent with us before the request went to the upstream and after its response head came back.
    pub added_seconds: Histogram,
    /// Time from sending the request to the upstream's response head.
    pub upstream_seconds: Histogram,
}

/// The families of all taps' series.
#[derive(Clone, Debug)]
pub struct TapFamilies {
    exchanges: IntCounterVec,
    dropped: IntCounterVec,
    added: HistogramVec,
    upstream: HistogramVec,
}

/// From 10 µs to 10 s: what we add lies at the low end, what models take at the high one.
const SECONDS: [f64; 19] = [
    1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0,
];

impl TapFamilies {
    /// Registers them.
    ///
    /// # Errors
    /// If the registry has them already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let exchanges = IntCounterVec::new(
            Opts::new(
                "driftd_tap_exchanges_total",
                "Exchanges that passed the tap, by what became of their copy.",
            ),
            &["tap", "outcome"],
        )?;
        let dropped = IntCounterVec::new(
            Opts::new(
                "driftd_tap_dropped_total",
                "Exchanges whose copy was lost before it was counted, by reason.",
            ),
            &["tap", "reason"],
        )?;
        let seconds = |name: &str, help: &str| {
            HistogramVec::new(HistogramOpts::new(name, help).buckets(SECONDS.to_vec()), &["tap"])
        };
        let added = seconds(
            "driftd_tap_added_seconds",
            "Time an exchange spent in the tap itself, from request head to response head, without the upstream.",
        )?;
        let upstream = seconds(
            "driftd_upstream_seconds",
            "Time from sending a request to the upstream's response head.",
        )?;
        registry.register(Box::new(exchanges.clone()))?;
        registry.register(Box::new(dropped.clone()))?;
        registry.register(Box::new(added.clone()))?;
        registry.register(Box::new(upstream.clone()))?;
        Ok(Self { exchanges, dropped, added, upstream })
    }

    /// Those of the tap named `tap`.
    pub fn of(&self, tap: &'static str) -> TapMetrics {
        let exchanges = |outcome: Outcome| self.exchanges.with_label_values(&[tap, outcome.as_str()]);
        let dropped = |reason: DropReason| self.dropped.with_label_values(&[tap, reason.as_str()]);
        TapMetrics {
            exchanges: Outcome::ALL.map(exchanges),
            dropped: DropReason::ALL.map(dropped),
            added_seconds: self.added.with_label_values(&[tap]),
            upstream_seconds: self.upstream.with_label_values(&[tap]),
        }
    }
}

impl TapMetrics {
    /// Counts one exchange.
    pub fn count(&self, outcome: Outcome) {
        self.exchanges[outcome as usize].inc();
    }

    /// Counts exchanges that were read and then found to be too old for any window.
    pub fn count_late(&self, n: u64) {
        self.dropped[DropReason::Late as usize].inc_by(n);
    }

    /// Counts one exchange as [`Outcome::Dropped`], and why.
    pub fn count_dropped(&self, reason: DropReason) {
        self.count(Outcome::Dropped);
        self.dropped[reason as usize].inc();
    }
}
