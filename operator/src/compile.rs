//! The mesh document, computed from everything that is known: resources, observations, ledgers, reports and what moves say
//! about their topics. Pure: no I/O, no clock. The same inputs always give the same document.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};
use sluice_mesh::chain::Chain;
use sluice_mesh::document::{self, Cluster, Cut, Document, FORMAT_VERSION, Fence, Fuse, Limits, Topic, VirtualBroker};
use sluice_mesh::ledger::{self, ClusterIdentity, Merged};
use sluice_mesh::model::Model;
use sluice_mesh::name::{ClusterName, ProxyName, TopicName};
use sluice_mesh::view::TopicView;
use uuid::Uuid;

use crate::observe::Observations;
use crate::store::Reports;

/// What a move has to say about a topic; the rest of its entry in the document follows from observations.
#[derive(Debug, Clone, PartialEq)]
pub struct RoutedTopic {
    /// The topic id that clients see.
    pub topic_id: Uuid,
    /// The cluster that serves it.
    pub cluster: ClusterName,
    /// By partition; empty if it never moved.
    pub chains: Vec<Chain>,
    /// Set while writes are held.
    pub fence: Option<Fence>,
    /// The cut's producers; absent once the first-batch check has ended.
    pub cut: Option<Cut>,
}

/// A KafkaCluster that was accepted into the mesh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub name: ClusterName,
    /// Addresses to begin with.
    pub bootstrap_servers: Vec<String>,
    /// Its zone.
    pub zone: Option<String>,
    /// Globs of topics that are not shown.
    pub exclude: Vec<String>,
}

/// Everything that a document is computed from.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// The mesh's name.
    pub mesh: &'a str,
    /// The home cluster, one of `members`.
    pub home: &'a ClusterName,
    /// Oldest first: that is the order in which they win a name.
    pub members: &'a [Member],
    /// Clusters as last seen.
    pub observations: &'a Observations,
    /// All ledgers.
    pub ledger: &'a Merged,
    /// What moves say.
    pub routed: &'a BTreeMap<TopicName, RoutedTopic>,
    /// Proxies.
    pub reports: &'a Reports,
    /// Milliseconds since the Unix epoch.
    pub now: i64,
    /// Fuses that are to trip, sorted by topic, one per topic.
    pub fuses: &'a [Fuse],
    /// Bounds that proxies keep.
    pub limits: &'a Limits,
}

/// A document and what showed on the way to it.
#[derive(Debug, Clone, PartialEq)]
pub struct Compiled {
    /// Without revision and digest.
    pub document: Document,
    /// Topics that exist on more than one cluster, with neither a route nor a recorded choice.
    pub conflicts: Vec<Conflict>,
    /// Shown topics that live elsewhere than on the home cluster, by name.
    pub elsewhere: Vec<Elsewhere>,
    /// Members that the document leaves out, with a sentence.
    pub left_out: Vec<(ClusterName, String)>,
}

/// A topic that exists on more than one cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// The topic.
    pub topic: TopicName,
    /// The cluster whose topic is shown, and its id there.
    pub shown: (ClusterName, Uuid),
    /// The others that have it.
    pub hidden: Vec<ClusterName>,
    /// The ledger has the choice: it stays until a route says otherwise.
    pub recorded: bool,
}

/// A shown topic that lives elsewhere than on the home cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Elsewhere {
    /// The topic.
    pub topic: TopicName,
    /// Its cluster.
    pub cluster: ClusterName,
    /// Its id there as last seen; `None` if that cluster does not have it any more.
    pub topic_id: Option<Uuid>,
    /// Its partitions there.
    pub partitions: usize,
    /// The topic of the same name on the home cluster: id and partitions.
    pub at_home: Option<(Uuid, usize)>,
    /// A move speaks for it.
    pub routed: bool,
}

/// Why there is no document yet; the last one stays.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotYet {
    /// A cluster that belongs to the mesh has not been seen since start.
    #[error("cluster {0} belongs to the mesh and has not been reached since this operator started")]
    NotSeen(ClusterName),
    /// A cluster has no identity yet.
    #[error("cluster {0} has no node ids yet")]
    NoIdentity(ClusterName),
    /// A topic lives on a cluster that the mesh does not have.
    #[error(
        "topic {topic} needs cluster {cluster}, for which there is no KafkaCluster: create it again under that name"
    )]
    ClusterMissing {
        /// The topic.
        topic: TopicName,
        /// The cluster.
        cluster: ClusterName,
    },
    /// The parts do not fit together.
    #[error("the parts do not fit together: {0}")]
    Unfit(String),
}

/// Computes the document.
pub fn compile(inputs: &Inputs<'_>) -> Result<Compiled, NotYet> {
    let (clusters, left_out) = clusters(inputs)?;
    let mut document = Document {
        format_version: FORMAT_VERSION,
        revision: 0,
        digest: String::new(),
        mesh: inputs.mesh.to_owned(),
        home: inputs.home.clone(),
        brokers: brokers(inputs, &clusters),
        clusters,
        proxies: proxies(inputs),
        topics: Vec::new(),
        // As they are: a fuse stops a topic wherever it lives, and also one that is created later.
        fuses: inputs.fuses.to_vec(),
        limits: inputs.limits.clone(),
    };
    // A model without topics already knows which names each cluster hides: one implementation for both sides.
    let model = Model::build(document.clone()).map_err(|error| NotYet::Unfit(error.to_string()))?;
    let mut union = Union { inputs, model: &model, topics: Vec::new(), conflicts: Vec::new(), elsewhere: Vec::new() };
    union.collect()?;
    let Union { topics, conflicts, elsewhere, .. } = union;
    document.topics = topics;
    Ok(Compiled { document, conflicts, elsewhere, left_out })
}

type LeftOut = Vec<(ClusterName, String)>;

fn clusters(inputs: &Inputs<'_>) -> Result<(Vec<Cluster>, LeftOut), NotYet> {
    let mut clusters = Vec::with_capacity(inputs.members.len());
    let mut left_out = LeftOut::new();
    for member in inputs.members {
        // What the mesh does not know yet cannot hold anything of it: it must not stop the rest. What it knows must be
        // seen first, or its topics would look as if they were gone.
        let known = member.name == *inputs.home || inputs.ledger.clusters.values().any(|id| id.name == member.name);
        let Some(seen) = inputs.observations.get(&member.name).and_then(|observation| observation.seen.as_ref()) else {
            if known {
                return Err(NotYet::NotSeen(member.name.clone()));
            }
            left_out.push((member.name.clone(), NotYet::NotSeen(member.name.clone()).to_string()));
            continue;
        };
        let Some(identity) = inputs.ledger.clusters.get(&seen.view.cluster_id) else {
            if known {
                return Err(NotYet::NoIdentity(member.name.clone()));
            }
            left_out.push((member.name.clone(), NotYet::NoIdentity(member.name.clone()).to_string()));
            continue;
        };
        clusters.push(cluster(member, &seen.view.cluster_id, identity));
    }
    // Proxies know clusters by their place in the list. Tags are given out in rising order and kept for ever: a new cluster
    // comes last, and nothing that happens to resources (deleted statuses, late or repeated creation) reorders the others.
    clusters.sort_by_key(|cluster| cluster.tag);
    Ok((clusters, left_out))
}

fn cluster(member: &Member, cluster_id: &str, identity: &ClusterIdentity) -> Cluster {
    Cluster {
        name: member.name.clone(),
        cluster_id: cluster_id.to_owned(),
        bootstrap_servers: member.bootstrap_servers.clone(),
        zone: member.zone.clone(),
        tag: identity.tag,
        node_id_base: identity.node_id_base,
        exclude: member.exclude.clone(),
    }
}

/// Live proxies and those lost a moment ago: their addresses may still be in clients' caches.
fn proxies(inputs: &Inputs<'_>) -> Vec<document::Proxy> {
    let desired = inputs.reports.values().filter(|report| report.is_desired(inputs.now));
    desired
        .map(|report| document::Proxy {
            name: report.proxy.clone(),
            host: report.host.clone(),
            port_base: report.port_base,
        })
        .collect()
}

fn brokers(inputs: &Inputs<'_>, clusters: &[Cluster]) -> Vec<VirtualBroker> {
    let mut brokers = Vec::new();
    for cluster in clusters {
        let Some(identity) = inputs.ledger.clusters.get(&cluster.cluster_id) else { continue };
        let Some(seen) = inputs.observations.get(&cluster.name).and_then(|known| known.seen.as_ref()) else { continue };
        for broker in &seen.view.brokers {
            // A broker without an index is a moment old: the next record of the identity has it.
            let index = identity.indexes.iter().find(|(id, _)| *id == broker.id).map(|(_, index)| *index);
            let (Some(index), Some(id)) = (index, identity.node_id_base.checked_add(broker.id)) else { continue };
            let next_base = inputs.ledger.clusters.values().map(|other| other.node_id_base);
            if next_base.filter(|base| *base > identity.node_id_base).any(|base| id >= base) {
                continue;
            }
            let home_proxy = inputs
                .reports
                .values()
                .filter(|report| report.is_desired(inputs.now) && report.broker_hosts.contains(&broker.host))
                .map(|report| &report.proxy)
                .min();
            brokers.push(VirtualBroker {
                id,
                cluster: cluster.name.clone(),
                broker: broker.id,
                host: broker.host.clone(),
                port: broker.port,
                rack: broker.rack.clone(),
                index,
                home_proxy: home_proxy.cloned(),
                served_by: serving(inputs, id, index, home_proxy),
            });
        }
    }
    brokers.sort_by_key(|broker| broker.id);
    brokers
}

/// The home proxy while it lives, else one of the live proxies by hash (highest random weight: when a proxy comes or
/// goes, only what it serves moves).
fn serving(inputs: &Inputs<'_>, id: i32, index: u16, home: Option<&ProxyName>) -> Option<ProxyName> {
    let live = inputs
        .reports
        .values()
        .filter(|report| report.is_live(inputs.now) && report.port_base.checked_add(index).is_some())
        .map(|report| &report.proxy);
    if let Some(home) = home
        && live.clone().any(|proxy| proxy == home)
    {
        return Some(home.clone());
    }
    live.max_by_key(|proxy| (<[u8; 32]>::from(Sha256::digest(format!("{proxy}/{id}"))), *proxy)).cloned()
}

/// All clusters' topics as one list.
struct Union<'a> {
    inputs: &'a Inputs<'a>,
    model: &'a Model,
    topics: Vec<Topic>,
    conflicts: Vec<Conflict>,
    elsewhere: Vec<Elsewhere>,
}

impl<'a> Union<'a> {
    fn collect(&mut self) -> Result<(), NotYet> {
        let mut found: BTreeMap<TopicName, Vec<(ClusterName, &'a TopicView)>> = BTreeMap::new();
        // In the order of age, not of the document: the oldest that has a topic wins its name.
        for member in self.inputs.members {
            let cluster = member.name.clone();
            let Some(index) = self.model.cluster_index(cluster.as_str()) else { continue };
            let Some(seen) = self.inputs.observations.get(&cluster).and_then(|known| known.seen.as_ref()) else {
                continue;
            };
            for (name, view) in &seen.view.topics {
                let internal = view.internal && cluster != *self.inputs.home;
                if internal || name == ledger::TOPIC || self.model.hidden(index, name) {
                    continue;
                }
                if let Ok(name) = TopicName::new(name) {
                    found.entry(name).or_default().push((cluster.clone(), view));
                }
            }
        }
        for topic in self.inputs.routed.keys().chain(self.inputs.ledger.catalogue.keys()) {
            found.entry(topic.clone()).or_default();
        }
        for (topic, sightings) in found {
            self.place(topic, &sightings)?;
        }
        Ok(())
    }

    fn place(&mut self, topic: TopicName, sightings: &[(ClusterName, &TopicView)]) -> Result<(), NotYet> {
        let home = self.inputs.home;
        let at = |cluster: &ClusterName| sightings.iter().find(|(on, _)| on == cluster).map(|(_, view)| *view);
        if let Some(routed) = self.inputs.routed.get(&topic) {
            self.need(&topic, &routed.cluster)?;
            for segment in routed.chains.iter().flat_map(Chain::segments) {
                self.need(&topic, &segment.cluster)?;
            }
            self.note_elsewhere(&topic, &routed.cluster, sightings, true);
            self.topics.push(Topic {
                topic_id: routed.topic_id,
                cluster: routed.cluster.clone(),
                chains: routed.chains.clone(),
                fence: routed.fence.clone(),
                placeholder: self.placeholder(&routed.cluster, sightings),
                cut: routed.cut.clone(),
                name: topic,
            });
            return Ok(());
        }
        if let Some(entry) = self.inputs.ledger.catalogue.get(&topic)
            && entry.cluster != *home
        {
            self.need(&topic, &entry.cluster)?;
            // Excluded by its own cluster: not shown, and what the home cluster has of that name is only a placeholder.
            let id = at(&entry.cluster).map_or(entry.topic_id, |view| view.id);
            let stranger = |on: &ClusterName, view: &TopicView| {
                *on != entry.cluster
                    && if on == home { entry.placeholder.is_some_and(|ours| ours != view.id) } else { true }
            };
            let hidden: Vec<ClusterName> =
                sightings.iter().filter(|(on, view)| stranger(on, view)).map(|(on, _)| on.clone()).collect();
            if !hidden.is_empty() {
                let shown = (entry.cluster.clone(), id);
                self.conflicts.push(Conflict { topic: topic.clone(), shown, hidden, recorded: true });
            }
            self.note_elsewhere(&topic, &entry.cluster, sightings, false);
            self.push_plain(topic, &entry.cluster, id, sightings);
            return Ok(());
        }
        let chosen = sightings.iter().find(|(on, _)| on == home).or_else(|| sightings.first());
        let Some((cluster, view)) = chosen else { return Ok(()) };
        let recorded = self.inputs.ledger.catalogue.contains_key(&topic);
        if sightings.len() > 1 {
            let hidden = sightings.iter().map(|(on, _)| on.clone()).filter(|on| on != cluster).collect();
            let shown = (cluster.clone(), view.id);
            self.conflicts.push(Conflict { topic: topic.clone(), shown, hidden, recorded });
        }
        if cluster != home {
            self.note_elsewhere(&topic, cluster, sightings, false);
            self.push_plain(topic, cluster, view.id, sightings);
        }
        Ok(())
    }

    fn push_plain(&mut self, name: TopicName, cluster: &ClusterName, id: Uuid, seen: &[(ClusterName, &TopicView)]) {
        self.topics.push(Topic {
            name,
            topic_id: id,
            cluster: cluster.clone(),
            chains: Vec::new(),
            fence: None,
            placeholder: self.placeholder(cluster, seen),
            cut: None,
        });
    }

    /// Commits for it are accepted on the home cluster.
    fn placeholder(&self, cluster: &ClusterName, sightings: &[(ClusterName, &TopicView)]) -> bool {
        let partitions = |on: &ClusterName| {
            sightings.iter().find(|(cluster, _)| cluster == on).map(|(_, view)| view.partitions.len())
        };
        cluster == self.inputs.home
            || partitions(self.inputs.home).is_some_and(|home| home >= partitions(cluster).unwrap_or(0))
    }

    fn note_elsewhere(
        &mut self,
        topic: &TopicName,
        cluster: &ClusterName,
        sightings: &[(ClusterName, &TopicView)],
        routed: bool,
    ) {
        if cluster == self.inputs.home {
            return;
        }
        let at = |on: &ClusterName| sightings.iter().find(|(cluster, _)| cluster == on).map(|(_, view)| *view);
        self.elsewhere.push(Elsewhere {
            topic: topic.clone(),
            cluster: cluster.clone(),
            topic_id: at(cluster).map(|view| view.id),
            partitions: at(cluster).map_or(0, |view| view.partitions.len()),
            at_home: at(self.inputs.home).map(|view| (view.id, view.partitions.len())),
            routed,
        });
    }

    fn need(&self, topic: &TopicName, cluster: &ClusterName) -> Result<(), NotYet> {
        if self.model.cluster_index(cluster.as_str()).is_some() {
            return Ok(());
        }
        if self.inputs.members.iter().any(|member| member.name == *cluster) {
            return Err(NotYet::NotSeen(cluster.clone()));
        }
        Err(NotYet::ClusterMissing { topic: topic.clone(), cluster: cluster.clone() })
    }
}

#[cfg(test)]
mod tests;
