//! A sample mesh: cluster `east` (home) and cluster `west`, three brokers each, a proxy on every broker's node, and one
//! topic of every kind.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use sluice_mesh::chain::{Chain, CutPoint, NewHome};
use sluice_mesh::document::{
    Cluster, Cut, CutProducer, Document, FORMAT_VERSION, Fence, Fuse, FuseAction, Limits, Proxy, Topic, VirtualBroker,
};
use sluice_mesh::model::{BrokerRef, ClusterIndex, Model, World};
use sluice_mesh::name::{ClusterName, ProxyName, TopicName};
use sluice_mesh::view::{BrokerView, ClusterView, PartitionView, TopicView, Views};
use uuid::Uuid;

/// The home cluster: node-id base 0, producer tag 1, brokers 1 to 3 (virtual 1 to 3, port indexes 0 to 2).
pub const EAST: &str = "east";
/// The other cluster: node-id base 10000, producer tag 2, brokers 1 to 3 (virtual 10001 to 10003, indexes 3 to 5).
pub const WEST: &str = "west";
/// Index of [`EAST`] in the model.
pub const EAST_INDEX: ClusterIndex = ClusterIndex(0);
/// Index of [`WEST`] in the model.
pub const WEST_INDEX: ClusterIndex = ClusterIndex(1);
/// Kafka's cluster id of [`EAST`], shown to clients.
pub const EAST_ID: &str = "east-kafka-cluster-id1";
/// Kafka's cluster id of [`WEST`].
pub const WEST_ID: &str = "west-kafka-cluster-id2";

/// Three partitions on east, no entry in the document.
pub const PLAIN: &str = "orders";
/// Two partitions, moved from east to west: partition 0 cut at 900, partition 1 at 0. Generation 1, epoch shift 1024.
pub const STITCHED: &str = "moved";
/// One partition, moved from east (0..100) to west (100..150) and back: virtual 150 is 100 on east. Generation 2.
pub const RETURNED: &str = "there-and-back";
/// One partition on east, writes held (attempt 7, at most 5000 ms).
pub const FENCED: &str = "fenced";
/// One partition on west, in the document, never moved; its placeholder is on east.
pub const ABROAD: &str = "abroad";
/// On both clusters without an entry: home wins.
pub const BOTH: &str = "both";
/// On west alone, without an entry.
pub const WEST_ONLY: &str = "west-only";
/// On west, whose globs exclude it.
pub const EXCLUDED: &str = "secret-plan";

/// Leader epoch (physical) of every partition of the sample.
pub const EPOCH: i32 = 5;

/// Milliseconds since the Unix epoch of the switch of [`STITCHED`].
pub const SWITCHED_AT: i64 = 1_790_000_000_000;

/// A producer that [`STITCHED`]'s cut knows in partition 0: handed out by east, epoch 0, last sequence 41.
pub const CUT_PRODUCER: CutProducer = CutProducer { id: (1 << 56) | 7, epoch: 0, last_sequence: 41 };

/// A cluster's name.
pub fn cluster(name: &str) -> ClusterName {
    ClusterName::new(name).expect("a valid cluster name")
}

/// A topic's name.
pub fn topic(name: &str) -> TopicName {
    TopicName::new(name).expect("a valid topic name")
}

/// A proxy's name.
pub fn proxy(name: &str) -> ProxyName {
    ProxyName::new(name).expect("a valid proxy name")
}

/// The topic id of a topic on a cluster of the sample: any name has one, the same in every run.
pub fn topic_id(cluster: &str, name: &str) -> Uuid {
    let mut bits = 0xcbf2_9ce4_8422_2325_u128;
    for byte in cluster.bytes().chain([0]).chain(name.bytes()) {
        bits = (bits ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
    }
    Uuid::from_u128(bits)
}

/// An east broker of the model.
pub fn east(broker: i32) -> BrokerRef {
    BrokerRef { cluster: EAST_INDEX, broker }
}

/// A west broker of the model.
pub fn west(broker: i32) -> BrokerRef {
    BrokerRef { cluster: WEST_INDEX, broker }
}

/// The chain of a topic that moves from cluster to cluster: `ends` are the physical log ends at which it left each, in
/// order; `homes` begins with its first cluster. On a cluster where it was before, it goes on where it left.
pub fn chain(name: &str, homes: &[&str], ends: &[i64]) -> Chain {
    assert_eq!(homes.len(), ends.len() + 1, "a topic leaves every home but the last");
    let mut left: HashMap<&str, i64> = HashMap::new();
    let mut chain = Chain::single(cluster(homes[0]), topic_id(homes[0], name));
    for (move_number, (pair, end)) in homes.windows(2).zip(ends).enumerate() {
        left.insert(pair[0], *end);
        let to = NewHome {
            cluster: cluster(pair[1]),
            topic_id: topic_id(pair[1], name),
            physical_start: left.get(pair[1]).copied().unwrap_or(0),
            generation: u8::try_from(move_number + 1).expect("fewer than 256 moves"),
        };
        let cut = CutPoint { physical_end: *end, last_epoch: chain.epoch_shift() + EPOCH };
        chain = chain.append(cut, to).expect("a chain of a test is valid");
    }
    chain
}

/// An entry of the document without fence, chains and cut.
pub fn entry(name: &str, on: &str) -> Topic {
    Topic {
        name: topic(name),
        topic_id: topic_id(on, name),
        cluster: cluster(on),
        chains: Vec::new(),
        fence: None,
        placeholder: true,
        cut: None,
    }
}

/// A fuse of a topic that has tripped: `stop-<topic>`.
pub fn fuse(on: &str, produce: Option<FuseAction>, consume: bool) -> Fuse {
    Fuse { topic: topic(on), name: format!("stop-{on}"), produce, consume }
}

/// A topic as a cluster shows it: leaders 1, 2, 3, 1, ... in epoch [`EPOCH`], replicas everywhere.
pub fn topic_view(on: &str, name: &str, partitions: i32) -> TopicView {
    let partition = |index: i32| PartitionView {
        error: 0,
        leader: index % 3 + 1,
        epoch: EPOCH,
        replicas: vec![1, 2, 3],
        isr: vec![1, 2, 3],
        offline: Vec::new(),
    };
    let internal = name.starts_with("__consumer") || name.starts_with("__transaction");
    TopicView { id: topic_id(on, name), internal, partitions: (0..partitions).map(partition).collect() }
}

/// The document of the sample, sealed; revision 1.
pub fn document() -> Document {
    let nodes = || 1..=6_u16;
    let proxies = nodes().map(|node| Proxy {
        name: proxy(&format!("node-{node}")),
        host: format!("127.0.1.{node}"),
        port_base: 9100,
    });
    let brokers = nodes().map(|node| {
        let (name, base, broker) = if node <= 3 { (EAST, 0, node) } else { (WEST, 10_000, node - 3) };
        VirtualBroker {
            id: base + i32::from(broker),
            cluster: cluster(name),
            broker: i32::from(broker),
            host: format!("127.0.1.{node}"),
            port: 19092,
            rack: Some(format!("rack-{broker}")),
            index: node - 1,
            home_proxy: Some(proxy(&format!("node-{node}"))),
            served_by: Some(proxy(&format!("node-{node}"))),
        }
    });
    let clusters = [(EAST, EAST_ID, 1, 0, "127.0.1.1"), (WEST, WEST_ID, 2, 10_000, "127.0.1.4")];
    let clusters = clusters.map(|(name, id, tag, node_id_base, host)| Cluster {
        name: cluster(name),
        cluster_id: id.to_owned(),
        bootstrap_servers: vec![format!("{host}:19092")],
        zone: None,
        tag,
        node_id_base,
        exclude: vec!["secret-*".to_owned()],
    });
    Document {
        format_version: FORMAT_VERSION,
        revision: 1,
        digest: String::new(),
        mesh: "default".to_owned(),
        home: cluster(EAST),
        clusters: clusters.to_vec(),
        proxies: proxies.collect(),
        brokers: brokers.collect(),
        topics: topics(),
        fuses: vec![],
        limits: Limits::default(),
    }
    .seal()
}

fn topics() -> Vec<Topic> {
    let producers = vec![vec![CUT_PRODUCER], Vec::new()];
    let stitched = Topic {
        topic_id: topic_id(EAST, STITCHED),
        chains: vec![chain(STITCHED, &[EAST, WEST], &[900]), chain(STITCHED, &[EAST, WEST], &[0])],
        cut: Some(Cut { switched_at: SWITCHED_AT, producers }),
        ..entry(STITCHED, WEST)
    };
    let returned = Topic { chains: vec![chain(RETURNED, &[EAST, WEST, EAST], &[100, 50])], ..entry(RETURNED, EAST) };
    let fenced = Topic { fence: Some(Fence { attempt: 7, hold_millis: 5_000 }), ..entry(FENCED, EAST) };
    vec![stitched, returned, fenced, entry(ABROAD, WEST)]
}

/// The clusters of the sample as last seen.
pub fn views() -> Views {
    let east = [
        (PLAIN, 3),
        (STITCHED, 2),
        (RETURNED, 1),
        (FENCED, 1),
        (ABROAD, 1),
        (BOTH, 1),
        ("__consumer_offsets", 3),
        ("__sluice_ledger", 1),
    ];
    let west = [
        (STITCHED, 2),
        (RETURNED, 1),
        (ABROAD, 1),
        (BOTH, 2),
        (WEST_ONLY, 2),
        (EXCLUDED, 1),
        ("__consumer_offsets", 3),
        ("__sluice_ledger", 1),
    ];
    let view = |name: &str, id: &str, first_node: u16, topics: &[(&str, i32)]| ClusterView {
        cluster_id: id.to_owned(),
        controller: 2,
        brokers: (0..3_u16)
            .map(|n| BrokerView {
                id: i32::from(n + 1),
                host: format!("127.0.1.{}", first_node + n),
                port: 19092,
                rack: Some(format!("rack-{}", n + 1)),
            })
            .collect(),
        topics: topics
            .iter()
            .map(|(topic, partitions)| ((*topic).to_owned(), Arc::new(topic_view(name, topic, *partitions))))
            .collect(),
        api_versions: api_versions(),
    };
    let clusters = [(EAST, EAST_ID, 1, &east), (WEST, WEST_ID, 4, &west)];
    let clusters = clusters.map(|(name, id, node, topics)| (cluster(name), Arc::new(view(name, id, node, topics))));
    Views { clusters: clusters.into_iter().collect() }
}

/// What a Kafka 4 broker offers of the APIs that a proxy may offer: (key, min, max).
pub fn api_versions() -> Vec<(i16, i16, i16)> {
    vec![
        (0, 0, 13),
        (1, 4, 18),
        (2, 1, 11),
        (3, 0, 13),
        (8, 2, 10),
        (9, 1, 10),
        (10, 0, 6),
        (11, 0, 9),
        (12, 0, 4),
        (13, 0, 5),
        (14, 0, 5),
        (15, 0, 6),
        (16, 0, 5),
        (17, 0, 1),
        (18, 0, 4),
        (19, 2, 7),
        (20, 1, 6),
        (22, 0, 6),
        (23, 2, 4),
        (24, 0, 5),
        (25, 0, 4),
        (26, 0, 5),
        (28, 0, 5),
        (32, 1, 4),
        (36, 0, 2),
        (60, 0, 2),
        (61, 0, 0),
    ]
}

/// Makes a [`World`], by default that of the sample.
#[derive(Debug, Clone)]
pub struct WorldBuilder {
    document: Document,
    views: HashMap<ClusterName, ClusterView>,
    expired_fences: HashMap<TopicName, u64>,
}

impl Default for WorldBuilder {
    fn default() -> Self {
        let views = views().clusters.into_iter().map(|(name, view)| (name, ClusterView::clone(&view))).collect();
        Self { document: document(), views, expired_fences: HashMap::new() }
    }
}

impl WorldBuilder {
    /// The sample.
    pub fn sample() -> Self {
        Self::default()
    }

    /// Changes the document.
    #[must_use]
    pub fn edit(mut self, change: impl FnOnce(&mut Document)) -> Self {
        change(&mut self.document);
        self
    }

    /// Changes an entry of the document; it is made if there is none.
    #[must_use]
    pub fn edit_topic(mut self, name: &str, on: &str, change: impl FnOnce(&mut Topic)) -> Self {
        let found = self.document.topics.iter().position(|topic| topic.name.as_str() == name);
        let position = found.unwrap_or_else(|| {
            self.document.topics.push(entry(name, on));
            self.document.topics.len() - 1
        });
        change(&mut self.document.topics[position]);
        self
    }

    /// The topic's fuse has tripped like this, whatever it was before; if it stops nothing, it is closed.
    #[must_use]
    pub fn fused(self, on: &str, produce: Option<FuseAction>, consume: bool) -> Self {
        self.edit(|document| {
            document.fuses.retain(|fuse| fuse.topic.as_str() != on);
            if produce.is_some() || consume {
                document.fuses.push(fuse(on, produce, consume));
            }
        })
    }

    /// The next revision.
    #[must_use]
    pub fn next_revision(self) -> Self {
        self.edit(|document| document.revision += 1)
    }

    /// A real broker listens here, in the document and in the view.
    #[must_use]
    pub fn broker_at(mut self, on: &str, broker: i32, address: SocketAddr) -> Self {
        let (host, port) = (address.ip().to_string(), address.port());
        let listed = self.document.brokers.iter_mut();
        for entry in listed.filter(|entry| entry.cluster.as_str() == on && entry.broker == broker) {
            (entry.host, entry.port) = (host.clone(), port);
        }
        self.edit_view(on, |view| {
            for seen in view.brokers.iter_mut().filter(|seen| seen.id == broker) {
                (seen.host, seen.port) = (host.clone(), port);
            }
        })
    }

    /// The cluster has not been listed since start.
    #[must_use]
    pub fn unlisted(mut self, on: &str) -> Self {
        self.views.remove(on);
        self
    }

    /// Changes a cluster's view.
    #[must_use]
    pub fn edit_view(mut self, on: &str, change: impl FnOnce(&mut ClusterView)) -> Self {
        change(self.views.get_mut(on).expect("a listed cluster"));
        self
    }

    /// A topic on a cluster, in its view.
    #[must_use]
    pub fn with_topic(self, on: &str, name: &str, partitions: i32) -> Self {
        self.edit_view(on, |view| {
            view.topics.insert(name.to_owned(), Arc::new(topic_view(on, name, partitions)));
        })
    }

    /// A topic that a cluster lacks.
    #[must_use]
    pub fn without_topic(self, on: &str, name: &str) -> Self {
        self.edit_view(on, |view| {
            view.topics.remove(name);
        })
    }

    /// Another leader and epoch (physical) of a partition.
    #[must_use]
    pub fn leader(self, on: &str, name: &str, partition: usize, leader: i32, epoch: i32) -> Self {
        self.edit_view(on, |view| {
            let topic = Arc::make_mut(view.topics.get_mut(name).expect("a topic of that cluster"));
            (topic.partitions[partition].leader, topic.partitions[partition].epoch) = (leader, epoch);
        })
    }

    /// The topic's fence of this attempt has expired.
    #[must_use]
    pub fn expired(mut self, name: &str, attempt: u64) -> Self {
        self.expired_fences.insert(topic(name), attempt);
        self
    }

    /// The document as it is now, sealed.
    pub fn document(&self) -> Document {
        self.document.clone().seal()
    }

    /// The world. Panics if the document does not build.
    pub fn build(&self) -> World {
        let views = self.views.iter().map(|(name, view)| (name.clone(), Arc::new(view.clone()))).collect();
        World {
            model: Arc::new(Model::build(self.document()).expect("a consistent document")),
            views: Arc::new(Views { clusters: views }),
            expired_fences: Arc::new(self.expired_fences.clone()),
        }
    }
}

#[cfg(test)]
mod tests;
