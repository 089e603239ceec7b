//! Ways in which traffic gets to us.

pub mod cloudevents;
pub mod proxy;

pub use cloudevents::CloudEvents;
pub use proxy::Proxy;
