//! One client connection as a value: the ring of in-flight slots, the request side and the answer side. The two sides are
//! separate state machines; neither waits inside the other.

use std::collections::VecDeque;

use bytes::Bytes;
use sluice_mesh::model::{BrokerRef, ClusterIndex, World};

use crate::api::fetch::FetchSlot;
use crate::ask::Reply;
use crate::fuse::Stopped;
use crate::memory::Memory;
use crate::outcome::Scope;
use crate::slot::{Slot, SlotState};
use crate::step::{AnswerStep, RequestStep, Source};

mod answer;
mod request;
#[cfg(test)]
mod tests;

use answer::AnswerSide;
use request::RequestSide;

/// What every decision of a session may look at, passed in anew with each call. Nothing of it is kept, except the Arcs
/// that a slot needs.
#[derive(Debug)]
pub struct Context<'a> {
    /// The document and the views, as they are now.
    pub world: &'a World,
    /// Milliseconds on the driver's clock (any origin, never falls).
    pub now: u64,
    /// Milliseconds since the Unix epoch, for windows that the document states in wall time.
    pub unix_now: i64,
}

/// One client connection.
#[derive(Debug)]
pub struct Session {
    broker: BrokerRef,
    slots: VecDeque<Slot>,
    request: RequestSide,
    answer: AnswerSide,
    memory: Memory,
}

impl Session {
    /// A session for a client that dialled the virtual broker of `broker`.
    pub fn new(broker: BrokerRef) -> Self {
        Self {
            broker,
            slots: VecDeque::new(),
            request: RequestSide::default(),
            answer: AnswerSide::default(),
            memory: Memory::default(),
        }
    }

    /// The request side: what to do with the bytes read from the client. Called again with the rest (also an empty one)
    /// until it says `Idle`, `Hold`, `Full`, `Ask` or `Close`.
    pub fn on_client(&mut self, chunk: &mut [u8], cx: &Context<'_>) -> RequestStep {
        let mut scope = scope(self.broker, &mut self.memory, cx);
        self.request.step(chunk, &mut self.slots, &mut scope)
    }

    /// The reply to the request side's ask. What it means is decided in the next [`Session::on_client`], under the world
    /// that is passed there: after a `Refreshed` that has to be the refreshed one.
    pub fn on_reply(&mut self, reply: Reply, _cx: &Context<'_>) {
        self.request.replied(reply);
    }

    /// Where the next answer to the client comes from; `None` when the client awaits nothing.
    pub fn head(&self) -> Option<Source> {
        self.slots.front().map(|slot| slot.source)
    }

    /// The only source that may be read now: the head's, or without a head the main upstream while it owes answers that
    /// nobody awaits any more.
    pub fn source(&self) -> Option<Source> {
        self.head().or_else(|| self.answer.awaits_late().then_some(Source::Main))
    }

    /// The head is a Fetch that may wait at its broker: after a change of the world [`Session::on_world`] has to be called
    /// at once, without waiting for a byte.
    pub fn minds_world(&self) -> bool {
        let head = self.slots.front().filter(|slot| slot.source == Source::Main);
        head.is_some_and(|slot| matches!(&slot.state, SlotState::Fetch(fetch) if fetch.waits()))
    }

    /// Before the head is looked at: a Fetch that waits at its broker for a topic that is not served there any more is
    /// answered by the session itself, and what the broker says later is swallowed.
    pub fn on_world(&mut self, cx: &Context<'_>) {
        let mut scope = scope(self.broker, &mut self.memory, cx);
        self.answer.overtake(&mut self.slots, &mut scope);
    }

    /// The answer side: what to do with the bytes read from [`Session::source`].
    pub fn on_upstream(&mut self, chunk: &mut [u8], cx: &Context<'_>) -> AnswerStep {
        if self.source() == Some(Source::Main) && self.answer.awaits_late() {
            return self.answer.swallow_late(chunk, &mut self.memory);
        }
        let mut scope = scope(self.broker, &mut self.memory, cx);
        self.answer.step(chunk, &mut self.slots, &mut scope)
    }

    /// The reply to the answer side's ask.
    pub fn on_answer_reply(&mut self, reply: Reply, _cx: &Context<'_>) {
        self.answer.replied(reply);
    }

    /// The head's whole answer, if its source is `Local`; the slot is done.
    pub fn local_answer(&mut self) -> Option<Bytes> {
        if !matches!(self.slots.front()?.state, SlotState::Local(_)) {
            return None;
        }
        match self.slots.pop_front()?.state {
            SlotState::Local(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The relay at `source` broke or could not be dialled: slots that wait for it are answered locally (empty), so the
    /// client connection lives on. (The main upstream's loss closes the client connection instead.) If a part of an answer
    /// from it is out already, nothing can be made up: the next [`Session::on_upstream`] for it, also with an empty chunk,
    /// says `Close`.
    pub fn on_relay_lost(&mut self, source: Source, cx: &Context<'_>) {
        let Source::Relay(broker) = source else {
            return;
        };
        self.memory.relay_failed(broker, cx.now.saturating_add(RELAY_BACKOFF_MILLIS));
        let started = self.answer.lost(source, &mut self.slots);
        for slot in self.slots.iter_mut().skip(usize::from(started)).filter(|slot| slot.source == source) {
            if let SlotState::Fetch(FetchSlot { plan: Some(plan), .. }) = &mut slot.state
                && let Some(empty) = plan.take_fallback()
            {
                slot.source = Source::Local;
                slot.state = SlotState::Local(empty);
            }
        }
    }

    /// Between requests and answers: a good moment to close on drain.
    pub fn is_quiet(&self) -> bool {
        self.slots.is_empty() && self.request.is_quiet()
    }

    /// The broker behind the virtual broker that the client dialled.
    pub fn broker(&self) -> BrokerRef {
        self.broker
    }

    /// A broker has said since the last call that it does not lead a partition that this cluster's view says it leads: the
    /// view is worth a refresh before clients ask for metadata.
    pub fn take_stale_view(&mut self) -> Option<ClusterIndex> {
        self.memory.stale.take()
    }

    /// What fuses have stopped since the last call, to be counted.
    pub fn take_stopped(&mut self) -> Stopped {
        self.memory.stops.take_stopped()
    }
}

/// A relay that failed is left alone so long, milliseconds.
const RELAY_BACKOFF_MILLIS: u64 = 1_000;

fn scope<'a>(broker: BrokerRef, memory: &'a mut Memory, cx: &Context<'a>) -> Scope<'a> {
    Scope { world: cx.world, now: cx.now, unix_now: cx.unix_now, broker, memory }
}
