//! Which clusters make up the mesh. Pure: the same resources and observations always give the same answer.

use std::collections::BTreeMap;
use std::sync::Arc;

use sluice_crds::KafkaCluster;
use sluice_crds::kafka_cluster::KafkaClusterReason;
use sluice_mesh::ledger::Merged;
use sluice_mesh::name::ClusterName;

use super::status::in_use;
use crate::compile::Member;
use crate::observe::{Observations, Observed};
use crate::store::{Resource, Resources, age_order};

/// The mesh, as the resources describe it.
#[derive(Debug, Clone, PartialEq)]
pub struct Membership {
    /// The home cluster, if there is exactly one that counts.
    pub home: Option<ClusterName>,
    /// Accepted clusters, oldest first. Empty without a home.
    pub members: Vec<Member>,
    /// Clusters that were not accepted: why, in a sentence.
    pub refused: BTreeMap<String, (KafkaClusterReason, String)>,
}

/// Decides who belongs to the mesh.
pub fn membership(resources: &Resources, observations: &Observations, ledger: &Merged) -> Membership {
    let mut clusters: Vec<&Arc<Resource<KafkaCluster>>> = resources.clusters.values().collect();
    clusters.sort_by(|a, b| age_order(&a.object.metadata).cmp(&age_order(&b.object.metadata)));
    let mut refused = BTreeMap::new();
    let homes: Vec<&str> = clusters.iter().filter(|c| c.object.spec.is_home()).map(|c| name_of(c)).collect();
    let home = homes.first().and_then(|home| ClusterName::new(home).ok());
    for other in homes.iter().skip(1) {
        let sentence =
            format!("KafkaCluster {} is the home of this mesh and is older: remove home from this one", homes[0]);
        refused.insert((*other).to_owned(), (KafkaClusterReason::Conflicted, sentence));
    }
    let mut members = Vec::new();
    let mut ids: BTreeMap<String, String> = BTreeMap::new();
    for cluster in clusters {
        let name = name_of(cluster);
        if refused.contains_key(name) {
            continue;
        }
        if home.is_none() {
            let sentence = "no KafkaCluster of this mesh says home: true: set it on the cluster on which groups and new \
                            topics are to live";
            refused.insert(name.to_owned(), (KafkaClusterReason::NoHome, sentence.to_owned()));
            continue;
        }
        let Ok(cluster_name) = ClusterName::new(name) else { continue };
        let seen = observations.get(&cluster_name).and_then(|observation| observation.seen.as_deref());
        let trouble =
            seen.and_then(|seen| another(&cluster_name, seen, ledger).or_else(|| unfit(name, seen, &mut ids)));
        if let Some(trouble) = trouble {
            refused.insert(name.to_owned(), trouble);
            continue;
        }
        let spec = &cluster.object.spec;
        members.push(Member {
            name: cluster_name,
            bootstrap_servers: spec.bootstrap_servers.clone(),
            zone: spec.zone.clone(),
            exclude: spec.excluded().to_vec(),
        });
    }
    Membership { home, members, refused }
}

/// Chains and routes name clusters: under a name that they use there must not suddenly be another Kafka cluster.
fn another(name: &ClusterName, seen: &Observed, ledger: &Merged) -> Option<(KafkaClusterReason, String)> {
    let found = &seen.view.cluster_id;
    let (before, _) = ledger.clusters.iter().find(|(id, identity)| identity.name == *name && *id != found)?;
    let is_itself = ledger.clusters.get(found).is_some_and(|identity| identity.name == *name);
    if is_itself || in_use(name, ledger).is_empty() {
        return None;
    }
    let sentence = format!(
        "topics of this mesh live on Kafka cluster {before} under the name {name}, and spec.bootstrapServers now lead to \
         Kafka cluster {found}: point them back, and make another KafkaCluster for {found}"
    );
    Some((KafkaClusterReason::Conflicted, sentence))
}

/// What a look at the cluster shows to be wrong with it. `ids` are Kafka's ids of the older clusters.
fn unfit(name: &str, seen: &Observed, ids: &mut BTreeMap<String, String>) -> Option<(KafkaClusterReason, String)> {
    if !seen.kraft {
        let sentence =
            "the cluster runs in ZooKeeper mode: only KRaft clusters can be part of a mesh, migrate it first";
        return Some((KafkaClusterReason::NotKRaft, sentence.to_owned()));
    }
    if let Some(older) = ids.get(&seen.view.cluster_id) {
        let sentence = format!("KafkaCluster {older} is the same Kafka cluster and is older: remove one of the two");
        return Some((KafkaClusterReason::Conflicted, sentence));
    }
    ids.insert(seen.view.cluster_id.clone(), name.to_owned());
    None
}

fn name_of(cluster: &Resource<KafkaCluster>) -> &str {
    cluster.object.metadata.name.as_deref().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use k8s_openapi::jiff::Timestamp;
    use sluice_mesh::ledger::{CatalogueEntry, ClusterIdentity};
    use sluice_mesh::name::TopicName;
    use sluice_mesh::view::ClusterView;

    use super::*;
    use crate::observe::Observation;

    /// Clusters from minimal YAML: name, age (seconds since the epoch), spec.
    fn resources(list: &[(&str, i64, &str)]) -> Resources {
        let mut resources = Resources::default();
        for (name, created, spec) in list {
            let mut object = KafkaCluster::new(name, serde_yaml::from_str(spec).unwrap());
            object.metadata.creation_timestamp = Some(Time(Timestamp::from_second(*created).unwrap()));
            resources.clusters.insert((*name).to_owned(), Arc::new(Resource { object, refused: None }));
        }
        resources
    }

    fn seen(list: &[(&str, &str, bool)]) -> Observations {
        let observation = |id: &str, kraft| Observation {
            seen: Some(Arc::new(Observed {
                view: Arc::new(ClusterView { cluster_id: id.to_owned(), ..ClusterView::default() }),
                kafka_version: None,
                kraft,
            })),
            ..Observation::default()
        };
        list.iter().map(|(name, id, kraft)| (ClusterName::new(name).unwrap(), observation(id, *kraft))).collect()
    }

    fn names(membership: &Membership) -> Vec<&str> {
        membership.members.iter().map(|member| member.name.as_str()).collect()
    }

    #[test]
    fn members_come_oldest_first() {
        let resources = resources(&[
            ("a", 30, "{bootstrapServers: ['a:1']}"),
            ("b", 20, "{bootstrapServers: ['b:1'], home: true, zone: z, topics: {exclude: ['x*']}}"),
            ("c", 20, "{bootstrapServers: ['c:1']}"),
        ]);
        let membership = membership(&resources, &Observations::new(), &Merged::default());
        assert_eq!(membership.home.as_ref().unwrap().as_str(), "b");
        assert_eq!(names(&membership), ["b", "c", "a"]);
        assert_eq!(membership.members[0].exclude, ["x*"]);
        assert!(membership.refused.is_empty());
    }

    #[test]
    fn without_a_home_nobody_is_in() {
        let membership = membership(
            &resources(&[("a", 1, "{bootstrapServers: ['a:1']}")]),
            &Observations::new(),
            &Merged::default(),
        );
        assert_eq!((membership.home, membership.members.len()), (None, 0));
        assert_eq!(membership.refused["a"].0, KafkaClusterReason::NoHome);
    }

    #[test]
    fn the_older_home_wins() {
        let home = "{bootstrapServers: ['a:1'], home: true}";
        let membership =
            membership(&resources(&[("a", 2, home), ("b", 1, home)]), &Observations::new(), &Merged::default());
        assert_eq!(names(&membership), ["b"]);
        let (reason, sentence) = &membership.refused["a"];
        assert_eq!(*reason, KafkaClusterReason::Conflicted);
        assert!(sentence.contains("KafkaCluster b is the home"), "{sentence}");
    }

    #[test]
    fn one_kafka_cluster_is_in_once_and_zookeeper_is_out() {
        let resources = resources(&[
            ("a", 1, "{bootstrapServers: ['a:1'], home: true}"),
            ("b", 2, "{bootstrapServers: ['a:2']}"),
            ("c", 3, "{bootstrapServers: ['c:1']}"),
        ]);
        let seen = seen(&[("a", "ID", true), ("b", "ID", true), ("c", "C", false)]);
        let membership = membership(&resources, &seen, &Merged::default());
        assert_eq!(names(&membership), ["a"]);
        assert!(membership.refused["b"].1.contains("KafkaCluster a is the same"));
        assert_eq!(membership.refused["c"].0, KafkaClusterReason::NotKRaft);
    }

    #[test]
    fn a_name_in_use_never_means_another_kafka_cluster() {
        let resources =
            resources(&[("a", 1, "{bootstrapServers: ['a:1'], home: true}"), ("b", 2, "{bootstrapServers: ['c:1']}")]);
        let moved = seen(&[("a", "A", true), ("b", "C", true)]);
        let mut ledger = Merged::default();
        for (id, name, tag) in [("A", "a", 1), ("B", "b", 2)] {
            let name = ClusterName::new(name).unwrap();
            let identity = ClusterIdentity { name, tag, node_id_base: i32::from(tag) * 10_000, indexes: vec![] };
            ledger.clusters.insert(id.to_owned(), identity);
        }
        assert_eq!(names(&membership(&resources, &moved, &ledger)), ["a", "b"], "nothing lives there: replaced");
        let entry =
            CatalogueEntry { cluster: ClusterName::new("b").unwrap(), topic_id: uuid::Uuid::nil(), placeholder: None };
        ledger.catalogue.insert(TopicName::new("orders").unwrap(), entry);
        let refused = membership(&resources, &moved, &ledger);
        assert_eq!(names(&refused), ["a"]);
        let (reason, sentence) = &refused.refused["b"];
        assert_eq!(*reason, KafkaClusterReason::Conflicted);
        assert!(sentence.contains("live on Kafka cluster B") && sentence.contains("point them back"), "{sentence}");
        let back = seen(&[("a", "A", true), ("b", "B", true)]);
        assert_eq!(names(&membership(&resources, &back, &ledger)), ["a", "b"]);
    }
}
