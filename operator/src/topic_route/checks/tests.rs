use sluice_net::admin::topics::PartitionView;

use super::*;

fn view(id: u128, partitions: i32, replicas: &[i32]) -> TopicView {
    let partition = |index| PartitionView {
        partition: index,
        leader: replicas[0],
        epoch: 0,
        replicas: replicas.to_vec(),
        isr: replicas.to_vec(),
    };
    TopicView {
        name: "orders".to_owned(),
        topic_id: Uuid::from_u128(id),
        internal: false,
        partitions: (0..partitions).map(partition).collect(),
    }
}

fn set(name: &str, value: &str, overridden: bool) -> ConfigValue {
    ConfigValue { name: name.to_owned(), value: Some(value.to_owned()), overridden }
}

fn side(cluster: &str, topic: Option<TopicView>) -> Side {
    Side {
        cluster: ClusterName::new(cluster).unwrap(),
        kraft: true,
        brokers: 3,
        configs: vec![
            set("cleanup.policy", "delete", false),
            set(MAX_MESSAGE_BYTES, "1048588", false),
            set("min.insync.replicas", "2", true),
        ],
        ends: topic.iter().flat_map(|topic| topic.partitions.iter().map(|_| 0)).collect(),
        topic,
        topic_rights: Rights(0xffff),
        cluster_rights: Rights(0xffff),
        default_limit: Some("1048588".to_owned()),
    }
}

fn facts() -> Facts {
    Facts {
        topic: "orders".to_owned(),
        from: side("east", Some(view(1, 3, &[1, 2, 3]))),
        to: side("west", None),
        transactions: Vec::new(),
        chains: Vec::new(),
        strangers: Vec::new(),
        creation: None,
    }
}

fn sealed_target() -> Side {
    let mut to = side("west", Some(view(2, 3, &[1])));
    to.configs[1] = set(MAX_MESSAGE_BYTES, "0", true);
    to
}

#[test]
fn a_plain_topic_passes() {
    let checked = check(&facts()).unwrap();
    assert_eq!((checked.partitions, checked.replication_factor), (3, 3));
    assert_eq!((checked.original_max_message_bytes, checked.open_max_message_bytes), (None, None));
    assert_eq!(checked.warnings, Vec::<String>::new());
    assert!(checked.configs.iter().all(|(name, _)| name != MAX_MESSAGE_BYTES));
    assert!(checked.configs.contains(&("min.insync.replicas".to_owned(), "2".to_owned())));
}

#[test]
fn an_override_is_remembered_and_fewer_brokers_are_told() {
    let mut facts = facts();
    facts.from.configs[1] = set(MAX_MESSAGE_BYTES, "2000000", true);
    facts.to.brokers = 2;
    facts.from.cluster_rights = Rights(1 << 8);
    let checked = check(&facts).unwrap();
    assert_eq!(checked.original_max_message_bytes.as_deref(), Some("2000000"));
    assert_eq!(checked.open_max_message_bytes.as_deref(), Some("2000000"));
    assert_eq!(checked.replication_factor, 2);
    assert!(checked.warnings[0].contains("2 replicas there instead of 3"));
    assert!(checked.warnings[1].contains("Alter"));
}

#[test]
fn a_sealed_empty_target_and_a_former_segment_are_taken_over() {
    let mut facts = facts();
    facts.to = sealed_target();
    assert!(check(&facts).is_ok());
    // A former segment holds records, sealed or not (a lost seal is set again).
    facts.to = side("west", Some(view(2, 3, &[1])));
    facts.to.ends = vec![5, 6, 7];
    let former = Chain::single(facts.to.cluster.clone(), Uuid::from_u128(2));
    let cut = sluice_mesh::chain::CutPoint { physical_end: 5, last_epoch: 0 };
    let home = sluice_mesh::chain::NewHome {
        cluster: facts.from.cluster.clone(),
        topic_id: Uuid::from_u128(1),
        physical_start: 0,
        generation: 1,
    };
    facts.chains = vec![former.append(cut, home).unwrap(); 3];
    assert!(check(&facts).is_ok());
    // The very same records under another topic id are somebody else's.
    facts.to.topic = Some(view(3, 3, &[1]));
    assert_eq!(check(&facts).unwrap_err().reason, Reason::TargetNotEmpty);
}

type Change = fn(&mut Facts);

#[test]
fn each_check_has_its_reason() {
    let cases: Vec<(Reason, Change)> = vec![
        (Reason::NotKRaft, |f| f.to.kraft = false),
        (Reason::TopicNotFound, |f| f.from.topic = None),
        (Reason::OtherMeshLedger, |f| f.strangers = vec!["other".to_owned()]),
        (Reason::CompactedTopic, |f| f.from.configs[0] = set("cleanup.policy", "compact,delete", true)),
        (Reason::SealedByOthers, |f| f.from.configs[1] = set(MAX_MESSAGE_BYTES, "60", true)),
        (Reason::MissingRights, |f| f.from.topic_rights = Rights(0xffff & !(1 << 11))),
        (Reason::MissingRights, |f| {
            f.to.cluster_rights = Rights(1 << 8);
            f.creation = Some(Problem::new(Reason::TargetNotCreated, "no"));
        }),
        (Reason::TargetNotCreated, |f| f.creation = Some(Problem::new(Reason::TargetNotCreated, "policy"))),
        (Reason::NoLeader, |f| f.from.topic.as_mut().unwrap().partitions[2].leader = -1),
        (Reason::UnderMinIsr, |f| f.from.topic.as_mut().unwrap().partitions[1].isr = vec![1]),
        (Reason::PartitionCountMismatch, |f| f.to = side("west", Some(view(2, 4, &[1])))),
        (Reason::TargetNotEmpty, |f| {
            f.to = sealed_target();
            f.to.ends[1] = 1;
        }),
        (Reason::TargetNotEmpty, |f| f.to = side("west", Some(view(2, 3, &[1])))),
        (Reason::OpenTransaction, |f| {
            f.transactions = vec![OpenTransaction {
                transactional_id: "t".to_owned(),
                producer_id: 1,
                producer_epoch: 0,
                state: "Ongoing".to_owned(),
                started_at: 0,
                partitions: vec![0],
            }];
        }),
        (Reason::TopicChanged, |f| {
            f.chains = vec![Chain::single(f.from.cluster.clone(), Uuid::from_u128(9)); 3];
        }),
        (Reason::TopicChanged, |f| {
            f.chains = vec![Chain::single(f.from.cluster.clone(), Uuid::from_u128(1)); 2];
        }),
        (Reason::TooManyPartitions, |f| f.from.topic = Some(view(1, 11_000, &[1]))),
        (Reason::GenerationReused, |f| {
            f.chains = vec![Chain::single(f.from.cluster.clone(), Uuid::from_u128(1)); 3];
            f.chains[0].0[0].generation = 255;
        }),
    ];
    for (reason, change) in cases {
        let mut facts = facts();
        change(&mut facts);
        let problem = check(&facts).expect_err(reason.as_str());
        assert_eq!(problem.reason, reason, "{problem}");
        assert!(problem.message.len() > 1);
    }
}

#[test]
fn a_new_home_with_another_default_is_opened_with_the_old_ones() {
    let mut facts = facts();
    facts.to.default_limit = Some("5000".to_owned());
    let checked = check(&facts).unwrap();
    assert_eq!(checked.original_max_message_bytes, None);
    assert_eq!(checked.open_max_message_bytes.as_deref(), Some("1048588"));
}

#[test]
fn rights_that_a_broker_does_not_tell_are_not_missing() {
    let mut facts = facts();
    facts.from.topic_rights = Rights::UNKNOWN;
    facts.from.cluster_rights = Rights::UNKNOWN;
    assert!(check(&facts).unwrap().warnings.is_empty());
}

#[test]
fn no_segment_is_longer_than_what_is_reckoned() {
    let segment = sluice_mesh::chain::Segment {
        cluster: ClusterName::new(&"c".repeat(63)).unwrap(),
        topic_id: Uuid::max(),
        start: i64::MIN,
        physical_start: i64::MIN,
        physical_end: Some(i64::MIN),
        epoch_shift: i32::MIN,
        generation: 255,
    };
    let bytes = serde_json::to_vec(&segment).unwrap().len();
    assert!(bytes < SEGMENT_BYTES, "{bytes}");
}
