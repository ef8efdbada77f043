use kafka_protocol::messages::FetchResponse;

use super::*;
use crate::batch::build_batch;
use crate::bounds::decode_answer_frame;

#[test]
fn a_local_answer_is_what_the_decoder_reads() {
    let batch = build_batch(&[(None, Some(b"v"))], (-1, -1, -1), 0).unwrap();
    let entries = [
        Entry::empty(0, 30, 20, 10),
        Entry { leader: Some((10_001, 2048)), ..Entry::error(1, 6) },
        Entry { records: batch.clone(), ..Entry::empty(2, 1, 1, 0) },
    ];
    let head = Head { throttle_time_ms: 4, error_code: 70, session_id: 0, topics: 99, size: 99 };
    for version in VERSIONS {
        let frame = encode(version, 3, &head, &[("a", &entries), ("b", &entries[..1])]).unwrap();
        assert_eq!(frame[..4], u32::try_from(frame.len() - 4).unwrap().to_be_bytes());
        let answer: FetchResponse = decode_answer_frame(ApiKey::Fetch, version, 3, frame.slice(4..)).unwrap();
        assert_eq!((answer.throttle_time_ms, answer.session_id), (4, 0));
        assert_eq!(answer.error_code, if version >= 7 { 70 } else { 0 });
        assert_eq!(answer.responses.len(), 2);
        let [empty, refused, full] = &answer.responses[0].partitions[..] else {
            panic!("three partitions");
        };
        assert_eq!((empty.high_watermark, empty.last_stable_offset), (30, 20));
        assert_eq!(empty.log_start_offset, if version >= 5 { 10 } else { -1 });
        assert_eq!((empty.error_code, empty.preferred_read_replica.0), (0, -1));
        assert_eq!(empty.records.as_deref(), Some(&[][..]));
        assert_eq!(refused.error_code, 6);
        let leader = (refused.current_leader.leader_id.0, refused.current_leader.leader_epoch);
        assert_eq!(leader, if version >= 12 { (10_001, 2048) } else { (-1, -1) });
        assert_eq!(full.records.as_ref(), Some(&batch));
        let mut again = Vec::new();
        encode_topic(version, "b", &entries[..1], &mut again).unwrap();
        assert!(frame.ends_with(&again) || version >= 12 && frame[..frame.len() - 1].ends_with(&again));
    }
    assert!(encode(13, 3, &head, &[]).is_err());
    assert!(encode_topic(4, &"x".repeat(40_000), &[], &mut Vec::new()).is_err());
}
