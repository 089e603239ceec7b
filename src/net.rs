//! What every listener shares: accepting, telling protocols apart, and answering in our own name.

pub mod accept;
pub mod answer;
pub mod preface;
pub mod tls;

pub use accept::{accept, backlog};
pub use answer::{Fault, json_error};
pub use preface::{Preface, Sniffed, sniff};

/// An error and what caused it, on one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
