use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddOffsetsToTxnResponse, AddPartitionsToTxnRequest, AddPartitionsToTxnResponse,
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse, AlterReplicaLogDirsRequest,
    AlterReplicaLogDirsResponse, ApiKey, ApiVersionsRequest, ApiVersionsResponse, CreateAclsRequest,
    CreateAclsResponse, CreatePartitionsRequest, CreatePartitionsResponse, CreateTopicsRequest, CreateTopicsResponse,
    DeleteAclsRequest, DeleteAclsResponse, DeleteGroupsRequest, DeleteGroupsResponse, DeleteRecordsRequest,
    DeleteRecordsResponse, DeleteTopicsRequest, DeleteTopicsResponse, DescribeAclsRequest, DescribeAclsResponse,
    DescribeClusterRequest, DescribeClusterResponse, DescribeConfigsRequest, DescribeConfigsResponse,
    DescribeGroupsRequest, DescribeGroupsResponse, DescribeLogDirsRequest, DescribeLogDirsResponse,
    DescribeProducersRequest, DescribeProducersResponse, DescribeQuorumRequest, DescribeQuorumResponse,
    DescribeTransactionsRequest, DescribeTransactionsResponse, ElectLeadersRequest, ElectLeadersResponse,
    EndTxnRequest, EndTxnResponse, FetchRequest, FetchResponse, FindCoordinatorRequest, FindCoordinatorResponse,
    HeartbeatRequest, HeartbeatResponse, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
    InitProducerIdRequest, InitProducerIdResponse, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest,
    LeaveGroupResponse, ListGroupsRequest, ListGroupsResponse, ListOffsetsRequest, ListOffsetsResponse,
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse, ListTransactionsRequest,
    ListTransactionsResponse, MetadataRequest, MetadataResponse, OffsetCommitRequest, OffsetCommitResponse,
    OffsetDeleteRequest, OffsetDeleteResponse, OffsetFetchRequest, OffsetFetchResponse, OffsetForLeaderEpochRequest,
    OffsetForLeaderEpochResponse, ProduceRequest, ProduceResponse, SaslAuthenticateRequest, SaslAuthenticateResponse,
    SaslHandshakeRequest, SaslHandshakeResponse, SyncGroupRequest, SyncGroupResponse, TxnOffsetCommitRequest,
    TxnOffsetCommitResponse, UpdateFeaturesRequest, UpdateFeaturesResponse,
};
use kafka_protocol::protocol::{Encodable, Message as _};
use proptest::prelude::*;

use super::*;
use crate::cursor::put_uvarint;

#[test]
fn the_inputs_that_end_a_process_are_refused() {
    // Metadata 1: a count of i32::MAX topics in a body of four bytes; Metadata 9: the same in five.
    let v1 = Bytes::from_static(&[0x7f, 0xff, 0xff, 0xff]);
    let refused = decode_request::<MetadataRequest>(ApiKey::Metadata, 1, v1);
    assert!(matches!(refused, Err(WireError::Count { what: "topics", .. })), "{refused:?}");
    let v9 = Bytes::from_static(&[0xff, 0xff, 0xff, 0xff, 0x07]);
    let refused = decode_request::<MetadataRequest>(ApiKey::Metadata, 9, v9);
    assert!(matches!(refused, Err(WireError::Count { what: "topics", .. })), "{refused:?}");
    // 50 million: the allocator would give it.
    let mut many = vec![];
    put_uvarint(&mut many, 50_000_000);
    assert!(decode_request::<MetadataRequest>(ApiKey::Metadata, 9, many.into()).is_err());
}

#[test]
fn elements_are_limited_even_if_their_bytes_are_there() {
    // Version 1: each topic is an empty name of two bytes.
    let body = |count: u32| {
        let mut body = count.to_be_bytes().to_vec();
        body.resize(4 + 2 * count as usize, 0);
        body
    };
    assert_eq!(check_request(ApiKey::Metadata, 1, &body(MAX_REQUEST_ELEMENTS)), Ok(()));
    let refused = check_request(ApiKey::Metadata, 1, &body(MAX_REQUEST_ELEMENTS + 1));
    assert!(matches!(refused, Err(WireError::Count { .. })));
}

#[test]
fn every_kind_of_lie_has_its_error() {
    let check = |bytes: &[u8]| check_request(ApiKey::Metadata, 12, bytes);
    // Null topics, three flags would be two in version 12: auto-creation and topic authorisations; no tagged fields.
    assert_eq!(check(&[0, 1, 0, 0]), Ok(()));
    // Bytes behind a request are nobody's; behind an answer they are a lie.
    assert_eq!(check(&[0, 1, 0, 0, 0]), Ok(()));
    let answer = [0, 0, 0, 0, 0, 0, 0, 0, 9];
    assert_eq!(check_answer(ApiKey::Heartbeat, 1, &answer[..6]), Ok(()));
    assert_eq!(check_answer(ApiKey::Heartbeat, 1, &answer), Err(WireError::Trailing { count: 3 }));
    assert!(matches!(check(&[0, 1, 0]), Err(WireError::Truncated { .. })));
    assert!(matches!(check(&[0xff; 12]), Err(WireError::Varint { .. })));
    // One tag that says to be longer than the body.
    assert!(matches!(check(&[0, 1, 0, 1, 0, 9, 9]), Err(WireError::Length { .. })));
    // More tags than bytes.
    assert!(matches!(check(&[0, 1, 0, 9, 0]), Err(WireError::Count { .. })));
    // A name longer than the body.
    let mut name = vec![2];
    name.extend_from_slice(&[0; 16]);
    name.extend_from_slice(&[100, b'a', 0, 1, 0, 0]);
    assert!(matches!(check(&name), Err(WireError::Length { what: "name", .. })));
    assert!(matches!(check_request(ApiKey::Metadata, 99, &[]), Err(WireError::Unsupported { key: 3, version: 99 })));
    assert!(matches!(check_request(ApiKey::Vote, 0, &[]), Err(WireError::Unsupported { .. })));
    // The decoder does not look at the size of a tag that it knows (here: the epoch of features, eight bytes).
    let mut features = vec![0, 0, 1, 0, 0, 0, 0, 1, 1, 7];
    features.extend_from_slice(&[0; 8]);
    let refused = check_answer(ApiKey::ApiVersions, 3, &features);
    assert!(matches!(refused, Err(WireError::Length { what: "finalized_features_epoch", .. })), "{refused:?}");
}

#[test]
fn a_framed_answer_must_be_the_awaited_one() {
    let mut body = BytesMut::new();
    HeartbeatResponse::default().with_error_code(27).encode(&mut body, 4).unwrap();
    let mut frame = vec![0, 0, 0, 9, 0];
    frame.extend_from_slice(&body);
    let frame = Bytes::from(frame);
    let answer: HeartbeatResponse = decode_answer_frame(ApiKey::Heartbeat, 4, 9, frame.clone()).unwrap();
    assert_eq!(answer.error_code, 27);
    let other = decode_answer_frame::<HeartbeatResponse>(ApiKey::Heartbeat, 4, 8, frame.clone());
    assert_eq!(other, Err(WireError::Correlation { expected: 8, found: 9 }));
    assert!(decode_answer_frame::<HeartbeatResponse>(ApiKey::Heartbeat, 4, 9, frame.slice(..4)).is_err());
}

/// A body that the description allows, with every tagged field, none of it at its default: so that the decoder's own
/// encoding has the same length.
fn generate(message: &Message, version: i16, seed: &mut u32) -> Vec<u8> {
    let mut out = Vec::new();
    generate_fields(message.fields, version, version >= message.flexible, seed, &mut out);
    out
}

fn random(seed: &mut u32) -> u32 {
    *seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
    *seed >> 16
}

fn generate_fields(fields: &'static [Field], version: i16, flexible: bool, seed: &mut u32, out: &mut Vec<u8>) {
    let mut tagged = Vec::new();
    for field in fields.iter().filter(|field| field.is_in(version)) {
        if let Kind::Tagged(tag, kind) = &field.kind {
            let mut value = Vec::new();
            generate_value(kind, version, flexible, seed, &mut value);
            tagged.push((*tag, value));
        } else {
            generate_value(&field.kind, version, flexible, seed, out);
        }
    }
    if flexible {
        tagged.push((99, vec![1, 2, 3]));
        put_uvarint(out, u32::try_from(tagged.len()).unwrap());
        tagged.sort();
        for (tag, value) in tagged {
            put_uvarint(out, tag);
            put_uvarint(out, u32::try_from(value.len()).unwrap());
            out.extend_from_slice(&value);
        }
    }
}

fn generate_value(kind: &'static Kind, version: i16, flexible: bool, seed: &mut u32, out: &mut Vec<u8>) {
    match kind {
        Kind::Fixed(size) => {
            out.extend((0..*size).map(|_| if *size == 1 { 1 } else { u8::try_from(1 + random(seed) % 9).unwrap() }));
        }
        Kind::Str => {
            let length = 1 + random(seed) % 4;
            if flexible {
                put_uvarint(out, length + 1);
            } else {
                out.extend_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
            }
            out.extend((0..length).map(|_| b'a'));
        }
        Kind::Blob => {
            let length = random(seed) % 200;
            crate::cursor::put_count(out, flexible, length);
            out.extend((0..length).map(|_| 7));
        }
        Kind::Array(element) => {
            let count = 1 + random(seed) % 3;
            crate::cursor::put_count(out, flexible, count);
            for _ in 0..count {
                generate_value(element, version, flexible, seed, out);
            }
        }
        Kind::Struct(fields) => generate_fields(fields, version, flexible, seed, out),
        Kind::Tagged(..) => unreachable!("among fields only"),
    }
}

/// The description and the decoder see the same fields: what the one generates the other reads to the last byte and
/// writes back at the same length.
fn agree<T: Decodable + Encodable + PartialEq + std::fmt::Debug>(
    key: ApiKey,
    version: i16,
    message: &'static Message,
    seed: &mut u32,
) {
    let body = Bytes::from(generate(message, version, seed));
    assert_eq!(check(message, version, &body, u32::MAX), Ok(0));
    let read: T = decode(version, &mut body.clone()).unwrap_or_else(|error| panic!("{key:?} {version}: {error}"));
    let mut written = BytesMut::new();
    read.encode(&mut written, version).unwrap_or_else(|error| panic!("{key:?} {version}: {error}"));
    assert_eq!(written.len(), body.len(), "{key:?} {version}: {read:?}");
    assert_eq!(read, decode(version, &mut written.freeze()).unwrap(), "{key:?} {version}");
    for cut in 0..body.len() {
        assert!(check(message, version, &body[..cut], u32::MAX).is_err(), "{key:?} {version} cut at {cut}");
    }
}

/// Whatever the bounds let through, the decoder takes without harm.
fn survive<T: Decodable>(message: &'static Message, version: i16, body: &[u8]) {
    if check(message, version, body, MAX_REQUEST_ELEMENTS).is_ok() {
        let _ = decode::<T>(version, &mut Bytes::copy_from_slice(body));
    }
}

macro_rules! for_each_api {
    ($then:ident ( $($argument:expr),* )) => {
        $then! { ($($argument),*)
        Produce, ProduceRequest, ProduceResponse;
        Fetch, FetchRequest, FetchResponse;
        ListOffsets, ListOffsetsRequest, ListOffsetsResponse;
        OffsetForLeaderEpoch, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse;
        DeleteRecords, DeleteRecordsRequest, DeleteRecordsResponse;
        ApiVersions, ApiVersionsRequest, ApiVersionsResponse;
        Metadata, MetadataRequest, MetadataResponse;
        DescribeCluster, DescribeClusterRequest, DescribeClusterResponse;
        CreateTopics, CreateTopicsRequest, CreateTopicsResponse;
        DeleteTopics, DeleteTopicsRequest, DeleteTopicsResponse;
        CreatePartitions, CreatePartitionsRequest, CreatePartitionsResponse;
        SaslHandshake, SaslHandshakeRequest, SaslHandshakeResponse;
        SaslAuthenticate, SaslAuthenticateRequest, SaslAuthenticateResponse;
        FindCoordinator, FindCoordinatorRequest, FindCoordinatorResponse;
        JoinGroup, JoinGroupRequest, JoinGroupResponse;
        SyncGroup, SyncGroupRequest, SyncGroupResponse;
        Heartbeat, HeartbeatRequest, HeartbeatResponse;
        LeaveGroup, LeaveGroupRequest, LeaveGroupResponse;
        OffsetCommit, OffsetCommitRequest, OffsetCommitResponse;
        OffsetFetch, OffsetFetchRequest, OffsetFetchResponse;
        OffsetDelete, OffsetDeleteRequest, OffsetDeleteResponse;
        DescribeGroups, DescribeGroupsRequest, DescribeGroupsResponse;
        ListGroups, ListGroupsRequest, ListGroupsResponse;
        DeleteGroups, DeleteGroupsRequest, DeleteGroupsResponse;
        InitProducerId, InitProducerIdRequest, InitProducerIdResponse;
        AddPartitionsToTxn, AddPartitionsToTxnRequest, AddPartitionsToTxnResponse;
        AddOffsetsToTxn, AddOffsetsToTxnRequest, AddOffsetsToTxnResponse;
        EndTxn, EndTxnRequest, EndTxnResponse;
        TxnOffsetCommit, TxnOffsetCommitRequest, TxnOffsetCommitResponse;
        DescribeProducers, DescribeProducersRequest, DescribeProducersResponse;
        DescribeTransactions, DescribeTransactionsRequest, DescribeTransactionsResponse;
        ListTransactions, ListTransactionsRequest, ListTransactionsResponse;
        DescribeConfigs, DescribeConfigsRequest, DescribeConfigsResponse;
        IncrementalAlterConfigs, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse;
        DescribeLogDirs, DescribeLogDirsRequest, DescribeLogDirsResponse;
        AlterReplicaLogDirs, AlterReplicaLogDirsRequest, AlterReplicaLogDirsResponse;
        DescribeAcls, DescribeAclsRequest, DescribeAclsResponse;
        CreateAcls, CreateAclsRequest, CreateAclsResponse;
        DeleteAcls, DeleteAclsRequest, DeleteAclsResponse;
        AlterPartitionReassignments, AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse;
        ListPartitionReassignments, ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse;
        ElectLeaders, ElectLeadersRequest, ElectLeadersResponse;
        DescribeQuorum, DescribeQuorumRequest, DescribeQuorumResponse;
        UpdateFeatures, UpdateFeaturesRequest, UpdateFeaturesResponse;
        }
    };
}

macro_rules! agree_all {
    (($seed:expr, $versions:expr) $($key:ident, $request:ident, $answer:ident;)*) => {$({
        let (request, answer) = schema::messages(ApiKey::$key).unwrap();
        let known = ApiKey::$key.valid_versions();
        for version in known.min.max($request::VERSIONS.min)..=known.max.min($request::VERSIONS.max) {
            agree::<$request>(ApiKey::$key, version, request, $seed);
            agree::<$answer>(ApiKey::$key, version, answer, $seed);
            $versions += 1;
        }
    })*};
}

macro_rules! survive_all {
    (($mutate:expr, $seed:expr) $($key:ident, $request:ident, $answer:ident;)*) => {$({
        let (request, answer) = schema::messages(ApiKey::$key).unwrap();
        let known = ApiKey::$key.valid_versions();
        for version in known.min..=known.max {
            survive::<$request>(request, version, &$mutate(generate(request, version, $seed)));
            survive::<$answer>(answer, version, &$mutate(generate(answer, version, $seed)));
        }
    })*};
}

#[test]
fn descriptions_and_decoder_agree_in_every_version() {
    let mut seed = 1;
    let mut versions = 0;
    for _ in 0..3 {
        for_each_api!(agree_all(&mut seed, versions));
    }
    assert!(versions > 400, "{versions}");
}

#[test]
fn whatever_is_offered_has_a_description() {
    for line in crate::version::OFFERED {
        assert!(schema::messages(line.key).is_some(), "{}", line.name);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn hostile_bodies_never_panic(
        mut seed in any::<u32>(),
        mutations in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mutate = |mut body: Vec<u8>| {
            for (at, value) in &mutations {
                if !body.is_empty() {
                    let at = at.index(body.len());
                    body[at] = *value;
                }
            }
            body
        };
        for_each_api!(survive_all(mutate, &mut seed));
    }
}

#[test]
fn bytes_behind_a_request_are_left_alone() {
    // What librdkafka 2.12.1 sends to list all topics: three bytes more than the message has.
    let body: &[u8] = &[0, 0, 0, 0, 1, 0, 0];
    let request = decode_request::<MetadataRequest>(ApiKey::Metadata, 12, bytes::Bytes::from_static(body)).unwrap();
    assert_eq!(request.topics, None);
}
