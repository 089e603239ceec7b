//! `driftd` watches a model in production: it taps inference traffic, counts every feature and prediction into
//! histograms, compares them with a training baseline and says, with evidence, when they have drifted.
//!
//! The data path, which is also the order of the modules and the direction of every import:
//!
//! ```text
//! bytes ──decode──▶ Batch (columns) ──record──▶ counts per shard ──merge at tick──▶ windows ──score──▶ verdict ──▶ metrics, API
//!   ▲ tap::proxy                        drift::kernels             drift::window   drift::score
//! ```

pub mod drift;

pub mod storage;

pub mod table;

pub mod baseline;

pub mod decode;

pub mod telemetry;

pub mod config;

pub mod pipeline;

pub mod replay;

pub mod rules;

pub mod check;

pub mod net;

pub mod tap;

pub mod tail;

pub mod admin;

pub mod app;

pub mod inject;

pub mod gitops;

pub mod cli;
