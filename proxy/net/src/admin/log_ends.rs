//! Ends, watermarks and epochs of partitions.

use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{BrokerId, FetchRequest, ListOffsetsRequest};

use super::topics::{self, TopicView};
use super::{ByBroker, PerPartition, ask, topic_name};
use crate::client::{CallError, Client, Target};
use crate::error_code::ErrorCode;

pub use super::epoch_ends::{LogEnd, PartitionEpoch, log_ends};

/// Ask [`list_offsets`] for the log's start.
pub const EARLIEST: i64 = -2;
/// Ask [`list_offsets`] for the end that consumers see (the high watermark).
pub const LATEST: i64 = -1;

/// Where readers may read to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watermarks {
    /// High watermark.
    pub high_watermark: i64,
    /// Last stable offset.
    pub last_stable_offset: i64,
    /// Log start.
    pub log_start_offset: i64,
}

/// A partition and an offset in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionOffset {
    /// Index.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
}

/// High watermark and last stable offset of partitions, by a Fetch at the given offset (the log end, say) that does not wait.
pub async fn watermarks(
    client: &Client,
    topic: &str,
    by_leader: &ByBroker<PartitionOffset>,
) -> PerPartition<Watermarks> {
    let request = |items: &[PartitionOffset]| {
        let partitions = items.iter().map(|item| {
            FetchPartition::default()
                .with_partition(item.partition)
                .with_fetch_offset(item.offset)
                .with_partition_max_bytes(1)
        });
        let topic = FetchTopic::default().with_topic(topic_name(topic)).with_partitions(partitions.collect());
        FetchRequest::default()
            .with_max_wait_ms(0)
            .with_min_bytes(0)
            // One byte still brings a whole first batch, should the offset not be the end; no more than that.
            .with_max_bytes(1)
            // Without it the last stable offset is not told.
            .with_isolation_level(1)
            .with_topics(vec![topic])
    };
    ask(
        client,
        by_leader,
        |item| item.partition,
        request,
        |answer| {
            let partitions = answer.responses.into_iter().flat_map(|topic| topic.partitions);
            let marks = |p: kafka_protocol::messages::fetch_response::PartitionData| {
                let marks = Watermarks {
                    high_watermark: p.high_watermark,
                    last_stable_offset: p.last_stable_offset,
                    log_start_offset: p.log_start_offset,
                };
                (p.partition_index, ErrorCode::check(p.error_code).map(|()| marks))
            };
            partitions.map(marks).collect()
        },
    )
    .await
}

/// Leaders and epochs of a topic in the metadata of the given broker.
pub async fn epochs_at(client: &Client, broker: i32, topic: &str) -> Result<TopicView, CallError> {
    topics::describe_at(client, broker, topic).await
}

/// An offset that a `ListOffsets` found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FoundOffset {
    /// The offset; -1 if none fits.
    pub offset: i64,
    /// Timestamp of the record there, -1 for [`EARLIEST`] and [`LATEST`].
    pub timestamp: i64,
    /// Leader epoch of the record there.
    pub leader_epoch: i32,
}

/// `ListOffsets` at the leaders, as a consumer (isolation: read uncommitted). `timestamp` may be [`EARLIEST`] or [`LATEST`].
pub async fn list_offsets(
    client: &Client,
    topic: &str,
    partitions: &[i32],
    timestamp: i64,
) -> PerPartition<FoundOffset> {
    let (by_leader, without) = super::by_leader(client, topic, partitions).await;
    let request = |indexes: &[i32]| {
        let partitions = indexes.iter().map(|&index| {
            ListOffsetsPartition::default()
                .with_partition_index(index)
                .with_current_leader_epoch(-1)
                .with_timestamp(timestamp)
        });
        let topic = ListOffsetsTopic::default().with_name(topic_name(topic)).with_partitions(partitions.collect());
        ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topic])
    };
    let mut found = ask(
        client,
        &by_leader,
        |&index| index,
        request,
        |answer| {
            let partitions = answer.topics.into_iter().flat_map(|topic| topic.partitions);
            let offset = |p: kafka_protocol::messages::list_offsets_response::ListOffsetsPartitionResponse| {
                let found = FoundOffset { offset: p.offset, timestamp: p.timestamp, leader_epoch: p.leader_epoch };
                (p.partition_index, ErrorCode::check(p.error_code).map(|()| found))
            };
            partitions.map(offset).collect()
        },
    )
    .await;
    found.extend(without.into_iter().map(|(partition, error)| (partition, Err(error.code()))));
    found.sort_by_key(|&(partition, _)| partition);
    forget_stale(client, topic, &found);
    found
}

/// Leaders that have moved are looked up again next time.
pub(super) fn forget_stale<T>(client: &Client, topic: &str, results: &PerPartition<T>) {
    for (partition, result) in results {
        if result.as_ref().is_err_and(|code| code.is_stale_leader()) {
            client.forget(&Target::Leader { topic: topic.to_owned(), partition: *partition });
        }
    }
}
