//! Frames, headers and bounded bodies. `cargo +nightly fuzz run frame -- -rss_limit_mb=512`: the limit is the point, for
//! what must never happen is an allocation from a declared count.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sluice_wire::header::{AnswerHeader, RequestHeader};
use sluice_wire::kafka_protocol::messages::{
    ApiVersionsResponse, CreateTopicsRequest, MetadataRequest, MetadataResponse, OffsetCommitRequest, ProduceResponse,
};
use sluice_wire::{ApiKey, bounds, error_answer, frame, walk};

fuzz_target!(|data: &[u8]| {
    let Some((prefix, rest)) = data.split_first_chunk::<4>() else {
        return;
    };
    let _ = frame::check_length(*prefix, 100 << 20);
    let Ok(Some(header)) = RequestHeader::parse(rest) else {
        return;
    };
    let (key, version) = (header.key, header.version);
    let body = &rest[header.size..];
    let _ = AnswerHeader::parse(key, version, body);
    if let Ok(known) = ApiKey::try_from(key) {
        let _ = bounds::check_request(known, version, body);
        let _ = bounds::check_answer(known, version, body);
    }
    let bytes = || bytes_of(body);
    let _ = bounds::decode_request::<MetadataRequest>(ApiKey::Metadata, version, bytes());
    let _ = bounds::decode_request::<OffsetCommitRequest>(ApiKey::OffsetCommit, version, bytes());
    let _ = bounds::decode_request::<CreateTopicsRequest>(ApiKey::CreateTopics, version, bytes());
    let _ = bounds::decode_answer::<MetadataResponse>(ApiKey::Metadata, version, bytes());
    let _ = bounds::decode_answer::<ApiVersionsResponse>(ApiKey::ApiVersions, version, bytes());
    let _ = bounds::decode_answer::<ProduceResponse>(ApiKey::Produce, version, bytes());
    let asked = error_answer::Asked { key, version, correlation_id: header.correlation_id };
    let _ = error_answer::encode(asked, bytes(), 16);
    let _ = walk::produce_answer::scan(version, body);
    let _ = walk::fetch_request::FetchRequest::parse(version, &mut body.to_vec()).map(|mut request| {
        request.edit(|_, partition| partition.fetch_offset = 0);
        request.subset(|_, partition| partition.index % 2 == 0)
    });
    for record in sluice_wire::batch::records(body) {
        let _ = record;
    }
});

fn bytes_of(body: &[u8]) -> bytes::Bytes {
    bytes::Bytes::copy_from_slice(body)
}
