//! The mesh document: the serialised boundary between the operator, which alone writes it, and the proxies.
//!
//! Plain data. Unknown fields are ignored within one format version; a newer format version is refused. The document
//! is derived from resources and ledgers: what must survive is not here.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::chain::Chain;
use crate::name::{ClusterName, ProxyName, TopicName};

pub mod shards;
#[cfg(test)]
mod tests;

/// The format that this build reads and writes.
pub const FORMAT_VERSION: u32 = 1;

/// The largest document that is read.
pub const MAX_DOCUMENT_BYTES: usize = 64 * 1024 * 1024;

/// Everything a proxy needs to serve the mesh.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Document {
    /// [`FORMAT_VERSION`] of the writer.
    pub format_version: u32,
    /// Only grows.
    pub revision: u64,
    /// SHA-256 (hex) over the document with this field empty; see [`Document::seal`].
    pub digest: String,
    /// The mesh's name: keys the ledger.
    pub mesh: String,
    /// The home cluster: groups, transactional ids and new topics live there; its Kafka cluster id is shown to clients.
    pub home: ClusterName,
    /// All clusters of the mesh.
    pub clusters: Vec<Cluster>,
    /// Where clients find each proxy.
    pub proxies: Vec<Proxy>,
    /// All real brokers as clients see them.
    pub brokers: Vec<VirtualBroker>,
    /// Topics that are not where their name alone would put them, and topics with a move under way.
    pub topics: Vec<Topic>,
    /// Fuses that have tripped, one per topic.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fuses: Vec<Fuse>,
    /// Bounds that proxies keep.
    #[serde(default)]
    pub limits: Limits,
}

/// One Kafka cluster of the mesh.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cluster {
    /// Name of the KafkaCluster resource.
    pub name: ClusterName,
    /// Kafka's own cluster id.
    pub cluster_id: String,
    /// `host:port`, at least one.
    pub bootstrap_servers: Vec<String>,
    /// Zone of the whole cluster, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Bits 56-62 of the idempotent producer ids that this cluster hands out (1..=127).
    pub tag: u8,
    /// `virtual node id = node_id_base + broker id`.
    pub node_id_base: i32,
    /// Globs of topic names that are not shown to clients.
    #[serde(default)]
    pub exclude: Vec<String>,
}

/// Where clients find a proxy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Proxy {
    /// Its name.
    pub name: ProxyName,
    /// The address that clients are told.
    pub host: String,
    /// The port of virtual broker `index` is `port_base + index`.
    pub port_base: u16,
}

/// One real broker as clients see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VirtualBroker {
    /// The node id that clients see.
    pub id: i32,
    /// The cluster of the real broker.
    pub cluster: ClusterName,
    /// The broker's own id.
    pub broker: i32,
    /// The real broker's address, dialled by proxies only.
    pub host: String,
    /// The real broker's port.
    pub port: u16,
    /// The broker's rack.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rack: Option<String>,
    /// Offset from a proxy's port base; given out once.
    pub index: u16,
    /// The proxy on the broker's own node, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home_proxy: Option<ProxyName>,
    /// The proxy that serves it now; none when no proxy is live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub served_by: Option<ProxyName>,
}

/// A topic that is not where its name alone would put it, or that has a route under way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Topic {
    /// Kafka topic name.
    pub name: TopicName,
    /// The topic id that clients see, for ever: that of the first segment's first home.
    pub topic_id: Uuid,
    /// The cluster that serves it: reads of the last segment and all writes.
    pub cluster: ClusterName,
    /// By partition. Empty: never moved (one segment, shift 0, generation 0, every partition on `cluster`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chains: Vec<Chain>,
    /// Writes are held by the proxies while this is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fence: Option<Fence>,
    /// The topic can be committed to on the home cluster: it lives there, or its placeholder is ready.
    pub placeholder: bool,
    /// The cut's producers, for the check of the first batch on a new home; absent once the check has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut: Option<Cut>,
}

/// How much longer than its hold a fence lasts in a proxy that is not told of its end, milliseconds. An attempt ends with
/// its pause budget, which is the hold; what follows (the seal taken away, or the switch, and the next document) takes
/// tenths of a second.
pub const FENCE_MARGIN_MILLIS: u64 = 5_000;

/// Writes to the topic are held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fence {
    /// The attempt of the move that fences.
    pub attempt: u64,
    /// Longest hold of a request by this fence, milliseconds: the pause budget of the attempt.
    pub hold_millis: u64,
}

impl Fence {
    /// So long after a proxy has first seen it in force the fence has expired there, milliseconds: its attempt is over,
    /// and whoever should say so is away.
    pub fn lifetime_millis(&self) -> u64 {
        self.hold_millis.saturating_add(FENCE_MARGIN_MILLIS)
    }
}

/// The producers known at the last cut.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cut {
    /// When the new home began to serve, milliseconds since the Unix epoch.
    pub switched_at: i64,
    /// By partition; cumulative over the segments, ids without generation bits.
    pub producers: Vec<Vec<CutProducer>>,
}

/// One producer of one partition at the cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CutProducer {
    /// Producer id as clients know it (with cluster tag, without generation).
    pub id: i64,
    /// Producer epoch.
    pub epoch: i16,
    /// Sequence number of the last record that the old home has; -1 if none.
    pub last_sequence: i32,
}

/// A fuse that has tripped: it stops the writes or the reads of a topic, or both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fuse {
    /// The topic.
    pub topic: TopicName,
    /// Name of the TopicFuse, for people.
    pub name: String,
    /// What is done with writes; absent: they pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub produce: Option<FuseAction>,
    /// Reads are answered empty.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub consume: bool,
}

/// What a tripped fuse does with writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum FuseAction {
    /// They wait for a while, then they are refused with `NOT_ENOUGH_REPLICAS`, which clients try again.
    Hold,
    /// They are refused with `POLICY_VIOLATION` at once.
    Reject,
}

/// Bounds that proxies keep.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Limits {
    /// Longest frame that a client may send, bytes.
    pub max_frame_bytes: u32,
    /// Requests of one connection that may wait for answers.
    pub max_in_flight: u16,
    /// Longest hold of a request for any reason, milliseconds.
    pub max_hold_millis: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_frame_bytes: 100 * 1024 * 1024, max_in_flight: 64, max_hold_millis: 8_000 }
    }
}

/// Why bytes are not a mesh document.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// Over [`MAX_DOCUMENT_BYTES`].
    #[error("the mesh document has {found} bytes, more than {MAX_DOCUMENT_BYTES}: split the mesh")]
    TooLarge {
        /// Its size.
        found: usize,
    },
    /// Not JSON, or cut off.
    #[error("the mesh document is not JSON: {0}; wait for the operator to write it again")]
    NotJson(#[source] serde_json::Error),
    /// JSON, but without a format version.
    #[error("this JSON has no formatVersion: it is not a mesh document")]
    NoFormat,
    /// Written by a newer operator.
    #[error(
        "document format {found} is newer than {FORMAT_VERSION}, the newest that this build reads: upgrade the proxy"
    )]
    NewerFormat {
        /// Found.
        found: u64,
    },
    /// The digest does not match: the document was changed by hand or damaged.
    #[error("the digest of mesh document {revision} does not match its content: only the operator may write it")]
    Digest {
        /// Its revision, 0 if it has none.
        revision: u64,
    },
    /// A field is missing or of the wrong type.
    #[error("the mesh document does not have the shape of format {FORMAT_VERSION}: {0}")]
    Shape(#[source] serde_json::Error),
}

impl DocumentError {
    /// The revision of the refused document, 0 if it could not be read.
    pub fn revision(&self) -> u64 {
        match self {
            Self::Digest { revision } => *revision,
            _ => 0,
        }
    }
}

impl Document {
    /// The document with its digest set. Call it last: any later change breaks the digest.
    #[must_use]
    pub fn seal(mut self) -> Self {
        self.digest = digest_of(to_value(&self));
        self
    }

    /// The digest matches the content.
    pub fn verify_digest(&self) -> bool {
        self.digest == digest_of(to_value(self))
    }

    /// Reads a document. The format version is looked at first, so that a newer format is named as such and not as a
    /// missing field. The digest covers all fields as they came, those unknown to this build too.
    pub fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        if bytes.len() > MAX_DOCUMENT_BYTES {
            return Err(DocumentError::TooLarge { found: bytes.len() });
        }
        let value: Value = serde_json::from_slice(bytes).map_err(DocumentError::NotJson)?;
        let format = value.get("formatVersion").and_then(Value::as_u64).ok_or(DocumentError::NoFormat)?;
        if format > u64::from(FORMAT_VERSION) {
            return Err(DocumentError::NewerFormat { found: format });
        }
        let revision = value.get("revision").and_then(Value::as_u64).unwrap_or(0);
        let digest = value.get("digest").and_then(Value::as_str).unwrap_or_default().to_owned();
        let document = Self::deserialize(&value).map_err(DocumentError::Shape)?;
        if digest != digest_of(value) {
            return Err(DocumentError::Digest { revision });
        }
        Ok(document)
    }

    /// As compact JSON.
    pub fn to_json(&self) -> Vec<u8> {
        to_value(self).to_string().into_bytes()
    }

    /// As JSON for people: what is written to `document.json`.
    pub fn to_json_pretty(&self) -> Vec<u8> {
        format!("{:#}\n", to_value(self)).into_bytes()
    }
}

/// A document as a JSON value. It has neither maps with other keys than strings nor floats, so this cannot fail; a null
/// would fail every digest check.
fn to_value(document: &Document) -> Value {
    serde_json::to_value(document).unwrap_or_default()
}

/// SHA-256 (hex) over the canonical form of a document with an empty digest: no white space, keys sorted, whatever order
/// the JSON library keeps them in.
fn digest_of(mut document: Value) -> String {
    if let Some(digest) = document.get_mut("digest") {
        *digest = Value::String(String::new());
    }
    let mut canonical = String::new();
    write_canonical(&document, &mut canonical);
    let mut hex = String::with_capacity(64);
    for byte in Sha256::digest(canonical.as_bytes()) {
        hex.extend([byte >> 4, byte & 15].map(|digit| char::from_digit(digit.into(), 16).unwrap_or('0')));
    }
    hex
}

/// The depth is bounded: the JSON parser refuses more than 128 levels.
fn write_canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(fields) => {
            let mut keys: Vec<_> = fields.iter().collect();
            keys.sort_by_key(|(key, _)| key.as_str());
            out.push('{');
            for (position, (key, value)) in keys.into_iter().enumerate() {
                if position > 0 {
                    out.push(',');
                }
                out.push_str(&Value::String(key.clone()).to_string());
                out.push(':');
                write_canonical(value, out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (position, value) in items.iter().enumerate() {
                if position > 0 {
                    out.push(',');
                }
                write_canonical(value, out);
            }
            out.push(']');
        }
        scalar => out.push_str(&scalar.to_string()),
    }
}
