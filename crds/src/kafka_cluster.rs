//! `KafkaCluster`: one Kafka cluster of the mesh.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::condition::{self, Reason};

/// One Kafka cluster of the mesh. All KafkaCluster objects of one namespace are seen by clients as one Kafka cluster.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
#[kube(
    group = "sluice.dev",
    version = "v1alpha1",
    kind = "KafkaCluster",
    plural = "kafkaclusters",
    singular = "kafkacluster",
    shortname = "kcl",
    category = "sluice",
    namespaced,
    status = "KafkaClusterStatus",
    derive = "PartialEq",
    doc = "One Kafka cluster of the mesh. All KafkaCluster objects of one namespace are seen by clients as one Kafka cluster.",
    printcolumn(
        name = "Bootstrap",
        type_ = "string",
        json_path = ".spec.bootstrapServers[0]",
        description = "First address of the cluster."
    ),
    printcolumn(
        name = "Version",
        type_ = "string",
        json_path = ".status.kafkaVersion",
        description = "Kafka version that the cluster runs at."
    ),
    printcolumn(
        name = "Brokers",
        type_ = "integer",
        json_path = ".status.brokerCount",
        description = "Brokers of the cluster."
    ),
    printcolumn(
        name = "Topics",
        type_ = "integer",
        json_path = ".status.topicCount",
        description = "Topics of the cluster that clients see."
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status",
        description = "Whether the mesh uses the cluster."
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp",
        description = "Time since the object was created."
    ),
    printcolumn(
        name = "Zone",
        type_ = "string",
        json_path = ".spec.zone",
        priority = 1,
        description = "Zone of the whole cluster."
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
    validation = Rule::new(r"self.bootstrapServers.all(s, s.matches('^([A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|\\[[0-9A-Fa-f:.]+\\]):([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])$'))")
        .message("each bootstrap server must be host:port, for example east-1.example.com:9092 or [fd00::1]:9092, with a port from 1 to 65535")
        .field_path(".bootstrapServers"),
    validation = Rule::new("self.bootstrapServers.all(s, self.bootstrapServers.exists_one(t, t == s))")
        .message("each bootstrap server may be named once")
        .field_path(".bootstrapServers"),
    validation = Rule::new("(has(self.home) && self.home) == (has(oldSelf.home) && oldSelf.home)")
        .message("home cannot be changed: groups, transactional ids and new topics live on the home cluster; delete the KafkaCluster and create it again if you really mean another home")
        .field_path(".home"),
    validation = Rule::new("!has(self.zone) || self.zone.matches('^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$')")
        .message("zone must be 1 to 63 letters, digits, '-', '_' or '.', with a letter or digit at both ends, for example east")
        .field_path(".zone"),
    validation = Rule::new("!has(self.topics) || !has(self.topics.exclude) || self.topics.exclude.all(g, g.matches('^[A-Za-z0-9._*?-]+$'))")
        .message("a pattern of topics.exclude may hold the characters of a topic name (letters, digits, '.', '_', '-'), '*' for any text and '?' for one character, for example __*")
        .field_path(".topics.exclude")
)]
#[serde(rename_all = "camelCase")]
pub struct KafkaClusterSpec {
    /// Addresses at which the cluster can be reached first, each `host:port`; 1 to 16 of them. All brokers are found
    /// from there. No default. Example: `["east-1:9092", "east-2:9092"]`.
    #[schemars(length(min = 1, max = 16), inner(length(min = 3, max = 270)))]
    pub bootstrap_servers: Vec<String>,

    /// Whether this is the home cluster of the mesh: groups, transactional ids and new topics live there, and clients see
    /// its cluster id. Exactly one KafkaCluster of a namespace must say `true`; it cannot be changed. Default: `false`.
    /// Example: `true`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home: Option<bool>,

    /// Zone in which the whole cluster stands, a short name. Default: each broker's own rack is its zone.
    /// Example: `east`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub zone: Option<String>,

    /// Which of the cluster's topics clients see. Default: all but Kafka's and Sluice's own bookkeeping.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topics: Option<TopicSelection>,
}

impl KafkaClusterSpec {
    /// Whether this is the home cluster.
    pub fn is_home(&self) -> bool {
        self.home.unwrap_or(false)
    }

    /// Patterns of topics that are not shown.
    pub fn excluded(&self) -> &[String] {
        self.topics.as_ref().and_then(|topics| topics.exclude.as_deref()).unwrap_or_default()
    }
}

/// Which topics of a cluster clients see.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct TopicSelection {
    /// Patterns of topic names that are hidden from clients, at most 64; `*` stands for any text, `?` for one character.
    /// Default: none. Example: `["__*", "scratch-*"]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 249)))]
    pub exclude: Option<Vec<String>>,
}

/// What is known of a cluster.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct KafkaClusterStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// What is true of the object now; one entry per type.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "condition::conditions_schema")]
    pub conditions: Vec<Condition>,

    /// Kafka's own id of the cluster. Example: `5L6g3nShT-eMCtK--X86sw`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_id: Option<String>,

    /// The Kafka version whose features the cluster has switched on (its `metadata.version`). Example: `4.3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kafka_version: Option<String>,

    /// Number of brokers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broker_count: Option<i32>,

    /// The brokers, at most 100 rows, by id.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub brokers: Vec<BrokerStatus>,

    /// Number of the cluster's topics that clients see.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic_count: Option<i32>,

    /// Number of partitions of those topics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition_count: Option<i32>,

    /// The number that marks idempotent producers whose id this cluster handed out, 1 to 127.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub producer_tag: Option<i32>,

    /// Topics that exist here and on another cluster too, with no TopicRoute to say which one counts; at most 100 rows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub topic_conflicts: Vec<TopicConflict>,

    /// Topics that still need this cluster because of where they live or lived; at most 100 rows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub in_use: Vec<InUse>,
}

/// One broker as the mesh sees it.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct BrokerStatus {
    /// The broker's own id.
    pub id: i32,
    /// The id that clients see.
    pub virtual_id: i32,
    /// The broker's own address, `host:port`.
    pub address: String,
    /// The broker's rack.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rack: Option<String>,
    /// The proxy on the broker's own node, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home_proxy: Option<String>,
    /// The proxy that serves the broker now; none while no proxy is live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub served_by: Option<String>,
    /// The address that clients are told, `host:port`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shown: Option<String>,
}

/// A topic that exists on more than one cluster with no TopicRoute.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct TopicConflict {
    /// The topic.
    pub topic: String,
    /// The KafkaCluster whose topic clients see.
    pub shown: String,
}

/// A topic that still needs the cluster.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct InUse {
    /// The topic.
    pub topic: String,
    /// What it needs the cluster for: `Home` (it lives there) or `OldSegment` (records from before a move are read there).
    pub reason: String,
    /// When the need is expected to end, if that can be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Time>,
}

/// Why a condition of a KafkaCluster is as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KafkaClusterReason {
    /// The object obeys the rules.
    Accepted,
    /// The object breaks a rule.
    Invalid,
    /// Another object of the namespace claims the same and is older.
    Conflicted,
    /// No KafkaCluster, or more than one, says `home: true`.
    NoHome,
    /// The cluster runs in `ZooKeeper` mode.
    NotKRaft,
    /// No address of the cluster answers.
    Unreachable,
    /// The ledger on the cluster could not be read or written.
    LedgerUnavailable,
    /// The cluster answers, the rest is under way.
    Progressing,
    /// The mesh serves the cluster.
    Serving,
}

impl Reason for KafkaClusterReason {
    fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "Accepted",
            Self::Invalid => "Invalid",
            Self::Conflicted => "Conflicted",
            Self::NoHome => "NoHome",
            Self::NotKRaft => "NotKRaft",
            Self::Unreachable => "Unreachable",
            Self::LedgerUnavailable => "LedgerUnavailable",
            Self::Progressing => "Progressing",
            Self::Serving => "Serving",
        }
    }
}
