//! Error answers of the group APIs and of `FindCoordinator`.

use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponseTopic,
};
use kafka_protocol::messages::{
    BrokerId, FindCoordinatorRequest, FindCoordinatorResponse, HeartbeatResponse, JoinGroupResponse,
    LeaveGroupResponse, OffsetCommitRequest, OffsetCommitResponse, OffsetFetchRequest, OffsetFetchResponse,
    SyncGroupResponse,
};
use kafka_protocol::protocol::StrBytes;

pub(super) fn find_coordinator(
    version: i16,
    request: &FindCoordinatorRequest,
    error_code: i16,
) -> FindCoordinatorResponse {
    let nobody = BrokerId(-1);
    if version < 4 {
        return FindCoordinatorResponse::default().with_error_code(error_code).with_node_id(nobody).with_port(-1);
    }
    let coordinators = request.coordinator_keys.iter().map(|key| {
        Coordinator::default().with_key(key.clone()).with_node_id(nobody).with_port(-1).with_error_code(error_code)
    });
    FindCoordinatorResponse::default().with_coordinators(coordinators.collect())
}

pub(super) fn join_group(version: i16, error_code: i16) -> JoinGroupResponse {
    // Null from version 7 on only.
    let protocol_name = (version < 7).then(StrBytes::new);
    JoinGroupResponse::default().with_error_code(error_code).with_generation_id(-1).with_protocol_name(protocol_name)
}

pub(super) fn sync_group(error_code: i16) -> SyncGroupResponse {
    SyncGroupResponse::default().with_error_code(error_code)
}

pub(super) fn heartbeat(error_code: i16) -> HeartbeatResponse {
    HeartbeatResponse::default().with_error_code(error_code)
}

pub(super) fn leave_group(error_code: i16) -> LeaveGroupResponse {
    LeaveGroupResponse::default().with_error_code(error_code)
}

pub(super) fn offset_commit(request: &OffsetCommitRequest, error_code: i16) -> OffsetCommitResponse {
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            OffsetCommitResponsePartition::default()
                .with_partition_index(partition.partition_index)
                .with_error_code(error_code)
        });
        OffsetCommitResponseTopic::default()
            .with_name(topic.name.clone())
            .with_topic_id(topic.topic_id)
            .with_partitions(partitions.collect())
    });
    OffsetCommitResponse::default().with_topics(topics.collect())
}

pub(super) fn offset_fetch(version: i16, request: OffsetFetchRequest, error_code: i16) -> OffsetFetchResponse {
    if version >= 8 {
        let groups = request
            .groups
            .into_iter()
            .map(|group| OffsetFetchResponseGroup::default().with_group_id(group.group_id).with_error_code(error_code));
        return OffsetFetchResponse::default().with_groups(groups.collect());
    }
    // Version 1 has no place but the partitions; later ones have both, and brokers fill both.
    let topics = request.topics.unwrap_or_default().into_iter().map(|topic| {
        let partitions = topic.partition_indexes.iter().map(|partition| {
            OffsetFetchResponsePartition::default()
                .with_partition_index(*partition)
                .with_committed_offset(-1)
                .with_committed_leader_epoch(-1)
                .with_metadata(Some(StrBytes::new()))
                .with_error_code(error_code)
        });
        OffsetFetchResponseTopic::default().with_name(topic.name.clone()).with_partitions(partitions.collect())
    });
    let topics = topics.collect();
    OffsetFetchResponse::default().with_topics(topics).with_error_code(if version >= 2 { error_code } else { 0 })
}
