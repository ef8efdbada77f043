//! Bytes that are no Kafka, or no good one: the connection closes, nothing panics.

use bytes::Bytes;
use kafka_protocol::messages::{ApiKey, ApiVersionsRequest, ApiVersionsResponse};
use proptest::prelude::*;
use sluice_testkit::{frame, sample};
use sluice_wire::version::OFFERED;

use super::rig::Rig;
use crate::step::CloseReason;

fn closes(bytes: &[u8]) -> Option<CloseReason> {
    let mut rig = Rig::sample(sample::east(1));
    rig.write(bytes);
    rig.closed
}

fn header(length: i32, key: i16, version: i16) -> Vec<u8> {
    let mut bytes = length.to_be_bytes().to_vec();
    bytes.extend(key.to_be_bytes());
    bytes.extend(version.to_be_bytes());
    bytes.extend(7_i32.to_be_bytes());
    bytes.extend((-1_i16).to_be_bytes());
    bytes
}

#[test]
fn wrong_starts() {
    assert_eq!(closes(&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00]), Some(CloseReason::TlsOnPlaintext));
    assert_eq!(closes(b"GET / HTTP/1.1\r\n\r\n"), Some(CloseReason::BadLength));
    assert_eq!(closes(&(-5_i32).to_be_bytes()), Some(CloseReason::BadLength));
    assert_eq!(closes(&3_i32.to_be_bytes()), Some(CloseReason::BadLength));
    assert_eq!(closes(&(i32::MAX - 1).to_be_bytes()), Some(CloseReason::BadLength));
    assert_eq!(closes(&header(10, 999, 0)), Some(CloseReason::UnknownApi));
    assert_eq!(closes(&header(10, -3, 0)), Some(CloseReason::UnknownApi));
    assert_eq!(closes(&header(10, 4, 0)), Some(CloseReason::InterBroker), "LeaderAndIsr");
    assert_eq!(closes(&header(10, 27, 0)), Some(CloseReason::InterBroker), "WriteTxnMarkers");
    assert_eq!(closes(&header(10, 0, 13)), Some(CloseReason::UnsupportedVersion));
    assert_eq!(closes(&header(10, 1, 13)), Some(CloseReason::UnsupportedVersion));
    assert_eq!(closes(&header(10, 3, -1)), Some(CloseReason::UnsupportedVersion));
    assert_eq!(closes(&header(20 * 1024 * 1024, 3, 1)), Some(CloseReason::BadLength), "too long to be gathered");
}

#[test]
fn an_unknown_version_of_api_versions_is_answered() {
    let mut rig = Rig::sample(sample::east(1));
    let mut bytes = header(14, ApiKey::ApiVersions as i16, 99);
    bytes.extend([1, 2, 3, 4]);
    rig.write(&bytes);
    let answer: ApiVersionsResponse = rig.response::<ApiVersionsRequest>(7, 0);
    assert_eq!(answer.error_code, 35);
    assert!(answer.api_keys.iter().any(|api| api.api_key == 18), "the client learns what it may ask with");
    rig.request(8, &ApiVersionsRequest::default(), 3);
    let answer = rig.response::<ApiVersionsRequest>(8, 3);
    assert_eq!(answer.error_code, 0);
    let produce = answer.api_keys.iter().find(|api| api.api_key == 0).unwrap();
    assert_eq!((produce.min_version, produce.max_version), (0, 11));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn any_body_of_an_offered_api(
        line in 0..OFFERED.len(),
        step in 0_i16..12,
        body in prop::collection::vec(any::<u8>(), 0..300),
        west in any::<bool>(),
        chunk in 1_usize..400,
        answer in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let line = &OFFERED[line];
        let version = (line.min + step).min(line.max);
        let broker = if west { sample::west(1) } else { sample::east(1) };
        let mut rig = Rig::sample(broker).with_chunks(vec![chunk]).with_broker(move |_, header, _| {
            let mut whole = header.correlation_id.to_be_bytes().to_vec();
            whole.extend_from_slice(&answer);
            Some(frame::framed(&whole))
        });
        let mut bytes = header(10 + i32::try_from(body.len()).unwrap(), line.key as i16, version);
        bytes.extend_from_slice(&body);
        rig.write_raw(&bytes);
    }

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200), chunk in 1_usize..50) {
        let mut rig = Rig::sample(sample::east(1)).with_chunks(vec![chunk]);
        rig.write_raw(&bytes);
    }
}

impl Rig {
    /// As `write`, for bytes whose holds and rests do not matter.
    fn write_raw(&mut self, bytes: &[u8]) {
        self.lenient = true;
        self.write(&Bytes::copy_from_slice(bytes));
        self.now += 60_000;
        self.again();
    }
}
