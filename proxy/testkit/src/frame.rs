//! Whole Kafka frames for tests: encoded and decoded by the kafka-protocol crate, independently of our own code.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey, RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};

/// The longest frame that the helpers read.
pub const MAX_FRAME_BYTES: usize = 128 * 1024 * 1024;

/// The client id of helper requests.
pub const CLIENT_ID: &str = "testkit";

/// Bytes with the length of the frame in front.
pub fn framed(frame: &[u8]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(frame.len() + 4);
    bytes.put_i32(i32::try_from(frame.len()).expect("a frame of a test fits 31 bits"));
    bytes.put_slice(frame);
    bytes.freeze()
}

/// A request, header and length prefix included.
pub fn request<R: Request>(correlation: i32, request: &R, version: i16) -> Bytes {
    let mut frame = BytesMut::new();
    let header = RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(version)
        .with_correlation_id(correlation)
        .with_client_id(Some(StrBytes::from_static_str(CLIENT_ID)));
    header.encode(&mut frame, R::header_version(version)).expect("the header's version is known");
    request.encode(&mut frame, version).expect("the test asks for a version that has these fields");
    framed(&frame)
}

/// An answer to request `R`, header and length prefix included.
pub fn response<R: Request>(correlation: i32, response: &R::Response, version: i16) -> Bytes {
    let mut frame = BytesMut::new();
    let header = ResponseHeader::default().with_correlation_id(correlation);
    header.encode(&mut frame, R::Response::header_version(version)).expect("the header's version is known");
    frame.put(response_body::<R>(response, version));
    framed(&frame)
}

/// The body alone of an answer to request `R`.
pub fn response_body<R: Request>(response: &R::Response, version: i16) -> Bytes {
    let mut body = BytesMut::new();
    response.encode(&mut body, version).expect("the test asks for a version that has these fields");
    body.freeze()
}

/// An answer to request `R` from a frame without its length: correlation id and body. `None` if it is not one, or has
/// bytes left over.
pub fn decode_response<R: Request>(frame: &Bytes, version: i16) -> Option<(i32, R::Response)> {
    let mut rest = frame.clone();
    let header = ResponseHeader::decode(&mut rest, R::Response::header_version(version)).ok()?;
    let body = R::Response::decode(&mut rest, version).ok()?;
    (!rest.has_remaining()).then_some((header.correlation_id, body))
}

/// Request `R` from its body. `None` if it is not one, or has bytes left over.
pub fn decode_request<R: Request>(body: &Bytes, version: i16) -> Option<R> {
    let mut rest = body.clone();
    let request = R::decode(&mut rest, version).ok()?;
    (!rest.has_remaining()).then_some(request)
}

/// Header version of answers of an API, 0 for one that the crate does not know.
pub fn response_header_version(key: i16, version: i16) -> i16 {
    ApiKey::try_from(key).map_or(0, |key| key.response_header_version(version))
}

/// The header of a request from a frame without its length, and the body. `None` if it is not one.
pub fn split_request(frame: &Bytes) -> Option<(RequestHeader, Bytes)> {
    let mut rest = frame.clone();
    let (key, version) = (frame.get(..2)?, frame.get(2..4)?);
    let key = i16::from_be_bytes(key.try_into().ok()?);
    let version = i16::from_be_bytes(version.try_into().ok()?);
    let header_version = ApiKey::try_from(key).map_or(1, |key| key.request_header_version(version));
    let header = RequestHeader::decode(&mut rest, header_version).ok()?;
    Some((header, rest))
}
