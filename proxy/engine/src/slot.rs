//! One request in flight: who answers it, and what its answer needs.

use std::fmt;

use bytes::Bytes;
use sluice_wire::WireError;

use crate::api::fetch::FetchSlot;
use crate::api::produce::ProduceSlot;
use crate::outcome::RequestHead;
use crate::step::Source;

/// A slot of the ring.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) head: RequestHead,
    pub(crate) source: Source,
    pub(crate) state: SlotState,
}

/// Makes the client's whole answer frame from the broker's answer body.
pub(crate) type Rewrite = Box<dyn FnOnce(Bytes) -> Result<Bytes, WireError> + Send>;

/// What the answer needs.
pub(crate) enum SlotState {
    /// It is here.
    Local(Bytes),
    /// Nothing: it passes as it comes.
    Pass,
    /// It is gathered and made anew.
    Rewrite(Rewrite),
    /// A Produce.
    Produce(ProduceSlot),
    /// A Fetch.
    Fetch(FetchSlot),
}

impl fmt::Debug for SlotState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(bytes) => f.debug_tuple("Local").field(&bytes.len()).finish(),
            Self::Pass => f.write_str("Pass"),
            Self::Rewrite(_) => f.write_str("Rewrite"),
            Self::Produce(slot) => f.debug_tuple("Produce").field(slot).finish(),
            Self::Fetch(slot) => f.debug_tuple("Fetch").field(slot).finish(),
        }
    }
}
