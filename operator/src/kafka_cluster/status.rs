//! What people are told about a KafkaCluster. Pure, computed from the same values as everything else.

use k8s_openapi::jiff::Timestamp;
use sluice_crds::KafkaCluster;
use sluice_crds::condition::{ConditionType, Conditions};
use sluice_crds::kafka_cluster::{BrokerStatus, InUse, KafkaClusterReason, KafkaClusterStatus, TopicConflict};
use sluice_mesh::chain::Chain;
use sluice_mesh::document::{Document, VirtualBroker};
use sluice_mesh::ledger::Merged;
use sluice_mesh::name::ClusterName;

use crate::compile::Compiled;
use crate::observe::Observation;
use crate::store::Resource;

/// Longest list in a status.
const ROWS: usize = 100;

/// What a status is computed from.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The object.
    pub resource: &'a Resource<KafkaCluster>,
    /// Its name.
    pub name: &'a ClusterName,
    /// Why it is not part of the mesh, if it is not.
    pub refused: Option<&'a (KafkaClusterReason, String)>,
    /// How it was last seen.
    pub observation: Option<&'a Observation>,
    /// Its ledger has been read.
    pub ledger_open: bool,
    /// Why its ledger could not be opened, if that was tried.
    pub ledger_trouble: Option<&'a str>,
    /// All ledgers.
    pub ledger: &'a Merged,
    /// The document published last.
    pub document: Option<&'a Document>,
    /// What showed when it was compiled.
    pub compiled: Option<&'a Compiled>,
    /// Why the latest document was not published, if so.
    pub publish_trouble: Option<&'a str>,
    /// Now.
    pub now: Timestamp,
}

/// Computes the status.
pub fn status(facts: &Facts<'_>) -> KafkaClusterStatus {
    let generation = facts.resource.object.metadata.generation.unwrap_or(1);
    let before = facts.resource.object.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let mut status = KafkaClusterStatus {
        observed_generation: Some(generation),
        conditions: conditions(facts, Conditions::new(generation, facts.now, before)),
        in_use: in_use(facts.name, facts.ledger),
        ..KafkaClusterStatus::default()
    };
    status.in_use.truncate(ROWS);
    if let Some(seen) = facts.observation.and_then(|observation| observation.seen.as_deref()) {
        status.cluster_id = Some(seen.view.cluster_id.clone());
        status.kafka_version.clone_from(&seen.kafka_version);
        status.broker_count = Some(count(seen.view.brokers.len()));
        status.producer_tag = facts.ledger.clusters.get(&seen.view.cluster_id).map(|identity| i32::from(identity.tag));
    }
    if let Some(document) = facts.document {
        let own = document.brokers.iter().filter(|broker| broker.cluster == *facts.name);
        status.brokers = own.take(ROWS).map(|broker| broker_row(broker, document)).collect();
    }
    if let Some(compiled) = facts.compiled {
        let shown = shown_topics(facts, compiled);
        status.topic_count = shown.map(|(topics, _)| topics);
        status.partition_count = shown.map(|(_, partitions)| partitions);
        let concerned = |conflict: &&crate::compile::Conflict| {
            conflict.shown.0 == *facts.name || conflict.hidden.contains(facts.name)
        };
        status.topic_conflicts = compiled
            .conflicts
            .iter()
            .filter(concerned)
            .take(ROWS)
            .map(|conflict| TopicConflict { topic: conflict.topic.to_string(), shown: conflict.shown.0.to_string() })
            .collect();
    }
    status
}

fn conditions(
    facts: &Facts<'_>,
    mut list: Conditions,
) -> Vec<k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition> {
    use ConditionType::{Accepted, Ready, Reconciling, Stalled};
    let invalid = facts.resource.refused.as_ref().map(|sentence| (KafkaClusterReason::Invalid, sentence.clone()));
    if let Some((reason, sentence)) = invalid.or_else(|| facts.refused.cloned()) {
        return list
            .no(Accepted, reason, sentence.clone())
            .no(Ready, reason, sentence.clone())
            .yes(Stalled, reason, sentence)
            .finish();
    }
    list.yes(Accepted, KafkaClusterReason::Accepted, "the object obeys the rules");
    match trouble(facts) {
        None => list.yes(Ready, KafkaClusterReason::Serving, "the mesh serves the cluster"),
        Some((reason, sentence)) => list.no(Ready, reason, sentence.clone()).yes(Reconciling, reason, sentence),
    };
    list.finish()
}

/// What keeps the cluster from being served, if anything does.
fn trouble(facts: &Facts<'_>) -> Option<(KafkaClusterReason, String)> {
    use KafkaClusterReason::{LedgerUnavailable, Progressing, Unreachable};
    if facts.resource.object.metadata.deletion_timestamp.is_some() {
        let sentence = "it was removed, but topics still need it (see inUse): move them away or bring it back";
        return Some((Progressing, sentence.to_owned()));
    }
    let servers = facts.resource.object.spec.bootstrap_servers.join(", ");
    let Some(observation) = facts.observation else {
        return Some((Progressing, format!("the cluster is being looked at through {servers}")));
    };
    if let Some(failure) = &observation.failure {
        let sentence =
            format!("the cluster does not answer at {servers}: {failure}; check the addresses and that it is up");
        return Some((Unreachable, sentence));
    }
    if !facts.ledger_open {
        return Some(match facts.ledger_trouble {
            Some(trouble) => (LedgerUnavailable, trouble.to_owned()),
            None => (Progressing, "the ledger on the cluster is being read".to_owned()),
        });
    }
    if facts.document.is_some_and(|document| document.clusters.iter().any(|cluster| cluster.name == *facts.name)) {
        return None;
    }
    Some((Progressing, facts.publish_trouble.unwrap_or("the mesh document is being made").to_owned()))
}

/// Topics and partitions of this cluster that clients see.
fn shown_topics(facts: &Facts<'_>, compiled: &Compiled) -> Option<(i32, i32)> {
    let seen = facts.observation?.seen.as_deref()?;
    let model = sluice_mesh::model::Model::build(compiled.document.clone()).ok()?;
    let index = model.cluster_index(facts.name.as_str())?;
    let mut counted = (0_usize, 0_usize);
    for (name, topic) in &seen.view.topics {
        let lives_here = match model.topic(name) {
            Some(entry) => entry.cluster == index,
            // Without an entry, what is not on the home cluster has one; so a plain topic is the home cluster's.
            None => index == model.home,
        };
        if lives_here && name != sluice_mesh::ledger::TOPIC && !model.hidden(index, name) {
            counted = (counted.0 + 1, counted.1 + topic.partitions.len());
        }
    }
    Some((count(counted.0), count(counted.1)))
}

fn broker_row(broker: &VirtualBroker, document: &Document) -> BrokerStatus {
    let proxy = broker.served_by.as_ref().and_then(|name| document.proxies.iter().find(|proxy| proxy.name == *name));
    BrokerStatus {
        id: broker.broker,
        virtual_id: broker.id,
        address: format!("{}:{}", broker.host, broker.port),
        rack: broker.rack.clone(),
        home_proxy: broker.home_proxy.as_ref().map(ToString::to_string),
        served_by: broker.served_by.as_ref().map(ToString::to_string),
        shown: proxy.map(|proxy| format!("{}:{}", proxy.host, u32::from(proxy.port_base) + u32::from(broker.index))),
    }
}

/// Topics that need a cluster because of where they live or lived, by the ledgers. The home cluster's own plain topics are
/// not listed.
pub fn in_use(cluster: &ClusterName, ledger: &Merged) -> Vec<InUse> {
    let row = |topic: &dyn std::fmt::Display, reason: &str| InUse {
        topic: topic.to_string(),
        reason: reason.to_owned(),
        until: None,
    };
    let mut rows = Vec::new();
    for (topic, found) in &ledger.topics {
        let lives = found
            .serving
            .as_ref()
            .map_or([&found.record.from, &found.record.to].contains(&cluster), |serving| serving.cluster == *cluster);
        let chains = found.serving.iter().flat_map(|serving| &serving.chains);
        if lives {
            rows.push(row(topic, "Home"));
        } else if chains.flat_map(Chain::segments).any(|segment| segment.cluster == *cluster) {
            rows.push(row(topic, "OldSegment"));
        }
    }
    for (topic, entry) in &ledger.catalogue {
        if entry.cluster == *cluster && !ledger.topics.contains_key(topic) {
            rows.push(row(topic, "Home"));
        }
    }
    rows
}

fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests;
