//! A Fetch that waits at its broker while its topic moves: answered by the session, and the broker's late answer swallowed.

use bytes::Bytes;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::{
    BrokerId, FetchRequest, FetchResponse, HeartbeatRequest, HeartbeatResponse, RequestHeader, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use proptest::prelude::*;
use sluice_mesh::document::Fence;
use sluice_mesh::model::{BrokerRef, World};
use sluice_testkit::frame;
use sluice_testkit::sample::{self, EAST, FENCED, PLAIN, RETURNED, STITCHED, WEST, WEST_ONLY, WorldBuilder};

use super::ordering::records;
use super::rig::Rig;
use crate::step::{CloseReason, Source};

pub(super) const WAIT: i32 = 30_000;

pub(super) fn request(parts: &[(&str, i32)]) -> FetchRequest {
    let topics = parts.iter().map(|(topic, partition)| {
        let partition = FetchPartition::default()
            .with_partition(*partition)
            .with_fetch_offset(5)
            .with_current_leader_epoch(-1)
            .with_partition_max_bytes(1 << 20);
        FetchTopic::default()
            .with_topic(TopicName(StrBytes::from_string((*topic).to_owned())))
            .with_partitions(vec![partition])
    });
    FetchRequest::default().with_replica_id(BrokerId(-1)).with_max_wait_ms(WAIT).with_topics(topics.collect())
}

/// Every partition that was asked for, with records.
fn fetched(request: &FetchRequest) -> FetchResponse {
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|asked| {
            PartitionData::default()
                .with_partition_index(asked.partition)
                .with_high_watermark(1)
                .with_last_stable_offset(1)
                .with_aborted_transactions(Some(Vec::new()))
                .with_records(Some(records(1, (-1, -1, -1))))
        });
        FetchableTopicResponse::default().with_topic(topic.topic.clone()).with_partitions(partitions.collect())
    });
    FetchResponse::default().with_responses(topics.collect())
}

fn answer(header: &RequestHeader, body: &Bytes) -> Bytes {
    let (correlation, version) = (header.correlation_id, header.request_api_version);
    if header.request_api_key == 12 {
        return frame::response::<HeartbeatRequest>(correlation, &HeartbeatResponse::default(), version);
    }
    let request = frame::decode_request::<FetchRequest>(body, version).expect("an intact Fetch");
    frame::response::<FetchRequest>(correlation, &fetched(&request), version)
}

/// Brokers that answer when told to.
fn waiting_at(broker: BrokerRef, chunks: Vec<usize>) -> Rig {
    let mut rig = Rig::sample(broker).with_broker(|_, header, body| Some(answer(header, &body))).with_chunks(chunks);
    rig.slow_brokers = true;
    rig
}

pub(super) fn waiting(chunks: Vec<usize>) -> Rig {
    waiting_at(sample::east(1), chunks)
}

/// `PLAIN` has moved to west.
pub(super) fn builder() -> WorldBuilder {
    WorldBuilder::sample().next_revision().with_topic(WEST, PLAIN, 3).edit_topic(PLAIN, EAST, |topic| {
        topic.cluster = sample::cluster(WEST);
        topic.chains = vec![sample::chain(PLAIN, &[EAST, WEST], &[900]); 3];
    })
}

fn moved() -> World {
    builder().build()
}

pub(super) fn change(rig: &mut Rig, world: World) {
    rig.world = world;
    rig.again();
}

/// (error, leader, has records) of the only partition of each topic.
pub(super) fn found(answer: &FetchResponse) -> Vec<(i16, i32, bool)> {
    let partition = |topic: &FetchableTopicResponse| {
        let found = &topic.partitions[0];
        let has_records = found.records.as_ref().is_some_and(|records| !records.is_empty());
        (found.error_code, found.current_leader.leader_id.0, has_records)
    };
    answer.responses.iter().map(partition).collect()
}

pub(super) const READ: (i16, i32, bool) = (0, -1, true);
pub(super) const EMPTY: (i16, i32, bool) = (0, -1, false);
/// West's broker 2 leads partition 1.
pub(super) const GONE: (i16, i32, bool) = (6, 10_002, false);

pub(super) fn max_wait(rig: &Rig, position: usize) -> i32 {
    let (_, header, body) = &rig.seen[position];
    frame::decode_request::<FetchRequest>(body, header.request_api_version).expect("a Fetch").max_wait_ms
}

#[test]
fn the_client_is_told_at_once() {
    for version in 4..=12 {
        for chunks in [vec![usize::MAX], vec![1], vec![7, 90]] {
            for (parts, live) in [(vec![(PLAIN, 1)], None), (vec![(PLAIN, 1), (FENCED, 0)], Some(EMPTY))] {
                let mut rig = waiting(chunks.clone());
                rig.request(1, &request(&parts), version);
                assert_eq!(max_wait(&rig, 0), WAIT, "as long as the client wants");
                assert!(rig.nothing_for_the_client() && rig.session.minds_world());
                change(&mut rig, moved());
                let gone = if version >= 12 { GONE } else { (6, -1, false) };
                let answer = rig.response::<FetchRequest>(1, version);
                assert_eq!(found(&answer), [gone].into_iter().chain(live).collect::<Vec<_>>());
                assert!(rig.session.is_quiet() && !rig.session.minds_world());
                assert_eq!((rig.session.head(), rig.session.source()), (None, Some(Source::Main)));
                rig.brokers_answer();
                assert!(rig.nothing_for_the_client(), "the late answer is swallowed");
                assert_eq!((rig.closed, rig.session.source()), (None, None));
                // The connection goes on.
                rig.request(2, &request(&[(FENCED, 0)]), version);
                assert_eq!(max_wait(&rig, 1), WAIT);
                rig.brokers_answer();
                assert_eq!(found(&rig.response::<FetchRequest>(2, version)), [READ]);
            }
        }
    }
}

#[test]
fn a_world_that_serves_all_as_before_ends_no_wait() {
    let entry = || WorldBuilder::sample().edit_topic(PLAIN, EAST, |_| ());
    let fence = Fence { attempt: 9, hold_millis: 5_000 };
    let worlds = [
        WorldBuilder::sample().leader(EAST, PLAIN, 1, 3, 9),
        WorldBuilder::sample().next_revision(),
        entry().next_revision(),
        entry().next_revision().next_revision().edit_topic(PLAIN, EAST, |topic| topic.fence = Some(fence)),
        WorldBuilder::sample().edit(|document| document.revision = 9),
    ];
    let mut rig = waiting(vec![usize::MAX]);
    rig.request(1, &request(&[(PLAIN, 1), (FENCED, 0)]), 12);
    for world in worlds {
        change(&mut rig, world.build());
        assert!(rig.nothing_for_the_client());
    }
    rig.brokers_answer();
    assert_eq!(found(&rig.response::<FetchRequest>(1, 12)), [READ, READ]);
    assert!(rig.session.is_quiet());
}

#[test]
fn later_requests_are_answered_in_order_around_the_late_answer() {
    for chunks in [vec![usize::MAX], vec![1], vec![3, 50]] {
        let mut rig = waiting(chunks);
        rig.request(1, &request(&[(PLAIN, 1), (FENCED, 0)]), 12);
        rig.request(2, &HeartbeatRequest::default(), 4);
        change(&mut rig, moved());
        assert_eq!(found(&rig.response::<FetchRequest>(1, 12)), [GONE, EMPTY]);
        rig.request(3, &request(&[(PLAIN, 1)]), 12);
        rig.request(4, &request(&[(FENCED, 0)]), 12);
        assert!(rig.nothing_for_the_client(), "the Heartbeat is before them");
        assert_eq!(max_wait(&rig, 2), 0, "it has waited long enough behind the one that is given up");
        rig.brokers_answer();
        rig.response::<HeartbeatRequest>(2, 4);
        assert_eq!(found(&rig.response::<FetchRequest>(3, 12)), [GONE]);
        assert_eq!(found(&rig.response::<FetchRequest>(4, 12)), [READ]);
        assert!(rig.session.is_quiet() && rig.nothing_for_the_client());
        assert_eq!((rig.closed, rig.session.source()), (None, None));
    }
}

#[test]
fn local_answers_do_not_wait_for_the_late_one() {
    let mut rig = waiting(vec![usize::MAX]);
    rig.request(1, &request(&[(PLAIN, 1)]), 12);
    change(&mut rig, moved());
    rig.response::<FetchRequest>(1, 12);
    for (correlation, bytes) in (2..).zip([3, 6, 20]) {
        rig.request(correlation, &request(&[(PLAIN, 1)]), 12);
        assert_eq!(found(&rig.response::<FetchRequest>(correlation, 12)), [GONE]);
        rig.brokers_answer_only(bytes);
    }
    rig.brokers_answer();
    assert!(rig.nothing_for_the_client());
    assert_eq!((rig.closed, rig.session.source()), (None, None));
}

#[test]
fn a_relay_is_read_in_the_middle_of_the_late_answer() {
    let mut rig = waiting_at(sample::west(1), vec![usize::MAX]);
    rig.request(1, &request(&[(WEST_ONLY, 0)]), 12);
    let world = WorldBuilder::sample().next_revision().with_topic(EAST, WEST_ONLY, 2);
    change(&mut rig, world.edit_topic(WEST_ONLY, EAST, |_| ()).build());
    assert_eq!(found(&rig.response::<FetchRequest>(1, 12)), [(6, 1, false)]);
    rig.brokers_answer_only(10);
    // Below the cut: from the old cluster.
    rig.request(2, &request(&[(STITCHED, 0)]), 12);
    assert_eq!(rig.seen[1].0, Source::Relay(sample::east(1)));
    assert_eq!(rig.session.source(), Some(Source::Relay(sample::east(1))));
    rig.brokers_answer();
    assert_eq!(rig.response::<FetchRequest>(2, 12).responses[0].partitions[0].partition_index, 0);
    assert!(rig.session.is_quiet() && rig.nothing_for_the_client());
    assert_eq!((rig.closed, rig.session.source()), (None, None));
}

#[test]
fn several_are_given_up_and_no_more_than_can_be_remembered() {
    for chunks in [vec![usize::MAX], vec![1], vec![60, 5]] {
        let mut rig = waiting(chunks);
        for correlation in 0..10 {
            // Ids are the client's choice: equal ones are told apart by their order.
            rig.request(correlation / 2, &request(&[(PLAIN, 1)]), 12);
        }
        change(&mut rig, moved());
        for correlation in 0..8 {
            assert_eq!(found(&rig.response::<FetchRequest>(correlation / 2, 12)), [GONE]);
        }
        assert!(rig.nothing_for_the_client(), "the others wait for their broker");
        let first = rig.next_answer_size();
        rig.brokers_answer_only(first - 1);
        assert!(rig.nothing_for_the_client());
        rig.brokers_answer_only(1);
        assert_eq!(found(&rig.response::<FetchRequest>(4, 12)), [GONE], "there is room again");
        assert!(rig.nothing_for_the_client());
        rig.brokers_answer();
        assert_eq!(found(&rig.response::<FetchRequest>(4, 12)), [GONE]);
        assert!(rig.session.is_quiet() && rig.nothing_for_the_client());
        assert_eq!((rig.closed, rig.session.source()), (None, None));
    }
}

#[test]
fn an_answer_that_has_begun_is_delivered() {
    let mut rig = waiting(vec![usize::MAX]);
    rig.request(1, &request(&[(PLAIN, 1)]), 12);
    let size = rig.next_answer_size();
    rig.brokers_answer_only(size - 40);
    assert!(!rig.nothing_for_the_client());
    change(&mut rig, moved());
    rig.brokers_answer();
    assert_eq!(found(&rig.response::<FetchRequest>(1, 12)), [READ]);
    assert!(rig.session.is_quiet() && rig.nothing_for_the_client());
    assert_eq!(rig.session.source(), None);
}

#[test]
fn of_an_answer_that_is_only_known_to_come_nothing_is_passed() {
    for bytes in [1, 7, 8, 12] {
        let mut rig = waiting(vec![usize::MAX]);
        rig.request(1, &request(&[(PLAIN, 1)]), 12);
        rig.brokers_answer_only(bytes);
        change(&mut rig, moved());
        rig.brokers_answer();
        assert_eq!(found(&rig.response::<FetchRequest>(1, 12)), [GONE], "{bytes}");
        assert!(rig.session.is_quiet() && rig.nothing_for_the_client());
        assert_eq!((rig.closed, rig.session.source()), (None, None));
    }
}

#[test]
fn a_log_that_has_got_another_chain_meanwhile_is_not_read_with_the_old_one() {
    let mut rig = waiting(vec![usize::MAX]);
    rig.request(1, &request(&[(PLAIN, 1)]), 12);
    // There and back between two looks of the proxy: offsets of east's log mean something else now.
    let returned = builder().edit_topic(PLAIN, EAST, |topic| {
        topic.cluster = sample::cluster(EAST);
        topic.chains = vec![sample::chain(PLAIN, &[EAST, WEST, EAST], &[900, 50]); 3];
    });
    change(&mut rig, returned.build());
    assert_eq!(found(&rig.response::<FetchRequest>(1, 12)), [EMPTY], "nothing is told that could set a reader back");
    rig.brokers_answer();
    assert!(rig.nothing_for_the_client());
    // The same for a topic that has a chain already.
    let mut rig = waiting(vec![usize::MAX]);
    let mut last = request(&[(RETURNED, 0)]);
    last.topics[0].partitions[0].fetch_offset = 160;
    rig.request(1, &last, 12);
    assert_eq!((rig.seen[0].0, max_wait(&rig, 0)), (Source::Main, WAIT));
    let again = WorldBuilder::sample().next_revision().edit_topic(RETURNED, EAST, |topic| {
        topic.chains = vec![sample::chain(RETURNED, &[EAST, WEST, EAST, WEST, EAST], &[100, 50, 120, 60])];
    });
    change(&mut rig, again.build());
    assert_eq!(found(&rig.response::<FetchRequest>(1, 12)), [EMPTY]);
    rig.brokers_answer();
    assert!(rig.nothing_for_the_client());
}

#[test]
fn another_answer_than_the_late_one_breaks_the_connection() {
    let mut rig = Rig::sample(sample::east(1)).with_broker(|_, header, _| {
        let other = header.correlation_id + 1;
        Some(frame::response::<FetchRequest>(other, &FetchResponse::default(), 12))
    });
    rig.slow_brokers = true;
    rig.request(1, &request(&[(PLAIN, 1)]), 12);
    change(&mut rig, moved());
    rig.response::<FetchRequest>(1, 12);
    rig.brokers_answer();
    assert_eq!(rig.closed, Some(CloseReason::BadAnswer));
}

#[test]
fn a_request_that_is_too_large_to_be_remembered_waits_less_long() {
    let mut rig = waiting(vec![usize::MAX]);
    let mut large = request(&[(PLAIN, 1)]);
    large.topics[0].partitions = vec![large.topics[0].partitions[0].clone(); 20_000];
    rig.request(1, &large, 12);
    assert_eq!(max_wait(&rig, 0), 500);
    change(&mut rig, moved());
    assert!(rig.nothing_for_the_client());
    rig.brokers_answer();
    assert_eq!(rig.response::<FetchRequest>(1, 12).responses[0].partitions.len(), 20_000);
}

#[test]
fn what_is_remembered_of_one_request_makes_room_for_the_next() {
    let mut rig = waiting(vec![usize::MAX]);
    rig.slow_brokers = false;
    rig.request(1, &request(&[(PLAIN, 1), (FENCED, 0)]), 12);
    let buffers = |rig: &Rig| rig.session.memory.spare_waiting.as_ref().map(crate::api::fetch::Waiting::buffers);
    let first = buffers(&rig);
    assert!(first.is_some(), "given back when the answer begins");
    for correlation in 2..5 {
        rig.request(correlation, &request(&[(PLAIN, 1), (FENCED, 0)]), 12);
        assert_eq!(buffers(&rig), first, "no new memory");
    }
}

#[derive(Debug, Clone, Copy)]
enum Event {
    Fetch { version: i16, plain: bool },
    Heartbeat,
    Answer(usize),
    Move,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => (4_i16..=12, any::<bool>()).prop_map(|(version, plain)| Event::Fetch { version, plain }),
        1 => Just(Event::Heartbeat),
        3 => (1_usize..200).prop_map(Event::Answer),
        1 => Just(Event::Move),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn every_request_has_one_answer_in_its_place(
        events in prop::collection::vec(event(), 1..30),
        chunks in prop::collection::vec(prop_oneof![1_usize..30, 1_usize..4_000], 1..6),
    ) {
        let mut rig = waiting(chunks);
        let mut sent = Vec::new();
        let mut moves = false;
        for event in events {
            let correlation = i32::try_from(sent.len()).unwrap();
            match event {
                Event::Fetch { version, plain } => {
                    let parts = if plain { vec![(PLAIN, 1)] } else { vec![(FENCED, 0), (PLAIN, 1)] };
                    rig.request(correlation, &request(&parts), version);
                    sent.push((event, moves));
                }
                Event::Heartbeat => {
                    rig.request(correlation, &HeartbeatRequest::default(), 4);
                    sent.push((event, moves));
                }
                Event::Answer(bytes) => {
                    let size = rig.next_answer_size();
                    if size > 0 {
                        rig.brokers_answer_only(bytes.min(size));
                    }
                }
                Event::Move => {
                    moves = true;
                    change(&mut rig, moved());
                }
            }
        }
        for _ in 0..sent.len() {
            rig.brokers_answer();
        }
        prop_assert_eq!(rig.closed, None);
        for (correlation, (event, after)) in (0_i32..).zip(sent) {
            let Event::Fetch { version, plain } = event else {
                rig.response::<HeartbeatRequest>(correlation, 4);
                continue;
            };
            let answer = rig.response::<FetchRequest>(correlation, version);
            prop_assert_eq!(answer.responses.len(), if plain { 1 } else { 2 });
            let of_plain = answer.responses.iter().find(|topic| topic.topic.as_str() == PLAIN).expect("it is answered");
            match of_plain.partitions[0].error_code {
                6 => prop_assert!(moves),
                error => prop_assert!(error == 0 && !after),
            }
        }
        prop_assert!(rig.nothing_for_the_client());
        prop_assert!(rig.session.is_quiet());
        prop_assert_eq!(rig.session.source(), None);
    }
}
