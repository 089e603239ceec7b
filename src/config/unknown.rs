//! The section `unknown_models`.

use std::path::PathBuf;

use serde::Deserialize;

use super::{ByteSize, ConfigError};

/// What becomes of traffic for a model that nobody has configured.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RawUnknownModels {
    /// It is counted as `unknown_model`. The default.
    #[default]
    Ignore,
    /// Its first rows become its baseline.
    Learn(RawLearn),
}

/// How unknown models are learnt.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawLearn {
    /// Rows a baseline is made of. Default 10000. Fewer make a baseline sooner, and one that tells less.
    pub rows: u64,
    /// Models that are learnt, at most. Default 20: their names and those of their features come from traffic, and become labels.
    pub max_models: usize,
    /// Memory for the rows of all of them. Default `64MiB`. Each has its share; a model whose rows do not fit is made of fewer.
    pub max_bytes: ByteSize,
    /// A folder to keep what was learnt in, so that a restart need not learn anew. Absent: it is in memory alone.
    pub dir: Option<PathBuf>,
}

impl Default for RawLearn {
    fn default() -> Self {
        Self { rows: 10_000, max_models: 20, max_bytes: ByteSize(64 << 20), dir: None }
    }
}

/// How unknown models are learnt.
#[derive(Clone, Debug)]
pub struct LearnConfig {
    /// Rows a baseline is made of.
    pub rows: u64,
    /// Models that are learnt, at most.
    pub max_models: usize,
    /// Memory for the rows of one.
    pub max_bytes_each: usize,
    /// Where it is kept.
    pub dir: Option<PathBuf>,
}

/// Rows are held in memory: more of them would be a table, which `driftd baseline build` reads.
const MAX_ROWS: u64 = 10_000_000;

/// With less, not even the fewest rows of a small model fit.
const MIN_BYTES_EACH: usize = 64 << 10;

impl LearnConfig {
    /// `None`: nothing is learnt.
    pub(super) fn of(raw: RawUnknownModels) -> Result<Option<Self>, ConfigError> {
        let RawUnknownModels::Learn(RawLearn { rows, max_models, max_bytes, dir }) = raw else {
            return Ok(None);
        };
        let refuse = |key: &str, problem: String| {
            Err(ConfigError::invalid(format!("unknown_models.learn.{key}"), problem))
        };
        if !(Self::MIN_ROWS..=MAX_ROWS).contains(&rows) {
            let range = format!("is {rows}; write a number between {} and {MAX_ROWS}", Self::MIN_ROWS);
            return refuse("rows", range);
        }
        if !(1..=1000).contains(&max_models) {
            return refuse("max_models", format!("is {max_models}; write a number between 1 and 1000"));
        }
        let max_bytes_each = max_bytes.0 / max_models;
        if max_bytes_each < MIN_BYTES_EACH {
            let needed = MIN_BYTES_EACH * max_models / 1024;
            return refuse("max_bytes", format!("is too little for `max_models`; write {needed}KiB or more"));
        }
        Ok(Some(Self { rows, max_models, max_bytes_each, dir }))
    }

    /// A baseline of fewer rows tells nothing.
    pub const MIN_ROWS: u64 = 500;
}
