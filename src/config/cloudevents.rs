//! The section `taps: [cloudevents: …]`.

use std::net::SocketAddr;
use std::time::Duration;

use serde::Deserialize;

use super::{ByteSize, ConfigError, HumanDuration};

/// A sink for KServe's inference logger.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawCloudEvents {
    /// Where events are sent to, like `0.0.0.0:8080`; any path.
    pub listen: SocketAddr,
    /// Share of exchanges that are counted, 0 to 1. Default 1. Chosen by the event's id, so that a request and its response
    /// share their fate.
    #[serde(default = "default_sample_rate")]
    pub sample_rate: f64,
    /// Events of other components are left out: each sees the traffic in its own form. Default `predictor`.
    #[serde(default = "default_component")]
    pub component: String,
    /// How long a request waits for its response, or the other way round; then it is lost as `unpaired`. Default `60s`.
    #[serde(default = "default_pair_timeout")]
    pub pair_timeout: HumanDuration,
    /// How many wait at most; past it the oldest is lost as `pairs_full`. Default 10000.
    #[serde(default = "default_max_pairs")]
    pub max_pairs: usize,
    /// A longer event is answered and not kept: `too_large`. Default `1MiB`.
    #[serde(default = "default_max_body_bytes")]
    pub max_body_bytes: ByteSize,
    /// All events together, waiting and queued; past it they are dropped as `over_budget`. Default `64MiB`.
    #[serde(default = "default_max_mirrored_bytes")]
    pub max_mirrored_bytes: ByteSize,
}

const fn default_sample_rate() -> f64 {
    1.0
}

fn default_component() -> String {
    "predictor".to_owned()
}

const fn default_pair_timeout() -> HumanDuration {
    HumanDuration(Duration::from_mins(1))
}

const fn default_max_pairs() -> usize {
    10_000
}

const fn default_max_body_bytes() -> ByteSize {
    ByteSize(1 << 20)
}

const fn default_max_mirrored_bytes() -> ByteSize {
    ByteSize(64 << 20)
}

/// A sink for KServe's inference logger.
#[derive(Clone, Debug)]
pub struct CloudEventsConfig {
    /// Where events are sent to.
    pub listen: SocketAddr,
    /// Share of exchanges that are counted, 0 to 1.
    pub sample_rate: f64,
    /// Whose events are counted.
    pub component: String,
    /// How long one half of an exchange waits for the other.
    pub pair_timeout: Duration,
    /// How many halves wait at most.
    pub max_pairs: usize,
    /// A longer event is not kept.
    pub max_body_bytes: usize,
    /// All events together.
    pub max_mirrored_bytes: usize,
}

impl CloudEventsConfig {
    /// With every default.
    pub fn new(listen: SocketAddr) -> Self {
        Self {
            listen,
            sample_rate: default_sample_rate(),
            component: default_component(),
            pair_timeout: default_pair_timeout().0,
            max_pairs: default_max_pairs(),
            max_body_bytes: default_max_body_bytes().0,
            max_mirrored_bytes: default_max_mirrored_bytes().0,
        }
    }
}

impl TryFrom<RawCloudEvents> for CloudEventsConfig {
    type Error = ConfigError;

    fn try_from(raw: RawCloudEvents) -> Result<Self, ConfigError> {
        if !(0.0..=1.0).contains(&raw.sample_rate) {
            return Err(ConfigError::invalid(
                "cloudevents.sample_rate",
                format!("is {}, must be a share between 0 and 1", raw.sample_rate),
            ));
        }
        if raw.max_pairs == 0 {
            return Err(ConfigError::invalid("cloudevents.max_pairs", "must be at least 1"));
        }
        if raw.max_body_bytes.0 == 0 || raw.max_body_bytes.0 > raw.max_mirrored_bytes.0 {
            return Err(ConfigError::invalid(
                "cloudevents.max_body_bytes",
                "must be above 0 and not above `max_mirrored_bytes`, or no event of that size could ever be kept",
            ));
        }
        Ok(Self {
            listen: raw.listen,
            sample_rate: raw.sample_rate,
            component: raw.component,
            pair_timeout: raw.pair_timeout.0,
            max_pairs: raw.max_pairs,
            max_body_bytes: raw.max_body_bytes.0,
            max_mirrored_bytes: raw.max_mirrored_bytes.0,
        })
    }
}
