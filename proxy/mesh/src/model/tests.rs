use super::*;
use crate::chain::EPOCH_STEP;
use crate::document::{FuseAction, Topic};
use crate::fixture::{cluster, document, entry, fuse, id, moved, proxy, topic};

fn model() -> Model {
    Model::build(document()).unwrap()
}

const EAST: ClusterIndex = ClusterIndex(0);
const WEST: ClusterIndex = ClusterIndex(1);

#[test]
fn clusters_and_brokers_are_found_both_ways() {
    let model = model();
    assert_eq!((model.revision, model.home, model.cluster_id.as_str()), (7, EAST, "east-id"));
    assert_eq!(model.cluster_index("west"), Some(WEST));
    assert_eq!(model.cluster_index("north"), None);
    assert_eq!(model.cluster(WEST).unwrap().name, cluster("west"));
    assert!(model.cluster(ClusterIndex(2)).is_none());
    let ids: Vec<_> = model.brokers.iter().map(|broker| broker.id).collect();
    assert_eq!(ids, [1, 2, 10_001, 10_002]);
    for broker in &model.brokers {
        assert_eq!(model.virtual_id(broker.broker), broker.id);
        assert_eq!(model.broker_by_virtual(broker.id), Some(broker));
        assert_eq!(model.broker(broker.broker), Some(broker));
    }
    let shown = |id| model.broker_by_virtual(id).unwrap().shown.clone();
    assert_eq!(shown(10_001), Some(("node-1".to_owned(), 9102)));
    assert_eq!(model.broker_by_virtual(3), None);
    assert_eq!(model.brokers_of(WEST).map(|broker| broker.id).collect::<Vec<_>>(), [10_001, 10_002]);
}

#[test]
fn node_ids_never_run_into_another_cluster() {
    let model = model();
    let id = |cluster, broker| model.virtual_id(BrokerRef { cluster, broker });
    assert_eq!((id(EAST, -1), id(WEST, -1)), (-1, -1));
    assert_eq!((id(EAST, 9_999), id(WEST, 7)), (9_999, 10_007));
    assert_eq!(id(EAST, 10_001), -1);
    assert_eq!((id(WEST, i32::MAX), id(ClusterIndex(9), 1)), (-1, -1));
}

#[test]
fn a_proxys_brokers_and_its_first() {
    let served = |model: &Model, name| model.brokers_served_by(&proxy(name)).map(|b| b.id).collect::<Vec<_>>();
    assert_eq!(served(&model(), "node-1"), [1, 10_001]);
    assert_eq!(model().first_home_broker(&proxy("node-2")).unwrap().id, 2);
    let mut changed = document();
    for broker in &mut changed.brokers {
        broker.home_proxy = None;
    }
    changed.brokers[1].served_by = Some(proxy("node-2"));
    let model = Model::build(changed.clone()).unwrap();
    assert_eq!(served(&model, "node-1"), [10_001]);
    assert_eq!(model.first_home_broker(&proxy("node-1")).unwrap().id, 10_001);
    assert_eq!(model.first_home_broker(&proxy("node-3")).unwrap().id, 1);
    changed.brokers.clear();
    assert_eq!(Model::build(changed).unwrap().first_home_broker(&proxy("node-1")), None);
}

#[test]
fn topics_are_found_by_bytes() {
    let model = model();
    let found = model.topic_by_bytes(b"moved").unwrap();
    assert_eq!((found.cluster, found.switched_at, found.is_stitched()), (WEST, 5, true));
    assert_eq!((found.shift(0), found.epoch_shift(0), found.generation(0)), (900, EPOCH_STEP, 1));
    assert_eq!((found.shift(2), found.epoch_shift(-1), found.generation(2)), (0, 0, 0));
    let (position, segment, on) = found.chain(0).unwrap().segment_at(899).unwrap();
    assert_eq!((position, segment.cluster.as_str(), on), (0, "east", EAST));
    assert_eq!(found.chain(0).unwrap().segment(1).unwrap().1, WEST);
    assert_eq!(found.chain(0).unwrap().last_index(), 1);
    assert_eq!(found.cut_producer(0, 1 << 56).unwrap().last_sequence, 9);
    assert!(found.cut_producer(1, 1 << 56).is_none() && found.cut_producer(-1, 1).is_none());
    assert!(model.topic_by_bytes(b"mov").is_none() && model.topic_by_bytes(b"\xff\xfe").is_none());
    assert!(model.hidden(EAST, "secret-plan") && model.hidden(WEST, "__sluice_ledger"));
    assert!(!model.hidden(EAST, "orders"));
}

/// Every change of a good document that has to be refused, and a word of the reason.
#[test]
fn what_is_not_consistent_is_refused() {
    type Change = fn(&mut Document);
    let changes: &[(&str, Change)] = &[
        ("home", |d| d.home = cluster("north")),
        ("cluster east is given twice", |d| d.clusters[1].name = cluster("east")),
        ("Kafka cluster id", |d| d.clusters[1].cluster_id = "east-id".to_owned()),
        ("no Kafka cluster id", |d| d.clusters[1].cluster_id.clear()),
        ("producer tag 1 is given twice", |d| d.clusters[1].tag = 1),
        ("producer tag 0", |d| d.clusters[1].tag = 0),
        ("producer tag 128", |d| d.clusters[1].tag = 128),
        ("bootstrap", |d| d.clusters[1].bootstrap_servers.clear()),
        ("glob", |d| d.clusters[1].exclude.push("[".to_owned())),
        ("base below zero", |d| d.clusters[1].node_id_base = -1),
        ("node-id base 0 is given twice", |d| d.clusters[1].node_id_base = 0),
        ("next cluster", |d| {
            d.clusters[1].node_id_base = 2;
            (d.brokers[0].id, d.brokers[3].id) = (3, 4);
        }),
        ("proxy node-1 is given twice", |d| d.proxies[1].name = proxy("node-1")),
        ("whose ids begin", |d| d.brokers[0].id += 1),
        ("whose ids begin", |d| (d.brokers[0].id, d.brokers[0].broker) = (9_999, -1)),
        ("cluster north", |d| d.brokers[0].cluster = cluster("north")),
        ("virtual broker 10001 is given twice", |d| (d.brokers[3].id, d.brokers[3].broker) = (10_001, 1)),
        ("port index", |d| d.brokers[3].index = 0),
        ("proxy node-9", |d| d.brokers[3].served_by = Some(proxy("node-9"))),
        ("no port left", |d| d.brokers[3].index = u16::MAX),
        ("shown address", |d| {
            d.proxies[1].host = d.proxies[0].host.clone();
            d.proxies[1].port_base = 9101;
        }),
        ("topic moved is given twice", |d| d.topics.push(entry("moved", "east"))),
        ("ledger", |d| d.topics.push(entry(ledger::TOPIC, "east"))),
        ("cluster north", |d| d.topics.push(entry("t", "north"))),
        ("does not end on east", |d| d.topics[0].cluster = cluster("east")),
        ("segment's cluster north", |d| d.topics[0].chains[0].0[0].cluster = cluster("north")),
        ("partition 1", |d| d.topics[0].chains[1].0[1].start = 5),
        ("at least one segment", |d| d.topics[0].chains[1].0.clear()),
        ("producers of 3 partitions", |d| d.topics[0].cut.as_mut().unwrap().producers.push(Vec::new())),
        ("negative id", |d| d.topics[0].cut.as_mut().unwrap().producers[0][0].id = -5),
        ("producer 72057594037927936 is given twice", |d| {
            let cut = d.topics[0].cut.as_mut().unwrap();
            let again = cut.producers[0][0];
            cut.producers[0].push(again);
        }),
        ("maxFrameBytes", |d| d.limits.max_frame_bytes = 10),
        ("maxFrameBytes", |d| d.limits.max_frame_bytes = u32::MAX),
        ("fuse of topic orders is given twice", |d| {
            d.fuses = vec![fuse("orders", Some(FuseAction::Hold), false), fuse("orders", None, true)];
        }),
        ("fuse stop-orders of topic orders stops nothing", |d| d.fuses = vec![fuse("orders", None, false)]),
        ("maxInFlight", |d| d.limits.max_in_flight = 0),
        ("maxHoldMillis", |d| d.limits.max_hold_millis = 8_001),
    ];
    for (number, (word, change)) in changes.iter().enumerate() {
        let mut broken = document();
        change(&mut broken);
        match Model::build(broken) {
            Err(BuildError::Inconsistent(reason)) => assert!(reason.contains(word), "{number}: {reason}"),
            other => panic!("{number} ({word}): {other:?}"),
        }
    }
}

#[test]
fn fuses_are_found_by_name_and_by_bytes() {
    let model = model();
    assert!(model.fuse("orders").is_none() && model.fuse_by_bytes(b"orders").is_none());
    let mut tripped = document();
    // A topic that no cluster has is stopped too, should it be made; one that has moved is, wherever it is.
    tripped.fuses = vec![fuse("orders", Some(FuseAction::Hold), false), fuse("moved", None, true)];
    let model = Model::build(tripped.clone()).unwrap();
    for expected in &tripped.fuses {
        assert_eq!(model.fuse(expected.topic.as_str()), Some(expected));
        assert_eq!(model.fuse_by_bytes(expected.topic.as_str().as_bytes()), Some(expected));
    }
    for other in [&b"order"[..], b"orders2", b"ORDERS", b"", b"\xff\xfe"] {
        assert_eq!(model.fuse_by_bytes(other), None);
    }
    assert_eq!((model.fuse("orders2"), model.fuses.len()), (None, 2));
}

#[test]
fn a_newer_format_is_refused_as_such() {
    let newer = Document { format_version: 2, ..document() };
    assert_eq!(Model::build(newer).unwrap_err(), BuildError::NewerFormat { found: 2, supported: 1 });
}

#[test]
fn a_broker_that_nobody_serves_is_known_but_not_shown() {
    let mut changed = document();
    changed.brokers[0].served_by = None;
    let model = Model::build(changed).unwrap();
    assert_eq!(model.broker_by_virtual(10_001).unwrap().shown, None);
}

#[test]
fn an_entry_may_stand_for_a_topic_that_never_moved() {
    let mut changed = document();
    changed.topics.push(Topic { topic_id: id("west"), ..entry("abroad", "west") });
    let model = Model::build(changed).unwrap();
    let found = model.topic(topic("abroad").as_str()).unwrap();
    assert!(!found.is_stitched() && found.chain(0).is_none());
    assert_eq!(moved(900).shift(), 900);
}
