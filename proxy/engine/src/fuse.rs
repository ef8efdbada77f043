//! What the tripped fuses say of a topic: its writes wait or are refused, its reads find nothing. Said here alone; how a
//! request is held, refused in place or answered empty is its API's. It must never know bytes.
//!
//! A refused write must not be overtaken by one that its producer sent behind it. So whatever comes for the topic before
//! the client can know of the refusal is refused too, even if the fuse has closed meanwhile.

use std::collections::HashMap;
use std::sync::Arc;

use sluice_mesh::document::{Fuse, FuseAction};
use sluice_mesh::model::World;

use crate::code;
use crate::hold::longest_hold;

/// The longest hold on a connection that carries other topics too, milliseconds: what is behind a held Produce waits with
/// it.
const SHARED_HOLD: u64 = 500;

/// What comes this soon after a refusal was sent before its client knew of it, milliseconds: clients wait longer before they
/// try again.
const UNAWARE: u64 = 50;

/// The most topics whose refusals are remembered.
const MAX_TOPICS: usize = 16 * 1024;

/// Partitions of requests that fuses have stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stopped {
    /// Those whose writes were refused.
    pub produce: u64,
    /// Those whose reads were answered empty.
    pub consume: u64,
}

/// A Produce that may meet a fuse.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    /// When its start was looked at first, on the driver's clock.
    pub(crate) seen: u64,
    /// The client's.
    pub(crate) timeout_ms: i32,
    /// It has more than one topic.
    pub(crate) several: bool,
}

/// What a fuse says of a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stop {
    /// It waits until then, and is refused unless the fuse has closed before.
    Hold { until: u64 },
    /// It is refused.
    Refuse(Refusal),
}

impl Stop {
    /// What the client is told in the end.
    pub(crate) fn refusal(&self) -> Refusal {
        match self {
            Self::Hold { .. } => Refusal::later(),
            Self::Refuse(refusal) => refusal.clone(),
        }
    }
}

/// How a write is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) error: i16,
    pub(crate) message: Option<Arc<str>>,
}

impl Refusal {
    /// All clients try again after this, without a look at the metadata.
    pub(crate) fn later() -> Self {
        Self { error: code::NOT_ENOUGH_REPLICAS, message: None }
    }

    /// No client tries again after this.
    fn by(fuse: &Fuse) -> Self {
        let message = format!(
            "writes to topic {} are refused by TopicFuse {}; they pass again when it is closed or deleted",
            fuse.topic, fuse.name
        );
        Self { error: code::POLICY_VIOLATION, message: Some(message.into()) }
    }
}

/// What the fuses say of writing to a topic now; `None`: nothing.
pub(crate) fn write(topic: &str, asked: Asked, world: &World, now: u64, stops: &mut Stops) -> Option<Stop> {
    if world.model.fuses.is_empty() && !stops.has_refused() {
        return None;
    }
    match world.model.fuse(topic).and_then(|fuse| Some((fuse, fuse.produce?))) {
        Some((fuse, FuseAction::Reject)) => Some(Stop::Refuse(Refusal::by(fuse))),
        _ if stops.is_behind(topic, now) => Some(Stop::Refuse(Refusal::later())),
        Some((_, FuseAction::Hold)) => {
            let shared = asked.several || !stops.carries_only(topic);
            let longest = longest_hold(asked.timeout_ms, world).min(if shared { SHARED_HOLD } else { u64::MAX });
            let until = asked.seen.saturating_add(longest);
            let waits = now < until && !stops.has_just_told(now);
            Some(if waits { Stop::Hold { until } } else { Stop::Refuse(Refusal::later()) })
        }
        None => None,
    }
}

/// Writes to the topic wait.
pub(crate) fn holds_writes(topic: &str, world: &World) -> bool {
    world.model.fuse(topic).is_some_and(|fuse| fuse.produce == Some(FuseAction::Hold))
}

/// Reads of the topic find nothing.
pub(crate) fn stops_reads(topic: &str, world: &World) -> bool {
    world.model.fuse(topic).is_some_and(|fuse| fuse.consume)
}

/// What a session remembers of stops.
#[derive(Debug, Default)]
pub(crate) struct Stops {
    /// What the connection has carried so far.
    carried: Carried,
    /// There once it has met a fuse.
    met: Option<Box<Met>>,
}

#[derive(Debug, Default)]
struct Met {
    /// When the client was last told of a refusal: what came with it does not wait once more, so that holds do not add up.
    told_at: Option<u64>,
    /// Topics with a refusal that their client may not know of yet.
    behind: HashMap<Arc<str>, Behind>,
    /// Since it was last taken.
    stopped: Stopped,
}

/// Topics that were written to over a connection.
#[derive(Debug, Default)]
enum Carried {
    #[default]
    Nothing,
    Only(Arc<str>),
    Others,
}

#[derive(Debug, Default)]
struct Behind {
    /// Refusals that are still in the ring.
    awaited: u32,
    /// Those that came before this were sent without knowing of the last one.
    until: u64,
}

impl Stops {
    /// A topic is written to over this connection.
    pub(crate) fn carries(&mut self, topic: &str) {
        match &self.carried {
            Carried::Others => {}
            Carried::Only(only) if **only == *topic => {}
            Carried::Only(_) => self.carried = Carried::Others,
            Carried::Nothing => self.carried = Carried::Only(topic.into()),
        }
    }

    /// The connection is used for more than writes.
    pub(crate) fn carries_others(&mut self) {
        self.carried = Carried::Others;
    }

    fn carries_only(&self, topic: &str) -> bool {
        match &self.carried {
            Carried::Nothing => true,
            Carried::Only(only) => **only == *topic,
            Carried::Others => false,
        }
    }

    fn met(&mut self) -> &mut Met {
        self.met.get_or_insert_default()
    }

    /// Some refusal may not be known to its client yet.
    fn has_refused(&self) -> bool {
        self.met.as_ref().is_some_and(|met| !met.behind.is_empty())
    }

    /// What comes now was sent before its client knew of the last refusal.
    fn has_just_told(&self, now: u64) -> bool {
        let told_at = self.met.as_ref().and_then(|met| met.told_at);
        told_at.is_some_and(|at| now < at.saturating_add(UNAWARE))
    }

    fn is_behind(&mut self, topic: &str, now: u64) -> bool {
        self.met.as_mut().is_some_and(|met| met.is_behind(topic, now))
    }

    /// So many partitions are answered empty.
    pub(crate) fn reads_stopped(&mut self, partitions: usize) {
        if partitions > 0 {
            let stopped = &mut self.met().stopped;
            stopped.consume = stopped.consume.saturating_add(partitions as u64);
        }
    }

    /// The writes to one more partition are refused.
    pub(crate) fn write_stopped(&mut self) {
        let stopped = &mut self.met().stopped;
        stopped.produce = stopped.produce.saturating_add(1);
    }

    /// What has been stopped since the last call.
    pub(crate) fn take_stopped(&mut self) -> Stopped {
        self.met.as_mut().map(|met| std::mem::take(&mut met.stopped)).unwrap_or_default()
    }

    /// A frame was refused for this topic, and its client is told at once.
    pub(crate) fn refused(&mut self, topic: &Arc<str>, now: u64) {
        self.met().told(topic, now);
    }

    /// A frame was refused for this topic in place: its client is told ([`Stops::told`]) when the broker has answered.
    pub(crate) fn refused_in_place(&mut self, topic: &Arc<str>) {
        let behind = self.met().behind(topic);
        behind.awaited = behind.awaited.saturating_add(1);
    }

    /// The client of such a frame is told now.
    pub(crate) fn told(&mut self, topic: &Arc<str>, now: u64) {
        let behind = self.met().behind(topic);
        behind.awaited = behind.awaited.saturating_sub(1);
        self.met().told(topic, now);
    }
}

impl Met {
    fn is_behind(&mut self, topic: &str, now: u64) -> bool {
        match self.behind.get(topic) {
            None => false,
            Some(behind) if behind.awaited > 0 || now < behind.until => true,
            Some(_) => {
                self.behind.remove(topic);
                false
            }
        }
    }

    /// A refusal for this topic is told now.
    fn told(&mut self, topic: &Arc<str>, now: u64) {
        self.told_at = Some(now);
        self.behind(topic).until = now.saturating_add(UNAWARE);
    }

    fn behind(&mut self, topic: &Arc<str>) -> &mut Behind {
        if self.behind.len() >= MAX_TOPICS && !self.behind.contains_key(topic) {
            self.behind.clear();
        }
        self.behind.entry(Arc::clone(topic)).or_default()
    }
}
