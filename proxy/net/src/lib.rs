//! The way out to Kafka: dialing, a small typed async client, admin calls with results in plain values, and the ledger's
//! log. It knows brokers and bytes; what a mesh decides, and why, it must never know, nor anything of Kubernetes.

pub mod admin;
pub mod batch;
pub mod client;
pub mod dial;
pub mod error_code;
#[cfg(test)]
mod fake_server;
pub mod log;

pub use client::{CallError, Client, ClientOptions, Offered, Target};
pub use error_code::ErrorCode;
