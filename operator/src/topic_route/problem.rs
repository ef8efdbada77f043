//! Why a move does not go on: a reason of the closed list, with a sentence that says what to do. Values only; who shows
//! them, and where, is the status's business.

pub use sluice_crds::topic_route::TopicRouteReason as Reason;

/// A reason and the sentence that goes with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {message}")]
pub struct Problem {
    /// The reason.
    pub reason: Reason,
    /// A sentence for people: what is wrong and what to do.
    pub message: String,
}

impl Problem {
    /// Puts reason and sentence together.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}
