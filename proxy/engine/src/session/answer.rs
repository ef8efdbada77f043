//! The answer side: reads the head slot's source only, checks that the answer is the one awaited, and passes, patches,
//! replaces or keeps it.

use std::collections::VecDeque;

use bytes::Bytes;
use sluice_wire::frame::{self, PREFIX};
use sluice_wire::header::AnswerHeader;
use sluice_wire::walk::fetch::Walker;

use crate::api::produce::answer::{self as produce, Answered, Kept, Settled};
use crate::ask::Reply;
use crate::memory::Memory;
use crate::outcome::{RequestHead, Scope};
use crate::slot::{Slot, SlotState};
use crate::step::{AnswerStep, CloseReason, Source};

mod fetch;
mod late;

use self::late::Late;

/// The longest answer that is gathered as a whole, bytes.
const MAX_BUFFERED: usize = 8 * 1024 * 1024;

/// Bytes by which a start is gathered when a chunk ends inside it.
const GATHER: usize = 512;

/// A buffer that grew beyond this is not kept for the next answer.
const KEEP_BUFFER: usize = 64 * 1024;

/// Length and correlation id.
const FIRST: usize = 8;

type Slots = VecDeque<Slot>;

/// The answer side.
#[derive(Debug, Default)]
pub(crate) struct AnswerSide {
    state: State,
    /// Bytes of the present answer that have been taken and not been decided on.
    kept: Vec<u8>,
    /// Bytes of the present answer are with the client.
    out: bool,
    walker: Option<Walker>,
    due: Due,
    reply: Option<Reply>,
    late: Late,
}

#[derive(Debug, Default)]
enum State {
    /// Between answers, or within the first bytes of one.
    #[default]
    Start,
    /// So many bytes pass or are swallowed, then the slot is done.
    Skip { left: usize, forward: bool },
    /// A whole answer is gathered.
    Gather { total: usize },
    /// A Produce answer is kept back.
    Kept(Box<Kept>),
    /// The start of a Fetch answer.
    FetchStart { total: usize },
    /// The topics of a Fetch answer.
    Fetch,
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

impl AnswerSide {
    pub(crate) fn replied(&mut self, reply: Reply) {
        self.reply = Some(reply);
    }

    /// The next answers of the main upstream are for requests that the session has answered by itself.
    pub(crate) fn awaits_late(&self) -> bool {
        !self.late.is_empty()
    }

    /// Bytes of the main upstream, while it owes such answers.
    pub(crate) fn swallow_late(&mut self, chunk: &[u8], memory: &mut Memory) -> AnswerStep {
        let step = match self.late.swallow(chunk) {
            Ok(0) => AnswerStep::Idle,
            Ok(n) => AnswerStep::Consumed(n),
            Err(reason) => AnswerStep::Close(reason),
        };
        memory.late_answers = self.awaits_late();
        step
    }

    /// If the head is a Fetch that is overtaken by a change of the world, and nothing of its answer has been read, it is
    /// answered from here. Only the head: so what is late comes before every answer that is still awaited from there.
    pub(crate) fn overtake(&mut self, slots: &mut Slots, scope: &mut Scope<'_>) {
        let begun = self.out || !self.kept.is_empty() || !matches!(self.state, State::Start);
        let Some(slot) = slots.front_mut().filter(|slot| slot.source == Source::Main && !begun) else {
            return;
        };
        if let SlotState::Fetch(fetch) = &mut slot.state
            && !self.late.is_full()
            && let Some(bytes) = fetch.overtaken(slot.head, scope)
        {
            fetch.begins(scope);
            self.late.push(slot.head.correlation_id);
            scope.memory.late_answers = true;
            slot.source = Source::Local;
            slot.state = SlotState::Local(bytes);
        }
    }

    /// The source is lost. Whether a part of the head slot's answer from it is out already; if not, it starts anew.
    pub(crate) fn lost(&mut self, source: Source, slots: &mut Slots) -> bool {
        if slots.front().is_none_or(|slot| slot.source != source) {
            return false;
        }
        if matches!(self.state, State::Skip { forward: false, .. }) {
            // The client has its answer; only the broker's was still to be swallowed.
            self.finish(slots);
            return false;
        }
        if self.out {
            self.due = Due::Nothing;
            self.state = State::Start;
            self.kept.clear();
            return true;
        }
        self.finish_frame();
        false
    }

    pub(crate) fn step(&mut self, chunk: &mut [u8], slots: &mut Slots, scope: &mut Scope<'_>) -> AnswerStep {
        loop {
            match std::mem::take(&mut self.state) {
                // A part of an answer is out, and its source is lost.
                State::Start if self.out => {
                    return AnswerStep::Close(CloseReason::UpstreamGone);
                }
                State::Start => {
                    if let Some(step) = self.start(chunk, slots) {
                        return step;
                    }
                }
                State::Skip { left: 0, .. } => self.finish(slots),
                State::Skip { left, forward } => {
                    let n = left.min(chunk.len());
                    self.state = State::Skip { left: left - n, forward };
                    if n == left {
                        self.finish(slots);
                    }
                    return match (n, forward) {
                        (0, _) => AnswerStep::Idle,
                        (_, true) => AnswerStep::Forward(n),
                        (_, false) => AnswerStep::Consumed(n),
                    };
                }
                State::Gather { total } => return self.gather(total, chunk, slots, scope),
                State::Kept(mut kept) => {
                    return match kept.settle(self.reply.take(), scope) {
                        Settled::Frame(bytes) => {
                            self.finish(slots);
                            AnswerStep::Emit { consumed: 0, bytes }
                        }
                        Settled::Ask(ask) => {
                            self.state = State::Kept(kept);
                            AnswerStep::Ask { consumed: 0, ask }
                        }
                        Settled::Hold(until) => {
                            self.state = State::Kept(kept);
                            AnswerStep::Hold { consumed: 0, until }
                        }
                        Settled::Close(reason) => AnswerStep::Close(reason),
                    };
                }
                State::FetchStart { total } => return self.fetch_start(total, chunk, slots, scope),
                State::Fetch => {
                    if let Some(step) = self.fetch(chunk, slots, scope) {
                        return step;
                    }
                }
            }
        }
    }

    /// The head slot's answer is complete.
    fn finish(&mut self, slots: &mut Slots) {
        slots.pop_front();
        self.finish_frame();
    }

    fn finish_frame(&mut self) {
        self.state = State::Start;
        self.out = false;
        self.due = Due::Nothing;
        self.reply = None;
        self.kept.clear();
        if self.kept.capacity() > KEEP_BUFFER {
            self.kept = Vec::new();
        }
    }

    fn keep(&mut self, chunk: &[u8], want: usize) -> usize {
        let n = want.saturating_sub(self.kept.len()).min(chunk.len());
        self.kept.extend_from_slice(&chunk[..n]);
        n
    }

    /// The first bytes of an answer. `None`: the state says how to go on.
    fn start(&mut self, chunk: &mut [u8], slots: &mut Slots) -> Option<AnswerStep> {
        let first: [u8; FIRST] = if self.kept.is_empty() && chunk.len() >= FIRST {
            chunk[..FIRST].try_into().ok()?
        } else if self.kept.len() < FIRST {
            let n = self.keep(chunk, FIRST);
            return Some(if n == 0 { AnswerStep::Idle } else { AnswerStep::Consumed(n) });
        } else {
            *self.kept.first_chunk::<FIRST>()?
        };
        let prefix = [first[0], first[1], first[2], first[3]];
        let correlation_id = i32::from_be_bytes([first[4], first[5], first[6], first[7]]);
        let length = frame::check_answer_length(prefix, i32::MAX.unsigned_abs()).ok();
        let total = length.and_then(|length| usize::try_from(length).ok()).map(|length| length.saturating_add(PREFIX));
        let slot = slots.front().filter(|slot| slot.head.correlation_id == correlation_id);
        let (Some(total), Some(slot)) = (total, slot) else {
            return Some(AnswerStep::Close(CloseReason::BadAnswer));
        };
        match &slot.state {
            SlotState::Local(_) => Some(AnswerStep::Close(CloseReason::BadAnswer)),
            SlotState::Pass if self.kept.is_empty() => {
                self.state = State::Skip { left: total, forward: true };
                None
            }
            SlotState::Pass => {
                let bytes = Bytes::copy_from_slice(&self.kept);
                self.state = State::Skip { left: total - self.kept.len(), forward: true };
                self.out = true;
                self.kept.clear();
                Some(AnswerStep::Emit { consumed: 0, bytes })
            }
            SlotState::Rewrite(_) | SlotState::Produce(_) if total > MAX_BUFFERED => {
                Some(AnswerStep::Close(CloseReason::BadAnswer))
            }
            SlotState::Rewrite(_) | SlotState::Produce(_) => {
                self.state = State::Gather { total };
                None
            }
            SlotState::Fetch(_) => {
                self.state = State::FetchStart { total };
                None
            }
        }
    }

    fn gather(&mut self, total: usize, chunk: &mut [u8], slots: &mut Slots, scope: &mut Scope<'_>) -> AnswerStep {
        let in_place = self.kept.is_empty() && chunk.len() >= total;
        let consumed = if in_place { total } else { self.keep(chunk, total) };
        if !in_place && self.kept.len() < total {
            self.state = State::Gather { total };
            return if consumed == 0 { AnswerStep::Idle } else { AnswerStep::Consumed(consumed) };
        }
        let Some(slot) = slots.front_mut() else {
            return AnswerStep::Close(CloseReason::BadAnswer);
        };
        let head = slot.head;
        let mut kept = std::mem::take(&mut self.kept);
        let bytes = if in_place { &mut chunk[..total] } else { kept.as_mut_slice() };
        let Some(body) = body_of(head, bytes) else {
            return AnswerStep::Close(CloseReason::BadAnswer);
        };
        match std::mem::replace(&mut slot.state, SlotState::Pass) {
            SlotState::Rewrite(rewrite) => match rewrite(Bytes::copy_from_slice(body)) {
                Ok(bytes) => {
                    self.finish(slots);
                    AnswerStep::Emit { consumed, bytes }
                }
                Err(_) => AnswerStep::Close(CloseReason::BadAnswer),
            },
            SlotState::Produce(slot) => match produce::begin(head, slot, body, scope) {
                Answered::AsItLies if in_place => {
                    self.finish(slots);
                    AnswerStep::Forward(total)
                }
                Answered::AsItLies => {
                    self.finish(slots);
                    AnswerStep::Emit { consumed, bytes: Bytes::from(kept) }
                }
                Answered::Frame(bytes) => {
                    self.finish(slots);
                    AnswerStep::Emit { consumed, bytes }
                }
                Answered::Kept(kept) => {
                    self.state = State::Kept(kept);
                    AnswerStep::Consumed(consumed)
                }
                Answered::Close(reason) => AnswerStep::Close(reason),
            },
            SlotState::Local(_) | SlotState::Pass | SlotState::Fetch(_) => AnswerStep::Close(CloseReason::BadAnswer),
        }
    }
}

fn body_of(head: RequestHead, bytes: &mut [u8]) -> Option<&mut [u8]> {
    let header = AnswerHeader::parse(head.key as i16, head.version, bytes.get(PREFIX..)?).ok()??;
    bytes.get_mut(PREFIX + header.size..)
}
