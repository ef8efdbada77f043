//! The verbs: what a session tells the driver of its connection to do.

use bytes::Bytes;
use sluice_mesh::model::BrokerRef;

use crate::ask::Ask;

/// Where bytes go to, and answers come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// The connection to the broker behind the virtual broker that the client dialled.
    Main,
    /// A connection of this client connection to another broker, for old segments; opened at first use.
    Relay(BrokerRef),
    /// The session itself has the answer ([`crate::session::Session::local_answer`]).
    Local,
}

/// What to do with the bytes read from the client. `chunk` is what was passed in.
#[derive(Debug)]
pub enum RequestStep {
    /// `chunk[..n]`, patched in place where needed, goes to the main upstream; call again with the rest.
    Forward(usize),
    /// `chunk[..n]` has been taken (kept in the session or swallowed); call again with the rest. `n` may be 0 only
    /// together with an empty chunk.
    Consumed(usize),
    /// `chunk[..consumed]` has been taken; `bytes` go to `to`; call again with the rest.
    Send {
        /// Bytes of the chunk that are done with.
        consumed: usize,
        /// Where to.
        to: Source,
        /// A whole request frame.
        bytes: Bytes,
    },
    /// `chunk[..consumed]` has been taken; facts are needed: read nothing more, hand the ask to the control side and call
    /// `Session::on_reply`, then this again with the rest (maybe empty).
    Ask {
        /// Bytes of the chunk that are done with.
        consumed: usize,
        /// The question.
        ask: Ask,
    },
    /// Nothing of the rest may be taken now: keep it, read nothing more, call again with the same rest when the world has
    /// changed or `until` (the driver's milliseconds) has come.
    Hold {
        /// Milliseconds on the driver's clock.
        until: u64,
    },
    /// All slots are taken: call again after an answer has been finished.
    Full,
    /// More bytes are needed; nothing of an (empty) chunk is left.
    Idle,
    /// Close the client connection once the answers before it are written.
    Close(CloseReason),
}

/// What to do with the bytes read from the head slot's source.
#[derive(Debug)]
pub enum AnswerStep {
    /// `chunk[..n]`, patched in place, goes to the client; call again with the rest.
    Forward(usize),
    /// `chunk[..n]` has been taken or swallowed.
    Consumed(usize),
    /// `chunk[..consumed]` has been taken; `bytes` go to the client.
    Emit {
        /// Bytes of the chunk that are done with.
        consumed: usize,
        /// Bytes for the client.
        bytes: Bytes,
    },
    /// The answer is kept back: ask, then `Session::on_answer_reply`, then call again with an empty chunk.
    Ask {
        /// Bytes of the chunk that are done with.
        consumed: usize,
        /// The question.
        ask: Ask,
    },
    /// The answer is kept back until the world has changed or `until` has come; then call again with an empty chunk.
    Hold {
        /// Bytes of the chunk that are done with.
        consumed: usize,
        /// Milliseconds on the driver's clock.
        until: u64,
    },
    /// More bytes from the source are needed.
    Idle,
    /// Break both connections.
    Close(CloseReason),
}

/// Why a connection is closed. A closed enum: the label of a counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// A length is negative, too large or too small.
    BadLength,
    /// A header or body that does not parse, or counts more than its bytes can hold.
    Malformed,
    /// A TLS hello on a plain listener.
    TlsOnPlaintext,
    /// A key that is not offered.
    UnknownApi,
    /// A version that is not offered.
    UnsupportedVersion,
    /// A request that only brokers send.
    InterBroker,
    /// acks=0 to a partition that is not led here: a broker closes too.
    UnansweredRefused,
    /// The broker sent an answer that matches no request, or no Kafka.
    BadAnswer,
    /// The broker closed or could not be reached.
    UpstreamGone,
    /// The virtual broker is no longer served here.
    NotServed,
}
