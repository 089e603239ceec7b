//! What every listener shares: accepting, telling protocols apart, and answering in our own name.

pub mod accept;
pub mod answer;
pub mod preface;

pub use accept::accept;
pub use answer::{Fault, json_error};
pub use preface::{Preface, Sniffed, sniff};
