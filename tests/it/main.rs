//! Integration tests: one binary, one module a subject.
#![allow(clippy::float_cmp, reason = "counts in an exposition are whole numbers")]

mod agent;
mod alertmanager;
mod assets;
mod baseline;
mod check;
mod cloudevents;
mod controller;
mod crash;
mod daemon;
mod dashboards;
mod demo;
mod deploy;
mod documented;
mod fleet;
mod forge;
mod git;
mod logs;
mod models;
mod openai;
mod operate;
mod process;
mod proxy;
mod questions;
mod real;
mod replay;
mod rollback;
mod rules;
mod start;
mod storage;
mod support;
mod vectors;
mod wire;
