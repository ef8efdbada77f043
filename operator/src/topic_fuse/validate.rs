//! Which fuses count, and what they ask for. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use sluice_crds::TopicFuse;
use sluice_crds::topic_fuse::{self, TopicFuseReason as Reason};
use sluice_mesh::document::{Fuse, FuseAction};
use sluice_mesh::name::TopicName;

use crate::store::{Resource, Resources, oldest_first};

/// Why a fuse is not followed: a reason of the closed list, with a sentence that says what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The reason.
    pub reason: Reason,
    /// The sentence.
    pub message: String,
}

/// A fuse, and what it comes to.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    /// The fuse.
    pub fuse: Arc<Resource<TopicFuse>>,
    /// What the document is to carry of it; none: it stops nothing.
    pub entry: Option<Fuse>,
    /// Why it does not count at all.
    pub lost: Option<Problem>,
    /// Why its latest spec is not followed; the one before is.
    pub refused: Option<Problem>,
}

impl Asked {
    /// The fuse's name.
    pub fn name(&self) -> &str {
        self.fuse.object.metadata.name.as_deref().unwrap_or_default()
    }

    /// The topic that it names.
    pub fn topic(&self) -> &str {
        &self.fuse.object.spec.topic
    }
}

/// What all fuses come to, oldest first.
pub fn asked(resources: &Resources) -> Vec<Asked> {
    let mut claimed: BTreeMap<&str, &str> = BTreeMap::new();
    let mut all = Vec::with_capacity(resources.fuses.len());
    for fuse in oldest_first(resources.fuses.values()) {
        let topic = fuse.object.spec.topic.as_str();
        let refused = fuse.refused.clone().map(|message| Problem { reason: Reason::Invalid, message });
        let mut asked = Asked { fuse: Arc::clone(fuse), entry: None, lost: None, refused };
        let name = fuse.object.metadata.name.as_deref().unwrap_or_default();
        match (TopicName::new(topic), claimed.get(topic)) {
            (Err(error), _) => {
                asked.lost = Some(Problem { reason: Reason::Invalid, message: error.to_string() });
            }
            (Ok(_), Some(winner)) => {
                let message = format!(
                    "TopicFuse {winner} is older and is the fuse of topic {topic} already, this one stops nothing: change \
                     that one, or delete it"
                );
                asked.lost = Some(Problem { reason: Reason::Conflicted, message });
            }
            (Ok(topic), None) => asked.entry = entry(&fuse.object, topic, name),
        }
        if asked.lost.is_none() {
            claimed.insert(topic, name);
        }
        all.push(asked);
    }
    all
}

/// What the document is to carry of these fuses, sorted by topic.
pub fn entries(asked: &[Asked]) -> Vec<Fuse> {
    let mut entries: Vec<Fuse> = asked.iter().filter_map(|asked| asked.entry.clone()).collect();
    entries.sort_by(|a, b| a.topic.cmp(&b.topic));
    entries
}

fn entry(fuse: &TopicFuse, topic: TopicName, name: &str) -> Option<Fuse> {
    // It is there until somebody else lets it go, but its author has taken it back.
    if fuse.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let produce = fuse.spec.blocks_produce().map(|action| match action {
        topic_fuse::FuseAction::Hold => FuseAction::Hold,
        topic_fuse::FuseAction::Reject => FuseAction::Reject,
    });
    let consume = fuse.spec.blocks_consume();
    (produce.is_some() || consume).then(|| Fuse { topic, name: name.to_owned(), produce, consume })
}

#[cfg(test)]
mod tests;
