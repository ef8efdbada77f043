use super::*;
use crate::document::Document;
use crate::fixture::{cluster, document, entry, id};
use crate::model::Model;
use crate::view::{PartitionView, Views};

const EAST: ClusterIndex = ClusterIndex(0);
const WEST: ClusterIndex = ClusterIndex(1);

fn seen(on: &str, internal: bool) -> Arc<TopicView> {
    let partition =
        PartitionView { error: 0, leader: 2, epoch: 5, replicas: vec![1, 2], isr: vec![1, 2], offline: Vec::new() };
    Arc::new(TopicView { id: id(on), internal, partitions: vec![partition.clone(), partition] })
}

fn view(on: &str, topics: &[&str]) -> Arc<ClusterView> {
    let topics = topics.iter().map(|name| ((*name).to_owned(), seen(on, name.starts_with("__c"))));
    Arc::new(ClusterView { controller: 2, topics: topics.collect(), ..ClusterView::default() })
}

fn world(document: Document, views: &[(&str, &[&str])]) -> World {
    let clusters = views.iter().map(|(name, topics)| (cluster(name), view(name, topics))).collect();
    World {
        model: Arc::new(Model::build(document).unwrap()),
        views: Arc::new(Views { clusters }),
        expired_fences: Arc::default(),
    }
}

fn both() -> World {
    let east: &[&str] = &["orders", "both", "moved", "secret-1", "__consumer_offsets", "__sluice_ledger", "gone"];
    let west: &[&str] = &["both", "moved", "west-only", "secret-2", "__consumer_offsets", "__cinternal", "entered"];
    let mut document = document();
    document.topics.push(entry("entered", "west"));
    document.topics.push(entry("gone", "west"));
    world(document, &[("east", east), ("west", west)])
}

fn names(world: &World) -> Vec<(String, ClusterIndex)> {
    let mut names: Vec<_> = world.visible_topics().map(|found| (found.name.to_owned(), found.cluster)).collect();
    names.sort();
    names
}

#[test]
fn the_union_of_both() {
    let expected = [
        ("__consumer_offsets", EAST),
        ("both", EAST),
        ("entered", WEST),
        ("moved", WEST),
        ("orders", EAST),
        ("west-only", WEST),
    ];
    assert_eq!(names(&both()), expected.map(|(name, cluster)| (name.to_owned(), cluster)));
}

#[test]
fn a_listing_and_a_look_up_agree() {
    let world = both();
    for listed in world.visible_topics() {
        let found = world.locate(listed.name).unwrap();
        assert_eq!((found.cluster, found.view.is_some()), (listed.cluster, true), "{}", listed.name);
        assert_eq!(world.locate_bytes(listed.name.as_bytes()).unwrap().cluster, listed.cluster);
    }
    for hidden in ["__sluice_ledger", "__cinternal", "secret-1", "secret-2", "nowhere"] {
        assert!(world.locate(hidden).is_none(), "{hidden}");
    }
    assert!(world.locate_bytes(b"\xff").is_none());
}

#[test]
fn an_entry_decides_even_when_its_cluster_lacks_the_topic() {
    let world = both();
    let found = world.locate("gone").unwrap();
    assert_eq!((found.cluster, found.view.is_none()), (WEST, true));
    assert_eq!(found.topic_id(), Some(id("east")));
    assert_eq!(world.leader("gone", 0), None);
}

#[test]
fn nothing_is_decided_before_the_cluster_that_goes_first_was_listed() {
    let late = world(document(), &[("west", &["both", "moved"])]);
    assert!(!late.all_listed() && both().all_listed());
    // East goes first and may have it.
    let found = late.locate("both").unwrap();
    assert_eq!((found.cluster, found.view.is_none(), found.topic_id()), (EAST, true, None));
    // An entry needs no other cluster.
    assert!(late.locate("moved").unwrap().view.is_some());
    assert!(late.locate("nowhere").is_none());
    assert_eq!(names(&late), [("both".to_owned(), EAST), ("moved".to_owned(), WEST)]);
    // And the other way round: an entry of a cluster that was not listed is shown, without a view.
    let early = world(document(), &[("east", &["orders", "moved"])]);
    assert_eq!(names(&early), [("moved".to_owned(), WEST), ("orders".to_owned(), EAST)]);
    assert!(early.locate("moved").unwrap().view.is_none());
}

#[test]
fn leaders_have_virtual_epochs() {
    let world = both();
    let leader = BrokerRef { cluster: WEST, broker: 2 };
    assert_eq!(world.leader("moved", 0), Some((leader, 5 + 1024)));
    assert_eq!(world.leader("orders", 1), Some((BrokerRef { cluster: EAST, broker: 2 }, 5)));
    assert_eq!((world.leader("orders", 2), world.leader("orders", -1), world.leader("nowhere", 0)), (None, None, None));
}

#[test]
fn old_shifts_are_never_applied_to_a_new_log() {
    let mut document = document();
    for chain in &mut document.topics[0].chains {
        chain.0[1].topic_id = uuid::Uuid::from_u128(99);
    }
    let world = world(document, &[("east", &[]), ("west", &["moved"])]);
    assert!(world.locate("moved").unwrap().is_replaced());
    assert_eq!(world.leader("moved", 0), None);
    assert_eq!(world.live_id(WEST, "moved"), Some(id("west")));
    assert_eq!(world.live_id(EAST, "moved"), None);
}

#[test]
fn the_controller_is_a_home_broker() {
    assert_eq!(both().controller(), Some(BrokerRef { cluster: EAST, broker: 2 }));
    let unlisted = world(document(), &[]);
    assert_eq!(unlisted.controller(), Some(BrokerRef { cluster: EAST, broker: 1 }));
}
