//! Groups and transactions: they live on the home cluster, whose brokers answer for them as they are. A broker of another
//! cluster is never their coordinator.

use sluice_wire::ApiKey;

/// Requests that only a coordinator answers.
pub(super) fn is_bound_to_home(key: ApiKey) -> bool {
    passes(key) || matches!(key, ApiKey::OffsetCommit | ApiKey::TxnOffsetCommit | ApiKey::AddPartitionsToTxn)
}

/// Requests that pass by their length: nothing in them or their answers differs.
pub(super) fn passes(key: ApiKey) -> bool {
    matches!(
        key,
        ApiKey::JoinGroup
            | ApiKey::SyncGroup
            | ApiKey::Heartbeat
            | ApiKey::LeaveGroup
            | ApiKey::OffsetFetch
            | ApiKey::AddOffsetsToTxn
            | ApiKey::EndTxn
    )
}
