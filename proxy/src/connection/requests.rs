//! The request side: from the client to where the session says.

use std::task::{Context, Poll};

use sluice_engine::session;
use sluice_engine::step::{CloseReason, RequestStep, Source};
use sluice_mesh::model::{BrokerRef, World};

use super::leg::{Leg, Progress, State};
use super::{Connection, IDLE_STEPS, Relay, Turn, Wait, leg, taken};
use crate::clock;
use crate::end::End;
use crate::metrics::Direction;
use crate::scratch::Buffers;
use crate::upstream;

impl Connection {
    pub(super) fn request_turn(&mut self, cx: &mut Context<'_>, world: &World, buffers: &mut Buffers) -> Turn {
        let mut moved = self.poll_legs(cx, world);
        if self.is_congested() {
            self.frames.restart(self.now);
            return Ok(moved);
        }
        let mut again = false;
        if !self.request_wait.is_nothing() {
            if !self.request_may_go_on(cx, world) {
                self.frames.restart(self.now);
                return Ok(moved);
            }
            again = true;
        }
        if again || !self.rest.is_empty() {
            let mut rest = std::mem::take(&mut self.rest);
            let taken = self.feed_session(cx, world, rest.bytes_mut(), &mut buffers.gather);
            rest.advance(&self.thread.scratch.pool, *taken.as_ref().unwrap_or(&0));
            self.rest = rest;
            let taken = taken?;
            // A session that is full or holds again has not got on. A new ask has to be polled once, to be woken by.
            let stays = matches!(self.request_wait, Wait::Slot | Wait::World { .. });
            return Ok(moved || taken > 0 || !stays);
        }
        if self.closing.is_some() {
            return Ok(moved);
        }
        let mut room = buffers.read.len();
        if self.handle.draining.get() {
            if self.frames.between_requests() {
                return Ok(moved);
            }
            room = room.min(self.frames.until_boundary());
        }
        match leg::poll_read(cx, &mut self.client, &mut buffers.read[..room]) {
            Poll::Pending => {}
            Poll::Ready(Ok(0)) => {
                self.close(End::Client, false);
                moved = true;
            }
            Poll::Ready(Err(_)) => {
                self.close(End::Client, true);
                moved = true;
            }
            Poll::Ready(Ok(n)) => {
                let counters = &self.thread.counters;
                counters.bytes(Direction::FromClient, n);
                self.frames.pass(&buffers.read[..n], self.now, |api_key| counters.request(api_key));
                let taken = self.feed_session(cx, world, &mut buffers.read[..n], &mut buffers.gather)?;
                self.rest.push(&self.thread.scratch.pool, &buffers.read[taken..n]);
                moved = true;
            }
        }
        Ok(moved)
    }

    /// Whether what the request side waited for has come.
    fn request_may_go_on(&mut self, cx: &mut Context<'_>, world: &World) -> bool {
        match &mut self.request_wait {
            // For a free slot: the answer side's turns are between two calls, and asking the session again is cheap.
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
                self.session.on_reply(reply, &context);
            }
        }
        self.request_wait = Wait::Nothing;
        true
    }

    /// Gives bytes to the session and does what it says. Returns how many it has taken.
    fn feed_session(
        &mut self,
        cx: &mut Context<'_>,
        world: &World,
        chunk: &mut [u8],
        gather: &mut Vec<u8>,
    ) -> Result<usize, End> {
        let context = session::Context { world, now: self.now, unix_now: clock::unix_millis() };
        // chunk[from..at] goes to the main upstream, unwritten as yet: neighbours leave together.
        let (mut from, mut at) = (0, 0);
        let mut idle_steps = 0;
        loop {
            let before = at;
            match self.session.on_client(&mut chunk[at..], &context) {
                RequestStep::Forward(n) => at = taken(at, n, chunk.len())?,
                RequestStep::Consumed(n) => {
                    self.send_main(cx, world, &chunk[from..at], gather);
                    at = taken(at, n, chunk.len())?;
                    from = at;
                    if n == 0 && at == chunk.len() {
                        break;
                    }
                }
                RequestStep::Send { consumed, to, bytes } => {
                    self.send_main(cx, world, &chunk[from..at], gather);
                    at = taken(at, consumed, chunk.len())?;
                    from = at;
                    match to {
                        Source::Main => self.send_main(cx, world, &bytes, gather),
                        Source::Relay(broker) => {
                            self.main.flush(cx, gather, &self.thread.scratch.pool);
                            self.send_relay(cx, world, broker, &bytes, gather);
                        }
                        Source::Local => return Err(End::Defect),
                    }
                    idle_steps = 0;
                    continue;
                }
                RequestStep::Ask { consumed, ask } => {
                    self.send_main(cx, world, &chunk[from..at], gather);
                    at = taken(at, consumed, chunk.len())?;
                    from = at;
                    self.request_wait = Wait::Asking(self.thread.asks.submit(ask));
                    break;
                }
                RequestStep::Hold { until } => {
                    self.request_wait = self.hold(until);
                    break;
                }
                RequestStep::Full => {
                    self.request_wait = Wait::Slot;
                    break;
                }
                RequestStep::Idle => {
                    if at < chunk.len() {
                        return Err(End::Defect);
                    }
                    break;
                }
                RequestStep::Close(reason) => {
                    self.send_main(cx, world, &chunk[from..at], gather);
                    // What follows a request that closes is nobody's.
                    (from, at) = (chunk.len(), chunk.len());
                    self.close(End::Session(reason), false);
                    break;
                }
            }
            idle_steps = if at > before { 0 } else { idle_steps + 1 };
            if idle_steps > IDLE_STEPS {
                return Err(End::Defect);
            }
        }
        self.send_main(cx, world, &chunk[from..at], gather);
        self.main.flush(cx, gather, &self.thread.scratch.pool);
        Ok(at)
    }

    fn send_main(&mut self, cx: &mut Context<'_>, world: &World, bytes: &[u8], gather: &mut Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        if self.main.is_undialled() {
            match upstream::dial(world, self.session.broker(), &self.thread.limits) {
                Some(dial) => self.main.state = State::Dialling(dial),
                None => self.main.lose(&self.thread.scratch.pool),
            }
        }
        self.thread.counters.bytes(Direction::ToBroker, bytes.len());
        self.main.push(cx, gather, &self.thread.scratch.pool, bytes);
    }

    fn send_relay(
        &mut self,
        cx: &mut Context<'_>,
        world: &World,
        broker: BrokerRef,
        bytes: &[u8],
        gather: &mut Vec<u8>,
    ) {
        if !self.relays.iter().any(|relay| relay.broker == broker) {
            let mut leg = Leg::new();
            match upstream::dial(world, broker, &self.thread.limits) {
                Some(dial) => leg.state = State::Dialling(dial),
                None => leg.lose(&self.thread.scratch.pool),
            }
            self.relays.push(Relay { broker, leg, waiting_since: 0, last_used: self.now });
        }
        let pool = &self.thread.scratch.pool;
        self.thread.counters.bytes(Direction::ToBroker, bytes.len());
        if let Some(relay) = self.relays.iter_mut().find(|relay| relay.broker == broker) {
            relay.last_used = self.now;
            relay.leg.push(cx, gather, pool, bytes);
            relay.leg.flush(cx, gather, pool);
        }
    }

    /// Finishes dials and moves what is stuck.
    fn poll_legs(&mut self, cx: &mut Context<'_>, world: &World) -> bool {
        let pool = &self.thread.scratch.pool;
        let mut moved = match self.main.poll(cx, pool) {
            Progress::None => false,
            Progress::Moved => true,
            Progress::DialFailed(error) => {
                upstream::complain(&self.thread, &error);
                self.close(End::Session(CloseReason::UpstreamGone), false);
                true
            }
        };
        let mut position = 0;
        while let Some(relay) = self.relays.get_mut(position) {
            match relay.leg.poll(cx, &self.thread.scratch.pool) {
                Progress::None => {}
                Progress::Moved => moved = true,
                Progress::DialFailed(error) => {
                    upstream::complain(&self.thread, &error);
                    moved = true;
                }
            }
            if relay.leg.is_lost() {
                self.lose_relay(position, world);
                moved = true;
            } else {
                position += 1;
            }
        }
        moved
    }
}
