//! Ways in which traffic gets to us.

pub mod proxy;

pub use proxy::Proxy;
