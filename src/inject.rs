//! The admission webhook that puts the sidecar into KServe's pods: a pure [`review`] of one pod, and a thin server around it.
//!
//! Whatever it does not understand it lets through unchanged. The API server refuses a pod whose patch does not apply, whatever the
//! failure policy says; so a patch is made by changing a copy of the pod, taking the difference, applying that to the pod as it came
//! and looking at the result ([`sane`]) before anything is answered.
//!
//! Pods stay JSON values all the way: a typed pod would drop the fields of a newer Kubernetes, and takes some thousand types to
//! compile where a dozen fields are read (`pod`).

pub mod annotations;
pub mod config;
pub mod quantity;
pub mod refusal;
pub mod review;
pub mod sane;
pub mod server;
pub mod sidecar;
pub mod wiring;

mod pod;

pub use config::WebhookConfig;
pub use refusal::{Reason, Refusal};
pub use review::{Asked, Outcome, Reviewed, answer};
pub use server::Webhook;

/// The name of the container, and the beginning of the names of all else that is added.
pub const CONTAINER: &str = "driftd";
