use bytes::{BufMut, BytesMut};
use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::{
    AddPartitionsToTxnRequest, AddPartitionsToTxnResponse, CreateTopicsRequest, DeleteTopicsRequest, FetchRequest,
    FetchResponse, FindCoordinatorRequest, FindCoordinatorResponse, GroupId, JoinGroupResponse, ListOffsetsRequest,
    OffsetCommitRequest, OffsetFetchRequest, OffsetFetchResponse, OffsetForLeaderEpochRequest, TopicName,
    TxnOffsetCommitRequest,
};
use kafka_protocol::protocol::StrBytes;

use super::*;
use crate::bounds::{check_answer, decode_answer_frame};

const NOT_COORDINATOR: i16 = 16;

fn body<T: Encodable>(version: i16, request: &T) -> Bytes {
    let mut bytes = BytesMut::new();
    request.encode(&mut bytes, version).unwrap();
    bytes.freeze()
}

fn name(name: &'static str) -> TopicName {
    TopicName(StrBytes::from_static_str(name))
}

/// A request of the simplest kind, for the APIs that need one.
fn simple(key: ApiKey, version: i16) -> Bytes {
    match key {
        ApiKey::FindCoordinator => body(version, &FindCoordinatorRequest::default()),
        ApiKey::OffsetCommit => body(version, &OffsetCommitRequest::default()),
        ApiKey::OffsetFetch => body(version, &OffsetFetchRequest::default()),
        ApiKey::AddPartitionsToTxn => body(version, &AddPartitionsToTxnRequest::default()),
        ApiKey::TxnOffsetCommit => body(version, &TxnOffsetCommitRequest::default()),
        ApiKey::Fetch => body(version, &FetchRequest::default()),
        ApiKey::ListOffsets => body(version, &ListOffsetsRequest::default()),
        ApiKey::OffsetForLeaderEpoch => body(version, &OffsetForLeaderEpochRequest::default()),
        ApiKey::CreateTopics => body(version, &CreateTopicsRequest::default()),
        ApiKey::DeleteTopics => body(version, &DeleteTopicsRequest::default()),
        _ => Bytes::new(),
    }
}

#[test]
fn every_offered_version_of_every_listed_api_can_be_answered() {
    let mut answered = 0;
    for line in version::OFFERED {
        let key = line.key as i16;
        let Some(needs_body) = needs_body(key) else {
            assert!(matches!(line.key, ApiKey::Produce | ApiKey::Metadata | ApiKey::ApiVersions), "{}", line.name);
            continue;
        };
        for version in line.min..=line.max {
            let request = simple(line.key, version);
            assert_eq!(needs_body, !request.is_empty(), "{}", line.name);
            let asked = Asked { key, version, correlation_id: 5 };
            let frame = encode(asked, request, NOT_COORDINATOR).unwrap();
            assert_eq!(frame[..4], u32::try_from(frame.len() - 4).unwrap().to_be_bytes());
            assert_eq!(frame[4..8], 5_i32.to_be_bytes());
            let header = crate::header::AnswerHeader::encoded_size(key, version);
            check_answer(line.key, version, &frame[4 + header..]).unwrap();
            answered += 1;
        }
    }
    assert!(answered > 60);
}

#[test]
fn an_error_stands_where_the_version_looks_for_it() {
    let asked = |key: ApiKey, version| Asked { key: key as i16, version, correlation_id: 1 };
    for version in 0..=9 {
        let frame = encode(asked(ApiKey::JoinGroup, version), Bytes::new(), NOT_COORDINATOR).unwrap();
        let answer: JoinGroupResponse = decode_answer_frame(ApiKey::JoinGroup, version, 1, frame.slice(4..)).unwrap();
        assert_eq!((answer.error_code, answer.generation_id), (NOT_COORDINATOR, -1));
    }
    for version in 1..=9 {
        let mut request = OffsetFetchRequest::default();
        if version >= 8 {
            request.groups = vec![
                OffsetFetchRequestGroup::default()
                    .with_group_id(GroupId(StrBytes::from_static_str("g")))
                    .with_topics(Some(vec![OffsetFetchRequestTopics::default().with_name(name("t"))])),
            ];
        } else {
            request.group_id = GroupId(StrBytes::from_static_str("g"));
            request.topics =
                Some(vec![OffsetFetchRequestTopic::default().with_name(name("t")).with_partition_indexes(vec![4])]);
        }
        let frame = encode(asked(ApiKey::OffsetFetch, version), body(version, &request), NOT_COORDINATOR).unwrap();
        let answer: OffsetFetchResponse =
            decode_answer_frame(ApiKey::OffsetFetch, version, 1, frame.slice(4..)).unwrap();
        if version >= 8 {
            assert_eq!(answer.groups[0].error_code, NOT_COORDINATOR);
            assert_eq!(answer.groups[0].group_id.as_str(), "g");
        } else {
            assert_eq!(answer.topics[0].partitions[0].error_code, NOT_COORDINATOR);
            assert_eq!(answer.topics[0].partitions[0].partition_index, 4);
            assert_eq!(answer.error_code, if version >= 2 { NOT_COORDINATOR } else { 0 });
        }
    }
    for version in 0..=5 {
        let keys = vec![StrBytes::from_static_str("g"), StrBytes::from_static_str("h")];
        let request = FindCoordinatorRequest::default();
        let request = if version >= 4 {
            request.with_coordinator_keys(keys)
        } else {
            request.with_key(StrBytes::from_static_str("g"))
        };
        let frame = encode(asked(ApiKey::FindCoordinator, version), body(version, &request), 15).unwrap();
        let answer: FindCoordinatorResponse =
            decode_answer_frame(ApiKey::FindCoordinator, version, 1, frame.slice(4..)).unwrap();
        if version >= 4 {
            assert_eq!(answer.coordinators.iter().map(|c| c.error_code).collect::<Vec<_>>(), [15, 15]);
        } else {
            assert_eq!((answer.error_code, answer.node_id.0), (15, -1));
        }
    }
    for version in 0..=3 {
        let topic = AddPartitionsToTxnTopic::default().with_name(name("t")).with_partitions(vec![0, 1]);
        let request = AddPartitionsToTxnRequest::default().with_v3_and_below_topics(vec![topic]);
        let frame = encode(asked(ApiKey::AddPartitionsToTxn, version), body(version, &request), 16).unwrap();
        let answer: AddPartitionsToTxnResponse =
            decode_answer_frame(ApiKey::AddPartitionsToTxn, version, 1, frame.slice(4..)).unwrap();
        let results = &answer.results_by_topic_v3_and_below[0].results_by_partition;
        assert_eq!(results.iter().map(|result| result.partition_error_code).collect::<Vec<_>>(), [16, 16]);
    }
}

#[test]
fn a_fetch_is_refused_per_partition() {
    for version in 4..=12 {
        let partition = |index| FetchPartition::default().with_partition(index);
        let topics = vec![
            FetchTopic::default().with_topic(name("a")).with_partitions(vec![partition(0), partition(3)]),
            FetchTopic::default().with_topic(name("b")).with_partitions(vec![partition(1)]),
        ];
        let request = FetchRequest::default().with_topics(topics);
        let asked = Asked { key: 1, version, correlation_id: 1 };
        let frame = encode(asked, body(version, &request), 6).unwrap();
        let answer: FetchResponse = decode_answer_frame(ApiKey::Fetch, version, 1, frame.slice(4..)).unwrap();
        let seen: Vec<_> = answer
            .responses
            .iter()
            .flat_map(|topic| {
                topic.partitions.iter().map(|p| (topic.topic.to_string(), p.partition_index, p.error_code))
            })
            .collect();
        assert_eq!(seen, [("a".to_owned(), 0, 6), ("a".to_owned(), 3, 6), ("b".to_owned(), 1, 6)]);
    }
}

#[test]
fn what_cannot_be_answered_is_an_error() {
    let asked = |key, version| Asked { key, version, correlation_id: 1 };
    assert!(encode(asked(0, 9), Bytes::new(), 6).is_err(), "Produce: its payload is never here");
    assert!(encode(asked(999, 0), Bytes::new(), 6).is_err());
    let mut hostile = BytesMut::new();
    hostile.put_i32(i32::MAX);
    assert!(matches!(
        encode(asked(24, 0), hostile.freeze(), 6),
        Err(WireError::Length { .. } | WireError::Count { .. } | WireError::Truncated { .. })
    ));
}
