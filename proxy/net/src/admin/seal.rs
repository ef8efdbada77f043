//! What makes a seal sure: the probe, the barrier, and what every replica holder shows.

use std::collections::BTreeMap;

use bytes::Bytes;
use kafka_protocol::messages::alter_replica_log_dirs_request::{AlterReplicaLogDir, AlterReplicaLogDirTopic};
use kafka_protocol::messages::describe_log_dirs_request::DescribableLogDirTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{AlterReplicaLogDirsRequest, DescribeLogDirsRequest, ProduceRequest};
use kafka_protocol::protocol::StrBytes;

use super::configs::{self, MAX_MESSAGE_BYTES};
use super::{ByBroker, ask, broker_timeout_ms, topic_name};
use crate::client::{CallError, Client, Target};
use crate::error_code::ErrorCode;

/// What a partition's leader said to the probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probe {
    /// It refuses any batch.
    Sealed,
    /// It would take a batch.
    Open,
    /// Neither is known: ask again.
    Unknown(ErrorCode),
}

impl Probe {
    fn read(code: i16) -> Self {
        match ErrorCode(code) {
            ErrorCode::MESSAGE_TOO_LARGE => Self::Sealed,
            ErrorCode::CORRUPT_MESSAGE => Self::Open,
            code => Self::Unknown(code),
        }
    }
}

/// Asks leaders whether they would take a batch, by one that can never be appended: a complete batch header with a wrong CRC.
/// The size is checked first, so a sealed partition says `MESSAGE_TOO_LARGE` and an open one `CORRUPT_MESSAGE`.
/// One Produce (acks=1) per broker, all brokers at once; sorted by partition.
pub async fn probe(client: &Client, topic: &str, by_leader: &ByBroker<i32>) -> Vec<(i32, Probe)> {
    let batch = Bytes::copy_from_slice(&sluice_wire::batch::probe());
    let timeout_ms = broker_timeout_ms(client);
    let request = |partitions: &[i32]| {
        let data = partitions
            .iter()
            .map(|&index| PartitionProduceData::default().with_index(index).with_records(Some(batch.clone())))
            .collect();
        let topic = TopicProduceData::default().with_name(topic_name(topic)).with_partition_data(data);
        ProduceRequest::default().with_acks(1).with_timeout_ms(timeout_ms).with_topic_data(vec![topic])
    };
    let probes = ask(
        client,
        by_leader,
        |&partition| partition,
        request,
        |answer| {
            let partitions = answer.responses.into_iter().flat_map(|topic| topic.partition_responses);
            partitions.map(|partition| (partition.index, Ok(Probe::read(partition.error_code)))).collect()
        },
    );
    let flat = |(partition, probe): (i32, Result<Probe, ErrorCode>)| (partition, probe.unwrap_or_else(Probe::Unknown));
    probes.await.into_iter().map(flat).collect()
}

/// What came of a barrier at one replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Barrier {
    /// Passed: no append that was checked before the call is under way any more.
    Passed,
    /// A move between log directories is under way for the replica: no barrier was tried.
    FutureReplica,
    /// The broker holds no such replica (any more).
    NotHere,
    /// Refused; `CLUSTER_AUTHORIZATION_FAILED` if Alter on the cluster is missing.
    Refused(ErrorCode),
}

/// Per broker the barrier's result for each of its partitions, or why the broker gave none.
pub type Barriers = Vec<(i32, Result<Vec<(i32, Barrier)>, CallError>)>;

/// Waits out appends that have passed the size check but not yet the log's lock, by moving each replica to the directory it is
/// in: that takes the partition's write lock and changes nothing.
/// `replicas`: partitions by broker. Per broker either a result per partition (sorted), or why it gave none.
pub async fn barrier(client: &Client, topic: &str, replicas: &ByBroker<i32>) -> Barriers {
    let calls = replicas
        .iter()
        .map(|(&broker, partitions)| async move { (broker, barrier_at(client, topic, broker, partitions).await) });
    futures::future::join_all(calls).await
}

async fn barrier_at(
    client: &Client,
    topic: &str,
    broker: i32,
    partitions: &[i32],
) -> Result<Vec<(i32, Barrier)>, CallError> {
    let to = Target::Broker(broker);
    let places = places(client, topic, &to, partitions).await?;
    let mut by_dir: BTreeMap<&StrBytes, Vec<i32>> = BTreeMap::new();
    let mut results = BTreeMap::new();
    for &partition in partitions {
        match places.get(&partition) {
            None => drop(results.insert(partition, Barrier::NotHere)),
            Some(Place::Moving) => drop(results.insert(partition, Barrier::FutureReplica)),
            Some(Place::In(dir)) => by_dir.entry(dir).or_default().push(partition),
        }
    }
    if !by_dir.is_empty() {
        let dirs = by_dir.into_iter().map(|(dir, partitions)| {
            let topic = AlterReplicaLogDirTopic::default().with_name(topic_name(topic)).with_partitions(partitions);
            // To the byte as the broker wrote it: another spelling of the same path is refused.
            AlterReplicaLogDir::default().with_path(dir.clone()).with_topics(vec![topic])
        });
        let request = AlterReplicaLogDirsRequest::default().with_dirs(dirs.collect());
        let answer = client.call(&to, request).await?;
        for partition in answer.results.into_iter().flat_map(|topic| topic.partitions) {
            let result = match partition.error_code {
                0 => Barrier::Passed,
                code => Barrier::Refused(ErrorCode(code)),
            };
            results.insert(partition.partition_index, result);
        }
    }
    // Only what was said counts: a partition that the answer leaves out has not passed.
    let result = |&partition| {
        let said = results.get(&partition).copied();
        (partition, said.unwrap_or(Barrier::Refused(ErrorCode::UNKNOWN_SERVER_ERROR)))
    };
    let mut results: Vec<_> = partitions.iter().map(result).collect();
    results.sort_by_key(|&(partition, _)| partition);
    Ok(results)
}

/// Where a broker holds a replica.
enum Place {
    In(StrBytes),
    /// A future replica exists.
    Moving,
}

async fn places(
    client: &Client,
    topic: &str,
    to: &Target,
    partitions: &[i32],
) -> Result<BTreeMap<i32, Place>, CallError> {
    let topics = DescribableLogDirTopic::default().with_topic(topic_name(topic)).with_partitions(partitions.to_vec());
    let request = DescribeLogDirsRequest::default().with_topics(Some(vec![topics]));
    let answer = client.call(to, request).await?;
    let what = || format!("finding the log directories of topic {topic}");
    if answer.error_code != 0 {
        return Err(CallError::refused(what(), answer.error_code, None));
    }
    let mut places: BTreeMap<i32, Place> = BTreeMap::new();
    for dir in answer.results {
        if dir.error_code != 0 {
            // An offline directory hides its replicas; those are then not here.
            tracing::warn!(dir = %dir.log_dir, code = %ErrorCode(dir.error_code), "log directory not readable");
            continue;
        }
        for partition in dir.topics.into_iter().filter(|t| t.name.as_str() == topic).flat_map(|t| t.partitions) {
            let place = if partition.is_future_key || places.contains_key(&partition.partition_index) {
                Place::Moving
            } else {
                Place::In(dir.log_dir.clone())
            };
            places.insert(partition.partition_index, place);
        }
    }
    Ok(places)
}

/// The topic's `max.message.bytes` as each of these brokers sees it, asked at once.
pub async fn visible(client: &Client, topic: &str, brokers: &[i32]) -> Vec<(i32, Result<Option<String>, CallError>)> {
    let calls = brokers.iter().map(|&broker| async move {
        let found = configs::describe(client, &Target::Broker(broker), topic, Some(&[MAX_MESSAGE_BYTES])).await;
        let value = |values: Vec<configs::ConfigValue>| {
            values.into_iter().find(|config| config.name == MAX_MESSAGE_BYTES).and_then(|config| config.value)
        };
        (broker, found.map(value))
    });
    futures::future::join_all(calls).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_probe_s_answer_means() {
        assert_eq!(Probe::read(10), Probe::Sealed);
        assert_eq!(Probe::read(2), Probe::Open);
        for code in [-1, 0, 3, 6, 7, 29, 87, i16::MAX] {
            assert_eq!(Probe::read(code), Probe::Unknown(ErrorCode(code)));
        }
    }
}
