//! A small mesh for the tests of this crate: clusters `east` (home) and `west`, two brokers each, two proxies.

use uuid::Uuid;

use crate::chain::{Chain, CutPoint, NewHome};
use crate::document::{
    Cluster, Cut, CutProducer, Document, FORMAT_VERSION, Fuse, FuseAction, Limits, Proxy, Topic, VirtualBroker,
};
use crate::name::{ClusterName, ProxyName, TopicName};

pub(crate) fn cluster(name: &str) -> ClusterName {
    ClusterName::new(name).unwrap()
}

pub(crate) fn topic(name: &str) -> TopicName {
    TopicName::new(name).unwrap()
}

pub(crate) fn proxy(name: &str) -> ProxyName {
    ProxyName::new(name).unwrap()
}

/// The id of every topic on a cluster.
pub(crate) fn id(on: &str) -> Uuid {
    Uuid::from_u128(on.bytes().fold(1, |bits, byte| bits * 256 + u128::from(byte)))
}

/// From east to west at `end`.
pub(crate) fn moved(end: i64) -> Chain {
    let to = NewHome { cluster: cluster("west"), topic_id: id("west"), physical_start: 0, generation: 1 };
    Chain::single(cluster("east"), id("east")).append(CutPoint { physical_end: end, last_epoch: 3 }, to).unwrap()
}

pub(crate) fn entry(name: &str, on: &str) -> Topic {
    Topic {
        name: topic(name),
        topic_id: id("east"),
        cluster: cluster(on),
        chains: Vec::new(),
        fence: None,
        placeholder: true,
        cut: None,
    }
}

/// A fuse that has tripped.
pub(crate) fn fuse(on: &str, produce: Option<FuseAction>, consume: bool) -> Fuse {
    Fuse { topic: topic(on), name: format!("stop-{on}"), produce, consume }
}

/// Not sealed. One stitched topic, `moved`.
pub(crate) fn document() -> Document {
    let clusters = [("east", 1, 0), ("west", 2, 10_000)].map(|(name, tag, node_id_base)| Cluster {
        name: cluster(name),
        cluster_id: format!("{name}-id"),
        bootstrap_servers: vec![format!("{name}:9092")],
        zone: None,
        tag,
        node_id_base,
        exclude: vec!["secret-*".to_owned()],
    });
    let broker = |on: &str, base: i32, broker: i32, index: u16, home: &str| VirtualBroker {
        id: base + broker,
        cluster: cluster(on),
        broker,
        host: format!("{on}-{broker}"),
        port: 9092,
        rack: None,
        index,
        home_proxy: Some(proxy(home)),
        served_by: Some(proxy(home)),
    };
    let producer = CutProducer { id: 1 << 56, epoch: 0, last_sequence: 9 };
    Document {
        format_version: FORMAT_VERSION,
        revision: 7,
        digest: String::new(),
        mesh: "default".to_owned(),
        home: cluster("east"),
        clusters: clusters.to_vec(),
        proxies: ["node-1", "node-2"]
            .map(|name| Proxy { name: proxy(name), host: name.to_owned(), port_base: 9100 })
            .to_vec(),
        brokers: vec![
            broker("west", 10_000, 1, 2, "node-1"),
            broker("east", 0, 1, 0, "node-1"),
            broker("east", 0, 2, 1, "node-2"),
            broker("west", 10_000, 2, 3, "node-2"),
        ],
        topics: vec![Topic {
            chains: vec![moved(900), moved(0)],
            cut: Some(Cut { switched_at: 5, producers: vec![vec![producer], Vec::new()] }),
            ..entry("moved", "west")
        }],
        fuses: vec![],
        limits: Limits::default(),
    }
}
