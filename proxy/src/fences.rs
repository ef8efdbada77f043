//! Fences that expire: a proxy that cannot be told the end of one (operator or API server away) must not refuse the topic
//! for ever. Once a fence is older than its attempt can be, writes pass to the topic's home as if there were none; if that
//! home is sealed, its brokers refuse them, and clients try again. The age counts from the first document with the fence
//! that this process has applied. It must never know requests.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sluice_mesh::model::Model;
use sluice_mesh::name::TopicName;

/// The fences of the applied document.
#[derive(Debug, Default)]
pub(crate) struct Fences {
    up: HashMap<TopicName, Up>,
    expired: Arc<HashMap<TopicName, u64>>,
}

/// A fence.
#[derive(Debug, Clone)]
struct Up {
    attempt: u64,
    /// When a document with this attempt's fence was first applied here.
    since: Instant,
    lifetime: Duration,
}

impl Up {
    /// When it expires; never if that is beyond all time.
    fn due(&self) -> Option<Instant> {
        self.since.checked_add(self.lifetime)
    }
}

/// A fence that has just expired.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Expired {
    pub(crate) topic: TopicName,
    pub(crate) attempt: u64,
}

impl Fences {
    /// This document is in force from now on. A fence that was there before keeps its age, or its end.
    pub(crate) fn follow(&mut self, model: &Model, now: Instant) {
        let fenced = model.topics.values().filter_map(|topic| Some((topic, topic.fence.as_ref()?)));
        let up = fenced.map(|(topic, fence)| {
            let before = self.up.get(&topic.name).filter(|before| before.attempt == fence.attempt);
            let since = before.map_or(now, |before| before.since);
            let lifetime = Duration::from_millis(fence.lifetime_millis());
            (topic.name.clone(), Up { attempt: fence.attempt, since, lifetime })
        });
        self.up = up.collect();
        if !self.expired.is_empty() {
            let mut expired = HashMap::clone(&self.expired);
            expired.retain(|topic, attempt| self.up.get(topic).is_some_and(|up| up.attempt == *attempt));
            self.expired = Arc::new(expired);
        }
    }

    /// Ends the fences that are old enough. Each is told once.
    pub(crate) fn expire(&mut self, now: Instant) -> Vec<Expired> {
        let old = self.lasting().filter(|(_, up)| up.due().is_some_and(|due| due <= now));
        let new: Vec<_> = old.map(|(topic, up)| Expired { topic: topic.clone(), attempt: up.attempt }).collect();
        if !new.is_empty() {
            let mut expired = HashMap::clone(&self.expired);
            expired.extend(new.iter().map(|fence| (fence.topic.clone(), fence.attempt)));
            self.expired = Arc::new(expired);
        }
        new
    }

    /// When the next one expires.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.lasting().filter_map(|(_, up)| up.due()).min()
    }

    /// The attempts of those that have expired, by topic.
    pub(crate) fn expired(&self) -> &Arc<HashMap<TopicName, u64>> {
        &self.expired
    }

    fn lasting(&self) -> impl Iterator<Item = (&TopicName, &Up)> {
        self.up.iter().filter(|(topic, _)| !self.expired.contains_key(*topic))
    }
}

#[cfg(test)]
mod tests;
