//! Whole sessions: pipelined requests in any chunks, against a broker that is a function.

pub(crate) mod rig;

mod expired;
mod fetch;
mod fuse_fetch;
mod fuse_produce;
mod hostile;
mod ordering;
mod others;
mod overtaken;
mod produce;
