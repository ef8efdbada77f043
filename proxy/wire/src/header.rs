//! Request and answer headers.

use kafka_protocol::messages::ApiKey;

use crate::WireError;
use crate::cursor::{Cursor, put_name, wide};
use crate::version::{answer_header_version, request_header_version};

/// The longest client id that is accepted.
pub const MAX_CLIENT_ID: usize = 32_767;

/// The most bytes of tagged fields in a header.
const MAX_HEADER_TAGS: usize = 1024;

/// The most bytes that a request header can need before it is either parsed or refused.
pub const MAX_REQUEST_HEADER: usize = 36 * 1024;

/// A parsed request header. Borrows the client id from the bytes that it was parsed from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestHeader<'a> {
    /// API key, as on the wire.
    pub key: i16,
    /// API version.
    pub version: i16,
    /// Echoed in the answer.
    pub correlation_id: i32,
    /// The client's name for itself, unchecked bytes; `None` if null.
    pub client_id: Option<&'a [u8]>,
    /// Bytes of the header, tagged fields included: the body starts here (counted from the byte after the length prefix).
    pub size: usize,
}

impl<'a> RequestHeader<'a> {
    /// Parses the start of a frame (without its length prefix). `None`: more bytes are needed, which within one frame can
    /// only be so often; at the frame's end it means that the header is cut short. A key that the protocol crate does not
    /// know is parsed as far as its correlation id: `client_id` is `None`, `size` is 8.
    pub fn parse(bytes: &'a [u8]) -> Result<Option<Self>, WireError> {
        partial(Self::read(bytes))
    }

    fn read(bytes: &'a [u8]) -> Result<Self, WireError> {
        let mut cursor = Cursor::new(bytes);
        let key = cursor.i16("the request's header")?;
        let version = cursor.i16("the request's header")?;
        let correlation_id = cursor.i32("the request's header")?;
        let mut client_id = None;
        let layout = request_header_version(key, version);
        if layout.is_some_and(|layout| layout >= 1) {
            // The client id is not compact even where tagged fields follow it.
            client_id = match cursor.string_length(false, "the client id")? {
                Some(length) => Some(cursor.take(length, "the client id")?),
                None => None,
            };
        }
        if layout.is_some_and(|layout| layout >= 2) {
            skip_tags(&mut cursor)?;
        }
        Ok(Self { key, version, correlation_id, client_id, size: cursor.at() })
    }

    /// Appends the header of a request of `key` and `version`.
    pub fn encode(
        key: ApiKey,
        version: i16,
        correlation_id: i32,
        client_id: &str,
        out: &mut Vec<u8>,
    ) -> Result<(), WireError> {
        let layout = request_header_version(key as i16, version);
        out.extend_from_slice(&(key as i16).to_be_bytes());
        out.extend_from_slice(&version.to_be_bytes());
        out.extend_from_slice(&correlation_id.to_be_bytes());
        if layout.is_some_and(|layout| layout >= 1) {
            put_name(out, false, client_id, "the client id")?;
        }
        if layout.is_some_and(|layout| layout >= 2) {
            out.push(0);
        }
        Ok(())
    }
}

/// Tagged fields of a header: none are in use, so few and small ones are all that is accepted.
fn skip_tags(cursor: &mut Cursor<'_>) -> Result<(), WireError> {
    let what = "tagged fields of the header";
    let before = cursor.at();
    let count = cursor.uvarint(what)?;
    for _ in 0..count {
        cursor.uvarint(what)?;
        let size = cursor.uvarint(what)? as usize;
        let used = cursor.at().saturating_sub(before);
        if used.saturating_add(size) > MAX_HEADER_TAGS {
            return Err(WireError::Length { what, length: wide(size), limit: MAX_HEADER_TAGS });
        }
        cursor.take(size, what)?;
    }
    Ok(())
}

fn partial<T>(read: Result<T, WireError>) -> Result<Option<T>, WireError> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(WireError::Truncated { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Key and version of a request, from its first four bytes (without the length prefix); `None`: more bytes are needed.
pub fn peek_key(bytes: &[u8]) -> Option<(i16, i16)> {
    let mut cursor = Cursor::new(bytes);
    Some((cursor.i16("the key").ok()?, cursor.i16("the version").ok()?))
}

/// A parsed answer header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnswerHeader {
    /// The request's.
    pub correlation_id: i32,
    /// Bytes of the header, tagged fields included (counted from the byte after the length prefix).
    pub size: usize,
}

impl AnswerHeader {
    /// Parses the start of an answer frame (without its length prefix) to a request of `key` and `version`. `None`: more
    /// bytes are needed.
    pub fn parse(key: i16, version: i16, bytes: &[u8]) -> Result<Option<Self>, WireError> {
        partial(Self::read(key, version, bytes))
    }

    fn read(key: i16, version: i16, bytes: &[u8]) -> Result<Self, WireError> {
        let mut cursor = Cursor::new(bytes);
        let correlation_id = cursor.i32("the answer's header")?;
        if has_tags(key, version) {
            skip_tags(&mut cursor)?;
        }
        Ok(Self { correlation_id, size: cursor.at() })
    }

    /// Appends the header of an answer to a request of `key` and `version`.
    pub fn encode(key: i16, version: i16, correlation_id: i32, out: &mut Vec<u8>) {
        out.extend_from_slice(&correlation_id.to_be_bytes());
        if has_tags(key, version) {
            out.push(0);
        }
    }

    /// Bytes that [`AnswerHeader::encode`] appends.
    pub fn encoded_size(key: i16, version: i16) -> usize {
        if has_tags(key, version) { 5 } else { 4 }
    }
}

fn has_tags(key: i16, version: i16) -> bool {
    answer_header_version(key, version).is_some_and(|layout| layout >= 1)
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use kafka_protocol::messages::{RequestHeader as Reference, ResponseHeader};
    use kafka_protocol::protocol::{Encodable, StrBytes};

    use super::*;

    #[test]
    fn every_header_is_read_as_the_protocol_crate_writes_it_and_never_from_a_part() {
        for key in ApiKey::iter() {
            let versions = key.valid_versions();
            for version in versions.min..=versions.max {
                for client_id in [None, Some(""), Some("kafka-ui")] {
                    let mut bytes = BytesMut::new();
                    let header = Reference::default()
                        .with_request_api_key(key as i16)
                        .with_request_api_version(version)
                        .with_correlation_id(-7)
                        .with_client_id(client_id.map(StrBytes::from_static_str));
                    header.encode(&mut bytes, key.request_header_version(version)).unwrap();
                    for cut in 0..bytes.len() {
                        assert_eq!(RequestHeader::parse(&bytes[..cut]), Ok(None), "{key:?} {version} {cut}");
                    }
                    let size = bytes.len();
                    bytes.extend_from_slice(b"body");
                    let parsed = RequestHeader::parse(&bytes).unwrap().unwrap();
                    assert_eq!((parsed.key, parsed.version, parsed.correlation_id), (key as i16, version, -7));
                    assert_eq!(parsed.size, size);
                    if key.request_header_version(version) > 0 {
                        assert_eq!(parsed.client_id, client_id.map(str::as_bytes));
                        if let Some(client_id) = client_id {
                            let mut own = Vec::new();
                            RequestHeader::encode(key, version, -7, client_id, &mut own).unwrap();
                            assert_eq!(own, bytes[..size]);
                        }
                    }
                }
                let mut bytes = BytesMut::new();
                let header = ResponseHeader::default().with_correlation_id(9);
                header.encode(&mut bytes, key.response_header_version(version)).unwrap();
                let parsed = AnswerHeader::parse(key as i16, version, &bytes).unwrap().unwrap();
                assert_eq!((parsed.correlation_id, parsed.size), (9, bytes.len()));
                assert_eq!(AnswerHeader::encoded_size(key as i16, version), bytes.len());
                let mut own = Vec::new();
                AnswerHeader::encode(key as i16, version, 9, &mut own);
                assert_eq!(own, bytes);
            }
        }
    }

    #[test]
    fn unknown_keys_are_read_as_far_as_the_correlation_id() {
        let bytes = [0x7f, 0xff, 0, 1, 0, 0, 0, 5, 0xff, 0xff];
        let parsed = RequestHeader::parse(&bytes).unwrap().unwrap();
        assert_eq!((parsed.key, parsed.version, parsed.correlation_id, parsed.size), (0x7fff, 1, 5, 8));
        assert_eq!(peek_key(&bytes), Some((0x7fff, 1)));
        assert_eq!(peek_key(&bytes[..3]), None);
    }

    #[test]
    fn tagged_fields_are_passed_over_but_not_for_long() {
        // Metadata 12: empty client id, one tag of three bytes.
        let small = [0, 3, 0, 12, 0, 0, 0, 1, 0, 0, 1, 9, 3, 1, 2, 3, 0xaa];
        assert_eq!(RequestHeader::parse(&small).unwrap().unwrap().size, 16);
        let large = [0, 3, 0, 12, 0, 0, 0, 1, 0, 0, 1, 9, 0xff, 0xff, 3];
        assert!(matches!(RequestHeader::parse(&large), Err(WireError::Length { .. })));
        let endless = [0, 3, 0, 12, 0, 0, 0, 1, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff];
        assert!(matches!(RequestHeader::parse(&endless), Err(WireError::Varint { .. })));
        let negative = [0, 3, 0, 12, 0, 0, 0, 1, 0xff, 0xfe];
        assert!(matches!(RequestHeader::parse(&negative), Err(WireError::Length { .. })));
    }
}
