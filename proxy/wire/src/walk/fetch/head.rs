//! The head of a Fetch answer, which its caller may change before anything is sent.

use super::{FLEXIBLE, MAX_HEAD, flexible};
use crate::WireError;
use crate::cursor::{Cursor, put_count, uvarint_size};

/// What precedes the topics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Quota's wish, milliseconds.
    pub throttle_time_ms: i32,
    /// Of the whole answer (version 7 on; else 0).
    pub error_code: i16,
    /// Session (version 7 on; else 0).
    pub session_id: i32,
    /// Topics that follow.
    pub topics: u32,
    /// Bytes that it was parsed from.
    pub size: usize,
}

impl Head {
    /// Parses the start of a body (after the answer header). `None`: more bytes are needed.
    pub fn parse(version: i16, bytes: &[u8]) -> Result<Option<Self>, WireError> {
        match Self::read(version, &mut Cursor::new(bytes)) {
            Ok(head) => Ok(Some(head)),
            Err(WireError::Truncated { .. }) if bytes.len() < MAX_HEAD => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) fn read(version: i16, cursor: &mut Cursor<'_>) -> Result<Self, WireError> {
        let flexible = flexible(version)?;
        let throttle_time_ms = cursor.i32("the throttle time")?;
        let (mut error_code, mut session_id) = (0, 0);
        if version >= 7 {
            error_code = cursor.i16("the error code")?;
            session_id = cursor.i32("the session id")?;
        }
        let topics = cursor.count(flexible, "topics")?;
        let topics = topics.ok_or(WireError::Count { what: "topics", count: -1, remaining: cursor.remaining() })?;
        Ok(Self { throttle_time_ms, error_code, session_id, topics, size: cursor.at() })
    }

    /// Appends it (`size` is not looked at).
    pub fn encode(&self, version: i16, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.throttle_time_ms.to_be_bytes());
        if version >= 7 {
            out.extend_from_slice(&self.error_code.to_be_bytes());
            out.extend_from_slice(&self.session_id.to_be_bytes());
        }
        put_count(out, version >= FLEXIBLE, self.topics);
    }

    /// Bytes that [`Head::encode`] appends.
    pub fn encoded_size(&self, version: i16) -> usize {
        let fixed: usize = if version >= 7 { 10 } else { 4 };
        let count = if version >= FLEXIBLE { uvarint_size(self.topics.saturating_add(1)) } else { 4 };
        fixed.saturating_add(count)
    }
}
