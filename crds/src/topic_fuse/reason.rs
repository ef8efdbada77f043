//! The one closed list of reasons: what conditions and events of a TopicFuse may say, and what scripts may rely on.

use crate::condition::Reason;

/// Why a condition of a TopicFuse is as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TopicFuseReason {
    /// The object obeys the rules.
    Accepted,
    /// The object breaks a rule.
    Invalid,
    /// An older fuse claims the topic.
    Conflicted,
    /// Stopped by hand.
    Blocked,
    /// Nothing is stopped.
    Closed,
    /// The mesh document with it has not been published yet.
    NotPublished,
    /// Some proxies have not applied it yet.
    WaitingForProxies,
    /// A proxy refused the document.
    RejectedByProxy,
    /// Every live proxy does what the fuse says.
    Programmed,
}

impl Reason for TopicFuseReason {
    fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "Accepted",
            Self::Invalid => "Invalid",
            Self::Conflicted => "Conflicted",
            Self::Blocked => "Blocked",
            Self::Closed => "Closed",
            Self::NotPublished => "NotPublished",
            Self::WaitingForProxies => "WaitingForProxies",
            Self::RejectedByProxy => "RejectedByProxy",
            Self::Programmed => "Programmed",
        }
    }
}
