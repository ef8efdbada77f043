//! What the session keeps of a Fetch until its answer has passed.

use std::sync::Arc;

use bytes::Bytes;
use sluice_mesh::model::{BrokerRef, TopicModel};

use super::Waiting;
use crate::memory::Spot;
use crate::outcome::{RequestHead, Scope};

/// A Fetch in flight.
#[derive(Debug)]
pub(crate) struct FetchSlot {
    /// What its answer needs; without one only node ids are mapped.
    pub(crate) plan: Option<Box<FetchPlan>>,
    /// What it may wait for at the broker, until its answer begins.
    pub(super) waiting: Option<Waiting>,
}

impl FetchSlot {
    /// It may wait at the broker.
    pub(crate) fn waits(&self) -> bool {
        self.waiting.is_some()
    }

    /// The answer from here, if something of it is not served any more as it was when the request was sent.
    pub(crate) fn overtaken(&mut self, head: RequestHead, scope: &mut Scope<'_>) -> Option<Bytes> {
        let waiting = self.waiting.as_mut()?;
        if waiting.is_overtaken(scope) { waiting.answer(head, scope).ok() } else { None }
    }

    /// The broker's answer is passed on from here.
    pub(crate) fn begins(&mut self, scope: &mut Scope<'_>) {
        if let Some(waiting) = self.waiting.take() {
            waiting.give_back(scope);
        }
    }
}

/// What the answer to a Fetch needs.
#[derive(Debug)]
pub(crate) struct FetchPlan {
    /// Partitions of topics with an entry that are asked of the source, in order.
    pub(super) entries: Vec<Planned>,
    /// Where the next one is looked for first.
    pub(super) cursor: usize,
    /// Whole topics to add to the source's answer.
    pub(super) extra: Option<Bytes>,
    pub(super) extra_topics: u32,
    /// The broker that an old segment is read from, and its cluster.
    pub(super) relay: Option<BrokerRef>,
    /// The whole answer without anything from the relay.
    pub(super) fallback: Option<Bytes>,
}

#[derive(Debug)]
pub(super) struct Planned {
    pub(super) topic: Arc<TopicModel>,
    pub(super) partition: i32,
    pub(super) role: Role,
}

/// What a partition's entry in the source's answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// The segment that takes writes.
    Live(Spot),
    /// An old segment, up to this physical end.
    Old { spot: Spot, position: usize, end: i64 },
    /// Nothing: an empty entry, or this error.
    Blank(i16),
}

impl FetchPlan {
    pub(crate) fn is_relay(&self) -> bool {
        self.relay.is_some()
    }

    /// The whole answer without anything from the relay; once.
    pub(crate) fn take_fallback(&mut self) -> Option<Bytes> {
        self.fallback.take()
    }

    /// Topics to add to a source's answer of `topics`, and their bytes.
    pub(crate) fn extra(&mut self, topics: u32) -> Option<(u32, usize)> {
        if topics == 0 {
            self.extra = None;
        }
        self.extra.as_ref().map(|extra| (self.extra_topics, extra.len()))
    }

    /// Their bytes; once.
    pub(crate) fn take_extra(&mut self) -> Option<Bytes> {
        self.extra.take()
    }

    pub(super) fn find(&mut self, topic: &str, partition: i32) -> Option<&Planned> {
        let here = |planned: &Planned| planned.partition == partition && planned.topic.name.as_str() == topic;
        let next = self.entries.iter().skip(self.cursor).position(here).map(|position| position + self.cursor);
        let position = next.or_else(|| self.entries.iter().position(here))?;
        self.cursor = position;
        self.entries.get(position)
    }
}
