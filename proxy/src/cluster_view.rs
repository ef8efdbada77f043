//! The clusters of the mesh as they are: one client and one task for each, which lists brokers and topics every few
//! seconds, and at once when somebody needs to know. It decides nothing by what it sees.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::future::join_all;
use kafka_protocol::messages::MetadataResponse;
use kafka_protocol::messages::metadata_response::{MetadataResponsePartition, MetadataResponseTopic};
use sluice_mesh::model::{Model, World};
use sluice_mesh::name::ClusterName;
use sluice_mesh::view::{BrokerView, ClusterView, PartitionView, TopicView};
use sluice_net::{Client, ClientOptions, Target};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::metrics::Metrics;
use crate::world::Worlds;

/// How old a view gets when nobody asks.
const EVERY: Duration = Duration::from_secs(5);
/// The shortest time from the end of one listing to the next, however many ask.
const GAP: Duration = Duration::from_millis(25);
/// After a failure: first pause, and the longest.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(2));
/// Who asks for a listing waits this long for a cluster that answered last time, and this long for one that did not:
/// a dead cluster must not slow those who ask for all.
const PATIENCE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_millis(100));
/// A cluster that could not be listed even once is waited for so long before the proxy says that it is ready: one dead
/// cluster must not keep all the others out of service.
pub(crate) const AWAITED: Duration = Duration::from_secs(5);
/// A broker has to say what it offers within this time; until it does, its last word counts.
const VERSIONS_WITHIN: Duration = Duration::from_millis(500);

type ApiVersions = Vec<(i16, i16, i16)>;

/// The clients of all clusters, by name.
pub(crate) struct Clusters {
    worlds: Arc<Worlds>,
    metrics: Arc<Metrics>,
    entries: Mutex<HashMap<ClusterName, Entry>>,
}

struct Entry {
    bootstrap: Vec<String>,
    /// When it was tried to be listed for the first time.
    since: Instant,
    client: Client,
    demand: Arc<Demand>,
    task: JoinHandle<()>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A cluster that has not been listed since the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unlisted {
    pub(crate) name: ClusterName,
    /// For how long it has been tried.
    pub(crate) tried: Duration,
}

impl Unlisted {
    /// It may be listed any moment.
    pub(crate) fn is_awaited(&self) -> bool {
        self.tried < AWAITED
    }
}

/// Single flight: any number of askers wait for the first listing that begins after they asked.
struct Demand {
    asked: AtomicU64,
    wake: tokio::sync::Notify,
    done: watch::Sender<Done>,
}

#[derive(Clone, Copy)]
struct Done {
    /// All who asked up to this one are served.
    asked: u64,
    ok: bool,
}

impl Demand {
    fn new() -> Self {
        Self {
            asked: AtomicU64::new(1),
            wake: tokio::sync::Notify::new(),
            done: watch::Sender::new(Done { asked: 0, ok: true }),
        }
    }

    fn ask(&self) -> u64 {
        let ticket = self.asked.fetch_add(1, Ordering::AcqRel) + 1;
        self.wake.notify_one();
        ticket
    }

    async fn served(&self) {
        let ticket = self.ask();
        let mut done = self.done.subscribe();
        let patience = if done.borrow().ok { PATIENCE.0 } else { PATIENCE.1 };
        let _ = tokio::time::timeout(patience, done.wait_for(|done| done.asked >= ticket)).await;
    }
}

impl Clusters {
    pub(crate) fn new(worlds: Arc<Worlds>, metrics: Arc<Metrics>) -> Self {
        Self { worlds, metrics, entries: Mutex::default() }
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<ClusterName, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The client of a cluster of the present document.
    pub(crate) fn client(&self, name: &ClusterName) -> Option<Client> {
        self.entries().get(name).map(|entry| entry.client.clone())
    }

    /// Follows a new document: new clusters are listed, gone ones forgotten, all others looked at again. Needs a runtime.
    pub(crate) fn follow(&self, model: &Model) {
        let mut entries = self.entries();
        entries.retain(|name, entry| {
            model.clusters.iter().any(|cluster| cluster.name == *name && cluster.bootstrap_servers == entry.bootstrap)
        });
        for cluster in &model.clusters {
            if let Some(entry) = entries.get(&cluster.name) {
                entry.demand.ask();
                continue;
            }
            let options = ClientOptions { client_id: "sluice-proxy".into(), ..ClientOptions::default() };
            let client = Client::new(cluster.bootstrap_servers.clone(), options);
            let demand = Arc::new(Demand::new());
            let lister = Lister {
                name: cluster.name.clone(),
                client: client.clone(),
                demand: Arc::clone(&demand),
                worlds: Arc::clone(&self.worlds),
                metrics: Arc::clone(&self.metrics),
                versions: BTreeMap::new(),
            };
            let task = tokio::spawn(lister.run());
            entries.insert(
                cluster.name.clone(),
                Entry { bootstrap: cluster.bootstrap_servers.clone(), since: Instant::now(), client, demand, task },
            );
        }
    }

    /// The clusters of the document that have not been listed since the start. Until they are, clients get errors for
    /// topics that may well be there.
    pub(crate) fn unlisted(&self, world: &World) -> Vec<Unlisted> {
        let entries = self.entries();
        let unlisted = world.model.clusters.iter().filter(|cluster| !world.views.clusters.contains_key(&cluster.name));
        unlisted
            .map(|cluster| Unlisted {
                name: cluster.name.clone(),
                // A document that has just been applied is followed a moment later.
                tried: entries.get(&cluster.name).map_or(Duration::ZERO, |entry| entry.since.elapsed()),
            })
            .collect()
    }

    /// Lists a cluster anew, soon.
    pub(crate) fn look_again(&self, name: &ClusterName) {
        if let Some(entry) = self.entries().get(name) {
            entry.demand.ask();
        }
    }

    /// Lists every cluster anew and returns when the views are fresh; those that do not answer soon are left as they are.
    pub(crate) async fn refresh_all(&self) {
        let demands: Vec<_> = self.entries().values().map(|entry| Arc::clone(&entry.demand)).collect();
        join_all(demands.iter().map(|demand| demand.served())).await;
    }
}

/// Lists one cluster.
struct Lister {
    name: ClusterName,
    client: Client,
    demand: Arc<Demand>,
    worlds: Arc<Worlds>,
    metrics: Arc<Metrics>,
    versions: BTreeMap<i32, ApiVersions>,
}

impl Lister {
    async fn run(mut self) {
        let mut retry = RETRY.0;
        let mut listed = true;
        loop {
            let asked = self.demand.asked.load(Ordering::Acquire);
            let pause = match self.list().await {
                Ok(view) => {
                    if !listed || retry > RETRY.0 {
                        tracing::info!(cluster = %self.name, brokers = view.brokers.len(), "cluster answers again");
                    }
                    (listed, retry) = (true, RETRY.0);
                    self.worlds.see(&self.name, view);
                    EVERY
                }
                Err(error) => {
                    if listed {
                        tracing::warn!(cluster = %self.name, %error, "cluster cannot be listed; its last view stays");
                    }
                    listed = false;
                    self.metrics.view_refresh_failures.get_or_create(&[("cluster", self.name.to_string())]).inc();
                    let pause = retry;
                    retry = (retry * 2).min(RETRY.1);
                    pause
                }
            };
            self.demand.done.send_replace(Done { asked, ok: listed });
            tokio::time::sleep(GAP).await;
            if self.demand.asked.load(Ordering::Acquire) == asked {
                let _ = tokio::time::timeout(pause, self.demand.wake.notified()).await;
            }
        }
    }

    async fn list(&mut self) -> Result<ClusterView, sluice_net::CallError> {
        let metadata = self.client.metadata(None, false).await?;
        let brokers: Vec<i32> = metadata.brokers.iter().map(|broker| broker.node_id.0).collect();
        let client = &self.client;
        let offers = join_all(brokers.iter().map(|&id| async move {
            let to = Target::Broker(id);
            (id, tokio::time::timeout(VERSIONS_WITHIN, client.api_versions(&to)).await)
        }))
        .await;
        self.versions.retain(|id, _| brokers.contains(id));
        for (id, offer) in offers {
            if let Ok(Ok(offer)) = offer {
                self.versions.insert(id, offer.apis);
            }
        }
        let mut view = view(metadata);
        view.api_versions = common(self.versions.values());
        Ok(view)
    }
}

/// What all of them offer.
fn common<'a>(mut offers: impl Iterator<Item = &'a ApiVersions>) -> ApiVersions {
    let Some(first) = offers.next() else { return Vec::new() };
    offers.fold(first.clone(), |common, offer| {
        let with = |key: i16| offer.iter().find(|(other, ..)| *other == key);
        let both = common.iter().filter_map(|&(key, min, max)| {
            let &(_, other_min, other_max) = with(key)?;
            let (min, max) = (min.max(other_min), max.min(other_max));
            (min <= max).then_some((key, min, max))
        });
        both.collect()
    })
}

fn view(metadata: MetadataResponse) -> ClusterView {
    let brokers = metadata.brokers.into_iter().filter_map(|broker| {
        Some(BrokerView {
            id: broker.node_id.0,
            host: broker.host.to_string(),
            port: u16::try_from(broker.port).ok()?,
            rack: broker.rack.map(|rack| rack.to_string()),
        })
    });
    let mut brokers: Vec<_> = brokers.collect();
    brokers.sort_by_key(|broker| broker.id);
    ClusterView {
        cluster_id: metadata.cluster_id.map(|id| id.to_string()).unwrap_or_default(),
        controller: metadata.controller_id.0,
        brokers,
        topics: metadata.topics.into_iter().filter_map(topic).collect(),
        api_versions: Vec::new(),
    }
}

fn topic(topic: MetadataResponseTopic) -> Option<(String, Arc<TopicView>)> {
    /// No such topic, or none that we may see: as if it were not listed.
    const ABSENT: [i16; 3] = [3, 17, 29];
    /// `LEADER_NOT_AVAILABLE`.
    const NO_LEADER: i16 = 5;

    let name = topic.name?.to_string();
    if name.is_empty() || ABSENT.contains(&topic.error_code) {
        return None;
    }
    let missing = PartitionView {
        error: NO_LEADER,
        leader: -1,
        epoch: -1,
        replicas: Vec::new(),
        isr: Vec::new(),
        offline: Vec::new(),
    };
    // Partitions are numbered from 0 without gaps; what lies outside is nonsense.
    let mut partitions = vec![missing; topic.partitions.len()];
    for seen in topic.partitions {
        let place = usize::try_from(seen.partition_index).ok().and_then(|index| partitions.get_mut(index));
        if let Some(place) = place {
            *place = partition(seen);
        }
    }
    Some((name, Arc::new(TopicView { id: topic.topic_id, internal: topic.is_internal, partitions })))
}

fn partition(seen: MetadataResponsePartition) -> PartitionView {
    let ids = |nodes: Vec<kafka_protocol::messages::BrokerId>| nodes.into_iter().map(|node| node.0).collect();
    PartitionView {
        error: seen.error_code,
        leader: seen.leader_id.0,
        epoch: seen.leader_epoch,
        replicas: ids(seen.replica_nodes),
        isr: ids(seen.isr_nodes),
        offline: ids(seen.offline_replicas),
    }
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::{BrokerId, TopicName};
    use kafka_protocol::protocol::StrBytes;

    use super::*;

    #[test]
    fn brokers_agree_on_what_both_offer() {
        let old = vec![(0, 0, 9), (1, 0, 12), (18, 0, 3)];
        let new = vec![(0, 3, 13), (1, 4, 17), (74, 0, 0)];
        assert_eq!(common([&old, &new].into_iter()), [(0, 3, 9), (1, 4, 12)]);
        assert_eq!(common([&old].into_iter()), old);
        assert_eq!(common([].into_iter()), []);
    }

    #[test]
    fn an_api_without_a_common_version_is_not_offered() {
        assert_eq!(common([&vec![(0, 0, 2)], &vec![(0, 3, 13)]].into_iter()), []);
    }

    #[test]
    fn nonsense_of_a_broker_takes_no_memory_and_no_place() {
        let name = |name: &'static str| Some(TopicName(StrBytes::from_static_str(name)));
        let partition = |index, leader| {
            MetadataResponsePartition::default().with_partition_index(index).with_leader_id(BrokerId(leader))
        };
        let listed = MetadataResponseTopic::default().with_name(name("orders")).with_partitions(vec![
            partition(1, 7),
            partition(i32::MAX, 8),
            partition(-1, 9),
        ]);
        let (_, seen) = topic(listed).unwrap();
        assert_eq!(
            seen.partitions.iter().map(|one| (one.leader, one.error)).collect::<Vec<_>>(),
            [(-1, 5), (7, 0), (-1, 5)]
        );
        assert!(topic(MetadataResponseTopic::default().with_name(name("gone")).with_error_code(3)).is_none());
        assert!(topic(MetadataResponseTopic::default()).is_none());
    }
}
