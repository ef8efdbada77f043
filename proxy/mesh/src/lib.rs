//! The mesh as values.
//!
//! `document` is the serialised contract between operator and proxies, `ledger` the records that survive in Kafka,
//! `view` what a cluster looked like when last asked, and `model` the immutable answer to every look-up of the data
//! path, built from a document. Nothing here does I/O, reads a clock, or knows Kafka bytes, tokio or Kubernetes.

pub mod chain;
pub mod document;
#[cfg(test)]
mod fixture;
pub mod ledger;
pub mod model;
pub mod name;
pub mod report;
pub mod view;
