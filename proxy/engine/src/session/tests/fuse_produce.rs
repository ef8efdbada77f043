//! Writes to a topic whose fuse has tripped: held, then refused; refused with words; everything else served.

use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use kafka_protocol::messages::{
    AddPartitionsToTxnRequest, AddPartitionsToTxnResponse, ProduceRequest, TransactionalId,
};
use kafka_protocol::protocol::StrBytes;
use proptest::prelude::*;
use sluice_mesh::document::FuseAction::{self, Hold, Reject};
use sluice_testkit::frame;
use sluice_testkit::sample::{self, BOTH, EAST, FENCED, PLAIN, STITCHED, WEST, WorldBuilder};

use super::expired::add;
use super::ordering::records;
use super::overtaken;
use super::produce::{self, NONE, Stored, assert_sent_west, partition, request};
use super::rig::{Blocked, Rig};
use crate::fuse::Stopped;
use crate::step::CloseReason;

/// The time-out of clients that leave it as it is.
const USUAL: i32 = 30_000;

/// The sample with the writes of a topic stopped, or not stopped any more.
fn fused(topic: &str, action: Option<FuseAction>) -> WorldBuilder {
    WorldBuilder::sample().next_revision().fused(topic, action, false)
}

/// A client of an east broker, and what that stores; the fuse of `PLAIN` has tripped.
fn stopped(action: FuseAction) -> (Rig, Stored) {
    let (mut rig, _, stored) = produce::rig(sample::east(1));
    rig.world = fused(PLAIN, Some(action)).build();
    (rig, stored)
}

fn close(rig: &mut Rig) {
    rig.world = fused(PLAIN, None).next_revision().build();
    rig.again();
}

fn until(rig: &mut Rig, now: u64) {
    rig.now = now;
    rig.again();
}

/// A write to these topics, of a producer that leaves its time-out as it is.
fn write(rig: &mut Rig, correlation: i32, topics: &[&str]) {
    let parts: Vec<_> = topics.iter().map(|topic| (*topic, 0, records(2, NONE))).collect();
    rig.request(correlation, &request(-1, &parts).with_timeout_ms(USUAL), 9);
}

fn errors(rig: &mut Rig, correlation: i32, topics: &[&str]) -> Vec<i16> {
    let answer = rig.response::<ProduceRequest>(correlation, 9);
    topics.iter().map(|topic| partition(&answer, topic, 0).error_code).collect()
}

fn topics(stored: &Stored) -> Vec<String> {
    stored.borrow().iter().map(|(topic, ..)| topic.clone()).collect()
}

fn refused(found: &PartitionProduceResponse) -> (i16, i64, i64, i32) {
    (found.error_code, found.base_offset, found.log_start_offset, found.current_leader.leader_id.0)
}

#[test]
fn a_write_waits_for_a_third_of_its_timeout_and_8_s_at_most() {
    for (timeout, limit, wait) in
        [(30_000, 8_000, 8_000), (15_000, 8_000, 5_000), (30_000, 2_000, 2_000), (i32::MAX, 8_000, 8_000)]
    {
        for version in 3..=11 {
            let (mut rig, stored) = stopped(Hold);
            rig.world = fused(PLAIN, Some(Hold)).edit(|document| document.limits.max_hold_millis = limit).build();
            rig.request(1, &request(-1, &[(PLAIN, 0, records(2, NONE))]).with_timeout_ms(timeout), version);
            assert_eq!(rig.blocked, Some(Blocked::Hold(1_000 + wait)));
            until(&mut rig, 999 + wait);
            assert_eq!((rig.blocked, rig.nothing_for_the_client()), (Some(Blocked::Hold(1_000 + wait)), true));
            assert_eq!(rig.session.take_stopped(), Stopped::default(), "it may go on yet");
            until(&mut rig, 1_000 + wait);
            let answer = rig.response::<ProduceRequest>(1, version);
            let found = partition(&answer, PLAIN, 0);
            assert_eq!((refused(found), &found.error_message), ((19, -1, -1, -1), &None));
            assert!(rig.seen.is_empty() && stored.borrow().is_empty() && rig.session.is_quiet());
            assert_eq!(rig.session.take_stopped(), Stopped { produce: 1, consume: 0 });
            assert_eq!(rig.session.take_stopped(), Stopped::default(), "counted once");
        }
    }
}

#[test]
fn a_write_that_may_not_wait_is_refused_at_once() {
    for timeout in [2, 0, -1, i32::MIN] {
        let (mut rig, _) = stopped(Hold);
        rig.request(1, &request(-1, &[(PLAIN, 0, records(2, NONE))]).with_timeout_ms(timeout), 9);
        assert_eq!(errors(&mut rig, 1, &[PLAIN]), [19]);
        assert_eq!((rig.blocked, rig.seen.len()), (None, 0));
    }
}

#[test]
fn a_connection_that_carries_other_topics_is_held_for_half_a_second() {
    type Case = (&'static str, fn(&mut Rig), u64);
    let before: [Case; 5] = [
        ("nothing", |_| {}, 8_000),
        ("the topic alone", |rig| write(rig, 7, &[PLAIN]), 8_000),
        ("another topic", |rig| write(rig, 7, &[BOTH]), 500),
        ("two topics", |rig| write(rig, 7, &[PLAIN, BOTH]), 500),
        // West serves it: answered from here.
        ("reads", |rig| rig.request(7, &overtaken::request(&[(STITCHED, 0)]), 12), 500),
    ];
    for (what, carry, wait) in before {
        let (mut rig, _, _) = produce::rig(sample::east(1));
        carry(&mut rig);
        rig.to_client.clear();
        rig.world = fused(PLAIN, Some(Hold)).build();
        write(&mut rig, 1, &[PLAIN]);
        assert_eq!(rig.blocked, Some(Blocked::Hold(1_000 + wait)), "{what}");
        until(&mut rig, 1_000 + wait);
        assert_eq!(errors(&mut rig, 1, &[PLAIN]), [19], "{what}");
    }
    // A client that gives less time than that is not held longer.
    let (mut rig, _) = stopped(Hold);
    write(&mut rig, 1, &[BOTH]);
    rig.request(2, &request(-1, &[(PLAIN, 0, records(2, NONE))]).with_timeout_ms(900), 9);
    assert_eq!(rig.blocked, Some(Blocked::Hold(1_300)));
}

#[test]
fn held_writes_go_on_in_their_order_when_it_closes() {
    for chunks in [vec![usize::MAX], vec![1], vec![90, 7]] {
        let (mut rig, stored) = stopped(Hold);
        rig.chunks = chunks;
        for base in 0..4 {
            rig.request(base, &request(-1, &[(PLAIN, 0, records(1, (7, 0, base)))]), 9);
        }
        assert_eq!((rig.blocked, rig.seen.len()), (Some(Blocked::Hold(2_000)), 0));
        assert_eq!(Arc::strong_count(&rig.world.model.produce_lease), 1, "it does not keep its model from draining");
        rig.now += 300;
        close(&mut rig);
        for correlation in 0..4 {
            assert_eq!(errors(&mut rig, correlation, &[PLAIN]), [0]);
        }
        let sent: Vec<_> = rig.seen.iter().map(|(_, header, _)| header.correlation_id).collect();
        assert_eq!((stored.borrow().len(), sent), (4, vec![0, 1, 2, 3]));
        for (base, (_, _, body)) in (0..4).zip(&rig.seen) {
            let expected = request(-1, &[(PLAIN, 0, records(1, (7, 0, base)))]);
            assert_eq!(frame::decode_request::<ProduceRequest>(body, 9), Some(expected), "not a byte differs");
        }
        assert_eq!(rig.session.take_stopped(), Stopped::default());
    }
}

#[test]
fn what_was_sent_together_waits_together_and_what_is_sent_again_waits_again() {
    for chunks in [vec![usize::MAX], vec![1]] {
        let (mut rig, stored) = stopped(Hold);
        rig.chunks = chunks;
        for correlation in 0..5 {
            rig.request(correlation, &request(-1, &[(PLAIN, 0, records(1, (7, 0, correlation)))]), 9);
        }
        until(&mut rig, 2_000);
        for correlation in 0..5 {
            assert_eq!(errors(&mut rig, correlation, &[PLAIN]), [19], "at once, all of them");
        }
        rig.now = 2_100;
        rig.request(5, &request(-1, &[(PLAIN, 0, records(1, (7, 0, 0)))]), 9);
        assert_eq!((rig.blocked, stored.borrow().len()), (Some(Blocked::Hold(3_100)), 0));
    }
}

#[test]
fn holds_of_several_topics_do_not_add_up() {
    let (mut rig, _, _) = produce::rig(sample::east(1));
    rig.world = fused(PLAIN, Some(Hold)).fused(BOTH, Some(Hold), false).build();
    for correlation in 0..6 {
        write(&mut rig, correlation, &[if correlation % 2 == 0 { PLAIN } else { BOTH }]);
    }
    assert_eq!(rig.blocked, Some(Blocked::Hold(9_000)), "nothing but the first topic has come so far");
    until(&mut rig, 9_000);
    for correlation in 0..6 {
        assert_eq!(errors(&mut rig, correlation, &[if correlation % 2 == 0 { PLAIN } else { BOTH }]), [19]);
    }
    rig.now += 100;
    write(&mut rig, 6, &[BOTH, PLAIN]);
    assert_eq!(rig.blocked, Some(Blocked::Hold(9_600)));
    until(&mut rig, 9_600);
    assert_eq!(errors(&mut rig, 6, &[BOTH, PLAIN]), [19, 19]);
}

#[test]
fn nothing_that_was_sent_behind_a_refused_write_overtakes_it() {
    let (mut rig, stored) = stopped(Hold);
    write(&mut rig, 1, &[PLAIN]);
    until(&mut rig, 9_000);
    assert_eq!(errors(&mut rig, 1, &[PLAIN]), [19]);
    close(&mut rig);
    // Its client had sent the second before it heard of the first; the last is the first one, sent again.
    for (correlation, now, error) in [(2, 9_000, 19), (3, 9_049, 19), (4, 9_098, 19), (5, 9_148, 0)] {
        rig.now = now;
        write(&mut rig, correlation, &[PLAIN]);
        assert_eq!(errors(&mut rig, correlation, &[PLAIN]), [error], "at {now}");
        write(&mut rig, correlation, &[BOTH]);
        assert_eq!(errors(&mut rig, correlation, &[BOTH]), [0], "at {now}");
    }
    assert_eq!(topics(&stored), [BOTH, BOTH, BOTH, PLAIN, BOTH]);
}

#[test]
fn behind_another_topic_it_is_refused_in_place_and_told_at_the_end_of_the_hold() {
    for (version, chunk) in [(11, usize::MAX), (9, 50), (3, 1)] {
        let (mut rig, stored) = stopped(Hold);
        rig.chunks = vec![chunk];
        let parts = [(BOTH, 0, records(4, NONE)), (PLAIN, 1, records(5, NONE)), (FENCED, 0, records(6, NONE))];
        rig.world = fused(PLAIN, Some(Hold)).edit_topic(FENCED, EAST, |topic| topic.fence = None).build();
        rig.request(1, &request(-1, &parts).with_timeout_ms(USUAL), version);
        assert_eq!((rig.blocked, rig.kept_back), (None, Some(1_500)));
        assert_eq!(topics(&stored), [BOTH, FENCED], "the others are with their broker");
        assert!(rig.nothing_for_the_client());
        until(&mut rig, 1_500);
        let answer = rig.response::<ProduceRequest>(1, version);
        assert_eq!(partition(&answer, BOTH, 0).base_offset, 40);
        assert_eq!(partition(&answer, FENCED, 0).base_offset, 40);
        assert_eq!(refused(partition(&answer, PLAIN, 1)), (19, -1, -1, -1));
        assert_eq!(rig.session.take_stopped(), Stopped { produce: 1, consume: 0 });
    }
}

#[test]
fn in_front_of_another_topic_both_wait() {
    let (mut rig, stored) = stopped(Hold);
    write(&mut rig, 1, &[PLAIN, BOTH]);
    assert_eq!((rig.blocked, rig.seen.len()), (Some(Blocked::Hold(1_500)), 0));
    until(&mut rig, 1_500);
    assert_eq!(rig.kept_back, None, "it has waited");
    assert_eq!(errors(&mut rig, 1, &[PLAIN, BOTH]), [19, 0]);
    assert_eq!(topics(&stored), [BOTH]);
    // Closed in time, it goes on as it came.
    rig.now = 1_600;
    write(&mut rig, 2, &[PLAIN, BOTH]);
    rig.now = 1_700;
    close(&mut rig);
    assert_eq!(errors(&mut rig, 2, &[PLAIN, BOTH]), [0, 0]);
}

#[test]
fn what_was_refused_in_place_is_told_when_it_closes_and_not_overtaken() {
    let (mut rig, stored) = stopped(Hold);
    write(&mut rig, 1, &[BOTH, PLAIN]);
    rig.now = 1_100;
    write(&mut rig, 2, &[PLAIN]);
    assert_eq!(rig.blocked, None, "nobody waits for a write whose fate is known");
    write(&mut rig, 3, &[BOTH, PLAIN]);
    assert_eq!((topics(&stored).len(), rig.kept_back), (2, Some(1_500)));
    rig.now = 1_200;
    close(&mut rig);
    assert_eq!(errors(&mut rig, 1, &[BOTH, PLAIN]), [0, 19]);
    assert_eq!(errors(&mut rig, 2, &[PLAIN]), [19]);
    assert_eq!(errors(&mut rig, 3, &[BOTH, PLAIN]), [0, 19]);
    for (correlation, now, error) in [(4, 1_249, 19), (5, 1_299, 0)] {
        rig.now = now;
        write(&mut rig, correlation, &[PLAIN]);
        assert_eq!(errors(&mut rig, correlation, &[PLAIN]), [error]);
    }
    assert_eq!(topics(&stored), [BOTH, BOTH, PLAIN]);
}

#[test]
fn what_was_sent_while_a_refusal_was_kept_is_refused_too_though_it_has_closed() {
    let (mut rig, stored) = stopped(Hold);
    rig.slow_brokers = true;
    write(&mut rig, 1, &[BOTH, PLAIN]);
    // It closes before the broker has answered: the client knows nothing of the refusal, however long that takes.
    rig.now = 1_200;
    close(&mut rig);
    rig.now = 5_000;
    write(&mut rig, 2, &[PLAIN]);
    write(&mut rig, 3, &[BOTH, PLAIN]);
    rig.brokers_answer();
    rig.brokers_answer();
    assert_eq!(errors(&mut rig, 1, &[BOTH, PLAIN]), [0, 19]);
    assert_eq!(errors(&mut rig, 2, &[PLAIN]), [19]);
    assert_eq!(errors(&mut rig, 3, &[BOTH, PLAIN]), [0, 19]);
    assert_eq!(topics(&stored), [BOTH, BOTH]);
    rig.slow_brokers = false;
    rig.now = 5_050;
    write(&mut rig, 4, &[PLAIN]);
    assert_eq!(errors(&mut rig, 4, &[PLAIN]), [0]);
}

#[test]
fn a_refusal_names_the_fuse() {
    let words =
        "writes to topic orders are refused by TopicFuse stop-orders; they pass again when it is closed or deleted";
    for version in 3..=11 {
        for parts in [vec![PLAIN], vec![PLAIN, BOTH], vec![BOTH, PLAIN]] {
            let (mut rig, stored) = stopped(Reject);
            let data: Vec<_> = parts.iter().map(|topic| (*topic, 0, records(2, NONE))).collect();
            rig.request(1, &request(-1, &data).with_timeout_ms(USUAL), version);
            assert_eq!((rig.blocked, rig.kept_back), (None, None), "at once");
            let answer = rig.response::<ProduceRequest>(1, version);
            let found = partition(&answer, PLAIN, 0);
            let told = found.error_message.as_ref().map(StrBytes::as_str);
            assert_eq!((refused(found), told), ((44, -1, -1, -1), Some(words).filter(|_| version >= 8)));
            let served = parts.contains(&BOTH);
            assert!(!served || partition(&answer, BOTH, 0).base_offset == 40);
            assert_eq!(topics(&stored), if served { vec![BOTH] } else { vec![] });
            assert_eq!(rig.seen.len(), usize::from(served));
            assert_eq!(rig.session.take_stopped(), Stopped { produce: 1, consume: 0 });
        }
    }
}

#[test]
fn a_held_write_is_refused_at_once_when_the_fuse_says_so_now() {
    let (mut rig, _) = stopped(Hold);
    write(&mut rig, 1, &[PLAIN]);
    rig.world = fused(PLAIN, Some(Reject)).next_revision().build();
    rig.again();
    assert_eq!(errors(&mut rig, 1, &[PLAIN]), [44]);
    // Refused in place before: to be sent again, which tells more.
    rig.world = fused(PLAIN, Some(Hold)).build();
    rig.now = 2_000;
    write(&mut rig, 2, &[BOTH, PLAIN]);
    assert_eq!(rig.kept_back, Some(2_500));
    rig.world = fused(PLAIN, Some(Reject)).build();
    rig.again();
    assert_eq!(errors(&mut rig, 2, &[BOTH, PLAIN]), [0, 19]);
}

#[test]
fn without_acknowledgement_the_connection_is_closed() {
    let unanswered = |topics: &[&str]| {
        let parts: Vec<_> = topics.iter().map(|topic| (*topic, 0, records(2, NONE))).collect();
        request(0, &parts)
    };
    // Held, and then there is no way to say so.
    let (mut rig, stored) = stopped(Hold);
    rig.request(1, &unanswered(&[PLAIN]), 9);
    assert_eq!((rig.blocked, rig.closed), (Some(Blocked::Hold(2_000)), None));
    until(&mut rig, 2_000);
    assert_eq!((rig.closed, stored.borrow().len()), (Some(CloseReason::UnansweredRefused), 0));
    // Held, and let go.
    let (mut rig, stored) = stopped(Hold);
    rig.request(1, &unanswered(&[PLAIN]), 9);
    close(&mut rig);
    assert_eq!((rig.closed, stored.borrow().len()), (None, 1));
    // At once, where nothing can be held.
    for (action, topics) in [(Reject, vec![PLAIN]), (Reject, vec![BOTH, PLAIN]), (Hold, vec![BOTH, PLAIN])] {
        let (mut rig, stored) = stopped(action);
        rig.request(1, &unanswered(&topics), 9);
        assert_eq!((rig.closed, stored.borrow().len()), (Some(CloseReason::UnansweredRefused), 0), "{topics:?}");
    }
    let (mut rig, _) = stopped(Reject);
    rig.request(1, &unanswered(&[BOTH]), 9);
    assert_eq!((rig.closed, rig.seen.len()), (None, 1));
}

#[test]
fn a_fuse_counts_before_a_fence() {
    let both = |fence: bool, action: Option<FuseAction>| {
        fused(FENCED, action)
            .edit_topic(FENCED, EAST, |topic| topic.fence = topic.fence.take().filter(|_| fence))
            .build()
    };
    let begin = || {
        let (mut rig, _, stored) = produce::rig(sample::east(1));
        rig.world = both(true, Some(Hold));
        write(&mut rig, 1, &[FENCED]);
        assert_eq!(rig.blocked, Some(Blocked::Hold(9_000)), "the fence alone would hold for 5 s");
        (rig, stored)
    };
    // The fence goes first.
    let (mut rig, stored) = begin();
    rig.now = 7_000;
    rig.world = both(false, Some(Hold));
    rig.again();
    assert_eq!(rig.blocked, Some(Blocked::Hold(9_000)));
    rig.world = both(false, None);
    rig.again();
    assert_eq!((errors(&mut rig, 1, &[FENCED]), stored.borrow().len()), (vec![0], 1));
    // The fuse goes first; the two together hold no longer than one may.
    for (closed_at, held_until) in [(3_000, 8_000), (6_000, 9_000)] {
        let (mut rig, stored) = begin();
        rig.now = closed_at;
        rig.world = both(true, None);
        rig.again();
        assert_eq!(rig.blocked, Some(Blocked::Hold(held_until)));
        until(&mut rig, held_until);
        assert_eq!((errors(&mut rig, 1, &[FENCED]), stored.borrow().len()), (vec![6], 0));
    }
    // Refused with words, whatever the fence.
    let (mut rig, _, _) = produce::rig(sample::east(1));
    rig.world = both(true, Some(Reject));
    write(&mut rig, 1, &[FENCED]);
    assert_eq!(errors(&mut rig, 1, &[FENCED]), [44]);
}

#[test]
fn a_move_goes_on_behind_a_fuse() {
    let (mut rig, _, _) = produce::rig(sample::east(1));
    rig.world = fused(FENCED, Some(Hold)).build();
    rig.request(1, &request(-1, &[(FENCED, 0, records(4, NONE))]), 11);
    rig.request(2, &request(-1, &[(FENCED, 0, records(4, NONE))]), 11);
    let switched = produce::moved(FENCED, 40).next_revision();
    rig.world = switched.clone().fused(FENCED, Some(Hold), false).build();
    rig.again();
    for correlation in 1..=2 {
        assert_sent_west(&rig.response::<ProduceRequest>(correlation, 11), FENCED, 0);
    }
    assert!(rig.seen.is_empty());
    // Where they are sent, the fuse is too.
    let (mut rig, _, stored) = produce::rig(sample::west(1));
    rig.world = switched.clone().fused(FENCED, Some(Hold), false).build();
    rig.request(1, &request(-1, &[(FENCED, 0, records(4, NONE))]), 11);
    assert_eq!((rig.blocked, rig.seen.len()), (Some(Blocked::Hold(2_000)), 0));
    rig.world = switched.build();
    rig.again();
    assert_eq!(partition(&rig.response::<ProduceRequest>(1, 11), FENCED, 0).base_offset, 80);
    assert_eq!(stored.borrow().len(), 1);
    // Refused in place at the old home, told after the switch.
    let (mut rig, _, _) = produce::rig(sample::east(1));
    rig.world = fused(FENCED, Some(Hold)).build();
    rig.request(1, &request(-1, &[(PLAIN, 0, records(4, NONE)), (FENCED, 0, records(4, NONE))]), 11);
    assert_eq!(rig.kept_back, Some(1_500));
    rig.world = produce::moved(FENCED, 40).fused(FENCED, Some(Hold), false).build();
    rig.again();
    let answer = rig.response::<ProduceRequest>(1, 11);
    assert_eq!(partition(&answer, PLAIN, 0).error_code, 0);
    assert_sent_west(&answer, FENCED, 0);
}

#[test]
fn who_writes_at_the_wrong_place_is_told_so() {
    let (mut rig, _, _) = produce::rig(sample::east(1));
    rig.world = fused(STITCHED, Some(Hold)).build();
    rig.request(1, &request(-1, &[(STITCHED, 0, records(1, NONE))]), 11);
    assert_sent_west(&rig.response::<ProduceRequest>(1, 11), STITCHED, 0);
    let (mut rig, _, _) = produce::rig(sample::west(1));
    rig.world = fused(sample::EXCLUDED, Some(Hold)).build();
    write(&mut rig, 1, &[sample::EXCLUDED]);
    assert_eq!(errors(&mut rig, 1, &[sample::EXCLUDED]), [3]);
}

#[test]
fn a_topic_that_is_not_there_yet_is_stopped_all_the_same() {
    let (mut rig, _, _) = produce::rig(sample::east(1));
    rig.world = fused("to-come", Some(Hold)).build();
    write(&mut rig, 1, &["to-come"]);
    assert_eq!(rig.blocked, Some(Blocked::Hold(9_000)));
    until(&mut rig, 9_000);
    assert_eq!((errors(&mut rig, 1, &["to-come"]), rig.seen.len()), (vec![19], 0));
}

#[test]
fn a_moved_topic_is_stopped_at_its_home() {
    let (mut rig, log, stored) = produce::rig(sample::west(1));
    rig.world = fused(STITCHED, Some(Hold)).build();
    log.borrow_mut().insert((STITCHED.to_owned(), 0), Ok(5));
    let id = (1 << 56) | 9;
    rig.request(1, &request(-1, &[(STITCHED, 0, records(3, (id, 0, 0)))]), 9);
    assert_eq!((rig.blocked, rig.seen.len()), (Some(Blocked::Hold(2_000)), 0));
    close(&mut rig);
    assert_eq!(partition(&rig.response::<ProduceRequest>(1, 9), STITCHED, 0).base_offset, 905);
    assert_eq!(*stored.borrow(), [(STITCHED.to_owned(), 0, id | (1 << 48))]);
}

#[test]
fn reads_that_are_stopped_stop_no_writes() {
    let (mut rig, _, stored) = produce::rig(sample::east(1));
    rig.world = WorldBuilder::sample().fused(PLAIN, None, true).build();
    write(&mut rig, 1, &[PLAIN]);
    assert_eq!((errors(&mut rig, 1, &[PLAIN]), stored.borrow().len()), (vec![0], 1));
}

#[test]
fn a_transaction_is_told_at_its_write() {
    let mut rig = Rig::new(sample::east(1), fused(PLAIN, Some(Reject)).build()).with_broker(|_, header, _| {
        let answer = AddPartitionsToTxnResponse::default();
        Some(frame::response::<AddPartitionsToTxnRequest>(header.correlation_id, &answer, 3))
    });
    rig.request(1, &add(&[PLAIN]), 3);
    rig.response::<AddPartitionsToTxnRequest>(1, 3);
    assert_eq!(frame::decode_request::<AddPartitionsToTxnRequest>(&rig.seen[0].2, 3), Some(add(&[PLAIN])));
    let id = TransactionalId(StrBytes::from_static_str("transfers"));
    let mut batch = records(1, (77, 0, 0)).to_vec();
    batch[22] |= 0x10;
    for (action, error) in [(Reject, 44), (Hold, 19)] {
        let (mut rig, stored) = stopped(action);
        let request = request(-1, &[(PLAIN, 0, Bytes::from(batch.clone()))]).with_transactional_id(Some(id.clone()));
        rig.request(2, &request, 9);
        until(&mut rig, 2_000);
        assert_eq!((errors(&mut rig, 2, &[PLAIN]), stored.borrow().len()), (vec![error], 0));
    }
}

#[test]
fn a_frame_that_has_begun_under_an_open_fuse_is_served_to_its_end() {
    let (mut rig, _, stored) = produce::rig(sample::east(1));
    let whole = frame::request(1, &request(-1, &[(BOTH, 0, records(4, NONE)), (PLAIN, 0, records(4, NONE))]), 9);
    let (start, rest) = whole.split_at(whole.len() / 3);
    rig.write(start);
    let model = Arc::clone(&rig.world.model);
    rig.world = fused(PLAIN, Some(Hold)).build();
    assert_eq!(Arc::strong_count(&model.produce_lease), 2, "it holds the model that it was decided under");
    rig.write(rest);
    assert_eq!((errors(&mut rig, 1, &[BOTH, PLAIN]), stored.borrow().len()), (vec![0, 0], 2));
}

#[test]
fn a_world_that_changes_otherwise_restarts_no_hold() {
    let (mut rig, _) = stopped(Hold);
    write(&mut rig, 1, &[PLAIN]);
    for (now, builder) in [
        (2_000, fused(PLAIN, Some(Hold)).next_revision()),
        (4_000, fused(PLAIN, Some(Hold)).leader(EAST, PLAIN, 0, 3, 9)),
        (6_000, fused(PLAIN, Some(Hold)).with_topic(WEST, PLAIN, 3)),
    ] {
        rig.now = now;
        rig.world = builder.build();
        rig.again();
        assert_eq!(rig.blocked, Some(Blocked::Hold(9_000)));
    }
}

#[derive(Debug, Clone, Copy)]
enum Event {
    /// The topic alone, or behind another one.
    Write {
        behind: bool,
    },
    Fuse(Option<FuseAction>),
    Wait(u64),
}

fn event() -> impl Strategy<Value = Event> {
    let action = prop_oneof![Just(None), Just(Some(Hold)), Just(Some(Reject))];
    let wait = prop_oneof![1_u64..60, 100_u64..1_200];
    prop_oneof![
        4 => any::<bool>().prop_map(|behind| Event::Write { behind }),
        1 => action.prop_map(Event::Fuse),
        2 => wait.prop_map(Event::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// What was written before its client knew of a refusal is refused as well, so no order is broken; and a neighbour in
    /// the same request is always served.
    #[test]
    fn no_write_overtakes_another(
        events in prop::collection::vec(event(), 1..40),
        chunks in prop::collection::vec(prop_oneof![1_usize..30, 1_usize..4_000], 1..6),
    ) {
        let (mut rig, _, stored) = produce::rig(sample::east(1));
        rig.chunks = chunks;
        // Of each write: whether it has a neighbour, and how many answers had been read when it was sent.
        let mut sent: Vec<(bool, usize)> = Vec::new();
        let mut answers: Vec<i16> = Vec::new();
        let last = [Event::Fuse(None), Event::Wait(10_000), Event::Wait(10_000)];
        for event in events.into_iter().chain(last) {
            match event {
                Event::Write { behind } => {
                    let number = i32::try_from(sent.len()).unwrap();
                    // The producer's id tells the writes apart.
                    let mut parts = vec![(PLAIN, 0, records(1, (i64::from(number), 0, 0)))];
                    if behind {
                        parts.insert(0, (BOTH, 0, records(1, NONE)));
                    }
                    sent.push((behind, answers.len()));
                    rig.request(number, &request(-1, &parts), 9);
                }
                Event::Fuse(action) => {
                    rig.world = fused(PLAIN, action).build();
                    rig.again();
                }
                Event::Wait(millis) => {
                    rig.now += millis;
                    rig.again();
                }
            }
            while !rig.nothing_for_the_client() {
                let number = answers.len();
                let answer = rig.response::<ProduceRequest>(i32::try_from(number).unwrap(), 9);
                prop_assert!(!sent[number].0 || partition(&answer, BOTH, 0).error_code == 0);
                answers.push(partition(&answer, PLAIN, 0).error_code);
            }
        }
        prop_assert_eq!((rig.closed, answers.len()), (None, sent.len()));
        prop_assert!(rig.session.is_quiet());
        let written: Vec<i64> = stored.borrow().iter().filter(|(topic, ..)| topic == PLAIN).map(|(.., id)| *id).collect();
        let acknowledged = (0_i64..).zip(&answers).filter(|(_, error)| **error == 0).map(|(number, _)| number);
        prop_assert_eq!(written, acknowledged.collect::<Vec<_>>(), "in order, and what is acknowledged is there");
        for (number, (_, read)) in sent.iter().enumerate() {
            // What the client did not know yet when it sent this one.
            let unknown = &answers[*read..number];
            prop_assert!(answers[number] != 0 || unknown.iter().all(|error| *error == 0), "{} of {:?}", number, answers);
        }
    }
}
