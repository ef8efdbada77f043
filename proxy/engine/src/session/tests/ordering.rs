//! Any requests, pipelined, in any chunks: answers come in order, with their own correlation ids, and what is plain is
//! not touched.

use bytes::Bytes;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::{
    ApiKey, ApiVersionsRequest, BrokerId, FetchRequest, FetchResponse, HeartbeatRequest, HeartbeatResponse,
    MetadataRequest, ProduceRequest, ProduceResponse, RequestHeader, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use proptest::prelude::*;
use sluice_mesh::document::FuseAction;
use sluice_testkit::{frame, sample};
use sluice_wire::batch;

use super::rig::Rig;
use crate::step::Source;

#[derive(Debug, Clone, Copy)]
enum Kind {
    Versions,
    Metadata,
    Produce { version: i16, records: usize, acks: i16 },
    Fetch { version: i16, bytes: usize },
    Heartbeat,
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        Just(Kind::Versions),
        Just(Kind::Metadata),
        Just(Kind::Heartbeat),
        (3_i16..=11, 1_usize..40, prop_oneof![Just(-1_i16), Just(1), Just(0)])
            .prop_map(|(version, records, acks)| Kind::Produce { version, records, acks }),
        (4_i16..=12, 0_usize..3_000).prop_map(|(version, bytes)| Kind::Fetch { version, bytes }),
    ]
}

fn name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}

pub(super) fn records(count: usize, producer: (i64, i16, i32)) -> Bytes {
    let value = [7_u8; 30];
    let one: (Option<&[u8]>, Option<&[u8]>) = (None, Some(&value));
    batch::build_batch(&vec![one; count], producer, 1_790_000_000_000).expect("a small batch")
}

fn produce(records: &Bytes, acks: i16) -> ProduceRequest {
    let partition = |index| PartitionProduceData::default().with_index(index).with_records(Some(records.clone()));
    let topic = |topic: &str| {
        TopicProduceData::default().with_name(name(topic)).with_partition_data(vec![partition(0), partition(2)])
    };
    ProduceRequest::default()
        .with_acks(acks)
        .with_timeout_ms(3_000)
        .with_topic_data(vec![topic(sample::PLAIN), topic(sample::BOTH)])
}

fn fetch() -> FetchRequest {
    let partition = FetchPartition::default().with_partition(1).with_fetch_offset(5).with_partition_max_bytes(1 << 20);
    let topic = FetchTopic::default().with_topic(name(sample::PLAIN)).with_partitions(vec![partition]);
    FetchRequest::default().with_replica_id(BrokerId(-1)).with_max_wait_ms(100).with_topics(vec![topic])
}

fn fetched(bytes: usize) -> FetchResponse {
    let mut data = records(3, (-1, -1, -1)).to_vec();
    data.extend(std::iter::repeat_n(1, bytes));
    let partition = PartitionData::default()
        .with_partition_index(1)
        .with_high_watermark(100)
        .with_last_stable_offset(100)
        .with_aborted_transactions(Some(Vec::new()))
        .with_records(Some(Bytes::from(data)));
    let topic = FetchableTopicResponse::default().with_topic(name(sample::PLAIN)).with_partitions(vec![partition]);
    FetchResponse::default().with_responses(vec![topic])
}

fn produced(request: &ProduceRequest) -> ProduceResponse {
    let topics = request.topic_data.iter().map(|topic| {
        let partitions = topic.partition_data.iter().map(|partition| {
            PartitionProduceResponse::default()
                .with_index(partition.index)
                .with_base_offset(i64::from(partition.index) + 40)
        });
        TopicProduceResponse::default().with_name(topic.name.clone()).with_partition_responses(partitions.collect())
    });
    ProduceResponse::default().with_responses(topics.collect())
}

/// What the broker answers, from the correlation id alone: the test computes the same.
fn broker(kinds: &[Kind]) -> impl FnMut(Source, &RequestHeader, Bytes) -> Option<Bytes> + use<> {
    let kinds = kinds.to_vec();
    move |source, header, body| {
        assert_eq!(source, Source::Main);
        let (correlation, version) = (header.correlation_id, header.request_api_version);
        match kinds[usize::try_from(correlation).unwrap()] {
            Kind::Versions | Kind::Metadata => panic!("the broker is not asked"),
            Kind::Heartbeat => {
                Some(frame::response::<HeartbeatRequest>(correlation, &HeartbeatResponse::default(), version))
            }
            Kind::Produce { records: count, acks, .. } => {
                let request = frame::decode_request::<ProduceRequest>(&body, version).expect("an intact Produce");
                assert_eq!(request, produce(&records(count, (-1, -1, -1)), acks), "not a byte differs");
                (acks != 0).then(|| frame::response::<ProduceRequest>(correlation, &produced(&request), version))
            }
            Kind::Fetch { bytes, .. } => {
                let request = frame::decode_request::<FetchRequest>(&body, version).expect("an intact Fetch");
                assert_eq!(request.topics, fetch().topics, "the partitions are as they were");
                Some(frame::response::<FetchRequest>(correlation, &fetched(bytes), version))
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn answers_come_in_order(
        kinds in prop::collection::vec(kind(), 1..12),
        chunks in prop::collection::vec(prop_oneof![1_usize..30, 1_usize..4_000], 1..8),
        slow in any::<bool>(),
        fused in any::<bool>(),
    ) {
        // A fuse of another topic is not noticed.
        let hold = fused.then_some(FuseAction::Hold);
        let world = sample::WorldBuilder::sample().fused(sample::RETURNED, hold, fused).build();
        let mut rig = Rig::new(sample::east(1), world).with_broker(broker(&kinds)).with_chunks(chunks);
        rig.slow_brokers = slow;
        for (correlation, kind) in (0_i32..).zip(&kinds) {
            match *kind {
                Kind::Versions => rig.request(correlation, &ApiVersionsRequest::default(), 0),
                Kind::Metadata => {
                    let topic = MetadataRequestTopic::default().with_name(Some(name(sample::PLAIN)));
                    rig.request(correlation, &MetadataRequest::default().with_topics(Some(vec![topic])), 9);
                }
                Kind::Heartbeat => rig.request(correlation, &HeartbeatRequest::default(), 4),
                Kind::Produce { version, records: count, acks } => {
                    rig.request(correlation, &produce(&records(count, (-1, -1, -1)), acks), version);
                }
                Kind::Fetch { version, .. } => rig.request(correlation, &fetch(), version),
            }
        }
        for _ in 0..kinds.len() {
            rig.brokers_answer();
        }
        prop_assert_eq!(rig.closed, None);
        for (correlation, kind) in (0_i32..).zip(&kinds) {
            match *kind {
                Kind::Versions => {
                    prop_assert_eq!(rig.response::<ApiVersionsRequest>(correlation, 0).error_code, 0);
                }
                Kind::Metadata => {
                    prop_assert_eq!(rig.response::<MetadataRequest>(correlation, 9).topics[0].partitions.len(), 3);
                }
                Kind::Heartbeat => {
                    rig.response::<HeartbeatRequest>(correlation, 4);
                }
                Kind::Produce { acks: 0, .. } => {}
                Kind::Produce { version, records: count, acks } => {
                    let expected = produced(&produce(&records(count, (-1, -1, -1)), acks));
                    let expected = frame::response::<ProduceRequest>(correlation, &expected, version);
                    prop_assert_eq!(rig.answer(), Some(expected.slice(4..)));
                }
                Kind::Fetch { version, bytes } => {
                    let expected = frame::response::<FetchRequest>(correlation, &fetched(bytes), version);
                    prop_assert_eq!(rig.answer(), Some(expected.slice(4..)));
                }
            }
        }
        prop_assert!(rig.nothing_for_the_client());
        prop_assert!(rig.session.is_quiet());
    }
}

#[test]
fn an_answer_to_nobody_breaks_the_connection() {
    let mut rig = Rig::sample(sample::east(1)).with_broker(|_, header, _| {
        let other = header.correlation_id + 1;
        Some(frame::response::<HeartbeatRequest>(other, &HeartbeatResponse::default(), 4))
    });
    rig.request(5, &HeartbeatRequest::default(), 4);
    assert_eq!(rig.closed, Some(crate::step::CloseReason::BadAnswer));
}

#[test]
fn the_ring_is_bounded() {
    let world = sample::WorldBuilder::sample().edit(|document| document.limits.max_in_flight = 2).build();
    let answer = |correlation| frame::response::<HeartbeatRequest>(correlation, &HeartbeatResponse::default(), 4);
    let mut rig = Rig::new(sample::east(1), world).with_broker(move |_, header, _| Some(answer(header.correlation_id)));
    rig.slow_brokers = true;
    for correlation in 0..3 {
        rig.request(correlation, &HeartbeatRequest::default(), 4);
    }
    assert_eq!(rig.seen.len(), 2, "the third waits for a slot");
    assert_eq!(rig.blocked, Some(super::rig::Blocked::Full));
    rig.brokers_answer();
    rig.brokers_answer();
    for correlation in 0..3 {
        rig.response::<HeartbeatRequest>(correlation, 4);
    }
    assert_eq!(rig.seen[2].1.request_api_key, ApiKey::Heartbeat as i16);
}

#[test]
fn local_answers_that_wait_are_bounded() {
    let mut world = sample::WorldBuilder::sample();
    for topic in 0..200 {
        world = world.with_topic(sample::EAST, &format!("many-{topic}"), 50);
    }
    let answer = |correlation| frame::response::<HeartbeatRequest>(correlation, &HeartbeatResponse::default(), 4);
    let mut rig =
        Rig::new(sample::east(1), world.build()).with_broker(move |_, header, _| Some(answer(header.correlation_id)));
    rig.slow_brokers = true;
    rig.request(0, &HeartbeatRequest::default(), 4);
    for correlation in 1..=8 {
        rig.request(correlation, &MetadataRequest::default().with_topics(None), 9);
    }
    assert_eq!(rig.blocked, Some(super::rig::Blocked::Full));
    // One answer is more than may wait, and it is the only one that does.
    assert_eq!(rig.session.slots.len(), 2);
    rig.brokers_answer();
    rig.response::<HeartbeatRequest>(0, 4);
    for correlation in 1..=8 {
        assert!(rig.response::<MetadataRequest>(correlation, 9).topics.len() > 200);
    }
    assert!(rig.session.is_quiet());
}
