//! The clusters as last seen: one task per KafkaCluster asks its brokers every few seconds and on demand. Snapshots are
//! plain values; what they mean is decided elsewhere.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kafka_protocol::messages::MetadataResponse;
use sluice_mesh::name::ClusterName;
use sluice_mesh::view::{BrokerView, ClusterView, PartitionView, TopicView};
use sluice_net::{CallError, Client, ClientOptions, Target};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

/// How often a cluster is looked at without being asked to.
const REFRESH: Duration = Duration::from_secs(3);

/// One cluster as last seen.
#[derive(Debug, Clone, PartialEq)]
pub struct Observed {
    /// Brokers, topics (with ids), partitions, leaders, controller, Kafka's cluster id.
    pub view: Arc<ClusterView>,
    /// Kafka version, for people.
    pub kafka_version: Option<String>,
    /// Whether it runs in `KRaft` mode.
    pub kraft: bool,
}

/// What is known of one cluster.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Observation {
    /// What was seen last; `None` before the first success.
    pub seen: Option<Arc<Observed>>,
    /// Why the latest try to look failed, if it did: `seen` is older then.
    pub failure: Option<String>,
    /// Number of looks that succeeded: whether something is still so can be told by two of them.
    pub looks: u64,
}

/// All clusters as last seen.
pub type Observations = BTreeMap<ClusterName, Observation>;

/// Watches all clusters. A clone is a handle; the tasks end with [`Observer::set`] to nothing, or with the runtime.
#[derive(Clone)]
pub struct Observer {
    inner: Arc<Inner>,
}

struct Inner {
    options: ClientOptions,
    observations: watch::Sender<Arc<Observations>>,
    watched: Mutex<BTreeMap<ClusterName, Watched>>,
}

struct Watched {
    bootstrap: Vec<String>,
    client: Client,
    look_now: Arc<Notify>,
    /// Grows when a look is begun and when it is over: a look that was begun before a call does not count for it.
    progress: watch::Receiver<(u64, u64)>,
    stop: CancellationToken,
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Observer {
    /// Watches nothing yet.
    pub fn new(options: ClientOptions) -> Self {
        let inner = Inner { options, observations: watch::Sender::new(Arc::default()), watched: Mutex::default() };
        Self { inner: Arc::new(inner) }
    }

    /// Watches exactly these clusters: name and bootstrap servers. Clusters that are watched already, under the same
    /// addresses, keep their client and their observation.
    pub fn set(&self, clusters: &BTreeMap<ClusterName, Vec<String>>) {
        let mut watched = self.inner.watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.retain(|name, watched| clusters.get(name) == Some(&watched.bootstrap));
        self.inner.observations.send_if_modified(|observations| {
            let gone = |name: &ClusterName| !clusters.contains_key(name);
            if !observations.keys().any(gone) {
                return false;
            }
            Arc::make_mut(observations).retain(|name, _| !gone(name));
            true
        });
        for (name, bootstrap) in clusters {
            if !watched.contains_key(name) {
                watched.insert(name.clone(), self.watch(name, bootstrap));
            }
        }
    }

    /// All clusters as last seen; changes wake up.
    pub fn observations(&self) -> watch::Receiver<Arc<Observations>> {
        self.inner.observations.subscribe()
    }

    /// One cluster as last seen; `None` if it has not been listed since start.
    pub fn seen(&self, cluster: &ClusterName) -> Option<Arc<Observed>> {
        self.inner.observations.borrow().get(cluster)?.seen.clone()
    }

    /// The client of a cluster; `None` if there is no such KafkaCluster.
    pub fn client(&self, cluster: &ClusterName) -> Option<Client> {
        let watched = self.inner.watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.get(cluster).map(|watched| watched.client.clone())
    }

    /// Looks at a cluster now and waits until a look that began after this call is over. What it showed; `None` if it
    /// failed, or if the cluster is not watched.
    pub async fn refresh(&self, cluster: &ClusterName) -> Option<Arc<Observed>> {
        let (mut progress, begun) = {
            let watched = self.inner.watched.lock().unwrap_or_else(PoisonError::into_inner);
            let watched = watched.get(cluster)?;
            let progress = watched.progress.clone();
            let begun = progress.borrow().0;
            watched.look_now.notify_one();
            (progress, begun)
        };
        // An error means that the cluster is not watched any more: nothing to wait for.
        progress.wait_for(|(_, done)| *done > begun).await.ok()?;
        let observations = self.inner.observations.borrow();
        observations.get(cluster).filter(|observation| observation.failure.is_none())?.seen.clone()
    }

    fn watch(&self, name: &ClusterName, bootstrap: &[String]) -> Watched {
        let client = Client::new(bootstrap.to_vec(), self.inner.options.clone());
        let look_now = Arc::new(Notify::new());
        let (sender, progress) = watch::channel((0, 0));
        let stop = CancellationToken::new();
        let task = Task {
            name: name.clone(),
            client: client.clone(),
            look_now: Arc::clone(&look_now),
            progress: sender,
            observations: self.inner.observations.clone(),
        };
        tokio::spawn(stop.clone().run_until_cancelled_owned(task.run()));
        Watched { bootstrap: bootstrap.to_vec(), client, look_now, progress, stop }
    }
}

struct Task {
    name: ClusterName,
    client: Client,
    look_now: Arc<Notify>,
    progress: watch::Sender<(u64, u64)>,
    observations: watch::Sender<Arc<Observations>>,
}

impl Task {
    async fn run(self) {
        loop {
            self.progress.send_modify(|(begun, _)| *begun += 1);
            let look = look(&self.client).await;
            self.note(look);
            self.progress.send_modify(|(begun, done)| *done = *begun);
            let _ = tokio::time::timeout(REFRESH, self.look_now.notified()).await;
        }
    }

    fn note(&self, look: Result<Observed, CallError>) {
        self.observations.send_if_modified(|observations| {
            let known = observations.get(&self.name).cloned().unwrap_or_default();
            let next = match look {
                Ok(observed) => {
                    let same = known.seen.filter(|seen| **seen == observed);
                    let seen = Some(same.unwrap_or_else(|| Arc::new(observed)));
                    Observation { seen, failure: None, looks: known.looks.saturating_add(1) }
                }
                Err(error) => {
                    tracing::debug!(cluster = %self.name, %error, "could not look at the cluster");
                    Observation { failure: Some(error.to_string()), ..known }
                }
            };
            let before = observations.get(&self.name);
            // A look that shows the same is worth no wake-up, but it is counted.
            let news = before.is_none_or(|before| before.seen != next.seen || before.failure != next.failure);
            Arc::make_mut(observations).insert(self.name.clone(), next);
            news
        });
    }
}

async fn look(client: &Client) -> Result<Observed, CallError> {
    let cluster = sluice_net::admin::cluster::view(client).await?;
    let metadata = client.metadata(None, false).await?;
    let offered = client.api_versions(&Target::Any).await?;
    let view = ClusterView {
        cluster_id: cluster.cluster_id,
        controller: cluster.controller.unwrap_or(-1),
        brokers: cluster
            .brokers
            .into_iter()
            .map(|broker| BrokerView { id: broker.id, host: broker.host, port: broker.port, rack: broker.rack })
            .collect(),
        topics: topics(&metadata),
        api_versions: offered.apis,
    };
    Ok(Observed { view: Arc::new(view), kafka_version: cluster.version_hint, kraft: cluster.kraft })
}

fn topics(metadata: &MetadataResponse) -> HashMap<String, Arc<TopicView>> {
    let ids = |ids: &[kafka_protocol::messages::BrokerId]| {
        let mut ids: Vec<i32> = ids.iter().map(|id| id.0).collect();
        ids.sort_unstable();
        ids
    };
    let readable = metadata.topics.iter().filter(|topic| topic.error_code == 0);
    readable
        .filter_map(|topic| {
            let mut partitions: Vec<_> = topic.partitions.iter().collect();
            partitions.sort_by_key(|partition| partition.partition_index);
            let partitions = partitions
                .into_iter()
                .map(|partition| PartitionView {
                    error: partition.error_code,
                    leader: partition.leader_id.0,
                    epoch: partition.leader_epoch,
                    replicas: ids(&partition.replica_nodes),
                    isr: ids(&partition.isr_nodes),
                    offline: ids(&partition.offline_replicas),
                })
                .collect();
            let name = topic.name.as_ref()?.0.to_string();
            Some((name, Arc::new(TopicView { id: topic.topic_id, internal: topic.is_internal, partitions })))
        })
        .collect()
}
