//! Walkers over the two APIs whose payload is never buffered, Produce and Fetch, and over their small other halves, which
//! are.
//!
//! The streaming walkers are pull parsers: `next(chunk)` says what comes next in `chunk`, and the caller goes on with the
//! rest. They own no payload, only the fixed-width fields that a chunk's edge has split and the current topic's name.

mod feed;
pub mod fetch;
pub mod fetch_request;
pub mod produce;
pub mod produce_answer;
