//! From a firing alert to one Git commit that puts the last good model version back, and the proof that it did.
//!
//! ```text
//! Alertmanager ──▶ server ──▶ journal ──▶ engine: one actor a target
//!                                           │  confirm   is it so, says Prometheus
//!                                           │  resolve   which line of which file, introduced by which commit, and what was good before
//!                                           │  decide    may it be done, by whom (pure)
//!                                           │  git       one scalar, one commit, never forced
//!                                           │  argocd    is it applied
//!                                           │  serving   do the pods serve it
//!                                           ▼  observe   has it helped
//!                                         journal, metrics, Git trailers
//! ```
//!
//! Every state is in the journal before its side effect, so a controller that is killed anywhere goes on where it was; what
//! it may have done in between is read back from the remote.

pub mod alert;
pub mod argocd;
pub mod artifact;
pub mod audit;
pub mod choose;
pub mod config;
pub mod controller;
pub mod decide;
pub mod doubts;
pub mod engine;
pub mod forge;
pub mod git;
pub mod history;
pub mod http;
pub mod incident;
pub mod journal;
pub mod kubernetes;
pub mod lease;
pub mod manifest;
pub mod message;
pub mod pause;
pub mod prometheus;
pub mod server;
pub mod serving;
pub mod target;
