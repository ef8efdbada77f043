//! The ledger's log: one compacted partition per cluster, one fenced writer, readers that read to the end. What the records
//! say it must never know.

mod reader;
mod topic;
mod writer;

use bytes::Bytes;

use crate::client::{CallError, Client, Target};

pub use reader::Tail;
pub use writer::LedgerWriter;

/// The log's one partition.
const PARTITION: i32 = 0;

/// The ledger topic's `max.message.bytes`: a cut is one record, whatever the number of its topic's partitions.
pub const MAX_MESSAGE_BYTES: usize = 8 << 20;
/// Pauses between tries.
const FIRST_PAUSE: std::time::Duration = std::time::Duration::from_millis(10);
const LONGEST_PAUSE: std::time::Duration = std::time::Duration::from_millis(200);

/// A record of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRecord {
    /// Its offset.
    pub offset: i64,
    /// Key (empty if it had none).
    pub key: Bytes,
    /// Value; `None` is a tombstone.
    pub value: Option<Bytes>,
}

/// The log of one cluster.
#[derive(Clone)]
pub struct LedgerLog {
    client: Client,
    topic: String,
}

/// The log's topic as it was found, or made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerTopic {
    /// Whether this call made it.
    pub created: bool,
    /// Its replicas.
    pub replication_factor: i16,
    /// Its `min.insync.replicas`.
    pub min_insync_replicas: i32,
    /// Settings that were found wrong and have been set right: (name, value found).
    pub corrected: Vec<(String, String)>,
    /// What should be better but is left alone, as sentences for people (fewer replicas than brokers allow, say).
    pub warnings: Vec<String>,
}

/// Why the log cannot be used.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LogError {
    /// A call failed.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The topic is not a ledger.
    #[error("topic {topic} cannot be the ledger: {reason}; rename or delete it if nobody needs it")]
    NotALedger {
        /// The topic.
        topic: String,
        /// Why not.
        reason: String,
    },
    /// Something in the log cannot be read.
    #[error("the ledger {topic} is damaged at offset {offset}: {reason}")]
    Damaged {
        /// The topic.
        topic: String,
        /// Where.
        offset: i64,
        /// What.
        reason: String,
    },
}

/// Why an append did not succeed for sure.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AppendError {
    /// Another writer has taken over: stop acting at once. If an earlier try of the same append got no answer, its records may be
    /// in the log all the same; the new writer reads them.
    #[error("another writer has taken over the ledger; this one must stop")]
    Fenced,
    /// Nothing was appended.
    #[error("the ledger took nothing: {0}")]
    NotAppended(CallError),
    /// It may have been appended, may not, and may yet be. Either [`LedgerWriter::settle`] it: the very same batch is sent again,
    /// which the broker stores at most once. Or take over again, append (from then on the old batch can no longer get in),
    /// and read back. Until then the writer refuses to append.
    #[error("whether the ledger has the record is unknown ({0}); settle it, or take over again and read back")]
    Unknown(CallError),
}

impl LedgerLog {
    /// The log in this topic of this cluster.
    pub fn new(client: Client, topic: impl Into<String>) -> Self {
        Self { client, topic: topic.into() }
    }

    /// The topic.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    fn leader(&self) -> Target {
        Target::Leader { topic: self.topic.clone(), partition: PARTITION }
    }
}

/// Whether the same call may be made again at once: it can do no harm here, and may succeed.
fn worth_another_try(error: &CallError) -> bool {
    error.is_retriable()
        || error.code() == crate::ErrorCode::CONCURRENT_TRANSACTIONS
        || matches!(error, CallError::NoLeader { .. })
}
