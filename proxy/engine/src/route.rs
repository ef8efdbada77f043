//! Where a topic lives, seen from one session: on its cluster, on another, or nowhere that clients may see. It must never
//! know requests or bytes.

use std::sync::Arc;

use sluice_mesh::model::{ClusterIndex, TopicModel, World};
use sluice_wire::walk::produce_answer::Endpoint;

use crate::code;

/// A topic's place.
#[derive(Debug)]
pub(crate) enum Place<'a> {
    /// Served by the session's cluster. Without an entry it is plain: bytes pass as they are.
    Here(Option<&'a Arc<TopicModel>>),
    /// Served by another cluster, or not servable at the moment: clients are told to look for the leader.
    Elsewhere,
    /// Not shown to clients.
    Hidden,
}

impl<'a> Place<'a> {
    /// The entry of a topic that is served here, or what a client is told of another one.
    pub(crate) fn entry(self) -> Result<Option<&'a Arc<TopicModel>>, i16> {
        match self {
            Self::Here(entry) => Ok(entry),
            Self::Elsewhere => Err(code::NOT_LEADER_OR_FOLLOWER),
            Self::Hidden => Err(code::UNKNOWN_TOPIC_OR_PARTITION),
        }
    }

    /// Nothing about this topic differs from what the broker itself knows.
    pub(crate) fn is_plain(&self) -> bool {
        matches!(self, Self::Here(None))
    }
}

/// The place of a topic for a session on `cluster`. Looks at names of plain home topics once and allocates nothing.
pub(crate) fn place<'a>(world: &'a World, cluster: ClusterIndex, name: &str) -> Place<'a> {
    let model = &world.model;
    if let Some(topic) = model.topic(name) {
        if topic.cluster != cluster {
            return Place::Elsewhere;
        }
        if model.hidden(cluster, name) {
            return Place::Hidden;
        }
        // The live topic is not the one that the chain ends on: old shifts are never applied to a new log.
        if !topic.chains.is_empty() && world.locate(name).is_some_and(|located| located.is_replaced()) {
            return Place::Elsewhere;
        }
        return Place::Here(Some(topic));
    }
    let hidden = model.hidden(cluster, name);
    if cluster == model.home && !hidden {
        return Place::Here(None);
    }
    match world.locate(name) {
        Some(located) if located.cluster == cluster => Place::Here(None),
        Some(_) => Place::Elsewhere,
        // Nobody shows it. If the session's cluster has it all the same, it is hidden; else its broker knows best.
        None if hidden || world.view(cluster).is_some_and(|view| view.topic(name).is_some()) => Place::Hidden,
        None => Place::Here(None),
    }
}

/// Where a partition is led, as told to clients: KIP-951.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hint {
    /// Virtual leader epoch.
    pub(crate) epoch: i32,
    /// The virtual broker and its shown address.
    pub(crate) endpoint: Endpoint,
}

impl Hint {
    /// (node id, leader epoch).
    pub(crate) fn leader(&self) -> (i32, i32) {
        (self.endpoint.node_id, self.epoch)
    }
}

/// The hint for a partition, if its leader is known and served.
pub(crate) fn hint(world: &World, name: &str, partition: i32) -> Option<Hint> {
    let (broker, epoch) = world.leader(name, partition)?;
    let shown = world.model.broker(broker)?;
    let (host, port) = shown.shown.clone()?;
    (epoch >= 0).then(|| Hint { epoch, endpoint: Endpoint { node_id: shown.id, host, port, rack: shown.rack.clone() } })
}
