//! What the resources ask for a topic, and where it lives now. Pure.

use std::sync::Arc;

use sluice_crds::topic_route::TopicRoute;
use sluice_mesh::ledger::CatalogueEntry;
use sluice_mesh::name::{ClusterName, TopicName};

use super::problem::{Problem, Reason};
use super::situation::{Standing, Wanted};
use crate::observe::Observations;
use crate::store::{Resource, Resources, age_order};

/// What the routes of one topic come to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Asked {
    /// The route that counts.
    pub route: Option<Arc<Resource<TopicRoute>>>,
    /// What it asks for; none if it can't be followed.
    pub wanted: Option<Wanted>,
    /// Why the latest spec of the route is not followed.
    pub refused: Option<Problem>,
    /// Why its cluster can't be used.
    pub unresolved: Option<Problem>,
    /// Routes that lost, by name.
    pub losers: Vec<(Arc<Resource<TopicRoute>>, Problem)>,
}

/// What the routes of a topic ask for.
pub fn asked(resources: &Resources, topic: &TopicName) -> Asked {
    let mut routes = resources.routes_of(topic.as_str()).into_iter();
    let Some(route) = routes.next() else { return Asked::default() };
    let winner = name(route);
    let losers = routes
        .map(|loser| {
            let message = format!(
                "TopicRoute {winner} is older and routes topic {topic} already; delete one of the two, or route another topic"
            );
            (Arc::clone(loser), Problem::new(Reason::Conflicted, message))
        })
        .collect();
    let refused = route.refused.as_ref().map(|why| Problem::new(Reason::Invalid, why.clone()));
    let spec = &route.object.spec;
    let cluster = ClusterName::new(&spec.cluster_ref.name).ok();
    let cluster = cluster.filter(|cluster| resources.clusters.contains_key(cluster.as_str()));
    let deleted = route.object.metadata.deletion_timestamp.is_some();
    let unresolved = cluster.is_none().then(|| {
        let known: Vec<&str> = resources.clusters.keys().map(String::as_str).collect();
        let message = format!(
            "there is no KafkaCluster {:?}; there are: {}; create it or correct spec.clusterRef.name",
            spec.cluster_ref.name,
            known.join(", ")
        );
        Problem::new(Reason::ClusterNotFound, message)
    });
    let wanted = cluster.filter(|_| !deleted).map(|to| Wanted { to, pause_budget: spec.pause_budget() });
    Asked { route: Some(Arc::clone(route)), wanted, refused, unresolved, losers }
}

/// A route's name.
pub fn name(route: &Resource<TopicRoute>) -> &str {
    route.object.metadata.name.as_deref().unwrap_or_default()
}

/// The cluster that takes the topic's writes now.
pub fn serving(
    standing: &Standing,
    catalogue: Option<&CatalogueEntry>,
    resources: &Resources,
    observations: &Observations,
    home: &ClusterName,
    topic: &TopicName,
) -> Result<ClusterName, Problem> {
    if let Some(cluster) = standing.serving() {
        return Ok(cluster.clone());
    }
    let mut clusters: Vec<_> = resources.clusters.values().collect();
    clusters.sort_by(|a, b| age_order(&a.object.metadata).cmp(&age_order(&b.object.metadata)));
    let mut names: Vec<ClusterName> = clusters
        .into_iter()
        .filter_map(|cluster| ClusterName::new(cluster.object.metadata.name.as_deref()?).ok())
        .collect();
    // The home cluster wins a name, then the oldest.
    names.sort_by_key(|name| name != home);
    let has = |name: &ClusterName| {
        let seen = observations.get(name)?.seen.as_ref()?;
        Some(seen.view.topics.contains_key(topic.as_str()))
    };
    if let Some(entry) = catalogue
        && has(&entry.cluster) != Some(false)
    {
        return Ok(entry.cluster.clone());
    }
    // Only a cluster that was listed can lack a topic.
    if let Some(unseen) = names.iter().find(|name| has(name).is_none()) {
        let message = format!("cluster {unseen} has not been reached yet; it may have topic {topic}");
        return Err(Problem::new(Reason::ClusterUnreachable, message));
    }
    names.into_iter().find(|name| has(name) == Some(true)).ok_or_else(|| {
        let message =
            format!("no cluster of the mesh has topic {topic}; create it, and it will live where this route says");
        Problem::new(Reason::TopicNotFound, message)
    })
}

#[cfg(test)]
mod tests;
