//! What a Fetch that may wait at its broker has asked for. When one of its topics is served otherwise before the broker
//! has answered, the client is answered from here: a wait for a log that takes no writes any more would outlast a move, and
//! what comes to a topic whose reads a fuse has stopped meanwhile is not for the client.

use std::sync::Arc;

use bytes::Bytes;
use sluice_wire::WireError;

use super::wants::{At, Want, Wants};
use crate::code;
use crate::fuse;
use crate::outcome::{RequestHead, Scope};
use crate::route;

/// The most partitions that are remembered: a larger request waits less long instead.
const MAX_PARTITIONS: usize = 16 * 1024;

/// The most bytes of topic names, likewise.
const MAX_NAMES: usize = 256 * 1024;

/// Buffers that grew beyond so many partitions are not kept for the next request.
const KEEP_PARTITIONS: usize = 1024;

/// Nor beyond so many bytes of names.
const KEEP_NAMES: usize = 16 * 1024;

/// The topics and partitions of one request, as they were served when it was sent.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    /// Of the document under which they were last found to be served as then.
    revision: u64,
    /// All names, one behind the other.
    names: String,
    topics: Vec<Topic>,
    /// Index, and generation of the segment that takes writes.
    partitions: Vec<(i32, u8)>,
}

/// Where a topic's name and partitions end.
#[derive(Debug)]
pub(crate) struct Topic {
    name: usize,
    partitions: usize,
    /// A fuse had stopped its reads.
    fused: bool,
}

impl Waiting {
    /// For a request that is decided now.
    pub(super) fn begin(scope: &mut Scope<'_>) -> Self {
        let mut waiting = scope.memory.spare_waiting.take().unwrap_or_default();
        waiting.revision = scope.world.model.revision;
        waiting.names.clear();
        waiting.topics.clear();
        waiting.partitions.clear();
        waiting
    }

    /// The buffers are free for the next request.
    pub(super) fn give_back(self, scope: &mut Scope<'_>) {
        if self.partitions.capacity() <= KEEP_PARTITIONS && self.names.capacity() <= KEEP_NAMES {
            scope.memory.spare_waiting = Some(self);
        }
    }

    /// One more topic.
    pub(super) fn topic(&mut self, name: &str, fused: bool) {
        if self.fits() {
            self.names.push_str(name);
            self.topics.push(Topic { name: self.names.len(), partitions: self.partitions.len(), fused });
        }
    }

    /// One more partition of the last topic.
    pub(super) fn partition(&mut self, index: i32, generation: u8) {
        if self.fits()
            && let Some(topic) = self.topics.last_mut()
        {
            self.partitions.push((index, generation));
            topic.partitions = self.partitions.len();
        }
    }

    /// Nothing of the request had to be left out.
    pub(super) fn fits(&self) -> bool {
        self.partitions.len() <= MAX_PARTITIONS && self.names.len() <= MAX_NAMES
    }

    /// Where the buffers lie.
    #[cfg(test)]
    pub(crate) fn buffers(&self) -> (*const u8, *const Topic, *const (i32, u8)) {
        (self.names.as_ptr(), self.topics.as_ptr(), self.partitions.as_ptr())
    }

    /// Name, whether a fuse had stopped it, partitions.
    fn topics(&self) -> impl Iterator<Item = (&str, bool, &[(i32, u8)])> {
        let mut begin = (0, 0);
        self.topics.iter().map(move |topic| {
            let start = std::mem::replace(&mut begin, (topic.name, topic.partitions));
            let name = self.names.get(start.0..topic.name).unwrap_or_default();
            (name, topic.fused, self.partitions.get(start.1..topic.partitions).unwrap_or_default())
        })
    }

    /// A topic is not served any more as it was when the request was sent: by another cluster, with another chain, or a
    /// fuse has tripped or closed.
    pub(super) fn is_overtaken(&mut self, scope: &Scope<'_>) -> bool {
        let model = &scope.world.model;
        if self.revision == model.revision {
            return false;
        }
        let overtaken = self.topics().any(|(name, fused, partitions)| {
            if fuse::stops_reads(name, scope.world) != fused {
                return true;
            }
            let Ok(entry) = route::place(scope.world, scope.broker.cluster, name).entry() else {
                return true;
            };
            partitions.iter().any(|(index, then)| entry.map_or(0, |topic| topic.generation(*index)) != *then)
        });
        if !overtaken {
            self.revision = model.revision;
        }
        overtaken
    }

    /// The whole answer: where to go for what has moved, empty entries for the rest.
    pub(super) fn answer(&self, head: RequestHead, scope: &mut Scope<'_>) -> Result<Bytes, WireError> {
        let mut wants = Wants { names: Vec::with_capacity(self.topics.len()), list: Vec::new() };
        for (topic, (name, _, partitions)) in self.topics().enumerate() {
            wants.names.push(name.to_owned());
            let place = route::place(scope.world, scope.broker.cluster, name).entry();
            let fused = fuse::stops_reads(name, scope.world);
            wants.list.extend(partitions.iter().map(|(index, _)| Want {
                topic,
                index: *index,
                max_bytes: 0,
                at: match place {
                    Ok(entry) if fused => At::Fused(entry.map(Arc::clone)),
                    Ok(None) => At::Plain,
                    Ok(Some(topic)) => At::Blank(Arc::clone(topic), code::NONE),
                    Err(error) => At::Error(error),
                },
            }));
        }
        scope.memory.stops.reads_stopped(wants.fused());
        wants.fallback(head, scope)
    }
}
