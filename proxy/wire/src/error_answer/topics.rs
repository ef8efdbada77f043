//! Error answers of the APIs on topics and the cluster.

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::create_topics_response::CreatableTopicResult;
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use kafka_protocol::messages::offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult};
use kafka_protocol::messages::{
    BrokerId, CreateTopicsRequest, CreateTopicsResponse, DeleteTopicsRequest, DeleteTopicsResponse,
    DescribeClusterResponse, ListOffsetsRequest, ListOffsetsResponse, OffsetForLeaderEpochRequest,
    OffsetForLeaderEpochResponse,
};

use super::Reply;
use crate::WireError;
use crate::fetch_answer::{self, Entry};
use crate::walk::fetch::Head;
use crate::walk::fetch_request::FetchRequest;

pub(super) fn fetch(reply: Reply, body: &Bytes, error_code: i16) -> Result<Bytes, WireError> {
    let mut body = BytesMut::from(&body[..]);
    let request = FetchRequest::parse(reply.version, &mut body)?;
    let mut topics: Vec<(String, Vec<Entry>)> = Vec::new();
    request.visit(|topic, partition| {
        let entry = Entry::error(partition.index, error_code);
        match topics.last_mut() {
            Some((last, entries)) if last == topic => entries.push(entry),
            _ => topics.push((topic.to_owned(), vec![entry])),
        }
    });
    let topics: Vec<_> = topics.iter().map(|(topic, entries)| (topic.as_str(), entries.as_slice())).collect();
    let head = Head { throttle_time_ms: 0, error_code: 0, session_id: 0, topics: 0, size: 0 };
    fetch_answer::encode(reply.version, reply.correlation_id, &head, &topics)
}

pub(super) fn list_offsets(request: &ListOffsetsRequest, error_code: i16) -> ListOffsetsResponse {
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            ListOffsetsPartitionResponse::default()
                .with_partition_index(partition.partition_index)
                .with_error_code(error_code)
                .with_timestamp(-1)
                .with_offset(-1)
                .with_leader_epoch(-1)
        });
        ListOffsetsTopicResponse::default().with_name(topic.name.clone()).with_partitions(partitions.collect())
    });
    ListOffsetsResponse::default().with_topics(topics.collect())
}

pub(super) fn offset_for_leader_epoch(
    request: &OffsetForLeaderEpochRequest,
    error_code: i16,
) -> OffsetForLeaderEpochResponse {
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            EpochEndOffset::default()
                .with_partition(partition.partition)
                .with_error_code(error_code)
                .with_leader_epoch(-1)
                .with_end_offset(-1)
        });
        OffsetForLeaderTopicResult::default().with_topic(topic.topic.clone()).with_partitions(partitions.collect())
    });
    OffsetForLeaderEpochResponse::default().with_topics(topics.collect())
}

pub(super) fn create_topics(request: &CreateTopicsRequest, error_code: i16) -> CreateTopicsResponse {
    let topics = request.topics.iter().map(|topic| {
        CreatableTopicResult::default()
            .with_name(topic.name.clone())
            .with_error_code(error_code)
            .with_num_partitions(-1)
            .with_replication_factor(-1)
    });
    CreateTopicsResponse::default().with_topics(topics.collect())
}

pub(super) fn delete_topics(version: i16, request: DeleteTopicsRequest, error_code: i16) -> DeleteTopicsResponse {
    let result = || DeletableTopicResult::default().with_error_code(error_code);
    let responses = if version >= 6 {
        let topics = request.topics.into_iter();
        topics.map(|topic| result().with_name(topic.name).with_topic_id(topic.topic_id)).collect()
    } else {
        request.topic_names.into_iter().map(|name| result().with_name(Some(name))).collect()
    };
    DeleteTopicsResponse::default().with_responses(responses)
}

pub(super) fn describe_cluster(error_code: i16) -> DescribeClusterResponse {
    DescribeClusterResponse::default().with_error_code(error_code).with_controller_id(BrokerId(-1))
}
