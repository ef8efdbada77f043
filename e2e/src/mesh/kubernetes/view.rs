//! What the namespace holds, as watches show it. Reading asks nobody, so it can be done every millisecond.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use futures::StreamExt as _;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{Config, Event, watcher};
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use sluice_crds::{KafkaCluster, TopicFuse, TopicRoute};
use sluice_mesh::document::Document;
use sluice_mesh::document::shards::{self, INDEX_KEY, INDEX_NAME, SHARD_KEY, Shard};
use sluice_mesh::report::{OBJECT_KEY, OBJECT_PREFIX, Report};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use super::CALL;
use crate::mesh::resource::Kind;

/// The field manager of `kubectl apply --server-side`.
const KUBECTL: &str = "kubectl";

type Named<K> = BTreeMap<String, Arc<K>>;

/// What is there.
#[derive(Debug, Default)]
struct Seen {
    objects: BTreeMap<&'static str, Named<DynamicObject>>,
    reports: BTreeMap<String, Report>,
    index: Option<Arc<str>>,
    /// How often the index has changed.
    changes: u64,
}

/// The watches, and what they have seen.
pub(in crate::mesh) struct View {
    runtime: Option<Runtime>,
    client: Client,
    namespace: String,
    seen: Arc<Mutex<Seen>>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
    shards: Mutex<HashMap<String, Arc<[u8]>>>,
}

// A `Client` has nothing to show.
impl Debug for View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("View").field("namespace", &self.namespace).field("seen", &self.seen).finish_non_exhaustive()
    }
}

impl View {
    /// Looks at nothing yet.
    pub(super) fn new(kubeconfig: &Path, namespace: &str) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let client = runtime.block_on(async {
            let file = Kubeconfig::read_from(kubeconfig)?;
            let config = kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
            anyhow::Ok(Client::try_from(config)?)
        });
        let client = client.with_context(|| format!("use {}", kubeconfig.display()))?;
        Ok(Self {
            runtime: Some(runtime),
            client,
            namespace: namespace.to_owned(),
            seen: Arc::default(),
            tasks: Mutex::default(),
            shards: Mutex::default(),
        })
    }

    /// Forgets everything and looks anew: a cluster that was wiped counts its versions from the beginning, which watches
    /// from before cannot know.
    pub(super) fn restart(&self) {
        let Some(runtime) = &self.runtime else { return };
        self.halt();
        *locked(&self.seen) = Seen::default();
        let mut tasks = Vec::new();
        for (kind, resource) in [
            (Kind::KafkaCluster, ApiResource::erase::<KafkaCluster>(&())),
            (Kind::TopicRoute, ApiResource::erase::<TopicRoute>(&())),
            (Kind::TopicFuse, ApiResource::erase::<TopicFuse>(&())),
        ] {
            let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &self.namespace, &resource);
            let seen = Arc::clone(&self.seen);
            tasks.push(runtime.spawn(follow(api, Config::default(), move |objects: &Named<DynamicObject>| {
                locked(&seen).objects.insert(kind.as_str(), objects.clone());
            })));
        }
        let maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), &self.namespace);
        let index = Config::default().fields(&format!("metadata.name={INDEX_NAME}"));
        let seen = Arc::clone(&self.seen);
        tasks.push(runtime.spawn(follow(maps, index, move |maps: &Named<ConfigMap>| {
            let text = maps.get(INDEX_NAME).and_then(|map| map.data.as_ref()?.get(INDEX_KEY));
            let mut seen = locked(&seen);
            if seen.index.as_deref() != text.map(String::as_str) {
                seen.index = text.map(|text| Arc::from(text.as_str()));
                seen.changes += 1;
            }
        })));
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), &self.namespace);
        let seen = Arc::clone(&self.seen);
        tasks.push(runtime.spawn(follow(leases, Config::default(), move |leases: &Named<Lease>| {
            locked(&seen).reports = leases.iter().filter_map(|(name, lease)| report(name, lease)).collect();
        })));
        *locked(&self.tasks) = tasks;
    }

    fn halt(&self) {
        for task in locked(&self.tasks).drain(..) {
            task.abort();
        }
    }

    /// Ends all watches.
    pub(super) fn stop(&mut self) {
        self.halt();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }

    fn runtime(&self) -> Result<&Runtime> {
        self.runtime.as_ref().context("the mesh has ended")
    }

    pub(super) fn status<T: DeserializeOwned>(&self, kind: Kind, name: &str) -> Result<Option<T>> {
        let found = locked(&self.seen).objects.get(kind.as_str()).and_then(|named| named.get(name)).cloned();
        let Some(status) = found.and_then(|object| object.data.get("status").cloned()) else { return Ok(None) };
        let context = || format!("read the status of {} {name}", kind.as_str());
        serde_json::from_value(status).with_context(context)
    }

    pub(super) fn report(&self, proxy: &str) -> Option<Report> {
        locked(&self.seen).reports.get(proxy).cloned()
    }

    /// How often the index has changed.
    pub(super) fn changes(&self) -> u64 {
        locked(&self.seen).changes
    }

    /// The document, whole and with the right digest.
    pub(super) fn document(&self) -> Result<Option<Document>> {
        let Some(index) = locked(&self.seen).index.clone() else { return Ok(None) };
        let listed = shards::listed(index.as_bytes())?;
        for shard in &listed {
            if !locked(&self.shards).contains_key(&shard.digest) {
                let fetched = self.shard(&shards::shard_name(&shard.digest))?;
                locked(&self.shards).insert(Shard::new(fetched.clone()).digest, fetched.into());
            }
        }
        let mut known = locked(&self.shards);
        known.retain(|digest, _| listed.iter().any(|shard| shard.digest == *digest));
        let whole = shards::assemble(index.as_bytes(), |digest| known.get(digest).map(AsRef::as_ref))?;
        Ok(Some(Document::parse(&whole).with_context(|| format!("read the ConfigMap {INDEX_NAME}"))?))
    }

    fn shard(&self, name: &str) -> Result<Vec<u8>> {
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), &self.namespace);
        let found = self.runtime()?.block_on(async { tokio::time::timeout(CALL, api.get(name)).await })??;
        let text = found.data.and_then(|mut data| data.remove(SHARD_KEY));
        Ok(text.with_context(|| format!("the ConfigMap {name} has no {SHARD_KEY}"))?.into_bytes())
    }

    /// Sends what `kubectl apply --server-side` sends, without the time that a process takes to start. Returns at once.
    pub(in crate::mesh) fn begin_apply_cluster(&self, name: &str, yaml: &str) -> Result<Applying> {
        let object: serde_json::Value = serde_yaml::from_str(yaml).context("read YAML of our own")?;
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), &self.namespace, &ApiResource::erase::<KafkaCluster>(&()));
        let name = name.to_owned();
        let handle = self.runtime()?.spawn(async move {
            let parameters = PatchParams::apply(KUBECTL);
            tokio::time::timeout(CALL, api.patch(&name, &parameters, &Patch::Apply(&object))).await??;
            Ok(())
        });
        Ok(Applying { handle })
    }

    pub(in crate::mesh) fn finish(&self, applying: Applying) -> Result<()> {
        self.runtime()?.block_on(applying.handle)?
    }
}

/// A request that is under way.
#[derive(Debug)]
pub(in crate::mesh) struct Applying {
    handle: JoinHandle<Result<()>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn report(name: &str, lease: &Lease) -> Option<(String, Report)> {
    let proxy = name.strip_prefix(OBJECT_PREFIX)?;
    let report = Report::parse(lease.annotations().get(OBJECT_KEY)?.as_bytes()).ok()?;
    Some((proxy.to_owned(), report))
}

/// Looks again this soon after trouble, and never less often.
struct Steady;

impl Iterator for Steady {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(Duration::from_millis(300))
    }
}

impl Backoff for Steady {
    fn reset(&mut self) {}
}

/// Keeps the objects of one kind, and shows them all after each change. A list is shown as a whole or not at all.
async fn follow<K>(api: Api<K>, config: Config, mut show: impl FnMut(&Named<K>) + Send)
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    let mut events = watcher(api, config).backoff(Steady).boxed();
    let mut there: Named<K> = BTreeMap::new();
    let mut listing = BTreeMap::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Init) => listing.clear(),
            Ok(Event::InitApply(object)) => {
                listing.insert(object.name_any(), Arc::new(object));
            }
            Ok(Event::InitDone) => there = std::mem::take(&mut listing),
            Ok(Event::Apply(object)) => {
                there.insert(object.name_any(), Arc::new(object));
            }
            Ok(Event::Delete(object)) => {
                there.remove(&object.name_any());
            }
            // Whoever waits for something tells what they last saw.
            Err(error) => {
                tracing::debug!(%error, "a watch of the test bed broke; it looks again");
                continue;
            }
        }
        if listing.is_empty() {
            show(&there);
        }
    }
}
