//! `TopicFuse`: stops the writes or the reads of one topic while everything else runs on.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::condition;
use crate::proxy_progress::ProxyProgress;
use crate::topic;

mod reason;

pub use reason::TopicFuseReason;

/// Stops writes or reads of one topic while everything else runs on.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
#[kube(
    group = "sluice.dev",
    version = "v1alpha1",
    kind = "TopicFuse",
    plural = "topicfuses",
    singular = "topicfuse",
    shortname = "tfuse",
    category = "sluice",
    namespaced,
    status = "TopicFuseStatus",
    derive = "PartialEq",
    doc = "Stops writes or reads of one topic while everything else runs on.",
    selectable = ".spec.topic",
    printcolumn(name = "Topic", type_ = "string", json_path = ".spec.topic", description = "The Kafka topic."),
    printcolumn(
        name = "Produce",
        type_ = "string",
        json_path = ".status.produce.state",
        description = "Whether writes pass (Closed) or are stopped (Tripped)."
    ),
    printcolumn(
        name = "Consume",
        type_ = "string",
        json_path = ".status.consume.state",
        description = "Whether reads pass (Closed) or are stopped (Tripped)."
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Tripped\")].reason",
        description = "Why it has tripped, or that it has not."
    ),
    printcolumn(
        name = "Since",
        type_ = "date",
        json_path = ".status.since",
        description = "Time since the fuse is in its present state."
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status",
        description = "Whether every proxy does what the fuse says. A tripped fuse that works is ready."
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp",
        description = "Time since the object was created."
    ),
    printcolumn(
        name = "Proxies",
        type_ = "string",
        json_path = ".status.proxies.summary",
        priority = 1,
        description = "Proxies that have applied it, of all."
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
        .message("a topic whose name begins with '__' is bookkeeping of Kafka or Sluice and has no fuse")
        .field_path(".topic"),
    validation = Rule::new(topic::SAME)
        .message("topic cannot be changed: create another TopicFuse for another topic")
        .field_path(".topic"),
    validation = Rule::new("has(self.produce) || has(self.consume)")
        .message("name at least one of produce and consume: a fuse without both does nothing")
        .field_path(".produce")
)]
#[serde(rename_all = "camelCase")]
pub struct TopicFuseSpec {
    /// Name of the Kafka topic. It cannot be changed, and one topic has one fuse. No default. Example: `orders`.
    #[schemars(length(min = 1, max = 249))]
    pub topic: String,

    /// The writes of the topic. Default: they pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub produce: Option<ProduceFuse>,

    /// The reads of the topic. Default: they pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consume: Option<ConsumeFuse>,
}

impl TopicFuseSpec {
    /// What is done with writes; `None`: they pass.
    pub fn blocks_produce(&self) -> Option<FuseAction> {
        let produce = self.produce.as_ref().filter(|produce| produce.state == FuseState::Blocked)?;
        Some(produce.action.unwrap_or(FuseAction::Hold))
    }

    /// Reads are stopped.
    pub fn blocks_consume(&self) -> bool {
        self.consume.as_ref().is_some_and(|consume| consume.state == FuseState::Blocked)
    }
}

/// The writes of a topic.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ProduceFuse {
    /// `Blocked`: stopped by hand. `Disabled`: never stopped. No default. Example: `Blocked`.
    pub state: FuseState,

    /// What producers see while the fuse has tripped.
    // Users are shown the comment of the type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<FuseAction>,
}

/// The reads of a topic.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ConsumeFuse {
    /// `Blocked`: consumers get empty answers, no error; their positions and groups stay as they are. `Disabled`: never
    /// stopped. No default. Example: `Blocked`.
    pub state: FuseState,
}

/// Who decides whether the fuse trips.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum FuseState {
    /// Tripped by hand.
    Blocked,
    /// Never trips.
    #[default]
    Disabled,
}

/// What producers see while the fuse has tripped. `Hold`: requests wait for a while, then `NOT_ENOUGH_REPLICAS`, which
/// clients try again; nothing is lost within their delivery timeout. `Reject`: `POLICY_VIOLATION` at once, which clients
/// report to the application. Default: `Hold`. Example: `Reject`.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FuseAction {
    /// Requests wait, then they are refused with an error that clients retry.
    Hold,
    /// Requests are refused at once with an error that applications see.
    Reject,
}

/// What is known of a fuse.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct TopicFuseStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// What is true of the object now; one entry per type.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "condition::conditions_schema")]
    pub conditions: Vec<Condition>,

    /// The writes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub produce: Option<FuseDirection>,

    /// The reads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consume: Option<FuseDirection>,

    /// Since when the fuse is in its present state, reads and writes taken together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,

    /// Revision of the mesh document that carries the present state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<i64>,

    /// How many proxies have applied it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxies: Option<ProxyProgress>,
}

impl TopicFuseStatus {
    /// Writes are stopped.
    pub fn stops_produce(&self) -> bool {
        self.produce.as_ref().is_some_and(|direction| direction.state == Position::Tripped)
    }

    /// Reads are stopped.
    pub fn stops_consume(&self) -> bool {
        self.consume.as_ref().is_some_and(|direction| direction.state == Position::Tripped)
    }
}

/// One direction of a fuse.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct FuseDirection {
    /// Whether requests pass.
    pub state: Position,
}

/// Whether requests pass. A fuse that conducts is closed.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Position {
    /// They pass.
    Closed,
    /// They are stopped.
    Tripped,
}

impl Position {
    /// The text as it stands in the status, and the reason of the event that tells of it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "Closed",
            Self::Tripped => "Tripped",
        }
    }
}
