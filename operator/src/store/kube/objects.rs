//! The objects as last seen, each with the status that was put for it last. No I/O.
//!
//! Two statuses are told apart: what the API server has, and what the reconcilers put. Readers see the latter from the
//! moment it is put, so that the next computation continues it; whether anything must be written is decided by comparing
//! the two. An echo of one's own write is therefore no news to anybody.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Debug;
use std::sync::Arc;

use kube::ResourceExt;
use kube::core::object::HasStatus;
use kube::core::{DynamicObject, NamespaceResourceScope};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sluice_crds::{KafkaCluster, TopicFuse, TopicRoute};

use super::watch::Change;
use crate::store::{Kind, Resource, Resources, Settings};

/// Keeps a KafkaCluster there for as long as something needs it.
pub(super) const FINALIZER: &str = "sluice.dev/in-use";

/// A kind that can be kept.
pub(super) trait Kept:
    kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + HasStatus<Status: Clone + Debug + PartialEq + Serialize>
    + Clone
    + Debug
    + PartialEq
    + DeserializeOwned
{
    /// Which.
    const KIND: Kind;

    /// Whoever watches the object wants to see both statuses, however soon the second came.
    fn is_step(before: &Self::Status, after: &Self::Status) -> bool;
}

impl Kept for KafkaCluster {
    const KIND: Kind = Kind::KafkaCluster;

    fn is_step(_: &Self::Status, _: &Self::Status) -> bool {
        false
    }
}

impl Kept for TopicRoute {
    const KIND: Kind = Kind::TopicRoute;

    fn is_step(before: &Self::Status, after: &Self::Status) -> bool {
        before.phase != after.phase
    }
}

impl Kept for TopicFuse {
    const KIND: Kind = Kind::TopicFuse;

    fn is_step(before: &Self::Status, after: &Self::Status) -> bool {
        before.produce != after.produce || before.consume != after.consume
    }
}

/// Statuses that wait to be written before the last one. A move has fewer phases; the oldest give way.
const STEPS: usize = 8;

/// All objects of one kind.
#[derive(Debug)]
pub(super) struct Table<K: Kept> {
    entries: BTreeMap<String, Entry<K>>,
    /// Objects that cannot be read, with the words that were told.
    unreadable: BTreeMap<String, String>,
}

#[derive(Debug)]
struct Entry<K: Kept> {
    /// As readers see it.
    resource: Arc<Resource<K>>,
    version: Option<String>,
    /// What the API server has.
    stored: Option<K::Status>,
    /// What was put before that and is still to be written, oldest first.
    steps: VecDeque<K::Status>,
    /// What was put last.
    put: Option<K::Status>,
}

/// What came of a change.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Taken {
    /// Readers see something new.
    pub news: bool,
    /// Objects that cannot be read: name and why. Told once.
    pub unreadable: Vec<(String, String)>,
}

/// What came of a status that was put.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Put {
    /// Readers see another one than before.
    pub changes: bool,
    /// The API server has another one.
    pub differs: bool,
}

/// A status to be written.
#[derive(Debug, PartialEq)]
pub(super) struct Wanted {
    /// The apply.
    pub apply: Value,
    /// A later one is to follow at once.
    pub more: bool,
}

impl<K: Kept> Default for Table<K> {
    fn default() -> Self {
        Self { entries: BTreeMap::new(), unreadable: BTreeMap::new() }
    }
}

impl<K: Kept> Table<K> {
    pub(super) fn take(&mut self, change: Change<DynamicObject>) -> Taken {
        let mut taken = Taken::default();
        match change {
            Change::All(objects) => {
                let names: BTreeSet<String> = objects.iter().map(ResourceExt::name_any).collect();
                let before = self.entries.len();
                self.entries.retain(|name, _| names.contains(name));
                self.unreadable.retain(|name, _| names.contains(name));
                taken.news = self.entries.len() != before;
                for object in objects {
                    self.apply(object, &mut taken);
                }
            }
            Change::Applied(object) => {
                let known = self.entries.get(&object.name_any());
                let late = known.is_some_and(|known| {
                    known.resource.object.meta().uid == object.metadata.uid
                        && is_newer(known.version.as_deref(), object.metadata.resource_version.as_deref())
                });
                if !late {
                    self.apply(object, &mut taken);
                }
            }
            Change::Deleted(object) => {
                let name = object.name_any();
                self.unreadable.remove(&name);
                taken.news = self.entries.remove(&name).is_some();
            }
        }
        taken
    }

    /// A status that was put.
    pub(super) fn put(&mut self, name: &str, status: K::Status) -> Put {
        let Some(entry) = self.entries.get_mut(name) else { return Put::default() };
        let differs = entry.stored.as_ref() != Some(&status);
        let changes = entry.resource.object.status() != Some(&status);
        if changes {
            *Arc::make_mut(&mut entry.resource).object.status_mut() = Some(status.clone());
        }
        if let Some(unwritten) = entry.put.take().filter(|put| entry.stored.as_ref() != Some(put))
            && K::is_step(&unwritten, &status)
        {
            if entry.steps.len() >= STEPS {
                entry.steps.pop_front();
            }
            entry.steps.push_back(unwritten);
        }
        entry.put = Some(status);
        Put { changes, differs: differs || !entry.steps.is_empty() }
    }

    /// What the API server should be told of an object next, as an apply of its status; none if it has the last one. A step
    /// is given out once, and says that there is more.
    pub(super) fn wanted_status(&mut self, name: &str) -> Option<Wanted> {
        let entry = self.entries.get_mut(name)?;
        // One that was on its way when the next was put has arrived by now.
        while entry.steps.front().is_some_and(|step| entry.stored.as_ref() == Some(step)) {
            entry.steps.pop_front();
        }
        let step = entry.steps.pop_front();
        let put = step.as_ref().or(entry.put.as_ref()).filter(|put| entry.stored.as_ref() != Some(put))?;
        // The uid: an object that was made anew under the same name has not earned this status.
        let apply = json!({
            "apiVersion": K::api_version(&()),
            "kind": K::kind(&()),
            "metadata": {"name": name, "uid": entry.resource.object.meta().uid},
            "status": put,
        });
        Some(Wanted { apply, more: step.is_some() })
    }

    /// A write was answered with the object as it was then. Should the watch have shown its end meanwhile, or another object
    /// under its name, the answer is about something that is no more.
    pub(super) fn note_written(&mut self, object: DynamicObject) -> Taken {
        match self.entries.get(&object.name_any()) {
            Some(known) if known.resource.object.meta().uid == object.metadata.uid => {
                self.take(Change::Applied(object))
            }
            _ => Taken::default(),
        }
    }

    /// A merge that adds the finalizer to an object that lives, or takes it off one that is marked for deletion.
    pub(super) fn wanted_finalizers(&self, name: &str, held: bool) -> Option<Value> {
        let entry = self.entries.get(name)?;
        let metadata = entry.resource.object.meta();
        let mut finalizers = metadata.finalizers.clone().unwrap_or_default();
        let has = finalizers.iter().any(|finalizer| finalizer == FINALIZER);
        let deleted = metadata.deletion_timestamp.is_some();
        if held == has || held == deleted {
            return None;
        }
        if held {
            finalizers.push(FINALIZER.to_owned());
        } else {
            finalizers.retain(|finalizer| finalizer != FINALIZER);
        }
        Some(json!({"metadata": {"uid": metadata.uid, "resourceVersion": entry.version, "finalizers": finalizers}}))
    }

    /// All objects as readers see them.
    pub(super) fn shown(&self) -> BTreeMap<String, Arc<Resource<K>>> {
        self.entries.iter().map(|(name, entry)| (name.clone(), Arc::clone(&entry.resource))).collect()
    }

    fn uid(&self, name: &str) -> Option<String> {
        self.entries.get(name)?.resource.object.meta().uid.clone()
    }

    fn apply(&mut self, object: DynamicObject, taken: &mut Taken) {
        let name = object.name_any();
        let version = object.metadata.resource_version.clone();
        let known = self.entries.get(&name).filter(|known| known.resource.object.meta().uid == object.metadata.uid);
        let put = known.and_then(|known| known.put.clone());
        let steps = known.map(|known| known.steps.clone()).unwrap_or_default();
        let (mut typed, refused) = match typed::<K>(object) {
            Ok(typed) => {
                self.unreadable.remove(&name);
                (typed, None)
            }
            Err(message) => {
                if self.unreadable.get(&name) != Some(&message) {
                    self.unreadable.insert(name.clone(), message.clone());
                    taken.unreadable.push((name.clone(), message.clone()));
                }
                // What could be read last still counts; without that there is nothing.
                let Some(known) = known else {
                    taken.news |= self.entries.remove(&name).is_some();
                    return;
                };
                (known.resource.object.clone(), Some(message))
            }
        };
        let stored = match (&refused, known) {
            (Some(_), Some(known)) => known.stored.clone(),
            _ => typed.status().cloned(),
        };
        if put.is_some() {
            typed.status_mut().clone_from(&put);
        }
        let resource = Resource { object: typed, refused };
        taken.news |= known.is_none_or(|known| *known.resource != resource);
        self.entries.insert(name, Entry { resource: Arc::new(resource), version, stored, steps, put });
    }
}

/// Without what changes with every write and says nothing.
fn typed<K: Kept>(mut object: DynamicObject) -> Result<K, String> {
    object.metadata.managed_fields = None;
    object.metadata.resource_version = None;
    let mut value = serde_json::to_value(object).map_err(|error| error.to_string())?;
    serde_json::from_value(value.clone()).or_else(|error| {
        // A status is only ever read back to continue it: one of another build is as good as none.
        value.as_object_mut().and_then(|fields| fields.remove("status"));
        serde_json::from_value(value).map_err(|_| {
            format!("this operator cannot read it: {error}; install the definitions that belong to this operator")
        })
    })
}

/// Versions of one object can be compared as numbers; where they are none, nothing is newer.
pub(super) fn is_newer(version: Option<&str>, than: Option<&str>) -> bool {
    let number = |version: Option<&str>| version.and_then(|version| version.parse::<u64>().ok());
    matches!((number(version), number(than)), (Some(version), Some(than)) if version > than)
}

/// Everything that is kept.
#[derive(Debug, Default)]
pub(super) struct Objects {
    pub(super) clusters: Table<KafkaCluster>,
    pub(super) routes: Table<TopicRoute>,
    pub(super) fuses: Table<TopicFuse>,
    settings: Settings,
    /// The trouble with the settings that was told last.
    settings_trouble: Option<String>,
}

impl Objects {
    /// Takes what the settings' text says now; the last good ones stay. Whether they changed, or trouble to tell.
    pub(super) fn take_settings(&mut self, text: &str) -> Result<bool, String> {
        match Settings::parse(text.as_bytes()) {
            Ok(settings) => {
                self.settings_trouble = None;
                let changed = settings != self.settings;
                self.settings = settings;
                Ok(changed)
            }
            Err(trouble) if self.settings_trouble.as_ref() == Some(&trouble) => Ok(false),
            Err(trouble) => {
                self.settings_trouble = Some(trouble.clone());
                Err(trouble)
            }
        }
    }

    /// Everything as readers see it.
    pub(super) fn shown(&self) -> Resources {
        Resources {
            clusters: self.clusters.shown(),
            routes: self.routes.shown(),
            fuses: self.fuses.shown(),
            settings: self.settings.clone(),
        }
    }

    /// An object's uid; none if it is not there.
    pub(super) fn uid(&self, kind: Kind, name: &str) -> Option<String> {
        match kind {
            Kind::KafkaCluster => self.clusters.uid(name),
            Kind::TopicRoute => self.routes.uid(name),
            Kind::TopicFuse => self.fuses.uid(name),
        }
    }

    /// Names of clusters that should carry the finalizer and do not. Nothing can lie on one that never answered: its author
    /// may take it away again at once.
    pub(super) fn clusters_to_hold(&self) -> Vec<String> {
        let answered = |entry: &Entry<KafkaCluster>| {
            entry.stored.as_ref().is_some_and(|status| status.cluster_id.as_ref().is_some_and(|id| !id.is_empty()))
        };
        let clusters = self.clusters.entries.iter().filter(|(_, entry)| answered(entry)).map(|(name, _)| name);
        clusters.filter(|name| self.clusters.wanted_finalizers(name, true).is_some()).cloned().collect()
    }
}

#[cfg(test)]
mod tests;
