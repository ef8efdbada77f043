//! The immutable answer to every look-up of the data path, built from one document. It must never know sockets, clocks
//! or how the document arrived.

use std::collections::HashMap;
use std::sync::Arc;

use uuid::Uuid;

use crate::chain::{Chain, Segment};
use crate::document::{CutProducer, Document, Fence, Fuse, Limits};
use crate::ledger;
use crate::name::{ClusterName, ProxyName, TopicName};
use crate::view::Views;

mod build;
#[cfg(test)]
mod tests;

pub use build::MAX_HOLD_MILLIS;

/// Index of a cluster in [`Model::clusters`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterIndex(pub u16);

/// One real broker of one cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BrokerRef {
    /// The cluster.
    pub cluster: ClusterIndex,
    /// The broker's own id.
    pub broker: i32,
}

/// A validated mesh document, indexed.
#[derive(Debug)]
pub struct Model {
    /// Revision of the document.
    pub revision: u64,
    /// Kafka cluster id shown to clients.
    pub cluster_id: String,
    /// The home cluster.
    pub home: ClusterIndex,
    /// In the document's order.
    pub clusters: Vec<ClusterModel>,
    /// Sorted by id.
    pub brokers: Vec<VirtualBroker>,
    /// Topics that need more than their name. Keyed so that `&str` and, through UTF-8, request bytes can be looked up.
    pub topics: HashMap<TopicName, Arc<TopicModel>>,
    /// Fuses that have tripped, by topic.
    pub fuses: HashMap<TopicName, Fuse>,
    /// Bounds.
    pub limits: Limits,
    /// Held by every Produce that was decided under this model and is not answered yet: `Arc::strong_count() == 1` means
    /// that the model has been drained.
    pub produce_lease: Arc<()>,
    /// The document itself, for the admin endpoint.
    pub document: Document,
}

/// One cluster.
#[derive(Debug)]
pub struct ClusterModel {
    /// Name of the KafkaCluster.
    pub name: ClusterName,
    /// Kafka's own id.
    pub cluster_id: String,
    /// `host:port`.
    pub bootstrap_servers: Vec<String>,
    /// Producer tag.
    pub tag: u8,
    /// Node-id base.
    pub node_id_base: i32,
    /// One past the last virtual node id of this cluster: where the next base begins.
    pub node_id_end: i32,
    /// Compiled globs of hidden topics.
    pub exclude: globset::GlobSet,
}

/// One real broker as clients see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VirtualBroker {
    /// Node id shown to clients.
    pub id: i32,
    /// The real broker.
    pub broker: BrokerRef,
    /// The real broker's address.
    pub real: (String, u16),
    /// Address shown to clients; none while no proxy serves it.
    pub shown: Option<(String, u16)>,
    /// The proxy that serves it.
    pub served_by: Option<ProxyName>,
    /// The proxy on its node.
    pub home_proxy: Option<ProxyName>,
    /// Its rack.
    pub rack: Option<String>,
    /// Offset from a proxy's port base.
    pub index: u16,
}

/// A topic that needs more than its name.
#[derive(Debug)]
pub struct TopicModel {
    /// Its name.
    pub name: TopicName,
    /// The topic id shown to clients.
    pub topic_id: Uuid,
    /// The cluster that serves it.
    pub cluster: ClusterIndex,
    /// By partition; empty if it never moved.
    pub chains: Vec<ChainModel>,
    /// What the document says: writes are held. Whether they still are, [`World::fence`] tells.
    pub fence: Option<Fence>,
    /// Commits for it are accepted on the home cluster.
    pub placeholder: bool,
    /// When its present home began to serve, milliseconds since the Unix epoch; 0 if it never moved.
    pub switched_at: i64,
    /// The cut's producers by partition, by producer id; empty when the first-batch check is over.
    pub cut: Vec<HashMap<i64, CutProducer>>,
}

/// A chain with its clusters resolved.
#[derive(Debug)]
pub struct ChainModel {
    /// The chain.
    pub chain: Chain,
    /// The cluster of each segment.
    pub clusters: Vec<ClusterIndex>,
}

/// Why a document was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// Written by a newer operator.
    #[error("document format {found} is newer than {supported}, the newest that this proxy reads: upgrade the proxy")]
    NewerFormat {
        /// Found.
        found: u32,
        /// Supported.
        supported: u32,
    },
    /// A rule of the contract is broken.
    #[error("the mesh document is not consistent: {0}")]
    Inconsistent(String),
}

/// What one decision is made under: the model, the clusters as last seen, and what time has made of the document.
#[derive(Debug, Clone)]
pub struct World {
    /// The document, built.
    pub model: Arc<Model>,
    /// The clusters.
    pub views: Arc<Views>,
    /// Fences that have expired: the attempt, by topic.
    pub expired_fences: Arc<HashMap<TopicName, u64>>,
}

impl World {
    /// The fence that holds the topic's writes: the document's, unless it has expired.
    pub fn fence<'a>(&self, topic: &'a TopicModel) -> Option<&'a Fence> {
        topic.fence.as_ref().filter(|fence| self.expired_fences.get(&topic.name) != Some(&fence.attempt))
    }

    /// The document fences the topic, but the fence has expired: its home may be open or sealed.
    pub fn fence_expired(&self, topic: &TopicModel) -> bool {
        topic.fence.is_some() && self.fence(topic).is_none()
    }
}

impl Model {
    /// Checks a document against every rule that the data path relies on, and indexes it.
    pub fn build(document: Document) -> Result<Self, BuildError> {
        build::build(document)
    }

    /// The cluster of this name.
    pub fn cluster_index(&self, name: &str) -> Option<ClusterIndex> {
        let position = self.clusters.iter().position(|cluster| cluster.name.as_str() == name)?;
        u16::try_from(position).ok().map(ClusterIndex)
    }

    /// A cluster by its index; `None` only for the index of another model.
    pub fn cluster(&self, index: ClusterIndex) -> Option<&ClusterModel> {
        self.clusters.get(usize::from(index.0))
    }

    /// All clusters with their indexes, in the document's order.
    pub fn cluster_indexes(&self) -> impl Iterator<Item = (ClusterIndex, &ClusterModel)> {
        (0..=u16::MAX).map(ClusterIndex).zip(&self.clusters)
    }

    /// The node id that clients see. Negative broker ids pass unmapped; -1 for a broker that no id can be given to (too
    /// far from its cluster's base). A broker that the document does not list yet has its id already.
    pub fn virtual_id(&self, broker: BrokerRef) -> i32 {
        if broker.broker < 0 {
            return broker.broker;
        }
        let id = self
            .cluster(broker.cluster)
            .and_then(|cluster| cluster.node_id_base.checked_add(broker.broker).filter(|id| *id < cluster.node_id_end));
        id.unwrap_or(-1)
    }

    /// The virtual broker that clients know by this node id.
    pub fn broker_by_virtual(&self, id: i32) -> Option<&VirtualBroker> {
        let position = self.brokers.binary_search_by_key(&id, |broker| broker.id).ok()?;
        self.brokers.get(position)
    }

    /// The virtual broker of a real one.
    pub fn broker(&self, broker: BrokerRef) -> Option<&VirtualBroker> {
        self.broker_by_virtual(self.virtual_id(broker))
    }

    /// The virtual brokers of a cluster, lowest id first.
    pub fn brokers_of(&self, cluster: ClusterIndex) -> impl Iterator<Item = &VirtualBroker> {
        self.brokers.iter().filter(move |broker| broker.broker.cluster == cluster)
    }

    /// The entry of a topic that needs more than its name. Allocates nothing.
    pub fn topic(&self, name: &str) -> Option<&Arc<TopicModel>> {
        self.topics.get(name)
    }

    /// [`Model::topic`] by the bytes of a request. Allocates nothing.
    pub fn topic_by_bytes(&self, name: &[u8]) -> Option<&Arc<TopicModel>> {
        if self.topics.is_empty() {
            return None;
        }
        self.topics.get(std::str::from_utf8(name).ok()?)
    }

    /// The fuse that has tripped for a topic. Allocates nothing; without any fuse it costs one comparison.
    pub fn fuse(&self, topic: &str) -> Option<&Fuse> {
        if self.fuses.is_empty() { None } else { self.fuses.get(topic) }
    }

    /// [`Model::fuse`] by the bytes of a request.
    pub fn fuse_by_bytes(&self, topic: &[u8]) -> Option<&Fuse> {
        if self.fuses.is_empty() { None } else { self.fuses.get(std::str::from_utf8(topic).ok()?) }
    }

    /// The topic on this cluster is never shown to clients: the ledger, or excluded by the cluster's globs.
    pub fn hidden(&self, cluster: ClusterIndex, topic: &str) -> bool {
        topic == ledger::TOPIC || self.cluster(cluster).is_some_and(|cluster| cluster.exclude.is_match(topic))
    }

    /// The virtual brokers whose ports this proxy binds, lowest id first.
    pub fn brokers_served_by(&self, proxy: &ProxyName) -> impl Iterator<Item = &VirtualBroker> {
        self.brokers.iter().filter(move |broker| broker.served_by.as_ref() == Some(proxy))
    }

    /// The virtual broker that a proxy's bootstrap port answers as: its first home broker, else the first that it serves,
    /// else the first of the home cluster. `None` while the home cluster has no brokers.
    pub fn first_home_broker(&self, proxy: &ProxyName) -> Option<&VirtualBroker> {
        self.brokers
            .iter()
            .find(|broker| broker.home_proxy.as_ref() == Some(proxy))
            .or_else(|| self.brokers_served_by(proxy).next())
            .or_else(|| self.brokers_of(self.home).next())
    }
}

impl TopicModel {
    /// The chain of a partition; `None` if the partition never moved.
    pub fn chain(&self, partition: i32) -> Option<&ChainModel> {
        usize::try_from(partition).ok().and_then(|partition| self.chains.get(partition))
    }

    /// Shift of the segment that takes the partition's writes; 0 if it never moved.
    pub fn shift(&self, partition: i32) -> i64 {
        self.chain(partition).map_or(0, |chain| chain.chain.shift())
    }

    /// Epoch shift of the segment that takes the partition's writes; 0 if it never moved.
    pub fn epoch_shift(&self, partition: i32) -> i32 {
        self.chain(partition).map_or(0, |chain| chain.chain.epoch_shift())
    }

    /// Generation of the segment that takes the partition's writes; 0 if it never moved.
    pub fn generation(&self, partition: i32) -> u8 {
        self.chain(partition).map_or(0, |chain| chain.chain.generation())
    }

    /// Some partition has more than its first segment behind it.
    pub fn is_stitched(&self) -> bool {
        self.chains.iter().any(|chain| chain.chain.generation() > 0)
    }

    /// The recorded state of a producer (by the id that clients know) at the last cut of a partition.
    pub fn cut_producer(&self, partition: i32, id: i64) -> Option<&CutProducer> {
        usize::try_from(partition).ok().and_then(|partition| self.cut.get(partition)).and_then(|cut| cut.get(&id))
    }
}

impl ChainModel {
    /// The segment that holds a virtual offset, with its position and cluster; `None` below the first.
    pub fn segment_at(&self, offset: i64) -> Option<(usize, &Segment, ClusterIndex)> {
        let (position, segment) = self.chain.segment_at(offset)?;
        Some((position, segment, *self.clusters.get(position)?))
    }

    /// The segment at a position, with its cluster.
    pub fn segment(&self, position: usize) -> Option<(&Segment, ClusterIndex)> {
        Some((self.chain.segments().get(position)?, *self.clusters.get(position)?))
    }

    /// Position of the segment that takes writes.
    pub fn last_index(&self) -> usize {
        self.clusters.len().saturating_sub(1)
    }
}
