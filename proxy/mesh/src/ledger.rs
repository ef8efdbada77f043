//! The ledger's records and what they add up to. The truth about a mesh, kept in Kafka next to the data; here only as
//! values: how records are appended and read is `sluice-net`'s and the operator's business.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::chain::Chain;
use crate::document::CutProducer;
use crate::name::{ClusterName, TopicName};

mod codec;
mod merge;
mod state;
#[cfg(test)]
mod tests;

pub use codec::{Entry, LedgerError, MAX_RECORD_BYTES};
pub use merge::{CatalogueEntry, ClusterIdentity, Ledgers, Merged, Serving, Standing, TopicLedger, merge};
pub use state::LedgerState;

/// The compacted one-partition topic on every cluster.
pub const TOPIC: &str = "__sluice_ledger";

/// The subject of a record: the Kafka record's key, as JSON. One mesh, one subject, last record wins.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Key {
    /// The mesh.
    pub mesh: String,
    /// What it is about.
    pub subject: Subject,
}

/// What a record is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Subject {
    /// Who writes; the first record of a new writer's epoch.
    Leader,
    /// The highest revision of the document.
    Revision,
    /// A cluster's identity, by Kafka cluster id.
    Cluster(String),
    /// A topic that is not on the home cluster alone.
    Catalogue(TopicName),
    /// A topic's moves.
    Topic(TopicName),
    /// A chunk of the producers of a topic's cut.
    Producers {
        /// The topic.
        topic: TopicName,
        /// Number of the chunk, from 0.
        chunk: u32,
    },
}

/// A record: the Kafka record's value, as JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Grows with each record of the mesh; readers of several ledgers merge by the highest.
    pub counter: u64,
    /// The fact.
    pub fact: Fact,
}

/// A fact.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", tag = "kind")]
pub enum Fact {
    /// A new writer has taken over.
    Leader {
        /// Who (host, pid, start), for people.
        holder: String,
        /// Milliseconds since the Unix epoch.
        at: i64,
    },
    /// The highest revision published.
    Revision {
        /// The revision.
        revision: u64,
    },
    /// A cluster's identity in the mesh.
    Cluster {
        /// The KafkaCluster's name when it was given out.
        name: ClusterName,
        /// Producer tag, 1..=127.
        tag: u8,
        /// Node-id base.
        node_id_base: i32,
        /// Port index of each broker: (broker id, index).
        indexes: Vec<(i32, u16)>,
    },
    /// Where a topic that is not on the home cluster alone lives.
    Catalogue {
        /// Its cluster.
        cluster: ClusterName,
        /// Its topic id there.
        topic_id: Uuid,
        /// The topic id of the placeholder that the operator made on the home cluster, once it is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        placeholder: Option<Uuid>,
    },
    /// The state of a topic's moves.
    Topic(Box<TopicState>),
    /// Producers of a cut.
    Producers {
        /// The attempt that they belong to.
        attempt: u64,
        /// (partition, producer).
        producers: Vec<(i32, CutProducer)>,
    },
}

/// Where a topic's latest move stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TopicState {
    /// Grows with every attempt of every move of the topic.
    pub attempt: u64,
    /// The old home.
    pub from: ClusterName,
    /// The new home.
    pub to: ClusterName,
    /// The topic id that clients see.
    pub topic_id: Uuid,
    /// The topic's id on `from`.
    pub from_id: Uuid,
    /// The topic's id on `to`.
    pub to_id: Uuid,
    /// The topic-level override of max.message.bytes before the seal, `None` if there was none.
    pub original_max_message_bytes: Option<String>,
    /// The value that this attempt seals with.
    pub seal_value: u8,
    /// When the fence went up, milliseconds since the Unix epoch.
    pub fenced_at: i64,
    /// The chains, by partition: before a cut those that serve now (empty if the topic never moved), from the cut on the
    /// new ones.
    pub chains: Vec<Chain>,
    /// Chunks of producers that belong to the cut.
    pub producer_chunks: u32,
    /// When the new home was opened, milliseconds since the Unix epoch; 0 before.
    pub switched_at: i64,
    /// Where it stands.
    pub stage: Stage,
}

/// Where a move stands. The `Cut` record on the *old* home's ledger is the commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Stage {
    /// About to change a broker.
    Intent,
    /// The cut is known; on the old home's ledger this is the point of no return.
    Cut,
    /// Given up; may be unsealed.
    Abort,
    /// The new home serves.
    Switched,
}

impl TopicState {
    /// The chains that serve while this attempt is not committed, whatever the stage of this record. Empty: never moved.
    pub fn chains_before(&self) -> Vec<Chain> {
        if matches!(self.stage, Stage::Intent | Stage::Abort) {
            return self.chains.clone();
        }
        let before: Vec<Chain> = self.chains.iter().map(Chain::without_last).collect();
        if before.iter().all(|chain| chain.generation() == 0) { Vec::new() } else { before }
    }

    /// The record that commits this attempt: `chains` have one segment more, on [`TopicState::to`].
    #[must_use]
    pub fn to_cut(&self, chains: Vec<Chain>, producer_chunks: u32) -> Self {
        Self { chains, producer_chunks, switched_at: 0, stage: Stage::Cut, ..self.clone() }
    }

    /// The record that gives this attempt up.
    #[must_use]
    pub fn to_abort(&self) -> Self {
        Self { chains: self.chains_before(), stage: Stage::Abort, ..self.clone() }
    }

    /// The record that says that the new home serves, since `at` (milliseconds since the Unix epoch).
    #[must_use]
    pub fn to_switched(&self, at: i64) -> Self {
        Self { switched_at: at, stage: Stage::Switched, ..self.clone() }
    }
}
