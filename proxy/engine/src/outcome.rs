//! What an API's file says about a whole buffered request, and what it may look at for that.

use std::fmt;

use bytes::Bytes;
use kafka_protocol::protocol::{Decodable, Encodable};
use sluice_mesh::model::{BrokerRef, World};
use sluice_wire::{ApiKey, WireError, bounds, frame};

use crate::ask::{Ask, Reply};
use crate::memory::Memory;
use crate::slot::SlotState;
use crate::step::{CloseReason, Source};

/// What a decision may look at.
#[derive(Debug)]
pub(crate) struct Scope<'a> {
    pub(crate) world: &'a World,
    pub(crate) now: u64,
    pub(crate) unix_now: i64,
    /// The broker behind the virtual broker that the client dialled.
    pub(crate) broker: BrokerRef,
    pub(crate) memory: &'a mut Memory,
}

impl Scope<'_> {
    /// The client talks to a broker of the home cluster.
    pub(crate) fn at_home(&self) -> bool {
        self.broker.cluster == self.world.model.home
    }
}

/// Goes on with a decision when the facts are there.
pub(crate) type Then = Box<dyn FnOnce(Reply, &mut Scope<'_>) -> Outcome + Send>;

/// Goes on with a decision after a hold.
pub(crate) type Retry = Box<dyn FnOnce(&mut Scope<'_>) -> Outcome + Send>;

/// What becomes of a request.
pub(crate) enum Outcome {
    /// Answered here: the whole frame.
    Answer(Bytes),
    /// The request goes to the main upstream as it lies in its buffer now. Only as the first word about a request: after an
    /// ask or a hold its bytes are gone, and [`Outcome::Send`] has to bring them.
    Pass(SlotState),
    /// This frame goes there instead.
    Send(Source, Bytes, SlotState),
    /// Facts are needed.
    Ask(Ask, Then),
    /// Not before the world has changed, or this time has come.
    Hold(u64, Retry),
    /// The connection ends.
    Close(CloseReason),
}

impl fmt::Debug for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answer(bytes) => f.debug_tuple("Answer").field(&bytes.len()).finish(),
            Self::Pass(state) => f.debug_tuple("Pass").field(state).finish(),
            Self::Send(to, bytes, state) => f.debug_tuple("Send").field(to).field(&bytes.len()).field(state).finish(),
            Self::Ask(ask, _) => f.debug_tuple("Ask").field(ask).finish_non_exhaustive(),
            Self::Hold(until, _) => f.debug_tuple("Hold").field(until).finish_non_exhaustive(),
            Self::Close(reason) => f.debug_tuple("Close").field(reason).finish(),
        }
    }
}

impl From<WireError> for Outcome {
    fn from(_: WireError) -> Self {
        Self::Close(CloseReason::Malformed)
    }
}

/// The part of a request's header that its answer needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RequestHead {
    pub(crate) key: ApiKey,
    pub(crate) version: i16,
    pub(crate) correlation_id: i32,
}

impl RequestHead {
    /// Answers here.
    pub(crate) fn answer<T: Encodable>(self, message: &T) -> Outcome {
        match frame::encode_answer(self.key, self.version, self.correlation_id, message) {
            Ok(bytes) => Outcome::Answer(bytes),
            Err(error) => error.into(),
        }
    }

    /// Sends this request instead of the client's.
    pub(crate) fn send<T: Encodable>(self, client_id: &str, message: &T, state: SlotState) -> Outcome {
        match frame::encode_request(self.key, self.version, self.correlation_id, client_id, message) {
            Ok(bytes) => Outcome::Send(Source::Main, bytes, state),
            Err(error) => error.into(),
        }
    }

    /// Decodes the body of the answer that came.
    pub(crate) fn decode_answer<T: Decodable>(self, body: Bytes) -> Result<T, WireError> {
        bounds::decode_answer(self.key, self.version, body)
    }
}

/// A whole buffered request.
#[derive(Debug)]
pub(crate) struct Frame<'a> {
    pub(crate) head: RequestHead,
    /// Everything, with the length prefix.
    pub(crate) bytes: &'a mut [u8],
    /// Where the body starts in `bytes`.
    pub(crate) body_at: usize,
    /// Empty if null or not UTF-8.
    pub(crate) client_id: String,
}

impl Frame<'_> {
    /// The body.
    pub(crate) fn body(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.body_at..).unwrap_or_default()
    }

    /// The body, decoded.
    pub(crate) fn decode<T: Decodable>(&mut self) -> Result<T, WireError> {
        let (key, version) = (self.head.key, self.head.version);
        bounds::decode_request(key, version, Bytes::copy_from_slice(self.body()))
    }

    /// A copy of the whole frame, for a decision that takes longer than its buffer.
    pub(crate) fn copy(&self) -> Bytes {
        Bytes::copy_from_slice(self.bytes)
    }
}
