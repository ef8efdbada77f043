//! The decisions of the proxy. A [`session::Session`] is a plain value per client connection: bytes and time in, verbs
//! out. It must never know sockets, clocks, tokio or Kubernetes.

mod api;
pub mod ask;
mod code;
pub mod fuse;
mod hold;
mod memory;
mod outcome;
mod route;
mod seal;
pub mod session;
mod slot;
pub mod step;
mod verdict;
