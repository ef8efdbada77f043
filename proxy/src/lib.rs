//! The proxy on every broker node, as a library, so that tests can run it in their own process.
//!
//! It owns sockets, threads and files; what to do with a request is decided by `sluice-engine`, and what the mesh is by
//! the document that the operator writes. It must never know resources: of Kubernetes it knows the ConfigMaps that hold
//! the document, and the Lease that holds its report.

mod admin;
mod app;
pub mod args;
mod asker;
mod clock;
mod cluster_view;
mod connection;
mod data_thread;
pub mod descriptors;
mod document;
mod drain;
mod end;
mod fences;
mod kubernetes;
mod listener;
mod metrics;
mod report;
mod scratch;
mod thread;
mod upstream;
mod world;

pub use app::{App, StartError};
pub use kubernetes::ClientError;
