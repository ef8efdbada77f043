//! Where the counts and lengths lie in each message: descriptions after the message definitions that Kafka's client jar
//! carries. Versions that kafka-protocol does not decode may be missing in fields but never wrong: it is asked first.

mod admin;
mod cluster;
mod data;
mod groups;
mod transactions;

use kafka_protocol::messages::ApiKey;

/// No highest version.
pub(super) const MAX: i16 = i16::MAX;

/// One message.
#[derive(Debug)]
pub(super) struct Message {
    /// First version with compact lengths and tagged fields.
    pub(super) flexible: i16,
    /// In order.
    pub(super) fields: &'static [Field],
}

/// A field: name, first and last version, kind.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) name: &'static str,
    first: i16,
    last: i16,
    pub(super) kind: Kind,
}

impl Field {
    pub(super) fn is_in(&self, version: i16) -> bool {
        (self.first..=self.last).contains(&version)
    }
}

/// How a field's bytes are laid out.
#[derive(Debug)]
pub(super) enum Kind {
    /// So many bytes.
    Fixed(usize),
    /// A string, maybe null.
    Str,
    /// Bytes or records, maybe null.
    Blob,
    /// An array, maybe null.
    Array(&'static Kind),
    /// Fields, with tagged fields of their own.
    Struct(&'static [Field]),
    /// A tagged field: tag and what it holds. It comes after all others.
    Tagged(u32, &'static Kind),
}

/// Short for the tables.
#[expect(non_snake_case, reason = "reads as a constructor in the tables")]
const fn F(name: &'static str, first: i16, last: i16, kind: Kind) -> Field {
    Field { name, first, last, kind }
}

/// Request and answer of an API; `None` for those that nothing here decodes.
pub(super) fn messages(key: ApiKey) -> Option<(&'static Message, &'static Message)> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "what is not listed is refused")]
    let messages: (&Message, &Message) = match key {
        ApiKey::Produce => (&data::PRODUCE_REQUEST, &data::PRODUCE_ANSWER),
        ApiKey::Fetch => (&data::FETCH_REQUEST, &data::FETCH_ANSWER),
        ApiKey::ListOffsets => (&data::LIST_OFFSETS_REQUEST, &data::LIST_OFFSETS_ANSWER),
        ApiKey::OffsetForLeaderEpoch => (&data::OFFSET_FOR_LEADER_EPOCH_REQUEST, &data::OFFSET_FOR_LEADER_EPOCH_ANSWER),
        ApiKey::DeleteRecords => (&data::DELETE_RECORDS_REQUEST, &data::DELETE_RECORDS_ANSWER),
        ApiKey::ApiVersions => (&cluster::API_VERSIONS_REQUEST, &cluster::API_VERSIONS_ANSWER),
        ApiKey::Metadata => (&cluster::METADATA_REQUEST, &cluster::METADATA_ANSWER),
        ApiKey::DescribeCluster => (&cluster::DESCRIBE_CLUSTER_REQUEST, &cluster::DESCRIBE_CLUSTER_ANSWER),
        ApiKey::CreateTopics => (&cluster::CREATE_TOPICS_REQUEST, &cluster::CREATE_TOPICS_ANSWER),
        ApiKey::DeleteTopics => (&cluster::DELETE_TOPICS_REQUEST, &cluster::DELETE_TOPICS_ANSWER),
        ApiKey::CreatePartitions => (&cluster::CREATE_PARTITIONS_REQUEST, &cluster::CREATE_PARTITIONS_ANSWER),
        ApiKey::SaslHandshake => (&cluster::SASL_HANDSHAKE_REQUEST, &cluster::SASL_HANDSHAKE_ANSWER),
        ApiKey::SaslAuthenticate => (&cluster::SASL_AUTHENTICATE_REQUEST, &cluster::SASL_AUTHENTICATE_ANSWER),
        ApiKey::FindCoordinator => (&groups::FIND_COORDINATOR_REQUEST, &groups::FIND_COORDINATOR_ANSWER),
        ApiKey::JoinGroup => (&groups::JOIN_GROUP_REQUEST, &groups::JOIN_GROUP_ANSWER),
        ApiKey::SyncGroup => (&groups::SYNC_GROUP_REQUEST, &groups::SYNC_GROUP_ANSWER),
        ApiKey::Heartbeat => (&groups::HEARTBEAT_REQUEST, &groups::HEARTBEAT_ANSWER),
        ApiKey::LeaveGroup => (&groups::LEAVE_GROUP_REQUEST, &groups::LEAVE_GROUP_ANSWER),
        ApiKey::OffsetCommit => (&groups::OFFSET_COMMIT_REQUEST, &groups::OFFSET_COMMIT_ANSWER),
        ApiKey::OffsetFetch => (&groups::OFFSET_FETCH_REQUEST, &groups::OFFSET_FETCH_ANSWER),
        ApiKey::OffsetDelete => (&groups::OFFSET_DELETE_REQUEST, &groups::OFFSET_DELETE_ANSWER),
        ApiKey::DescribeGroups => (&groups::DESCRIBE_GROUPS_REQUEST, &groups::DESCRIBE_GROUPS_ANSWER),
        ApiKey::ListGroups => (&groups::LIST_GROUPS_REQUEST, &groups::LIST_GROUPS_ANSWER),
        ApiKey::DeleteGroups => (&groups::DELETE_GROUPS_REQUEST, &groups::DELETE_GROUPS_ANSWER),
        ApiKey::InitProducerId => (&transactions::INIT_PRODUCER_ID_REQUEST, &transactions::INIT_PRODUCER_ID_ANSWER),
        ApiKey::AddPartitionsToTxn => {
            (&transactions::ADD_PARTITIONS_TO_TXN_REQUEST, &transactions::ADD_PARTITIONS_TO_TXN_ANSWER)
        }
        ApiKey::AddOffsetsToTxn => {
            (&transactions::ADD_OFFSETS_TO_TXN_REQUEST, &transactions::ADD_OFFSETS_TO_TXN_ANSWER)
        }
        ApiKey::EndTxn => (&transactions::END_TXN_REQUEST, &transactions::END_TXN_ANSWER),
        ApiKey::TxnOffsetCommit => (&transactions::TXN_OFFSET_COMMIT_REQUEST, &transactions::TXN_OFFSET_COMMIT_ANSWER),
        ApiKey::DescribeProducers => {
            (&transactions::DESCRIBE_PRODUCERS_REQUEST, &transactions::DESCRIBE_PRODUCERS_ANSWER)
        }
        ApiKey::DescribeTransactions => {
            (&transactions::DESCRIBE_TRANSACTIONS_REQUEST, &transactions::DESCRIBE_TRANSACTIONS_ANSWER)
        }
        ApiKey::ListTransactions => (&transactions::LIST_TRANSACTIONS_REQUEST, &transactions::LIST_TRANSACTIONS_ANSWER),
        ApiKey::DescribeConfigs => (&admin::DESCRIBE_CONFIGS_REQUEST, &admin::DESCRIBE_CONFIGS_ANSWER),
        ApiKey::IncrementalAlterConfigs => {
            (&admin::INCREMENTAL_ALTER_CONFIGS_REQUEST, &admin::INCREMENTAL_ALTER_CONFIGS_ANSWER)
        }
        ApiKey::DescribeLogDirs => (&admin::DESCRIBE_LOG_DIRS_REQUEST, &admin::DESCRIBE_LOG_DIRS_ANSWER),
        ApiKey::AlterReplicaLogDirs => (&admin::ALTER_REPLICA_LOG_DIRS_REQUEST, &admin::ALTER_REPLICA_LOG_DIRS_ANSWER),
        ApiKey::DescribeAcls => (&admin::DESCRIBE_ACLS_REQUEST, &admin::DESCRIBE_ACLS_ANSWER),
        ApiKey::CreateAcls => (&admin::CREATE_ACLS_REQUEST, &admin::CREATE_ACLS_ANSWER),
        ApiKey::DeleteAcls => (&admin::DELETE_ACLS_REQUEST, &admin::DELETE_ACLS_ANSWER),
        ApiKey::AlterPartitionReassignments => {
            (&admin::ALTER_PARTITION_REASSIGNMENTS_REQUEST, &admin::ALTER_PARTITION_REASSIGNMENTS_ANSWER)
        }
        ApiKey::ListPartitionReassignments => {
            (&admin::LIST_PARTITION_REASSIGNMENTS_REQUEST, &admin::LIST_PARTITION_REASSIGNMENTS_ANSWER)
        }
        ApiKey::ElectLeaders => (&admin::ELECT_LEADERS_REQUEST, &admin::ELECT_LEADERS_ANSWER),
        ApiKey::DescribeQuorum => (&admin::DESCRIBE_QUORUM_REQUEST, &admin::DESCRIBE_QUORUM_ANSWER),
        ApiKey::UpdateFeatures => (&admin::UPDATE_FEATURES_REQUEST, &admin::UPDATE_FEATURES_ANSWER),
        _ => return None,
    };
    Some(messages)
}
