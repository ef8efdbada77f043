//! Raw records: produce one batch, read batches, delete records.

use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{DeleteRecordsRequest, FetchRequest, ProduceRequest};

use super::log_ends::{PartitionOffset, Watermarks};
use super::{ByBroker, PerPartition, ask, broker_timeout_ms, topic_name};
use crate::batch::{self, Batch};
use crate::client::{CallError, Client, Target};
use crate::error_code::ErrorCode;

/// Appends one batch as it is, at the leader as last seen. The offset of its first record. Never repeated. After
/// [`CallError::may_have_acted`], and with acks=all after `NOT_LEADER_OR_FOLLOWER` too, the batch may be in the log.
pub async fn produce(client: &Client, topic: &str, partition: i32, batch: Bytes, acks: i16) -> Result<i64, CallError> {
    let what = || format!("producing to {topic}-{partition}");
    if acks == 0 {
        return Err(CallError::Encode { api_key: 0, detail: "acks=0 has no answer to wait for".to_owned() });
    }
    let data = PartitionProduceData::default().with_index(partition).with_records(Some(batch));
    let data = TopicProduceData::default().with_name(topic_name(topic)).with_partition_data(vec![data]);
    let request = ProduceRequest::default()
        .with_acks(acks)
        .with_timeout_ms(broker_timeout_ms(client))
        .with_topic_data(vec![data]);
    let to = Target::Leader { topic: topic.to_owned(), partition };
    let answer = client.call(&to, request).await?;
    let result = answer
        .responses
        .into_iter()
        .flat_map(|topic| topic.partition_responses)
        .find(|result| result.index == partition)
        .ok_or_else(|| CallError::nonsense(what(), "the partition is not in it"))?;
    match ErrorCode(result.error_code) {
        ErrorCode::NONE => Ok(result.base_offset),
        code => {
            if code.is_stale_leader() {
                client.forget(&to);
            }
            Err(CallError::refused(what(), code, result.error_message.as_deref()))
        }
    }
}

/// What a fetch brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// Where readers may read to.
    pub watermarks: Watermarks,
    /// Whole batches, from the one that holds the offset asked for on. A compressed batch has no records here.
    pub batches: Vec<Batch>,
}

/// How to fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchOptions {
    /// At most so many bytes (but at least one batch).
    pub max_bytes: i32,
    /// How long the broker may wait for a first byte.
    pub max_wait_ms: i32,
    /// Only records of committed transactions.
    pub read_committed: bool,
}

impl Default for FetchOptions {
    fn default() -> Self {
        Self { max_bytes: 1 << 20, max_wait_ms: 0, read_committed: false }
    }
}

/// Reads batches of a partition from an offset on, at the leader as last seen.
pub async fn fetch(
    client: &Client,
    topic: &str,
    partition: i32,
    offset: i64,
    options: FetchOptions,
) -> Result<Fetched, CallError> {
    let what = || format!("fetching {topic}-{partition} from offset {offset}");
    let data = FetchPartition::default()
        .with_partition(partition)
        .with_fetch_offset(offset)
        .with_partition_max_bytes(options.max_bytes);
    let data = FetchTopic::default().with_topic(topic_name(topic)).with_partitions(vec![data]);
    let request = FetchRequest::default()
        .with_max_wait_ms(options.max_wait_ms)
        .with_min_bytes(1)
        .with_max_bytes(options.max_bytes)
        .with_isolation_level(i8::from(options.read_committed))
        .with_topics(vec![data]);
    let to = Target::Leader { topic: topic.to_owned(), partition };
    let wait = Duration::from_millis(u64::try_from(options.max_wait_ms).unwrap_or(0));
    let timeout = client.options().request_timeout.saturating_add(wait);
    let answer = client.call_within(&to, request, i16::MAX, timeout).await?;
    if answer.error_code != 0 {
        return Err(CallError::refused(what(), answer.error_code, None));
    }
    let result = answer
        .responses
        .into_iter()
        .flat_map(|topic| topic.partitions)
        .find(|result| result.partition_index == partition)
        .ok_or_else(|| CallError::nonsense(what(), "the partition is not in it"))?;
    let code = ErrorCode(result.error_code);
    if code != ErrorCode::NONE {
        if code.is_stale_leader() {
            client.forget(&to);
        }
        return Err(CallError::refused(what(), code, None));
    }
    let watermarks = Watermarks {
        high_watermark: result.high_watermark,
        last_stable_offset: result.last_stable_offset,
        log_start_offset: result.log_start_offset,
    };
    let batches =
        batch::decode(result.records.unwrap_or_default()).map_err(|detail| CallError::nonsense(what(), detail))?;
    Ok(Fetched { watermarks, batches })
}

/// Deletes the records before the given offsets (-1: all up to the high watermark). The new log starts.
pub async fn delete(client: &Client, topic: &str, before: &[PartitionOffset]) -> PerPartition<i64> {
    let mut by_leader: ByBroker<PartitionOffset> = ByBroker::new();
    let mut without = Vec::new();
    for &item in before {
        match client.leader(topic, item.partition).await {
            Ok((leader, _)) => by_leader.entry(leader).or_default().push(item),
            Err(error) => without.push((item.partition, Err(error.code()))),
        }
    }
    let timeout_ms = broker_timeout_ms(client);
    let request = |items: &[PartitionOffset]| {
        let partitions = items.iter().map(|item| {
            DeleteRecordsPartition::default().with_partition_index(item.partition).with_offset(item.offset)
        });
        let topic = DeleteRecordsTopic::default().with_name(topic_name(topic)).with_partitions(partitions.collect());
        DeleteRecordsRequest::default().with_timeout_ms(timeout_ms).with_topics(vec![topic])
    };
    let mut results = ask(
        client,
        &by_leader,
        |item| item.partition,
        request,
        |answer| {
            let partitions = answer.topics.into_iter().flat_map(|topic| topic.partitions);
            let start = |p: kafka_protocol::messages::delete_records_response::DeleteRecordsPartitionResult| {
                (p.partition_index, ErrorCode::check(p.error_code).map(|()| p.low_watermark))
            };
            partitions.map(start).collect()
        },
    )
    .await;
    results.extend(without);
    results.sort_by_key(|&(partition, _)| partition);
    super::log_ends::forget_stale(client, topic, &results);
    results
}
