use bytes::BytesMut;
use kafka_protocol::messages::produce_response::BatchIndexAndErrorMessage;
use kafka_protocol::protocol::{Decodable, Encodable};
use proptest::prelude::*;

use super::*;
use crate::bounds::decode_answer_frame;

fn result(index: i32, error_code: i16) -> PartitionResult {
    let base_offset = if error_code == 0 { 100 + i64::from(index) } else { -1 };
    PartitionResult { index, error_code, error_message: None, base_offset, log_start_offset: 7, leader: None }
}

fn body(version: i16, answer: &ProduceResponse) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    answer.encode(&mut bytes, version).unwrap();
    bytes.to_vec()
}

fn sample(version: i16) -> ProduceResponse {
    let mut answer = build(&[("a", &[result(0, 0), result(1, 10)]), ("none", &[]), ("b", &[result(5, 0)])], &[]);
    if version >= 8 {
        let partition = &mut answer.responses[0].partition_responses[1];
        partition.error_message = Some(StrBytes::from_static_str("too large"));
        partition.record_errors =
            vec![BatchIndexAndErrorMessage::default().with_batch_index(3).with_batch_index_error_message(None)];
    }
    answer
}

#[test]
fn errors_are_counted() {
    for version in VERSIONS {
        let bytes = body(version, &sample(version));
        assert_eq!(scan(version, &bytes), Ok(Scan { partitions: 3, errors: 1 }));
        for cut in 0..bytes.len() {
            assert!(scan(version, &bytes[..cut]).is_err());
        }
    }
    assert!(scan(12, &[]).is_err());
}

#[test]
fn edits_land_where_the_decoder_reads() {
    for version in VERSIONS {
        let mut bytes = body(version, &sample(version));
        let mut names = Vec::new();
        edit(version, &mut bytes, |topic, partition| {
            names.push((topic.to_owned(), partition.index));
            if partition.error_code == 10 {
                partition.error_code = 6;
            } else {
                partition.base_offset += 5000;
                partition.log_start_offset = 1;
            }
        })
        .unwrap();
        assert_eq!(names, [("a".to_owned(), 0), ("a".to_owned(), 1), ("b".to_owned(), 5)]);
        let mut expected = sample(version);
        for topic in &mut expected.responses {
            for partition in &mut topic.partition_responses {
                if partition.error_code == 10 {
                    partition.error_code = 6;
                } else {
                    partition.base_offset += 5000;
                    partition.log_start_offset = 1;
                }
                if version < 5 {
                    partition.log_start_offset = -1;
                }
            }
        }
        assert_eq!(ProduceResponse::decode(&mut Bytes::from(bytes), version).unwrap(), expected);
    }
}

#[test]
fn a_hint_is_told_from_version_10_on() {
    let endpoint = Endpoint { node_id: 10_003, host: "127.0.1.4".to_owned(), port: 9103, rack: None };
    let moved = PartitionResult { leader: Some((10_003, 1025)), ..result(4, 6) };
    for version in VERSIONS {
        let mut answer = build(&[("a", &[result(4, 0), result(5, 0)])], &[]);
        assert!(set_result(&mut answer, "a", &moved));
        assert!(!set_result(&mut answer, "a", &result(9, 6)) && !set_result(&mut answer, "b", &moved));
        add_endpoint(&mut answer, &endpoint);
        add_endpoint(&mut answer, &endpoint);
        let frame = encode(version, 31, &answer).unwrap();
        let seen: ProduceResponse = decode_answer_frame(ApiKey::Produce, version, 31, frame.slice(4..)).unwrap();
        let partition = &seen.responses[0].partition_responses[0];
        assert_eq!((partition.error_code, partition.base_offset), (6, -1));
        if version >= 10 {
            assert_eq!((partition.current_leader.leader_id.0, partition.current_leader.leader_epoch), (10_003, 1025));
            assert_eq!(seen.node_endpoints.len(), 1);
            assert_eq!((seen.node_endpoints[0].host.as_str(), seen.node_endpoints[0].port), ("127.0.1.4", 9103));
        } else {
            assert_eq!(partition.current_leader.leader_id.0, -1);
            assert!(seen.node_endpoints.is_empty());
        }
        assert_eq!(seen.responses[0].partition_responses[1].error_code, 0);
    }
}

#[test]
fn an_error_is_told_in_words_from_version_8_on() {
    let words = StrBytes::from_static_str("not today");
    for version in VERSIONS {
        let mut answer = build(&[("a", &[result(4, 0), result(5, 0)])], &[]);
        let refused = PartitionResult { error_message: Some(words.clone()), ..result(4, 44) };
        assert!(set_result(&mut answer, "a", &refused));
        let frame = encode(version, 31, &answer).unwrap();
        let seen: ProduceResponse = decode_answer_frame(ApiKey::Produce, version, 31, frame.slice(4..)).unwrap();
        let [first, second] = seen.responses[0].partition_responses.as_slice() else { panic!("two partitions") };
        assert_eq!((first.error_code, &first.error_message), (44, &Some(words.clone()).filter(|_| version >= 8)));
        assert_eq!((second.error_code, &second.error_message), (0, &None));
        // Another result does not keep the words of the one before.
        assert!(set_result(&mut answer, "a", &result(4, 6)));
        assert_eq!(answer.responses[0].partition_responses[0].error_message, None);
    }
}

proptest! {
    #[test]
    fn hostile_answers_never_panic(
        version in VERSIONS,
        mutations in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..5),
    ) {
        let mut bytes = body(version, &sample(version));
        for (at, value) in &mutations {
            let at = at.index(bytes.len());
            bytes[at] = *value;
        }
        let before = bytes.clone();
        let edited = edit(version, &mut bytes, |_, _| {});
        prop_assert_eq!(&bytes, &before);
        if let Ok(seen) = scan(version, &bytes) {
            prop_assert!(edited.is_ok());
            let mut count = 0;
            edit(version, &mut bytes, |_, partition| count += usize::from(partition.error_code != 0)).unwrap();
            prop_assert_eq!(count, seen.errors);
        }
    }
}
