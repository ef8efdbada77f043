use bytes::BytesMut;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};
use kafka_protocol::messages::{BrokerId, FetchRequest as Decoded, TopicName};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use proptest::prelude::*;

use super::*;
use crate::header::RequestHeader;

fn name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}

fn request(version: i16, topics: &[(String, Vec<i32>)]) -> Decoded {
    let topics = topics.iter().map(|(topic, partitions)| {
        let partitions = partitions.iter().map(|index| {
            let mut partition = FetchPartition::default()
                .with_partition(*index)
                .with_fetch_offset(i64::from(*index) * 100)
                .with_partition_max_bytes(1 << 20);
            if version >= 9 {
                partition.current_leader_epoch = 5;
            }
            if version >= 12 {
                partition.last_fetched_epoch = 4;
                partition.unknown_tagged_fields.insert(7, Bytes::from_static(b"tag"));
            }
            partition
        });
        FetchTopic::default().with_topic(name(topic)).with_partitions(partitions.collect())
    });
    let mut request = Decoded::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(500)
        .with_min_bytes(1)
        .with_max_bytes(50 << 20)
        .with_isolation_level(1)
        .with_topics(topics.collect());
    if version >= 7 {
        request.session_id = 12;
        request.session_epoch = 3;
        request.forgotten_topics_data =
            vec![ForgottenTopic::default().with_topic(name("gone")).with_partitions(vec![1, 2])];
    }
    if version >= 11 {
        request.rack_id = StrBytes::from_static_str("rack-1");
    }
    if version >= 12 {
        request.cluster_id = Some(StrBytes::from_static_str("cluster"));
    }
    request
}

fn encode(version: i16, request: &Decoded) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    request.encode(&mut bytes, version).unwrap();
    bytes.to_vec()
}

fn sample() -> Vec<(String, Vec<i32>)> {
    vec![("a".to_owned(), vec![0, 1, 2]), ("none".to_owned(), vec![]), ("b".to_owned(), vec![4])]
}

#[test]
fn all_fields_are_seen() {
    for version in VERSIONS {
        let mut body = encode(version, &request(version, &sample()));
        let request = FetchRequest::parse(version, &mut body).unwrap();
        let head = request.head();
        assert_eq!((head.replica_id, head.max_wait_ms, head.min_bytes, head.max_bytes), (-1, 500, 1, 50 << 20));
        assert_eq!((head.isolation_level, head.topics), (1, 3));
        assert_eq!((head.session_id, head.session_epoch), if version >= 7 { (12, 3) } else { (0, -1) });
        assert_eq!(request.partitions(), 4);
        assert_eq!(request.rack(), if version >= 11 { "rack-1" } else { "" });
        assert_eq!(request.forgets(), version >= 7);
        let mut seen = Vec::new();
        request.visit(|topic, partition| seen.push((topic.to_owned(), *partition)));
        let indexes: Vec<_> = seen.iter().map(|(topic, partition)| (topic.as_str(), partition.index)).collect();
        assert_eq!(indexes, [("a", 0), ("a", 1), ("a", 2), ("b", 4)]);
        let last = seen[3].1;
        assert_eq!((last.fetch_offset, last.max_bytes, last.log_start_offset), (400, 1 << 20, -1));
        assert_eq!(last.current_leader_epoch, if version >= 9 { 5 } else { -1 });
        assert_eq!(last.last_fetched_epoch, if version >= 12 { 4 } else { -1 });
    }
}

#[test]
fn edits_land_where_the_decoder_reads() {
    for version in VERSIONS {
        let mut expected = request(version, &sample());
        let mut body = encode(version, &expected);
        let length = body.len();
        let mut edited = FetchRequest::parse(version, &mut body).unwrap();
        edited.set_head(Head { max_wait_ms: 0, session_id: 0, session_epoch: -1, ..edited.head() });
        edited.edit(|topic, partition| {
            if topic == "b" || partition.index == 1 {
                partition.fetch_offset -= 7;
                partition.current_leader_epoch = -1;
                partition.last_fetched_epoch = -1;
                partition.max_bytes = 1024;
            }
        });
        expected.max_wait_ms = 0;
        if version >= 7 {
            expected.session_id = 0;
            expected.session_epoch = -1;
        }
        for topic in &mut expected.topics {
            for partition in &mut topic.partitions {
                if topic.topic.as_str() == "b" || partition.partition == 1 {
                    partition.fetch_offset -= 7;
                    partition.current_leader_epoch = -1;
                    partition.last_fetched_epoch = -1;
                    partition.partition_max_bytes = 1024;
                }
            }
        }
        assert_eq!(body.len(), length);
        assert_eq!(Decoded::decode(&mut Bytes::from(body), version).unwrap(), expected);
    }
}

#[test]
fn a_subset_is_a_request_of_its_own() {
    for version in VERSIONS {
        let mut body = encode(version, &request(version, &sample()));
        let request = FetchRequest::parse(version, &mut body).unwrap();
        let mut bytes = Bytes::from(request.subset(|topic, partition| topic == "b" || partition.index == 1));
        let subset = Decoded::decode(&mut bytes, version).unwrap();
        assert!(bytes.is_empty());
        let seen: Vec<_> = subset
            .topics
            .iter()
            .flat_map(|topic| topic.partitions.iter().map(|p| (topic.topic.to_string(), p.partition, p.fetch_offset)))
            .collect();
        assert_eq!(seen, [("a".to_owned(), 1, 100), ("b".to_owned(), 4, 400)]);
        assert!(subset.forgotten_topics_data.is_empty());
        assert_eq!(subset.max_bytes, 50 << 20);
        assert_eq!(subset.rack_id.as_str(), if version >= 11 { "rack-1" } else { "" });
        assert_eq!(subset.cluster_id.is_some(), version >= 12);
        let none = Decoded::decode(&mut Bytes::from(request.subset(|_, _| false)), version).unwrap();
        assert!(none.topics.is_empty());
    }
}

#[test]
fn a_single_request_is_a_whole_frame() {
    let head = Head {
        replica_id: -1,
        max_wait_ms: 100,
        min_bytes: 1,
        max_bytes: 4096,
        isolation_level: 0,
        session_id: 0,
        session_epoch: -1,
        topics: 0,
    };
    let partition = Partition {
        index: 3,
        current_leader_epoch: -1,
        fetch_offset: 99,
        last_fetched_epoch: -1,
        log_start_offset: -1,
        max_bytes: 2048,
    };
    for version in VERSIONS {
        let frame = single(version, 8, "sluice", &head, "orders", &partition).unwrap();
        let header = RequestHeader::parse(&frame[4..]).unwrap().unwrap();
        assert_eq!((header.key, header.version, header.correlation_id), (1, version, 8));
        assert_eq!(header.client_id, Some(b"sluice".as_slice()));
        let mut body = frame.slice(4 + header.size..);
        let decoded = Decoded::decode(&mut body, version).unwrap();
        assert!(body.is_empty());
        assert_eq!((decoded.session_id, decoded.session_epoch), (0, -1));
        let asked = &decoded.topics[0].partitions[0];
        assert_eq!((asked.partition, asked.fetch_offset, asked.partition_max_bytes), (3, 99, 2048));
    }
    assert!(single(13, 8, "sluice", &head, "orders", &partition).is_err());
}

proptest! {
    #[test]
    fn hostile_requests_never_panic(
        topics in proptest::collection::vec(("[a-z]{0,9}", proptest::collection::vec(0_i32..9, 0..4)), 0..4),
        version in VERSIONS,
        mutations in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..5),
    ) {
        let mut body = encode(version, &request(version, &topics));
        for (at, value) in &mutations {
            let at = at.index(body.len());
            body[at] = *value;
        }
        let before = body.clone();
        if let Ok(mut request) = FetchRequest::parse(version, &mut body) {
            // The bounds look into tagged fields, too.
            if version < 12 {
                prop_assert_eq!(crate::bounds::check_request(ApiKey::Fetch, version, &before), Ok(()));
            }
            let mut count = 0;
            request.visit(|_, _| count += 1);
            prop_assert_eq!(count, request.partitions());
            let mut subset = request.subset(|_, partition| partition.index > 2);
            prop_assert!(FetchRequest::parse(version, &mut subset).is_ok());
            request.edit(|_, _| {});
            prop_assert_eq!(&body, &before);
        }
    }
}
