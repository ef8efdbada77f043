//! What an API server would do with objects: gives them an identity, counts generations, refuses what breaks a rule and
//! keeps what was there before, marks what is deleted. Knows files only by name.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::core::ObjectMeta;
use kube::core::crd::CustomResourceExt;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use sluice_crds::condition::{ConditionType, Conditions};
use sluice_crds::kafka_cluster::KafkaClusterReason;
use sluice_crds::{KafkaCluster, TopicFuse, TopicRoute};

use super::intake::{Intake, Written};
use crate::store::Kind;

/// An object that has vanished from the files counts as deleted only after this time: editors take a file away for a
/// moment while they write it.
pub(super) const GRACE: Duration = Duration::from_millis(250);

/// Which file the object came from.
const SOURCE: &str = "sluice.dev/source";
/// Digest of the spec as its author wrote it last.
const WRITTEN: &str = "sluice.dev/written-spec";

/// Kind and name.
pub(super) type Key = (Kind, String);

/// One object as it is stored in `status/<kind>/<name>.yaml`: in the shape in which an API server would show it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Stored {
    /// Group and version.
    pub api_version: String,
    /// Kind.
    pub kind: Kind,
    /// Name, uid, generation, times.
    pub metadata: ObjectMeta,
    /// The last spec that obeyed the rules; none if none ever did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spec: Option<Value>,
    /// What the operator says of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Value>,
}

/// An object in memory.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Object {
    /// What is stored.
    pub stored: Stored,
    /// Why what is in the file now was refused.
    pub refused: Option<String>,
    /// The file has been judged since start.
    judged: bool,
    /// Since when no file has the object.
    missing: Option<Instant>,
}

/// What came of taking in files.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Admitted {
    /// Objects whose stored form changed.
    pub changed: BTreeSet<Key>,
    /// Objects that are gone.
    pub removed: BTreeSet<Key>,
    /// Something that readers of resources see changed.
    pub news: bool,
    /// Warnings for people: kind, name, reason, message.
    pub warnings: Vec<(String, String, &'static str, String)>,
    /// Take in again after this time: something is about to count as deleted.
    pub again: Option<Duration>,
}

/// All objects.
#[derive(Debug, Default)]
pub(super) struct Objects {
    /// By kind and name.
    pub all: BTreeMap<Key, Object>,
    /// Warnings told already, by kind and name, so that each is told once.
    told: BTreeMap<(String, String), String>,
}

impl Objects {
    /// Takes back what was stored before a restart.
    pub(super) fn restore(&mut self, stored: Stored) {
        let Some(name) = stored.metadata.name.clone() else { return };
        let object = Object { refused: None, judged: false, missing: None, stored };
        self.all.insert((object.stored.kind, name), object);
    }

    /// Takes in all files as they are now.
    pub(super) fn admit(&mut self, intake: &Intake, wall: Timestamp, now: Instant) -> Admitted {
        let mut admitted = Admitted::default();
        let mut seen: BTreeMap<Key, &Path> = BTreeMap::new();
        for written in &intake.objects {
            let key = (written.kind, written.name.clone());
            if let Some(first) = seen.get(&key) {
                let message = format!(
                    "{} is defined in {} and again in {}; the first one counts: remove the other",
                    written.name,
                    first.display(),
                    written.source.display()
                );
                self.warn(&mut admitted, written.kind.as_str(), &written.name, "Duplicate", message);
                continue;
            }
            seen.insert(key, &written.source);
            self.take(written, wall, &mut admitted);
        }
        self.keep_unreadable(intake, wall, &mut seen, &mut admitted);
        let keys: BTreeSet<Key> = seen.into_keys().collect();
        self.sweep(&keys, wall, now, &mut admitted);
        admitted
    }

    /// Removes an object that nothing needs any more.
    pub(super) fn release(&mut self, key: &Key) -> bool {
        let deleted = self.all.get(key).is_some_and(|object| object.stored.metadata.deletion_timestamp.is_some());
        deleted && self.all.remove(key).is_some()
    }

    fn take(&mut self, written: &Written, wall: Timestamp, admitted: &mut Admitted) {
        let key = (written.kind, written.name.clone());
        let spec = written.object.get("spec").cloned().unwrap_or(Value::Null);
        let digest = digest(&spec);
        let fresh = !self.all.contains_key(&key);
        let object = self.all.entry(key.clone()).or_insert_with(|| fresh_object(written.kind, &written.name, wall));
        let before = object.clone();
        object.missing = None;
        object.stored.metadata.deletion_timestamp = None;
        let annotations = object.stored.metadata.annotations.get_or_insert_default();
        annotations.insert(SOURCE.to_owned(), written.source.display().to_string());
        let unchanged = annotations.get(WRITTEN) == Some(&digest);
        if !unchanged {
            annotations.insert(WRITTEN.to_owned(), digest);
            if !fresh {
                let generation = &mut object.stored.metadata.generation;
                *generation = generation.map(|generation| generation.saturating_add(1));
            }
        }
        if !unchanged || !object.judged || object.refused.is_some() {
            object.judged = true;
            object.refused = judge(written.kind, &written.name, &spec, object.stored.spec.as_ref()).err();
            if object.refused.is_none() {
                object.stored.spec = Some(spec);
            }
        }
        self.note(&key, fresh, &before, wall, admitted);
    }

    /// A file that cannot be read is not a deletion: its objects stay as they were, and their authors are told.
    fn keep_unreadable<'a>(
        &mut self,
        intake: &'a Intake,
        wall: Timestamp,
        seen: &mut BTreeMap<Key, &'a Path>,
        admitted: &mut Admitted,
    ) {
        for unreadable in &intake.unreadable {
            let source = unreadable.source.display().to_string();
            // Of a directory that can't be listed, all that came from below it.
            let came_from = |object: &Object| {
                let from = object.stored.metadata.annotations.as_ref().and_then(|all| all.get(SOURCE));
                from.is_some_and(|from| Path::new(from).starts_with(&unreadable.source))
            };
            let mut affected: BTreeSet<Key> = match &unreadable.object {
                Some(key) => BTreeSet::from([key.clone()]),
                None => self.all.iter().filter(|(_, object)| came_from(object)).map(|(key, _)| key.clone()).collect(),
            };
            affected.retain(|key| !seen.contains_key(key));
            if affected.is_empty() {
                self.warn(admitted, "File", &source, "Unreadable", unreadable.message.clone());
            }
            for key in affected {
                seen.insert(key.clone(), &unreadable.source);
                let fresh = !self.all.contains_key(&key);
                let object = self.all.entry(key.clone()).or_insert_with(|| fresh_object(key.0, &key.1, wall));
                let before = object.clone();
                object.missing = None;
                object.refused = Some(unreadable.message.clone());
                if unreadable.object.is_some() {
                    let annotations = object.stored.metadata.annotations.get_or_insert_default();
                    annotations.insert(SOURCE.to_owned(), source.clone());
                }
                self.note(&key, fresh, &before, wall, admitted);
            }
        }
    }

    /// What no file has any more is deleted: routes and fuses at once, clusters when nothing needs them.
    fn sweep(&mut self, seen: &BTreeSet<Key>, wall: Timestamp, now: Instant, admitted: &mut Admitted) {
        let absent: Vec<Key> = self.all.keys().filter(|key| !seen.contains(key)).cloned().collect();
        for key in absent {
            let Some(object) = self.all.get_mut(&key) else { continue };
            let since = *object.missing.get_or_insert(now);
            let left = GRACE.saturating_sub(now.saturating_duration_since(since));
            if !left.is_zero() {
                admitted.again = Some(admitted.again.map_or(left, |again| again.min(left)));
                continue;
            }
            let held = key.0 == Kind::KafkaCluster && object.stored.spec.is_some();
            if !held {
                self.all.remove(&key);
                admitted.removed.insert(key);
                admitted.news = true;
            } else if object.stored.metadata.deletion_timestamp.is_none() {
                object.stored.metadata.deletion_timestamp = Some(Time(wall));
                admitted.changed.insert(key);
                admitted.news = true;
            }
        }
    }

    /// Finds out what a change means, and tells it.
    fn note(&mut self, key: &Key, fresh: bool, before: &Object, wall: Timestamp, admitted: &mut Admitted) {
        let Some(object) = self.all.get_mut(key) else { return };
        if object.stored.spec.is_none()
            && let Some(refused) = object.refused.clone()
            && (fresh || before.refused.as_ref() != Some(&refused) || object.stored.status.is_none())
        {
            object.stored.status = Some(refusal(&object.stored, &refused, wall));
        }
        let news = fresh || object.stored != before.stored || object.refused != before.refused;
        if !news {
            return;
        }
        admitted.news = true;
        if fresh || object.stored != before.stored {
            admitted.changed.insert(key.clone());
        }
        match object.refused.clone() {
            Some(refused) => self.warn(admitted, key.0.as_str(), &key.1, "Refused", refused),
            None => {
                self.told.remove(&(key.0.as_str().to_owned(), key.1.clone()));
            }
        }
    }

    fn warn(&mut self, admitted: &mut Admitted, kind: &str, name: &str, reason: &'static str, message: String) {
        let object = (kind.to_owned(), name.to_owned());
        if self.told.get(&object) != Some(&message) {
            self.told.insert(object, message.clone());
            admitted.warnings.push((kind.to_owned(), name.to_owned(), reason, message));
        }
    }
}

impl Object {
    /// As a typed object; `None` if no version ever obeyed the rules.
    pub(super) fn typed<K: DeserializeOwned>(&self) -> Option<K> {
        self.stored.spec.as_ref()?;
        match serde_json::to_value(&self.stored).and_then(serde_json::from_value) {
            Ok(object) => Some(object),
            Err(error) => {
                tracing::warn!(name = ?self.stored.metadata.name, %error, "a stored object cannot be read");
                None
            }
        }
    }
}

fn fresh_object(kind: Kind, name: &str, wall: Timestamp) -> Object {
    let stored = Stored {
        api_version: format!("{}/{}", sluice_crds::GROUP, sluice_crds::VERSION),
        kind,
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            uid: Some(uuid::Uuid::new_v4().to_string()),
            generation: Some(1),
            creation_timestamp: Some(Time(wall)),
            ..ObjectMeta::default()
        },
        spec: None,
        status: None,
    };
    Object { stored, refused: None, judged: false, missing: None }
}

/// The rules of the kind; the error is all broken ones in one text.
fn judge(kind: Kind, name: &str, spec: &Value, old: Option<&Value>) -> Result<(), String> {
    match kind {
        Kind::KafkaCluster => judge_as::<KafkaCluster>(name, spec, old),
        Kind::TopicRoute => judge_as::<TopicRoute>(name, spec, old),
        Kind::TopicFuse => judge_as::<TopicFuse>(name, spec, old),
    }
}

fn judge_as<K: CustomResourceExt + DeserializeOwned>(
    name: &str,
    spec: &Value,
    old: Option<&Value>,
) -> Result<(), String> {
    let api = K::api_resource();
    let whole = |spec: &Value| json!({"apiVersion": api.api_version, "kind": api.kind, "metadata": {"name": name}, "spec": spec});
    let object = whole(spec);
    let violations = sluice_crds::check::<K>(&object, old.map(whole).as_ref());
    if !violations.is_empty() {
        return Err(violations.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "));
    }
    serde_json::from_value::<K>(object).map(drop).map_err(|error| error.to_string())
}

fn digest(spec: &Value) -> String {
    use std::fmt::Write as _;
    let mut hex = String::with_capacity(64);
    for byte in Sha256::digest(spec.to_string().as_bytes()) {
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

/// The status of an object of which no version ever obeyed the rules: no reconciler sees it.
fn refusal(stored: &Stored, message: &str, wall: Timestamp) -> Value {
    let generation = stored.metadata.generation.unwrap_or(1);
    let before = stored
        .status
        .as_ref()
        .and_then(|status| serde_json::from_value::<Vec<_>>(status.get("conditions")?.clone()).ok())
        .unwrap_or_default();
    let conditions = Conditions::new(generation, wall, &before)
        .no(ConditionType::Accepted, KafkaClusterReason::Invalid, message)
        .no(ConditionType::Ready, KafkaClusterReason::Invalid, message)
        .yes(ConditionType::Stalled, KafkaClusterReason::Invalid, message)
        .finish();
    json!({"observedGeneration": generation, "conditions": conditions})
}

/// Where an object is stored below the directory's `status`.
pub(super) fn path(key: &Key) -> PathBuf {
    PathBuf::from(key.0.as_str().to_lowercase()).join(format!("{}.yaml", key.1))
}

#[cfg(test)]
mod tests;
