use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{ProduceRequest, TopicName, TransactionalId};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use proptest::prelude::*;

use super::*;
use crate::batch::{BatchHeader, build_batch, flip_crc_bit, set_producer_id};

/// What a caller does with a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Do {
    Nothing,
    Refuse,
    Tag,
}

/// Topic, partition, bytes of records, what to do with the batch.
type Spec = Vec<(String, Vec<(i32, Option<Vec<u8>>)>)>;

fn request(transactional_id: Option<&str>, spec: &Spec) -> ProduceRequest {
    let topics = spec.iter().map(|(topic, partitions)| {
        let partitions = partitions.iter().map(|(index, records)| {
            PartitionProduceData::default().with_index(*index).with_records(records.clone().map(Bytes::from))
        });
        TopicProduceData::default()
            .with_name(TopicName(StrBytes::from_string(topic.clone())))
            .with_partition_data(partitions.collect())
    });
    ProduceRequest::default()
        .with_transactional_id(transactional_id.map(|id| TransactionalId(StrBytes::from_string(id.to_owned()))))
        .with_acks(-1)
        .with_timeout_ms(30_000)
        .with_topic_data(topics.collect())
}

fn encode(version: i16, request: &ProduceRequest) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    request.encode(&mut bytes, version).unwrap();
    bytes.to_vec()
}

fn patch(header: &mut [u8; HEADER], what: Do) {
    match what {
        Do::Nothing => {}
        Do::Refuse => flip_crc_bit(header),
        Do::Tag => {
            // Payload that is no batch has no producer id either.
            let _ = set_producer_id(header, 0x4d | 1 << 48);
        }
    }
}

/// The same by decoding the whole frame.
fn reference(version: i16, body: &[u8], what: impl Fn(i32) -> Do) -> Vec<u8> {
    let mut request = ProduceRequest::decode(&mut Bytes::copy_from_slice(body), version).unwrap();
    for topic in &mut request.topic_data {
        for partition in &mut topic.partition_data {
            let mut records = partition.records.clone().map(|records| records.to_vec());
            if let Some(header) = records.as_mut().and_then(|records| records.first_chunk_mut()) {
                patch(header, what(partition.index));
            }
            partition.records = records.map(Bytes::from);
        }
    }
    encode(version, &request)
}

/// What the walker told.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    out: Vec<u8>,
    heads: Vec<Head>,
    partitions: Vec<(String, Partition)>,
    batches: Vec<BatchHeader>,
    ends: usize,
    transactional_id: Option<String>,
}

/// Drives the walker as a driver does: `cuts` are the lengths of the chunks, repeated.
fn walk(walker: &mut Walker, body: &[u8], cuts: &[usize], what: impl Fn(i32) -> Do) -> Result<Told, WireError> {
    let mut told = Told::default();
    let mut read = 0;
    let mut cuts = cuts.iter().copied().cycle();
    let mut ended = false;
    let mut before_batch = 0;
    while !ended {
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
                Event::Head(head) => {
                    told.heads.push(head);
                    told.transactional_id = walker.transactional_id().map(str::to_owned);
                }
                Event::Topic(_) => {}
                Event::Partition(partition) => {
                    told.partitions.push((walker.topic().to_owned(), partition));
                    before_batch = told.out.len();
                }
                Event::Batch => {
                    assert_eq!(told.out.len(), before_batch, "nothing of the records has been passed");
                    let index = told.partitions.last().unwrap().1.index;
                    let header = walker.batch(&mut chunk[at..]).unwrap();
                    told.batches.push(BatchHeader::read(header));
                    patch(header, what(index));
                }
                Event::Emit => told.out.extend_from_slice(walker.kept()),
                Event::PartitionEnd => told.ends += 1,
                Event::End => {
                    assert_eq!(walker.remaining(), 0);
                    ended = true;
                    break;
                }
                Event::NeedMore => {
                    assert_eq!(rest, 0);
                    break;
                }
            }
        }
        let stuck = !ended && read == body.len() && at == chunk.len() && walker.remaining() > 0;
        assert!(!stuck, "the body is used up, {} bytes are still wanted", walker.remaining());
    }
    Ok(told)
}

fn sample() -> Spec {
    let batch = |value: &[u8]| build_batch(&[(None, Some(value))], (5, 0, 9), 1).unwrap().to_vec();
    vec![
        ("orders".to_owned(), vec![(0, Some(batch(b"first"))), (1, Some(batch(&[7; 300])))]),
        ("empty".to_owned(), vec![]),
        ("odd".to_owned(), vec![(0, None), (1, Some(vec![])), (2, Some(vec![1; 60])), (3, Some(vec![2; 61]))]),
        ("last".to_owned(), vec![(2, Some(batch(b"x")))]),
    ]
}

fn verdict(index: i32) -> Do {
    [Do::Refuse, Do::Tag, Do::Nothing, Do::Refuse][usize::try_from(index).unwrap() % 4]
}

#[test]
fn every_chunk_size_gives_what_the_whole_frame_gives() {
    let spec = sample();
    for version in VERSIONS {
        for transactional_id in [None, Some("tx")] {
            let body = encode(version, &request(transactional_id, &spec));
            let expected = reference(version, &body, verdict);
            let mut walker = Walker::new(version, body.len()).unwrap();
            for size in 1..=body.len() {
                walker.restart(version, body.len()).unwrap();
                let told = walk(&mut walker, &body, &[size], verdict).unwrap();
                assert_eq!(told.out, expected, "version {version}, chunks of {size}");
                let head = Head { transactional: transactional_id.is_some(), acks: -1, timeout_ms: 30_000, topics: 4 };
                assert_eq!(told.heads, [head]);
                assert_eq!(told.transactional_id.as_deref(), transactional_id);
                let seen: Vec<_> = told
                    .partitions
                    .iter()
                    .map(|(topic, p)| (topic.as_str(), p.index, p.records.is_some(), p.last))
                    .collect();
                assert_eq!(
                    seen,
                    [
                        ("orders", 0, true, false),
                        ("orders", 1, true, false),
                        ("odd", 0, false, false),
                        ("odd", 1, true, false),
                        ("odd", 2, true, false),
                        ("odd", 3, true, false),
                        ("last", 2, true, true),
                    ]
                );
                assert_eq!(told.batches.len(), 4);
                assert_eq!(told.ends, 7);
            }
        }
    }
}

#[test]
fn what_follows_the_frame_is_left_alone() {
    let body = encode(9, &request(None, &sample()));
    let mut walker = Walker::new(9, body.len()).unwrap();
    let mut chunk = body.clone();
    chunk.extend_from_slice(b"next frame");
    let mut at = 0;
    loop {
        match walker.next(&mut chunk[at..]).unwrap() {
            Event::Pass(count) => at += count,
            Event::End => break,
            Event::Kept(_) | Event::Emit | Event::NeedMore => panic!("all of it is there"),
            _ => {}
        }
    }
    assert_eq!(at, body.len());
}

#[test]
fn a_peek_sees_the_first_partition_or_asks_for_more() {
    let spec = sample();
    for version in VERSIONS {
        let body = encode(version, &request(Some("tx"), &spec));
        let batch = spec[0].1[0].1.as_ref().unwrap();
        let mut seen = None;
        for cut in 0..=body.len() {
            let peek = peek(version, body.len(), &body[..cut]).unwrap();
            assert!(seen.is_none() || peek.is_some(), "more bytes never tell less");
            seen = peek;
        }
        let seen = seen.unwrap();
        assert_eq!(seen.transactional_id, Some("tx"));
        assert_eq!(seen.first.map(|(topic, partition)| (topic, partition.index)), Some(("orders", 0)));
        assert_eq!(seen.batch.unwrap(), batch.first_chunk().unwrap());
        assert!(!seen.single);
        let single = vec![("only".to_owned(), vec![(4, Some(batch.clone()))])];
        let body = encode(version, &request(None, &single));
        let seen = peek(version, body.len(), &body).unwrap().unwrap();
        assert!(seen.single && seen.first.unwrap().1.last);
        let none = encode(version, &request(None, &vec![("none".to_owned(), vec![])]));
        assert_eq!(peek(version, none.len(), &none).unwrap().unwrap().first, None);
    }
}

#[test]
fn the_longest_names_fit_a_peek() {
    let long = "x".repeat(32_767);
    let batch = build_batch(&[(None, Some(b"v"))], (-1, -1, -1), 0).unwrap().to_vec();
    let spec = vec![(long.clone(), vec![(0, Some(batch))])];
    for version in VERSIONS {
        let body = encode(version, &request(Some(&long), &spec));
        let prefix = &body[..body.len().min(MAX_PEEK)];
        let seen = peek(version, body.len(), prefix).unwrap().unwrap();
        assert_eq!(seen.first.unwrap().0, long);
        assert!(seen.batch.is_some());
    }
}

#[test]
fn lengths_beyond_the_frame_are_refused_before_their_bytes() {
    // Version 3: null id, acks, timeout, then a count of topics that the frame can't hold.
    let mut body = vec![0xff, 0xff, 0, 1, 0, 0, 0, 1];
    body.extend_from_slice(&i32::MAX.to_be_bytes());
    let mut walker = Walker::new(3, body.len()).unwrap();
    let mut chunk = body.clone();
    assert!(matches!(walker.next(&mut chunk), Err(WireError::Length { .. } | WireError::Count { .. })));
    assert!(peek(3, body.len(), &body).is_err());
    // Records that go past the end.
    let mut body = encode(3, &request(None, &vec![("t".to_owned(), vec![(0, Some(vec![1; 61]))])]));
    let at = body.len() - 65;
    body[at..at + 4].copy_from_slice(&62_i32.to_be_bytes());
    let mut walker = Walker::new(3, body.len()).unwrap();
    let told = (0..3).map(|_| walker.next(&mut body)).find(Result::is_err);
    assert!(matches!(told, Some(Err(WireError::Length { .. }))), "{told:?}");
    assert!(Walker::new(2, 10).is_err() && Walker::new(12, 10).is_err());
}

fn specs() -> impl Strategy<Value = Spec> {
    let records = proptest::option::of(proptest::collection::vec(any::<u8>(), 0..200));
    let partitions = proptest::collection::vec((0_i32..8, records), 0..4);
    proptest::collection::vec(("[a-z]{0,12}", partitions), 0..4)
}

proptest! {
    #[test]
    fn any_chunks_give_what_the_whole_frame_gives(
        spec in specs(),
        version in VERSIONS,
        transactional_id in proptest::option::of("[a-z]{0,5}"),
        cuts in proptest::collection::vec(1_usize..90, 1..8),
    ) {
        let body = encode(version, &request(transactional_id.as_deref(), &spec));
        let mut walker = Walker::new(version, body.len()).unwrap();
        let told = walk(&mut walker, &body, &cuts, verdict).unwrap();
        prop_assert_eq!(told.out, reference(version, &body, verdict));
        prop_assert!(peek(version, body.len(), &body).unwrap().is_some());
    }

    #[test]
    fn hostile_bytes_never_panic_and_chunks_do_not_matter(
        spec in specs(),
        version in VERSIONS,
        mutations in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6),
        cuts in proptest::collection::vec(1_usize..90, 1..8),
        cut_off in any::<proptest::sample::Index>(),
    ) {
        let mut body = encode(version, &request(Some("id"), &spec));
        for (at, value) in &mutations {
            let at = at.index(body.len());
            body[at] = *value;
        }
        let body = &body[..=cut_off.index(body.len())];
        let walked = |cuts: &[usize]| walk(&mut Walker::new(version, body.len()).unwrap(), body, cuts, |_| Do::Nothing);
        let whole = walked(&[body.len()]);
        let pieces = walked(&cuts);
        prop_assert_eq!(&whole, &pieces);
        if let Ok(told) = whole {
            prop_assert_eq!(&told.out, body, "nothing patched, nothing changed");
            prop_assert!(peek(version, body.len(), body).is_ok());
        }
    }
}
