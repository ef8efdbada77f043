//! Produce to topics that move, have moved, or live elsewhere.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResponse, DescribeConfigsResult,
};
use kafka_protocol::messages::describe_producers_response::{
    DescribeProducersResponse, PartitionResponse, ProducerState, TopicResponse,
};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::{ProduceRequest, ProduceResponse, ProducerId, RequestHeader, TopicName};
use kafka_protocol::protocol::StrBytes;
use sluice_mesh::document::Fence;
use sluice_testkit::frame;
use sluice_testkit::sample::{self, WorldBuilder};
use sluice_wire::batch;

use super::ordering::records;
use super::rig::{Blocked, Rig};
use crate::ask::{Ask, Reply, Request, Response};
use crate::step::{CloseReason, Source};

pub(super) const NONE: (i64, i16, i32) = (-1, -1, -1);

/// A topic's partition with its records.
pub(super) type Part<'a> = (&'a str, i32, Bytes);

fn name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}

pub(super) fn request(acks: i16, parts: &[Part<'_>]) -> ProduceRequest {
    let topics = parts.iter().map(|(topic, partition, records)| {
        let data = PartitionProduceData::default().with_index(*partition).with_records(Some(records.clone()));
        TopicProduceData::default().with_name(name(topic)).with_partition_data(vec![data])
    });
    ProduceRequest::default().with_acks(acks).with_timeout_ms(3_000).with_topic_data(topics.collect())
}

/// What a broker does with a partition: the error, or the base offset.
pub(super) type Log = Rc<RefCell<HashMap<(String, i32), Result<i64, i16>>>>;

/// Batches that reached the broker intact: topic, partition, producer id.
pub(super) type Stored = Rc<RefCell<Vec<(String, i32, i64)>>>;

/// A broker that refuses a wrong CRC with 2 and answers else what it has been told (offset 40 without).
fn broker(log: &Log, stored: &Stored) -> impl FnMut(Source, &RequestHeader, Bytes) -> Option<Bytes> + use<> {
    let (log, stored) = (Rc::clone(log), Rc::clone(stored));
    move |source, header, body| {
        assert_eq!(source, Source::Main);
        let version = header.request_api_version;
        let request = frame::decode_request::<ProduceRequest>(&body, version).expect("an intact request");
        let topics = request.topic_data.iter().map(|topic| {
            let partitions = topic.partition_data.iter().map(|partition| {
                let bytes = partition.records.clone().unwrap_or_default();
                let answer = PartitionProduceResponse::default().with_index(partition.index).with_log_start_offset(0);
                let key = (topic.name.to_string(), partition.index);
                match (log.borrow().get(&key), batch::records(&bytes).next()) {
                    (Some(Err(error)), _) => answer.with_error_code(*error).with_base_offset(-1),
                    (_, Some(Err(_))) => answer.with_error_code(2).with_base_offset(-1),
                    (offset, Some(Ok(record))) => {
                        stored.borrow_mut().push((key.0, key.1, record.producer_id));
                        answer.with_base_offset(offset.copied().unwrap_or(Ok(40)).unwrap())
                    }
                    (_, None) => panic!("a batch without records"),
                }
            });
            TopicProduceResponse::default().with_name(topic.name.clone()).with_partition_responses(partitions.collect())
        });
        let answer = ProduceResponse::default().with_responses(topics.collect());
        (request.acks != 0).then(|| frame::response::<ProduceRequest>(header.correlation_id, &answer, version))
    }
}

/// The new home knows these producers: (id, epoch, last sequence).
pub(super) fn knows(producers: Vec<(i64, i32, i32)>) -> impl FnMut(&Ask) -> Reply {
    move |ask| {
        let Ask::Calls(calls) = ask else { panic!("only producers are asked about") };
        let Request::DescribeProducers(request) = &calls[0].request else { panic!("{:?}", calls[0].request) };
        let topic = &request.topics[0];
        let active = producers.iter().map(|(id, epoch, last)| {
            ProducerState::default()
                .with_producer_id(ProducerId(*id))
                .with_producer_epoch(*epoch)
                .with_last_sequence(*last)
        });
        let partition = PartitionResponse::default()
            .with_partition_index(topic.partition_indexes[0])
            .with_active_producers(active.collect());
        let answer = TopicResponse::default().with_name(topic.name.clone()).with_partitions(vec![partition]);
        let answer = DescribeProducersResponse::default().with_topics(vec![answer]);
        Reply::Calls(vec![Ok(Response::DescribeProducers(answer))])
    }
}

pub(super) fn limit(value: &Rc<RefCell<String>>) -> impl FnMut(&Ask) -> Reply + use<> {
    let value = Rc::clone(value);
    move |ask| {
        let Ask::Calls(calls) = ask else { panic!("only configs are asked about") };
        let Request::DescribeConfigs(request) = &calls[0].request else { panic!("{:?}", calls[0].request) };
        let config = DescribeConfigsResourceResult::default()
            .with_name(StrBytes::from_static_str("max.message.bytes"))
            .with_value(Some(StrBytes::from_string(value.borrow().clone())));
        let results = request.resources.iter().map(|resource| {
            DescribeConfigsResult::default()
                .with_resource_name(resource.resource_name.clone())
                .with_configs(vec![config.clone()])
        });
        let answer = DescribeConfigsResponse::default().with_results(results.collect());
        Reply::Calls(vec![Ok(Response::DescribeConfigs(answer))])
    }
}

pub(super) fn partition<'a>(answer: &'a ProduceResponse, topic: &str, index: i32) -> &'a PartitionProduceResponse {
    let topic = answer.responses.iter().find(|found| found.name.as_str() == topic).expect("the topic is answered");
    topic.partition_responses.iter().find(|found| found.index == index).expect("the partition is answered")
}

/// Error 6 with a hint to a west broker, whose address is in the answer.
pub(super) fn assert_sent_west(answer: &ProduceResponse, topic: &str, index: i32) {
    let found = partition(answer, topic, index);
    assert_eq!((found.error_code, found.base_offset), (6, -1));
    let leader = 10_000 + index % 3 + 1;
    assert_eq!((found.current_leader.leader_id.0, found.current_leader.leader_epoch), (leader, 1024 + sample::EPOCH));
    let endpoint = answer.node_endpoints.iter().find(|endpoint| endpoint.node_id.0 == leader).expect("its address");
    assert_eq!(endpoint.host.as_str(), format!("127.0.1.{}", leader - 10_000 + 3));
    assert_eq!(endpoint.port, 9100 + leader - 10_000 + 2);
}

pub(super) fn rig(at: sluice_mesh::model::BrokerRef) -> (Rig, Log, Stored) {
    let (log, stored) = (Log::default(), Stored::default());
    let rig = Rig::sample(at).with_broker(broker(&log, &stored));
    (rig, log, stored)
}

#[test]
fn offsets_of_the_new_home_are_virtual() {
    let (mut rig, log, _) = rig(sample::west(1));
    log.borrow_mut().insert((sample::STITCHED.to_owned(), 0), Ok(5));
    for version in 3..=11 {
        rig.request(1, &request(-1, &[(sample::STITCHED, 0, records(2, NONE))]), version);
        let answer = rig.response::<ProduceRequest>(1, version);
        let found = partition(&answer, sample::STITCHED, 0);
        assert_eq!((found.error_code, found.base_offset), (0, 905), "version {version}");
        assert_eq!(found.log_start_offset, if version >= 5 { 0 } else { -1 });
    }
    assert_eq!(rig.asks, 0);
}

#[test]
fn a_producer_gets_the_generation_of_the_segment() {
    let (mut rig, _, stored) = rig(sample::west(1));
    let id = (1 << 56) | 9;
    for chunks in [vec![usize::MAX], vec![1], vec![100, 7]] {
        rig.chunks = chunks;
        rig.request(1, &request(-1, &[(sample::STITCHED, 0, records(3, (id, 0, 0)))]), 9);
        assert_eq!(partition(&rig.response::<ProduceRequest>(1, 9), sample::STITCHED, 0).error_code, 0);
    }
    let upstream = id | (1 << 48);
    assert_eq!(*stored.borrow(), vec![(sample::STITCHED.to_owned(), 0, upstream); 3], "the CRC fits the new id");
    assert_eq!(rig.asks, 0, "a first sequence of 0 needs no question");
}

#[test]
fn the_first_batch_on_the_new_home_is_checked() {
    let cut = sample::CUT_PRODUCER;
    let send = |base: i32, count: usize, known: Vec<(i64, i32, i32)>| {
        let (rig, _, stored) = rig(sample::west(1));
        let mut rig = rig.with_control(knows(known));
        rig.request(1, &request(-1, &[(sample::STITCHED, 0, records(count, (cut.id, cut.epoch, base)))]), 11);
        let answer = rig.response::<ProduceRequest>(1, 11);
        assert_eq!(rig.asks, 1);
        (answer, stored.borrow().len())
    };
    let (answer, stored) = send(42, 3, vec![]);
    assert_eq!((partition(&answer, sample::STITCHED, 0).base_offset, stored), (940, 1), "exactly next");
    let (answer, stored) = send(30, 12, vec![]);
    let found = partition(&answer, sample::STITCHED, 0);
    assert_eq!((found.error_code, found.base_offset, stored), (0, -1, 0), "stored by the old home");
    let (answer, stored) = send(50, 3, vec![]);
    assert_sent_west(&answer, sample::STITCHED, 0);
    assert_eq!(stored, 0, "a gap is not written");
    let (_, stored) = send(50, 3, vec![(cut.id | (1 << 48), 0, 49)]);
    assert_eq!(stored, 1, "the new home knows the producer and checks by itself");
}

#[test]
fn the_second_batch_does_not_overtake_the_first() {
    let cut = sample::CUT_PRODUCER;
    let (rig, log, stored) = rig(sample::west(1));
    let mut rig = rig.with_control(knows(vec![]));
    rig.slow_brokers = true;
    rig.request(1, &request(-1, &[(sample::STITCHED, 0, records(1, (cut.id, 0, 42)))]), 9);
    rig.request(2, &request(-1, &[(sample::STITCHED, 0, records(1, (cut.id, 0, 43)))]), 9);
    assert_eq!((rig.seen.len(), rig.blocked), (1, Some(Blocked::Full)));
    // The first one fails: the second one is a gap then, and not the first batch that the new home sees.
    log.borrow_mut().insert((sample::STITCHED.to_owned(), 0), Err(6));
    rig.brokers_answer();
    rig.brokers_answer();
    assert_eq!(partition(&rig.response::<ProduceRequest>(1, 9), sample::STITCHED, 0).error_code, 0);
    rig.brokers_answer();
    assert_eq!(partition(&rig.response::<ProduceRequest>(2, 9), sample::STITCHED, 0).error_code, 6);
    assert_eq!(stored.borrow().len(), 1);
    rig.slow_brokers = false;
    rig.request(3, &request(-1, &[(sample::STITCHED, 0, records(1, (cut.id, 0, 43)))]), 9);
    rig.response::<ProduceRequest>(3, 9);
    assert_eq!(rig.asks, 1, "once known, no more questions");
}

#[test]
fn a_first_batch_that_fails_leaves_the_next_one_unknown() {
    let cut = sample::CUT_PRODUCER;
    let (rig, log, stored) = rig(sample::west(1));
    let mut rig = rig.with_control(knows(vec![]));
    log.borrow_mut().insert((sample::STITCHED.to_owned(), 0), Err(6));
    rig.request(1, &request(-1, &[(sample::STITCHED, 0, records(1, (cut.id, 0, 42)))]), 9);
    rig.response::<ProduceRequest>(1, 9);
    log.borrow_mut().clear();
    rig.request(2, &request(-1, &[(sample::STITCHED, 0, records(1, (cut.id, 0, 43)))]), 9);
    assert_eq!(partition(&rig.response::<ProduceRequest>(2, 9), sample::STITCHED, 0).error_code, 6, "a gap");
    rig.request(3, &request(-1, &[(sample::STITCHED, 0, records(1, (cut.id, 0, 42)))]), 9);
    assert_eq!(partition(&rig.response::<ProduceRequest>(3, 9), sample::STITCHED, 0).error_code, 0);
    assert_eq!((stored.borrow().len(), rig.asks), (1, 3));
}

#[test]
fn a_topic_that_lives_elsewhere_is_swallowed() {
    for chunks in [vec![usize::MAX], vec![1], vec![300, 13]] {
        let (rig, _, _) = rig(sample::east(1));
        let mut rig = rig.with_chunks(chunks);
        rig.request(1, &request(1, &[(sample::STITCHED, 0, records(9, NONE))]), 11);
        assert_sent_west(&rig.response::<ProduceRequest>(1, 11), sample::STITCHED, 0);
        rig.request(2, &request(1, &[(sample::PLAIN, 0, records(9, NONE))]), 11);
        assert_eq!(partition(&rig.response::<ProduceRequest>(2, 11), sample::PLAIN, 0).error_code, 0);
        assert_eq!(rig.seen.len(), 1, "the broker sees the second only");
    }
    let (mut rig, _, _) = rig(sample::west(1));
    rig.request(1, &request(1, &[(sample::EXCLUDED, 0, records(9, NONE))]), 3);
    assert_eq!(partition(&rig.response::<ProduceRequest>(1, 3), sample::EXCLUDED, 0).error_code, 3);
    rig.request(2, &request(1, &[("__sluice_ledger", 0, records(9, NONE))]), 3);
    assert_eq!(partition(&rig.response::<ProduceRequest>(2, 3), "__sluice_ledger", 0).error_code, 3);
    assert_eq!(rig.seen.len(), 0);
}

#[test]
fn behind_another_topic_it_is_refused_in_place() {
    for (version, chunk) in [(11, usize::MAX), (9, 50), (3, 1)] {
        let (rig, log, stored) = rig(sample::east(1));
        let mut rig = rig.with_chunks(vec![chunk]);
        log.borrow_mut().insert((sample::ABROAD.to_owned(), 0), Err(3));
        let parts = [
            (sample::PLAIN, 0, records(4, NONE)),
            (sample::STITCHED, 1, records(5, NONE)),
            (sample::ABROAD, 0, records(6, NONE)),
        ];
        rig.request(1, &request(-1, &parts), version);
        let answer = rig.response::<ProduceRequest>(1, version);
        assert_eq!(partition(&answer, sample::PLAIN, 0).base_offset, 40);
        assert_eq!(partition(&answer, sample::STITCHED, 1).error_code, 6);
        assert_eq!(partition(&answer, sample::ABROAD, 0).error_code, 6);
        if version >= 10 {
            assert_sent_west(&answer, sample::STITCHED, 1);
        }
        assert_eq!(*stored.borrow(), vec![(sample::PLAIN.to_owned(), 0, -1)]);
    }
}

#[test]
fn without_acknowledgement_the_connection_is_closed() {
    let (mut rig, _, _) = rig(sample::east(1));
    rig.request(1, &request(0, &[(sample::PLAIN, 0, records(4, NONE))]), 9);
    assert_eq!((rig.closed, rig.seen.len()), (None, 1));
    rig.request(2, &request(0, &[(sample::STITCHED, 0, records(4, NONE))]), 9);
    assert_eq!(rig.closed, Some(CloseReason::UnansweredRefused));
}

#[test]
fn a_fence_holds_until_it_is_lifted() {
    for chunks in [vec![usize::MAX], vec![1]] {
        let (rig, _, stored) = rig(sample::east(1));
        let mut rig = rig.with_chunks(chunks);
        rig.request(1, &request(-1, &[(sample::FENCED, 0, records(4, NONE))]), 11);
        assert_eq!(rig.blocked, Some(Blocked::Hold(2_000)), "a third of the time that the client gives");
        assert!(rig.seen.is_empty());
        let lease = Arc::clone(&rig.world.model.produce_lease);
        assert_eq!(Arc::strong_count(&lease), 2, "a held frame does not keep its model from draining");
        rig.world = WorldBuilder::sample()
            .edit_topic(sample::FENCED, sample::EAST, |topic| topic.fence = None)
            .next_revision()
            .build();
        rig.now += 100;
        rig.again();
        assert_eq!(partition(&rig.response::<ProduceRequest>(1, 11), sample::FENCED, 0).error_code, 0);
        assert_eq!(stored.borrow().len(), 1);
    }
}

pub(super) fn moved(name: &str, end: i64) -> WorldBuilder {
    WorldBuilder::sample()
        .edit_topic(name, sample::WEST, |topic| {
            topic.fence = None;
            topic.cluster = sample::cluster(sample::WEST);
            topic.topic_id = sample::topic_id(sample::EAST, name);
            topic.chains = vec![sample::chain(name, &[sample::EAST, sample::WEST], &[end])];
        })
        .with_topic(sample::WEST, name, 1)
        .next_revision()
}

#[test]
fn after_the_switch_the_held_request_is_sent_on() {
    let (mut rig, _, _) = rig(sample::east(1));
    rig.request(1, &request(-1, &[(sample::FENCED, 0, records(4, NONE))]), 11);
    rig.world = moved(sample::FENCED, 40).build();
    rig.again();
    assert_sent_west(&rig.response::<ProduceRequest>(1, 11), sample::FENCED, 0);
    assert!(rig.seen.is_empty(), "nothing of it has reached the old home");
}

#[test]
fn a_hold_ends_once_for_all_requests_of_the_connection() {
    let (mut rig, _, _) = rig(sample::east(1));
    rig.request(1, &request(-1, &[(sample::FENCED, 0, records(4, NONE))]), 9);
    rig.request(2, &request(-1, &[(sample::FENCED, 0, records(4, NONE))]), 9);
    rig.now = 2_000;
    rig.again();
    assert_eq!(partition(&rig.response::<ProduceRequest>(1, 9), sample::FENCED, 0).error_code, 6);
    assert_eq!(partition(&rig.response::<ProduceRequest>(2, 9), sample::FENCED, 0).error_code, 6);
    rig.request(3, &request(0, &[(sample::FENCED, 0, records(4, NONE))]), 9);
    assert_eq!(rig.closed, Some(CloseReason::UnansweredRefused));
}

#[test]
fn a_fenced_topic_behind_another_keeps_the_answer_back() {
    let (mut rig, _, stored) = rig(sample::east(1));
    let parts = [(sample::PLAIN, 0, records(4, NONE)), (sample::FENCED, 0, records(5, NONE))];
    rig.request(1, &request(-1, &parts), 11);
    assert_eq!((rig.seen.len(), rig.kept_back), (1, Some(2_000)));
    assert!(rig.nothing_for_the_client());
    assert_eq!(*stored.borrow(), vec![(sample::PLAIN.to_owned(), 0, -1)]);
    rig.world = moved(sample::FENCED, 40).build();
    rig.again();
    let answer = rig.response::<ProduceRequest>(1, 11);
    assert_eq!(partition(&answer, sample::PLAIN, 0).base_offset, 40);
    assert_sent_west(&answer, sample::FENCED, 0);
}

#[test]
fn the_hold_of_a_kept_answer_is_bounded() {
    let (mut rig, _, _) = rig(sample::east(1));
    let parts = [(sample::PLAIN, 0, records(4, NONE)), (sample::FENCED, 0, records(5, NONE))];
    rig.request(1, &request(-1, &parts), 5);
    rig.now = 2_000;
    rig.again();
    let answer = rig.response::<ProduceRequest>(1, 5);
    assert_eq!(partition(&answer, sample::FENCED, 0).error_code, 6);
}

#[test]
fn a_seal_is_not_told_to_clients() {
    let (rig, log, _) = rig(sample::east(1));
    let value = Rc::new(RefCell::new("17".to_owned()));
    let mut rig = rig.with_control(limit(&value));
    log.borrow_mut().insert((sample::PLAIN.to_owned(), 0), Err(10));
    rig.request(1, &request(-1, &[(sample::PLAIN, 0, records(4, NONE))]), 11);
    assert!(rig.nothing_for_the_client());
    assert_eq!(rig.kept_back, Some(1_100), "the seal is looked at again");
    rig.now = 1_100;
    rig.again();
    assert_eq!((rig.asks, rig.kept_back), (2, Some(1_200)));
    rig.world = moved(sample::PLAIN, 40).build();
    rig.again();
    assert_sent_west(&rig.response::<ProduceRequest>(1, 11), sample::PLAIN, 0);
}

#[test]
fn a_seal_that_goes_or_stays_ends_in_a_retry() {
    for lifted in [true, false] {
        let (rig, log, _) = rig(sample::east(1));
        let value = Rc::new(RefCell::new("0".to_owned()));
        let mut rig = rig.with_control(limit(&value));
        log.borrow_mut().insert((sample::PLAIN.to_owned(), 0), Err(10));
        rig.request(1, &request(-1, &[(sample::PLAIN, 0, records(4, NONE))]), 9);
        if lifted {
            "1048588".clone_into(&mut value.borrow_mut());
            rig.now = 1_100;
        } else {
            rig.now = 2_000;
        }
        rig.again();
        assert_eq!(partition(&rig.response::<ProduceRequest>(1, 9), sample::PLAIN, 0).error_code, 6);
    }
}

#[test]
fn a_batch_that_is_too_large_is_told_so() {
    let (rig, log, _) = rig(sample::east(1));
    let mut rig = rig.with_control(limit(&Rc::new(RefCell::new("1048588".to_owned()))));
    // The first refusal may be that of a seal which has gone since; what is sent after that look is too large indeed.
    for (at, error, told) in [(1_000, 29, 29), (1_000, 10, 6), (1_100, 10, 10), (5_000, 10, 10)] {
        rig.now = at;
        log.borrow_mut().insert((sample::PLAIN.to_owned(), 0), Err(error));
        rig.request(1, &request(-1, &[(sample::PLAIN, 0, records(4, NONE))]), 9);
        assert_eq!(partition(&rig.response::<ProduceRequest>(1, 9), sample::PLAIN, 0).error_code, told, "at {at}");
    }
}

#[test]
fn a_refusal_by_a_seal_that_has_just_gone_is_never_told() {
    let (rig, log, _) = rig(sample::east(1));
    let value = Rc::new(RefCell::new("1048588".to_owned()));
    let mut rig = rig.with_control(limit(&value));
    log.borrow_mut().insert((sample::PLAIN.to_owned(), 0), Err(10));
    // Two requests of the same instant, both refused by a seal that is gone when the session looks.
    for correlation in [1, 2] {
        rig.request(correlation, &request(-1, &[(sample::PLAIN, 0, records(4, NONE))]), 9);
        assert_eq!(partition(&rig.response::<ProduceRequest>(correlation, 9), sample::PLAIN, 0).error_code, 6);
    }
    // Sealed once more, and open again: what was seen before the seal says nothing.
    rig.now = 2_000;
    "0".clone_into(&mut value.borrow_mut());
    rig.request(3, &request(-1, &[(sample::PLAIN, 0, records(4, NONE))]), 9);
    assert!(rig.nothing_for_the_client());
    "1048588".clone_into(&mut value.borrow_mut());
    rig.now = 2_100;
    rig.again();
    assert_eq!(partition(&rig.response::<ProduceRequest>(3, 9), sample::PLAIN, 0).error_code, 6);
}

#[test]
fn an_acknowledgement_past_the_cut_is_not_passed_on() {
    for (offset, error) in [(39, 0), (40, 6), (41, 6)] {
        let (mut rig, log, _) = rig(sample::east(1));
        rig.slow_brokers = true;
        log.borrow_mut().insert((sample::PLAIN.to_owned(), 0), Ok(offset));
        rig.request(1, &request(-1, &[(sample::PLAIN, 0, records(1, NONE))]), 11);
        let lease = Arc::clone(&rig.world.model.produce_lease);
        assert_eq!(Arc::strong_count(&lease), 3, "the model, the slot, and this one: not drained");
        rig.world = moved(sample::PLAIN, 40).build();
        rig.brokers_answer();
        let answer = rig.response::<ProduceRequest>(1, 11);
        let found = partition(&answer, sample::PLAIN, 0);
        assert_eq!((found.error_code, found.base_offset), (error, if error == 0 { offset } else { -1 }));
        assert_eq!(Arc::strong_count(&lease), 1, "drained");
    }
}

#[test]
fn a_brokers_own_hint_becomes_virtual() {
    let mut rig = Rig::sample(sample::west(1)).with_broker(|_, header, _| {
        let mut partition = PartitionProduceResponse::default().with_error_code(6).with_base_offset(-1);
        partition.current_leader.leader_id.0 = 2;
        partition.current_leader.leader_epoch = 8;
        let topic =
            TopicProduceResponse::default().with_name(name(sample::STITCHED)).with_partition_responses(vec![partition]);
        let endpoint = kafka_protocol::messages::produce_response::NodeEndpoint::default()
            .with_node_id(2.into())
            .with_host(StrBytes::from_static_str("real-host"))
            .with_port(19_092);
        let answer = ProduceResponse::default().with_responses(vec![topic]).with_node_endpoints(vec![endpoint]);
        Some(frame::response::<ProduceRequest>(header.correlation_id, &answer, 11))
    });
    rig.request(1, &request(-1, &[(sample::STITCHED, 0, records(1, NONE))]), 11);
    let answer = rig.response::<ProduceRequest>(1, 11);
    let found = partition(&answer, sample::STITCHED, 0);
    assert_eq!((found.current_leader.leader_id.0, found.current_leader.leader_epoch), (10_002, 1032));
    assert_eq!(answer.node_endpoints.len(), 1);
    assert_eq!(answer.node_endpoints[0].host.as_str(), "127.0.1.5");
    assert_eq!(rig.session.take_stale_view(), Some(sample::WEST_INDEX));
}

#[test]
fn transactional_batches_keep_their_raw_id() {
    let (mut rig, log, _) = rig(sample::west(1));
    log.borrow_mut().insert((sample::STITCHED.to_owned(), 0), Ok(1));
    let mut bytes = records(1, (77, 0, 5)).to_vec();
    bytes[22] |= 0x10;
    rig.request(1, &request(-1, &[(sample::STITCHED, 0, Bytes::from(bytes.clone()))]), 9);
    let sent = frame::decode_request::<ProduceRequest>(&rig.seen[0].2, 9).unwrap();
    assert_eq!(sent.topic_data[0].partition_data[0].records, Some(Bytes::from(bytes)), "not a byte differs");
    assert_eq!(rig.asks, 0);
}

#[test]
fn a_fence_in_the_document_is_what_holds() {
    let world = WorldBuilder::sample()
        .edit_topic(sample::PLAIN, sample::EAST, |topic| topic.fence = Some(Fence { attempt: 1, hold_millis: 50 }))
        .build();
    let (log, stored) = (Log::default(), Stored::default());
    let mut rig = Rig::new(sample::east(1), world).with_broker(broker(&log, &stored));
    rig.request(1, &request(-1, &[(sample::PLAIN, 0, records(1, NONE))]), 9);
    assert_eq!(rig.blocked, Some(Blocked::Hold(1_050)), "the fence's own limit is the smallest");
}

#[test]
fn a_frame_that_is_still_coming_holds_the_model() {
    let (mut rig, _, _) = rig(sample::east(1));
    let model = Arc::clone(&rig.world.model);
    let whole = frame::request(1, &request(-1, &[(sample::PLAIN, 0, records(4, NONE))]), 9);
    let (start, rest) = whole.split_at(whole.len() - 10);
    rig.write(start);
    rig.world = WorldBuilder::sample().next_revision().build();
    assert_eq!(Arc::strong_count(&model.produce_lease), 2, "the broker has a part of the frame already");
    rig.write(rest);
    assert_eq!(partition(&rig.response::<ProduceRequest>(1, 9), sample::PLAIN, 0).error_code, 0);
    assert_eq!(Arc::strong_count(&model.produce_lease), 1);
}

#[test]
fn what_is_remembered_of_one_frame_is_bounded() {
    let (mut rig, _, _) = rig(sample::east(1));
    rig.lenient = true;
    let data = vec![PartitionProduceData::default(); 20_000];
    let topic = TopicProduceData::default().with_name(name(sample::STITCHED)).with_partition_data(data);
    let request = ProduceRequest::default().with_acks(-1).with_timeout_ms(3_000).with_topic_data(vec![topic]);
    rig.request(1, &request, 9);
    assert_eq!(rig.closed, Some(CloseReason::Malformed));
}
