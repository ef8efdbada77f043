use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::fetch_response::{
    AbortedTransaction, EpochEndOffset, FetchableTopicResponse, LeaderIdAndEpoch, PartitionData,
};
use kafka_protocol::messages::{BrokerId, FetchResponse, ProducerId, TopicName};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use proptest::prelude::*;

use super::*;
use crate::batch::{BatchHeader, CLIPPED_LENGTH, HEADER, build_batch, records, shift};
use crate::cursor::put;

/// A partition of an answer: index, records, aborted transactions' first offsets, leader, preferred replica.
#[derive(Debug, Clone)]
struct Spec {
    index: i32,
    records: Option<Vec<u8>>,
    aborted: Option<Vec<i64>>,
    leader: Option<(i32, i32)>,
    replica: i32,
}

/// `values.len()` batches of one record each, from `base`, under epoch `epoch`.
fn batches(base: i64, epoch: i32, values: &[&[u8]]) -> Vec<u8> {
    let mut all = Vec::new();
    for (offset, value) in (base..).zip(values) {
        let mut batch = build_batch(&[(None, Some(value))], (-1, -1, -1), 0).unwrap().to_vec();
        shift(batch.first_chunk_mut().unwrap(), offset, 0);
        put(&mut batch, 12, epoch.to_be_bytes());
        all.extend_from_slice(&batch);
    }
    all
}

fn answer(version: i16, topics: &[(&str, Vec<Spec>)]) -> FetchResponse {
    let topics = topics.iter().map(|(topic, partitions)| {
        let partitions = partitions.iter().map(|spec| {
            let aborted = spec.aborted.as_ref().map(|offsets| {
                let aborted = |offset: &i64| {
                    AbortedTransaction::default().with_producer_id(ProducerId(9)).with_first_offset(*offset)
                };
                offsets.iter().map(aborted).collect()
            });
            let mut data = PartitionData::default()
                .with_partition_index(spec.index)
                .with_error_code(0)
                .with_high_watermark(1000)
                .with_last_stable_offset(900)
                .with_aborted_transactions(aborted)
                .with_records(spec.records.clone().map(Bytes::from));
            if version >= 5 {
                data.log_start_offset = 10;
            }
            if version >= 11 {
                data.preferred_read_replica = BrokerId(spec.replica);
            }
            if let (Some((id, epoch)), 12..) = (spec.leader, version) {
                data.current_leader = LeaderIdAndEpoch::default().with_leader_id(BrokerId(id)).with_leader_epoch(epoch);
                data.diverging_epoch = EpochEndOffset::default().with_epoch(epoch).with_end_offset(77);
                data.unknown_tagged_fields.insert(9, Bytes::from_static(b"later"));
            }
            data
        });
        FetchableTopicResponse::default()
            .with_topic(TopicName(StrBytes::from_string((*topic).to_owned())))
            .with_partitions(partitions.collect())
    });
    let answer = FetchResponse::default().with_throttle_time_ms(3).with_responses(topics.collect());
    if version >= 7 { answer.with_session_id(55) } else { answer }
}

fn encode(version: i16, answer: &FetchResponse) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    answer.encode(&mut bytes, version).unwrap();
    bytes.to_vec()
}

fn shifted(value: i64, patch: Field, by: i64) -> i64 {
    match patch {
        Field::Keep => value,
        Field::Shift if value < 0 => value,
        Field::Shift => value + by,
        Field::Set(value) => value,
    }
}

fn moved(value: i32, by: i32) -> i32 {
    if value < 0 { value } else { value.wrapping_add(by) }
}

/// The same by decoding the whole body.
fn reference(version: i16, body: &[u8], patch_of: impl Fn(&str, i32) -> PartitionPatch) -> Vec<u8> {
    let mut answer = FetchResponse::decode(&mut Bytes::copy_from_slice(body), version).unwrap();
    for topic in &mut answer.responses {
        let name = topic.topic.to_string();
        for data in &mut topic.partitions {
            let patch = patch_of(&name, data.partition_index);
            data.error_code = patch.error_code.unwrap_or(data.error_code);
            data.high_watermark = shifted(data.high_watermark, patch.high_watermark, patch.shift);
            data.last_stable_offset = shifted(data.last_stable_offset, patch.last_stable_offset, patch.shift);
            if version >= 5 {
                data.log_start_offset = shifted(data.log_start_offset, patch.log_start_offset, patch.shift);
            }
            for aborted in data.aborted_transactions.iter_mut().flatten() {
                aborted.first_offset += patch.shift;
            }
            if version >= 11 {
                data.preferred_read_replica = BrokerId(if patch.no_preferred_replica {
                    -1
                } else {
                    moved(data.preferred_read_replica.0, patch.node_id_base)
                });
            }
            let leader = &mut data.current_leader;
            leader.leader_id = BrokerId(moved(leader.leader_id.0, patch.node_id_base));
            leader.leader_epoch = moved(leader.leader_epoch, patch.epoch_shift);
            let diverging = &mut data.diverging_epoch;
            diverging.epoch = moved(diverging.epoch, patch.epoch_shift);
            diverging.end_offset = shifted(diverging.end_offset, Field::Shift, patch.shift);
            if let Some(records) = &mut data.records {
                let mut patched = records.to_vec();
                reference_batches(&mut patched, &patch);
                *records = patched.into();
            }
        }
    }
    encode(version, &answer)
}

fn reference_batches(records: &mut [u8], patch: &PartitionPatch) {
    let mut at = 0;
    while records.len() - at >= 17 {
        let batch = &mut records[at..];
        let base = i64::from_be_bytes(batch[..8].try_into().unwrap());
        let length = i32::from_be_bytes(batch[8..12].try_into().unwrap());
        let epoch = i32::from_be_bytes(batch[12..16].try_into().unwrap());
        batch[..8].copy_from_slice(&(base + patch.shift).to_be_bytes());
        batch[12..16].copy_from_slice(&moved(epoch, patch.epoch_shift).to_be_bytes());
        if at > 0 && patch.physical_end.is_some_and(|end| base >= end) {
            batch[8..12].copy_from_slice(&(1_i32 << 30).to_be_bytes());
            return;
        }
        at = records.len().min(at + 12 + usize::try_from(length).unwrap());
    }
}

/// What the walker told.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    out: Vec<u8>,
    partitions: Vec<(String, Partition)>,
    ends: Vec<PartitionEnd>,
    topics_end: usize,
}

/// Drives the walker as a driver does: `cuts` are the lengths of the chunks, repeated. The head passes unchanged.
fn walk(
    version: i16,
    body: &[u8],
    cuts: &[usize],
    patch_of: impl Fn(&str, i32) -> PartitionPatch,
) -> Result<Told, WireError> {
    let mut told = Told::default();
    let head = Head::parse(version, body)?.ok_or(WireError::Truncated { what: "head" })?;
    told.out.extend_from_slice(&body[..head.size]);
    let body = &body[head.size..];
    let mut walker = Walker::new(version, &head, body.len())?;
    let mut read = 0;
    let mut cuts = cuts.iter().copied().cycle();
    loop {
        let length = cuts.next().unwrap().max(1).min(body.len() - read);
        let mut chunk = body[read..read + length].to_vec();
        read += length;
        let mut at = 0;
        loop {
            let rest = chunk.len() - at;
            match walker.next(&mut chunk[at..])? {
                Event::Pass(count) => {
                    assert!(0 < count && count <= rest);
                    told.out.extend_from_slice(&chunk[at..at + count]);
                    at += count;
                }
                Event::Kept(count) => {
                    assert!(0 < count && count <= rest);
                    at += count;
                }
                Event::Emit => told.out.extend_from_slice(walker.kept()),
                Event::Topic(_) => {}
                Event::Partition(partition) => {
                    told.partitions.push((walker.topic().to_owned(), partition));
                    walker.patch(patch_of(walker.topic(), partition.index));
                }
                Event::PartitionEnd(end) => told.ends.push(end),
                Event::TopicsEnd => told.topics_end = told.out.len(),
                Event::End => {
                    assert_eq!(walker.remaining(), 0);
                    return Ok(told);
                }
                Event::NeedMore => {
                    assert_eq!(rest, 0);
                    assert!(read < body.len(), "the body is used up");
                    break;
                }
            }
        }
    }
}

fn sample() -> Vec<(&'static str, Vec<Spec>)> {
    let plain = |index, records| Spec { index, records, aborted: None, leader: None, replica: -1 };
    let mut cut = batches(200, 4, &[b"one", b"two"]);
    cut.truncate(cut.len() - 3);
    let mut stub = batches(300, -1, &[b"one", b"two"]);
    stub.truncate(batches(300, -1, &[b"one"]).len() + 16);
    vec![
        (
            "orders",
            vec![
                Spec {
                    index: 0,
                    records: Some(batches(100, 3, &[b"a", b"bb", b"ccc", b"dddd"])),
                    aborted: Some(vec![100, 102]),
                    leader: Some((2, 7)),
                    replica: 5,
                },
                plain(1, Some(cut)),
                plain(2, Some(vec![])),
                plain(3, None),
            ],
        ),
        ("none", vec![]),
        ("late", vec![Spec { replica: 1, ..plain(0, Some(stub)) }, plain(1, Some(vec![1; 11]))]),
    ]
}

fn patch_of(topic: &str, index: i32) -> PartitionPatch {
    match (topic, index) {
        ("orders", 0) => PartitionPatch {
            shift: 5000,
            epoch_shift: 1024,
            high_watermark: Field::Set(123_456),
            last_stable_offset: Field::Shift,
            log_start_offset: Field::Set(7),
            physical_end: Some(102),
            node_id_base: 10_000,
            ..PartitionPatch::default()
        },
        ("orders", 3) => PartitionPatch { error_code: Some(6), shift: 1, ..PartitionPatch::default() },
        ("late", 0) => PartitionPatch {
            shift: -250,
            epoch_shift: 9,
            high_watermark: Field::Shift,
            physical_end: Some(300),
            no_preferred_replica: true,
            ..PartitionPatch::default()
        },
        (_, 1) => PartitionPatch { shift: 40, log_start_offset: Field::Shift, ..PartitionPatch::default() },
        _ => PartitionPatch::default(),
    }
}

#[test]
fn every_chunk_size_gives_what_the_whole_body_gives() {
    for version in VERSIONS {
        let body = encode(version, &answer(version, &sample()));
        let expected = reference(version, &body, patch_of);
        assert_ne!(expected, body);
        for size in 1..=body.len() {
            let told = walk(version, &body, &[size], patch_of).unwrap();
            assert_eq!(told.out, expected, "version {version}, chunks of {size}");
            assert_eq!(told.topics_end, told.out.len() - usize::from(version >= 12), "before the last tagged fields");
            let first = &told.partitions[0].1;
            assert_eq!((first.high_watermark, first.last_stable_offset), (1000, 900));
            assert_eq!(first.log_start_offset, if version >= 5 { 10 } else { -1 });
            let clipped: Vec<_> = told.ends.iter().map(|end| end.clipped).collect();
            assert_eq!(clipped, [true, false, false, false, false, false]);
            assert_eq!(told.ends[0].first_base_offset, Some(100));
            let untouched = walk(version, &body, &[size], |_, _| PartitionPatch::default()).unwrap();
            assert_eq!(untouched.out, body);
        }
    }
}

#[test]
fn a_clipped_answer_ends_before_the_hidden_batch() {
    let body = encode(4, &answer(4, &sample()));
    let told = walk(4, &body, &[64], patch_of).unwrap();
    let answer = FetchResponse::decode(&mut Bytes::from(told.out), 4).unwrap();
    let bytes = answer.responses[0].partitions[0].records.clone().unwrap();
    let seen: Vec<_> = records(&bytes).map(|record| record.unwrap().offset).collect();
    assert_eq!(seen, [5100, 5101]);
    let one = batches(100, 3, &[b"a"]).len();
    let hidden = BatchHeader::parse(&bytes[one + batches(101, 3, &[b"bb"]).len()..]).unwrap();
    assert_eq!(hidden.batch_length, CLIPPED_LENGTH);
    // The first batch is at the end already: it can't be hidden here, a peek tells before anything is sent.
    let late = encode(4, &super::tests::answer(4, &sample()[2..]));
    let peek = peek(4, late.len(), &late).unwrap().unwrap();
    assert_eq!(peek.first_base_offset, Some(300));
}

#[test]
fn older_formats_pass_and_their_offsets_move() {
    // Offset, size, CRC, magic 1, attributes, timestamp, key, value.
    let mut old = Vec::new();
    for offset in [40_i64, 41] {
        old.extend_from_slice(&offset.to_be_bytes());
        old.extend_from_slice(&23_i32.to_be_bytes());
        old.extend_from_slice(&[0, 0, 0, 5, 1, 0]);
        old.extend_from_slice(&[0; 8]);
        old.extend_from_slice(&[0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1, b'v']);
    }
    let spec = Spec { index: 0, records: Some(old.clone()), aborted: None, leader: None, replica: -1 };
    let body = encode(4, &answer(4, &[("t", vec![spec])]));
    let patch = PartitionPatch { shift: 1000, epoch_shift: 3, ..PartitionPatch::default() };
    for size in [1, 5, 17, body.len()] {
        let told = walk(4, &body, &[size], |_, _| patch).unwrap();
        let answer = FetchResponse::decode(&mut Bytes::from(told.out), 4).unwrap();
        let mut expected = old.clone();
        put(&mut expected, 0, 1040_i64.to_be_bytes());
        put(&mut expected, 35, 1041_i64.to_be_bytes());
        assert_eq!(answer.responses[0].partitions[0].records.as_deref(), Some(&expected[..]));
    }
}

#[test]
fn a_batch_that_does_not_even_hold_its_own_header_breaks_the_answer() {
    let mut bytes = batches(0, 0, &[b"v", b"w"]);
    put(&mut bytes, 8, (-12_i32).to_be_bytes());
    let spec = Spec { index: 0, records: Some(bytes), aborted: None, leader: None, replica: -1 };
    let body = encode(12, &answer(12, &[("t", vec![spec])]));
    let patch = PartitionPatch { shift: 1, ..PartitionPatch::default() };
    assert!(matches!(walk(12, &body, &[7], |_, _| patch), Err(WireError::Length { .. })));
}

#[test]
fn a_peek_tells_the_first_partition_or_asks_for_more() {
    for version in VERSIONS {
        let body = encode(version, &answer(version, &sample()));
        let mut seen = None;
        for cut in 0..=body.len() {
            let now = peek(version, body.len(), &body[..cut]).unwrap();
            assert!(seen.is_none() || now.is_some());
            seen = now;
        }
        let seen = seen.unwrap();
        assert_eq!(seen.first.map(|(topic, partition)| (topic, partition.index)), Some(("orders", 0)));
        assert_eq!(seen.first_base_offset, Some(100));
        assert_eq!(seen.records as usize, batches(0, 0, &[b"a", b"bb", b"ccc", b"dddd"]).len());
        assert!(seen.records as usize > HEADER);
    }
}

#[test]
fn a_head_is_written_as_it_is_read() {
    for version in VERSIONS {
        let body = encode(version, &answer(version, &sample()));
        for cut in 0..MAX_HEAD.min(10) {
            let parsed = Head::parse(version, &body[..cut]).unwrap();
            assert!(parsed.is_none() || parsed.unwrap().size <= cut);
        }
        let head = Head::parse(version, &body).unwrap().unwrap();
        assert_eq!((head.topics, head.throttle_time_ms), (3, 3));
        assert_eq!(head.session_id, if version >= 7 { 55 } else { 0 });
        for topics in [0, 3, 126, 127, 128, 20_000, 1 << 30] {
            let head = Head { topics, session_id: 0, ..head };
            let mut out = Vec::new();
            head.encode(version, &mut out);
            assert_eq!(out.len(), head.encoded_size(version));
            assert!(out.len() <= MAX_HEAD);
            let again = Head::parse(version, &out).unwrap().unwrap();
            assert_eq!(again, Head { size: out.len(), ..head });
        }
    }
}

#[test]
fn topics_can_be_added_to_a_brokers_answer() {
    use crate::fetch_answer::{Entry, encode_topic};
    for version in VERSIONS {
        let body = encode(version, &answer(version, &sample()));
        let told = walk(version, &body, &[33], |_, _| PartitionPatch::default()).unwrap();
        let head = Head::parse(version, &body).unwrap().unwrap();
        let mut added = Vec::new();
        encode_topic(version, "added", &[Entry::empty(4, 9, 9, 0), Entry::error(5, 6)], &mut added).unwrap();
        let mut out = Vec::new();
        Head { topics: head.topics + 1, session_id: 0, ..head }.encode(version, &mut out);
        out.extend_from_slice(&told.out[head.size..told.topics_end]);
        out.extend_from_slice(&added);
        out.extend_from_slice(&told.out[told.topics_end..]);
        let mut bytes = Bytes::from(out);
        let merged = FetchResponse::decode(&mut bytes, version).unwrap();
        assert!(bytes.is_empty());
        assert_eq!(merged.responses.len(), 4);
        let last = &merged.responses[3];
        assert_eq!((last.topic.as_str(), last.partitions.len()), ("added", 2));
        assert_eq!((last.partitions[0].high_watermark, last.partitions[1].error_code), (9, 6));
    }
}

fn specs() -> impl Strategy<Value = Vec<(&'static str, Vec<Spec>)>> {
    let values = proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..60), 0..5);
    let spec = (0_i32..5, values, 0_i64..500, proptest::option::of(0..3_usize), -1_i32..3, 0_usize..90).prop_map(
        |(index, values, base, aborted, replica, cut)| {
            let values: Vec<_> = values.iter().map(Vec::as_slice).collect();
            let mut records = batches(base, replica, &values);
            records.truncate(records.len().saturating_sub(cut));
            Spec {
                index,
                records: (cut != 1).then_some(records),
                aborted: aborted.map(|count| vec![base; count]),
                leader: (replica > 0).then_some((replica, 3)),
                replica,
            }
        },
    );
    let topic = prop_oneof![Just("orders"), Just("late"), Just("other")];
    proptest::collection::vec((topic, proptest::collection::vec(spec, 0..4)), 0..4)
}

proptest! {
    #[test]
    fn any_chunks_give_what_the_whole_body_gives(
        specs in specs(),
        version in VERSIONS,
        cuts in proptest::collection::vec(1_usize..90, 1..8),
    ) {
        let body = encode(version, &answer(version, &specs));
        let told = walk(version, &body, &cuts, patch_of).unwrap();
        prop_assert_eq!(told.out, reference(version, &body, patch_of));
        prop_assert!(peek(version, body.len(), &body).unwrap().is_some());
    }

    #[test]
    fn hostile_bytes_never_panic_and_chunks_do_not_matter(
        specs in specs(),
        version in VERSIONS,
        mutations in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6),
        cuts in proptest::collection::vec(1_usize..90, 1..8),
        cut_off in any::<proptest::sample::Index>(),
    ) {
        let mut body = encode(version, &answer(version, &specs));
        for (at, value) in &mutations {
            let at = at.index(body.len());
            body[at] = *value;
        }
        let body = &body[..=cut_off.index(body.len())];
        let patch = |topic: &str, index: i32| patch_of(topic, index.rem_euclid(4));
        let whole = walk(version, body, &[body.len()], patch);
        let pieces = walk(version, body, &cuts, patch);
        prop_assert_eq!(&whole, &pieces);
        if let Ok(told) = walk(version, body, &cuts, |_, _| PartitionPatch::default()) {
            prop_assert_eq!(&told.out, body, "nothing patched, nothing changed");
            prop_assert!(peek(version, body.len(), body).is_ok());
        }
    }
}
