//! Fetch. A request for plain topics alone passes as it lies. Else each answer comes from one source: the broker itself
//! (the live turn), or the leader of one old segment (a relay turn), in rotation; all other partitions are empty entries
//! with the last known watermarks. Topics whose reads a fuse has stopped are left out of what is asked for, and a request
//! for nothing else waits here as it would at a broker that has nothing.

use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchRequest as WireRequest, FetchTopic};
use kafka_protocol::messages::{BrokerId, TopicName as WireTopicName};
use kafka_protocol::protocol::StrBytes;
use sluice_mesh::model::BrokerRef;
use sluice_wire::fetch_answer::{self, Entry};
use sluice_wire::frame::{self, PREFIX};
use sluice_wire::walk::fetch::Head as AnswerHead;
use sluice_wire::walk::fetch_request::{FetchRequest, Head, Partition};
use sluice_wire::{ApiKey, WireError};

pub(crate) use self::plan::{FetchPlan, FetchSlot};
use self::plan::{Planned, Role};
pub(crate) use self::waiting::Waiting;
use self::wants::{At, OldSpot, Want, Wants};
use crate::ask::Ask;
use crate::code;
use crate::fuse;
use crate::outcome::{Frame, Outcome, RequestHead, Scope};
use crate::route;
use crate::slot::SlotState;
use crate::step::{CloseReason, Source};

pub(crate) mod answer;
mod doubt;
mod plan;
mod waiting;
mod wants;

/// An offset that no log reaches: the broker answers at once, with an error that becomes an empty entry.
const NOWHERE: i64 = i64::MAX;

/// A Fetch of more partitions than are remembered waits at most so long: it can't be answered early when one of them moves.
const LONGEST_BLIND_WAIT: i32 = 500;

/// The most bytes of one relayed partition.
const RELAY_BYTES: i32 = 1024 * 1024;

/// How often a reader is answered who can't be given anything, milliseconds.
const PACE: u64 = 100;

/// How often views are refreshed for want of an old segment's leader, milliseconds.
const REFRESH: u64 = 1_000;

/// A request in the making; survives asks and holds.
struct Job {
    head: RequestHead,
    client_id: String,
    bytes: Vec<u8>,
    body_at: usize,
    asked: bool,
    refreshed: bool,
    held: bool,
    /// When it began to wait for a fuse to close, on the driver's clock.
    fused_since: Option<u64>,
}

/// The whole request is there.
pub(crate) fn decide(mut frame: Frame<'_>, scope: &mut Scope<'_>) -> Outcome {
    let head = frame.head;
    let mut request = match FetchRequest::parse(head.version, frame.body()) {
        Ok(request) => request,
        Err(error) => return error.into(),
    };
    let asked = request.head();
    if asked.replica_id >= 0 {
        return Outcome::Close(CloseReason::InterBroker);
    }
    if asked.session_id != 0 || asked.session_epoch > 0 {
        // Sessions are never granted; whoever believes to have one starts anew.
        let answer = AnswerHead {
            throttle_time_ms: 0,
            error_code: code::FETCH_SESSION_ID_NOT_FOUND,
            session_id: 0,
            topics: 0,
            size: 0,
        };
        return local(head, &answer, &[]);
    }
    scope.memory.stops.carries_others();
    let mut plain = true;
    let mut last: Option<(*const u8, usize)> = None;
    let mut waiting = Waiting::begin(scope);
    request.visit(|topic, partition| {
        let this = (topic.as_ptr(), topic.len());
        if plain && last != Some(this) {
            last = Some(this);
            plain = route::place(scope.world, scope.broker.cluster, topic).is_plain()
                && !fuse::stops_reads(topic, scope.world);
            waiting.topic(topic, false);
        }
        if plain {
            waiting.partition(partition.index, 0);
        }
    });
    if plain {
        let max_wait_ms = patience(&asked, &waiting, scope);
        if asked.session_epoch != -1 || max_wait_ms != asked.max_wait_ms {
            request.set_head(Head { session_epoch: -1, max_wait_ms, ..asked });
        }
        let waiting = waiting.fits().then_some(waiting);
        return Outcome::Pass(SlotState::Fetch(FetchSlot { plan: None, waiting }));
    }
    waiting.give_back(scope);
    let job = Job {
        head,
        body_at: frame.body_at,
        client_id: std::mem::take(&mut frame.client_id),
        bytes: frame.bytes.to_vec(),
        asked: false,
        refreshed: false,
        held: false,
        fused_since: None,
    };
    job.serve(scope)
}

/// How long the broker may wait.
fn patience(asked: &Head, waiting: &Waiting, scope: &Scope<'_>) -> i32 {
    if scope.memory.late_answers {
        // It lies behind a Fetch that nobody waits for any more: the two together must not wait longer than one.
        0
    } else if waiting.fits() {
        asked.max_wait_ms
    } else {
        asked.max_wait_ms.min(LONGEST_BLIND_WAIT)
    }
}

fn local(head: RequestHead, answer: &AnswerHead, topics: &[(&str, &[Entry])]) -> Outcome {
    match fetch_answer::encode(head.version, head.correlation_id, answer, topics) {
        Ok(bytes) => Outcome::Answer(bytes),
        Err(error) => error.into(),
    }
}

impl Job {
    fn serve(mut self, scope: &mut Scope<'_>) -> Outcome {
        let (asked, wants) = match self.classify(scope) {
            Ok(found) => found,
            Err(error) => return error.into(),
        };
        let asked = Head { max_wait_ms: self.left_to_wait(asked.max_wait_ms, scope.now), ..asked };
        let fused = wants.fused();
        if fused > 0 && fused == wants.list.len() {
            return self.wait_for_fuses(&asked, &wants, scope);
        }
        if !self.asked {
            self.asked = true;
            let questions = doubt::questions(&wants, scope, asked.isolation_level);
            let (ask, pending) = doubt::ask(questions, scope.world);
            if let Some(ask) = ask {
                return Outcome::Ask(
                    ask,
                    Box::new(move |reply, scope| {
                        doubt::learn(&pending, Some(reply), scope);
                        self.serve(scope)
                    }),
                );
            }
            if pending.is_doubtful() {
                doubt::learn(&pending, None, scope);
                return self.serve(scope);
            }
        }
        let usable: Vec<(usize, OldSpot, BrokerRef)> = wants.relays(scope);
        let olds = wants.list.iter().filter(|want| matches!(want.at, At::Old(..))).count();
        if usable.len() < olds && !self.refreshed && scope.memory.may_refresh(scope.now, REFRESH) {
            self.refreshed = true;
            return Outcome::Ask(Ask::Refresh, Box::new(move |_, scope| self.serve(scope)));
        }
        let live = wants.list.iter().any(|want| matches!(want.at, At::Plain | At::Live(..)));
        let urgent = wants.list.iter().any(|want| match want.at {
            At::Error(_) => true,
            At::Blank(_, error) => error != code::NONE,
            _ => false,
        });
        let blank = wants.list.iter().any(|want| matches!(want.at, At::Blank(_, code::NONE)));
        let sources = usable.len() + usize::from(live);
        let stuck = sources == 0 || blank || (olds > 0 && usable.is_empty());
        if stuck && !urgent && !self.held {
            // A reader who can't be given anything would ask again at once; a broker would let it wait.
            self.held = true;
            let wait = u64::try_from(asked.max_wait_ms).unwrap_or(0).min(PACE);
            let until = scope.now.saturating_add(wait);
            return Outcome::Hold(until, Box::new(move |scope| self.wait_until(until, scope)));
        }
        if sources == 0 {
            return self.answer_all(&wants, scope);
        }
        scope.memory.stops.reads_stopped(fused);
        let turn = scope.memory.turn % sources;
        if sources > 1 {
            scope.memory.turn = scope.memory.turn.wrapping_add(1);
        }
        match (turn.checked_sub(usize::from(live))).and_then(|turn| usable.get(turn)) {
            Some((position, old, broker)) => self.relay(asked, &wants, *position, *old, *broker, scope),
            None => self.live(asked, &wants, olds > 0 || urgent, scope),
        }
    }

    /// Nothing but what fuses have stopped: it waits as long as a broker might let it wait, unless one of them closes.
    fn wait_for_fuses(mut self, asked: &Head, wants: &Wants, scope: &mut Scope<'_>) -> Outcome {
        let since = *self.fused_since.get_or_insert(scope.now);
        let left = u64::try_from(asked.max_wait_ms).unwrap_or(0);
        let longest = since.saturating_add(scope.world.model.limits.max_hold_millis);
        let until = scope.now.saturating_add(left).min(longest);
        if scope.now >= until {
            return self.answer_all(wants, scope);
        }
        Outcome::Hold(until, Box::new(move |scope| self.serve(scope)))
    }

    /// What is left of the client's patience.
    fn left_to_wait(&self, max_wait_ms: i32, now: u64) -> i32 {
        let Some(since) = self.fused_since else {
            return max_wait_ms;
        };
        let waited = i32::try_from(now.saturating_sub(since)).unwrap_or(i32::MAX);
        max_wait_ms.saturating_sub(waited).max(0)
    }

    /// A changed world does not end this wait early.
    fn wait_until(self, until: u64, scope: &mut Scope<'_>) -> Outcome {
        if scope.now < until {
            return Outcome::Hold(until, Box::new(move |scope| self.wait_until(until, scope)));
        }
        self.serve(scope)
    }

    fn classify(&mut self, scope: &mut Scope<'_>) -> Result<(Head, Wants), WireError> {
        let body = self.bytes.get_mut(self.body_at..).unwrap_or_default();
        let request = FetchRequest::parse(self.head.version, body)?;
        let mut names: Vec<String> = Vec::new();
        let mut list = Vec::with_capacity(request.partitions());
        request.visit(|topic, partition| {
            if names.last().is_none_or(|name| name != topic) {
                names.push(topic.to_owned());
            }
            let at = wants::at(topic, partition, scope);
            let topic = names.len().saturating_sub(1);
            list.push(Want { topic, index: partition.index, max_bytes: partition.max_bytes, at });
        });
        Ok((request.head(), Wants { names, list }))
    }

    fn answer_all(&self, wants: &Wants, scope: &mut Scope<'_>) -> Outcome {
        scope.memory.stops.reads_stopped(wants.fused());
        match wants.fallback(self.head, scope) {
            Ok(bytes) => Outcome::Answer(bytes),
            Err(error) => error.into(),
        }
    }

    /// The live turn: the client's own request, with physical offsets.
    fn live(mut self, asked: Head, wants: &Wants, hurry: bool, scope: &mut Scope<'_>) -> Outcome {
        let version = self.head.version;
        let mut waiting = Waiting::begin(scope);
        wants.remember(&mut waiting);
        let max_wait_ms = if hurry { 0 } else { patience(&asked, &waiting, scope) };
        let waiting = waiting.fits().then_some(waiting);
        let mut plan =
            FetchPlan { entries: Vec::new(), cursor: 0, extra: None, extra_topics: 0, relay: None, fallback: None };
        for want in &wants.list {
            let (topic, role) = match &want.at {
                At::Plain | At::Fused(_) | At::Error(_) => continue,
                At::Live(topic, spot) => (topic, Role::Live(*spot)),
                At::Old(topic, _) => (topic, Role::Blank(code::NONE)),
                At::Blank(topic, error) => (topic, Role::Blank(*error)),
            };
            plan.entries.push(Planned { topic: Arc::clone(topic), partition: want.index, role });
        }
        let leaves_out = wants.list.iter().any(|want| want.at.is_left_out());
        let body = self.bytes.get_mut(self.body_at..).unwrap_or_default();
        let mut request = match FetchRequest::parse(version, body) {
            Ok(request) => request,
            Err(error) => return error.into(),
        };
        request.set_head(Head { session_id: 0, session_epoch: -1, max_wait_ms, ..asked });
        let mut places = wants.list.iter();
        request.edit(|_, partition| {
            let Some(want) = places.next() else {
                return;
            };
            match &want.at {
                At::Plain | At::Fused(_) | At::Error(_) => {}
                At::Live(_, spot) => physical(partition, spot.physical),
                At::Old(..) | At::Blank(..) => physical(partition, NOWHERE),
            }
        });
        if !leaves_out {
            let state = SlotState::Fetch(FetchSlot { plan: Some(Box::new(plan)), waiting });
            return Outcome::Send(Source::Main, Bytes::from(self.bytes), state);
        }
        let mut places = wants.list.iter();
        let body = request.subset(|_, _| places.next().is_some_and(|want| !want.at.is_left_out()));
        let mut whole = self.bytes.get(PREFIX..self.body_at).unwrap_or_default().to_vec();
        whole.extend_from_slice(&body);
        let (extra, topics) = match wants.extra(version, |want| want.at.is_left_out(), scope) {
            Ok(extra) => extra,
            Err(error) => return error.into(),
        };
        plan.extra = Some(extra);
        plan.extra_topics = topics;
        match frame::prefixed(&whole) {
            Ok(bytes) => {
                let state = SlotState::Fetch(FetchSlot { plan: Some(Box::new(plan)), waiting });
                Outcome::Send(Source::Main, bytes, state)
            }
            Err(error) => error.into(),
        }
    }

    /// A relay turn: one partition of an old segment, from its own leader. The other partitions of its topic are asked for
    /// with it, at offsets that have nothing: some clients must find a topic's partitions in one piece.
    fn relay(
        &self,
        asked: Head,
        wants: &Wants,
        position: usize,
        old: OldSpot,
        broker: BrokerRef,
        scope: &mut Scope<'_>,
    ) -> Outcome {
        let version = self.head.version;
        let Some(chosen) = wants.list.get(position) else {
            return Outcome::Close(CloseReason::Malformed);
        };
        let At::Old(topic, _) = &chosen.at else {
            return Outcome::Close(CloseReason::Malformed);
        };
        let beside = |(other, want): &(usize, &Want)| {
            !scope.memory.relay_alone && *other != position && want.topic == chosen.topic
        };
        let others: Vec<&Want> = wants.list.iter().enumerate().filter(beside).map(|(_, want)| want).collect();
        let role = Role::Old { spot: old.spot, position: old.position, end: old.end };
        let mut entries = vec![Planned { topic: Arc::clone(topic), partition: chosen.index, role }];
        let ask = |want: &Want, offset: i64| {
            FetchPartition::default()
                .with_partition(want.index)
                .with_current_leader_epoch(-1)
                .with_fetch_offset(offset)
                .with_last_fetched_epoch(-1)
                .with_log_start_offset(-1)
                .with_partition_max_bytes(want.max_bytes.min(RELAY_BYTES))
        };
        let mut partitions = vec![ask(chosen, old.spot.physical)];
        for want in &others {
            let error = match &want.at {
                At::Blank(_, error) | At::Error(error) => *error,
                At::Plain | At::Live(..) | At::Old(..) | At::Fused(_) => code::NONE,
            };
            let partition = want.index;
            entries.push(Planned { topic: Arc::clone(topic), partition, role: Role::Blank(error) });
            partitions.push(ask(want, NOWHERE));
        }
        let name = WireTopicName(StrBytes::from_string(topic.name.as_str().to_owned()));
        let request = WireRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_max_wait_ms(0)
            .with_min_bytes(0)
            .with_max_bytes(asked.max_bytes)
            .with_isolation_level(asked.isolation_level)
            .with_session_id(0)
            .with_session_epoch(-1)
            .with_topics(vec![FetchTopic::default().with_topic(name).with_partitions(partitions)]);
        let built = frame::encode_request(ApiKey::Fetch, version, self.head.correlation_id, &self.client_id, &request);
        let alone = scope.memory.relay_alone;
        let extra =
            wants.extra(version, |want| want.topic != chosen.topic || (alone && want.index != chosen.index), scope);
        let fallback = wants.fallback(self.head, scope);
        match (built, extra, fallback) {
            (Ok(bytes), Ok((extra, extra_topics)), Ok(fallback)) => {
                let plan = FetchPlan {
                    entries,
                    cursor: 0,
                    extra: (extra_topics > 0).then_some(extra),
                    extra_topics,
                    relay: Some(broker),
                    fallback: Some(fallback),
                };
                let state = SlotState::Fetch(FetchSlot { plan: Some(Box::new(plan)), waiting: None });
                Outcome::Send(Source::Relay(broker), bytes, state)
            }
            (Err(error), _, _) | (_, Err(error), _) | (_, _, Err(error)) => error.into(),
        }
    }
}

fn physical(partition: &mut Partition, offset: i64) {
    partition.fetch_offset = offset;
    partition.current_leader_epoch = -1;
    partition.last_fetched_epoch = -1;
    partition.log_start_offset = -1;
}
