//! What a cluster looked like when it was last asked: brokers, topics, leaders, epochs. Values only; who asks, and when,
//! is decided elsewhere.

use std::collections::HashMap;
use std::sync::Arc;

use uuid::Uuid;

use crate::name::ClusterName;

mod union;

pub use union::Located;

/// One cluster as last seen.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ClusterView {
    /// Kafka's cluster id.
    pub cluster_id: String,
    /// Broker id of the controller as metadata names it, -1 if unknown.
    pub controller: i32,
    /// Live brokers.
    pub brokers: Vec<BrokerView>,
    /// All topics by name, with internal ones.
    pub topics: HashMap<String, Arc<TopicView>>,
    /// API versions that every live broker offers: (key, min, max).
    pub api_versions: Vec<(i16, i16, i16)>,
}

/// One broker as last seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerView {
    /// Broker id.
    pub id: i32,
    /// Advertised host.
    pub host: String,
    /// Advertised port.
    pub port: u16,
    /// Rack.
    pub rack: Option<String>,
}

/// One topic as last seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicView {
    /// Topic id.
    pub id: Uuid,
    /// Kafka's own bookkeeping topic.
    pub internal: bool,
    /// By partition index.
    pub partitions: Vec<PartitionView>,
}

/// One partition as last seen. All ids and epochs are physical.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionView {
    /// Kafka error code of the partition's metadata, 0 if none.
    pub error: i16,
    /// Leader's broker id, -1 if none.
    pub leader: i32,
    /// Leader epoch, -1 if unknown.
    pub epoch: i32,
    /// Replica broker ids.
    pub replicas: Vec<i32>,
    /// In-sync broker ids.
    pub isr: Vec<i32>,
    /// Offline replica broker ids.
    pub offline: Vec<i32>,
}

/// All clusters as last seen. A cluster that has not been listed since start is absent.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Views {
    /// By cluster name.
    pub clusters: HashMap<ClusterName, Arc<ClusterView>>,
}

impl ClusterView {
    /// The topic as last seen.
    pub fn topic(&self, name: &str) -> Option<&Arc<TopicView>> {
        self.topics.get(name)
    }

    /// The broker is live.
    pub fn has_broker(&self, id: i32) -> bool {
        self.brokers.iter().any(|broker| broker.id == id)
    }
}

impl TopicView {
    /// The partition as last seen.
    pub fn partition(&self, partition: i32) -> Option<&PartitionView> {
        usize::try_from(partition).ok().and_then(|partition| self.partitions.get(partition))
    }
}
