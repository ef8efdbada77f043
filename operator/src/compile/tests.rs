use std::sync::Arc;

use sluice_mesh::document::FuseAction;
use sluice_mesh::ledger::CatalogueEntry;
use sluice_mesh::report::Report;
use sluice_mesh::view::{BrokerView, ClusterView, PartitionView};

use super::*;
use crate::observe::{Observation, Observed};

const NOW: i64 = 1_000_000;

fn cluster_name(text: &str) -> ClusterName {
    ClusterName::new(text).unwrap()
}

fn topic_name(text: &str) -> TopicName {
    TopicName::new(text).unwrap()
}

/// Everything that a document is computed from, owned. Two clusters, `east` (home) and `west`, two brokers each.
struct World {
    home: ClusterName,
    members: Vec<Member>,
    observations: Observations,
    ledger: Merged,
    routed: BTreeMap<TopicName, RoutedTopic>,
    reports: Reports,
    fuses: Vec<Fuse>,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            home: cluster_name("east"),
            members: Vec::new(),
            observations: Observations::new(),
            ledger: Merged::default(),
            routed: BTreeMap::new(),
            reports: Reports::new(),
            fuses: Vec::new(),
        };
        world.cluster("east", 10_000, 1, 0).cluster("west", 20_000, 2, 2);
        world
    }

    fn cluster(&mut self, name: &str, base: i32, tag: u8, index: u16) -> &mut Self {
        self.members.push(Member {
            name: cluster_name(name),
            bootstrap_servers: vec![format!("{name}:9092")],
            zone: None,
            exclude: vec!["hidden-*".to_owned()],
        });
        let brokers = [1, 2].map(|id| BrokerView { id, host: format!("{name}-{id}"), port: 9092, rack: None }).to_vec();
        let view = ClusterView { cluster_id: name.to_uppercase(), controller: 1, brokers, ..ClusterView::default() };
        let observed = Observed { view: Arc::new(view), kafka_version: None, kraft: true };
        let observation = Observation { seen: Some(Arc::new(observed)), failure: None, looks: 1 };
        self.observations.insert(cluster_name(name), observation);
        let identity = ClusterIdentity {
            name: cluster_name(name),
            tag,
            node_id_base: base,
            indexes: vec![(1, index), (2, index + 1)],
        };
        self.ledger.clusters.insert(name.to_uppercase(), identity);
        self
    }

    fn topic(&mut self, cluster: &str, name: &str, id: u128, partitions: usize) -> &mut Self {
        let observation = self.observations.get_mut(cluster).unwrap();
        let mut observed = observation.seen.as_deref().unwrap().clone();
        let partition =
            PartitionView { error: 0, leader: 1, epoch: 0, replicas: vec![1], isr: vec![1], offline: vec![] };
        let internal = name.starts_with("__consumer");
        let view = TopicView { id: Uuid::from_u128(id), internal, partitions: vec![partition; partitions] };
        Arc::make_mut(&mut observed.view).topics.insert(name.to_owned(), Arc::new(view));
        observation.seen = Some(Arc::new(observed));
        self
    }

    fn catalogue(&mut self, name: &str, cluster: &str, id: u128) -> &mut Self {
        let entry = CatalogueEntry { cluster: cluster_name(cluster), topic_id: Uuid::from_u128(id), placeholder: None };
        self.ledger.catalogue.insert(topic_name(name), entry);
        self
    }

    fn proxy(&mut self, name: &str, broker_host: &str, age: i64) -> &mut Self {
        let proxy = ProxyName::new(name).unwrap();
        let report = Report {
            proxy: proxy.clone(),
            incarnation: "1".into(),
            host: format!("{name}.example.com"),
            bootstrap_port: 9092,
            port_base: 9100,
            broker_hosts: vec![broker_host.to_owned()],
            revision: 0,
            drained: 0,
            rejected: None,
            renewed_at: NOW - age,
            version: "0".into(),
        };
        self.reports.insert(proxy, report);
        self
    }

    fn compile(&self) -> Result<Compiled, NotYet> {
        compile(&Inputs {
            mesh: "default",
            home: &self.home,
            members: &self.members,
            observations: &self.observations,
            ledger: &self.ledger,
            routed: &self.routed,
            reports: &self.reports,
            now: NOW,
            fuses: &self.fuses,
            limits: &Limits::default(),
        })
    }
}

/// The document's topics as `name@cluster`, with `!` where commits would be refused.
fn topics(compiled: &Compiled) -> Vec<String> {
    let row = |topic: &Topic| format!("{}@{}{}", topic.name, topic.cluster, if topic.placeholder { "" } else { "!" });
    compiled.document.topics.iter().map(row).collect()
}

#[test]
fn the_document_has_clusters_brokers_and_no_plain_topics() {
    let mut world = World::new();
    world.topic("east", "orders", 1, 3).proxy("n1", "east-1", 0).proxy("n2", "west-2", 0);
    let document = world.compile().unwrap().document;
    assert_eq!(document.clusters.iter().map(|c| c.cluster_id.as_str()).collect::<Vec<_>>(), ["EAST", "WEST"]);
    assert_eq!(
        document.brokers.iter().map(|b| (b.id, b.index)).collect::<Vec<_>>(),
        [(10_001, 0), (10_002, 1), (20_001, 2), (20_002, 3)]
    );
    assert_eq!(document.topics, []);
    assert_eq!(document.proxies.len(), 2);
    assert_eq!(Document { revision: 9, ..document.clone() }.seal().revision, 9);
    assert_eq!(world.compile().unwrap().document, document, "the same inputs give the same document");
}

#[test]
fn a_live_home_proxy_serves_its_broker_and_others_are_spread() {
    let mut world = World::new();
    world.proxy("n1", "east-1", 0).proxy("n2", "east-2", 0).proxy("n3", "west-1", 15_000);
    let brokers = world.compile().unwrap().document.brokers;
    let row = |id: i32| brokers.iter().find(|broker| broker.id == id).unwrap();
    let name = |proxy: &Option<ProxyName>| proxy.as_ref().map(|proxy| proxy.as_str().to_owned());
    assert_eq!(name(&row(10_001).served_by).unwrap(), "n1");
    assert_eq!(name(&row(10_002).served_by).unwrap(), "n2");
    assert_eq!(name(&row(20_001).home_proxy).unwrap(), "n3", "lost a moment ago: still its home");
    assert!(["n1", "n2"].contains(&name(&row(20_001).served_by).unwrap().as_str()), "but it does not serve");
    assert_eq!(row(20_002).home_proxy, None);
    assert!(row(20_002).served_by.is_some());
    world.reports.clear();
    assert!(world.compile().unwrap().document.brokers.iter().all(|broker| broker.served_by.is_none()));
}

#[test]
fn when_a_proxy_goes_only_what_it_served_moves() {
    let mut world = World::new();
    for number in 0..5 {
        world.proxy(&format!("n{number}"), "elsewhere", 0);
    }
    let served = |world: &World| -> Vec<_> {
        world.compile().unwrap().document.brokers.into_iter().map(|broker| broker.served_by.unwrap()).collect()
    };
    let before = served(&world);
    let gone = before[0].clone();
    world.reports.remove(&gone);
    for (before, after) in before.iter().zip(served(&world)) {
        assert_eq!(*before == after, *before != gone);
    }
}

#[test]
fn a_topic_that_lives_elsewhere_has_an_entry_and_needs_a_placeholder() {
    let mut world = World::new();
    world.topic("west", "bills", 7, 2);
    let compiled = world.compile().unwrap();
    assert_eq!(topics(&compiled), ["bills@west!"]);
    assert_eq!(compiled.document.topics[0].topic_id, Uuid::from_u128(7));
    assert_eq!(compiled.elsewhere[0].partitions, 2);
    // The placeholder appears on the home cluster: the recorded choice keeps the topic where it is.
    world.catalogue("bills", "west", 7).topic("east", "bills", 8, 1);
    assert_eq!(topics(&world.compile().unwrap()), ["bills@west!"], "too few partitions");
    world.topic("east", "bills", 8, 2);
    let compiled = world.compile().unwrap();
    assert_eq!(topics(&compiled), ["bills@west"]);
    assert_eq!(compiled.conflicts, []);
}

#[test]
fn home_wins_a_name_then_the_older_cluster_and_people_are_told() {
    let mut world = World::new();
    world.cluster("north", 30_000, 3, 4);
    world.topic("east", "a", 1, 1).topic("west", "a", 2, 1);
    world.topic("west", "b", 3, 1).topic("north", "b", 4, 1);
    let compiled = world.compile().unwrap();
    assert_eq!(topics(&compiled), ["b@west!"]);
    let shown = |compiled: &Compiled| -> Vec<(String, String, bool)> {
        let row = |c: &Conflict| (c.topic.to_string(), c.shown.0.to_string(), c.recorded);
        compiled.conflicts.iter().map(row).collect()
    };
    let row = |topic: &str, cluster: &str, recorded| (topic.to_owned(), cluster.to_owned(), recorded);
    assert_eq!(shown(&compiled), [row("a", "east", false), row("b", "west", false)]);
    // Once recorded, the choice stays, whoever is the older one then.
    world.catalogue("a", "east", 1).catalogue("b", "north", 4);
    let compiled = world.compile().unwrap();
    assert_eq!(topics(&compiled), ["b@north!"]);
    // People are told as long as both are there.
    assert_eq!(shown(&compiled), [row("a", "east", true), row("b", "north", true)]);
}

#[test]
fn what_must_not_be_seen_is_not() {
    let mut world = World::new();
    world.topic("west", ledger::TOPIC, 1, 1).topic("west", "__consumer_offsets", 2, 50).topic("west", "hidden-a", 3, 1);
    assert_eq!(topics(&world.compile().unwrap()), [] as [&str; 0]);
}

#[test]
fn a_recorded_topic_that_has_vanished_keeps_its_entry() {
    let mut world = World::new();
    world.catalogue("bills", "west", 7).topic("east", "bills", 8, 2);
    let compiled = world.compile().unwrap();
    assert_eq!(topics(&compiled), ["bills@west"], "the placeholder must never be served");
    assert_eq!(compiled.elsewhere[0].topic_id, None);
}

#[test]
fn clusters_keep_their_places_and_new_ones_come_last() {
    let mut world = World::new();
    let names = |compiled: &Compiled| -> Vec<String> {
        compiled.document.clusters.iter().map(|cluster| cluster.name.to_string()).collect()
    };
    world.topic("east", "both", 1, 1).topic("west", "both", 2, 1);
    assert_eq!(names(&world.compile().unwrap()), ["east", "west"]);
    // Every status was lost and the objects were made again, in another order, with one more in front.
    world.cluster("north", 30_000, 3, 4).topic("north", "two", 3, 1).topic("west", "two", 4, 1);
    world.members.reverse();
    let compiled = world.compile().unwrap();
    assert_eq!(names(&compiled), ["east", "west", "north"]);
    // Who wins a name is a matter of age, not of the place in the document.
    let two = compiled.conflicts.iter().find(|conflict| conflict.topic.as_str() == "two").unwrap();
    assert_eq!(two.shown.0.as_str(), "north");
}

#[test]
fn a_move_has_the_last_word() {
    let mut world = World::new();
    world.topic("east", "orders", 1, 1).topic("west", "orders", 2, 1);
    let fence = Fence { attempt: 3, hold_millis: 1_000 };
    let entry = RoutedTopic {
        topic_id: Uuid::from_u128(1),
        cluster: cluster_name("east"),
        chains: Vec::new(),
        fence: Some(fence.clone()),
        cut: None,
    };
    world.routed.insert(topic_name("orders"), entry);
    let compiled = world.compile().unwrap();
    assert_eq!(compiled.document.topics[0].fence, Some(fence));
    assert!(compiled.conflicts.is_empty() && compiled.elsewhere.is_empty());
}

#[test]
fn a_cluster_that_the_mesh_knows_must_be_seen_first_and_a_new_one_is_left_out() {
    let mut world = World::new();
    world.observations.remove("west");
    assert_eq!(world.compile(), Err(NotYet::NotSeen(cluster_name("west"))));
    world.ledger.clusters.remove("WEST");
    let compiled = world.compile().unwrap();
    assert_eq!(compiled.document.clusters.len(), 1);
    assert_eq!(compiled.left_out[0].0, cluster_name("west"));
    world.catalogue("bills", "west", 7);
    assert_eq!(world.compile(), Err(NotYet::NotSeen(cluster_name("west"))));
    world.members.pop();
    let error = world.compile().unwrap_err();
    assert!(error.to_string().contains("create it again"), "{error}");
}

#[test]
fn a_broker_outside_its_clusters_room_is_left_out() {
    let mut world = World::new();
    let observation = world.observations.get_mut("east").unwrap();
    let mut observed = observation.seen.as_deref().unwrap().clone();
    Arc::make_mut(&mut observed.view).brokers[1].id = 10_001;
    observation.seen = Some(Arc::new(observed));
    world.ledger.clusters.get_mut("EAST").unwrap().indexes.push((10_001, 9));
    let ids: Vec<_> = world.compile().unwrap().document.brokers.iter().map(|broker| broker.id).collect();
    assert_eq!(ids, [10_001, 20_001, 20_002]);
}

#[test]
fn fuses_are_carried_whether_their_topic_is_at_home_elsewhere_or_not_there_yet() {
    let mut world = World::new();
    world.topic("east", "orders", 1, 1).topic("west", "bills", 2, 1);
    let fuse = |topic: &str, produce: Option<FuseAction>| Fuse {
        topic: topic_name(topic),
        name: format!("stop-{topic}"),
        produce,
        consume: produce.is_none(),
    };
    world.fuses =
        vec![fuse("bills", Some(FuseAction::Hold)), fuse("later", None), fuse("orders", Some(FuseAction::Reject))];
    let compiled = world.compile().unwrap();
    assert_eq!(compiled.document.fuses, world.fuses);
    assert_eq!(topics(&compiled), ["bills@west!"], "a fuse makes no topic");
    let twice = fuse("bills", None);
    world.fuses.push(twice);
    assert!(matches!(world.compile(), Err(NotYet::Unfit(_))), "one per topic");
}
