//! Why a call has no answer, or no good one.

use std::time::Duration;

use crate::error_code::ErrorCode;

/// Who has to do something about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The caller: the request cannot be put into bytes, or names something that does not exist.
    Caller,
    /// The network, or a broker that is down.
    Network,
    /// The broker (or what answers in its place): it refused, or broke the protocol.
    Broker,
}

/// Why a call has no answer, or no good one.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CallError {
    /// Nobody could be connected to; nothing was sent.
    #[error("no connection: {reason}; check that the brokers are up and `bootstrapServers` is right")]
    Unreachable {
        /// What happened, with the address.
        reason: String,
    },
    /// The connection ended before the answer; the request may have been carried out.
    #[error("{address} closed the connection before its answer ({reason}); whether it acted is unknown")]
    Closed {
        /// `host:port`.
        address: String,
        /// What happened.
        reason: String,
    },
    /// No answer in time; the request may have been carried out.
    #[error("no answer from {address} within {after:?}; whether it acted is unknown")]
    TimedOut {
        /// `host:port`.
        address: String,
        /// The time limit.
        after: Duration,
    },
    /// The peer does not speak Kafka as expected; whether it acted is unknown.
    #[error("{address} broke the protocol: {detail}; is it a Kafka broker's plaintext listener?")]
    Protocol {
        /// `host:port`.
        address: String,
        /// What was wrong.
        detail: String,
    },
    /// Broker and client have no version of the request in common.
    #[error("{address} offers no usable version of API key {api_key}; the cluster is too old or too new for Sluice")]
    Unsupported {
        /// `host:port`.
        address: String,
        /// The API.
        api_key: i16,
    },
    /// The request can't be put into bytes in any version that the broker knows.
    #[error("the request (API key {api_key}) cannot be encoded: {detail}")]
    Encode {
        /// The API.
        api_key: i16,
        /// The first problem.
        detail: String,
    },
    /// The cluster's metadata names no such broker.
    #[error("broker {0} is not in the cluster's metadata; it is down, or the id is wrong")]
    UnknownBroker(i32),
    /// The partition has no leader, or does not exist.
    #[error("{topic}-{partition} has no leader ({code})")]
    NoLeader {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// The broker's word, or `LEADER_NOT_AVAILABLE`.
        code: ErrorCode,
    },
    /// The broker answered with an error code for the request as a whole (or its only subject).
    #[error("{what}: {code}{}", message.as_deref().map(|m| format!(": {m}")).unwrap_or_default())]
    Refused {
        /// What was asked.
        what: String,
        /// The code.
        code: ErrorCode,
        /// The broker's words, if any.
        message: Option<String>,
    },
    /// The answer was well-formed but lacks what was asked for, or contradicts itself.
    #[error("{what}: the answer makes no sense: {detail}")]
    Nonsense {
        /// What was asked.
        what: String,
        /// What was wrong.
        detail: String,
    },
}

impl CallError {
    /// A broker's refusal.
    pub fn refused(what: impl Into<String>, code: impl Into<ErrorCode>, message: Option<&str>) -> Self {
        Self::Refused { what: what.into(), code: code.into(), message: message.map(str::to_owned) }
    }

    /// An answer that lacks what was asked for.
    pub fn nonsense(what: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::Nonsense { what: what.into(), detail: detail.into() }
    }

    /// Who has to do something about it.
    pub fn blame(&self) -> Blame {
        match self {
            Self::Encode { .. } => Blame::Caller,
            Self::Unreachable { .. } | Self::Closed { .. } | Self::TimedOut { .. } | Self::UnknownBroker(_) => {
                Blame::Network
            }
            Self::Protocol { .. }
            | Self::Unsupported { .. }
            | Self::NoLeader { .. }
            | Self::Refused { .. }
            | Self::Nonsense { .. } => Blame::Broker,
        }
    }

    /// Whether the same call may succeed later. Says nothing about whether it is safe to repeat it: see
    /// [`CallError::may_have_acted`].
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Closed { .. } | Self::TimedOut { .. } | Self::UnknownBroker(_) => true,
            Self::NoLeader { code, .. } | Self::Refused { code, .. } => code.is_retriable(),
            Self::Protocol { .. } | Self::Unsupported { .. } | Self::Encode { .. } | Self::Nonsense { .. } => false,
        }
    }

    /// Whether the broker may have carried the request out although this error came back. Of a Produce with acks=all an error like
    /// `NOT_LEADER_OR_FOLLOWER` is no proof either: a leader that is deposed while it waits for its followers says it of a
    /// batch that they may already have.
    pub fn may_have_acted(&self) -> bool {
        match self {
            Self::Closed { .. } | Self::TimedOut { .. } | Self::Protocol { .. } | Self::Nonsense { .. } => true,
            Self::Refused { code, .. } => {
                matches!(*code, ErrorCode::REQUEST_TIMED_OUT | ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND)
            }
            _ => false,
        }
    }

    /// The error code of the answer; [`ErrorCode::NETWORK_EXCEPTION`] if there was no answer.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Refused { code, .. } | Self::NoLeader { code, .. } => *code,
            Self::Unsupported { .. } => ErrorCode::UNSUPPORTED_VERSION,
            _ => ErrorCode::NETWORK_EXCEPTION,
        }
    }
}
