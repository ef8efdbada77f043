//! Producers that a partition knows.

use kafka_protocol::messages::DescribeProducersRequest;
use kafka_protocol::messages::describe_producers_request::TopicRequest;
use kafka_protocol::messages::describe_producers_response::ProducerState;

use super::{ByBroker, PerPartition, ask, topic_name};
use crate::client::Client;
use crate::error_code::ErrorCode;

/// A producer as a partition's leader knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Producer {
    /// Producer id.
    pub producer_id: i64,
    /// Its epoch.
    pub producer_epoch: i16,
    /// Sequence of its last record, -1 if only a marker or nothing is known.
    pub last_sequence: i32,
    /// Timestamp of its last batch.
    pub last_timestamp: i64,
    /// First offset of its open transaction, `None` without one.
    pub current_txn_start: Option<i64>,
}

/// The active producers of partitions, from their leaders, sorted by producer id.
pub async fn describe(client: &Client, topic: &str, by_leader: &ByBroker<i32>) -> PerPartition<Vec<Producer>> {
    let request = |indexes: &[i32]| {
        let topic = TopicRequest::default().with_name(topic_name(topic)).with_partition_indexes(indexes.to_vec());
        DescribeProducersRequest::default().with_topics(vec![topic])
    };
    ask(
        client,
        by_leader,
        |&index| index,
        request,
        |answer| {
            let partitions = answer.topics.into_iter().flat_map(|topic| topic.partitions);
            partitions
                .map(|partition| {
                    let producers = ErrorCode::check(partition.error_code).and_then(|()| {
                        let mut producers =
                            partition.active_producers.iter().map(producer).collect::<Result<Vec<_>, _>>()?;
                        producers.sort_by_key(|producer| producer.producer_id);
                        Ok(producers)
                    });
                    (partition.partition_index, producers)
                })
                .collect()
        },
    )
    .await
}

/// An epoch that is none makes the whole answer worthless: a cut must not be built on it.
fn producer(state: &ProducerState) -> Result<Producer, ErrorCode> {
    Ok(Producer {
        producer_id: state.producer_id.0,
        producer_epoch: i16::try_from(state.producer_epoch).map_err(|_| ErrorCode::UNKNOWN_SERVER_ERROR)?,
        last_sequence: state.last_sequence,
        last_timestamp: state.last_timestamp,
        current_txn_start: Some(state.current_txn_start_offset).filter(|&offset| offset >= 0),
    })
}
