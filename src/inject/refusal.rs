//! Why a pod is left alone.

use std::fmt;

/// The kind, for labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// No predictor of an `InferenceService`.
    NotKserve,
    /// Switched off for such pods.
    ModeOff,
    /// The pod has the node's network.
    HostNetwork,
    /// There is a driftd that is not ours.
    AlreadyThere,
    /// One of the sidecar's ports is in use.
    PortTaken,
    /// How the server is told its port is not known.
    UnknownServer,
    /// The agent or the queue-proxy do not look as we know them.
    UnknownWiring,
    /// The server speaks TLS.
    Tls,
    /// An annotation of ours cannot be read.
    BadAnnotation,
    /// Not a pod as we know it.
    Unreadable,
    /// The result would not be a pod.
    NotSane,
}

impl Reason {
    /// All of them, so that their series exist from the start.
    pub const ALL: [Self; 11] = [
        Self::NotKserve,
        Self::ModeOff,
        Self::HostNetwork,
        Self::AlreadyThere,
        Self::PortTaken,
        Self::UnknownServer,
        Self::UnknownWiring,
        Self::Tls,
        Self::BadAnnotation,
        Self::Unreadable,
        Self::NotSane,
    ];

    /// The label value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotKserve => "not_kserve",
            Self::ModeOff => "mode_off",
            Self::HostNetwork => "host_network",
            Self::AlreadyThere => "already_there",
            Self::PortTaken => "port_taken",
            Self::UnknownServer => "unknown_server",
            Self::UnknownWiring => "unknown_wiring",
            Self::Tls => "tls",
            Self::BadAnnotation => "bad_annotation",
            Self::Unreadable => "unreadable",
            Self::NotSane => "not_sane",
        }
    }
}

/// The kind, and what a person should know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Refusal {
    /// The kind.
    pub reason: Reason,
    /// What is the matter and what to do.
    pub text: String,
}

impl Refusal {
    /// Of a kind.
    pub fn new(reason: Reason, text: impl Into<String>) -> Self {
        Self { reason, text: text.into() }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason.as_str(), self.text)
    }
}
