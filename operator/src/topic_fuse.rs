//! `TopicFuse`: stops the writes or the reads of a topic while everything else runs on.
//!
//! ```text
//!  resources ─> validate ─> entries of the mesh document ─> proxies
//!                   │                   │                      │
//!                   └───────────────> status <─────────────────┘
//! ```
//!
//! A fuse has no work of its own: what it asks for goes out with the document, and this module tells people what has
//! become of it. It must never know how proxies stop a request, nor wait for one that does not.

pub mod status;
pub mod validate;

use std::collections::BTreeMap;

use k8s_openapi::jiff::Timestamp;
use sluice_crds::TopicFuseStatus;
use sluice_mesh::document::{Document, Fuse};

use crate::reports::Applied;
use crate::store::{Event, EventType, Kind};
use status::{Inputs, News, Published};
use validate::Asked;

/// What is remembered of all fuses from one look to the next. A restart loses nothing but the revision that brought each
/// entry: proxies are counted from the one that is found then.
#[derive(Debug, Default)]
pub struct Fuses {
    known: BTreeMap<String, Known>,
}

/// One fuse as it was told of last.
#[derive(Debug)]
struct Known {
    uid: Option<String>,
    /// Its entry in the document.
    entry: Option<Fuse>,
    /// The first revision that was seen with that; none: no document was.
    revision: Option<u64>,
    status: TopicFuseStatus,
}

/// What the fuses are compared with.
pub struct Seen<'a> {
    /// The document published last.
    pub document: Option<&'a Document>,
    /// Why the latest try to publish failed, if it did.
    pub publish_trouble: Option<&'a str>,
    /// How far the proxies are with a revision.
    pub applied: &'a dyn Fn(u64) -> Applied,
    /// Now.
    pub now: Timestamp,
}

/// What is to be told.
#[derive(Debug, Default, PartialEq)]
pub struct Told {
    /// By name.
    pub statuses: Vec<(String, TopicFuseStatus)>,
    /// Each once.
    pub events: Vec<Event>,
}

impl Fuses {
    /// Looks at every fuse there is, and at those that are gone. Pure, but for what it remembers.
    pub fn look(&mut self, asked: &[Asked], seen: &Seen<'_>) -> Told {
        let entries = seen.document.map(|document| document.fuses.as_slice()).unwrap_or_default();
        let entries: BTreeMap<(&str, &str), &Fuse> =
            entries.iter().map(|entry| ((entry.topic.as_str(), entry.name.as_str()), entry)).collect();
        let mut counted: BTreeMap<u64, Applied> = BTreeMap::new();
        let mut before = std::mem::take(&mut self.known);
        let mut told = Told::default();
        for fuse in asked {
            let (name, object) = (fuse.name(), &fuse.fuse.object);
            // What was made anew under a name is another one.
            let known = before.remove(name).filter(|known| known.uid == object.metadata.uid);
            let entry = entries.get(&(fuse.topic(), name)).copied();
            let revision = seen.document.map(|document| match &known {
                Some(Known { revision: Some(revision), entry: same, .. }) if same.as_ref() == entry => *revision,
                _ => document.revision,
            });
            let published = match revision {
                Some(revision) => {
                    let applied = counted.entry(revision).or_insert_with(|| (seen.applied)(revision));
                    Some(Published { entry, revision, applied })
                }
                None => None,
            };
            let last = known.as_ref().map(|known| &known.status).or(object.status.as_ref());
            let status = status::status(&Inputs {
                asked: fuse,
                before: last,
                published,
                publish_trouble: seen.publish_trouble,
                now: seen.now,
            });
            let news = status::news(fuse, last, &status, revision.unwrap_or(0));
            told.events.extend(news.into_iter().map(|news| event(name, news)));
            told.statuses.push((name.to_owned(), status.clone()));
            let uid = object.metadata.uid.clone();
            self.known.insert(name.to_owned(), Known { uid, entry: entry.cloned(), revision, status });
        }
        self.remember_gone(before, &entries, seen.document, &mut told);
        told
    }

    /// A deleted fuse has closed when the document is without it.
    fn remember_gone(
        &mut self,
        gone: BTreeMap<String, Known>,
        entries: &BTreeMap<(&str, &str), &Fuse>,
        document: Option<&Document>,
        told: &mut Told,
    ) {
        for (name, known) in gone {
            let Some(entry) = &known.entry else { continue };
            match document {
                Some(document) if !entries.contains_key(&(entry.topic.as_str(), name.as_str())) => {
                    told.events.push(event(&name, status::deleted(entry, document.revision)));
                }
                _ => {
                    self.known.insert(name, known);
                }
            }
        }
    }
}

/// Stopped writes and stopped reads in a document: how many topics each.
pub fn tripped(document: &Document) -> (usize, usize) {
    let produce = document.fuses.iter().filter(|fuse| fuse.produce.is_some()).count();
    let consume = document.fuses.iter().filter(|fuse| fuse.consume).count();
    (produce, consume)
}

fn event(name: &str, news: News) -> Event {
    let event_type = if news.good { EventType::Normal } else { EventType::Warning };
    Event { kind: Kind::TopicFuse, name: name.to_owned(), event_type, reason: news.reason, message: news.message }
}

#[cfg(test)]
mod tests;
