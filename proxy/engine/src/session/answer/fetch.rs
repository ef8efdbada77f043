//! Answers to Fetch, streamed: heads changed for what is added, every partition patched as it passes.

use bytes::Bytes;
use sluice_wire::frame::PREFIX;
use sluice_wire::header::AnswerHeader;
use sluice_wire::walk::fetch::{self as walk, Event, Walker};

use super::{AnswerSide, Due, GATHER, Slots, State};
use crate::api::fetch::answer::{self as fetch, Relayed};
use crate::api::fetch::{FetchPlan, FetchSlot};
use crate::outcome::{RequestHead, Scope};
use crate::slot::SlotState;
use crate::step::{AnswerStep, CloseReason};

/// The most bytes that the start of a relayed Fetch answer may have before its first batch.
const MAX_START: usize = 1024 * 1024;

enum Advance {
    Pass(usize),
    Take(usize),
    Emit(Bytes),
    NeedMore,
    End,
    Close(CloseReason),
}

impl AnswerSide {
    /// The start of a Fetch answer: its head, and for a relayed one everything up to the first batch.
    pub(super) fn fetch_start(
        &mut self,
        total: usize,
        chunk: &mut [u8],
        slots: &mut Slots,
        scope: &mut Scope<'_>,
    ) -> AnswerStep {
        let Some(slot) = slots.front_mut() else {
            return AnswerStep::Close(CloseReason::BadAnswer);
        };
        let head = slot.head;
        let SlotState::Fetch(fetch) = &mut slot.state else {
            return AnswerStep::Close(CloseReason::BadAnswer);
        };
        if let Some(bytes) = fetch.overtaken(head, scope) {
            // What it was asked for is not served there any more.
            return self.replace(total, bytes);
        }
        let in_chunk = self.kept.is_empty();
        let window = if in_chunk { chunk.get(..total).unwrap_or(chunk) } else { self.kept.as_slice() };
        let begun = match begin_fetch(head, total, window, fetch.plan.as_deref_mut(), scope) {
            Ok(Some(begun)) => begun,
            Ok(None) => {
                let n = chunk.len().min(GATHER).min(total.saturating_sub(self.kept.len()));
                if window.len() >= total || self.kept.len() > MAX_START {
                    return AnswerStep::Close(CloseReason::BadAnswer);
                }
                self.state = State::FetchStart { total };
                if n == 0 {
                    return AnswerStep::Idle;
                }
                self.kept.extend_from_slice(&chunk[..n]);
                return AnswerStep::Consumed(n);
            }
            Err(reason) => return AnswerStep::Close(reason),
        };
        let (size, head_bytes, fetch_head, rest) = match begun {
            Begun::Replace(bytes) => return self.replace(total, bytes),
            Begun::Walk { size, bytes, head, rest } => (size, bytes, head, rest),
        };
        fetch.begins(scope);
        let walker = match self.walker.take() {
            Some(mut walker) => walker.restart(head.version, &fetch_head, rest).map(|()| walker),
            None => Walker::new(head.version, &fetch_head, rest),
        };
        match walker {
            Ok(walker) => self.walker = Some(walker),
            Err(_) => return AnswerStep::Close(CloseReason::BadAnswer),
        }
        self.state = State::Fetch;
        if in_chunk {
            return match head_bytes {
                Some(bytes) => {
                    self.out = true;
                    AnswerStep::Emit { consumed: size, bytes: Bytes::from(bytes) }
                }
                None => self.fetch_chunk(size, chunk, slots, scope),
            };
        }
        let out = head_bytes.unwrap_or_else(|| self.kept[..size].to_vec());
        self.fetch_kept(size, out, slots, scope)
    }

    /// These bytes go instead of the source's answer, of which nothing has gone.
    fn replace(&mut self, total: usize, bytes: Bytes) -> AnswerStep {
        self.state = State::Skip { left: total.saturating_sub(self.kept.len()), forward: false };
        self.kept.clear();
        self.out = true;
        AnswerStep::Emit { consumed: 0, bytes }
    }

    pub(super) fn fetch(&mut self, chunk: &mut [u8], slots: &mut Slots, scope: &mut Scope<'_>) -> Option<AnswerStep> {
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
        let SlotState::Fetch(FetchSlot { plan, .. }) = &mut slot.state else {
            return Advance::Close(CloseReason::BadAnswer);
        };
        loop {
            let Ok(event) = walker.next(input) else {
                return Advance::Close(CloseReason::BadAnswer);
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
    let length =
        header.size.saturating_add(shown.encoded_size(head.version)).saturating_add(rest).saturating_add(extra);
    let length = i32::try_from(length).map_err(|_| CloseReason::BadAnswer)?;
    let mut start = length.to_be_bytes().to_vec();
    start.extend_from_slice(window.get(PREFIX..body_at).unwrap_or_default());
    shown.encode(head.version, &mut start);
    Ok(Some(Begun::Walk { size, bytes: Some(start), head: fetch_head, rest }))
}
