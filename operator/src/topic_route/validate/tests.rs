use std::collections::HashMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use sluice_crds::kafka_cluster::{KafkaCluster, KafkaClusterSpec};
use sluice_crds::topic_route::{ClusterRef, TopicRouteSpec};
use sluice_mesh::view::{ClusterView, TopicView};
use uuid::Uuid;

use super::*;
use crate::observe::{Observation, Observed};

fn cluster_name(name: &str) -> ClusterName {
    ClusterName::new(name).unwrap()
}

fn topic() -> TopicName {
    TopicName::new("orders").unwrap()
}

fn resources(clusters: &[&str], routes: &[(&str, i64, &str)]) -> Resources {
    let mut resources = Resources::default();
    for (index, name) in clusters.iter().enumerate() {
        let mut object = KafkaCluster::new(name, KafkaClusterSpec::default());
        let created = Timestamp::from_second(i64::try_from(index).unwrap()).unwrap();
        object.metadata.creation_timestamp = Some(Time(created));
        resources.clusters.insert((*name).to_owned(), Arc::new(Resource { object, refused: None }));
    }
    for (name, created, to) in routes {
        let spec = TopicRouteSpec {
            topic: "orders".to_owned(),
            cluster_ref: ClusterRef { name: (*to).to_owned() },
            ..TopicRouteSpec::default()
        };
        let mut object = TopicRoute::new(name, spec);
        object.metadata.creation_timestamp = Some(Time(Timestamp::from_second(*created).unwrap()));
        resources.routes.insert((*name).to_owned(), Arc::new(Resource { object, refused: None }));
    }
    resources
}

fn observations(clusters: &[(&str, bool)]) -> Observations {
    let observed = |has: bool| {
        let topic = TopicView { id: Uuid::from_u128(1), internal: false, partitions: Vec::new() };
        let topics = if has { HashMap::from([("orders".to_owned(), Arc::new(topic))]) } else { HashMap::new() };
        let view = Arc::new(ClusterView { topics, ..ClusterView::default() });
        Observation {
            seen: Some(Arc::new(Observed { view, kafka_version: None, kraft: true })),
            failure: None,
            looks: 1,
        }
    };
    clusters.iter().map(|(name, has)| (cluster_name(name), observed(*has))).collect()
}

#[test]
fn the_older_route_wins_and_the_loser_learns_its_name() {
    let asked = asked(&resources(&["east", "west"], &[("b", 5, "west"), ("a", 9, "east")]), &topic());
    assert_eq!(asked.wanted.unwrap().to, cluster_name("west"));
    let (loser, problem) = &asked.losers[0];
    assert_eq!(name(loser), "a");
    assert_eq!(problem.reason, Reason::Conflicted);
    assert!(problem.message.contains("TopicRoute b"));
}

#[test]
fn an_unknown_cluster_is_named_together_with_those_that_exist() {
    let asked = asked(&resources(&["east"], &[("a", 1, "moon")]), &topic());
    assert_eq!(asked.wanted, None);
    let problem = asked.unresolved.unwrap();
    assert_eq!(problem.reason, Reason::ClusterNotFound);
    assert!(problem.message.contains("moon") && problem.message.contains("east"));
}

#[test]
fn no_route_asks_for_nothing() {
    assert_eq!(asked(&resources(&["east"], &[]), &topic()), Asked::default());
}

fn find(catalogue: Option<&CatalogueEntry>, seen: &[(&str, bool)]) -> Result<ClusterName, Reason> {
    let resources = resources(&["west", "east", "south"], &[]);
    let home = cluster_name("east");
    serving(&Standing::Fresh, catalogue, &resources, &observations(seen), &home, &topic()).map_err(|p| p.reason)
}

#[test]
fn home_wins_then_the_oldest() {
    assert_eq!(find(None, &[("east", true), ("west", true), ("south", true)]), Ok(cluster_name("east")));
    assert_eq!(find(None, &[("east", false), ("west", true), ("south", true)]), Ok(cluster_name("west")));
    assert_eq!(find(None, &[("east", false), ("west", false), ("south", false)]), Err(Reason::TopicNotFound));
}

#[test]
fn a_cluster_that_was_not_listed_may_have_the_topic() {
    assert_eq!(find(None, &[("east", true), ("west", true)]), Err(Reason::ClusterUnreachable));
}

#[test]
fn the_catalogue_is_sticky_while_its_topic_exists() {
    let entry = CatalogueEntry { cluster: cluster_name("south"), topic_id: Uuid::from_u128(1), placeholder: None };
    assert_eq!(find(Some(&entry), &[("east", true)]), Ok(cluster_name("south")));
    assert_eq!(find(Some(&entry), &[("east", true), ("west", false), ("south", true)]), Ok(cluster_name("south")));
    assert_eq!(find(Some(&entry), &[("east", true), ("west", false), ("south", false)]), Ok(cluster_name("east")));
}
