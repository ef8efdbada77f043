//! Kafka's error codes as a value that prints its name.

use std::fmt;

use kafka_protocol::error::ResponseError;

/// An error code from a broker's answer. `0` is "no error"; functions here never return that as an error.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ErrorCode(pub i16);

/// The codes that decisions are made on.
impl ErrorCode {
    /// The broker has no better word.
    pub const UNKNOWN_SERVER_ERROR: Self = Self(-1);
    /// No error.
    pub const NONE: Self = Self(0);
    /// The offset lies outside the log.
    pub const OFFSET_OUT_OF_RANGE: Self = Self(1);
    /// The batch's CRC is wrong: what an *open* partition answers to the probe.
    pub const CORRUPT_MESSAGE: Self = Self(2);
    /// No such topic or partition (or, to some, no right to see it).
    pub const UNKNOWN_TOPIC_OR_PARTITION: Self = Self(3);
    /// The partition has no leader at the moment.
    pub const LEADER_NOT_AVAILABLE: Self = Self(5);
    /// Not the leader (any more).
    pub const NOT_LEADER_OR_FOLLOWER: Self = Self(6);
    /// The broker gave up waiting: an append may have happened.
    pub const REQUEST_TIMED_OUT: Self = Self(7);
    /// The batch is larger than `max.message.bytes`: what a *sealed* partition answers.
    pub const MESSAGE_TOO_LARGE: Self = Self(10);
    /// No answer came: the connection failed or the time was over. Set by this crate, never by a broker.
    pub const NETWORK_EXCEPTION: Self = Self(13);
    /// The coordinator reads its log and will answer soon.
    pub const COORDINATOR_LOAD_IN_PROGRESS: Self = Self(14);
    /// There is no coordinator at the moment.
    pub const COORDINATOR_NOT_AVAILABLE: Self = Self(15);
    /// Another broker is the coordinator.
    pub const NOT_COORDINATOR: Self = Self(16);
    /// Fewer in-sync replicas than `min.insync.replicas`; nothing was appended.
    pub const NOT_ENOUGH_REPLICAS: Self = Self(19);
    /// Fewer in-sync replicas than `min.insync.replicas`; the batch *was* appended.
    pub const NOT_ENOUGH_REPLICAS_AFTER_APPEND: Self = Self(20);
    /// No right to the topic.
    pub const TOPIC_AUTHORIZATION_FAILED: Self = Self(29);
    /// No right to the cluster.
    pub const CLUSTER_AUTHORIZATION_FAILED: Self = Self(31);
    /// The broker does not know this version of the request.
    pub const UNSUPPORTED_VERSION: Self = Self(35);
    /// The topic exists.
    pub const TOPIC_ALREADY_EXISTS: Self = Self(36);
    /// The producer's sequence has a gap.
    pub const OUT_OF_ORDER_SEQUENCE_NUMBER: Self = Self(45);
    /// The batch had been stored before.
    pub const DUPLICATE_SEQUENCE_NUMBER: Self = Self(46);
    /// A newer epoch of the producer has written: this one is fenced.
    pub const INVALID_PRODUCER_EPOCH: Self = Self(47);
    /// The transactional id is busy.
    pub const CONCURRENT_TRANSACTIONS: Self = Self(51);
    /// The path is none of the broker's log directories.
    pub const LOG_DIR_NOT_FOUND: Self = Self(57);
    /// The leader epoch asked with is older than the broker's.
    pub const FENCED_LEADER_EPOCH: Self = Self(74);
    /// The leader epoch asked with is newer than the broker's.
    pub const UNKNOWN_LEADER_EPOCH: Self = Self(75);
    /// The broker's rules refuse a record (no key in a compacted topic, say).
    pub const INVALID_RECORD: Self = Self(87);
    /// A newer instance of the producer has been fenced in.
    pub const PRODUCER_FENCED: Self = Self(90);
    /// No topic has this id.
    pub const UNKNOWN_TOPIC_ID: Self = Self(100);
    /// The transactional id is not known to this coordinator.
    pub const TRANSACTIONAL_ID_NOT_FOUND: Self = Self(105);

    /// `Ok` for code 0, else the code as the error.
    pub fn check(code: i16) -> Result<(), Self> {
        if code == 0 { Ok(()) } else { Err(Self(code)) }
    }

    /// Whether Kafka calls the error retriable: the same request may succeed later, perhaps at another broker.
    pub fn is_retriable(self) -> bool {
        ResponseError::try_from_code(self.0).is_some_and(|error| error.is_retriable())
    }

    /// Whether the error says that another broker leads the partition, or none: ask for metadata again.
    pub fn is_stale_leader(self) -> bool {
        matches!(
            self,
            Self::UNKNOWN_TOPIC_OR_PARTITION
                | Self::LEADER_NOT_AVAILABLE
                | Self::NOT_LEADER_OR_FOLLOWER
                | Self::NETWORK_EXCEPTION
                | Self::FENCED_LEADER_EPOCH
                | Self::UNKNOWN_LEADER_EPOCH
        )
    }
}

impl From<i16> for ErrorCode {
    fn from(code: i16) -> Self {
        Self(code)
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match ResponseError::try_from_code(self.0) {
            None => write!(f, "no error (0)"),
            Some(ResponseError::Unknown(code)) => write!(f, "an unknown error code ({code})"),
            Some(error) => write!(f, "{error:?} ({})", self.0),
        }
    }
}

impl fmt::Debug for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for ErrorCode {}
