//! Whole error answers. Kafka has no generic one: each API puts its error elsewhere, most of them once per element of the
//! request.

mod groups;
mod topics;
mod transactions;

use bytes::Bytes;
use kafka_protocol::messages::ApiKey;
use kafka_protocol::protocol::{Decodable, Encodable};

use crate::version::Range;
use crate::{WireError, bounds, frame, version};

/// What an answer needs of the request's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// API key.
    pub key: i16,
    /// Version.
    pub version: i16,
    /// Correlation id.
    pub correlation_id: i32,
}

/// A whole frame that answers the request with `error_code` in every place where its API has one. `body` is the request's
/// body after its header; for APIs of which [`needs_body`] says so it must be whole, for others it may be empty.
pub fn encode(asked: Asked, body: Bytes, error_code: i16) -> Result<Bytes, WireError> {
    let unsupported = WireError::Unsupported { key: asked.key, version: asked.version };
    let Ok(key) = ApiKey::try_from(asked.key) else {
        return Err(unsupported);
    };
    let version = asked.version;
    let reply = Reply { key, version, correlation_id: asked.correlation_id };
    #[expect(clippy::wildcard_enum_match_arm, reason = "what is not listed has no error answer here")]
    match key {
        ApiKey::FindCoordinator => reply.frame(&groups::find_coordinator(version, &reply.request(body)?, error_code)),
        ApiKey::JoinGroup => reply.frame(&groups::join_group(version, error_code)),
        ApiKey::SyncGroup => reply.frame(&groups::sync_group(error_code)),
        ApiKey::Heartbeat => reply.frame(&groups::heartbeat(error_code)),
        ApiKey::LeaveGroup => reply.frame(&groups::leave_group(error_code)),
        ApiKey::OffsetCommit => reply.frame(&groups::offset_commit(&reply.request(body)?, error_code)),
        ApiKey::OffsetFetch => reply.frame(&groups::offset_fetch(version, reply.request(body)?, error_code)),
        ApiKey::InitProducerId => reply.frame(&transactions::init_producer_id(error_code)),
        ApiKey::AddPartitionsToTxn => {
            reply.frame(&transactions::add_partitions_to_txn(version, &reply.request(body)?, error_code))
        }
        ApiKey::AddOffsetsToTxn => reply.frame(&transactions::add_offsets_to_txn(error_code)),
        ApiKey::EndTxn => reply.frame(&transactions::end_txn(error_code)),
        ApiKey::TxnOffsetCommit => reply.frame(&transactions::txn_offset_commit(&reply.request(body)?, error_code)),
        ApiKey::Fetch => topics::fetch(reply, &body, error_code),
        ApiKey::ListOffsets => reply.frame(&topics::list_offsets(&reply.request(body)?, error_code)),
        ApiKey::OffsetForLeaderEpoch => {
            reply.frame(&topics::offset_for_leader_epoch(&reply.request(body)?, error_code))
        }
        ApiKey::CreateTopics => reply.frame(&topics::create_topics(&reply.request(body)?, error_code)),
        ApiKey::DeleteTopics => reply.frame(&topics::delete_topics(version, reply.request(body)?, error_code)),
        ApiKey::DescribeCluster => reply.frame(&topics::describe_cluster(error_code)),
        _ => Err(unsupported),
    }
}

/// Whether [`encode`] must see the request's body. `None`: there is no error answer for this API here.
pub fn needs_body(key: i16) -> Option<bool> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "what is not listed has no error answer here")]
    match ApiKey::try_from(key).ok()? {
        ApiKey::FindCoordinator
        | ApiKey::OffsetCommit
        | ApiKey::OffsetFetch
        | ApiKey::AddPartitionsToTxn
        | ApiKey::TxnOffsetCommit
        | ApiKey::Fetch
        | ApiKey::ListOffsets
        | ApiKey::OffsetForLeaderEpoch
        | ApiKey::CreateTopics
        | ApiKey::DeleteTopics => Some(true),
        ApiKey::JoinGroup
        | ApiKey::SyncGroup
        | ApiKey::Heartbeat
        | ApiKey::LeaveGroup
        | ApiKey::InitProducerId
        | ApiKey::AddOffsetsToTxn
        | ApiKey::EndTxn
        | ApiKey::DescribeCluster => Some(false),
        _ => None,
    }
}

/// ApiVersions in a version that is not offered: version 0, error 35, with the ranges in it; the connection lives.
pub fn unsupported_api_versions(correlation_id: i32, offered: &[Range]) -> Result<Bytes, WireError> {
    const UNSUPPORTED_VERSION: i16 = 35;
    let answer = version::api_versions_answer(offered, UNSUPPORTED_VERSION, &[], -1);
    frame::encode_answer(ApiKey::ApiVersions, 0, correlation_id, &answer)
}

/// Which request is answered.
#[derive(Debug, Clone, Copy)]
struct Reply {
    key: ApiKey,
    version: i16,
    correlation_id: i32,
}

impl Reply {
    fn request<T: Decodable>(self, body: Bytes) -> Result<T, WireError> {
        bounds::decode_request(self.key, self.version, body)
    }

    fn frame<T: Encodable>(self, answer: &T) -> Result<Bytes, WireError> {
        frame::encode_answer(self.key, self.version, self.correlation_id, answer)
    }
}

#[cfg(test)]
mod tests;
