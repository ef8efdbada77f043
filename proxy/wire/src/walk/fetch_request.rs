//! Fetch requests, versions 4 to 12, buffered: read, patched in place, cut down, or built.

use std::ops::Range;

use bytes::Bytes;
use kafka_protocol::messages::ApiKey;

use crate::cursor::{Cursor, put, put_bytes_at, put_count, put_known_name, put_name};
use crate::header::RequestHeader;
use crate::{WireError, frame};

/// Versions that are known here.
pub const VERSIONS: std::ops::RangeInclusive<i16> = 4..=12;

/// The first version with compact lengths and tagged fields.
const FLEXIBLE: i16 = 12;

/// What precedes the topics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// -1 for consumers; anything else is a broker.
    pub replica_id: i32,
    /// How long the broker may wait, milliseconds.
    pub max_wait_ms: i32,
    /// Until so many bytes are there.
    pub min_bytes: i32,
    /// The most bytes of an answer.
    pub max_bytes: i32,
    /// 1: read committed.
    pub isolation_level: i8,
    /// Session (version 7 on; else 0).
    pub session_id: i32,
    /// Epoch of the session (version 7 on; else -1).
    pub session_epoch: i32,
    /// Topics that follow.
    pub topics: u32,
}

/// One asked partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partition {
    /// Its index.
    pub index: i32,
    /// The leader epoch that the client knows (version 9 on; else -1).
    pub current_leader_epoch: i32,
    /// From where.
    pub fetch_offset: i64,
    /// Epoch of the last record read (version 12 on; else -1).
    pub last_fetched_epoch: i32,
    /// A follower's log start (version 5 on; else -1).
    pub log_start_offset: i64,
    /// The most bytes for this partition.
    pub max_bytes: i32,
}

/// A checked request body in place.
#[derive(Debug)]
pub struct FetchRequest<'a> {
    version: i16,
    body: &'a mut [u8],
    head: Head,
    partitions: usize,
    /// Where the count of topics is.
    topics_at: usize,
    /// Where the forgotten topics begin (version 7 on), or the end.
    forgotten_at: usize,
    /// Where the rack begins (version 11 on), or the end.
    rack_at: usize,
}

/// Where an iteration stands.
#[derive(Debug, Clone)]
struct Place {
    at: usize,
    topic: Range<usize>,
    topics_left: u32,
    partitions_left: u32,
}

impl<'a> FetchRequest<'a> {
    /// Checks the whole body (after the request header).
    pub fn parse(version: i16, body: &'a mut [u8]) -> Result<Self, WireError> {
        if !VERSIONS.contains(&version) {
            return Err(WireError::Unsupported { key: ApiKey::Fetch as i16, version });
        }
        let flexible = version >= FLEXIBLE;
        let mut cursor = Cursor::new(body);
        let head = read_head(version, &mut cursor)?;
        let topics_at = cursor.at();
        let left = cursor.remaining();
        let topics = cursor.bounded_count(flexible, if flexible { 3 } else { 6 }, left, "topics")?;
        let head = Head { topics, ..head };
        let mut place = Place { at: cursor.at(), topic: 0..0, topics_left: topics, partitions_left: 0 };
        let mut partitions = 0_usize;
        while next(version, body, &mut place)?.is_some() {
            partitions = partitions.saturating_add(1);
        }
        let mut cursor = Cursor::from(body, place.at);
        if version >= 7 {
            skip_forgotten(flexible, &mut cursor)?;
        }
        let rack_at = cursor.at();
        if version >= 11 {
            cursor.name(flexible, "the rack")?;
        }
        if flexible {
            cursor.skip_tags("tagged fields")?;
        }
        match cursor.remaining() {
            0 => Ok(Self { version, body, head, partitions, topics_at, forgotten_at: place.at, rack_at }),
            count => Err(WireError::Trailing { count }),
        }
    }

    /// The head.
    pub fn head(&self) -> Head {
        self.head
    }

    /// Writes the head's fixed fields over (not the count; fields that the version lacks are left).
    pub fn set_head(&mut self, head: Head) {
        self.head = Head { topics: self.head.topics, ..head };
        put(self.body, 0, head.replica_id.to_be_bytes());
        put(self.body, 4, head.max_wait_ms.to_be_bytes());
        put(self.body, 8, head.min_bytes.to_be_bytes());
        put(self.body, 12, head.max_bytes.to_be_bytes());
        put(self.body, 16, head.isolation_level.to_be_bytes());
        if self.version >= 7 {
            put(self.body, 17, head.session_id.to_be_bytes());
            put(self.body, 21, head.session_epoch.to_be_bytes());
        }
    }

    /// Asked partitions in all.
    pub fn partitions(&self) -> usize {
        self.partitions
    }

    /// Calls `visit` with each topic's name and partition, in order.
    pub fn visit(&self, mut visit: impl FnMut(&str, &Partition)) {
        let mut place = self.start();
        while let Ok(Some((_, partition))) = next(self.version, self.body, &mut place) {
            visit(name(self.body, &place.topic), &partition);
        }
    }

    /// Calls `edit` with each topic's name and partition, in order; what it changes is written back (all fields but the
    /// index; fields that the version lacks are left).
    pub fn edit(&mut self, mut edit: impl FnMut(&str, &mut Partition)) {
        let version = self.version;
        let mut place = self.start();
        while let Ok(Some((at, seen))) = next(version, self.body, &mut place) {
            let mut partition = seen;
            edit(name(self.body, &place.topic), &mut partition);
            if partition == seen {
                continue;
            }
            let mut at = at.saturating_add(4);
            let mut write = |present: bool, bytes: &[u8]| {
                if present {
                    put_bytes_at(self.body, at, bytes);
                    at = at.saturating_add(bytes.len());
                }
            };
            write(version >= 9, &partition.current_leader_epoch.to_be_bytes());
            write(true, &partition.fetch_offset.to_be_bytes());
            write(version >= FLEXIBLE, &partition.last_fetched_epoch.to_be_bytes());
            write(version >= 5, &partition.log_start_offset.to_be_bytes());
            write(true, &partition.max_bytes.to_be_bytes());
        }
    }

    /// A new body with the partitions that `keep` says yes to; the rest of the request (rack, tagged fields) as it is,
    /// without forgotten topics and without the tagged fields of topics and partitions.
    pub fn subset(&self, mut keep: impl FnMut(&str, &Partition) -> bool) -> Vec<u8> {
        let flexible = self.version >= FLEXIBLE;
        let mut topics: Vec<u8> = Vec::new();
        let mut topics_count = 0_u32;
        let mut kept: Vec<u8> = Vec::new();
        let mut kept_count = 0_u32;
        let mut place = self.start();
        let mut topic = 0..0;
        loop {
            let entry = next(self.version, self.body, &mut place).ok().flatten();
            if (entry.is_none() || place.topic != topic) && kept_count > 0 {
                put_known_name(&mut topics, flexible, name(self.body, &topic));
                put_count(&mut topics, flexible, kept_count);
                topics.append(&mut kept);
                if flexible {
                    topics.push(0);
                }
                topics_count = topics_count.saturating_add(1);
                kept_count = 0;
            }
            let Some((_, partition)) = entry else {
                break;
            };
            topic = place.topic.clone();
            if keep(name(self.body, &topic), &partition) {
                put_partition(self.version, &partition, &mut kept);
                kept_count = kept_count.saturating_add(1);
            }
        }
        let mut out = Vec::with_capacity(self.body.len());
        out.extend_from_slice(self.body.get(..self.topics_at).unwrap_or_default());
        put_count(&mut out, flexible, topics_count);
        out.append(&mut topics);
        if self.version >= 7 {
            put_count(&mut out, flexible, 0);
        }
        out.extend_from_slice(self.body.get(self.rack_at..).unwrap_or_default());
        out
    }

    /// Whether the request takes topics out of a fetch session.
    pub fn forgets(&self) -> bool {
        let flexible = self.version >= FLEXIBLE;
        self.version >= 7
            && Cursor::from(self.body, self.forgotten_at).count(flexible, "forgotten topics") != Ok(Some(0))
    }

    /// The client's rack (version 11 on; else empty).
    pub fn rack(&self) -> &str {
        if self.version < 11 {
            return "";
        }
        Cursor::from(self.body, self.rack_at).name(self.version >= FLEXIBLE, "the rack").unwrap_or_default()
    }

    fn start(&self) -> Place {
        let mut cursor = Cursor::from(self.body, self.topics_at);
        // Checked when it was parsed; only its size is wanted.
        let topics_left = cursor.count(self.version >= FLEXIBLE, "topics").ok().flatten().unwrap_or(0);
        Place { at: cursor.at(), topic: 0..0, topics_left, partitions_left: 0 }
    }
}

/// The next partition, where it begins, and the place after it; what stands between partitions is passed over.
fn next(version: i16, body: &[u8], place: &mut Place) -> Result<Option<(usize, Partition)>, WireError> {
    let flexible = version >= FLEXIBLE;
    let mut cursor = Cursor::from(body, place.at);
    while place.partitions_left == 0 {
        let Some(topics_left) = place.topics_left.checked_sub(1) else {
            place.at = cursor.at();
            return Ok(None);
        };
        place.topics_left = topics_left;
        let topic = cursor.name(flexible, "a topic's name")?;
        place.topic = cursor.at().saturating_sub(topic.len())..cursor.at();
        let left = cursor.remaining();
        place.partitions_left = cursor.bounded_count(flexible, partition_size(version), left, "partitions")?;
        if place.partitions_left == 0 && flexible {
            cursor.skip_tags("tagged fields")?;
        }
    }
    let at = cursor.at();
    let partition = Partition {
        index: cursor.i32("a partition's index")?,
        current_leader_epoch: if version >= 9 { cursor.i32("a leader epoch")? } else { -1 },
        fetch_offset: cursor.i64("a fetch offset")?,
        last_fetched_epoch: if flexible { cursor.i32("a last fetched epoch")? } else { -1 },
        log_start_offset: if version >= 5 { cursor.i64("a log start")? } else { -1 },
        max_bytes: cursor.i32("a partition's limit")?,
    };
    place.partitions_left = place.partitions_left.saturating_sub(1);
    if flexible {
        cursor.skip_tags("tagged fields")?;
        if place.partitions_left == 0 {
            cursor.skip_tags("tagged fields")?;
        }
    }
    place.at = cursor.at();
    Ok(Some((at, partition)))
}

/// Checked when it was parsed.
fn name<'b>(body: &'b [u8], range: &Range<usize>) -> &'b str {
    body.get(range.clone()).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default()
}

fn partition_size(version: i16) -> usize {
    match version {
        ..5 => 16,
        5..9 => 24,
        9..FLEXIBLE => 28,
        FLEXIBLE.. => 33,
    }
}

fn read_head(version: i16, cursor: &mut Cursor<'_>) -> Result<Head, WireError> {
    let what = "the head of a Fetch";
    Ok(Head {
        replica_id: cursor.i32(what)?,
        max_wait_ms: cursor.i32(what)?,
        min_bytes: cursor.i32(what)?,
        max_bytes: cursor.i32(what)?,
        isolation_level: cursor.i8(what)?,
        session_id: if version >= 7 { cursor.i32(what)? } else { 0 },
        session_epoch: if version >= 7 { cursor.i32(what)? } else { -1 },
        topics: 0,
    })
}

fn put_head(version: i16, head: &Head, out: &mut Vec<u8>) {
    out.extend_from_slice(&head.replica_id.to_be_bytes());
    out.extend_from_slice(&head.max_wait_ms.to_be_bytes());
    out.extend_from_slice(&head.min_bytes.to_be_bytes());
    out.extend_from_slice(&head.max_bytes.to_be_bytes());
    out.extend_from_slice(&head.isolation_level.to_be_bytes());
    if version >= 7 {
        out.extend_from_slice(&head.session_id.to_be_bytes());
        out.extend_from_slice(&head.session_epoch.to_be_bytes());
    }
}

fn put_partition(version: i16, partition: &Partition, out: &mut Vec<u8>) {
    out.extend_from_slice(&partition.index.to_be_bytes());
    if version >= 9 {
        out.extend_from_slice(&partition.current_leader_epoch.to_be_bytes());
    }
    out.extend_from_slice(&partition.fetch_offset.to_be_bytes());
    if version >= FLEXIBLE {
        out.extend_from_slice(&partition.last_fetched_epoch.to_be_bytes());
    }
    if version >= 5 {
        out.extend_from_slice(&partition.log_start_offset.to_be_bytes());
    }
    out.extend_from_slice(&partition.max_bytes.to_be_bytes());
    if version >= FLEXIBLE {
        out.push(0);
    }
}

fn skip_forgotten(flexible: bool, cursor: &mut Cursor<'_>) -> Result<(), WireError> {
    let left = cursor.remaining();
    for _ in 0..cursor.bounded_count(flexible, if flexible { 3 } else { 6 }, left, "forgotten topics")? {
        cursor.name(flexible, "a topic's name")?;
        let left = cursor.remaining();
        for _ in 0..cursor.bounded_count(flexible, 4, left, "forgotten partitions")? {
            cursor.i32("a forgotten partition")?;
        }
        if flexible {
            cursor.skip_tags("tagged fields")?;
        }
    }
    Ok(())
}

/// A whole request frame for one partition of one topic, without a rack. Fields that the version lacks are left out;
/// `head.topics` is not looked at.
pub fn single(
    version: i16,
    correlation_id: i32,
    client_id: &str,
    head: &Head,
    topic: &str,
    partition: &Partition,
) -> Result<Bytes, WireError> {
    if !VERSIONS.contains(&version) {
        return Err(WireError::Unsupported { key: ApiKey::Fetch as i16, version });
    }
    let flexible = version >= FLEXIBLE;
    let mut out = Vec::with_capacity(128);
    RequestHeader::encode(ApiKey::Fetch, version, correlation_id, client_id, &mut out)?;
    put_head(version, head, &mut out);
    put_count(&mut out, flexible, 1);
    put_name(&mut out, flexible, topic, "a topic's name")?;
    put_count(&mut out, flexible, 1);
    put_partition(version, partition, &mut out);
    if flexible {
        out.push(0);
    }
    if version >= 7 {
        put_count(&mut out, flexible, 0);
    }
    if version >= 11 {
        put_name(&mut out, flexible, "", "the rack")?;
    }
    if flexible {
        out.push(0);
    }
    frame::prefixed(&out)
}

#[cfg(test)]
mod tests;
