//! One file per API (or pair of like ones) whose requests or answers are not passed as they are. Which these are is said here, once.

use kafka_protocol::messages::{OffsetCommitRequest, TxnOffsetCommitRequest};
use sluice_wire::{ApiKey, error_answer};

use crate::code;
use crate::outcome::{Frame, Outcome, Scope};
use crate::slot::SlotState;
use crate::step::CloseReason;

mod add_partitions_to_txn;
pub(crate) mod api_versions;
mod create_topics;
mod delete_topics;
mod describe_cluster;
mod facts;
pub(crate) mod fetch;
mod find_coordinator;
mod group;
mod init_producer_id;
mod list_offsets;
mod metadata;
mod offset_commit;
mod offset_for_leader_epoch;
pub(crate) mod produce;

/// How a request travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Streamed, decided on the way.
    Produce,
    /// Gathered, then decided.
    Whole,
    /// Passed by its length, as it comes.
    Pass,
    /// Answered with this error.
    Refuse(i16),
}

/// How requests of an offered API travel.
pub(crate) fn mode(key: ApiKey, scope: &Scope<'_>) -> Mode {
    match key {
        ApiKey::Produce => Mode::Produce,
        _ if group::is_bound_to_home(key) && !scope.at_home() => Mode::Refuse(code::NOT_COORDINATOR),
        _ if group::passes(key) => Mode::Pass,
        _ => Mode::Whole,
    }
}

/// Decides on a whole request.
pub(crate) fn decide(frame: Frame<'_>, scope: &mut Scope<'_>) -> Outcome {
    let key = frame.head.key;
    if let Mode::Refuse(error) = mode(key, scope) {
        return refuse(frame, error);
    }
    match key {
        ApiKey::Fetch => fetch::decide(frame, scope),
        ApiKey::ListOffsets => list_offsets::decide(frame, scope),
        ApiKey::Metadata => metadata::decide(frame, scope),
        ApiKey::OffsetCommit => offset_commit::decide::<OffsetCommitRequest>(frame, scope),
        ApiKey::FindCoordinator => find_coordinator::decide(frame, scope),
        ApiKey::ApiVersions => api_versions::decide(frame, scope),
        ApiKey::CreateTopics => create_topics::decide(frame, scope),
        ApiKey::DeleteTopics => delete_topics::decide(frame, scope),
        ApiKey::InitProducerId => init_producer_id::decide(frame, scope),
        ApiKey::OffsetForLeaderEpoch => offset_for_leader_epoch::decide(frame, scope),
        ApiKey::AddPartitionsToTxn => add_partitions_to_txn::decide(frame, scope),
        ApiKey::TxnOffsetCommit => offset_commit::decide::<TxnOffsetCommitRequest>(frame, scope),
        ApiKey::DescribeCluster => describe_cluster::decide(frame, scope),
        // Offered, but nobody has said how it is decided: unknown never means "forward and hope".
        _ => Outcome::Close(CloseReason::UnknownApi),
    }
}

/// Answers a whole request with one error everywhere.
pub(crate) fn refuse(mut frame: Frame<'_>, error: i16) -> Outcome {
    let head = frame.head;
    let asked =
        error_answer::Asked { key: head.key as i16, version: head.version, correlation_id: head.correlation_id };
    let body = bytes::Bytes::copy_from_slice(frame.body());
    match error_answer::encode(asked, body, error) {
        Ok(bytes) => Outcome::Answer(bytes),
        Err(error) => error.into(),
    }
}

/// Passes a whole request, and its answer, as they are.
fn pass() -> Outcome {
    Outcome::Pass(SlotState::Pass)
}
