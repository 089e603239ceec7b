//! Integration tests: one binary, one module a subject.
#![allow(clippy::float_cmp, reason = "counts in an exposition are whole numbers")]

mod assets;
mod baseline;
mod check;
mod cloudevents;
mod daemon;
mod documented;
mod fleet;
mod openai;
mod process;
mod proxy;
mod real;
mod replay;
mod storage;
mod support;
mod wire;
