//! The APIs that are answered from the model, or asked about elsewhere.

use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::create_topics_request::{CreatableReplicaAssignment, CreatableTopic};
use kafka_protocol::messages::create_topics_response::CreatableTopicResult;
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::MetadataResponseTopic;
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use kafka_protocol::messages::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use kafka_protocol::messages::{
    AddPartitionsToTxnRequest, BrokerId, CreateTopicsRequest, CreateTopicsResponse, DeleteTopicsRequest,
    DeleteTopicsResponse, DescribeClusterRequest, FindCoordinatorRequest, FindCoordinatorResponse,
    InitProducerIdRequest, InitProducerIdResponse, JoinGroupRequest, ListOffsetsRequest, ListOffsetsResponse,
    MetadataRequest, MetadataResponse, OffsetCommitRequest, OffsetCommitResponse, OffsetForLeaderEpochRequest,
    ProducerId, TopicName, TransactionalId,
};
use kafka_protocol::protocol::StrBytes;
use sluice_testkit::frame;
use sluice_testkit::sample::{self, WorldBuilder};

use super::rig::{Blocked, Rig};
use crate::ask::{Ask, Reply, Request, Response, Target};

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn name(topic: &str) -> TopicName {
    TopicName(text(topic))
}

fn metadata(topics: &[&str]) -> MetadataRequest {
    let topic = |topic: &&str| MetadataRequestTopic::default().with_name(Some(name(topic)));
    MetadataRequest::default()
        .with_topics(Some(topics.iter().map(topic).collect()))
        .with_allow_auto_topic_creation(false)
}

fn topic<'a>(answer: &'a MetadataResponse, topic: &str) -> &'a MetadataResponseTopic {
    let named = |found: &&MetadataResponseTopic| found.name.as_ref().is_some_and(|name| name.as_str() == topic);
    answer.topics.iter().find(named).expect("the topic is told")
}

#[test]
fn metadata_in_every_version() {
    for version in 0..=12 {
        let mut rig = Rig::sample(sample::east(2)).with_chunks(vec![33]);
        let asked = metadata(&[sample::STITCHED, sample::PLAIN]).with_allow_auto_topic_creation(version < 4);
        rig.request(1, &asked, version);
        let answer = rig.response::<MetadataRequest>(1, version);
        assert_eq!(answer.brokers.len(), 6);
        let broker = answer.brokers.iter().find(|broker| broker.node_id.0 == 10_002).unwrap();
        assert_eq!((broker.host.as_str(), broker.port), ("127.0.1.5", 9104));
        let moved = topic(&answer, sample::STITCHED);
        let first = &moved.partitions[0];
        assert_eq!((moved.error_code, first.error_code, first.leader_id.0), (0, 0, 10_001));
        assert_eq!(first.replica_nodes, vec![BrokerId(10_001), BrokerId(10_002), BrokerId(10_003)]);
        if version >= 7 {
            assert_eq!(first.leader_epoch, 1029);
            assert_eq!(topic(&answer, sample::PLAIN).partitions[2].leader_epoch, 5);
        }
        if version >= 10 {
            assert_eq!(moved.topic_id, sample::topic_id(sample::EAST, sample::STITCHED), "the id of its first home");
        }
        if version >= 2 {
            assert_eq!(answer.cluster_id.as_ref().unwrap().as_str(), sample::EAST_ID);
        }
        assert_eq!(topic(&answer, sample::PLAIN).partitions[1].leader_id.0, 2);
        assert!(rig.seen.is_empty());
    }
}

#[test]
fn a_topic_that_is_asked_for_often_is_told_once() {
    let mut rig = Rig::sample(sample::west(1));
    let id = sample::topic_id(sample::EAST, sample::STITCHED);
    let by_id = MetadataRequestTopic::default().with_name(None).with_topic_id(id);
    let unknown = by_id.clone().with_topic_id(sample::topic_id(sample::EAST, "never seen"));
    let mut asked = metadata(&[sample::PLAIN; 1_000]);
    asked.topics.as_mut().unwrap().extend([by_id.clone(), by_id, unknown.clone(), unknown]);
    rig.request(1, &asked, 12);
    let answer = rig.response::<MetadataRequest>(1, 12);
    let told: Vec<_> = answer.topics.iter().map(|topic| (topic.error_code, topic.partitions.len())).collect();
    assert_eq!(told, [(0, 3), (0, 2), (100, 0)]);
}

#[test]
fn all_topics_are_the_union() {
    let mut rig = Rig::sample(sample::west(1));
    rig.request(1, &MetadataRequest::default().with_topics(None), 9);
    let answer = rig.response::<MetadataRequest>(1, 9);
    let names: Vec<&str> =
        answer.topics.iter().filter_map(|topic| topic.name.as_ref().map(|name| name.as_str())).collect();
    let mut expected = vec![
        "__consumer_offsets",
        sample::ABROAD,
        sample::BOTH,
        sample::FENCED,
        sample::PLAIN,
        sample::RETURNED,
        sample::STITCHED,
        sample::WEST_ONLY,
    ];
    expected.sort_unstable();
    assert_eq!(names, expected);
    assert_eq!(topic(&answer, sample::BOTH).partitions.len(), 1, "home wins");
    assert_eq!(topic(&answer, "__consumer_offsets").partitions[0].leader_id.0, 1, "the home cluster's own");
    rig.request(2, &MetadataRequest::default().with_topics(Some(Vec::new())), 9);
    assert!(rig.response::<MetadataRequest>(2, 9).topics.is_empty());
    rig.request(3, &MetadataRequest::default().with_topics(Some(Vec::new())), 0);
    assert_eq!(rig.response::<MetadataRequest>(3, 0).topics.len(), expected.len(), "version 0: empty means all");
}

#[test]
fn unknown_topics_and_auto_creation() {
    let mut rig = Rig::sample(sample::west(1)).with_control(|ask| match ask {
        Ask::Refresh => Reply::Refreshed,
        Ask::Calls(calls) => {
            assert_eq!((calls.len(), calls[0].cluster, &calls[0].to), (1, sample::EAST_INDEX, &Target::Any));
            let Request::Metadata(request) = &calls[0].request else { panic!("{:?}", calls[0].request) };
            assert!(request.allow_auto_topic_creation);
            let topics = request.topics.clone().unwrap();
            assert_eq!(topics.len(), 1, "neither hidden nor invalid names are created");
            let created = MetadataResponseTopic::default().with_name(topics[0].name.clone()).with_error_code(5);
            Reply::Calls(vec![Ok(Response::Metadata(MetadataResponse::default().with_topics(vec![created])))])
        }
    });
    rig.request(1, &metadata(&["nowhere", "__sluice_ledger", "not a name", sample::EXCLUDED]), 9);
    let answer = rig.response::<MetadataRequest>(1, 9);
    let errors: Vec<i16> = answer.topics.iter().map(|topic| topic.error_code).collect();
    assert_eq!((errors, rig.asks), (vec![3, 3, 17, 3], 1), "one look at the clusters first");
    rig.now += 1_000;
    rig.request(2, &metadata(&["nowhere", "__sluice_ledger", "secret-two"]).with_allow_auto_topic_creation(true), 9);
    let answer = rig.response::<MetadataRequest>(2, 9);
    let errors: Vec<i16> = answer.topics.iter().map(|topic| topic.error_code).collect();
    assert_eq!((errors, rig.asks), (vec![5, 3, 3], 4));
}

#[test]
fn nothing_is_called_unknown_before_every_cluster_has_been_listed() {
    let world = WorldBuilder::sample().unlisted(sample::WEST).build();
    let mut rig = Rig::new(sample::east(1), world).with_control(|_| Reply::Refreshed);
    rig.request(1, &metadata(&["nowhere", sample::STITCHED]).with_allow_auto_topic_creation(true), 9);
    let answer = rig.response::<MetadataRequest>(1, 9);
    assert_eq!((topic(&answer, "nowhere").error_code, topic(&answer, sample::STITCHED).error_code), (5, 5));
    let create = CreateTopicsRequest::default().with_topics(vec![CreatableTopic::default().with_name(name("new"))]);
    rig.request(2, &create, 5);
    assert_eq!(rig.response::<CreateTopicsRequest>(2, 5).topics[0].error_code, 41);
    rig.request(3, &MetadataRequest::default().with_topics(None), 9);
    assert_eq!(rig.blocked, Some(Blocked::Hold(2_000)), "a pattern would lose topics");
    rig.now = 2_000;
    rig.again();
    rig.response::<MetadataRequest>(3, 9);
}

#[test]
fn the_coordinator_is_a_virtual_broker_of_home() {
    for version in 0..=5 {
        let mut rig = Rig::sample(sample::west(1)).with_control(|ask| {
            let Ask::Calls(calls) = ask else { panic!("no refresh") };
            assert_eq!(calls[0].cluster, sample::EAST_INDEX);
            let Request::FindCoordinator(request) = &calls[0].request else { panic!("{:?}", calls[0].request) };
            let found = request.coordinator_keys.iter().map(|key| {
                Coordinator::default()
                    .with_key(key.clone())
                    .with_node_id(BrokerId(3))
                    .with_host(text("real"))
                    .with_port(1)
            });
            let answer = FindCoordinatorResponse::default().with_coordinators(found.collect());
            Reply::Calls(vec![Ok(Response::FindCoordinator(answer))])
        });
        let request = match version {
            0..=3 => FindCoordinatorRequest::default().with_key(text("group")),
            _ => FindCoordinatorRequest::default().with_coordinator_keys(vec![text("a"), text("b")]),
        };
        rig.request(1, &request, version);
        let answer = rig.response::<FindCoordinatorRequest>(1, version);
        if version >= 4 {
            assert_eq!(answer.coordinators.len(), 2);
            let found = &answer.coordinators[1];
            assert_eq!(
                (found.key.as_str(), found.node_id.0, found.host.as_str(), found.port),
                ("b", 3, "127.0.1.3", 9102)
            );
        } else {
            assert_eq!((answer.node_id.0, answer.host.as_str(), answer.port), (3, "127.0.1.3", 9102));
        }
    }
}

#[test]
fn producer_ids_carry_the_clusters_tag() {
    for (at, tag) in [(sample::east(1), 1_i64), (sample::west(1), 2)] {
        for version in 0..=4 {
            let mut rig = Rig::sample(at).with_broker(|_, header, _| {
                let answer = InitProducerIdResponse::default().with_producer_id(ProducerId(4_000));
                Some(frame::response::<InitProducerIdRequest>(
                    header.correlation_id,
                    &answer,
                    header.request_api_version,
                ))
            });
            rig.request(1, &InitProducerIdRequest::default().with_transactional_id(None), version);
            let answer = rig.response::<InitProducerIdRequest>(1, version);
            assert_eq!(answer.producer_id.0, 4_000 + (tag << 56));
            let id = TransactionalId(text("payments"));
            rig.request(2, &InitProducerIdRequest::default().with_transactional_id(Some(id)), version);
            let answer = rig.response::<InitProducerIdRequest>(2, version);
            if tag == 1 {
                assert_eq!((answer.error_code, answer.producer_id.0), (0, 4_000), "compared by its coordinator");
            } else {
                assert_eq!(answer.error_code, 16);
            }
        }
    }
}

#[test]
fn an_offset_for_a_time_is_found_in_a_log_of_two_segments() {
    // East: 0..100 and, after the return, from 100 on. West, 100..150 to clients, has nothing that late.
    let mut rig = Rig::sample(sample::east(1)).with_control(|ask| {
        let Ask::Calls(calls) = ask else { panic!("no refresh") };
        let answer = |call: &crate::ask::Call| {
            let Request::ListOffsets(request) = &call.request else { panic!("{:?}", call.request) };
            let asked = &request.topics[0].partitions;
            assert_eq!(asked.len(), 1, "a broker refuses a partition that is named twice");
            let offset = if call.cluster == sample::EAST_INDEX { 107 } else { -1 };
            let found = ListOffsetsPartitionResponse::default().with_offset(offset).with_timestamp(9);
            let topic =
                ListOffsetsTopicResponse::default().with_name(name(sample::RETURNED)).with_partitions(vec![found]);
            Ok(Response::ListOffsets(ListOffsetsResponse::default().with_topics(vec![topic])))
        };
        Reply::Calls(calls.iter().map(answer).collect())
    });
    let asked = ListOffsetsTopic::default()
        .with_name(name(sample::RETURNED))
        .with_partitions(vec![ListOffsetsPartition::default().with_timestamp(7)]);
    rig.request(1, &ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![asked]), 5);
    let answer = rig.response::<ListOffsetsRequest>(1, 5);
    let found = &answer.topics[0].partitions[0];
    assert_eq!((found.error_code, found.offset), (0, 157));
}

#[test]
fn epochs_of_a_clients_choice_do_not_multiply_requests_without_bound() {
    let mut rig = Rig::sample(sample::east(1)).with_control(|ask| {
        let Ask::Calls(calls) = ask else { panic!("no refresh") };
        assert!(calls.len() <= 256, "{}", calls.len());
        Reply::Calls(Vec::new())
    });
    let asked = (0..5_000).map(|epoch| OffsetForLeaderPartition::default().with_leader_epoch(epoch));
    let topic = OffsetForLeaderTopic::default().with_topic(name(sample::FENCED)).with_partitions(asked.collect());
    rig.request(1, &OffsetForLeaderEpochRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topic]), 4);
    assert_eq!(rig.response::<OffsetForLeaderEpochRequest>(1, 4).topics[0].partitions.len(), 5_000);
    assert_eq!(rig.asks, 1);
}

#[test]
fn groups_are_not_coordinated_abroad() {
    for version in 0..=9 {
        let mut rig = Rig::sample(sample::west(1)).with_chunks(vec![20]);
        rig.request(1, &JoinGroupRequest::default().with_group_id(text("g").into()), version);
        assert_eq!(rig.response::<JoinGroupRequest>(1, version).error_code, 16);
        assert!(rig.seen.is_empty());
    }
}

fn commit(topics: &[&str]) -> OffsetCommitRequest {
    let topics = topics.iter().map(|topic| {
        let partition = OffsetCommitRequestPartition::default().with_partition_index(0).with_committed_offset(5);
        OffsetCommitRequestTopic::default().with_name(name(topic)).with_partitions(vec![partition])
    });
    OffsetCommitRequest::default().with_group_id(text("g").into()).with_topics(topics.collect())
}

fn committing(rig: Rig) -> Rig {
    rig.with_broker(|_, header, body| {
        let version = header.request_api_version;
        let request = frame::decode_request::<OffsetCommitRequest>(&body, version).expect("an intact commit");
        let topics = request.topics.iter().map(|topic| {
            let partition = OffsetCommitResponsePartition::default();
            OffsetCommitResponseTopic::default().with_name(topic.name.clone()).with_partitions(vec![partition])
        });
        let answer = OffsetCommitResponse::default().with_topics(topics.collect());
        Some(frame::response::<OffsetCommitRequest>(header.correlation_id, &answer, version))
    })
}

#[test]
fn a_commit_waits_for_the_placeholder() {
    let lacking =
        || WorldBuilder::sample().edit_topic(sample::ABROAD, sample::WEST, |topic| topic.placeholder = false).build();
    for version in 2..=9 {
        let mut rig = committing(Rig::new(sample::east(1), lacking()));
        rig.request(1, &commit(&[sample::PLAIN, sample::STITCHED]), version);
        assert_eq!(rig.response::<OffsetCommitRequest>(1, version).topics.len(), 2, "nothing to wait for");
        rig.request(2, &commit(&[sample::PLAIN, sample::ABROAD]), version);
        assert_eq!((rig.blocked, rig.seen.len()), (Some(Blocked::Hold(3_000)), 1));
        rig.world = WorldBuilder::sample().next_revision().build();
        rig.again();
        let answer = rig.response::<OffsetCommitRequest>(2, version);
        assert!(answer.topics.iter().all(|topic| topic.partitions[0].error_code == 0));
        rig.world = lacking();
        rig.request(3, &commit(&[sample::PLAIN, sample::ABROAD]), version);
        rig.now = 3_000;
        rig.again();
        let answer = rig.response::<OffsetCommitRequest>(3, version);
        let error = |topic: &str| {
            let found = answer.topics.iter().find(|found| found.name.as_str() == topic).unwrap();
            found.partitions[0].error_code
        };
        assert_eq!((error(sample::PLAIN), error(sample::ABROAD)), (0, 14), "the rest is committed");
        rig.now = 1_000;
    }
}

#[test]
fn a_transaction_stays_at_home() {
    let ask = |topics: &[&str]| {
        let topics = topics
            .iter()
            .map(|topic| AddPartitionsToTxnTopic::default().with_name(name(topic)).with_partitions(vec![0]));
        AddPartitionsToTxnRequest::default().with_v3_and_below_topics(topics.collect())
    };
    let mut rig = Rig::sample(sample::east(1));
    rig.request(1, &ask(&[sample::PLAIN, sample::STITCHED]), 3);
    let answer = rig.response::<AddPartitionsToTxnRequest>(1, 3);
    let errors: Vec<i16> = answer
        .results_by_topic_v3_and_below
        .iter()
        .map(|topic| topic.results_by_partition[0].partition_error_code)
        .collect();
    assert_eq!(errors, vec![55, 29]);
    rig.request(2, &ask(&[sample::PLAIN, sample::FENCED]), 0);
    let answer = rig.response::<AddPartitionsToTxnRequest>(2, 0);
    assert_eq!(answer.results_by_topic_v3_and_below[0].results_by_partition[0].partition_error_code, 51);
    assert!(rig.seen.is_empty());
    rig.request(3, &ask(&[sample::PLAIN]), 3);
    assert_eq!(rig.seen.len(), 1, "a home topic's goes to the coordinator as it is");
}

#[test]
fn topics_are_created_at_home() {
    let create = |topic: &str, brokers: &[i32]| {
        let brokers: Vec<BrokerId> = brokers.iter().map(|broker| BrokerId(*broker)).collect();
        let assignment = CreatableReplicaAssignment::default().with_broker_ids(brokers.clone());
        CreatableTopic::default().with_name(name(topic)).with_assignments(if brokers.is_empty() {
            Vec::new()
        } else {
            vec![assignment]
        })
    };
    for version in 2..=7 {
        let mut rig = Rig::sample(sample::west(2)).with_control(|ask| match ask {
            Ask::Refresh => Reply::Refreshed,
            Ask::Calls(calls) => {
                assert_eq!((calls[0].cluster, &calls[0].to), (sample::EAST_INDEX, &Target::Controller));
                let Request::CreateTopics(request) = &calls[0].request else { panic!("{:?}", calls[0].request) };
                let names: Vec<&str> = request.topics.iter().map(|topic| topic.name.as_str()).collect();
                assert_eq!(names, ["new", "placed"]);
                assert_eq!(request.topics[1].assignments[0].broker_ids, vec![BrokerId(3)]);
                let created = request
                    .topics
                    .iter()
                    .map(|topic| CreatableTopicResult::default().with_name(topic.name.clone()).with_num_partitions(1));
                let answer = CreateTopicsResponse::default().with_topics(created.collect());
                Reply::Calls(vec![Ok(Response::CreateTopics(answer))])
            }
        });
        let topics = vec![
            create("new", &[]),
            create(sample::WEST_ONLY, &[]),
            create("placed", &[3]),
            create("misplaced", &[10_001]),
            create("__sluice_ledger", &[]),
        ];
        rig.request(1, &CreateTopicsRequest::default().with_topics(topics).with_timeout_ms(1_000), version);
        let answer = rig.response::<CreateTopicsRequest>(1, version);
        let results: Vec<(&str, i16)> =
            answer.topics.iter().map(|topic| (topic.name.as_str(), topic.error_code)).collect();
        let expected = [("new", 0), (sample::WEST_ONLY, 36), ("placed", 0), ("misplaced", 39), ("__sluice_ledger", 17)];
        assert_eq!(results, expected, "in the order of the request");
        assert!(rig.seen.is_empty());
    }
}

#[test]
fn topics_are_deleted_where_they_live() {
    for version in 1..=6 {
        let mut rig = Rig::sample(sample::east(1)).with_control(|ask| match ask {
            Ask::Refresh => Reply::Refreshed,
            Ask::Calls(calls) => {
                let results = calls.iter().map(|call| {
                    let Request::DeleteTopics(request) = &call.request else { panic!("{:?}", call.request) };
                    let names: Vec<&str> =
                        request.topics.iter().map(|topic| topic.name.as_ref().unwrap().as_str()).collect();
                    match (call.cluster, &names[..]) {
                        (sample::EAST_INDEX, [sample::PLAIN | sample::ABROAD])
                        | (sample::WEST_INDEX, [sample::ABROAD]) => {}
                        other => panic!("{other:?}"),
                    }
                    let done = request
                        .topics
                        .iter()
                        .map(|topic| DeletableTopicResult::default().with_name(topic.name.clone()));
                    Ok(Response::DeleteTopics(DeleteTopicsResponse::default().with_responses(done.collect())))
                });
                Reply::Calls(results.collect())
            }
        });
        let names = [sample::PLAIN, sample::ABROAD, sample::STITCHED, sample::FENCED, "nowhere"];
        let mut request = DeleteTopicsRequest::default().with_timeout_ms(1_000);
        if version >= 6 {
            let states = names.iter().map(|topic| DeleteTopicState::default().with_name(Some(name(topic))));
            request.topics = states.collect();
        } else {
            request.topic_names = names.iter().map(|topic| name(topic)).collect();
        }
        rig.request(1, &request, version);
        let answer = rig.response::<DeleteTopicsRequest>(1, version);
        let mut results: Vec<(&str, i16)> =
            answer.responses.iter().map(|topic| (topic.name.as_ref().unwrap().as_str(), topic.error_code)).collect();
        results.sort_unstable();
        let mut expected =
            vec![(sample::PLAIN, 0), (sample::ABROAD, 0), (sample::STITCHED, 44), (sample::FENCED, 41), ("nowhere", 3)];
        expected.sort_unstable();
        assert_eq!(results, expected);
        assert_eq!(rig.asks, 3, "the topics, the placeholder, a look at the result");
    }
}

#[test]
fn the_cluster_is_the_virtual_one() {
    for version in 0..=1 {
        let mut rig = Rig::sample(sample::west(1));
        rig.request(1, &DescribeClusterRequest::default(), version);
        let answer = rig.response::<DescribeClusterRequest>(1, version);
        assert_eq!((answer.cluster_id.as_str(), answer.brokers.len(), answer.controller_id.0), (sample::EAST_ID, 6, 2));
    }
}

#[test]
fn epochs_of_the_old_home_end_at_the_cut() {
    let mut rig = Rig::sample(sample::west(1));
    let asked = |epoch| OffsetForLeaderPartition::default().with_partition(0).with_leader_epoch(epoch);
    for (correlation, epoch) in [(1, 5), (2, 7)] {
        let topic =
            OffsetForLeaderTopic::default().with_topic(name(sample::STITCHED)).with_partitions(vec![asked(epoch)]);
        let request = OffsetForLeaderEpochRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topic]);
        rig.request(correlation, &request, 4);
        let answer = rig.response::<OffsetForLeaderEpochRequest>(correlation, 4);
        let found = &answer.topics[0].partitions[0];
        assert_eq!((found.error_code, found.leader_epoch, found.end_offset), (0, epoch, 900), "the old home is silent");
    }
}
