//! The port to the outside: resources and reports in; status, events and the document out. Reconcilers know only this
//! trait; whether a directory or an API server lies behind it they must never know.

pub mod directory;
pub mod kube;
mod told;

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::BoxFuture;
use sluice_crds::kafka_cluster::{KafkaCluster, KafkaClusterStatus};
use sluice_crds::topic_fuse::{TopicFuse, TopicFuseStatus};
use sluice_crds::topic_route::{TopicRoute, TopicRouteStatus};
use sluice_mesh::document::Document;
use sluice_mesh::name::ProxyName;
use sluice_mesh::report::Report;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// A resource as stored. A KafkaCluster whose author removed it stays, with a `deletionTimestamp`, until it is released.
/// `object.metadata` has `uid`, `generation` and `creationTimestamp`; `object.status` is what was
/// written last.
#[derive(Debug, Clone, PartialEq)]
pub struct Resource<K> {
    /// The object, with the last spec that obeyed the rules.
    pub object: K,
    /// Why the spec that the user wrote last was refused; the object still carries the one before. An API server
    /// refuses the write itself: there this is only set when its definitions are not those of this operator.
    pub refused: Option<String>,
}

/// All resources of the mesh as last seen, by name. Objects of which no version ever obeyed the rules are not here: the
/// adapter tells their author itself.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Resources {
    /// Clusters.
    pub clusters: BTreeMap<String, Arc<Resource<KafkaCluster>>>,
    /// Routes.
    pub routes: BTreeMap<String, Arc<Resource<TopicRoute>>>,
    /// Fuses.
    pub fuses: BTreeMap<String, Arc<Resource<TopicFuse>>>,
    /// Mesh settings.
    pub settings: Settings,
}

impl Resources {
    /// The routes that name a topic: the one that counts first (oldest creationTimestamp, then name), then the losers.
    pub fn routes_of(&self, topic: &str) -> Vec<&Arc<Resource<TopicRoute>>> {
        oldest_first(self.routes.values().filter(|route| route.object.spec.topic == topic))
    }
}

/// Objects in the order in which they win a conflict: by age, then by name.
pub fn oldest_first<'a, K: ::kube::Resource>(
    objects: impl Iterator<Item = &'a Arc<Resource<K>>>,
) -> Vec<&'a Arc<Resource<K>>> {
    let mut objects: Vec<_> = objects.collect();
    objects.sort_by(|a, b| age_order(a.object.meta()).cmp(&age_order(b.object.meta())));
    objects
}

/// Sorts objects by age, then name: whoever comes first wins a conflict.
pub fn age_order(metadata: &::kube::core::ObjectMeta) -> (Option<k8s_openapi::jiff::Timestamp>, &str) {
    (metadata.creation_timestamp.as_ref().map(|time| time.0), metadata.name.as_deref().unwrap_or_default())
}

/// Mesh settings that are not resources (`settings.yaml`); every field has its default here.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Settings {
    /// Moves that may be under way at the same time.
    pub max_concurrent_moves: u16,
    /// Bounds that proxies keep.
    pub limits: sluice_mesh::document::Limits,
}

impl Default for Settings {
    fn default() -> Self {
        Self { max_concurrent_moves: 4, limits: sluice_mesh::document::Limits::default() }
    }
}

impl Settings {
    /// What `settings.yaml` says; nothing means the defaults.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        if text.trim_ascii().is_empty() {
            return Ok(Self::default());
        }
        serde_yaml::from_slice(text).map_err(|error| format!("settings.yaml is not valid: {error}"))
    }
}

/// All reports as last seen, by proxy. `renewed_at` is a time of this process's own wall clock.
pub type Reports = BTreeMap<ProxyName, Report>;

/// The kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub enum Kind {
    /// `KafkaCluster`.
    KafkaCluster,
    /// `TopicRoute`.
    TopicRoute,
    /// `TopicFuse`.
    TopicFuse,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::KafkaCluster, Self::TopicRoute, Self::TopicFuse];

    /// As it stands in `kind:`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::KafkaCluster => "KafkaCluster",
            Self::TopicRoute => "TopicRoute",
            Self::TopicFuse => "TopicFuse",
        }
    }
}

/// Whether an event is good news or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub enum EventType {
    /// Things go as they should.
    Normal,
    /// A person may want to look.
    Warning,
}

/// Something that happened to an object, told once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The object's kind.
    pub kind: Kind,
    /// The object's name.
    pub name: String,
    /// Good or bad.
    pub event_type: EventType,
    /// CamelCase word out of a closed list.
    pub reason: &'static str,
    /// A sentence for people.
    pub message: String,
}

/// Why the outside could not be written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file could not be read or written.
    #[error("cannot {action} {path}: {source}; check that the directory exists and that this user may write there")]
    File {
        /// What was tried.
        action: &'static str,
        /// Which file.
        path: std::path::PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// There is no way to the API server at all.
    #[error("cannot use the Kubernetes API: {reason}; check --kubeconfig or $KUBECONFIG, or run in a pod")]
    Connect {
        /// What is wrong.
        reason: String,
    },
    /// The API server could not be asked, or refused.
    #[error("cannot {action}: {reason}; check that the API server answers, and that the operator's Role is applied")]
    Api {
        /// What was tried.
        action: &'static str,
        /// What came of it.
        reason: String,
    },
    /// This process is not the leader any more.
    #[error("another operator leads now; this one must stop")]
    NotLeader,
}

/// The outside.
pub trait Store: Send + Sync {
    /// Resources as last seen; changes wake up.
    fn resources(&self) -> watch::Receiver<Arc<Resources>>;

    /// Reports as last seen; changes wake up.
    fn reports(&self) -> watch::Receiver<Arc<Reports>>;

    /// Writes a KafkaCluster's status, if it differs from what is stored. Returns at once: a task beside writes it, the
    /// latest one wins.
    fn put_cluster_status(&self, name: &str, status: KafkaClusterStatus);

    /// Writes a TopicRoute's status, if it differs from what is stored. Returns at once.
    fn put_route_status(&self, name: &str, status: TopicRouteStatus);

    /// Writes a TopicFuse's status, if it differs from what is stored. Returns at once.
    fn put_fuse_status(&self, name: &str, status: TopicFuseStatus);

    /// Tells an event. Returns at once.
    fn record_event(&self, event: Event);

    /// Lets a KafkaCluster go that is marked for deletion (`deletionTimestamp`): nothing needs it any more.
    fn release_cluster(&self, name: &str);

    /// Publishes a document. When this returns, proxies can see it.
    fn publish<'a>(&'a self, document: &'a Document) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Asks whether a document could be published now: what proxies could never be told of must not be begun.
    fn reach(&self) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Whether the published document is still where proxies look for it.
    fn document_is_there(&self) -> bool;

    /// The document that was published last, by whomever, if it can be read.
    fn last_document(&self) -> BoxFuture<'_, Option<Document>>;

    /// Cancelled when another process has taken over: nothing may be done from then on.
    fn lost(&self) -> CancellationToken;

    /// Writes everything that was put, then lets another process lead. Nothing may be put afterwards.
    fn close(&self) -> BoxFuture<'_, ()>;
}
