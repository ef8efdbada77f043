//! The end of a log under its leader's epoch: OffsetForLeaderEpoch. It knows no other admin call, so that those that list
//! topics and those that read logs can both stand on it.

use kafka_protocol::messages::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use kafka_protocol::messages::offset_for_leader_epoch_response::EpochEndOffset;
use kafka_protocol::messages::{BrokerId, OffsetForLeaderEpochRequest};

use super::{ByBroker, PerPartition, ask, topic_name};
use crate::client::Client;
use crate::error_code::ErrorCode;

/// A partition and an epoch of its leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionEpoch {
    /// Index.
    pub partition: i32,
    /// Leader epoch.
    pub epoch: i32,
}

/// The end of a log, as OffsetForLeaderEpoch tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogEnd {
    /// The epoch that the end belongs to; -1 if the asked one is above all known.
    pub epoch: i32,
    /// The offset after the last record; -1 if the asked epoch is above all known.
    pub offset: i64,
}

/// Asks leaders for the log end, with current = asked = the given epoch. It does not prove the epoch.
pub async fn log_ends(client: &Client, topic: &str, by_leader: &ByBroker<PartitionEpoch>) -> PerPartition<LogEnd> {
    let request = |items: &[PartitionEpoch]| {
        let partitions = items.iter().map(|item| {
            OffsetForLeaderPartition::default()
                .with_partition(item.partition)
                .with_current_leader_epoch(item.epoch)
                .with_leader_epoch(item.epoch)
        });
        let topic = OffsetForLeaderTopic::default().with_topic(topic_name(topic)).with_partitions(partitions.collect());
        // As a consumer: a follower does not answer, and nobody takes us for a replica.
        OffsetForLeaderEpochRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topic])
    };
    ask(
        client,
        by_leader,
        |item| item.partition,
        request,
        |answer| {
            let partitions = answer.topics.into_iter().flat_map(|topic| topic.partitions);
            let end = |p: EpochEndOffset| {
                let end = LogEnd { epoch: p.leader_epoch, offset: p.end_offset };
                (p.partition, ErrorCode::check(p.error_code).map(|()| end))
            };
            partitions.map(end).collect()
        },
    )
    .await
}
