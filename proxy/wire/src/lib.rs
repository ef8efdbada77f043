//! Kafka bytes: frames, headers, versions, bounds, streaming walkers, record batches, error answers. It must never know
//! sockets, tokio, the mesh or why a byte is changed: callers say what to change, this crate knows where it lies.
//!
//! Everything that is read here may be hostile: each count and length is checked against the bytes that are really there
//! before it is used, nothing is allocated from a declared count, and malformed input is a [`WireError`], never a panic.

#![cfg_attr(
    not(test),
    warn(
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::cast_possible_truncation,
        clippy::wildcard_enum_match_arm
    )
)]

pub mod batch;
pub mod bounds;
mod cursor;
mod error;
pub mod error_answer;
pub mod fetch_answer;
pub mod frame;
pub mod header;
pub mod version;
pub mod walk;

pub use error::WireError;
/// The crate that knows all control APIs' fields. Decode with [`bounds`] only.
pub use kafka_protocol;
pub use kafka_protocol::messages::ApiKey;
