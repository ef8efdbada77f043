//! `TopicRoute`: where a topic is to live.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::condition;
use crate::duration;
use crate::proxy_progress::ProxyProgress;
use crate::topic;

mod reason;

pub use reason::TopicRouteReason;

/// The pause budget of a move whose route names none.
pub const DEFAULT_PAUSE_BUDGET: Duration = Duration::from_secs(5);

/// Where one topic is to live. Changing `clusterRef` moves the live topic; changing it back moves it back.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
#[kube(
    group = "sluice.dev",
    version = "v1alpha1",
    kind = "TopicRoute",
    plural = "topicroutes",
    singular = "topicroute",
    shortname = "troute",
    category = "sluice",
    namespaced,
    status = "TopicRouteStatus",
    derive = "PartialEq",
    doc = "Where one topic is to live. Changing clusterRef moves the live topic; changing it back moves it back.",
    selectable = ".spec.topic",
    selectable = ".spec.clusterRef.name",
    printcolumn(name = "Topic", type_ = "string", json_path = ".spec.topic", description = "The Kafka topic."),
    printcolumn(
        name = "From",
        type_ = "string",
        json_path = ".status.from",
        description = "Cluster that the latest move started from."
    ),
    printcolumn(
        name = "To",
        type_ = "string",
        json_path = ".spec.clusterRef.name",
        description = "Cluster on which the topic is to live."
    ),
    printcolumn(
        name = "Phase",
        type_ = "string",
        json_path = ".status.phase",
        description = "Where the latest move stands."
    ),
    printcolumn(
        name = "Pause",
        type_ = "integer",
        json_path = ".status.pause.lastMillis",
        description = "Pause of writes by the latest move, milliseconds."
    ),
    printcolumn(
        name = "Proxies",
        type_ = "string",
        json_path = ".status.proxies.summary",
        description = "Proxies that have applied it, of all."
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status",
        description = "Whether the topic lives where the route says."
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp",
        description = "Time since the object was created."
    ),
    printcolumn(
        name = "Revision",
        type_ = "integer",
        json_path = ".status.revision",
        priority = 1,
        description = "Revision of the mesh document that carries the route."
    ),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].message",
        priority = 1,
        description = "What the Ready condition says."
    )
)]
#[x_kube(
    validation = Rule::new(topic::NAME)
        .message(topic::NAME_MESSAGE)
        .field_path(".topic"),
    validation = Rule::new(topic::NOT_INTERNAL)
        .message("a topic whose name begins with '__' is bookkeeping of Kafka or Sluice and cannot be routed")
        .field_path(".topic"),
    validation = Rule::new(topic::SAME)
        .message("topic cannot be changed: create another TopicRoute for another topic")
        .field_path(".topic"),
    validation = Rule::new("self.clusterRef.name.matches('^[a-z0-9]([a-z0-9-]*[a-z0-9])?([.][a-z0-9]([a-z0-9-]*[a-z0-9])?)*$')")
        .message("clusterRef.name must be the name of a KafkaCluster: lower-case letters, digits, '-' and '.', at most 253 characters")
        .field_path(".clusterRef.name"),
    validation = Rule::new("!has(self.move) || !has(self.move.pauseBudget) || (self.move.pauseBudget.matches('^[0-9]{1,9}(ms|s|m)$') && duration(self.move.pauseBudget) >= duration('100ms') && duration(self.move.pauseBudget) <= duration('30s'))")
        .message("move.pauseBudget must be a duration from 100ms to 30s, one number and one unit, for example 500ms or 5s")
        .field_path(".move.pauseBudget")
)]
#[serde(rename_all = "camelCase")]
pub struct TopicRouteSpec {
    /// Name of the Kafka topic. It cannot be changed, and one topic has one route. No default. Example: `orders`.
    #[schemars(length(min = 1, max = 249))]
    pub topic: String,

    /// The KafkaCluster on which the topic is to live, in the same namespace. No default.
    pub cluster_ref: ClusterRef,

    /// How the topic moves. Default: as stated at each field.
    #[serde(default, rename = "move", skip_serializing_if = "Option::is_none")]
    pub move_: Option<MoveSpec>,
}

impl TopicRouteSpec {
    /// Longest hold of writers in one attempt: what the route says, else [`DEFAULT_PAUSE_BUDGET`].
    pub fn pause_budget(&self) -> Duration {
        self.move_
            .as_ref()
            .and_then(|settings| settings.pause_budget.as_deref())
            .and_then(duration::parse)
            .unwrap_or(DEFAULT_PAUSE_BUDGET)
    }
}

/// A KafkaCluster of the same namespace.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ClusterRef {
    /// Name of the KafkaCluster. No default. Example: `west`.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// How a topic moves.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct MoveSpec {
    /// Longest time for which one attempt may hold writers back, `100ms` to `30s`, one number and one unit (`ms`, `s`). An
    /// attempt that would take longer is given up, writers go on, and the move is tried again later. Default: `5s`.
    /// Example: `500ms`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 16))]
    pub pause_budget: Option<String>,
}

/// Where a topic's latest move stands.
// In the order in which a move goes through them; no doc comment, as users are shown those.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Accepted; waits for its turn or for something that is missing.
    Pending,
    /// Checks run, the target is made.
    Preparing,
    /// Proxies hold writes.
    Fencing,
    /// The old cluster is made to refuse writes, partition by partition.
    Sealing,
    /// The cut is written down.
    Recording,
    /// The new cluster opens, proxies follow.
    Switching,
    /// The topic lives where the route says.
    Completed,
}

impl Phase {
    /// The text as it stands in the status.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Preparing => "Preparing",
            Self::Fencing => "Fencing",
            Self::Sealing => "Sealing",
            Self::Recording => "Recording",
            Self::Switching => "Switching",
            Self::Completed => "Completed",
        }
    }
}

/// What is known of a route and of its move.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct TopicRouteStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// What is true of the object now; one entry per type.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "condition::conditions_schema")]
    pub conditions: Vec<Condition>,

    /// Where the latest move stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,

    /// Cluster that the latest move started from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,

    /// Cluster that the latest move goes to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,

    /// The topic's partitions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partitions: Option<PartitionProgress>,

    /// The pause of writes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause: Option<PauseStatus>,

    /// The latest cut: where the old log ends and the new one begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut: Option<CutStatus>,

    /// The clusters that the topic's log is stored on, oldest first; at most 32 rows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub chain: Vec<ChainSegment>,

    /// Clusters that still hold records from before a move; at most 32 rows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub old_segments: Vec<OldSegment>,

    /// When the latest move began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,

    /// When the latest move was done on every live proxy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Time>,

    /// Revision of the mesh document that carries the present state of the topic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<i64>,

    /// How many proxies have applied it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxies: Option<ProxyProgress>,
}

/// How far the partitions have come.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PartitionProgress {
    /// All of them.
    pub total: i32,
    /// Those that the new cluster serves.
    pub switched: i32,
    /// Those whose log end on the old cluster is final.
    pub drained: i32,
}

/// The pause of writes.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PauseStatus {
    /// Pause of the latest move without the clients' own part, milliseconds: from the fence to the switch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_millis: Option<i64>,
    /// Its parts, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parts: Option<PauseParts>,
    /// Attempts that the latest move took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<i64>,
}

/// The parts of a pause, milliseconds.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PauseParts {
    /// Proxies take up the fence and finish what is in flight.
    pub fence_millis: i64,
    /// The old cluster is made to refuse writes and its log ends are read.
    pub seal_millis: i64,
    /// The cut is written to both ledgers.
    pub record_millis: i64,
    /// The new cluster is opened and the proxies follow.
    pub switch_millis: i64,
}

/// The latest cut.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct CutStatus {
    /// The attempt that made it; the ledger's records carry the same number.
    pub attempt: i64,
    /// Offsets below the cut, over all partitions.
    pub offsets: i64,
    /// Idempotent producers known at the cut, over all partitions.
    pub producers: i64,
    /// Where the whole cut is written down. Example: `__sluice_ledger on east, topic orders, attempt 3`.
    pub ledger: String,
}

/// One stretch of the topic's log, over all partitions.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ChainSegment {
    /// The KafkaCluster that stores it.
    pub cluster: String,
    /// Grows by one per move.
    pub generation: i32,
    /// Records of the stretch, over all partitions, counted by offsets; absent for the one that takes writes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offsets: Option<i64>,
}

/// Records from before a move that a cluster still holds.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct OldSegment {
    /// The KafkaCluster.
    pub cluster: String,
    /// Records of the segment, over all partitions, counted by offsets.
    pub offsets: i64,
    /// When retention will have removed them, if that can be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub needed_until: Option<Time>,
}
