//! Frames: the 4-byte length in front of every message, and whole frames built from messages.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::ApiKey;
use kafka_protocol::protocol::Encodable;

use crate::WireError;
use crate::header::{AnswerHeader, RequestHeader};

/// Bytes of the length prefix.
pub const PREFIX: usize = 4;

/// The shortest request: key, version, correlation id, and a null client id (version 0 headers, which leave the client id
/// out, belong to APIs that are not offered).
pub const MIN_REQUEST: u32 = 10;

/// The shortest answer: a correlation id.
pub const MIN_ANSWER: u32 = 4;

/// Why a length prefix is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LengthError {
    /// Negative.
    #[error("frame length {0} is negative; close the connection")]
    Negative(i32),
    /// Over the limit.
    #[error("frame length {length} is over the limit of {max}; close the connection, or raise the limit")]
    TooLong {
        /// Declared.
        length: u32,
        /// Allowed.
        max: u32,
    },
    /// Too short for a header.
    #[error("frame length {0} is too short for a header; close the connection")]
    TooShort(u32),
    /// A TLS hello.
    #[error("TLS hello on a plaintext listener: set the client's security.protocol to PLAINTEXT")]
    Tls,
    /// An HTTP request.
    #[error("HTTP request on a Kafka listener: this port speaks Kafka only")]
    Http,
}

/// The first words of HTTP, of both kinds: all of them are longer than any frame when read as a length.
const HTTP: [[u8; 4]; 9] = [*b"GET ", *b"HEAD", *b"POST", *b"PUT ", *b"DELE", *b"CONN", *b"OPTI", *b"PATC", *b"PRI "];

/// The length of a request frame whose prefix is `prefix`, without the prefix itself.
pub fn check_length(prefix: [u8; 4], max: u32) -> Result<u32, LengthError> {
    check(prefix, MIN_REQUEST, max)
}

/// The length of an answer frame whose prefix is `prefix`, without the prefix itself.
pub fn check_answer_length(prefix: [u8; 4], max: u32) -> Result<u32, LengthError> {
    check(prefix, MIN_ANSWER, max)
}

fn check(prefix: [u8; 4], min: u32, max: u32) -> Result<u32, LengthError> {
    let signed = i32::from_be_bytes(prefix);
    let length = u32::try_from(signed).map_err(|_| LengthError::Negative(signed))?;
    if length > max {
        return Err(match prefix {
            [0x16, 0x03, ..] => LengthError::Tls,
            word if HTTP.contains(&word) => LengthError::Http,
            _ => LengthError::TooLong { length, max },
        });
    }
    if length < min { Err(LengthError::TooShort(length)) } else { Ok(length) }
}

/// `body` (header included) with its length in front.
pub fn prefixed(body: &[u8]) -> Result<Bytes, WireError> {
    let mut frame = BytesMut::with_capacity(body.len().saturating_add(PREFIX));
    frame.put_i32(length(body.len())?);
    frame.put_slice(body);
    Ok(frame.freeze())
}

/// A whole request frame: prefix, header (of the version that `key` and `version` ask for), body.
pub fn encode_request<T: Encodable>(
    key: ApiKey,
    version: i16,
    correlation_id: i32,
    client_id: &str,
    body: &T,
) -> Result<Bytes, WireError> {
    let mut head = Vec::with_capacity(client_id.len().saturating_add(16));
    RequestHeader::encode(key, version, correlation_id, client_id, &mut head)?;
    whole(&head, version, body)
}

/// A whole answer frame: prefix, header (of the version that `key` and `version` ask for), body.
pub fn encode_answer<T: Encodable>(
    key: ApiKey,
    version: i16,
    correlation_id: i32,
    body: &T,
) -> Result<Bytes, WireError> {
    let mut head = Vec::with_capacity(8);
    AnswerHeader::encode(key as i16, version, correlation_id, &mut head);
    whole(&head, version, body)
}

fn whole<T: Encodable>(head: &[u8], version: i16, body: &T) -> Result<Bytes, WireError> {
    let unfit = |error: &dyn std::fmt::Display| WireError::Message(error.to_string());
    let size = body.compute_size(version).map_err(|error| unfit(&error))?;
    let size = size.saturating_add(head.len());
    let mut frame = BytesMut::with_capacity(size.saturating_add(PREFIX));
    frame.put_i32(length(size)?);
    frame.put_slice(head);
    body.encode(&mut frame, version).map_err(|error| unfit(&error))?;
    Ok(frame.freeze())
}

/// A length that goes into a prefix.
pub(crate) fn length(size: usize) -> Result<i32, WireError> {
    i32::try_from(size).map_err(|_| WireError::Length {
        what: "a frame",
        length: crate::cursor::wide(size),
        limit: i32::MAX as usize,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_that_no_client_means_are_refused_from_four_bytes() {
        let max = 100 << 20;
        assert_eq!(check_length((-1_i32).to_be_bytes(), max), Err(LengthError::Negative(-1)));
        assert_eq!(check_length(i32::MIN.to_be_bytes(), max), Err(LengthError::Negative(i32::MIN)));
        assert_eq!(check_length(0_i32.to_be_bytes(), max), Err(LengthError::TooShort(0)));
        assert_eq!(check_length(9_i32.to_be_bytes(), max), Err(LengthError::TooShort(9)));
        assert_eq!(check_length(10_i32.to_be_bytes(), max), Ok(10));
        assert_eq!(check_length(max.to_be_bytes(), max), Ok(max));
        assert_eq!(check_length((max + 1).to_be_bytes(), max), Err(LengthError::TooLong { length: max + 1, max }));
        assert_eq!(check_length([0x16, 0x03, 0x01, 0x02], max), Err(LengthError::Tls));
        assert_eq!(check_length(*b"GET ", max), Err(LengthError::Http));
        assert_eq!(check_length(*b"PRI ", max), Err(LengthError::Http));
        assert!(matches!(check_length(*b"SSH-", max), Err(LengthError::TooLong { .. })));
        assert_eq!(check_answer_length(3_i32.to_be_bytes(), max), Err(LengthError::TooShort(3)));
        assert_eq!(check_answer_length(4_i32.to_be_bytes(), max), Ok(4));
    }

    #[test]
    fn a_prefix_states_what_follows() {
        assert_eq!(&prefixed(b"abc").unwrap()[..], &[0, 0, 0, 3, b'a', b'b', b'c']);
    }
}
