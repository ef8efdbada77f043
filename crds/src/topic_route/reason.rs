//! The one closed list of reasons: what conditions and events of a TopicRoute may say, and what scripts may rely on.

use crate::condition::Reason;

/// Why a condition of a TopicRoute is as it is, and why its move does not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TopicRouteReason {
    /// The object obeys the rules.
    Accepted,
    /// The object breaks a rule.
    Invalid,
    /// An older route claims the topic.
    Conflicted,
    /// The KafkaCluster exists.
    Resolved,
    /// No KafkaCluster has the name that the route gives.
    ClusterNotFound,
    /// No cluster has the topic.
    TopicNotFound,
    /// A cluster does not answer.
    ClusterUnreachable,
    /// A ledger cannot be read or written.
    LedgerUnavailable,
    /// The route is waiting for other moves of the mesh.
    WaitingForTurn,
    /// An attempt was given up; the next one waits a little.
    BackingOff,
    /// Work is under way.
    Progressing,
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
    /// The topic's history does not fit one record of the ledger.
    TooManyPartitions,
    /// The topic changed under the move.
    TopicChanged,
    /// The log end did not come to rest.
    LogEndNotReached,
    /// Writers were held for as long as the route allows.
    PauseBudgetExceeded,
    /// A proxy has not confirmed a document that it must have.
    WaitingForProxies,
    /// A proxy refused the document.
    RejectedByProxy,
    /// The route was deleted or points elsewhere now.
    RouteChanged,
    /// An operator ended in the middle of an attempt.
    Interrupted,
    /// All live proxies have applied the document.
    Programmed,
    /// The topic lives where the route says.
    Completed,
}

impl TopicRouteReason {
    /// The text in the condition's `reason` field.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "Accepted",
            Self::Invalid => "Invalid",
            Self::Conflicted => "Conflicted",
            Self::Resolved => "Resolved",
            Self::ClusterNotFound => "ClusterNotFound",
            Self::TopicNotFound => "TopicNotFound",
            Self::ClusterUnreachable => "ClusterUnreachable",
            Self::LedgerUnavailable => "LedgerUnavailable",
            Self::WaitingForTurn => "WaitingForTurn",
            Self::BackingOff => "BackingOff",
            Self::Progressing => "Progressing",
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
            Self::TooManyPartitions => "TooManyPartitions",
            Self::TopicChanged => "TopicChanged",
            Self::LogEndNotReached => "LogEndNotReached",
            Self::PauseBudgetExceeded => "PauseBudgetExceeded",
            Self::WaitingForProxies => "WaitingForProxies",
            Self::RejectedByProxy => "RejectedByProxy",
            Self::RouteChanged => "RouteChanged",
            Self::Interrupted => "Interrupted",
            Self::Programmed => "Programmed",
            Self::Completed => "Completed",
        }
    }

    /// Nothing but a person can help: the resource is shown as stalled.
    pub const fn needs_person(self) -> bool {
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
                | Self::TooManyPartitions
                | Self::RejectedByProxy
        )
    }
}

impl Reason for TopicRouteReason {
    fn as_str(self) -> &'static str {
        Self::as_str(self)
    }
}

impl std::fmt::Display for TopicRouteReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
