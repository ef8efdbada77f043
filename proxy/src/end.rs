//! Why a connection ended: a closed list, the label of a counter.

use sluice_engine::step::CloseReason;

/// Why a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The client closed, or its network did.
    Client,
    /// The session said so.
    Session(CloseReason),
    /// Nothing passed for the idle time.
    Idle,
    /// A request came too slowly.
    Slow,
    /// The proxy stops, or no longer serves this virtual broker.
    Drained,
    /// The session and its driver disagree, or a panic: a defect of the proxy.
    Defect,
}

impl End {
    /// How many there are.
    pub(crate) const COUNT: usize = 15;

    /// All of them, as [`End::index`] counts.
    pub(crate) const ALL: [Self; Self::COUNT] = [
        Self::Client,
        Self::Idle,
        Self::Slow,
        Self::Drained,
        Self::Defect,
        Self::Session(CloseReason::BadLength),
        Self::Session(CloseReason::Malformed),
        Self::Session(CloseReason::TlsOnPlaintext),
        Self::Session(CloseReason::UnknownApi),
        Self::Session(CloseReason::UnsupportedVersion),
        Self::Session(CloseReason::InterBroker),
        Self::Session(CloseReason::UnansweredRefused),
        Self::Session(CloseReason::BadAnswer),
        Self::Session(CloseReason::UpstreamGone),
        Self::Session(CloseReason::NotServed),
    ];

    /// Position in [`End::ALL`].
    pub(crate) fn index(self) -> usize {
        Self::ALL.iter().position(|end| *end == self).unwrap_or(0)
    }

    /// The label.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Idle => "idle",
            Self::Slow => "slow_request",
            Self::Drained => "drained",
            Self::Defect => "defect",
            Self::Session(reason) => match reason {
                CloseReason::BadLength => "bad_length",
                CloseReason::Malformed => "malformed",
                CloseReason::TlsOnPlaintext => "tls_on_plaintext",
                CloseReason::UnknownApi => "unknown_api",
                CloseReason::UnsupportedVersion => "unsupported_version",
                CloseReason::InterBroker => "inter_broker",
                CloseReason::UnansweredRefused => "unanswered_refused",
                CloseReason::BadAnswer => "bad_answer",
                CloseReason::UpstreamGone => "upstream_gone",
                CloseReason::NotServed => "not_served",
            },
        }
    }

    /// What a person reads in the log; `None` for ends that are everyday.
    pub(crate) fn complaint(self) -> Option<&'static str> {
        match self {
            Self::Client | Self::Idle | Self::Drained => None,
            Self::Slow => Some("a request came too slowly"),
            Self::Defect => Some("a defect of the proxy; please report it"),
            Self::Session(reason) => match reason {
                CloseReason::BadLength => Some("the length of a frame is negative, too small or too large"),
                CloseReason::Malformed => Some("a request does not parse"),
                CloseReason::TlsOnPlaintext => {
                    Some("TLS hello on a plaintext listener: set the client's security.protocol to PLAINTEXT")
                }
                CloseReason::UnknownApi => Some("a request of an API that is not offered"),
                CloseReason::UnsupportedVersion => Some("a request in a version that is not offered"),
                CloseReason::InterBroker => Some("a request that only brokers may send"),
                CloseReason::UnansweredRefused => None,
                CloseReason::BadAnswer => Some("the broker's answer matches no request, or is no Kafka"),
                CloseReason::UpstreamGone => Some("the broker closed, or could not be reached"),
                CloseReason::NotServed => Some("this virtual broker is not served here any more"),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_end_has_a_label_and_a_place_of_its_own() {
        let labels: std::collections::HashSet<_> = End::ALL.iter().map(|end| end.label()).collect();
        assert_eq!(labels.len(), End::COUNT);
        for (position, end) in End::ALL.iter().enumerate() {
            assert_eq!(end.index(), position);
        }
    }
}
