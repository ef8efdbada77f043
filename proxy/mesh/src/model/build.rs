//! From document to model: every rule that the data path relies on is checked here, once, so that nothing needs to be
//! checked per request. A document that breaks one is refused whole.

use std::collections::{HashMap, HashSet};
use std::fmt::Display;
use std::sync::Arc;

use globset::{Glob, GlobSet, GlobSetBuilder};

use super::{
    BrokerRef, BuildError, ChainModel, ClusterIndex, ClusterModel, Limits, Model, ProxyName, TopicModel, VirtualBroker,
};
use crate::document::{self, Cut, CutProducer, Document, FORMAT_VERSION};
use crate::ledger;
use crate::name::ClusterName;

/// The longest hold that a document may ask for, milliseconds: clients give up after ten seconds and more.
pub const MAX_HOLD_MILLIS: u64 = 8_000;

/// The smallest and the largest bound on a frame: no client gets by with less than the first; Kafka's lengths have 31
/// bits.
const FRAME_BYTES: std::ops::RangeInclusive<u32> = 1024..=0x7fff_ffff;

type Indexes = HashMap<ClusterName, ClusterIndex>;

pub(super) fn build(document: Document) -> Result<Model, BuildError> {
    if document.format_version > FORMAT_VERSION {
        return Err(BuildError::NewerFormat { found: document.format_version, supported: FORMAT_VERSION });
    }
    check_limits(&document.limits)?;
    let (clusters, indexes) = clusters(&document.clusters)?;
    let home = cluster_of(&indexes, &document.home, "the mesh", "home")?;
    let brokers = brokers(&document, &clusters, &indexes)?;
    let mut topics = HashMap::with_capacity(document.topics.len());
    for entry in &document.topics {
        let topic = Arc::new(topic(entry, &indexes)?);
        if topics.insert(entry.name.clone(), topic).is_some() {
            return Err(twice("topic", &entry.name));
        }
    }
    let mut fuses = HashMap::with_capacity(document.fuses.len());
    for fuse in &document.fuses {
        if fuse.produce.is_none() && !fuse.consume {
            return Err(inconsistent(format!("fuse {} of topic {} stops nothing", fuse.name, fuse.topic)));
        }
        if fuses.insert(fuse.topic.clone(), fuse.clone()).is_some() {
            return Err(twice("fuse of topic", &fuse.topic));
        }
    }
    Ok(Model {
        revision: document.revision,
        cluster_id: clusters.get(usize::from(home.0)).map(|home| home.cluster_id.clone()).unwrap_or_default(),
        home,
        clusters,
        brokers,
        topics,
        fuses,
        limits: document.limits.clone(),
        produce_lease: Arc::new(()),
        document,
    })
}

fn check_limits(limits: &Limits) -> Result<(), BuildError> {
    if !FRAME_BYTES.contains(&limits.max_frame_bytes) {
        return Err(inconsistent(format!("limits.maxFrameBytes {} is not in {FRAME_BYTES:?}", limits.max_frame_bytes)));
    }
    if limits.max_in_flight == 0 {
        return Err(inconsistent("limits.maxInFlight is 0: no request could be sent"));
    }
    if limits.max_hold_millis > MAX_HOLD_MILLIS {
        return Err(inconsistent(format!("limits.maxHoldMillis {} is over {MAX_HOLD_MILLIS}", limits.max_hold_millis)));
    }
    Ok(())
}

fn clusters(clusters: &[document::Cluster]) -> Result<(Vec<ClusterModel>, Indexes), BuildError> {
    let mut indexes = Indexes::new();
    let mut models = Vec::with_capacity(clusters.len());
    let (mut ids, mut tags) = (HashSet::new(), HashSet::new());
    let mut bases: Vec<i32> = clusters.iter().map(|cluster| cluster.node_id_base).collect();
    bases.sort_unstable();
    for cluster in clusters {
        let name = &cluster.name;
        // Tags are unique and have seven bits, so there are never too many clusters for the index.
        if !(1..=127).contains(&cluster.tag) {
            return Err(inconsistent(format!("cluster {name} has producer tag {}, not 1 to 127", cluster.tag)));
        }
        if !tags.insert(cluster.tag) {
            return Err(twice("producer tag", cluster.tag));
        }
        let index = ClusterIndex(u16::try_from(models.len()).map_err(|_| inconsistent("too many clusters"))?);
        if indexes.insert(name.clone(), index).is_some() {
            return Err(twice("cluster", name));
        }
        if cluster.cluster_id.is_empty() {
            return Err(inconsistent(format!("cluster {name} has no Kafka cluster id")));
        }
        if !ids.insert(&cluster.cluster_id) {
            return Err(twice("Kafka cluster id", &cluster.cluster_id));
        }
        if cluster.bootstrap_servers.is_empty() {
            return Err(inconsistent(format!("cluster {name} has no bootstrap server")));
        }
        if cluster.node_id_base < 0 {
            return Err(inconsistent(format!("cluster {name} has a node-id base below zero")));
        }
        let above = bases.partition_point(|base| *base <= cluster.node_id_base);
        if above.checked_sub(2).and_then(|same| bases.get(same)) == Some(&cluster.node_id_base) {
            return Err(twice("node-id base", cluster.node_id_base));
        }
        models.push(ClusterModel {
            name: name.clone(),
            cluster_id: cluster.cluster_id.clone(),
            bootstrap_servers: cluster.bootstrap_servers.clone(),
            tag: cluster.tag,
            node_id_base: cluster.node_id_base,
            node_id_end: bases.get(above).copied().unwrap_or(i32::MAX),
            exclude: globs(name, &cluster.exclude)?,
        });
    }
    Ok((models, indexes))
}

fn globs(cluster: &ClusterName, patterns: &[String]) -> Result<GlobSet, BuildError> {
    let refuse = |error| inconsistent(format!("cluster {cluster} excludes topics by a glob that is none: {error}"));
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        set.add(Glob::new(pattern).map_err(refuse)?);
    }
    set.build().map_err(refuse)
}

fn brokers(
    document: &Document,
    clusters: &[ClusterModel],
    indexes: &Indexes,
) -> Result<Vec<VirtualBroker>, BuildError> {
    let mut proxies = HashMap::new();
    for proxy in &document.proxies {
        if proxies.insert(&proxy.name, proxy).is_some() {
            return Err(twice("proxy", &proxy.name));
        }
    }
    let (mut ids, mut ports, mut shown) = (HashSet::new(), HashSet::new(), HashSet::new());
    let mut brokers = Vec::with_capacity(document.brokers.len());
    for entry in &document.brokers {
        let broker = broker(entry, clusters, indexes, &proxies)?;
        if !ids.insert(broker.id) {
            return Err(twice("virtual broker", broker.id));
        }
        if !ports.insert(broker.index) {
            return Err(twice("port index", broker.index));
        }
        if let Some(address) = &broker.shown
            && !shown.insert(address.clone())
        {
            return Err(twice("shown address", format!("{}:{}", address.0, address.1)));
        }
        brokers.push(broker);
    }
    brokers.sort_unstable_by_key(|broker| broker.id);
    Ok(brokers)
}

fn broker(
    entry: &document::VirtualBroker,
    clusters: &[ClusterModel],
    indexes: &Indexes,
    proxies: &HashMap<&ProxyName, &document::Proxy>,
) -> Result<VirtualBroker, BuildError> {
    let subject = format!("virtual broker {}", entry.id);
    let cluster = cluster_of(indexes, &entry.cluster, &subject, "cluster")?;
    let model = clusters.get(usize::from(cluster.0)).ok_or_else(|| unknown(&subject, "cluster", &entry.cluster))?;
    let expected = Some(entry.broker).filter(|id| *id >= 0).and_then(|id| model.node_id_base.checked_add(id));
    if expected != Some(entry.id) {
        return Err(inconsistent(format!(
            "{subject} is broker {} of {}, whose ids begin at {}",
            entry.broker, entry.cluster, model.node_id_base
        )));
    }
    if entry.id >= model.node_id_end {
        return Err(inconsistent(format!("{subject} of {} runs into the ids of the next cluster", entry.cluster)));
    }
    let shown = match &entry.served_by {
        None => None,
        Some(name) => {
            let proxy = proxies.get(name).ok_or_else(|| unknown(&subject, "proxy", name))?;
            let port = proxy.port_base.checked_add(entry.index);
            let port = port.ok_or_else(|| inconsistent(format!("{subject} has no port left at proxy {name}")))?;
            Some((proxy.host.clone(), port))
        }
    };
    Ok(VirtualBroker {
        id: entry.id,
        broker: BrokerRef { cluster, broker: entry.broker },
        real: (entry.host.clone(), entry.port),
        shown,
        served_by: entry.served_by.clone(),
        home_proxy: entry.home_proxy.clone(),
        rack: entry.rack.clone(),
        index: entry.index,
    })
}

fn topic(entry: &document::Topic, indexes: &Indexes) -> Result<TopicModel, BuildError> {
    let subject = format!("topic {}", entry.name);
    if entry.name.as_str() == ledger::TOPIC {
        return Err(inconsistent("the ledger is never shown: it cannot be an entry"));
    }
    let cluster = cluster_of(indexes, &entry.cluster, &subject, "cluster")?;
    let mut chains = Vec::with_capacity(entry.chains.len());
    for (partition, chain) in entry.chains.iter().enumerate() {
        let refuse = |reason: &dyn Display| inconsistent(format!("{subject}, partition {partition}: {reason}"));
        chain.validate().map_err(|error| refuse(&error))?;
        let clusters: Result<Vec<_>, _> =
            chain.segments().iter().map(|s| cluster_of(indexes, &s.cluster, &subject, "segment's cluster")).collect();
        let clusters = clusters?;
        if clusters.last() != Some(&cluster) {
            return Err(refuse(&format!("its chain does not end on {}, which serves it", entry.cluster)));
        }
        chains.push(ChainModel { chain: chain.clone(), clusters });
    }
    Ok(TopicModel {
        name: entry.name.clone(),
        topic_id: entry.topic_id,
        cluster,
        fence: entry.fence.clone(),
        placeholder: entry.placeholder,
        switched_at: entry.cut.as_ref().map_or(0, |cut| cut.switched_at),
        cut: entry.cut.as_ref().map_or(Ok(Vec::new()), |cut| producers(&subject, cut, chains.len()))?,
        chains,
    })
}

fn producers(subject: &str, cut: &Cut, partitions: usize) -> Result<Vec<HashMap<i64, CutProducer>>, BuildError> {
    if cut.producers.len() > partitions {
        return Err(inconsistent(format!(
            "{subject} has the producers of {} partitions at the cut, but {partitions} chains",
            cut.producers.len()
        )));
    }
    let mut by_partition = Vec::with_capacity(cut.producers.len());
    for producers in &cut.producers {
        let mut by_id = HashMap::with_capacity(producers.len());
        for producer in producers {
            if producer.id < 0 || producer.last_sequence < -1 {
                return Err(inconsistent(format!(
                    "{subject} has a producer at the cut with a negative id or sequence"
                )));
            }
            if by_id.insert(producer.id, *producer).is_some() {
                return Err(twice(&format!("{subject}: producer"), producer.id));
            }
        }
        by_partition.push(by_id);
    }
    Ok(by_partition)
}

fn cluster_of(indexes: &Indexes, name: &ClusterName, subject: &str, what: &str) -> Result<ClusterIndex, BuildError> {
    indexes.get(name).copied().ok_or_else(|| unknown(subject, what, name))
}

fn inconsistent(reason: impl Into<String>) -> BuildError {
    BuildError::Inconsistent(reason.into())
}

fn twice(what: &str, value: impl Display) -> BuildError {
    inconsistent(format!("{what} {value} is given twice"))
}

fn unknown(subject: &str, what: &str, value: &dyn Display) -> BuildError {
    inconsistent(format!("{subject} names the {what} {value}, which the document does not have"))
}
