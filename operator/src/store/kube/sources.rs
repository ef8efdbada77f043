//! What is watched: resources, settings, the stored document, the proxies' Leases. Each watch feeds what readers are shown
//! from the moment of its first list on; what a change means is not judged here.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, ObjectReference};
use kube::Client;
use kube::api::Api;
use kube::core::DynamicObject;
use kube::runtime::watcher::Config;
use tokio::sync::{oneshot, watch as cell};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::document::{SELECTOR, Shelf};
use super::elector::Elector;
use super::events::Events;
use super::objects::{Kept, Objects, Taken};
use super::reports::Heard;
use super::watch::{Change, follow};
use super::writer::{Job, Jobs};
use super::{View, api_of, reference};
use crate::clock;
use crate::store::{EventType, Kind, Reports};

/// The `ConfigMap` with the mesh's settings, and its key.
const SETTINGS: &str = "sluice-settings";
const SETTINGS_KEY: &str = "settings.yaml";
/// How often reports are looked at without a wake-up: they also change by an outage.
const LOOK: Duration = Duration::from_secs(1);
/// A watch that shows nothing for this long, while this operator's own Lease is renewed all the time, is dead.
const DEAD: Duration = Duration::from_secs(8);

/// What the watches of resources share.
pub(super) struct Common<'a> {
    pub(super) client: Client,
    pub(super) namespace: &'a str,
    pub(super) view: &'a Arc<View>,
    pub(super) jobs: &'a Arc<Jobs>,
    pub(super) events: &'a Arc<Events>,
    pub(super) elector: &'a Arc<Elector>,
}

impl Common<'_> {
    /// Follows the objects of a kind.
    pub(super) fn follow_kind<K: Kept>(
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

    /// Follows the mesh's settings.
    pub(super) fn follow_settings(&self, tasks: &mut JoinSet<()>, api: Api<ConfigMap>) -> oneshot::Receiver<()> {
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

/// Follows the pieces of the document as they are stored.
pub(super) fn follow_shelf(
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

/// Follows what the proxies say. The watch shows this operator's own Lease, too: while that comes, everything comes.
pub(super) fn follow_reports(
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
