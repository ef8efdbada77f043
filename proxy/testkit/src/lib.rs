//! What tests need: scripted brokers, raw clients and sample meshes. Dev only, never part of a binary.
//!
//! Helpers panic where a test has asked for something impossible: the test is wrong then, and has to fail there.

#![allow(
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "tests are the only callers, and a helper that can't do its work has to fail the test"
)]

pub mod broker;
pub mod client;
pub mod frame;
pub mod sample;
