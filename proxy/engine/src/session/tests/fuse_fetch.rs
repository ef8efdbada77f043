//! Reads of a topic whose fuse has tripped: empty answers, no errors, and everything else as if there were none.

use bytes::Bytes;
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::{
    BrokerId, FetchRequest, FetchResponse, ListOffsetsRequest, ListOffsetsResponse, MetadataRequest,
    OffsetCommitRequest, OffsetCommitResponse, OffsetFetchRequest, OffsetFetchResponse, TopicName,
};
use kafka_protocol::protocol::{Request, StrBytes};
use sluice_mesh::document::FuseAction;
use sluice_testkit::frame;
use sluice_testkit::sample::{self, EAST, FENCED, PLAIN, STITCHED, WEST_ONLY, WorldBuilder};

use super::fetch::{self, batches, part};
use super::overtaken::{EMPTY, GONE, READ, WAIT, builder, change, found, max_wait, request, waiting};
use super::rig::{Blocked, Rig};
use crate::fuse::Stopped;
use crate::step::Source;

/// The sample with the reads of a topic stopped.
fn fused(topic: &str) -> WorldBuilder {
    WorldBuilder::sample().next_revision().fused(topic, None, true)
}

fn open() -> WorldBuilder {
    WorldBuilder::sample().next_revision().next_revision()
}

/// A client of an east broker that answers when told to; the reads of `PLAIN` are stopped.
fn stopped(chunks: Vec<usize>) -> Rig {
    let mut rig = waiting(chunks);
    rig.world = fused(PLAIN).build();
    rig
}

fn of<'a>(answer: &'a FetchResponse, topic: &str) -> &'a PartitionData {
    let found = answer.responses.iter().find(|found| found.topic.as_str() == topic).expect("the topic is answered");
    &found.partitions[0]
}

fn asked(rig: &Rig, position: usize) -> Vec<String> {
    let (_, header, body) = &rig.seen[position];
    let request = frame::decode_request::<FetchRequest>(body, header.request_api_version).expect("a Fetch");
    request.topics.iter().map(|topic| topic.topic.to_string()).collect()
}

fn with_wait(parts: &[(&str, i32)], max_wait_ms: i32) -> FetchRequest {
    request(parts).with_max_wait_ms(max_wait_ms)
}

#[test]
fn the_others_are_read_as_if_they_were_alone() {
    for version in 4..=12 {
        for chunks in [vec![usize::MAX], vec![1], vec![7, 90]] {
            for parts in [[(PLAIN, 1), (FENCED, 0)], [(FENCED, 0), (PLAIN, 1)]] {
                let mut rig = stopped(chunks.clone());
                rig.request(1, &request(&parts), version);
                assert_eq!((rig.blocked, asked(&rig, 0)), (None, vec![FENCED.to_owned()]));
                assert_eq!(max_wait(&rig, 0), WAIT, "their broker may wait for them as long as ever");
                rig.brokers_answer();
                let answer = rig.response::<FetchRequest>(1, version);
                assert_eq!(answer.responses.len(), 2);
                let (empty, read) = (of(&answer, PLAIN), of(&answer, FENCED));
                assert_eq!(
                    (empty.partition_index, empty.error_code, empty.records.as_ref()),
                    (1, 0, Some(&Bytes::new()))
                );
                assert_eq!((empty.high_watermark, empty.last_stable_offset, empty.log_start_offset), (-1, -1, -1));
                assert_eq!((read.error_code, read.high_watermark), (0, 1));
                assert!(read.records.as_ref().is_some_and(|records| !records.is_empty()));
                assert!(rig.session.is_quiet() && rig.nothing_for_the_client());
                assert_eq!(rig.session.take_stopped(), Stopped { produce: 0, consume: 1 });
            }
        }
    }
}

#[test]
fn nothing_but_what_is_stopped_waits_like_at_a_broker_that_has_nothing() {
    for (max_wait_ms, wait) in [(500, 500), (1, 1), (i32::MAX, 8_000)] {
        for version in [4, 11, 12] {
            let mut rig = waiting(vec![usize::MAX]);
            rig.world = fused(PLAIN).fused(FENCED, Some(FuseAction::Hold), true).build();
            rig.request(1, &with_wait(&[(PLAIN, 1), (FENCED, 0)], max_wait_ms), version);
            assert_eq!((rig.blocked, rig.nothing_for_the_client()), (Some(Blocked::Hold(1_000 + wait)), true));
            rig.now += wait;
            rig.again();
            assert_eq!(found(&rig.response::<FetchRequest>(1, version)), [EMPTY, EMPTY]);
            assert!(rig.seen.is_empty() && rig.session.is_quiet());
            assert_eq!(rig.session.take_stopped(), Stopped { produce: 0, consume: 2 });
        }
    }
    for max_wait_ms in [0, -1, i32::MIN] {
        let mut rig = stopped(vec![usize::MAX]);
        rig.request(1, &with_wait(&[(PLAIN, 1)], max_wait_ms), 12);
        assert_eq!((rig.blocked, found(&rig.response::<FetchRequest>(1, 12))), (None, vec![EMPTY]));
    }
}

#[test]
fn it_is_read_as_soon_as_it_closes() {
    let mut rig = stopped(vec![usize::MAX]);
    rig.slow_brokers = false;
    rig.request(1, &with_wait(&[(PLAIN, 1)], 500), 12);
    // What changes otherwise neither ends nor lengthens the wait.
    for (now, world) in [(1_100, fused(PLAIN).leader(EAST, PLAIN, 1, 3, 9)), (1_200, fused(PLAIN).next_revision())] {
        rig.now = now;
        change(&mut rig, world.build());
        assert_eq!(rig.blocked, Some(Blocked::Hold(1_500)));
    }
    rig.now = 1_300;
    change(&mut rig, open().build());
    assert_eq!((max_wait(&rig, 0), found(&rig.response::<FetchRequest>(1, 12))), (200, vec![READ]));
    assert_eq!(rig.session.take_stopped(), Stopped::default());
    // One of two: it is read, and the other stays empty.
    let mut rig = waiting(vec![usize::MAX]);
    rig.slow_brokers = false;
    rig.world = fused(PLAIN).fused(FENCED, None, true).build();
    rig.request(1, &with_wait(&[(PLAIN, 1), (FENCED, 0)], 500), 12);
    assert_eq!(rig.blocked, Some(Blocked::Hold(1_500)));
    change(&mut rig, fused(FENCED).next_revision().build());
    let answer = rig.response::<FetchRequest>(1, 12);
    assert_eq!(asked(&rig, 0), [PLAIN]);
    let records =
        [PLAIN, FENCED].map(|topic| of(&answer, topic).records.as_ref().is_some_and(|found| !found.is_empty()));
    assert_eq!(records, [true, false]);
}

#[test]
fn a_long_poll_ends_when_it_trips() {
    for version in 4..=12 {
        for chunks in [vec![usize::MAX], vec![1], vec![7, 90]] {
            for parts in [vec![(PLAIN, 1)], vec![(PLAIN, 1), (FENCED, 0)]] {
                let mut rig = waiting(chunks.clone());
                rig.request(1, &request(&parts), version);
                assert!(rig.nothing_for_the_client() && rig.session.minds_world());
                change(&mut rig, fused(PLAIN).build());
                assert_eq!(found(&rig.response::<FetchRequest>(1, version)), vec![EMPTY; parts.len()]);
                assert_eq!(rig.session.take_stopped(), Stopped { produce: 0, consume: 1 });
                rig.brokers_answer();
                assert!(rig.nothing_for_the_client(), "what the broker found is not for the client");
                assert_eq!((rig.closed, rig.session.source()), (None, None));
                // Nor is it for the next request.
                rig.request(2, &with_wait(&parts, 100), version);
                rig.brokers_answer();
                rig.now += 100;
                rig.again();
                let answer = rig.response::<FetchRequest>(2, version);
                assert!(of(&answer, PLAIN).records.as_ref().is_some_and(Bytes::is_empty));
                assert!(rig.seen.iter().skip(1).all(|(_, header, body)| {
                    let sent = frame::decode_request::<FetchRequest>(body, header.request_api_version);
                    sent.is_some_and(|sent| sent.topics.iter().all(|topic| topic.topic.as_str() == FENCED))
                }));
            }
        }
    }
}

#[test]
fn records_that_come_after_it_has_tripped_are_not_passed_on() {
    // The answer is on its way, but not a byte of it has gone to the client.
    for bytes in [1, 7, 8, 12] {
        let mut rig = waiting(vec![usize::MAX]);
        rig.request(1, &request(&[(PLAIN, 1)]), 12);
        rig.brokers_answer_only(bytes);
        change(&mut rig, fused(PLAIN).build());
        rig.brokers_answer();
        assert_eq!(found(&rig.response::<FetchRequest>(1, 12)), [EMPTY], "{bytes}");
        assert!(rig.session.is_quiet() && rig.nothing_for_the_client());
    }
    // It has begun: it is delivered to its end.
    let mut rig = waiting(vec![usize::MAX]);
    rig.request(1, &request(&[(PLAIN, 1)]), 12);
    let size = rig.next_answer_size();
    rig.brokers_answer_only(size - 40);
    change(&mut rig, fused(PLAIN).build());
    rig.brokers_answer();
    assert_eq!(found(&rig.response::<FetchRequest>(1, 12)), [READ]);
}

#[test]
fn a_long_poll_for_others_does_not_end() {
    let mut rig = waiting(vec![usize::MAX]);
    rig.request(1, &request(&[(FENCED, 0)]), 12);
    for world in [
        fused(PLAIN),
        open(),
        fused(PLAIN).fused(FENCED, Some(FuseAction::Reject), false).next_revision().next_revision(),
    ] {
        change(&mut rig, world.build());
        assert!(rig.nothing_for_the_client());
    }
    rig.brokers_answer();
    assert_eq!(found(&rig.response::<FetchRequest>(1, 12)), [READ]);
}

#[test]
fn a_long_poll_beside_it_ends_when_it_closes() {
    let mut rig = stopped(vec![usize::MAX]);
    rig.request(1, &request(&[(PLAIN, 1), (FENCED, 0)]), 12);
    assert_eq!(asked(&rig, 0), [FENCED]);
    change(&mut rig, open().build());
    assert_eq!(found(&rig.response::<FetchRequest>(1, 12)), [EMPTY, EMPTY]);
    rig.brokers_answer();
    assert!(rig.nothing_for_the_client() && rig.session.is_quiet());
    rig.request(2, &request(&[(PLAIN, 1), (FENCED, 0)]), 12);
    rig.brokers_answer();
    assert_eq!(found(&rig.response::<FetchRequest>(2, 12)), [READ, READ]);
}

#[test]
fn writes_that_are_stopped_stop_no_reads() {
    for action in [FuseAction::Hold, FuseAction::Reject] {
        let mut rig = waiting(vec![usize::MAX]);
        rig.slow_brokers = false;
        rig.world = WorldBuilder::sample().fused(PLAIN, Some(action), false).build();
        rig.request(1, &request(&[(PLAIN, 1)]), 12);
        assert_eq!(found(&rig.response::<FetchRequest>(1, 12)), [READ]);
    }
}

#[test]
fn who_reads_at_the_wrong_place_is_told_so() {
    let mut rig = waiting(vec![usize::MAX]);
    rig.world = builder().fused(PLAIN, None, true).build();
    rig.request(1, &request(&[(PLAIN, 1)]), 12);
    assert_eq!((rig.blocked, found(&rig.response::<FetchRequest>(1, 12))), (None, vec![GONE]));
    assert_eq!(rig.session.take_stopped(), Stopped::default());
    // It moves while its readers wait for the fuse.
    let mut rig = stopped(vec![usize::MAX]);
    rig.request(1, &request(&[(PLAIN, 1)]), 12);
    assert_eq!(rig.blocked, Some(Blocked::Hold(9_000)));
    change(&mut rig, builder().next_revision().fused(PLAIN, None, true).build());
    assert_eq!(found(&rig.response::<FetchRequest>(1, 12)), [GONE]);
}

#[test]
fn a_topic_with_old_segments_is_asked_for_nowhere() {
    let mut setup = fetch::stitched();
    setup.rig.world = fused(STITCHED).build();
    let answer = setup.fetch(12, &[(STITCHED, 0, 100), (STITCHED, 1, 3), (WEST_ONLY, 0, 4)]);
    let [first, second] = [0, 1].map(|partition| part(&answer, STITCHED, partition));
    assert_eq!((first.error_code, second.error_code), (0, 0));
    assert!(batches(first.records.as_ref()).is_empty() && batches(second.records.as_ref()).is_empty());
    assert_eq!((first.high_watermark, first.log_start_offset), (900, 0), "so much is known without asking");
    assert_eq!(batches(part(&answer, WEST_ONLY, 0).records.as_ref()).len(), 3);
    assert_eq!(
        (setup.rig.asks, asked(&setup.rig, 0), max_wait(&setup.rig, 0)),
        (0, vec![WEST_ONLY.to_owned()], 30_000)
    );
    assert_eq!(setup.rig.session.take_stopped(), Stopped { produce: 0, consume: 2 });
}

#[test]
fn beside_an_old_segment_it_is_empty_too() {
    let mut setup = fetch::stitched();
    setup.rig.world = fused(WEST_ONLY).build();
    for round in 1..=3 {
        let answer = setup.fetch(12, &[(WEST_ONLY, 0, 4), (STITCHED, 0, 100)]);
        assert_eq!(batches(part(&answer, STITCHED, 0).records.as_ref())[0].0, 100);
        let empty = part(&answer, WEST_ONLY, 0);
        assert_eq!((empty.error_code, batches(empty.records.as_ref())), (0, vec![]));
        assert_eq!(setup.rig.seen.len(), round, "the old segment needs no turns with a topic that is not read");
        assert_eq!(setup.rig.session.take_stopped(), Stopped { produce: 0, consume: 1 });
    }
    assert!(setup.rig.seen.iter().all(|(source, ..)| *source == Source::Relay(sample::east(1))));
}

#[test]
fn a_declined_session_stays_declined() {
    let mut rig = stopped(vec![usize::MAX]);
    rig.slow_brokers = false;
    let first = request(&[(FENCED, 0), (PLAIN, 1)]).with_session_epoch(0);
    rig.request(1, &first, 11);
    let answer = rig.response::<FetchRequest>(1, 11);
    assert_eq!((answer.session_id, answer.error_code, found(&answer)), (0, 0, vec![READ, EMPTY]));
    let sent = frame::decode_request::<FetchRequest>(&rig.seen[0].2, 11).expect("a Fetch");
    assert_eq!((sent.session_id, sent.session_epoch, sent.rack_id), (0, -1, first.rack_id));
    rig.request(2, &request(&[(PLAIN, 1)]).with_session_id(7).with_session_epoch(3), 11);
    assert_eq!(rig.response::<FetchRequest>(2, 11).error_code, 70);
}

#[test]
fn positions_and_groups_are_not_touched() {
    fn name(topic: &str) -> TopicName {
        TopicName(StrBytes::from_string(topic.to_owned()))
    }
    /// What the broker has seen and what the client has been told.
    fn run<R: Request>(
        world: &WorldBuilder,
        request: &R,
        version: i16,
        answer: &R::Response,
    ) -> (Vec<Bytes>, Option<Bytes>) {
        let answer = frame::response::<R>(1, answer, version);
        let mut rig = Rig::new(sample::east(1), world.build()).with_broker(move |_, _, _| Some(answer.clone()));
        rig.request(1, request, version);
        (rig.seen.iter().map(|(_, _, body)| body.clone()).collect(), rig.answer())
    }
    let worlds = [open(), open().fused(PLAIN, Some(FuseAction::Reject), true)];

    let partition = ListOffsetsPartition::default().with_timestamp(-1);
    let topic = ListOffsetsTopic::default().with_name(name(PLAIN)).with_partitions(vec![partition]);
    let offsets = ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topic]);
    let partition = OffsetCommitRequestPartition::default().with_committed_offset(5);
    let topic = OffsetCommitRequestTopic::default().with_name(name(PLAIN)).with_partitions(vec![partition]);
    let commit = OffsetCommitRequest::default().with_topics(vec![topic]);
    let topic = MetadataRequestTopic::default().with_name(Some(name(PLAIN)));
    let metadata = MetadataRequest::default().with_topics(Some(vec![topic]));

    let [open, stopped] = worlds.each_ref().map(|world| {
        let listed = run(world, &offsets, 5, &ListOffsetsResponse::default());
        let committed = run(world, &commit, 8, &OffsetCommitResponse::default());
        let fetched = run(world, &OffsetFetchRequest::default(), 5, &OffsetFetchResponse::default());
        let told = run(world, &metadata, 9, &<MetadataRequest as Request>::Response::default());
        [listed, committed, fetched, told]
    });
    assert!(open.iter().all(|(_, told)| told.is_some()));
    assert_eq!(open, stopped);
}
