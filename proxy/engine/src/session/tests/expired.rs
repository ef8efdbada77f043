//! A fence that has expired: writes pass to the topic's present home, whatever the document says.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::{
    AddPartitionsToTxnRequest, AddPartitionsToTxnResponse, DeleteTopicsRequest, ProduceRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use sluice_mesh::document::Fence;
use sluice_testkit::frame;
use sluice_testkit::sample::{self, CUT_PRODUCER, EAST, FENCED, PLAIN, STITCHED, WEST, WorldBuilder};

use super::ordering::records;
use super::produce::{NONE, knows, limit, partition, request, rig};
use super::rig::{Blocked, Rig};

/// The attempt of the sample's fence.
const ATTEMPT: u64 = 7;

const OPEN: &str = "1048588";
const SEALED: &str = "17";

fn expired() -> WorldBuilder {
    WorldBuilder::sample().expired(FENCED, ATTEMPT)
}

fn write(rig: &mut Rig, correlation: i32, topic: &str, batch: Bytes) {
    rig.request(correlation, &request(-1, &[(topic, 0, batch)]), 9);
}

fn error(rig: &mut Rig, correlation: i32, topic: &str) -> i16 {
    partition(&rig.response::<ProduceRequest>(correlation, 9), topic, 0).error_code
}

#[test]
fn held_requests_go_on_in_their_order() {
    for chunks in [vec![usize::MAX], vec![1]] {
        let (mut rig, _, stored) = rig(sample::east(1));
        rig.chunks = chunks;
        for base in 0..3 {
            write(&mut rig, base, FENCED, records(1, (7, 0, base)));
        }
        assert_eq!((rig.blocked, rig.seen.len()), (Some(Blocked::Hold(2_000)), 0), "until then it is a fence");
        rig.world = expired().build();
        rig.again();
        for correlation in 0..3 {
            assert_eq!(error(&mut rig, correlation, FENCED), 0);
        }
        let sent = rig.seen.iter().map(|(_, header, _)| header.correlation_id).collect::<Vec<_>>();
        assert_eq!((stored.borrow().len(), sent), (3, vec![0, 1, 2]));
    }
}

#[test]
fn what_was_refused_is_taken_when_it_is_sent_again() {
    let (mut rig, _, stored) = rig(sample::east(1));
    write(&mut rig, 1, FENCED, records(2, (7, 0, 0)));
    rig.now = 2_000;
    rig.again();
    assert_eq!(error(&mut rig, 1, FENCED), 6);
    write(&mut rig, 2, FENCED, records(2, (7, 0, 0)));
    assert_eq!((error(&mut rig, 2, FENCED), stored.borrow().len()), (6, 0), "the hold is over, the fence is not");
    rig.world = expired().build();
    write(&mut rig, 3, FENCED, records(2, (7, 0, 0)));
    write(&mut rig, 4, FENCED, records(2, (7, 0, 2)));
    assert_eq!((error(&mut rig, 3, FENCED), error(&mut rig, 4, FENCED)), (0, 0));
    assert_eq!((stored.borrow().len(), rig.asks), (2, 0), "a topic that never moved needs no first batch check");
    rig.request(5, &request(0, &[(FENCED, 0, records(1, NONE))]), 9);
    assert_eq!((rig.closed, stored.borrow().len()), (None, 3));
}

#[test]
fn it_is_that_attempt_alone_that_has_expired() {
    let fenced = |attempt| {
        let fence = Fence { attempt, hold_millis: 5_000 };
        expired().next_revision().edit_topic(FENCED, EAST, |topic| topic.fence = Some(fence)).build()
    };
    let (mut rig, _, _) = rig(sample::east(1));
    rig.world = fenced(ATTEMPT);
    write(&mut rig, 1, FENCED, records(1, NONE));
    assert_eq!(error(&mut rig, 1, FENCED), 0, "a newer document with the same attempt");
    rig.world = fenced(ATTEMPT + 1);
    write(&mut rig, 2, FENCED, records(1, NONE));
    assert_eq!((rig.blocked, rig.seen.len()), (Some(Blocked::Hold(2_000)), 1), "the next attempt fences again");
}

#[test]
fn a_kept_answer_is_let_go() {
    let (mut rig, _, _) = rig(sample::east(1));
    rig.request(1, &request(-1, &[(PLAIN, 0, records(4, NONE)), (FENCED, 0, records(5, NONE))]), 9);
    assert_eq!(rig.kept_back, Some(2_000));
    rig.world = expired().build();
    rig.again();
    let answer = rig.response::<ProduceRequest>(1, 9);
    let found = [PLAIN, FENCED].map(|topic| partition(&answer, topic, 0).error_code);
    assert_eq!(found, [0, 6], "it was refused in place and has to come again");
    rig.request(2, &request(-1, &[(PLAIN, 0, records(4, NONE)), (FENCED, 0, records(5, NONE))]), 9);
    assert_eq!(error(&mut rig, 2, FENCED), 0);
}

#[test]
fn a_write_behind_it_holds_its_model_like_any_other() {
    let (mut rig, _, _) = rig(sample::east(1));
    rig.slow_brokers = true;
    rig.world = expired().build();
    let lease = Arc::clone(&rig.world.model.produce_lease);
    write(&mut rig, 1, FENCED, records(1, NONE));
    assert_eq!(Arc::strong_count(&lease), 3, "the model, the slot, and this one: the next document waits for it");
    rig.brokers_answer();
    assert_eq!((error(&mut rig, 1, FENCED), Arc::strong_count(&lease)), (0, 2));
}

#[test]
fn a_home_that_was_left_sealed_is_not_told_to_clients_and_keeps_nobody_waiting() {
    let value = Rc::new(RefCell::new(SEALED.to_owned()));
    let (rig, log, _) = rig(sample::east(1));
    let mut rig = rig.with_control(limit(&value));
    rig.world = expired().build();
    log.borrow_mut().insert((FENCED.to_owned(), 0), Err(10));
    for correlation in 1..4 {
        rig.now += 100;
        write(&mut rig, correlation, FENCED, records(1, NONE));
        assert_eq!((error(&mut rig, correlation, FENCED), rig.kept_back), (6, None));
    }
    // The seal is taken away between a refusal and the look at it.
    OPEN.clone_into(&mut value.borrow_mut());
    write(&mut rig, 4, FENCED, records(1, NONE));
    assert_eq!(error(&mut rig, 4, FENCED), 6);
    // From now on what is too large is.
    rig.now += 100;
    write(&mut rig, 5, FENCED, records(1, NONE));
    assert_eq!(error(&mut rig, 5, FENCED), 10);
    // Sealed and open once more: what was seen before the seal says nothing.
    SEALED.clone_into(&mut value.borrow_mut());
    write(&mut rig, 6, FENCED, records(1, NONE));
    assert_eq!(error(&mut rig, 6, FENCED), 6);
    OPEN.clone_into(&mut value.borrow_mut());
    rig.now += 100;
    write(&mut rig, 7, FENCED, records(1, NONE));
    assert_eq!(error(&mut rig, 7, FENCED), 6);
}

#[test]
fn a_broker_that_does_not_tell_of_its_seal_is_asked_again_by_the_client() {
    let (mut rig, log, _) = rig(sample::east(1));
    rig.world = expired().build();
    log.borrow_mut().insert((FENCED.to_owned(), 0), Err(10));
    write(&mut rig, 1, FENCED, records(1, NONE));
    assert_eq!((error(&mut rig, 1, FENCED), rig.asks), (6, 1));
}

#[test]
fn an_answer_that_waits_for_a_seal_ends_with_the_fence() {
    let (rig, log, _) = rig(sample::east(1));
    let mut rig = rig.with_control(limit(&Rc::new(RefCell::new(SEALED.to_owned()))));
    rig.slow_brokers = true;
    // Sent before the fence, refused by the seal.
    rig.world = WorldBuilder::sample().edit_topic(FENCED, EAST, |topic| topic.fence = None).build();
    log.borrow_mut().insert((FENCED.to_owned(), 0), Err(10));
    write(&mut rig, 1, FENCED, records(1, NONE));
    rig.world = WorldBuilder::sample().next_revision().build();
    rig.brokers_answer();
    assert_eq!(rig.kept_back, Some(1_100));
    rig.now = 1_100;
    rig.world = expired().next_revision().build();
    rig.again();
    assert_eq!(error(&mut rig, 1, FENCED), 6);
}

#[test]
fn the_first_batch_on_a_new_home_is_checked_behind_it_too() {
    let fence = Some(Fence { attempt: 3, hold_millis: 5_000 });
    let world = WorldBuilder::sample().edit_topic(STITCHED, WEST, |topic| topic.fence = fence).expired(STITCHED, 3);
    for (base, expected, reaches_the_home) in [(42, 0, true), (30, 0, false), (50, 6, false)] {
        let (rig, _, stored) = rig(sample::west(1));
        let mut rig = rig.with_control(knows(vec![]));
        rig.world = world.build();
        write(&mut rig, 1, STITCHED, records(3, (CUT_PRODUCER.id, CUT_PRODUCER.epoch, base)));
        assert_eq!((error(&mut rig, 1, STITCHED), rig.asks), (expected, 1), "from {base} on");
        assert_eq!(!stored.borrow().is_empty(), reaches_the_home, "from {base} on");
    }
}

pub(super) fn add(topics: &[&'static str]) -> AddPartitionsToTxnRequest {
    let topics = topics.iter().map(|topic| {
        let name = TopicName(StrBytes::from_static_str(topic));
        AddPartitionsToTxnTopic::default().with_name(name).with_partitions(vec![0])
    });
    AddPartitionsToTxnRequest::default().with_v3_and_below_topics(topics.collect())
}

fn added(answer: &AddPartitionsToTxnResponse) -> HashMap<&str, i16> {
    let topics = answer.results_by_topic_v3_and_below.iter();
    topics.map(|topic| (topic.name.as_str(), topic.results_by_partition[0].partition_error_code)).collect()
}

#[test]
fn a_transaction_enters_the_topic_unless_it_is_sealed() {
    let value = Rc::new(RefCell::new(SEALED.to_owned()));
    let mut rig = Rig::new(sample::east(1), expired().build())
        .with_broker(|_, header, _| {
            let answer = AddPartitionsToTxnResponse::default();
            Some(frame::response::<AddPartitionsToTxnRequest>(header.correlation_id, &answer, 3))
        })
        .with_control(limit(&value));
    rig.request(1, &add(&[PLAIN, FENCED]), 3);
    let answer = rig.response::<AddPartitionsToTxnRequest>(1, 3);
    assert_eq!(added(&answer), HashMap::from([(PLAIN, 51), (FENCED, 51)]));
    assert!(rig.seen.is_empty(), "its end could not be written there");
    OPEN.clone_into(&mut value.borrow_mut());
    rig.request(2, &add(&[PLAIN, FENCED]), 3);
    rig.response::<AddPartitionsToTxnRequest>(2, 3);
    assert_eq!(frame::decode_request::<AddPartitionsToTxnRequest>(&rig.seen[0].2, 3), Some(add(&[PLAIN, FENCED])));
    // A topic of another cluster is refused without a question.
    rig.request(3, &add(&[FENCED, STITCHED]), 3);
    let answer = rig.response::<AddPartitionsToTxnRequest>(3, 3);
    assert_eq!((added(&answer), rig.asks), (HashMap::from([(FENCED, 55), (STITCHED, 29)]), 2));
    rig.request(4, &add(&[PLAIN]), 3);
    rig.response::<AddPartitionsToTxnRequest>(4, 3);
    assert_eq!((rig.seen.len(), rig.asks), (2, 2));
}

#[test]
fn a_transaction_does_not_enter_a_topic_that_nobody_vouches_for() {
    let mut rig = Rig::new(sample::east(1), expired().build());
    rig.request(1, &add(&[FENCED]), 3);
    let answer = rig.response::<AddPartitionsToTxnRequest>(1, 3);
    assert_eq!((added(&answer), rig.asks), (HashMap::from([(FENCED, 51)]), 1));
}

#[test]
fn the_topic_is_not_deleted() {
    let mut rig = Rig::new(sample::east(1), expired().build());
    let name = Some(TopicName(StrBytes::from_static_str(FENCED)));
    let topics = vec![DeleteTopicState::default().with_name(name)];
    rig.request(1, &DeleteTopicsRequest::default().with_topics(topics), 6);
    let answer = rig.response::<DeleteTopicsRequest>(1, 6);
    assert_eq!((answer.responses[0].error_code, rig.asks), (41, 0));
}
