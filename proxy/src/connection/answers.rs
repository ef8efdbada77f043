//! The answer side: from the source of the next answer to the client, in the order of the requests.

use std::task::{Context, Poll};

use sluice_engine::session;
use sluice_engine::step::{AnswerStep, CloseReason, Source};
use sluice_mesh::model::{BrokerRef, World};

use super::{Connection, IDLE_STEPS, Turn, Wait, taken};
use crate::clock;
use crate::end::End;
use crate::metrics::Direction;
use crate::scratch::{Buffers, Spill};

const GONE: End = End::Session(CloseReason::UpstreamGone);

impl Connection {
    pub(super) fn answer_turn(&mut self, cx: &mut Context<'_>, world: &World, buffers: &mut Buffers) -> Turn {
        if self.closing.as_ref().is_some_and(|closing| closing.deaf) {
            return Ok(false);
        }
        match self.next_answers(cx, world, buffers) {
            Err(End::Client) => {
                self.client_gone();
                Ok(true)
            }
            result => result,
        }
    }

    fn next_answers(&mut self, cx: &mut Context<'_>, world: &World, buffers: &mut Buffers) -> Turn {
        let mut moved = false;
        if !self.to_client.is_clear() {
            match self.to_client.poll_clear(cx, &mut self.client, &self.thread.scratch.pool) {
                Poll::Pending => return Ok(false),
                Poll::Ready(Ok(_)) => moved = true,
                Poll::Ready(Err(_)) => return Err(End::Client),
            }
            if !self.to_client.is_clear() {
                return Ok(moved);
            }
        }
        if !self.answer_wait.is_nothing() {
            if !self.answer_may_go_on(cx, world) {
                return Ok(moved);
            }
            self.answer_again = true;
        }
        if self.session.minds_world() {
            let context = session::Context { world, now: self.now, unix_now: clock::unix_millis() };
            self.session.on_world(&context);
        }
        self.mark_waiting();
        match self.session.source() {
            Some(Source::Local) => self.write_local(cx, &mut buffers.gather).map(|wrote| wrote || moved),
            Some(source) => {
                let read = match self.read_source(cx, world, source, buffers) {
                    // Nonsense of an old cluster is as good as none: the relay is left, the client stays.
                    Err(End::Session(_)) if matches!(source, Source::Relay(_)) => self.source_lost(source, world),
                    read => read,
                };
                read.map(|read| read || moved)
            }
            None => self.watch_legs(cx, world, buffers).map(|found| found || moved),
        }
    }

    /// Whether what the answer side waited for has come.
    fn answer_may_go_on(&mut self, cx: &mut Context<'_>, world: &World) -> bool {
        match &mut self.answer_wait {
            Wait::Nothing | Wait::Slot => {}
            Wait::World { until, version, since } => {
                if *version == self.thread.version() && self.now < *until {
                    return false;
                }
                self.thread.metrics.hold_seconds.observe(since.elapsed().as_secs_f64());
            }
            Wait::Asking(asking) => {
                let Poll::Ready(reply) = asking.poll(cx) else { return false };
                let context = session::Context { world, now: self.now, unix_now: clock::unix_millis() };
                self.session.on_answer_reply(reply, &context);
            }
        }
        self.answer_wait = Wait::Nothing;
        true
    }

    /// Local answers, as many as follow each other.
    fn write_local(&mut self, cx: &mut Context<'_>, gather: &mut Vec<u8>) -> Turn {
        let mut wrote = false;
        self.answer_again = false;
        while self.session.head() == Some(Source::Local) {
            let Some(bytes) = self.session.local_answer() else { break };
            wrote = true;
            self.send_client(cx, &bytes, gather)?;
            if !self.to_client.is_clear() {
                break;
            }
        }
        self.flush_client(cx, gather)?;
        Ok(wrote)
    }

    /// Reads the source of the next answer.
    fn read_source(&mut self, cx: &mut Context<'_>, world: &World, source: Source, buffers: &mut Buffers) -> Turn {
        if std::mem::take(&mut self.answer_again) {
            let (_, got_on) = self.feed_answers(cx, world, source, &mut [], &mut buffers.gather)?;
            // The session may be done with this source, or wait again.
            if got_on || !self.answer_wait.is_nothing() || self.session.source() != Some(source) {
                return Ok(true);
            }
        }
        let Some(rest) = self.rest_of(source) else { return self.missing(source, world) };
        if !rest.is_empty() {
            let mut rest = std::mem::take(rest);
            let fed = self.feed_answers(cx, world, source, rest.bytes_mut(), &mut buffers.gather);
            rest.advance(&self.thread.scratch.pool, fed.as_ref().map_or(0, |(taken, _)| *taken));
            if let Some(place) = self.rest_of(source) {
                *place = rest;
            }
            let (taken, got_on) = fed?;
            // A new ask or hold has to be looked at once, to be woken by.
            return Ok(taken > 0 || got_on || !self.answer_wait.is_nothing());
        }
        let read = match source {
            Source::Main => self.main.poll_read(cx, &mut buffers.read),
            Source::Relay(broker) => match self.relays.iter_mut().find(|relay| relay.broker == broker) {
                Some(relay) => relay.leg.poll_read(cx, &mut buffers.read),
                None => return self.missing(source, world),
            },
            Source::Local => return Ok(false),
        };
        let n = match read {
            Poll::Pending => return Ok(false),
            Poll::Ready(Ok(0) | Err(_)) => return self.source_lost(source, world),
            Poll::Ready(Ok(n)) => n,
        };
        self.thread.counters.bytes(Direction::FromBroker, n);
        if let Source::Relay(broker) = source {
            self.relay_spoke(broker);
        }
        let (taken, _) = self.feed_answers(cx, world, source, &mut buffers.read[..n], &mut buffers.gather)?;
        if taken < n
            && let Some(position) = self.relay_position(source)
        {
            let pool = &self.thread.scratch.pool;
            match position {
                None => self.main.rest.push(pool, &buffers.read[taken..n]),
                Some(position) => self.relays[position].leg.rest.push(pool, &buffers.read[taken..n]),
            }
        }
        Ok(true)
    }

    /// Gives bytes of a source to the session and does what it says. Returns how many it has taken, and whether it has
    /// got on at all.
    fn feed_answers(
        &mut self,
        cx: &mut Context<'_>,
        world: &World,
        source: Source,
        chunk: &mut [u8],
        gather: &mut Vec<u8>,
    ) -> Result<(usize, bool), End> {
        let context = session::Context { world, now: self.now, unix_now: clock::unix_millis() };
        let (mut from, mut at) = (0, 0);
        let mut emitted = false;
        let mut idle_steps = 0;
        let mut end = None;
        // The answer after this one may come from elsewhere: then the rest has to wait.
        while self.session.source() == Some(source) {
            let before = at;
            match self.session.on_upstream(&mut chunk[at..], &context) {
                AnswerStep::Forward(n) => at = taken(at, n, chunk.len())?,
                AnswerStep::Consumed(n) => {
                    self.send_client(cx, &chunk[from..at], gather)?;
                    at = taken(at, n, chunk.len())?;
                    from = at;
                }
                AnswerStep::Emit { consumed, bytes } => {
                    self.send_client(cx, &chunk[from..at], gather)?;
                    at = taken(at, consumed, chunk.len())?;
                    from = at;
                    self.send_client(cx, &bytes, gather)?;
                    emitted = true;
                }
                AnswerStep::Ask { consumed, ask } => {
                    self.send_client(cx, &chunk[from..at], gather)?;
                    at = taken(at, consumed, chunk.len())?;
                    from = at;
                    self.answer_wait = Wait::Asking(self.thread.asks.submit(ask));
                    break;
                }
                AnswerStep::Hold { consumed, until } => {
                    self.send_client(cx, &chunk[from..at], gather)?;
                    at = taken(at, consumed, chunk.len())?;
                    from = at;
                    self.answer_wait = self.hold(until);
                    break;
                }
                AnswerStep::Idle => {
                    if at < chunk.len() {
                        return Err(End::Defect);
                    }
                    break;
                }
                AnswerStep::Close(reason) => {
                    end = Some(End::Session(reason));
                    break;
                }
            }
            idle_steps = if at > before { 0 } else { idle_steps + 1 };
            if idle_steps > IDLE_STEPS {
                return Err(End::Defect);
            }
        }
        self.send_client(cx, &chunk[from..at], gather)?;
        self.flush_client(cx, gather)?;
        match end {
            Some(end) => Err(end),
            None => Ok((at, emitted || at > 0)),
        }
    }

    /// No answer is due. Bytes from a broker are then a breach of the protocol; the end of its stream is the end of ours.
    fn watch_legs(&mut self, cx: &mut Context<'_>, world: &World, buffers: &mut Buffers) -> Turn {
        if self.main.is_lost() {
            return if self.closing.is_some() { Ok(false) } else { Err(GONE) };
        }
        if !self.main.rest.is_empty() {
            return Err(End::Session(CloseReason::BadAnswer));
        }
        match self.main.poll_read(cx, &mut buffers.read) {
            Poll::Pending => {}
            Poll::Ready(Ok(0) | Err(_)) => return Err(GONE),
            Poll::Ready(Ok(_)) => return Err(End::Session(CloseReason::BadAnswer)),
        }
        let mut position = 0;
        let mut moved = false;
        while let Some(relay) = self.relays.get_mut(position) {
            if relay.leg.poll_read(cx, &mut buffers.read).is_ready() {
                self.lose_relay(position, world);
                moved = true;
            } else {
                position += 1;
            }
        }
        Ok(moved)
    }

    fn source_lost(&mut self, source: Source, world: &World) -> Turn {
        match self.relay_position(source) {
            Some(Some(position)) => {
                self.lose_relay(position, world);
                if self.session.head() == Some(source) { Err(GONE) } else { Ok(true) }
            }
            _ => Err(GONE),
        }
    }

    /// The session waits for a relay that there is none of: it was lost before.
    fn missing(&mut self, source: Source, world: &World) -> Turn {
        let context = session::Context { world, now: self.now, unix_now: clock::unix_millis() };
        self.session.on_relay_lost(source, &context);
        if self.session.head() == Some(source) { Err(GONE) } else { Ok(true) }
    }

    fn rest_of(&mut self, source: Source) -> Option<&mut Spill> {
        match source {
            Source::Main => Some(&mut self.main.rest),
            Source::Relay(broker) => {
                self.relays.iter_mut().find(|relay| relay.broker == broker).map(|relay| &mut relay.leg.rest)
            }
            Source::Local => None,
        }
    }

    /// `Some(None)` for the main upstream, `Some(Some(position))` for a relay that is there.
    #[expect(clippy::option_option, reason = "two questions: is there such a source, and is it a relay")]
    fn relay_position(&self, source: Source) -> Option<Option<usize>> {
        match source {
            Source::Main => Some(None),
            Source::Relay(broker) => self.relays.iter().position(|relay| relay.broker == broker).map(Some),
            Source::Local => None,
        }
    }

    /// Starts the clock of the relay whose answer is next.
    fn mark_waiting(&mut self) {
        let head = self.session.head();
        let now = self.now.max(1);
        let waits = self.answer_wait.is_nothing();
        for relay in &mut self.relays {
            if head == Some(Source::Relay(relay.broker)) && waits {
                if relay.waiting_since == 0 {
                    relay.waiting_since = now;
                }
            } else {
                relay.waiting_since = 0;
            }
        }
    }

    fn relay_spoke(&mut self, broker: BrokerRef) {
        for relay in self.relays.iter_mut().filter(|relay| relay.broker == broker) {
            relay.waiting_since = 0;
            relay.last_used = self.now;
        }
    }

    fn send_client(&mut self, cx: &mut Context<'_>, bytes: &[u8], gather: &mut Vec<u8>) -> Result<(), End> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.thread.counters.bytes(Direction::ToClient, bytes.len());
        self.to_client
            .push(cx, Some(&mut self.client), gather, &self.thread.scratch.pool, bytes)
            .map_err(|_| End::Client)
    }

    fn flush_client(&mut self, cx: &mut Context<'_>, gather: &mut Vec<u8>) -> Result<(), End> {
        self.to_client.flush(cx, Some(&mut self.client), gather, &self.thread.scratch.pool).map_err(|_| End::Client)
    }

    /// The client takes nothing more; what it has sent still goes to its broker.
    fn client_gone(&mut self) {
        self.to_client.drop_all(&self.thread.scratch.pool);
        self.close(End::Client, true);
        if let Some(closing) = &mut self.closing {
            closing.deaf = true;
        }
    }
}
