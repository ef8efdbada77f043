//! Which topics a change is about: with hundreds of routes, waking every topic for every change would cost more than the
//! moves themselves. Pure.

use std::collections::BTreeSet;
use std::sync::Arc;

use kube::core::object::HasSpec;
use sluice_mesh::ledger::Merged;
use sluice_mesh::name::{ProxyName, TopicName};

use crate::observe::{Observation, Observations, Observed};
use crate::store::{Reports, Resource, Resources};

/// Topics that may have something to do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Concern {
    /// Any.
    All,
    /// These.
    Only(BTreeSet<TopicName>),
}

/// What people wrote changed.
pub(super) fn resources(before: &Resources, now: &Resources) -> Concern {
    let unchanged = before.clusters.len() == now.clusters.len()
        && now.clusters.iter().all(|(name, cluster)| is_same(before.clusters.get(name), cluster));
    if !unchanged {
        return Concern::All;
    }
    let mut topics = BTreeSet::new();
    for (one, other) in [(before, now), (now, before)] {
        let changed = one.routes.iter().filter(|(name, route)| !is_same(other.routes.get(*name), route));
        topics.extend(changed.filter_map(|(_, route)| TopicName::new(&route.object.spec.topic).ok()));
    }
    Concern::Only(topics)
}

/// The same object, as far as its author decides; statuses and bookkeeping do not count.
fn is_same<K>(known: Option<&Arc<Resource<K>>>, now: &Resource<K>) -> bool
where
    K: kube::Resource + HasSpec<Spec: PartialEq>,
{
    known.is_some_and(|known| {
        let (a, b) = (known.object.meta(), now.object.meta());
        known.refused == now.refused
            && known.object.spec() == now.object.spec()
            && a.uid == b.uid
            && a.generation == b.generation
            && a.creation_timestamp == b.creation_timestamp
            && a.deletion_timestamp.is_some() == b.deletion_timestamp.is_some()
    })
}

/// Clusters look different.
pub(super) fn observations(before: &Observations, now: &Observations) -> Concern {
    if before.len() != now.len() {
        return Concern::All;
    }
    let mut topics = BTreeSet::new();
    for (name, observation) in now {
        let Some(known) = before.get(name) else { return Concern::All };
        if known.failure.is_some() != observation.failure.is_some() {
            return Concern::All;
        }
        match (seen(known), seen(observation)) {
            (None, None) => {}
            (Some(known), Some(observed)) if Arc::ptr_eq(known, observed) => {}
            (Some(known), Some(observed)) => topics.extend(differing(known, observed)),
            _ => return Concern::All,
        }
    }
    Concern::Only(topics)
}

fn seen(observation: &Observation) -> Option<&Arc<Observed>> {
    observation.seen.as_ref()
}

fn differing<'a>(before: &'a Observed, now: &'a Observed) -> impl Iterator<Item = TopicName> + 'a {
    let (before, now) = (&before.view.topics, &now.view.topics);
    let here = now.iter().filter(|(name, topic)| before.get(*name) != Some(*topic)).map(|(name, _)| name);
    let gone = before.keys().filter(|name| !now.contains_key(*name));
    here.chain(gone).filter_map(|name| TopicName::new(name).ok())
}

/// The ledgers say something else.
pub(super) fn ledger(before: &Merged, now: &Merged) -> Concern {
    Concern::Only(now.differing(before))
}

/// What a topic may care about of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Heard {
    proxy: ProxyName,
    live: bool,
    desired: bool,
    /// The revision that it refuses.
    rejects: Option<u64>,
    revision: u64,
}

/// Reports as far as topics may care. They are renewed all the time, and grow old.
pub(super) fn heard(reports: &Reports, now: i64) -> Vec<Heard> {
    let heard = reports.values().map(|report| Heard {
        proxy: report.proxy.clone(),
        live: report.is_live(now),
        desired: report.is_desired(now),
        rejects: report.rejected.as_ref().map(|rejected| rejected.revision),
        revision: report.revision,
    });
    heard.collect()
}

/// Whether a topic whose status counts the proxies that have applied a revision has to count them again. `None`: every
/// topic has to.
pub(super) fn reports(before: &[Heard], now: &[Heard]) -> Option<impl Fn(u64) -> bool> {
    let same_proxies = before.len() == now.len()
        && before.iter().zip(now).all(|(a, b)| Heard { revision: a.revision, ..b.clone() } == *a);
    let steps: Vec<(u64, u64)> = before.iter().zip(now).map(|(a, b)| (a.revision, b.revision)).collect();
    same_proxies.then_some(move |revision: u64| {
        revision > 0 && steps.iter().any(|(before, now)| (*before < revision) != (*now < revision))
    })
}

#[cfg(test)]
mod tests;
