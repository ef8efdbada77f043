use bytes::{Bytes, BytesMut};
use kafka_protocol::protocol::Encodable;

use super::*;
use crate::bounds::decode_answer;

#[test]
fn every_line_is_within_what_the_decoder_knows_and_says_why_it_is_capped() {
    let mut last = -1;
    for line in OFFERED {
        let known = line.key.valid_versions();
        assert!(line.key as i16 > last, "{} is out of order", line.name);
        last = line.key as i16;
        assert_eq!(line.name, format!("{:?}", line.key));
        assert!(known.min <= line.min && line.min <= line.max && line.max <= known.max, "{}", line.name);
        assert_eq!(line.cap.is_empty(), line.max == known.max, "{}: the cap and its reason", line.name);
        assert!(line.advertised_min <= line.min);
    }
}

#[test]
fn only_versions_in_the_table_are_offered() {
    assert!(is_offered(0, 3) && is_offered(0, 11));
    assert!(!is_offered(0, 2) && !is_offered(0, 12));
    assert!(!is_offered(4, 0), "LeaderAndIsr is for brokers");
    assert!(!is_offered(27, 1), "WriteTxnMarkers is for brokers");
    assert!(flexible(1, 12) && !flexible(1, 11));
    assert_eq!(answer_header_version(18, 4), Some(0));
    assert_eq!(request_header_version(18, 4), Some(2));
    assert_eq!(request_header_version(-1, 0), None);
}

#[test]
fn the_slowest_broker_decides() {
    let new = [Range { key: 0, min: 3, max: 13 }, Range { key: 1, min: 4, max: 18 }, Range { key: 3, min: 0, max: 13 }];
    let old = [Range { key: 0, min: 0, max: 9 }, Range { key: 1, min: 0, max: 3 }, Range { key: 3, min: 0, max: 12 }];
    let common = intersect([&new[..], &old[..]]);
    assert_eq!(common, [Range { key: 0, min: 3, max: 9 }, Range { key: 3, min: 0, max: 12 }]);
    assert_eq!(intersect([]).len(), OFFERED.len());
    assert_eq!(highest_common(ApiKey::Produce, &new, 11), Some(11));
    assert_eq!(highest_common(ApiKey::Produce, &new, i16::MAX), Some(13));
    assert_eq!(highest_common(ApiKey::Fetch, &old, i16::MAX), None);
    assert_eq!(highest_common(ApiKey::FindCoordinator, &old, i16::MAX), None);
}

#[test]
fn clients_are_told_the_advertised_minimum_and_capped_features() {
    let features = [("transaction.version", 2), ("group.version", 1), ("share.version", 0)];
    let answer = api_versions_answer(&intersect([]), 0, &features, 7);
    let mut bytes = BytesMut::new();
    answer.encode(&mut bytes, 3).unwrap();
    let answer: ApiVersionsResponse = decode_answer(ApiKey::ApiVersions, 3, bytes.freeze()).unwrap();
    let produce = answer.api_keys.iter().find(|api| api.api_key == 0).unwrap();
    assert_eq!((produce.min_version, produce.max_version), (0, 11));
    let fetch = answer.api_keys.iter().find(|api| api.api_key == 1).unwrap();
    assert_eq!((fetch.min_version, fetch.max_version), (4, 12));
    let finalized: Vec<_> =
        answer.finalized_features.iter().map(|key| (key.name.to_string(), key.max_version_level)).collect();
    assert_eq!(finalized, [("transaction.version".to_owned(), 1), ("group.version".to_owned(), 1)]);
    assert_eq!(answer.finalized_features_epoch, 7);
    assert_eq!(ranges(&answer).len(), OFFERED.len());
}

#[test]
fn a_client_that_asked_too_new_a_version_can_read_version_0() {
    let frame = crate::error_answer::unsupported_api_versions(77, &intersect([])).unwrap();
    let body: Bytes = frame.slice(8..);
    assert_eq!(frame[4..8], 77_i32.to_be_bytes());
    let answer: ApiVersionsResponse = decode_answer(ApiKey::ApiVersions, 0, body).unwrap();
    assert_eq!(answer.error_code, 35);
    assert_eq!(answer.api_keys.len(), OFFERED.len());
}
