//! The union: all clusters' topics as the one list that clients see.
//!
//! A topic with an entry in the document lives where the entry says. Without one the home cluster wins, then the first
//! cluster in the document's order. What may not be shown is left out before the choice: the ledger, excluded names, and
//! Kafka's own bookkeeping topics of any cluster but the home.

use std::sync::Arc;

use super::{ClusterView, TopicView};
use crate::chain::Segment;
use crate::model::{BrokerRef, ClusterIndex, TopicModel, World};

#[cfg(test)]
mod tests;

/// A topic of the union.
#[derive(Debug, Clone, Copy)]
pub struct Located<'a> {
    /// Its name.
    pub name: &'a str,
    /// The cluster that serves it.
    pub cluster: ClusterIndex,
    /// The topic on that cluster as last seen. `None`: it is not known yet, because that cluster has not been listed
    /// since start, or has an entry but was not there when last listed. Never "unknown topic", but
    /// `LEADER_NOT_AVAILABLE`.
    pub view: Option<&'a Arc<TopicView>>,
    /// The document's entry, if it has one.
    pub model: Option<&'a Arc<TopicModel>>,
}

impl Located<'_> {
    /// The leader of a partition as clients see it: the broker (its node id is `Model::virtual_id`) and the virtual
    /// epoch, -1 if unknown. `None` while there is no leader, and for a stitched topic that was deleted and created
    /// again behind our back: its old shifts do not fit the new log.
    pub fn leader(&self, partition: i32) -> Option<(BrokerRef, i32)> {
        if self.is_replaced() {
            return None;
        }
        let seen = self.view?.partition(partition)?;
        if seen.leader < 0 {
            return None;
        }
        let shift = self.model.map_or(0, |topic| topic.epoch_shift(partition));
        let epoch = if seen.epoch < 0 { -1 } else { seen.epoch.saturating_add(shift) };
        Some((BrokerRef { cluster: self.cluster, broker: seen.leader }, epoch))
    }

    /// The topic is stitched, but the live topic on its cluster is not the one that the chain ends on.
    pub fn is_replaced(&self) -> bool {
        let (Some(view), Some(topic)) = (self.view, self.model) else {
            return false;
        };
        topic.chains.iter().filter_map(|chain| chain.chain.last()).any(|last| last.topic_id != view.id)
    }

    /// The topic id that clients see; `None` while it is not known.
    pub fn topic_id(&self) -> Option<uuid::Uuid> {
        self.model.map(|topic| topic.topic_id).or_else(|| self.view.map(|view| view.id))
    }
}

impl World {
    /// A cluster as last seen; `None` if it has not been listed since start.
    pub fn view(&self, cluster: ClusterIndex) -> Option<&Arc<ClusterView>> {
        self.views.clusters.get(&self.model.cluster(cluster)?.name)
    }

    /// Every cluster of the document has been listed since start: only then may a topic be called unknown.
    pub fn all_listed(&self) -> bool {
        self.model.clusters.iter().all(|cluster| self.views.clusters.contains_key(&cluster.name))
    }

    /// Where a topic lives by the rules of the union. `None`: no cluster that has been listed shows it; it is unknown if
    /// [`World::all_listed`], else nobody can say yet.
    pub fn locate<'a>(&'a self, name: &'a str) -> Option<Located<'a>> {
        if let Some(topic) = self.model.topic(name) {
            let view = self.view(topic.cluster);
            let seen = view.and_then(|view| view.topic(name));
            let shown = !self.model.hidden(topic.cluster, name) && seen.is_none_or(|t| self.shows(topic.cluster, t));
            return shown.then_some(Located { name, cluster: topic.cluster, view: seen, model: Some(topic) });
        }
        for cluster in self.by_rank() {
            if self.model.hidden(cluster, name) {
                continue;
            }
            if self.view(cluster).is_none() {
                // This cluster goes first, and nobody knows yet whether it has the topic.
                let seen = self.sightings(name).next();
                return seen.map(|_| Located { name, cluster, view: None, model: None });
            }
            if let Some(seen) = self.shown_on(cluster, name) {
                return Some(Located { name, cluster, view: Some(seen), model: None });
            }
        }
        None
    }

    /// [`World::locate`] by the bytes of a request.
    pub fn locate_bytes<'a>(&'a self, name: &'a [u8]) -> Option<Located<'a>> {
        self.locate(std::str::from_utf8(name).ok()?)
    }

    /// Every topic that clients see, in no order. Entries of clusters that have not been listed are among them (without a
    /// view), so that no client unsubscribes from them; an entry whose topic its listed cluster lacks is not.
    pub fn visible_topics(&self) -> impl Iterator<Item = Located<'_>> {
        let entries = self.model.topics.keys().filter_map(|name| {
            let located = self.locate(name.as_str())?;
            (located.view.is_some() || self.view(located.cluster).is_none()).then_some(located)
        });
        let plain = self.model.cluster_indexes().filter_map(|(cluster, _)| Some((cluster, self.view(cluster)?)));
        let plain = plain.flat_map(move |(cluster, view)| {
            view.topics.keys().filter_map(move |name| {
                let located = self.locate(name).filter(|located| located.model.is_none())?;
                (self.sightings(name).next() == Some(cluster)).then_some(located)
            })
        });
        entries.chain(plain)
    }

    /// The leader of a partition as clients see it; see [`Located::leader`].
    pub fn leader(&self, name: &str, partition: i32) -> Option<(BrokerRef, i32)> {
        self.locate(name)?.leader(partition)
    }

    /// The broker shown as controller: the home cluster's as last seen, else the first of its virtual brokers.
    pub fn controller(&self) -> Option<BrokerRef> {
        let cluster = self.model.home;
        let seen = self.view(cluster).map(|view| BrokerRef { cluster, broker: view.controller });
        seen.filter(|broker| self.model.broker(*broker).is_some())
            .or_else(|| self.model.brokers_of(cluster).next().map(|broker| broker.broker))
    }

    /// The id that a topic has on a cluster now. `None`: the cluster has not been listed or has no such topic.
    pub fn live_id(&self, cluster: ClusterIndex, name: &str) -> Option<uuid::Uuid> {
        self.view(cluster)?.topic(name).map(|topic| topic.id)
    }

    /// The topic of this name on the segment's cluster is another one than the segment was cut from: deleted and created
    /// again behind our back. Nothing of the segment is left, and its shifts are never applied to the new log.
    pub fn is_dead(&self, segment: &Segment, cluster: ClusterIndex, name: &str) -> bool {
        self.live_id(cluster, name).is_some_and(|id| id != segment.topic_id)
    }

    /// Home first, then the document's order.
    fn by_rank(&self) -> impl Iterator<Item = ClusterIndex> {
        let home = self.model.home;
        let others = self.model.cluster_indexes().map(|(cluster, _)| cluster).filter(move |cluster| *cluster != home);
        std::iter::once(home).chain(others)
    }

    fn shows(&self, cluster: ClusterIndex, topic: &TopicView) -> bool {
        cluster == self.model.home || !topic.internal
    }

    /// The topic as last seen on this cluster, if it may be shown from there.
    fn shown_on(&self, cluster: ClusterIndex, name: &str) -> Option<&Arc<TopicView>> {
        let seen = self.view(cluster)?.topic(name)?;
        (self.shows(cluster, seen) && !self.model.hidden(cluster, name)).then_some(seen)
    }

    /// The clusters that show the topic, in the document's order.
    fn sightings(&self, name: &str) -> impl Iterator<Item = ClusterIndex> {
        self.model.cluster_indexes().filter_map(|(cluster, _)| self.shown_on(cluster, name).map(|_| cluster))
    }
}
