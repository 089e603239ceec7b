//! The proxy between a raw socket on each side, so that what is forwarded is seen byte by byte.

mod conformance;
mod expectations;
mod failures;
mod forwarding;
mod harness;
mod http2;
mod lifecycle;
mod messages;
mod mirroring;
mod multiplexing;
mod streaming;
