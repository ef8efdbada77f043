use sluice_mesh::view::{ClusterView, PartitionView};

use super::*;
use crate::compile::{Conflict, Elsewhere};
use crate::observe::{Observation, Observed};
use crate::testing::document;

fn cluster(text: &str) -> ClusterName {
    ClusterName::new(text).unwrap()
}

fn topic(text: &str) -> TopicName {
    TopicName::new(text).unwrap()
}

fn id(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

/// `bills` lives on `west`; what the home cluster `east` and the catalogue have of it differs from test to test.
struct World {
    compiled: Compiled,
    ledger: Merged,
    observations: Observations,
    missing: Missing,
}

impl World {
    fn new() -> Self {
        let elsewhere = Elsewhere {
            topic: topic("bills"),
            cluster: cluster("west"),
            topic_id: None,
            partitions: 0,
            at_home: None,
            routed: false,
        };
        let compiled =
            Compiled { document: document(0), conflicts: vec![], elsewhere: vec![elsewhere], left_out: vec![] };
        let mut world =
            Self { compiled, ledger: Merged::default(), observations: Observations::new(), missing: Missing::new() };
        world.see("west", Some((7, 3))).see("east", None);
        world
    }

    /// One more look at a cluster: what it has of `bills`, id and partitions.
    fn see(&mut self, name: &str, bills: Option<(u128, usize)>) -> &mut Self {
        let partition =
            PartitionView { error: 0, leader: 1, epoch: 0, replicas: vec![1], isr: vec![1], offline: vec![] };
        let view = |(number, partitions)| TopicView {
            id: id(number),
            internal: false,
            partitions: vec![partition.clone(); partitions],
        };
        let topics = bills.map(|bills| ("bills".to_owned(), Arc::new(view(bills)))).into_iter().collect();
        let view = Arc::new(ClusterView { topics, ..ClusterView::default() });
        let looks = self.observations.get(name).map_or(0, |seen: &Observation| seen.looks) + 1;
        let seen = Some(Arc::new(Observed { view, kafka_version: None, kraft: true }));
        self.observations.insert(cluster(name), Observation { seen, failure: None, looks });
        self
    }

    fn recorded(&mut self, number: u128, placeholder: Option<u128>) -> &mut Self {
        let entry = CatalogueEntry { cluster: cluster("west"), topic_id: id(number), placeholder: placeholder.map(id) };
        self.ledger.catalogue.insert(topic("bills"), entry);
        self
    }

    fn plan(&mut self) -> Vec<Step> {
        let steps = plan(&cluster("east"), &self.compiled, &self.ledger, &self.observations, &mut self.missing);
        steps.into_iter().map(|(_, step)| step).collect()
    }
}

#[test]
fn where_it_lives_is_recorded_before_anything_is_made() {
    let mut world = World::new();
    let entry = CatalogueEntry { cluster: cluster("west"), topic_id: id(7), placeholder: None };
    assert_eq!(world.plan(), [Step::Record(entry)]);
    assert_eq!(world.recorded(7, None).plan(), [Step::Create(3)]);
    assert_eq!(world.recorded(7, Some(8)).see("east", Some((8, 3))).plan(), []);
}

#[test]
fn it_grows_with_its_topic_but_only_if_it_is_ours() {
    let mut world = World::new();
    world.recorded(7, Some(8)).see("east", Some((8, 2)));
    assert_eq!(world.plan(), [Step::Grow(id(8), 3)]);
    assert_eq!(world.see("east", Some((9, 2))).plan(), [Step::Adopt(id(9))], "another topic is looked at first");
}

#[test]
fn a_topic_that_was_made_again_is_recorded_again_and_keeps_its_placeholder() {
    let mut world = World::new();
    world.recorded(6, Some(8)).see("east", Some((8, 3)));
    let entry = CatalogueEntry { cluster: cluster("west"), topic_id: id(7), placeholder: Some(id(8)) };
    assert_eq!(world.plan(), [Step::Record(entry)]);
}

#[test]
fn it_goes_only_when_its_topic_was_missed_in_several_looks() {
    let mut world = World::new();
    world.recorded(7, Some(8)).see("east", Some((8, 3))).see("west", None);
    assert_eq!(world.plan(), []);
    for _ in 0..10 {
        assert_eq!(world.plan(), [], "thinking twice is not looking twice");
    }
    world.see("west", None).see("west", None);
    assert_eq!(world.plan(), []);
    world.see("west", Some((7, 3)));
    assert_eq!(world.plan(), [], "it was there all the time");
    for _ in 0..4 {
        world.see("west", None);
        world.plan();
    }
    assert_eq!(world.plan(), [Step::Forget(Some(id(8)))]);
    assert_eq!(world.see("east", Some((9, 3))).plan(), [Step::Forget(None)], "somebody else's topic is not removed");
}

#[test]
fn a_move_records_its_own_topics_and_they_are_never_forgotten_here() {
    let mut world = World::new();
    world.compiled.elsewhere[0].routed = true;
    assert_eq!(world.plan(), []);
    assert_eq!(world.recorded(1, None).plan(), [Step::Create(3)]);
    for _ in 0..5 {
        assert_eq!(world.see("west", None).plan(), []);
    }
}

#[test]
fn a_conflict_is_settled_by_recording_who_is_shown() {
    let mut world = World::new();
    world.compiled.elsewhere.clear();
    let shown = (cluster("east"), id(1));
    let conflict = Conflict { topic: topic("a"), shown, hidden: vec![cluster("west")], recorded: false };
    world.compiled.conflicts.push(conflict);
    let entry = CatalogueEntry { cluster: cluster("east"), topic_id: id(1), placeholder: None };
    assert_eq!(world.plan(), [Step::Record(entry)]);
    world.compiled.conflicts[0].recorded = true;
    assert_eq!(world.plan(), []);
}
