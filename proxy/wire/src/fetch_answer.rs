//! Fetch answers of our own, versions 4 to 12: whole ones, and entries to add to a broker's.

use bytes::Bytes;
use kafka_protocol::messages::ApiKey;

use crate::cursor::{put_count, put_name, wide};
use crate::header::AnswerHeader;
use crate::walk::fetch::{Head, VERSIONS};
use crate::{WireError, frame};

/// The first version with compact lengths and tagged fields.
const FLEXIBLE: i16 = 12;

/// One partition's entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its index.
    pub index: i32,
    /// Error; 0 for none.
    pub error_code: i16,
    /// High watermark; -1 if not known.
    pub high_watermark: i64,
    /// Last stable offset; -1 if not known.
    pub last_stable_offset: i64,
    /// Log start (told from version 5 on); -1 if not known.
    pub log_start_offset: i64,
    /// Where to go instead: (node id, leader epoch), as clients see them. Told in version 12.
    pub leader: Option<(i32, i32)>,
    /// Records; mostly empty.
    pub records: Bytes,
}

impl Entry {
    /// An entry without records, error or hint.
    pub fn empty(index: i32, high_watermark: i64, last_stable_offset: i64, log_start_offset: i64) -> Self {
        Self {
            index,
            error_code: 0,
            high_watermark,
            last_stable_offset,
            log_start_offset,
            leader: None,
            records: Bytes::new(),
        }
    }

    /// An entry with an error: watermarks -1.
    pub fn error(index: i32, error_code: i16) -> Self {
        Self { error_code, ..Self::empty(index, -1, -1, -1) }
    }
}

/// Appends a topic with its entries, as [`crate::walk::fetch::Event::TopicsEnd`] wants it.
pub fn encode_topic(version: i16, topic: &str, entries: &[Entry], out: &mut Vec<u8>) -> Result<(), WireError> {
    if !VERSIONS.contains(&version) {
        return Err(WireError::Unsupported { key: ApiKey::Fetch as i16, version });
    }
    let flexible = version >= FLEXIBLE;
    put_name(out, flexible, topic, "a topic's name")?;
    put_count(out, flexible, count(entries.len(), "partitions")?);
    for entry in entries {
        out.extend_from_slice(&entry.index.to_be_bytes());
        out.extend_from_slice(&entry.error_code.to_be_bytes());
        out.extend_from_slice(&entry.high_watermark.to_be_bytes());
        out.extend_from_slice(&entry.last_stable_offset.to_be_bytes());
        if version >= 5 {
            out.extend_from_slice(&entry.log_start_offset.to_be_bytes());
        }
        // No aborted transactions: an empty list, not null, which some clients do not expect.
        put_count(out, flexible, 0);
        if version >= 11 {
            out.extend_from_slice(&(-1_i32).to_be_bytes());
        }
        put_count(out, flexible, count(entry.records.len(), "records")?);
        out.extend_from_slice(&entry.records);
        if flexible {
            put_leader(entry.leader, out);
        }
    }
    if flexible {
        out.push(0);
    }
    Ok(())
}

/// The tagged fields of an entry: tag 1, eight bytes and the structure's own empty tagged fields.
fn put_leader(leader: Option<(i32, i32)>, out: &mut Vec<u8>) {
    let Some((node_id, epoch)) = leader else {
        out.push(0);
        return;
    };
    out.extend_from_slice(&[1, 1, 9]);
    out.extend_from_slice(&node_id.to_be_bytes());
    out.extend_from_slice(&epoch.to_be_bytes());
    out.push(0);
}

fn count(count: usize, what: &'static str) -> Result<u32, WireError> {
    i32::try_from(count).map(i32::cast_unsigned).map_err(|_| WireError::Length {
        what,
        length: wide(count),
        limit: i32::MAX as usize,
    })
}

/// A whole answer frame. `head.topics` and `head.size` are not looked at.
pub fn encode(version: i16, correlation_id: i32, head: &Head, topics: &[(&str, &[Entry])]) -> Result<Bytes, WireError> {
    if !VERSIONS.contains(&version) {
        return Err(WireError::Unsupported { key: ApiKey::Fetch as i16, version });
    }
    let mut out = Vec::with_capacity(256);
    AnswerHeader::encode(ApiKey::Fetch as i16, version, correlation_id, &mut out);
    Head { topics: count(topics.len(), "topics")?, ..*head }.encode(version, &mut out);
    for (topic, entries) in topics {
        encode_topic(version, topic, entries, &mut out)?;
    }
    if version >= FLEXIBLE {
        out.push(0);
    }
    frame::prefixed(&out)
}

#[cfg(test)]
mod tests;
