//! The whole proxy in this process, between raw clients and scripted brokers, over real sockets.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test whose helper cannot do its work has to fail there")]

mod bad_bytes;
mod document;
mod drain;
mod fuse;
mod harness;
mod long_poll;
mod relay;
mod traffic;
