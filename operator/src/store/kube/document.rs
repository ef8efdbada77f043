//! The mesh document as `ConfigMap`s: one index, and shards that never change. What is there, what should be, who may write,
//! and which shards nobody needs any more. No I/O.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;
use sha2::{Digest as _, Sha256};
use sluice_mesh::document::Document;
use sluice_mesh::document::shards::{INDEX_KEY, INDEX_NAME, SHARD_KEY, Shard, listed, shard_name};
use tokio::time::Instant;

use super::objects::is_newer;
use super::watch::Change;

/// Selects what belongs to the document.
pub(super) const SELECTOR: &str = "app.kubernetes.io/name=sluice,app.kubernetes.io/component=document";
/// Which process wrote the index.
const WRITER: &str = "sluice.dev/written-by";
/// A shard that no index of late names is kept this long: a proxy may just be reading by an older one.
const KEPT: Duration = Duration::from_mins(1);
/// The shards of the present index and of these many before it are kept in any case.
const KEPT_INDEXES: usize = 2;

type Content = [u8; 32];

/// The index as the API server has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub version: Option<String>,
    pub writer: Option<String>,
    pub content: Option<String>,
}

/// What to do about an index that is not the one which was expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is what was to be written.
    Done,
    /// Write over it: an earlier one, or somebody's hand.
    Overwrite,
    /// A leader after this one wrote it.
    NotLeader(String),
}

/// Compares what was found with what was to be written.
pub(super) fn judge(found: &Found, content: &str, revision: u64, me: &str) -> Verdict {
    if found.content.as_deref() == Some(content) && found.writer.as_deref() == Some(me) {
        return Verdict::Done;
    }
    let newer = found.content.as_deref().and_then(revision_of).is_some_and(|found| found >= revision);
    match &found.writer {
        Some(writer) if writer != me && newer => Verdict::NotLeader(writer.clone()),
        _ => Verdict::Overwrite,
    }
}

/// The revision of an index that can be believed. The digest of one with shards is that of the whole: it cannot be
/// checked here.
fn revision_of(content: &str) -> Option<u64> {
    if listed(content.as_bytes()).is_ok_and(|listed| !listed.is_empty()) {
        let value: serde_json::Value = serde_json::from_str(content).ok()?;
        return value.get("revision")?.as_u64();
    }
    Document::parse(content.as_bytes()).ok().map(|document| document.revision)
}

impl Found {
    pub(super) fn of(object: &ConfigMap) -> Self {
        Self {
            version: object.metadata.resource_version.clone(),
            writer: object.annotations().get(WRITER).cloned(),
            content: object.data.as_ref().and_then(|data| data.get(INDEX_KEY)).cloned(),
        }
    }
}

/// The `ConfigMap` of an index; `version` is that of the one it replaces.
pub(super) fn index_object(content: String, version: Option<String>, me: &str) -> ConfigMap {
    let mut metadata = metadata(INDEX_NAME.to_owned());
    metadata.resource_version = version;
    metadata.annotations = Some([(WRITER.to_owned(), me.to_owned())].into());
    ConfigMap { metadata, data: Some([(INDEX_KEY.to_owned(), content)].into()), ..ConfigMap::default() }
}

/// The `ConfigMap` of a shard.
pub(super) fn shard_object(shard: &Shard) -> ConfigMap {
    let text = String::from_utf8_lossy(&shard.bytes).into_owned();
    ConfigMap {
        metadata: metadata(shard.name()),
        data: Some([(SHARD_KEY.to_owned(), text)].into()),
        immutable: Some(true),
        ..ConfigMap::default()
    }
}

fn metadata(name: String) -> ObjectMeta {
    let label = |key: &str, value: &str| (format!("app.kubernetes.io/{key}"), value.to_owned());
    let labels = [label("name", "sluice"), label("component", "document"), label("managed-by", "sluice-operator")];
    ObjectMeta { name: Some(name), labels: Some(labels.into()), ..ObjectMeta::default() }
}

/// The text of a shard's `ConfigMap` if it is what its name says, with its labels.
pub(super) fn shard_text(object: &ConfigMap) -> Option<&str> {
    let text = object.data.as_ref()?.get(SHARD_KEY)?;
    let named = shard_name(&hex(&content_of(text))) == object.name_any();
    let labelled = metadata(String::new()).labels?.iter().all(|(key, value)| object.labels().get(key) == Some(value));
    (named && labelled).then_some(text)
}

/// What was written last.
#[derive(Debug)]
struct Written {
    content: Content,
    shards: BTreeSet<String>,
}

/// What the API server has, and what it should have.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    /// The index's version and content.
    index: Option<(Option<String>, Option<Content>)>,
    /// By name: whether the content is what the name says.
    shards: BTreeMap<String, bool>,
    written: Option<Written>,
    /// Shards of indexes before, newest first.
    before: VecDeque<BTreeSet<String>>,
    /// Since when nothing needs a shard.
    unneeded: BTreeMap<String, Instant>,
}

impl Shelf {
    pub(super) fn take(&mut self, change: Change<ConfigMap>) {
        match change {
            Change::All(objects) => {
                self.index = None;
                self.shards.clear();
                for object in &objects {
                    self.put(object);
                }
            }
            Change::Applied(object) => {
                let known = self.index.as_ref().and_then(|(version, _)| version.as_deref());
                if object.name_any() != INDEX_NAME || !is_newer(known, object.metadata.resource_version.as_deref()) {
                    self.put(&object);
                }
            }
            Change::Deleted(object) => {
                let name = object.name_any();
                let known = self.index.as_ref().and_then(|(version, _)| version.as_deref());
                if name != INDEX_NAME {
                    self.shards.remove(&name);
                } else if !is_newer(known, object.metadata.resource_version.as_deref()) {
                    self.index = None;
                }
            }
        }
    }

    fn put(&mut self, object: &ConfigMap) {
        let name = object.name_any();
        if name == INDEX_NAME {
            self.find(Some(&Found::of(object)));
        } else if name.strip_prefix(INDEX_NAME).is_some_and(|rest| rest.starts_with('-')) {
            self.shards.insert(name, shard_text(object).is_some());
        }
    }

    /// The index was read.
    pub(super) fn find(&mut self, found: Option<&Found>) {
        self.index = found.map(|found| (found.version.clone(), found.content.as_deref().map(content_of)));
    }

    /// The version that the next index replaces; none if there is no index.
    pub(super) fn version(&self) -> Option<&str> {
        self.index.as_ref()?.0.as_deref()
    }

    /// Whether a shard is there as it should be.
    pub(super) fn has(&self, shard: &str) -> bool {
        self.shards.get(shard) == Some(&true)
    }

    /// A shard was written.
    pub(super) fn note_shard(&mut self, name: String) {
        self.shards.insert(name, true);
    }

    /// An index was written, or is taken over as it stands.
    pub(super) fn note_index(&mut self, version: Option<String>, content: &str, shards: BTreeSet<String>) {
        let content = content_of(content);
        self.index = Some((version, Some(content)));
        if let Some(last) = self.written.replace(Written { content, shards })
            && self.written.as_ref().is_some_and(|written| written.shards != last.shards)
        {
            self.before.push_front(last.shards);
            self.before.truncate(KEPT_INDEXES);
        }
    }

    /// Whether everything that was written last is there as it was written.
    pub(super) fn is_whole(&self) -> bool {
        self.written.as_ref().is_some_and(|written| {
            self.index.as_ref().and_then(|(_, content)| *content) == Some(written.content)
                && written.shards.iter().all(|shard| self.has(shard))
        })
    }

    /// Shards that can be deleted now. None unless the server has this process's index: another leader's shards are not
    /// known to be needed.
    pub(super) fn unneeded(&mut self, now: Instant) -> Vec<String> {
        let Some(written) = self.written.as_ref().filter(|_| self.is_whole()) else {
            self.unneeded.clear();
            return Vec::new();
        };
        let needed =
            |shard: &String| written.shards.contains(shard) || self.before.iter().any(|shards| shards.contains(shard));
        let unneeded: BTreeSet<&String> = self.shards.keys().filter(|shard| !needed(shard)).collect();
        self.unneeded.retain(|shard, _| unneeded.contains(shard));
        for shard in unneeded {
            self.unneeded.entry(shard.clone()).or_insert(now);
        }
        let long = |since: &Instant| now.saturating_duration_since(*since) >= KEPT;
        self.unneeded.iter().filter(|(_, since)| long(since)).map(|(shard, _)| shard.clone()).collect()
    }
}

fn content_of(text: &str) -> Content {
    Sha256::digest(text.as_bytes()).into()
}

fn hex(content: &Content) -> String {
    use std::fmt::Write as _;
    content.iter().fold(String::with_capacity(64), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests;
