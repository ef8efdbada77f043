//! Kubernetes as the outside: resources, `ConfigMap`s, Leases and Events of one namespace, which is one mesh.
//!
//! ```text
//! KafkaCluster, TopicRoute,
//!   TopicFuse                  in   what people apply; status, a finalizer and Events out
//! ConfigMap sluice-settings    in   mesh settings, optional
//! Lease sluice-proxy-<node>    in   what proxies say, in an annotation
//! ConfigMap sluice-document    out  the mesh document, with ConfigMaps sluice-document-<digest> for a large one
//! Lease sluice-operator        -    held by the leader
//! ```
//!
//! Everything is watched; readers see the last good state while the API server is away. Only the document is waited for by
//! whoever publishes it. Who leads, and what an outage means for it, is told in `elector`.

mod api;
mod document;
mod elector;
mod events;
mod lease;
mod objects;
mod publish;
mod reports;
mod sources;
mod watch;
mod writer;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, ObjectReference};
use kube::Client;
use kube::api::Api;
use kube::core::{ApiResource, DynamicObject};
use sluice_crds::{
    GROUP, KafkaCluster, KafkaClusterStatus, TopicFuse, TopicFuseStatus, TopicRoute, TopicRouteStatus, VERSION,
};
use sluice_mesh::document::Document;
use tokio::sync::watch as cell;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Event, Kind, Reports, Resources, Store, StoreError};
use document::Shelf;
use elector::Elector;
use events::Events;
use objects::{Kept, Objects, Put, Taken};
use publish::Desk;
use sources::{Common, follow_reports, follow_shelf};
use writer::{Job, Jobs, Writer};

/// What was put is written for this long when the process ends.
const LAST_WRITES: Duration = Duration::from_secs(3);

/// Where the mesh is.
#[derive(Debug, Clone)]
pub struct Options {
    /// The namespace.
    pub namespace: String,
    /// How to get at the API server; `None`: by `$KUBECONFIG`, or as a pod.
    pub kubeconfig: Option<PathBuf>,
    /// This process among those that may lead; no other one may have it.
    pub identity: String,
}

/// The namespace, led by this process.
pub struct Kubernetes {
    namespace: String,
    view: Arc<View>,
    reports: cell::Receiver<Arc<Reports>>,
    jobs: Arc<Jobs>,
    events: Arc<Events>,
    elector: Arc<Elector>,
    desk: Arc<Desk>,
    /// End with it.
    tasks: Mutex<JoinSet<()>>,
}

/// The objects and those who look at them.
struct View {
    objects: Mutex<Objects>,
    shown: cell::Sender<Arc<Resources>>,
}

impl View {
    fn with<T>(&self, look: impl FnOnce(&mut Objects) -> T) -> T {
        look(&mut self.objects.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts a status and shows it, without a wake-up: who puts it knows it. Whether it must be written.
    fn put(&self, put: impl FnOnce(&mut Objects) -> Put) -> bool {
        let mut objects = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
        let put = put(&mut objects);
        if put.changes {
            let shown = Arc::new(objects.shown());
            self.shown.send_if_modified(|known| {
                *known = shown;
                false
            });
        }
        put.differs
    }

    /// Takes a change and shows it; only news wake readers up. What could not be read is left to tell.
    fn take(&self, change: impl FnOnce(&mut Objects) -> Taken) -> Vec<(String, String)> {
        let mut objects = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = change(&mut objects);
        let shown = Arc::new(objects.shown());
        // Under the lock, so that what is shown never goes back.
        self.shown.send_if_modified(|known| {
            *known = shown;
            taken.news
        });
        taken.unreadable
    }
}

impl Kubernetes {
    /// Waits until this process leads, then until everything has been listed once. `standby` is called once if another
    /// process leads now.
    pub async fn open(options: &Options, standby: impl FnOnce() + Send) -> Result<Self, StoreError> {
        let client = api::client(options.kubeconfig.as_deref()).await?;
        Self::open_with(client, &options.namespace, &options.identity, standby).await
    }

    async fn open_with(
        client: Client,
        namespace: &str,
        identity: &str,
        standby: impl FnOnce() + Send,
    ) -> Result<Self, StoreError> {
        let leases: Api<Lease> = Api::namespaced(client.clone(), namespace);
        let config_maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
        let elector = Arc::new(Elector::lead(leases.clone(), identity, standby).await);
        let mut tasks = JoinSet::new();
        let keeper = Arc::clone(&elector);
        tasks.spawn(async move { keeper.keep().await });

        let view = Arc::new(View { objects: Mutex::default(), shown: cell::Sender::default() });
        let jobs = Arc::new(Jobs::new());
        let (events, teller) = events::events(client.clone(), identity);
        let events = Arc::new(events);
        tasks.spawn(teller.run());
        let shelf = Arc::new(Mutex::new(Shelf::default()));
        let mut first = Vec::new();
        let common =
            Common { client: client.clone(), namespace, view: &view, jobs: &jobs, events: &events, elector: &elector };
        first.push(common.follow_kind::<KafkaCluster>(&mut tasks, |objects, change| objects.clusters.take(change)));
        first.push(common.follow_kind::<TopicRoute>(&mut tasks, |objects, change| objects.routes.take(change)));
        first.push(common.follow_kind::<TopicFuse>(&mut tasks, |objects, change| objects.fuses.take(change)));
        first.push(common.follow_settings(&mut tasks, config_maps.clone()));
        first.push(follow_shelf(&mut tasks, config_maps.clone(), &shelf, &elector));
        let (reports, listed) = follow_reports(&mut tasks, leases, &elector);
        first.push(listed);
        let lost = elector.lost().clone();
        if lost.run_until_cancelled(futures::future::join_all(first)).await.is_none() {
            return Err(StoreError::NotLeader);
        }
        tasks.spawn(Writer::new(&client, namespace, Arc::clone(&view), Arc::clone(&jobs), lost).run());
        let desk = Arc::new(Desk::new(config_maps, Arc::clone(&elector), shelf));
        let sweeper = Arc::clone(&desk);
        tasks.spawn(async move { sweeper.sweep().await });
        let (namespace, tasks) = (namespace.to_owned(), Mutex::new(tasks));
        Ok(Self { namespace, view, reports, jobs, events, elector, desk, tasks })
    }

    async fn close_now(&self) {
        if !self.elector.lost().is_cancelled() {
            let written = async {
                self.jobs.done().await;
                self.events.done().await;
            };
            if tokio::time::timeout(LAST_WRITES, written).await.is_err() {
                tracing::warn!("the last statuses or events are not written; the next operator writes its own");
            }
        }
        let tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        drop(tasks);
        self.elector.release().await;
    }
}

fn api_of<K: Kept>(client: &Client, namespace: &str) -> Api<DynamicObject> {
    Api::namespaced_with(client.clone(), namespace, &ApiResource::erase::<K>(&()))
}

fn reference(kind: Kind, name: &str, namespace: &str, uid: Option<String>) -> ObjectReference {
    ObjectReference {
        api_version: Some(format!("{GROUP}/{VERSION}")),
        kind: Some(kind.as_str().to_owned()),
        name: Some(name.to_owned()),
        namespace: Some(namespace.to_owned()),
        uid,
        ..ObjectReference::default()
    }
}

impl Store for Kubernetes {
    fn resources(&self) -> cell::Receiver<Arc<Resources>> {
        self.view.shown.subscribe()
    }

    fn reports(&self) -> cell::Receiver<Arc<Reports>> {
        self.reports.clone()
    }

    fn put_cluster_status(&self, name: &str, status: KafkaClusterStatus) {
        if self.view.put(|objects| objects.clusters.put(name, status)) {
            self.jobs.add(Job::Status(Kind::KafkaCluster, name.to_owned()));
        }
        // Taken off by hand, or a try that came to nothing.
        if self.view.with(|objects| objects.clusters.wanted_finalizers(name, true).is_some()) {
            self.jobs.add(Job::Hold(name.to_owned()));
        }
    }

    fn put_route_status(&self, name: &str, status: TopicRouteStatus) {
        if self.view.put(|objects| objects.routes.put(name, status)) {
            self.jobs.add(Job::Status(Kind::TopicRoute, name.to_owned()));
        }
    }

    fn put_fuse_status(&self, name: &str, status: TopicFuseStatus) {
        if self.view.put(|objects| objects.fuses.put(name, status)) {
            self.jobs.add(Job::Status(Kind::TopicFuse, name.to_owned()));
        }
    }

    fn record_event(&self, event: Event) {
        let uid = self.view.with(|objects| objects.uid(event.kind, &event.name));
        let about = reference(event.kind, &event.name, &self.namespace, uid);
        self.events.put(about, event.event_type, event.reason, &event.message);
    }

    fn release_cluster(&self, name: &str) {
        if self.view.with(|objects| objects.clusters.wanted_finalizers(name, false).is_some()) {
            self.jobs.add(Job::Release(name.to_owned()));
        }
    }

    fn publish<'a>(&'a self, document: &'a Document) -> BoxFuture<'a, Result<(), StoreError>> {
        self.desk.publish(document).boxed()
    }

    fn reach(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        self.elector.ask().boxed()
    }

    fn document_is_there(&self) -> bool {
        self.desk.is_whole()
    }

    fn last_document(&self) -> BoxFuture<'_, Option<Document>> {
        self.desk.last().boxed()
    }

    fn lost(&self) -> CancellationToken {
        self.elector.lost().clone()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.close_now().boxed()
    }
}

#[cfg(test)]
mod tests;
