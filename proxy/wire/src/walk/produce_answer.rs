//! Produce answers, versions 3 to 11, buffered: read, patched in place, or built.

use std::ops::Range;

use bytes::Bytes;
use kafka_protocol::messages::produce_response::{
    LeaderIdAndEpoch, NodeEndpoint, PartitionProduceResponse, TopicProduceResponse,
};
use kafka_protocol::messages::{ApiKey, BrokerId, ProduceResponse, TopicName};
use kafka_protocol::protocol::StrBytes;

use crate::cursor::{Cursor, check_count, put_bytes_at};
use crate::{WireError, frame};

/// Versions that are known here.
pub const VERSIONS: std::ops::RangeInclusive<i16> = 3..=11;

/// The first version with compact lengths and tagged fields.
const FLEXIBLE: i16 = 9;

/// One partition's fixed fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partition {
    /// Its index.
    pub index: i32,
    /// Error.
    pub error_code: i16,
    /// Offset of the first record; -1 if none or not known.
    pub base_offset: i64,
    /// Append time; -1 if the topic's timestamps are the producer's.
    pub log_append_time_ms: i64,
    /// Log start (version 5 on; else -1).
    pub log_start_offset: i64,
}

/// What [`scan`] saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scan {
    /// Partitions in the answer.
    pub partitions: usize,
    /// Those with an error.
    pub errors: usize,
}

/// Checks the whole body (after the answer header) and counts errors.
pub fn scan(version: i16, body: &[u8]) -> Result<Scan, WireError> {
    let mut place = start(version, body)?;
    let mut seen = Scan::default();
    while let Some((_, partition)) = next(version, body, &mut place)? {
        seen.partitions = seen.partitions.saturating_add(1);
        if partition.error_code != 0 {
            seen.errors = seen.errors.saturating_add(1);
        }
    }
    let mut cursor = Cursor::from(body, place.at);
    cursor.i32("the throttle time")?;
    if version >= FLEXIBLE {
        cursor.skip_tags("tagged fields")?;
    }
    match cursor.remaining() {
        0 => Ok(seen),
        count => Err(WireError::Trailing { count }),
    }
}

/// Calls `edit` with each topic's name and partition, in order; what it changes is written back (not the index; log start
/// only where the version has it). The leader hint (version 10 on) is left as it is.
pub fn edit(version: i16, body: &mut [u8], mut edit: impl FnMut(&str, &mut Partition)) -> Result<(), WireError> {
    let mut place = start(version, body)?;
    while let Some((at, seen)) = next(version, body, &mut place)? {
        let mut partition = seen;
        let name = body.get(place.topic.clone()).and_then(|bytes| std::str::from_utf8(bytes).ok());
        edit(name.unwrap_or_default(), &mut partition);
        if partition == seen {
            continue;
        }
        let at = at.saturating_add(4);
        put_bytes_at(body, at, &partition.error_code.to_be_bytes());
        put_bytes_at(body, at.saturating_add(2), &partition.base_offset.to_be_bytes());
        put_bytes_at(body, at.saturating_add(10), &partition.log_append_time_ms.to_be_bytes());
        if version >= 5 {
            put_bytes_at(body, at.saturating_add(18), &partition.log_start_offset.to_be_bytes());
        }
    }
    Ok(())
}

/// Where an iteration stands.
#[derive(Debug)]
struct Place {
    at: usize,
    topic: Range<usize>,
    topics_left: u32,
    partitions_left: u32,
}

fn start(version: i16, body: &[u8]) -> Result<Place, WireError> {
    if !VERSIONS.contains(&version) {
        return Err(WireError::Unsupported { key: ApiKey::Produce as i16, version });
    }
    let flexible = version >= FLEXIBLE;
    let mut cursor = Cursor::new(body);
    let topics_left = cursor.bounded_count(flexible, if flexible { 3 } else { 6 }, body.len(), "topics")?;
    Ok(Place { at: cursor.at(), topic: 0..0, topics_left, partitions_left: 0 })
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
        place.partitions_left = cursor.bounded_count(flexible, 22, left, "partitions")?;
        if place.partitions_left == 0 && flexible {
            cursor.skip_tags("tagged fields")?;
        }
    }
    let at = cursor.at();
    let partition = Partition {
        index: cursor.i32("a partition's index")?,
        error_code: cursor.i16("an error code")?,
        base_offset: cursor.i64("a base offset")?,
        log_append_time_ms: cursor.i64("an append time")?,
        log_start_offset: if version >= 5 { cursor.i64("a log start")? } else { -1 },
    };
    if version >= 8 {
        let left = cursor.remaining();
        let errors = cursor.count(flexible, "record errors")?.unwrap_or(0);
        for _ in 0..check_count(Some(errors), 5, left, "record errors")? {
            cursor.i32("a record error")?;
            cursor.nullable_name(flexible, "a record error")?;
            if flexible {
                cursor.skip_tags("tagged fields")?;
            }
        }
        cursor.nullable_name(flexible, "an error message")?;
    }
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

/// One partition's result in an answer of our own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionResult {
    /// Its index.
    pub index: i32,
    /// Error; 0 for success.
    pub error_code: i16,
    /// The error in words, if its code does not say enough. Told from version 8 on.
    pub error_message: Option<StrBytes>,
    /// Offset of the first record; -1 if not known.
    pub base_offset: i64,
    /// Log start; -1 if not known.
    pub log_start_offset: i64,
    /// Where to go instead: (node id, leader epoch), as clients see them. Told from version 10 on.
    pub leader: Option<(i32, i32)>,
}

/// A node that a leader hint names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// As clients see it.
    pub node_id: i32,
    /// Host.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Rack.
    pub rack: Option<String>,
}

/// An answer message from results by topic and partition. `endpoints` are told from version 10 on.
pub fn build(results: &[(&str, &[PartitionResult])], endpoints: &[Endpoint]) -> ProduceResponse {
    let topics = results.iter().map(|(topic, results)| {
        let partitions = results.iter().map(|result| {
            let mut partition = PartitionProduceResponse::default().with_index(result.index);
            apply(&mut partition, result);
            partition
        });
        TopicProduceResponse::default()
            .with_name(TopicName(StrBytes::from_string((*topic).to_owned())))
            .with_partition_responses(partitions.collect())
    });
    let mut answer = ProduceResponse::default().with_responses(topics.collect());
    for endpoint in endpoints {
        add_endpoint(&mut answer, endpoint);
    }
    answer
}

/// Sets error, message, offset and leader hint of one partition in a decoded answer, and says whether there is such a partition.
pub fn set_result(answer: &mut ProduceResponse, topic: &str, result: &PartitionResult) -> bool {
    let mut found = false;
    for entry in answer.responses.iter_mut().filter(|entry| entry.name.as_str() == topic) {
        for partition in entry.partition_responses.iter_mut().filter(|entry| entry.index == result.index) {
            apply(partition, result);
            found = true;
        }
    }
    found
}

fn apply(partition: &mut PartitionProduceResponse, result: &PartitionResult) {
    partition.error_code = result.error_code;
    partition.base_offset = result.base_offset;
    partition.log_append_time_ms = -1;
    partition.log_start_offset = result.log_start_offset;
    partition.record_errors.clear();
    partition.error_message.clone_from(&result.error_message);
    partition.current_leader = match result.leader {
        Some((node_id, epoch)) => {
            LeaderIdAndEpoch::default().with_leader_id(BrokerId(node_id)).with_leader_epoch(epoch)
        }
        None => LeaderIdAndEpoch::default(),
    };
}

/// Adds a node that hints name, unless it is there.
pub fn add_endpoint(answer: &mut ProduceResponse, endpoint: &Endpoint) {
    if answer.node_endpoints.iter().any(|known| known.node_id.0 == endpoint.node_id) {
        return;
    }
    let rack = endpoint.rack.clone().map(StrBytes::from_string);
    answer.node_endpoints.push(
        NodeEndpoint::default()
            .with_node_id(BrokerId(endpoint.node_id))
            .with_host(StrBytes::from_string(endpoint.host.clone()))
            .with_port(i32::from(endpoint.port))
            .with_rack(rack),
    );
}

/// The whole answer frame. What the version has no place for (hints below 10, messages below 8) is left out.
pub fn encode(version: i16, correlation_id: i32, answer: &ProduceResponse) -> Result<Bytes, WireError> {
    frame::encode_answer(ApiKey::Produce, version, correlation_id, answer)
}

#[cfg(test)]
mod tests;
