//! What a term tells people about clusters and fuses: statuses, events, and which clusters may go.

use sluice_mesh::name::ClusterName;

use super::{Term, UNREAD};
use crate::app::tell_unread;
use crate::clock;
use crate::kafka_cluster::status;
use crate::kafka_cluster::validate::Membership;
use crate::observe::Observations;
use crate::store::{Event, EventType, Kind, Resources};
use crate::topic_fuse::validate::Asked;
use crate::topic_fuse::{self, Seen};

impl Term {
    pub(super) fn tell(&mut self, resources: &Resources, observations: &Observations, membership: &Membership) {
        if !self.started {
            tell_unread(&self.context.store, resources, UNREAD);
        }
        let ledger = self.context.ledger.merged();
        let document = self.context.publisher.document().borrow().clone();
        let compiled = self.context.publisher.compiled().borrow().clone();
        let publish_trouble = self.context.publisher.failure();
        for (name, resource) in &resources.clusters {
            let Ok(cluster) = ClusterName::new(name) else { continue };
            let observation = observations.get(&cluster);
            let facts = status::Facts {
                resource,
                name: &cluster,
                refused: membership.refused.get(name),
                observation,
                ledger_open: self.context.ledger.is_open(&cluster),
                ledger_trouble: self.ledger_troubles.get(&cluster).map(|(trouble, _)| trouble.as_str()),
                ledger: &ledger,
                document: document.as_deref(),
                compiled: compiled.as_deref(),
                publish_trouble: publish_trouble.as_deref(),
                now: clock::now(),
            };
            self.context.store.put_cluster_status(name, status::status(&facts));
            let up = observation.map(|observation| observation.failure.is_none());
            if let Some(up) = up {
                self.context.metrics.set_cluster_up(name, up);
            }
            if let Some(up) = up
                && self.told.insert(cluster.clone(), up).is_some_and(|before| before != up)
            {
                let (kind, reason, sentence) = if up {
                    (EventType::Normal, "Reachable", "the cluster answers again".to_owned())
                } else {
                    let failure = observation.and_then(|observation| observation.failure.clone()).unwrap_or_default();
                    (EventType::Warning, "Unreachable", format!("the cluster does not answer: {failure}"))
                };
                self.event(&cluster, kind, reason, sentence);
            }
        }
    }

    /// Without a start there is nothing to compare fuses with.
    pub(super) fn tell_of_fuses(&mut self, asked: &[Asked]) {
        if !self.started {
            return;
        }
        let document = self.context.publisher.document().borrow().clone();
        let publish_trouble = self.context.publisher.failure();
        let proxies = &self.context.proxies;
        let told = self.fuses.look(
            asked,
            &Seen {
                document: document.as_deref(),
                publish_trouble: publish_trouble.as_deref(),
                applied: &|revision| proxies.applied(revision),
                now: clock::now(),
            },
        );
        for (name, status) in told.statuses {
            self.context.store.put_fuse_status(&name, status);
        }
        for event in told.events {
            tracing::info!(fuse = event.name, reason = event.reason, "{}", event.message);
            self.context.store.record_event(event);
        }
        if let Some(document) = &document {
            let (produce, consume) = topic_fuse::tripped(document);
            self.context.metrics.set_fuses_tripped(produce, consume);
        }
    }

    /// Lets clusters go whose authors removed them and that nothing needs any more. What a cluster is needed for is known
    /// only after every ledger has been read.
    pub(super) fn let_go(&self, resources: &Resources) {
        if !self.started {
            return;
        }
        let ledger = self.context.ledger.merged();
        for (name, resource) in &resources.clusters {
            let Ok(cluster) = ClusterName::new(name) else { continue };
            let removed = resource.object.metadata.deletion_timestamp.is_some();
            let alone = resources.clusters.len() == 1;
            let needed = (cluster == self.context.home && !alone) || !status::in_use(&cluster, &ledger).is_empty();
            if removed && !needed {
                self.context.store.release_cluster(name);
            }
        }
    }

    pub(super) fn event(&self, cluster: &ClusterName, event_type: EventType, reason: &'static str, message: String) {
        self.context.store.record_event(Event {
            kind: Kind::KafkaCluster,
            name: cluster.to_string(),
            event_type,
            reason,
            message,
        });
    }
}
