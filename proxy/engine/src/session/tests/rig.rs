//! A driver of one session for tests: no sockets, every chunk size chosen, brokers and the control side are functions.

use std::collections::HashMap;

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::messages::RequestHeader;
use kafka_protocol::protocol::Request;
use sluice_mesh::model::{BrokerRef, World};
use sluice_testkit::frame;
use sluice_testkit::sample::{self, WorldBuilder};

use crate::ask::{Ask, CallFailed, Reply};
use crate::session::{Context, Session};
use crate::step::{AnswerStep, CloseReason, RequestStep, Source};

/// A broker: from a request to its whole answer frame, or to none (acks=0).
pub(crate) type Broker = Box<dyn FnMut(Source, &RequestHeader, Bytes) -> Option<Bytes>>;

/// The control side.
pub(crate) type Control = Box<dyn FnMut(&Ask) -> Reply>;

#[derive(Default)]
struct Leg {
    /// Bytes that the session has sent there.
    sent: BytesMut,
    /// Answers that have not been read.
    answers: BytesMut,
    /// Bytes of `answers` that have been read.
    read: usize,
}

/// Why the request side does not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blocked {
    Hold(u64),
    Full,
}

pub(crate) struct Rig {
    pub(crate) session: Session,
    pub(crate) world: World,
    pub(crate) now: u64,
    pub(crate) unix_now: i64,
    /// The most bytes of a chunk, from the client and from brokers.
    pub(crate) chunks: Vec<usize>,
    next_chunk: usize,
    legs: HashMap<Source, Leg>,
    rest: BytesMut,
    /// Bytes of `rest` that have been read: the session is given them again until it has taken them.
    read: usize,
    pub(crate) to_client: BytesMut,
    pub(crate) blocked: Option<Blocked>,
    pub(crate) kept_back: Option<u64>,
    pub(crate) closed: Option<CloseReason>,
    /// All requests as the brokers saw them.
    pub(crate) seen: Vec<(Source, RequestHeader, Bytes)>,
    pub(crate) asks: usize,
    broker: Broker,
    control: Control,
    /// Brokers answer only when told to.
    pub(crate) slow_brokers: bool,
    waiting: Vec<(Source, Bytes)>,
    /// Requests that do not decode are dropped.
    pub(crate) lenient: bool,
}

impl Rig {
    pub(crate) fn new(broker: BrokerRef, world: World) -> Self {
        Self {
            session: Session::new(broker),
            world,
            now: 1_000,
            unix_now: sample::SWITCHED_AT + 1_000,
            chunks: vec![usize::MAX],
            next_chunk: 0,
            legs: HashMap::new(),
            rest: BytesMut::new(),
            read: 0,
            to_client: BytesMut::new(),
            blocked: None,
            kept_back: None,
            closed: None,
            seen: Vec::new(),
            asks: 0,
            broker: Box::new(|_, _, _| None),
            control: Box::new(|ask| match ask {
                Ask::Calls(calls) => {
                    Reply::Calls(calls.iter().map(|_| Err(CallFailed("nobody there".to_owned()))).collect())
                }
                Ask::Refresh => Reply::Refreshed,
            }),
            slow_brokers: false,
            waiting: Vec::new(),
            lenient: false,
        }
    }

    pub(crate) fn sample(broker: BrokerRef) -> Self {
        Self::new(broker, WorldBuilder::sample().build())
    }

    pub(crate) fn with_broker(
        mut self,
        broker: impl FnMut(Source, &RequestHeader, Bytes) -> Option<Bytes> + 'static,
    ) -> Self {
        self.broker = Box::new(broker);
        self
    }

    pub(crate) fn with_control(mut self, control: impl FnMut(&Ask) -> Reply + 'static) -> Self {
        self.control = Box::new(control);
        self
    }

    pub(crate) fn with_chunks(mut self, chunks: Vec<usize>) -> Self {
        self.chunks = chunks;
        self
    }

    fn chunk(&mut self) -> usize {
        let size = self.chunks[self.next_chunk % self.chunks.len()];
        self.next_chunk += 1;
        size.max(1)
    }

    /// The client writes.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.rest.extend_from_slice(bytes);
        self.run();
    }

    /// A request of a type that the crate knows.
    pub(crate) fn request<R: Request>(&mut self, correlation: i32, request: &R, version: i16) {
        self.write(&frame::request(correlation, request, version));
    }

    /// Time passes, or the world changes.
    pub(crate) fn again(&mut self) {
        self.blocked = None;
        self.kept_back = None;
        self.run();
    }

    /// Slow brokers answer what they have so far.
    pub(crate) fn brokers_answer(&mut self) {
        for (source, answer) in std::mem::take(&mut self.waiting) {
            self.legs.entry(source).or_default().answers.extend_from_slice(&answer);
        }
        self.run();
    }

    /// So many bytes of what slow brokers would answer first.
    pub(crate) fn brokers_answer_only(&mut self, bytes: usize) {
        let (source, answer) = self.waiting.first_mut().expect("a broker has an answer");
        let part = answer.split_to(bytes);
        let source = *source;
        if answer.is_empty() {
            self.waiting.remove(0);
        }
        self.legs.entry(source).or_default().answers.extend_from_slice(&part);
        self.run();
    }

    /// The length of the next of these answers.
    pub(crate) fn next_answer_size(&self) -> usize {
        self.waiting.first().map_or(0, |(_, answer)| answer.len())
    }

    /// The relay is lost.
    pub(crate) fn lose(&mut self, source: Source) {
        self.legs.remove(&source);
        let cx = Context { world: &self.world, now: self.now, unix_now: self.unix_now };
        self.session.on_relay_lost(source, &cx);
        self.run();
    }

    /// Until nothing moves.
    pub(crate) fn run(&mut self) {
        for _ in 0..10_000 {
            let moved = self.requests() | self.brokers() | self.answers();
            if !moved || self.closed.is_some() {
                return;
            }
        }
        panic!("the session never comes to rest");
    }

    fn requests(&mut self) -> bool {
        if matches!(self.blocked, Some(Blocked::Hold(until)) if self.now < until) {
            return false;
        }
        self.blocked = None;
        let mut moved = false;
        for _ in 0..100_000 {
            if self.read == 0 {
                self.read = self.chunk().min(self.rest.len());
            }
            let size = self.read;
            let mut chunk = self.rest[..size].to_vec();
            let cx = Context { world: &self.world, now: self.now, unix_now: self.unix_now };
            let step = self.session.on_client(&mut chunk, &cx);
            match step {
                RequestStep::Forward(n) => {
                    assert!(n > 0 && n <= size, "forwards {n} of {size}");
                    self.leg(Source::Main).sent.extend_from_slice(&chunk[..n]);
                    self.take(&chunk, n);
                }
                RequestStep::Consumed(n) => {
                    assert!(n <= size, "consumes {n} of {size}");
                    self.take(&chunk, n);
                }
                RequestStep::Send { consumed, to, bytes } => {
                    assert!(consumed <= size, "consumes {consumed} of {size}");
                    self.leg(to).sent.extend_from_slice(&bytes);
                    self.take(&chunk, consumed);
                }
                RequestStep::Ask { consumed, ask } => {
                    self.take(&chunk, consumed);
                    self.asks += 1;
                    let reply = (self.control)(&ask);
                    let cx = Context { world: &self.world, now: self.now, unix_now: self.unix_now };
                    self.session.on_reply(reply, &cx);
                }
                RequestStep::Hold { until } => {
                    self.rest[..size].copy_from_slice(&chunk);
                    self.blocked = Some(Blocked::Hold(until));
                    return moved;
                }
                RequestStep::Full => {
                    self.rest[..size].copy_from_slice(&chunk);
                    self.blocked = Some(Blocked::Full);
                    return moved;
                }
                RequestStep::Idle => {
                    assert_eq!(size, 0, "idle with bytes to take");
                    return moved;
                }
                RequestStep::Close(reason) => {
                    self.closed = Some(reason);
                    return true;
                }
            }
            moved = true;
        }
        panic!("the request side never comes to rest");
    }

    fn leg(&mut self, source: Source) -> &mut Leg {
        assert_ne!(source, Source::Local, "nothing is sent to the session itself");
        self.legs.entry(source).or_default()
    }

    /// What was not taken is kept as the session has left it.
    fn take(&mut self, chunk: &[u8], n: usize) {
        self.rest[..chunk.len()].copy_from_slice(chunk);
        self.rest.advance(n);
        self.read -= n;
    }

    fn brokers(&mut self) -> bool {
        let mut moved = false;
        let mut answers = Vec::new();
        for (source, leg) in &mut self.legs {
            while leg.sent.len() >= 4 {
                let length = u32::from_be_bytes(leg.sent[..4].try_into().unwrap()) as usize;
                if leg.sent.len() < 4 + length {
                    break;
                }
                leg.sent.advance(4);
                let whole = leg.sent.split_to(length).freeze();
                let Some((header, body)) = frame::split_request(&whole) else {
                    assert!(self.lenient, "the session sends whole requests");
                    continue;
                };
                if let Some(answer) = (self.broker)(*source, &header, body.clone()) {
                    answers.push((*source, answer));
                }
                self.seen.push((*source, header, body));
                moved = true;
            }
        }
        self.waiting.extend(answers);
        if !self.slow_brokers {
            for (source, answer) in std::mem::take(&mut self.waiting) {
                self.leg(source).answers.extend_from_slice(&answer);
            }
        }
        moved
    }

    fn answers(&mut self) -> bool {
        if matches!(self.kept_back, Some(until) if self.now < until) {
            return false;
        }
        self.kept_back = None;
        let mut moved = false;
        for _ in 0..100_000 {
            let cx = Context { world: &self.world, now: self.now, unix_now: self.unix_now };
            self.session.on_world(&cx);
            let source = match self.session.source() {
                None => return moved,
                Some(Source::Local) => {
                    let bytes = self.session.local_answer().expect("a local head has an answer");
                    self.to_client.extend_from_slice(&bytes);
                    moved = true;
                    continue;
                }
                Some(source) => source,
            };
            let fresh = self.chunk();
            let leg = self.legs.entry(source).or_default();
            if leg.read == 0 {
                leg.read = fresh.min(leg.answers.len());
            }
            let size = leg.read;
            let mut chunk = leg.answers[..size].to_vec();
            let cx = Context { world: &self.world, now: self.now, unix_now: self.unix_now };
            let step = self.session.on_upstream(&mut chunk, &cx);
            leg.answers[..size].copy_from_slice(&chunk);
            let (taken, blocked) = match step {
                AnswerStep::Forward(n) => {
                    assert!(n > 0, "forwards something");
                    self.to_client.extend_from_slice(&chunk[..n]);
                    (n, false)
                }
                AnswerStep::Consumed(n) => (n, false),
                AnswerStep::Emit { consumed, bytes } => {
                    self.to_client.extend_from_slice(&bytes);
                    (consumed, false)
                }
                AnswerStep::Ask { consumed, ask } => {
                    self.asks += 1;
                    let reply = (self.control)(&ask);
                    self.session.on_answer_reply(reply, &cx);
                    (consumed, false)
                }
                AnswerStep::Hold { consumed, until } => {
                    self.kept_back = Some(until);
                    (consumed, true)
                }
                AnswerStep::Idle => {
                    assert_eq!(size, 0, "idle with bytes to take");
                    return moved;
                }
                AnswerStep::Close(reason) => {
                    self.closed = Some(reason);
                    return true;
                }
            };
            leg.answers.advance(taken);
            leg.read -= taken;
            if blocked {
                return moved;
            }
            moved = true;
        }
        panic!("the answer side never comes to rest");
    }

    /// The next whole frame that the client has been sent, without its length.
    pub(crate) fn answer(&mut self) -> Option<Bytes> {
        let length = i32::from_be_bytes(self.to_client.get(..4)?.try_into().unwrap());
        let length = usize::try_from(length).unwrap();
        if self.to_client.len() < 4 + length {
            return None;
        }
        self.to_client.advance(4);
        Some(self.to_client.split_to(length).freeze())
    }

    /// The next answer, decoded; it has to be there, and to belong to this request.
    pub(crate) fn response<R: Request>(&mut self, correlation: i32, version: i16) -> R::Response {
        let frame = self.answer().unwrap_or_else(|| {
            panic!(
                "no answer to {correlation}: closed {:?}, blocked {:?}, kept back {:?}",
                self.closed, self.blocked, self.kept_back
            )
        });
        let (found, response) = frame::decode_response::<R>(&frame, version).expect("the answer decodes to its end");
        assert_eq!(found, correlation);
        response
    }

    pub(crate) fn nothing_for_the_client(&self) -> bool {
        self.to_client.is_empty()
    }
}
