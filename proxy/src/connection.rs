//! One client connection: the sockets, and the driver of its [`Session`].
//!
//! ```text
//!            requests                    -> main (its broker)
//!   client ------------> session --------> relays (old segments), as the session says
//!          <------------         <--------
//!             answers                    only the source of the next answer is read
//! ```
//!
//! One task, one hand-written future: the request side and the answer side each take turns until neither can go on. A
//! side that is stuck (a hold, an ask, a full socket) stops reading, and that is the back-pressure; neither ever waits
//! inside the other. It must never know what a request means: that is the session's.

mod alarm;
mod answers;
mod frame_clock;
mod leg;
mod outlet;
mod requests;

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use sluice_engine::fuse::Stopped;
use sluice_engine::session::{self, Session};
use sluice_engine::step::{CloseReason, Source};
use sluice_mesh::model::{BrokerRef, World};
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;

use self::alarm::Alarm;
use self::frame_clock::FrameClock;
use self::leg::Leg;
use self::outlet::Outlet;
use crate::asker::Asking;
use crate::clock;
use crate::end::End;
use crate::scratch::{Buffers, Spill};
use crate::thread::{Handle, Thread};

/// How often a side may call its session without moving a byte before that is taken for a defect.
const IDLE_STEPS: u32 = 64;

/// One client connection; resolves to the reason of its end.
pub(crate) struct Connection {
    thread: Rc<Thread>,
    handle: Rc<Handle>,
    id: u64,
    peer: SocketAddr,
    session: Session,
    client: TcpStream,
    to_client: Outlet,
    main: Leg,
    relays: Vec<Relay>,
    frames: FrameClock,
    /// Read from the client, not taken by the session yet.
    rest: Spill,
    request_wait: Wait,
    /// No request will be read any more.
    closing: Option<Closing>,
    answer_wait: Wait,
    /// The session is to be called with an empty chunk: a hold or ask of the answer side is over.
    answer_again: bool,
    alarm: Alarm,
    now: u64,
    last_activity: u64,
    ended: Option<Ended>,
}

/// The connection is over, but for the last bytes on the wire.
#[derive(Clone, Copy)]
struct Ended {
    end: End,
    /// Until when the client may take its last answers.
    linger: u64,
}

/// An upstream to another broker.
struct Relay {
    broker: BrokerRef,
    leg: Leg,
    /// Since when the next answer is awaited from it without a byte having come; 0 while it is not.
    waiting_since: u64,
    last_used: u64,
}

/// Why a side does not go on.
enum Wait {
    /// It does.
    Nothing,
    /// Until the world changes or the time comes.
    World { until: u64, version: u64, since: Instant },
    /// Until an answer is finished.
    Slot,
    /// For facts.
    Asking(Asking),
}

impl Wait {
    fn until(&self) -> Option<u64> {
        match self {
            Self::World { until, .. } => Some(*until),
            _ => None,
        }
    }

    fn is_nothing(&self) -> bool {
        matches!(self, Self::Nothing)
    }
}

/// The request side is over; what is due is still delivered.
struct Closing {
    end: End,
    deadline: u64,
    /// The client cannot be written to any more: only what it has sent matters.
    deaf: bool,
}

/// Whether a side has got on.
type Turn = Result<bool, End>;

impl Connection {
    /// A connection for a client that dialled the virtual broker of `broker`.
    pub(crate) fn new(thread: Rc<Thread>, client: TcpStream, peer: SocketAddr, broker: BrokerRef) -> Self {
        let (id, handle) = thread.connections.open();
        thread.counters.opened();
        let now = thread.clock.now();
        let idle = thread.limits.idle_millis;
        Self {
            handle,
            id,
            peer,
            session: Session::new(broker),
            client,
            to_client: Outlet::default(),
            main: Leg::new(),
            relays: Vec::new(),
            frames: FrameClock::default(),
            rest: Spill::default(),
            request_wait: Wait::Nothing,
            closing: None,
            answer_wait: Wait::Nothing,
            answer_again: false,
            alarm: Alarm::new(now, now.saturating_add(idle)),
            now,
            last_activity: now,
            ended: None,
            thread,
        }
    }

    /// What others on the thread may do to it.
    pub(crate) fn handle(&self) -> Rc<Handle> {
        Rc::clone(&self.handle)
    }

    fn drive(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        self.handle.polled(cx);
        let Some(world) = self.thread.world() else {
            return Poll::Ready(End::Session(CloseReason::NotServed));
        };
        if self.handle.order.get() != self.thread.order() {
            // The session's broker is another cluster's by now: not even what has begun may go on.
            return Poll::Ready(End::Session(CloseReason::NotServed));
        }
        self.now = self.thread.clock.now();
        let mut buffers = self.thread.scratch.take();
        let result = self.take_turns(cx, &world, &mut buffers);
        self.thread.scratch.put(buffers);
        let held = self.request_wait.until().or(self.answer_wait.until()).is_some();
        self.handle.held.set(held || self.session.minds_world());
        self.handle.quiet.set(self.session.is_quiet());
        if let Some(cluster) = self.session.take_stale_view() {
            self.thread.asks.stale(cluster);
        }
        let stopped = self.session.take_stopped();
        if stopped != Stopped::default() {
            self.thread.counters.fused(stopped);
        }
        result
    }

    fn take_turns(&mut self, cx: &mut Context<'_>, world: &World, buffers: &mut Buffers) -> Poll<End> {
        loop {
            let requests = match self.request_turn(cx, world, buffers) {
                Ok(moved) => moved,
                Err(end) => return Poll::Ready(end),
            };
            let answers = match self.answer_turn(cx, world, buffers) {
                Ok(moved) => moved,
                Err(end) => return Poll::Ready(end),
            };
            if requests || answers {
                self.last_activity = self.now;
                continue;
            }
            if let Some(end) = self.finished() {
                return Poll::Ready(end);
            }
            let deadline = self.deadline();
            if self.alarm.poll(cx, self.now, deadline).is_pending() {
                return Poll::Pending;
            }
            self.now = self.thread.clock.now();
            if let Some(end) = self.overdue(world) {
                return Poll::Ready(end);
            }
        }
    }

    /// Nothing is left to do for a connection that is to close.
    fn finished(&self) -> Option<End> {
        let delivered = self.main.is_lost() || self.main.out.is_clear();
        if let Some(closing) = &self.closing {
            let answered = self.session.head().is_none() && self.to_client.is_clear();
            let taken = self.rest.is_empty() && self.request_wait.is_nothing();
            return (delivered && taken && (closing.deaf || answered)).then_some(closing.end);
        }
        let quiet = self.handle.draining.get()
            && self.frames.between_requests()
            && self.rest.is_empty()
            && self.request_wait.is_nothing()
            && self.session.head().is_none()
            && self.session.is_quiet();
        (quiet && delivered && self.to_client.is_clear()).then_some(End::Drained)
    }

    /// The earliest time at which something is overdue.
    fn deadline(&self) -> u64 {
        let limits = &self.thread.limits;
        let relays = self.relays.iter().map(|relay| match relay.waiting_since {
            0 => relay.last_used.saturating_add(limits.relay_idle_millis),
            since => since.saturating_add(limits.relay_millis),
        });
        [
            // A hold of a side that cannot go on anyway is looked at when it can.
            self.request_wait.until().filter(|_| !self.is_congested()),
            self.answer_wait.until().filter(|_| self.to_client.is_clear()),
            self.closing.as_ref().map(|closing| closing.deadline),
            self.frames.deadline(limits.progress_millis).filter(|_| self.reads_client()),
            Some(self.last_activity.saturating_add(limits.idle_millis)),
        ]
        .into_iter()
        .flatten()
        .chain(relays)
        .min()
        .unwrap_or(u64::MAX)
    }

    /// Ends what is overdue; a hold that is over is found by its side's next turn.
    fn overdue(&mut self, world: &World) -> Option<End> {
        let limits = self.thread.limits;
        if let Some(closing) = self.closing.as_ref().filter(|closing| closing.deadline <= self.now) {
            return Some(closing.end);
        }
        if self.last_activity.saturating_add(limits.idle_millis) <= self.now {
            return Some(End::Idle);
        }
        if self.reads_client() && self.frames.too_slow(self.now, limits.progress_millis, limits.progress_bytes) {
            return Some(End::Slow);
        }
        while let Some(position) = self.relays.iter().position(|relay| {
            let waits = relay.waiting_since;
            waits != 0 && waits.saturating_add(limits.relay_millis) <= self.now
        }) {
            self.lose_relay(position, world);
        }
        let now = self.now;
        if self.session.head().is_none() {
            self.relays.retain(|relay| relay.last_used.saturating_add(limits.relay_idle_millis) > now);
        } else {
            for relay in &mut self.relays {
                if relay.waiting_since == 0 && relay.last_used.saturating_add(limits.relay_idle_millis) <= now {
                    relay.last_used = now;
                }
            }
        }
        None
    }

    fn lose_relay(&mut self, position: usize, world: &World) {
        let mut relay = self.relays.swap_remove(position);
        relay.leg.lose(&self.thread.scratch.pool);
        let context = session::Context { world, now: self.now, unix_now: clock::unix_millis() };
        self.session.on_relay_lost(Source::Relay(relay.broker), &context);
    }

    /// The request side would read now.
    fn reads_client(&self) -> bool {
        self.closing.is_none() && self.request_wait.is_nothing() && self.rest.is_empty() && !self.is_congested()
    }

    /// An upstream does not take what it was sent.
    fn is_congested(&self) -> bool {
        let of_relays: usize = self.relays.iter().map(|relay| relay.leg.out.stuck()).sum();
        !self.main.out.is_clear() || of_relays > crate::scratch::SCRATCH
    }

    fn hold(&self, until: u64) -> Wait {
        self.thread.metrics.holds.inc();
        // A time that is past already would be asked again and again.
        let until = until.max(self.now.saturating_add(1));
        Wait::World { until, version: self.thread.version(), since: Instant::now() }
    }

    /// Nothing more will be done for the client; its brokers are left at once.
    fn over(&mut self, cx: &mut Context<'_>, end: End) {
        self.count(end);
        self.main.lose(&self.thread.scratch.pool);
        self.relays.clear();
        self.rest.clear(&self.thread.scratch.pool);
        let wait = match end {
            End::Client | End::Defect => 0,
            // Closing a socket that has unread bytes resets it, and a reset takes the answers along that the client has
            // not read yet. So: say that it is the end, and let the client have the last word.
            End::Session(_) | End::Idle | End::Slow | End::Drained => self.thread.limits.linger_millis,
        };
        let _ = Pin::new(&mut self.client).poll_shutdown(cx);
        self.ended = Some(Ended { end, linger: self.now.saturating_add(wait) });
    }

    /// Reads what the client still sends, for nobody, until it closes too.
    fn linger(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        let Some(Ended { end, linger }) = self.ended else { return Poll::Pending };
        self.now = self.thread.clock.now();
        let mut buffers = self.thread.scratch.take();
        let over = loop {
            if self.now >= linger {
                break true;
            }
            match leg::poll_read(cx, &mut self.client, &mut buffers.read) {
                Poll::Ready(Ok(0) | Err(_)) => break true,
                Poll::Ready(Ok(_)) => {}
                Poll::Pending => break self.alarm.poll(cx, self.now, linger).is_ready(),
            }
        };
        self.thread.scratch.put(buffers);
        if over { Poll::Ready(end) } else { Poll::Pending }
    }

    fn count(&self, end: End) {
        self.thread.counters.closed(end);
        if let Some(complaint) = end.complaint()
            && let Some(unsaid) = self.thread.may_complain()
        {
            tracing::warn!(peer = %self.peer, reason = end.label(), unsaid, "connection closed: {complaint}");
        }
    }

    fn close(&mut self, end: End, deaf: bool) {
        if self.closing.is_none() {
            // Answers that are due have this long; a request that was cut off by its client will never be answered.
            let wait = if deaf || !self.frames.between_requests() { 1_000 } else { self.thread.limits.close_millis };
            self.closing = Some(Closing { end, deadline: self.now.saturating_add(wait), deaf });
        }
    }
}

/// How far a side is after a step of its session, which may not take more than there is.
fn taken(at: usize, n: usize, len: usize) -> Result<usize, End> {
    at.checked_add(n).filter(|end| *end <= len).ok_or(End::Defect)
}

impl Future for Connection {
    type Output = End;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<End> {
        let this = self.get_mut();
        if this.ended.is_none() {
            let Poll::Ready(end) = this.drive(cx) else { return Poll::Pending };
            this.over(cx, end);
        }
        this.linger(cx)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let pool = &self.thread.scratch.pool;
        self.rest.clear(pool);
        self.to_client.drop_all(pool);
        self.main.lose(pool);
        self.thread.connections.close(self.id);
        if self.ended.is_none() {
            if std::thread::panicking() {
                self.thread.metrics.panics.inc();
                self.count(End::Defect);
            } else {
                // The runtime is shut down under it.
                self.count(End::Drained);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn an_idle_connection_is_small() {
        let bytes = size_of::<super::Connection>();
        assert!(bytes <= 2048, "{bytes}");
    }
}
