//! The answer side: reads the head slot's source only, checks that the answer is the one awaited, and passes, patches,
//! replaces or keeps it.

use std::collections::VecDeque;

use bytes::Bytes;
use sluice_wire::frame::{self, PREFIX};
use sluice_wire::header::AnswerHeader;
use sluice_wire::walk::fetch::{self as walk, Event, Walker};

use crate::api::fetch::FetchPlan;
use crate::api::fetch::answer::{self as fetch, Relayed};
use crate::api::produce::answer::{self as produce, Answered, Kept, Settled};
use crate::ask::Reply;
use crate::outcome::{RequestHead, Scope};
use crate::slot::{Slot, SlotState};
use crate::step::{AnswerStep, CloseReason, Source};

/// The longest answer that is gathered as a whole, bytes.
const MAX_BUFFERED: usize = 8 * 1024 * 1024;

/// The most bytes that the start of a relayed Fetch answer may have before its first batch.
const MAX_START: usize = 1024 * 1024;

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

enum Advance {
    Pass(usize),
    Take(usize),
    Emit(Bytes),
    NeedMore,
    End,
    Close(CloseReason),
}

impl AnswerSide {
    pub(crate) fn replied(&mut self, reply: Reply) {
        self.reply = Some(reply);
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
                State::FetchStart { total } => {
                    if let Some(step) = self.fetch_start(total, chunk, slots, scope) {
                        return step;
                    }
                }
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

    fn gather(
        &mut self,
        total: usize,
        chunk: &mut [u8],
        slots: &mut Slots,
        scope: &mut Scope<'_>,
    ) -> AnswerStep {
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

    /// The start of a Fetch answer: its head, and for a relayed one everything up to the first batch.
    fn fetch_start(
        &mut self,
        total: usize,
        chunk: &mut [u8],
        slots: &mut Slots,
        scope: &mut Scope<'_>,
    ) -> Option<AnswerStep> {
        let Some(slot) = slots.front_mut() else {
            return Some(AnswerStep::Close(CloseReason::BadAnswer));
        };
        let head = slot.head;
        let SlotState::Fetch(plan) = &mut slot.state else {
            return Some(AnswerStep::Close(CloseReason::BadAnswer));
        };
        let in_chunk = self.kept.is_empty();
        let window = if in_chunk { chunk.get(..total).unwrap_or(chunk) } else { self.kept.as_slice() };
        let begun = match begin_fetch(head, total, window, plan.as_deref_mut(), scope) {
            Ok(Some(begun)) => begun,
            Ok(None) => {
                let n = chunk.len().min(GATHER).min(total.saturating_sub(self.kept.len()));
                if window.len() >= total || self.kept.len() > MAX_START {
                    return Some(AnswerStep::Close(CloseReason::BadAnswer));
                }
                self.state = State::FetchStart { total };
                if n == 0 {
                    return Some(AnswerStep::Idle);
                }
                self.kept.extend_from_slice(&chunk[..n]);
                return Some(AnswerStep::Consumed(n));
            }
            Err(reason) => return Some(AnswerStep::Close(reason)),
        };
        let (size, head_bytes, fetch_head, rest) = match begun {
            Begun::Replace(bytes) => {
                self.state = State::Skip { left: total - self.kept.len(), forward: false };
                self.kept.clear();
                self.out = true;
                return Some(AnswerStep::Emit { consumed: 0, bytes });
            }
            Begun::Walk { size, bytes, head, rest } => (size, bytes, head, rest),
        };
        let walker = match self.walker.take() {
            Some(mut walker) => walker.restart(head.version, &fetch_head, rest).map(|()| walker),
            None => Walker::new(head.version, &fetch_head, rest),
        };
        match walker {
            Ok(walker) => self.walker = Some(walker),
            Err(_) => return Some(AnswerStep::Close(CloseReason::BadAnswer)),
        }
        self.state = State::Fetch;
        if in_chunk {
            return Some(match head_bytes {
                Some(bytes) => {
                    self.out = true;
                    AnswerStep::Emit { consumed: size, bytes: Bytes::from(bytes) }
                }
                None => self.fetch_chunk(size, chunk, slots, scope),
            });
        }
        let out = head_bytes.unwrap_or_else(|| self.kept[..size].to_vec());
        Some(self.fetch_kept(size, out, slots, scope))
    }

    fn fetch(&mut self, chunk: &mut [u8], slots: &mut Slots, scope: &mut Scope<'_>) -> Option<AnswerStep> {
        self.state = State::Fetch;
        match std::mem::take(&mut self.due) {
            Due::Nothing => {}
            Due::Take(n) if n > chunk.len() => {
                self.due = Due::Take(n - chunk.len());
                return Some(if chunk.is_empty() { AnswerStep::Idle } else { AnswerStep::Consumed(chunk.len()) });
            }
            Due::Take(n) => return Some(AnswerStep::Consumed(n)),
            Due::Emit(bytes) => return Some(AnswerStep::Emit { consumed: 0, bytes }),
            Due::Done => {
                self.finish(slots);
                return None;
            }
        }
        Some(self.fetch_chunk(0, chunk, slots, scope))
    }

    /// Walks the gathered start; `out` are the bytes that go before.
    fn fetch_kept(&mut self, start: usize, mut out: Vec<u8>, slots: &mut Slots, scope: &mut Scope<'_>) -> AnswerStep {
        let mut kept = std::mem::take(&mut self.kept);
        let mut at = start.min(kept.len());
        loop {
            match self.advance(&mut kept[at..], slots, scope) {
                Advance::Pass(n) => {
                    let end = at.saturating_add(n).min(kept.len());
                    out.extend_from_slice(&kept[at..end]);
                    at = end;
                }
                Advance::Take(n) => at = at.saturating_add(n).min(kept.len()),
                Advance::Emit(bytes) => out.extend_from_slice(&bytes),
                Advance::NeedMore => break,
                Advance::End => {
                    self.due = Due::Done;
                    break;
                }
                Advance::Close(reason) => return AnswerStep::Close(reason),
            }
        }
        self.out = true;
        if matches!(self.due, Due::Done) {
            // The slot is done with these bytes: nothing of the source is left to wait for.
            self.finish(slots);
        }
        AnswerStep::Emit { consumed: 0, bytes: Bytes::from(out) }
    }

    /// Walks the chunk, of which `passed` bytes may go already.
    fn fetch_chunk(
        &mut self,
        mut passed: usize,
        chunk: &mut [u8],
        slots: &mut Slots,
        scope: &mut Scope<'_>,
    ) -> AnswerStep {
        loop {
            let (due, step) = match self.advance(&mut chunk[passed..], slots, scope) {
                Advance::Pass(n) => {
                    passed = passed.saturating_add(n).min(chunk.len());
                    self.out = true;
                    continue;
                }
                Advance::Take(n) => (Due::Take(n), AnswerStep::Consumed(n)),
                Advance::Emit(bytes) => {
                    self.out = true;
                    (Due::Emit(bytes.clone()), AnswerStep::Emit { consumed: 0, bytes })
                }
                Advance::NeedMore => (Due::Nothing, AnswerStep::Idle),
                Advance::End => {
                    self.finish(slots);
                    // A frame always ends with bytes of its own, or after an emission that has been told.
                    return if passed > 0 { AnswerStep::Forward(passed) } else { AnswerStep::Consumed(0) };
                }
                Advance::Close(reason) => return AnswerStep::Close(reason),
            };
            if passed == 0 {
                return step;
            }
            self.out = true;
            self.due = due;
            return AnswerStep::Forward(passed);
        }
    }

    fn advance(&mut self, input: &mut [u8], slots: &mut Slots, scope: &mut Scope<'_>) -> Advance {
        let (Some(walker), Some(slot)) = (self.walker.as_mut(), slots.front_mut()) else {
            return Advance::Close(CloseReason::BadAnswer);
        };
        let SlotState::Fetch(plan) = &mut slot.state else {
            return Advance::Close(CloseReason::BadAnswer);
        };
        loop {
            let event = match walker.next(input) {
                Ok(event) => event,
                Err(_) => return Advance::Close(CloseReason::BadAnswer),
            };
            match event {
                Event::Pass(n) => return Advance::Pass(n),
                Event::Kept(n) => return Advance::Take(n),
                Event::Emit => return Advance::Emit(Bytes::copy_from_slice(walker.kept())),
                Event::NeedMore => return Advance::NeedMore,
                Event::Topic(_) => {}
                Event::Partition(partition) => {
                    let patch = fetch::patch(plan.as_deref_mut(), walker.topic(), &partition, scope);
                    walker.patch(patch);
                }
                Event::PartitionEnd(end) => {
                    if let Some(plan) = plan {
                        fetch::partition_end(plan, walker.topic(), &end, scope);
                    }
                }
                Event::TopicsEnd => {
                    if let Some(extra) = plan.as_mut().and_then(|plan| plan.take_extra()) {
                        return Advance::Emit(extra);
                    }
                }
                Event::End => return Advance::End,
            }
        }
    }
}

enum Begun {
    /// This whole frame goes instead.
    Replace(Bytes),
    /// The first `size` bytes are the start (`bytes` go instead, if any); then come `rest` bytes of topics.
    Walk { size: usize, bytes: Option<Vec<u8>>, head: walk::Head, rest: usize },
}

/// `Ok(None)`: more bytes are needed.
fn begin_fetch(
    head: RequestHead,
    total: usize,
    window: &[u8],
    plan: Option<&mut FetchPlan>,
    scope: &mut Scope<'_>,
) -> Result<Option<Begun>, CloseReason> {
    let bad = |_| CloseReason::BadAnswer;
    let Some(bytes) = window.get(PREFIX..) else {
        return Ok(None);
    };
    let Some(header) = AnswerHeader::parse(head.key as i16, head.version, bytes).map_err(bad)? else {
        return Ok(None);
    };
    let body_at = PREFIX + header.size;
    let body = window.get(body_at..).unwrap_or_default();
    let Some(fetch_head) = walk::Head::parse(head.version, body).map_err(bad)? else {
        return Ok(None);
    };
    let size = body_at + fetch_head.size;
    let rest = total.checked_sub(size).ok_or(CloseReason::BadAnswer)?;
    let Some(plan) = plan else {
        return Ok(Some(Begun::Walk { size, bytes: None, head: fetch_head, rest }));
    };
    if plan.is_relay() {
        let length = total.checked_sub(body_at).ok_or(CloseReason::BadAnswer)?;
        let Some(peek) = walk::peek(head.version, length, body).map_err(bad)? else {
            return Ok(None);
        };
        if fetch::relayed(plan, &peek, scope) == Relayed::Replace {
            return plan.take_fallback().map(|bytes| Some(Begun::Replace(bytes))).ok_or(CloseReason::BadAnswer);
        }
    }
    // A throttled broker answers without any topic; clients know that and expect nothing else in it.
    let Some((topics, extra)) = plan.extra(fetch_head.topics) else {
        return Ok(Some(Begun::Walk { size, bytes: None, head: fetch_head, rest }));
    };
    let shown = walk::Head { topics: fetch_head.topics.saturating_add(topics), ..fetch_head };
    let length = header.size.saturating_add(shown.encoded_size(head.version)).saturating_add(rest).saturating_add(extra);
    let length = i32::try_from(length).map_err(|_| CloseReason::BadAnswer)?;
    let mut start = length.to_be_bytes().to_vec();
    start.extend_from_slice(window.get(PREFIX..body_at).unwrap_or_default());
    shown.encode(head.version, &mut start);
    Ok(Some(Begun::Walk { size, bytes: Some(start), head: fetch_head, rest }))
}

fn body_of(head: RequestHead, bytes: &mut [u8]) -> Option<&mut [u8]> {
    let header = AnswerHeader::parse(head.key as i16, head.version, bytes.get(PREFIX..)?).ok()??;
    bytes.get_mut(PREFIX + header.size..)
}
