//! The statistics, pure: no clock, no I/O, nothing of ours imported.

pub mod binning;
pub mod cause;
pub mod decimal;
pub mod edges;
pub mod evidence;
pub mod histogram;
pub mod kernels;
pub mod monitor;
pub mod repeats;
pub mod scan;
pub mod score;
pub mod tail;
pub mod time;
pub mod vector;
pub mod verdict;
pub mod window;

pub use decimal::decimal;
pub use edges::{BinEdges, EdgeError, GroupError, Groups};
pub use histogram::Histogram;
pub use kernels::Recorder;
pub use score::{Bins, Reference, Scores};
pub use time::Timestamp;
