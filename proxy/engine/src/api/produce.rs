//! Produce: streamed, decided partition by partition at the 61 bytes of the batch header, before anything of the partition
//! goes on.
//!
//! A frame whose first topic is fenced or stopped by a fuse is held as a whole; one whose only topic is not served here, or
//! refused, is swallowed and answered. A partition that turns up behind others is refused in place: one bit of its CRC is
//! flipped, the broker refuses it, and the slot replaces that answer by ours.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use sluice_wire::frame::PREFIX;
use sluice_wire::header::{MAX_REQUEST_HEADER, RequestHeader};
use sluice_wire::walk::produce::{self as walk, Event, Walker};

use self::current::{BatchStep, Current, TopicState};
use self::start::Start;
use crate::ask::{Ask, Reply};
use crate::fuse::{Asked, Stop};
use crate::memory::ProducerKey;
use crate::outcome::{RequestHead, Scope};
use crate::slot::Slot;
use crate::step::CloseReason;

pub(crate) mod answer;
mod current;
mod start;

/// Bytes by which a frame's start is gathered when a chunk ends inside it.
const GATHER: usize = 512;

/// The most partitions of one frame that are not simply passed on: no client sends so many, and each is remembered.
const MAX_NOTES: usize = 16 * 1024;

/// What the answer to a Produce needs.
#[derive(Debug)]
pub(crate) struct ProduceSlot {
    /// Of the model that the frame was decided under: as long as it is held, that model is not drained.
    pub(crate) lease: Arc<()>,
    /// Partitions that were not simply passed on.
    pub(crate) notes: Vec<Note>,
    /// The client's.
    pub(crate) timeout_ms: i32,
    /// When the frame was decided to go, on the driver's clock.
    pub(crate) begun: u64,
}

/// A partition that was not simply passed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Note {
    pub(crate) topic: Arc<str>,
    pub(crate) partition: i32,
    pub(crate) what: What,
}

/// What was done with a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    /// The first batch that this session saw of a producer: passed on, its fate decides how the next one is treated.
    First(ProducerKey),
    /// Refused: this error is the answer.
    Refused(i16),
    /// The old home has it: success.
    Duplicate,
    /// Refused because of the fence of this attempt: answered when the fence is off, at last at `until`.
    Fenced { attempt: u64, until: u64 },
    /// Refused because of a fuse: answered when that says so.
    Fused(Stop),
}

/// The topics of a frame that fuses have refused.
pub(crate) fn fused_topics(notes: &[Note]) -> impl Iterator<Item = &Arc<str>> {
    let mut last: Option<&Arc<str>> = None;
    let topics = notes.iter().filter(|note| matches!(note.what, What::Fused(_))).map(|note| &note.topic);
    topics.filter(move |topic| !last.replace(*topic).is_some_and(|before| Arc::ptr_eq(before, topic)))
}

/// What the driver is to do next.
#[derive(Debug)]
pub(crate) enum ProduceStep {
    Forward(usize),
    Consumed(usize),
    Send {
        consumed: usize,
        bytes: Bytes,
    },
    Ask(Ask),
    Hold(u64),
    Full,
    Idle,
    Close(CloseReason),
    /// The frame is complete; the slot, if there is one, is in the ring.
    Done,
}

/// A step that was found behind bytes that had to go first.
#[derive(Debug, Default)]
enum Due {
    #[default]
    Nothing,
    Take(usize),
    Emit(Bytes),
    Done,
}

/// The Produce frame that is passing. One value per session, used again for each frame.
#[derive(Default)]
pub(crate) struct ProduceFrame {
    walker: Option<Walker>,
    /// When the frame's start was looked at first.
    seen: Option<u64>,
    current: Option<Current>,
    due: Due,
    reply: Option<Reply>,
}

impl fmt::Debug for ProduceFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProduceFrame").field("current", &self.current).field("due", &self.due).finish_non_exhaustive()
    }
}

enum Advance {
    Pass(usize),
    Take(usize),
    Emit(Bytes),
    NeedMore,
    End,
    Ask(Ask),
    Full,
    Close(CloseReason),
}

impl ProduceFrame {
    /// A new frame begins.
    pub(crate) fn begin(&mut self) {
        self.seen = None;
        self.current = None;
        self.due = Due::Nothing;
        self.reply = None;
    }

    pub(crate) fn replied(&mut self, reply: Reply) {
        self.reply = Some(reply);
    }

    pub(crate) fn step(
        &mut self,
        head: RequestHead,
        total: usize,
        kept: &mut Vec<u8>,
        chunk: &mut [u8],
        slots: &mut VecDeque<Slot>,
        scope: &mut Scope<'_>,
    ) -> ProduceStep {
        match std::mem::take(&mut self.due) {
            Due::Nothing => {}
            Due::Take(n) if n > chunk.len() => {
                self.due = Due::Take(n - chunk.len());
                return if chunk.is_empty() { ProduceStep::Idle } else { ProduceStep::Consumed(chunk.len()) };
            }
            Due::Take(n) => return ProduceStep::Consumed(n),
            Due::Emit(bytes) => return ProduceStep::Send { consumed: 0, bytes },
            Due::Done => return ProduceStep::Done,
        }
        if self.current.is_none() {
            let in_chunk = kept.is_empty();
            let window = if in_chunk { chunk.get(..total).unwrap_or(chunk) } else { kept.as_slice() };
            match self.open(head, total, window, scope) {
                Ok(Opened::Go) => {}
                Ok(Opened::Hold(until)) => return ProduceStep::Hold(until),
                Ok(Opened::NeedMore) => {
                    let n = chunk.len().min(GATHER).min(total.saturating_sub(kept.len()));
                    if window.len() >= total || kept.len() > MAX_REQUEST_HEADER + walk::MAX_PEEK {
                        return ProduceStep::Close(CloseReason::Malformed);
                    }
                    if n == 0 {
                        return ProduceStep::Idle;
                    }
                    kept.extend_from_slice(&chunk[..n]);
                    return ProduceStep::Consumed(n);
                }
                Err(reason) => return ProduceStep::Close(reason),
            }
        }
        if !kept.is_empty()
            && let Some(step) = self.walk_kept(head, kept, slots, scope)
        {
            return step;
        }
        self.walk_chunk(head, chunk, slots, scope)
    }

    /// The frame's start: hold it, swallow it, or let it go.
    fn open(
        &mut self,
        head: RequestHead,
        total: usize,
        window: &[u8],
        scope: &mut Scope<'_>,
    ) -> Result<Opened, CloseReason> {
        let malformed = |_| CloseReason::Malformed;
        let Some(bytes) = window.get(PREFIX..) else {
            return Ok(Opened::NeedMore);
        };
        let Some(header) = RequestHeader::parse(bytes).map_err(malformed)? else {
            return Ok(Opened::NeedMore);
        };
        let prefix = PREFIX + header.size;
        let length = total.checked_sub(prefix).ok_or(CloseReason::Malformed)?;
        let body = window.get(prefix..).unwrap_or_default();
        let Some(peek) = walk::peek(head.version, length, body).map_err(malformed)? else {
            return Ok(Opened::NeedMore);
        };
        let asked = Asked {
            seen: *self.seen.get_or_insert(scope.now),
            timeout_ms: peek.head.timeout_ms,
            several: peek.head.topics > 1,
        };
        let refused = match peek.first.map_or(Start::Go, |(topic, _)| start::decide(topic, asked, scope)) {
            Start::Go => false,
            Start::Refused => true,
            Start::Hold(until) => return Ok(Opened::Hold(until)),
        };
        if refused && peek.head.acks == 0 {
            return Err(CloseReason::UnansweredRefused);
        }
        let walker = match self.walker.take() {
            Some(mut walker) => walker.restart(head.version, length).map(|()| walker),
            None => Walker::new(head.version, length),
        };
        self.walker = Some(walker.map_err(malformed)?);
        self.current = Some(Current {
            world: scope.world.clone(),
            lease: Arc::clone(&scope.world.model.produce_lease),
            swallow: refused && !asked.several,
            acks: peek.head.acks,
            asked,
            begun: scope.now,
            prefix,
            topic: TopicState::Plain,
            partition: -1,
            at_batch: false,
            notes: Vec::new(),
        });
        Ok(Opened::Go)
    }

    /// Walks the gathered start of the frame. `None`: all of it is done with, nothing is to be sent.
    fn walk_kept(
        &mut self,
        head: RequestHead,
        kept: &mut Vec<u8>,
        slots: &mut VecDeque<Slot>,
        scope: &mut Scope<'_>,
    ) -> Option<ProduceStep> {
        let current = self.current.as_mut()?;
        let swallow = current.swallow;
        let mut at = std::mem::take(&mut current.prefix).min(kept.len());
        let mut out = kept[..at].to_vec();
        let blocked = loop {
            match self.advance(head, &mut kept[at..], slots, scope) {
                Advance::Pass(n) => {
                    let end = at.saturating_add(n).min(kept.len());
                    out.extend_from_slice(&kept[at..end]);
                    at = end;
                }
                Advance::Take(n) => at = at.saturating_add(n).min(kept.len()),
                Advance::Emit(bytes) => out.extend_from_slice(&bytes),
                Advance::NeedMore => break None,
                Advance::End => {
                    self.due = Due::Done;
                    break None;
                }
                Advance::Ask(ask) => break Some(ProduceStep::Ask(ask)),
                Advance::Full => break Some(ProduceStep::Full),
                Advance::Close(reason) => return Some(ProduceStep::Close(reason)),
            }
        };
        kept.drain(..at);
        if !out.is_empty() && !swallow {
            // Whatever blocks is met again in the next call.
            return Some(ProduceStep::Send { consumed: 0, bytes: Bytes::from(out) });
        }
        if blocked.is_some() {
            return blocked;
        }
        matches!(self.due, Due::Done).then(|| {
            self.due = Due::Nothing;
            ProduceStep::Done
        })
    }

    fn walk_chunk(
        &mut self,
        head: RequestHead,
        chunk: &mut [u8],
        slots: &mut VecDeque<Slot>,
        scope: &mut Scope<'_>,
    ) -> ProduceStep {
        let Some(current) = self.current.as_mut() else {
            return ProduceStep::Close(CloseReason::Malformed);
        };
        let swallow = current.swallow;
        let mut passed = std::mem::take(&mut current.prefix).min(chunk.len());
        let pass = |n: usize| if swallow { ProduceStep::Consumed(n) } else { ProduceStep::Forward(n) };
        loop {
            let step = self.advance(head, &mut chunk[passed..], slots, scope);
            let (due, step) = match step {
                Advance::Pass(n) => {
                    passed = passed.saturating_add(n).min(chunk.len());
                    continue;
                }
                Advance::Take(n) => (Due::Take(n), ProduceStep::Consumed(n)),
                Advance::Emit(_) if swallow => continue,
                Advance::Emit(bytes) => (Due::Emit(bytes.clone()), ProduceStep::Send { consumed: 0, bytes }),
                Advance::NeedMore => (Due::Nothing, ProduceStep::Idle),
                Advance::End => (Due::Done, ProduceStep::Done),
                Advance::Ask(ask) => (Due::Nothing, ProduceStep::Ask(ask)),
                Advance::Full => (Due::Nothing, ProduceStep::Full),
                Advance::Close(reason) => return ProduceStep::Close(reason),
            };
            if passed == 0 {
                return step;
            }
            // What has been found comes after the bytes before it; an ask or a full ring is met again.
            self.due = due;
            return pass(passed);
        }
    }

    /// One event of the walk.
    fn advance(
        &mut self,
        head: RequestHead,
        input: &mut [u8],
        slots: &mut VecDeque<Slot>,
        scope: &mut Scope<'_>,
    ) -> Advance {
        let (Some(walker), Some(current)) = (self.walker.as_mut(), self.current.as_mut()) else {
            return Advance::Close(CloseReason::Malformed);
        };
        loop {
            if current.at_batch {
                match current.on_batch(walker, input, self.reply.take(), slots.is_empty(), scope) {
                    BatchStep::Go => current.at_batch = false,
                    BatchStep::Ask(ask) => return Advance::Ask(ask),
                    BatchStep::Full => return Advance::Full,
                    BatchStep::Close(reason) => return Advance::Close(reason),
                }
            }
            let Ok(event) = walker.next(input) else {
                return Advance::Close(CloseReason::Malformed);
            };
            match event {
                Event::Pass(n) => return Advance::Pass(n),
                Event::Kept(n) => return Advance::Take(n),
                Event::Emit => return Advance::Emit(Bytes::copy_from_slice(walker.kept())),
                Event::NeedMore => return Advance::NeedMore,
                Event::Head(_) | Event::PartitionEnd => {}
                Event::Topic(_) => current.enter_topic(walker.topic(), scope),
                Event::Partition(partition) => {
                    current.partition = partition.index;
                    if let Some(reason) = current.enter_partition(scope) {
                        return Advance::Close(reason);
                    }
                }
                Event::Batch => current.at_batch = true,
                Event::End => {
                    let Some(current) = self.current.take() else {
                        return Advance::Close(CloseReason::Malformed);
                    };
                    return match current.finish(head, slots, scope) {
                        Ok(()) => Advance::End,
                        Err(reason) => Advance::Close(reason),
                    };
                }
            }
        }
    }
}

enum Opened {
    Go,
    Hold(u64),
    NeedMore,
}
