//! The control loop: resources in; mesh document, status, events and moves out.
//!
//! ```text
//!  resources ─┐                         ┌─> document ─> proxies
//!  reports ───┤                         ├─> status, events
//!  brokers ───┼─> reconcile (per kind) ─┤
//!  ledgers ───┘                         └─> ledgers, brokers
//! ```
//!
//! Level-triggered: a restart at any point computes the same again from resources, ledgers, observations and reports. It
//! must never be on the way of a record: the proxies serve on while it is away.

pub mod admin;
pub mod app;
pub mod args;
pub mod clock;
pub mod compile;
pub mod context;
pub mod identity;
pub mod kafka_cluster;
pub mod ledger;
pub mod metrics;
pub mod observe;
pub mod placeholders;
pub mod publish;
pub mod reports;
pub mod store;
pub mod topic_fuse;
pub mod topic_route;

#[cfg(test)]
mod testing;
