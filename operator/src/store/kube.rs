//! Kubernetes as the outside: resources, `ConfigMap`s, Leases and Events of one namespace, which is one mesh.
//!
//! ```text
//! KafkaCluster, TopicRoute     in   what people apply; status, a finalizer and Events out
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
use kube::runtime::watcher::Config;
use sluice_crds::kafka_cluster::KafkaClusterStatus;
use sluice_crds::topic_route::TopicRouteStatus;
use sluice_crds::{GROUP, KafkaCluster, TopicRoute, VERSION};
use sluice_mesh::document::Document;
use tokio::sync::{oneshot, watch as cell};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Event, EventType, Kind, Reports, Resources, Store, StoreError};
use crate::clock;
use document::{SELECTOR, Shelf};
use elector::Elector;
use events::Events;
use objects::{Kept, Objects, Put, Taken};
use publish::Desk;
use reports::Heard;
use watch::{Change, follow};
use writer::{Job, Jobs, Writer};

/// The `ConfigMap` with the mesh's settings, and its key.
const SETTINGS: &str = "sluice-settings";
const SETTINGS_KEY: &str = "settings.yaml";
/// How often reports are looked at without a wake-up: they also change by an outage.
const LOOK: Duration = Duration::from_secs(1);
/// A watch that shows nothing for this long, while this operator's own Lease is renewed all the time, is dead.
const DEAD: Duration = Duration::from_secs(8);
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

/// What the watches of resources share.
struct Common<'a> {
    client: Client,
    namespace: &'a str,
    view: &'a Arc<View>,
    jobs: &'a Arc<Jobs>,
    events: &'a Arc<Events>,
    elector: &'a Arc<Elector>,
}

impl Common<'_> {
    fn follow_kind<K: Kept>(
        &self,
        tasks: &mut JoinSet<()>,
        take: impl Fn(&mut Objects, Change<DynamicObject>) -> Taken + Send + 'static,
    ) -> oneshot::Receiver<()> {
        let (view, jobs, events) = (Arc::clone(self.view), Arc::clone(self.jobs), Arc::clone(self.events));
        let namespace = self.namespace.to_owned();
        let (mut listed, first) = once();
        let api = api_of::<K>(&self.client, self.namespace);
        let on_change = move |change| {
            for (name, message) in view.take(|objects| take(objects, change)) {
                tracing::warn!(kind = K::KIND.as_str(), name, message, "an object cannot be read");
                let about = reference(K::KIND, &name, &namespace, None);
                events.put(about, EventType::Warning, "Unreadable", &message);
            }
            if K::KIND == Kind::KafkaCluster {
                for name in view.with(|objects| objects.clusters_to_hold()) {
                    jobs.add(Job::Hold(name));
                }
            }
            listed();
        };
        tasks.spawn(follow(api, Config::default(), K::KIND.as_str(), self.elector.wiped(), on_change));
        first
    }

    fn follow_settings(&self, tasks: &mut JoinSet<()>, api: Api<ConfigMap>) -> oneshot::Receiver<()> {
        let (view, events) = (Arc::clone(self.view), Arc::clone(self.events));
        let namespace = self.namespace.to_owned();
        let (mut listed, first) = once();
        let on_change = move |change: Change<ConfigMap>| {
            let object = match change {
                Change::All(mut objects) => objects.pop(),
                Change::Applied(object) => Some(object),
                Change::Deleted(_) => None,
            };
            let text = object.as_ref().and_then(|object| object.data.as_ref()?.get(SETTINGS_KEY));
            let mut trouble = None;
            view.take(|objects| match objects.take_settings(text.map_or("", String::as_str)) {
                Ok(news) => Taken { news, ..Taken::default() },
                Err(message) => {
                    trouble = Some(message);
                    Taken::default()
                }
            });
            if let Some(message) = trouble {
                tracing::warn!("{message}");
                let about = ObjectReference {
                    api_version: Some("v1".into()),
                    kind: Some("ConfigMap".into()),
                    name: Some(SETTINGS.into()),
                    namespace: Some(namespace.clone()),
                    uid: object.and_then(|object| object.metadata.uid),
                    ..ObjectReference::default()
                };
                events.put(about, EventType::Warning, "Unreadable", &message);
            }
            listed();
        };
        let config = Config::default().fields(&format!("metadata.name={SETTINGS}"));
        tasks.spawn(follow(api, config, SETTINGS, self.elector.wiped(), on_change));
        first
    }
}

fn follow_shelf(
    tasks: &mut JoinSet<()>,
    api: Api<ConfigMap>,
    shelf: &Arc<Mutex<Shelf>>,
    elector: &Elector,
) -> oneshot::Receiver<()> {
    let shelf = Arc::clone(shelf);
    let (mut listed, first) = once();
    let on_change = move |change| {
        shelf.lock().unwrap_or_else(PoisonError::into_inner).take(change);
        listed();
    };
    let config = Config::default().labels(SELECTOR);
    tasks.spawn(follow(api, config, "the mesh document's ConfigMaps", elector.wiped(), on_change));
    first
}

/// The watch shows this operator's own Lease, too: while that comes, everything comes.
fn follow_reports(
    tasks: &mut JoinSet<()>,
    api: Api<Lease>,
    elector: &Arc<Elector>,
) -> (cell::Receiver<Arc<Reports>>, oneshot::Receiver<()>) {
    let heard = Arc::new(Mutex::new(Heard::new(Instant::now())));
    let (sender, receiver) = cell::channel(Arc::default());
    let sender = Arc::new(sender);
    let (mut listed, first) = once();
    let show = {
        let heard = Arc::clone(&heard);
        move || {
            let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
            let reports = heard.shown(Instant::now(), clock::now_millis());
            sender.send_if_modified(|known: &mut Arc<Reports>| {
                let news = **known != reports;
                if news {
                    *known = Arc::new(reports);
                }
                news
            });
        }
    };
    let on_change = {
        let (heard, show) = (Arc::clone(&heard), show.clone());
        move |change| {
            let taken =
                heard.lock().unwrap_or_else(PoisonError::into_inner).take(change, Instant::now(), clock::now_millis());
            for (lease, reason) in taken {
                tracing::warn!(lease, %reason, "a proxy's report does not count");
            }
            show();
            listed();
        }
    };
    let again = cell::Sender::new(0_u64);
    tasks.spawn(follow(api, Config::default(), "Leases", again.subscribe(), on_change));
    let (elector, mut wiped) = (Arc::clone(elector), elector.wiped());
    tasks.spawn(async move {
        loop {
            let forgotten = tokio::time::timeout(LOOK, wiped.changed()).await.is_ok();
            let contact = heard.lock().unwrap_or_else(PoisonError::into_inner).contact();
            let silent = elector.contact().saturating_duration_since(contact) > DEAD;
            if forgotten || silent {
                again.send_modify(|count| *count = count.wrapping_add(1));
            }
            show();
        }
    });
    (receiver, first)
}

/// Something to call again and again, and its first call.
fn once() -> (impl FnMut() + Send, oneshot::Receiver<()>) {
    let (sender, receiver) = oneshot::channel();
    let mut sender = Some(sender);
    let call = move || {
        if let Some(sender) = sender.take() {
            let _ = sender.send(());
        }
    };
    (call, receiver)
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

    fn record_event(&self, event: Event) {
        let uid = self.view.with(|objects| match event.kind {
            Kind::KafkaCluster => objects.clusters.uid(&event.name),
            Kind::TopicRoute => objects.routes.uid(&event.name),
        });
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
