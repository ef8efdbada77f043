//! The whole proxy in this process, between raw clients and scripted brokers, over real sockets.

mod bad_bytes;
mod document;
mod drain;
mod harness;
mod traffic;
