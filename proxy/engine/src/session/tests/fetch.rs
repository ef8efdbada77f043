//! Fetch over chains: the live turn, relays, clips, jumps, and what is never an error.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::{BrokerId, FetchRequest, FetchResponse, ListOffsetsRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use sluice_mesh::model::{BrokerRef, ClusterIndex};
use sluice_testkit::frame;
use sluice_testkit::sample::{self, WorldBuilder};
use sluice_wire::batch::BatchHeader;

use super::ordering::records;
use super::rig::{Blocked, Rig};
use crate::ask::{Ask, Reply, Request, Response};
use crate::step::{CloseReason, Source};

fn name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}

fn request(parts: &[(&str, i32, i64)]) -> FetchRequest {
    let mut topics: Vec<FetchTopic> = Vec::new();
    for (topic, partition, offset) in parts {
        let asked = FetchPartition::default()
            .with_partition(*partition)
            .with_current_leader_epoch(1029)
            .with_fetch_offset(*offset)
            .with_partition_max_bytes(8 << 20);
        match topics.last_mut() {
            Some(last) if last.topic.as_str() == *topic => last.partitions.push(asked),
            _ => topics.push(FetchTopic::default().with_topic(name(topic)).with_partitions(vec![asked])),
        }
    }
    FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(30_000)
        .with_max_bytes(50 << 20)
        .with_topics(topics)
}

/// A log on one broker: batches by base offset, one record each, epoch 5.
#[derive(Debug, Clone)]
struct Log {
    start: i64,
    offsets: Vec<i64>,
    end: i64,
}

impl Log {
    fn full(end: i64) -> Self {
        Self { start: 0, offsets: (0..end).collect(), end }
    }

    fn read(&self, offset: i64) -> Result<Bytes, i16> {
        if offset < self.start || offset > self.end {
            return Err(1);
        }
        let mut bytes = BytesMut::new();
        for base in self.offsets.iter().filter(|base| **base >= offset).take(3) {
            let mut one = BytesMut::from(&records(1, (-1, -1, -1))[..]);
            one[..8].copy_from_slice(&base.to_be_bytes());
            one[12..16].copy_from_slice(&5_i32.to_be_bytes());
            bytes.put(one);
        }
        Ok(bytes.freeze())
    }
}

/// Logs by cluster, topic and partition.
type Logs = Rc<RefCell<Vec<((ClusterIndex, &'static str, i32), Log)>>>;

fn broker(
    logs: &Logs,
    home: BrokerRef,
) -> impl FnMut(Source, &kafka_protocol::messages::RequestHeader, Bytes) -> Option<Bytes> + use<> {
    let logs = Rc::clone(logs);
    move |source, header, body| {
        let cluster = match source {
            Source::Main => home.cluster,
            Source::Relay(broker) => broker.cluster,
            Source::Local => unreachable!(),
        };
        let version = header.request_api_version;
        let request = frame::decode_request::<FetchRequest>(&body, version).expect("an intact Fetch");
        assert_eq!((request.session_id, request.replica_id.0), (0, -1));
        assert!(version < 7 || request.session_epoch == -1);
        let topics = request.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|asked| {
                assert_eq!(asked.last_fetched_epoch, -1);
                let found = PartitionData::default()
                    .with_partition_index(asked.partition)
                    .with_high_watermark(-1)
                    .with_last_stable_offset(-1)
                    .with_aborted_transactions(Some(Vec::new()))
                    .with_records(Some(Bytes::new()));
                let logs = logs.borrow();
                let log = logs.iter().find(|((at, name, index), _)| {
                    *at == cluster && *name == topic.topic.as_str() && *index == asked.partition
                });
                let Some((_, log)) = log else { return found.with_error_code(6) };
                match log.read(asked.fetch_offset) {
                    Err(error) => found.with_error_code(error),
                    Ok(bytes) => found
                        .with_high_watermark(log.end)
                        .with_last_stable_offset(log.end)
                        .with_log_start_offset(if version >= 5 { log.start } else { -1 })
                        .with_records(Some(bytes)),
                }
            });
            FetchableTopicResponse::default().with_topic(topic.topic.clone()).with_partitions(partitions.collect())
        });
        let answer = FetchResponse::default().with_responses(topics.collect());
        Some(frame::response::<FetchRequest>(header.correlation_id, &answer, version))
    }
}

/// `ListOffsets` from the same logs; a cluster in `down` does not answer.
fn control(logs: &Logs, down: &Rc<RefCell<Vec<ClusterIndex>>>) -> impl FnMut(&Ask) -> Reply + use<> {
    let (logs, down) = (Rc::clone(logs), Rc::clone(down));
    move |ask| {
        let Ask::Calls(calls) = ask else { return Reply::Refreshed };
        let results = calls.iter().map(|call| {
            let Request::ListOffsets(request) = &call.request else { panic!("{:?}", call.request) };
            if down.borrow().contains(&call.cluster) {
                return Err(crate::ask::CallFailed("down".to_owned()));
            }
            let topics = request.topics.iter().map(|topic| {
                let partitions = topic.partitions.iter().map(|asked| {
                    let logs = logs.borrow();
                    let found = logs.iter().find(|((at, name, index), _)| {
                        *at == call.cluster && *name == topic.name.as_str() && *index == asked.partition_index
                    });
                    let answer = ListOffsetsPartitionResponse::default().with_partition_index(asked.partition_index);
                    let Some((_, log)) = found else { return answer.with_error_code(6) };
                    let times = topic.partitions.iter().filter(|one| one.partition_index == asked.partition_index);
                    if times.count() > 1 {
                        // As a broker does.
                        return answer.with_error_code(42);
                    }
                    answer.with_offset(if asked.timestamp == -2 { log.start } else { log.end })
                });
                ListOffsetsTopicResponse::default().with_name(topic.name.clone()).with_partitions(partitions.collect())
            });
            Ok(Response::ListOffsets(ListOffsetsResponse::default().with_topics(topics.collect())))
        });
        Reply::Calls(results.collect())
    }
}

pub(super) struct Setup {
    pub(super) rig: Rig,
    logs: Logs,
    down: Rc<RefCell<Vec<ClusterIndex>>>,
}

fn setup(at: BrokerRef, logs: Vec<((ClusterIndex, &'static str, i32), Log)>) -> Setup {
    let logs: Logs = Rc::new(RefCell::new(logs));
    let down = Rc::default();
    let rig = Rig::sample(at).with_broker(broker(&logs, at)).with_control(control(&logs, &down));
    Setup { rig, logs, down }
}

impl Setup {
    pub(super) fn fetch(&mut self, version: i16, parts: &[(&str, i32, i64)]) -> FetchResponse {
        self.rig.request(7, &request(parts), version);
        if let Some(Blocked::Hold(until)) = self.rig.blocked {
            self.rig.now = until;
            self.rig.again();
        }
        self.rig.response::<FetchRequest>(7, version)
    }

    fn log(&mut self, cluster: ClusterIndex, topic: &str, change: impl FnOnce(&mut Log)) {
        let mut logs = self.logs.borrow_mut();
        let log = logs.iter_mut().find(|((at, name, _), _)| *at == cluster && *name == topic).expect("a log");
        change(&mut log.1);
    }
}

/// (base offset, epoch) of the batches that a client reads: it stops at one that is longer than what is there.
pub(super) fn batches(records: Option<&Bytes>) -> Vec<(i64, i32)> {
    let mut rest = records.map(|bytes| &bytes[..]).unwrap_or_default();
    let mut found = Vec::new();
    while let Some(header) = BatchHeader::parse(rest) {
        let Some(next) = header.total_size().and_then(|size| rest.get(size..)) else { break };
        found.push((header.base_offset, header.partition_leader_epoch));
        rest = next;
    }
    found
}

pub(super) fn part<'a>(answer: &'a FetchResponse, topic: &str, index: i32) -> &'a PartitionData {
    let of_topic: Vec<_> = answer.responses.iter().filter(|found| found.topic.as_str() == topic).collect();
    assert_eq!(of_topic.len(), 1, "a topic's partitions come in one piece");
    of_topic[0].partitions.iter().find(|found| found.partition_index == index).expect("the partition is answered")
}

const STITCHED: &str = sample::STITCHED;
const RETURNED: &str = sample::RETURNED;
const EAST: ClusterIndex = sample::EAST_INDEX;
const WEST: ClusterIndex = sample::WEST_INDEX;

pub(super) fn stitched() -> Setup {
    setup(
        sample::west(1),
        vec![
            ((EAST, STITCHED, 0), Log::full(900)),
            ((EAST, STITCHED, 1), Log { start: 0, offsets: vec![], end: 0 }),
            ((WEST, STITCHED, 0), Log::full(60)),
            ((WEST, STITCHED, 1), Log::full(7)),
            ((WEST, sample::WEST_ONLY, 0), Log::full(9)),
        ],
    )
}

#[test]
fn the_last_segment_is_read_in_place() {
    for version in 4..=12 {
        for chunks in [vec![usize::MAX], vec![1], vec![90, 3]] {
            let mut setup = stitched();
            setup.rig.chunks = chunks;
            let answer = setup.fetch(version, &[(STITCHED, 0, 950)]);
            let found = part(&answer, STITCHED, 0);
            assert_eq!((found.error_code, found.high_watermark, found.last_stable_offset), (0, 960, 960));
            assert_eq!(found.log_start_offset, if version >= 5 { 0 } else { -1 });
            assert_eq!(batches(found.records.as_ref()), vec![(950, 1029), (951, 1029), (952, 1029)]);
            let sent = frame::decode_request::<FetchRequest>(&setup.rig.seen[0].2, version).unwrap();
            assert_eq!((sent.topics[0].partitions[0].fetch_offset, sent.max_wait_ms), (50, 30_000));
        }
    }
}

#[test]
fn an_old_segment_is_relayed() {
    for version in [4, 11, 12] {
        for chunks in [vec![usize::MAX], vec![1], vec![90, 3]] {
            let mut setup = stitched();
            setup.rig.chunks = chunks;
            let answer = setup.fetch(version, &[(STITCHED, 0, 100)]);
            let found = part(&answer, STITCHED, 0);
            assert_eq!((found.error_code, found.high_watermark), (0, 960), "the last segment's watermark");
            assert_eq!(batches(found.records.as_ref()), vec![(100, 5), (101, 5), (102, 5)]);
            assert_eq!(setup.rig.seen[0].0, Source::Relay(sample::east(1)));
            let sent = frame::decode_request::<FetchRequest>(&setup.rig.seen[0].2, version).unwrap();
            assert_eq!((sent.max_wait_ms, sent.topics[0].partitions[0].partition_max_bytes), (0, 1 << 20));
        }
    }
}

#[test]
fn a_reader_goes_over_the_cut() {
    let mut setup = stitched();
    let mut offset = 890;
    let mut seen = Vec::new();
    for _ in 0..12 {
        let answer = setup.fetch(12, &[(STITCHED, 0, offset)]);
        for (base, _) in batches(part(&answer, STITCHED, 0).records.as_ref()) {
            seen.push(base);
            offset = base + 1;
        }
    }
    assert_eq!(seen, (890..offset).collect::<Vec<_>>(), "every offset once, in order");
    assert!(offset > 915);
}

#[test]
fn sources_take_turns() {
    let mut setup = stitched();
    let parts = [(STITCHED, 0, 100), (STITCHED, 1, 2), (sample::WEST_ONLY, 0, 4)];
    let mut old = 0;
    let mut live = 0;
    for _ in 0..6 {
        let answer = setup.fetch(12, &parts);
        let (first, second) = (part(&answer, STITCHED, 0), part(&answer, STITCHED, 1));
        assert_eq!((first.error_code, second.error_code), (0, 0));
        assert_eq!(first.high_watermark, 960);
        let plain = part(&answer, sample::WEST_ONLY, 0);
        assert_eq!(plain.error_code, 0);
        match (batches(first.records.as_ref()).len(), batches(second.records.as_ref()).len()) {
            (3, 0) => {
                old += 1;
                assert!(batches(plain.records.as_ref()).is_empty());
            }
            (0, 3) => {
                live += 1;
                assert_eq!(batches(plain.records.as_ref()), vec![(4, 5), (5, 5), (6, 5)], "not shifted");
            }
            other => panic!("one source per answer: {other:?}"),
        }
    }
    assert_eq!((old, live), (3, 3));
    for (source, _, body) in &setup.rig.seen {
        let sent = frame::decode_request::<FetchRequest>(body, 12).unwrap();
        assert_eq!(sent.max_wait_ms, 0, "nobody waits at one source for the sake of another: {source:?}");
    }
}

#[test]
fn topics_of_another_cluster_are_answered_beside() {
    let mut setup = stitched();
    let answer = setup.fetch(12, &[(sample::PLAIN, 1, 5), (STITCHED, 0, 950), (sample::EXCLUDED, 0, 1)]);
    let plain = part(&answer, sample::PLAIN, 1);
    assert_eq!((plain.error_code, plain.current_leader.leader_id.0, plain.current_leader.leader_epoch), (6, 2, 5));
    assert_eq!(part(&answer, sample::EXCLUDED, 0).error_code, 3);
    assert_eq!(batches(part(&answer, STITCHED, 0).records.as_ref()).len(), 3);
    let sent = frame::decode_request::<FetchRequest>(&setup.rig.seen[0].2, 12).unwrap();
    assert_eq!((sent.topics.len(), sent.max_wait_ms), (1, 0));
    let answer = setup.fetch(5, &[(sample::PLAIN, 1, 5)]);
    assert_eq!(part(&answer, sample::PLAIN, 1).error_code, 6);
    assert_eq!(setup.rig.seen.len(), 1, "nothing is left to ask the broker for");
}

#[test]
fn what_lies_behind_the_segment_in_the_same_log_is_clipped() {
    // East holds 0..100 of the first visit and what was written after the return; west 100..150 between.
    for chunks in [vec![usize::MAX], vec![1], vec![77, 5]] {
        let mut setup =
            setup(sample::east(1), vec![((EAST, RETURNED, 0), Log::full(130)), ((WEST, RETURNED, 0), Log::full(50))]);
        setup.rig.chunks = chunks;
        let answer = setup.fetch(12, &[(RETURNED, 0, 98)]);
        assert_eq!(batches(part(&answer, RETURNED, 0).records.as_ref()), vec![(98, 5), (99, 5)]);
        let answer = setup.fetch(12, &[(RETURNED, 0, 100)]);
        assert_eq!(batches(part(&answer, RETURNED, 0).records.as_ref())[0], (100, 1029), "on west");
        let answer = setup.fetch(12, &[(RETURNED, 0, 150)]);
        assert_eq!(batches(part(&answer, RETURNED, 0).records.as_ref())[0], (150, 2053), "on east again");
    }
}

#[test]
fn a_hole_at_the_end_of_a_segment_is_jumped() {
    // The last two records before the cut are gone; what follows in east's log belongs to the third segment.
    let mut log = Log::full(130);
    log.offsets.retain(|offset| ![98, 99].contains(offset));
    for chunks in [vec![usize::MAX], vec![1]] {
        let mut setup =
            setup(sample::east(1), vec![((EAST, RETURNED, 0), log.clone()), ((WEST, RETURNED, 0), Log::full(50))]);
        setup.rig.chunks = chunks;
        let answer = setup.fetch(12, &[(RETURNED, 0, 98)]);
        let found = part(&answer, RETURNED, 0);
        assert_eq!(
            (found.error_code, batches(found.records.as_ref())),
            (0, vec![]),
            "never the third segment's records"
        );
        let answer = setup.fetch(12, &[(RETURNED, 0, 98)]);
        assert_eq!(batches(part(&answer, RETURNED, 0).records.as_ref())[0], (100, 1029), "the next segment's first");
        let answer = setup.fetch(12, &[(RETURNED, 0, 101)]);
        assert_eq!(batches(part(&answer, RETURNED, 0).records.as_ref())[0], (101, 1029));
    }
}

#[test]
fn a_trimmed_start_is_told_and_a_hole_in_the_middle_is_jumped() {
    let mut setup = stitched();
    setup.log(EAST, STITCHED, |log| {
        log.start = 500;
        log.offsets.retain(|offset| *offset >= 500);
    });
    let answer = setup.fetch(12, &[(STITCHED, 0, 100)]);
    assert_eq!(part(&answer, STITCHED, 0).error_code, 0, "first it is asked about");
    let answer = setup.fetch(12, &[(STITCHED, 0, 100)]);
    assert_eq!(part(&answer, STITCHED, 0).error_code, 1, "below all that is left");
    let answer = setup.fetch(12, &[(STITCHED, 0, 600)]);
    let found = part(&answer, STITCHED, 0);
    assert_eq!((found.log_start_offset, batches(found.records.as_ref())[0].0), (500, 600));
    // Now the new home's own log is trimmed while the old one still holds its part.
    setup.log(WEST, STITCHED, |log| {
        log.start = 40;
        log.offsets.retain(|offset| *offset >= 40);
    });
    let answer = setup.fetch(12, &[(STITCHED, 0, 910)]);
    assert_eq!(part(&answer, STITCHED, 0).error_code, 0);
    let answer = setup.fetch(12, &[(STITCHED, 0, 910)]);
    assert_eq!(batches(part(&answer, STITCHED, 0).records.as_ref())[0].0, 940, "the hole is jumped");
}

#[test]
fn a_trimmed_start_is_told_in_a_segment_whose_log_was_used_before() {
    // East's log holds the first and the third segment; retention has emptied all but the end of the third.
    let east = Log { start: 115, offsets: (115..130).collect(), end: 130 };
    let west = Log { start: 50, offsets: vec![], end: 50 };
    let mut setup = setup(sample::east(1), vec![((EAST, RETURNED, 0), east), ((WEST, RETURNED, 0), west)]);
    let answer = setup.fetch(12, &[(RETURNED, 0, 155)]);
    assert_eq!(part(&answer, RETURNED, 0).error_code, 0, "first it is asked about");
    let answer = setup.fetch(12, &[(RETURNED, 0, 155)]);
    assert_eq!(part(&answer, RETURNED, 0).error_code, 1, "below all that is left");
}

#[test]
fn a_partition_asked_for_beside_another_makes_no_view_stale() {
    let mut setup = stitched();
    // Only partition 0 is led by the broker that is asked for it.
    setup.logs.borrow_mut().retain(|((at, _, index), _)| *at != EAST || *index == 0);
    let answer = setup.fetch(12, &[(STITCHED, 0, 100), (STITCHED, 1, 7)]);
    let (source, ..) = setup.rig.seen[0];
    let relayed =
        if source == Source::Main { setup.fetch(12, &[(STITCHED, 0, 100), (STITCHED, 1, 7)]) } else { answer };
    assert_eq!(batches(part(&relayed, STITCHED, 0).records.as_ref())[0].0, 100);
    assert_eq!(setup.rig.session.take_stale_view(), None);
}

#[test]
fn an_old_topic_that_was_created_again_is_never_read_as_the_old_one() {
    let mut setup = stitched();
    setup.rig.world = WorldBuilder::sample()
        .edit_view(sample::EAST, |view| {
            let again = Arc::make_mut(view.topics.get_mut(STITCHED).expect("listed"));
            again.id = sample::topic_id(sample::EAST, "another");
        })
        .build();
    let answer = setup.fetch(12, &[(STITCHED, 0, 100)]);
    let found = part(&answer, STITCHED, 0);
    assert_eq!((found.error_code, batches(found.records.as_ref())), (1, vec![]), "nothing of it is left");
    assert!(setup.rig.seen.iter().all(|(source, ..)| *source == Source::Main));
    // Where the client is sent then can be read.
    let asked = ListOffsetsTopic::default()
        .with_name(name(STITCHED))
        .with_partitions(vec![ListOffsetsPartition::default().with_timestamp(-2)]);
    let earliest = ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![asked]);
    setup.rig.request(8, &earliest, 5);
    let start = setup.rig.response::<ListOffsetsRequest>(8, 5).topics[0].partitions[0].offset;
    assert_eq!(start, 900);
    let answer = setup.fetch(12, &[(STITCHED, 0, start)]);
    assert_eq!(batches(part(&answer, STITCHED, 0).records.as_ref())[0].0, 900);
}

#[test]
fn an_old_log_that_was_truncated_below_the_cut_is_jumped() {
    let mut setup = stitched();
    setup.log(EAST, STITCHED, |log| {
        log.offsets.retain(|offset| *offset < 880);
        log.end = 880;
    });
    let answer = setup.fetch(12, &[(STITCHED, 0, 890)]);
    assert_eq!(part(&answer, STITCHED, 0).error_code, 0, "never out of range");
    let answer = setup.fetch(12, &[(STITCHED, 0, 890)]);
    assert_eq!(batches(part(&answer, STITCHED, 0).records.as_ref())[0].0, 900);
    // At the very end of what is left the old leader has nothing and says so without an error.
    let answer = setup.fetch(12, &[(STITCHED, 0, 880)]);
    assert_eq!(part(&answer, STITCHED, 0).error_code, 0);
    let answer = setup.fetch(12, &[(STITCHED, 0, 880)]);
    assert_eq!(batches(part(&answer, STITCHED, 0).records.as_ref())[0].0, 900);
}

#[test]
fn above_the_end_is_never_an_error() {
    let mut setup = stitched();
    for _ in 0..3 {
        let answer = setup.fetch(12, &[(STITCHED, 0, 5_000)]);
        let found = part(&answer, STITCHED, 0);
        assert_eq!((found.error_code, batches(found.records.as_ref())), (0, vec![]));
        setup.rig.now += 10;
    }
    setup.rig.now += 5_000;
    setup.log(WEST, STITCHED, |log| *log = Log::full(4_200));
    setup.fetch(12, &[(STITCHED, 0, 5_000)]);
    let answer = setup.fetch(12, &[(STITCHED, 0, 5_000)]);
    assert_eq!(batches(part(&answer, STITCHED, 0).records.as_ref())[0].0, 5_000, "it is read as soon as it is there");
}

#[test]
fn a_lost_relay_is_an_empty_answer() {
    let mut setup = stitched();
    setup.rig.slow_brokers = true;
    setup.rig.request(7, &request(&[(STITCHED, 0, 100), (sample::WEST_ONLY, 0, 4)]), 12);
    // The first turn may be the live one.
    setup.rig.brokers_answer();
    if setup.rig.seen[0].0 == Source::Main {
        setup.rig.response::<FetchRequest>(7, 12);
        setup.rig.request(7, &request(&[(STITCHED, 0, 100), (sample::WEST_ONLY, 0, 4)]), 12);
    } else {
        panic!("the live turn comes first");
    }
    assert_eq!(setup.rig.seen[1].0, Source::Relay(sample::east(1)));
    setup.rig.lose(Source::Relay(sample::east(1)));
    let answer = setup.rig.response::<FetchRequest>(7, 12);
    let found = part(&answer, STITCHED, 0);
    assert_eq!((found.error_code, found.high_watermark, batches(found.records.as_ref())), (0, 960, vec![]));
    assert_eq!(part(&answer, sample::WEST_ONLY, 0).error_code, 0);
    assert_eq!(setup.rig.closed, None);
    // For a while the broker is left alone; the rest is served.
    setup.rig.slow_brokers = false;
    let answer = setup.fetch(12, &[(STITCHED, 0, 100), (sample::WEST_ONLY, 0, 4)]);
    assert_eq!(setup.rig.seen[2].0, Source::Main);
    assert_eq!(batches(part(&answer, sample::WEST_ONLY, 0).records.as_ref()).len(), 3);
}

#[test]
fn the_old_cluster_down_costs_the_new_segment_nothing() {
    let mut setup = stitched();
    setup.down.borrow_mut().push(EAST);
    let answer = setup.fetch(12, &[(STITCHED, 0, 950)]);
    assert_eq!(batches(part(&answer, STITCHED, 0).records.as_ref()).len(), 3);
    assert_eq!(setup.rig.asks, 0, "nobody is asked");
}

#[test]
fn sessions_are_declined_and_brokers_are_refused() {
    let mut setup = stitched();
    let mut asked = request(&[(sample::WEST_ONLY, 0, 4)]);
    asked.session_epoch = 0;
    setup.rig.request(1, &asked, 11);
    assert_eq!(setup.rig.response::<FetchRequest>(1, 11).session_id, 0, "the broker was not asked for one");
    asked.session_id = 9;
    asked.session_epoch = 3;
    setup.rig.request(2, &asked, 11);
    assert_eq!(setup.rig.response::<FetchRequest>(2, 11).error_code, 70);
    asked.replica_id = BrokerId(2);
    setup.rig.request(3, &asked, 11);
    assert_eq!(setup.rig.closed, Some(CloseReason::InterBroker));
}
