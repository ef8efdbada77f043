//! Why a move does not go on: a closed list of reasons, each with a sentence that says what to do. Values only; who
//! shows them, and where, is the status's business.

/// The reason of a condition or an event. The names are part of what users may match on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// The route is waiting for other moves of the mesh.
    WaitingForTurn,
    /// An attempt was given up; the next one waits a little.
    BackingOff,
    /// No KafkaCluster has the name that the route gives.
    ClusterNotFound,
    /// No cluster has the topic.
    TopicNotFound,
    /// An older route claims the topic.
    Conflicted,
    /// The route's own fields are wrong.
    Invalid,
    /// A cluster does not answer.
    ClusterUnreachable,
    /// A ledger can't be read or written.
    LedgerUnavailable,
    /// Old and new topic have different numbers of partitions.
    PartitionCountMismatch,
    /// The new cluster holds a topic of that name that is not ours to fill.
    TargetNotEmpty,
    /// The new cluster has too few brokers, or refuses to create the topic.
    TargetNotCreated,
    /// The new cluster refuses a setting that the topic has.
    ConfigDiffers,
    /// The topic is compacted.
    CompactedTopic,
    /// A transaction is under way on the topic.
    OpenTransaction,
    /// The operator lacks a right on a broker.
    MissingRights,
    /// The brokers refuse the seal.
    SealRefused,
    /// The seal did not show on every broker in time.
    SealNotVisible,
    /// Something else has sealed the old topic.
    SealedByOthers,
    /// A partition has no leader.
    NoLeader,
    /// A partition has fewer in-sync replicas than it needs.
    UnderMinIsr,
    /// A cluster runs in `ZooKeeper` mode.
    NotKRaft,
    /// Another mesh moves the topic.
    OtherMeshLedger,
    /// The topic was moved so often that a generation would be used twice.
    GenerationReused,
    /// The topic changed under the move.
    TopicChanged,
    /// The log end did not come to rest.
    LogEndNotReached,
    /// Writers were held for as long as the route allows.
    PauseBudgetExceeded,
    /// A proxy has not confirmed a document that it must have.
    WaitingForProxies,
    /// The route was deleted or points elsewhere now.
    RouteChanged,
    /// An operator ended in the middle of an attempt.
    Interrupted,
}

impl Reason {
    /// The reason as it stands in conditions and events.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::WaitingForTurn => "WaitingForTurn",
            Self::BackingOff => "BackingOff",
            Self::ClusterNotFound => "ClusterNotFound",
            Self::TopicNotFound => "TopicNotFound",
            Self::Conflicted => "Conflicted",
            Self::Invalid => "Invalid",
            Self::ClusterUnreachable => "ClusterUnreachable",
            Self::LedgerUnavailable => "LedgerUnavailable",
            Self::PartitionCountMismatch => "PartitionCountMismatch",
            Self::TargetNotEmpty => "TargetNotEmpty",
            Self::TargetNotCreated => "TargetNotCreated",
            Self::ConfigDiffers => "ConfigDiffers",
            Self::CompactedTopic => "CompactedTopic",
            Self::OpenTransaction => "OpenTransaction",
            Self::MissingRights => "MissingRights",
            Self::SealRefused => "SealRefused",
            Self::SealNotVisible => "SealNotVisible",
            Self::SealedByOthers => "SealedByOthers",
            Self::NoLeader => "NoLeader",
            Self::UnderMinIsr => "UnderMinIsr",
            Self::NotKRaft => "NotKRaft",
            Self::OtherMeshLedger => "OtherMeshLedger",
            Self::GenerationReused => "GenerationReused",
            Self::TopicChanged => "TopicChanged",
            Self::LogEndNotReached => "LogEndNotReached",
            Self::PauseBudgetExceeded => "PauseBudgetExceeded",
            Self::WaitingForProxies => "WaitingForProxies",
            Self::RouteChanged => "RouteChanged",
            Self::Interrupted => "Interrupted",
        }
    }

    /// Nothing but a person can help: the resource is shown as stalled.
    pub fn needs_person(self) -> bool {
        matches!(
            self,
            Self::ClusterNotFound
                | Self::TopicNotFound
                | Self::Conflicted
                | Self::Invalid
                | Self::PartitionCountMismatch
                | Self::TargetNotEmpty
                | Self::TargetNotCreated
                | Self::ConfigDiffers
                | Self::CompactedTopic
                | Self::MissingRights
                | Self::SealRefused
                | Self::SealedByOthers
                | Self::NotKRaft
                | Self::OtherMeshLedger
                | Self::GenerationReused
        )
    }
}

impl sluice_crds::condition::Reason for Reason {
    fn as_str(self) -> &'static str {
        Self::as_str(self)
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A reason and the sentence that goes with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {message}")]
pub struct Problem {
    /// The reason.
    pub reason: Reason,
    /// A sentence for people: what is wrong and what to do.
    pub message: String,
}

impl Problem {
    /// Puts reason and sentence together.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}
