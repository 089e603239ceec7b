//! What the configuration file may say, and what the daemon runs on.

pub mod proxy;

pub use proxy::ProxyConfig;
