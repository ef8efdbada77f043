//! A Produce answer that is kept back: what a move alone has caused is not told before the client can be told where to go,
//! and what a fuse has stopped is not told before the end of its hold.

use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::messages::produce_response::ProduceResponse;
use sluice_mesh::model::{BrokerRef, World};
use sluice_wire::walk::produce_answer::{self as wire, Endpoint};

use super::super::{Note, What, fused_topics};
use super::{map_partition, moved_away, refusal, set, stopped};
use crate::ask::{Ask, Reply};
use crate::code;
use crate::fuse::{self, Stop};
use crate::hold::longest_hold;
use crate::memory::FirstSight;
use crate::outcome::{RequestHead, Scope};
use crate::seal::{self, Seals};
use crate::step::CloseReason;

/// How often a sealed topic is looked at, milliseconds.
const SEAL_POLL: u64 = 100;

/// What a kept answer waits for.
#[derive(Debug)]
pub(crate) enum Settled {
    Frame(Bytes),
    Ask(Ask),
    Hold(u64),
    Close(CloseReason),
}

/// An answer that is kept back.
#[derive(Debug)]
pub(crate) struct Kept {
    head: RequestHead,
    answer: ProduceResponse,
    endpoints: Vec<Endpoint>,
    waiting: Vec<Waiting>,
    /// The topics that fuses have refused.
    fused: Vec<Arc<str>>,
    /// When the frame was decided to go.
    begun: u64,
    /// When waiting for a seal ends.
    until: u64,
    /// When the seal is looked at again.
    look_at: u64,
}

/// A partition whose answer is not known yet.
#[derive(Debug)]
pub(super) struct Waiting {
    topic: Arc<str>,
    partition: i32,
    why: Why,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    /// Refused by us because of a fence.
    Fenced { attempt: u64, until: u64 },
    /// Refused by us because of a fuse.
    Fused { until: u64 },
    /// Refused by the broker with this error; it may be a seal.
    Refused { error: i16, seen_sealed: bool },
}

impl Waiting {
    /// For whether the broker's refusal is a seal.
    pub(super) fn refused(topic: &Arc<str>, partition: i32, error: i16) -> Self {
        Self { topic: Arc::clone(topic), partition, why: Why::Refused { error, seen_sealed: false } }
    }
}

impl Kept {
    /// Everything that can be answered at once is; the rest waits.
    pub(super) fn new(
        head: RequestHead,
        notes: &[Note],
        timeout_ms: i32,
        begun: u64,
        mut answer: ProduceResponse,
        scope: &mut Scope<'_>,
    ) -> Result<Self, CloseReason> {
        let mut endpoints = Vec::new();
        let mut waiting = Vec::new();
        let world = scope.world;
        let fused = fused_topics(notes).map(Arc::clone).collect();
        for topic in &mut answer.responses {
            let name: Arc<str> = topic.name.as_str().into();
            for partition in &mut topic.partition_responses {
                let index = partition.index;
                let mut notes = notes.iter().filter(|note| note.partition == index && *note.topic == *name);
                let verdict = notes.clone().find(|note| !matches!(note.what, What::First(_))).map(|note| &note.what);
                match verdict {
                    None | Some(What::First(_)) => {
                        map_partition(&name, partition, &mut endpoints, &mut waiting, scope);
                    }
                    // A batch whose CRC is broken can't have been stored.
                    Some(_) if partition.error_code == code::NONE => return Err(CloseReason::BadAnswer),
                    Some(What::Duplicate) => set(partition, refusal(world, &name, index, code::NONE, &mut endpoints)),
                    Some(What::Refused(error)) => {
                        set(partition, refusal(world, &name, index, *error, &mut endpoints));
                    }
                    Some(What::Fused(Stop::Refuse(refusal))) => set(partition, stopped(index, refusal)),
                    Some(What::Fused(Stop::Hold { until })) => {
                        let why = Why::Fused { until: *until };
                        waiting.push(Waiting { topic: Arc::clone(&name), partition: index, why });
                    }
                    Some(What::Fenced { attempt, until }) => {
                        let why = Why::Fenced { attempt: *attempt, until: *until };
                        waiting.push(Waiting { topic: Arc::clone(&name), partition: index, why });
                    }
                }
                let stored = partition.error_code == code::NONE;
                for key in notes.by_ref().filter_map(|note| match &note.what {
                    What::First(key) => Some(key),
                    _ => None,
                }) {
                    if stored {
                        scope.memory.set_producer(key.clone(), FirstSight::Done);
                    } else {
                        scope.memory.forget_producer(key);
                    }
                }
            }
        }
        // The broker's own endpoints are physical: only what our hints name is told.
        answer.node_endpoints.clear();
        let until = scope.now.saturating_add(longest_hold(timeout_ms, world));
        Ok(Self { head, answer, endpoints, waiting, fused, begun, until, look_at: scope.now })
    }

    /// What to do now; `reply` is the one to the last ask.
    pub(crate) fn settle(&mut self, reply: Option<Reply>, scope: &mut Scope<'_>) -> Settled {
        let sealed = reply.map(|reply| self.seals(reply, scope));
        let mut endpoints = std::mem::take(&mut self.endpoints);
        let mut still = Vec::new();
        let mut hold = u64::MAX;
        let mut ask = false;
        for mut wait in std::mem::take(&mut self.waiting) {
            let moved = moved_away(scope.world, scope.broker, &wait.topic);
            let topic = scope.world.model.topic(&wait.topic);
            let verdict = match &mut wait.why {
                Why::Fenced { attempt, until } => {
                    let fence = topic.and_then(|topic| scope.world.fence(topic));
                    let fenced = !moved && fence.is_some_and(|fence| fence.attempt == *attempt);
                    if fenced && scope.now < *until {
                        hold = hold.min(*until);
                        None
                    } else {
                        Some(code::NOT_LEADER_OR_FOLLOWER)
                    }
                }
                Why::Refused { .. } | Why::Fused { .. } if moved => Some(code::NOT_LEADER_OR_FOLLOWER),
                Why::Fused { until } if scope.now < *until && fuse::holds_writes(&wait.topic, scope.world) => {
                    hold = hold.min(*until);
                    None
                }
                Why::Fused { .. } => Some(code::NOT_ENOUGH_REPLICAS),
                Why::Refused { error, seen_sealed } => {
                    let seal = sealed.as_ref().map(|sealed| sealed.contains(&wait.topic));
                    match seal {
                        // What the broker refuses by itself is the client's to know. But the seal may have gone between
                        // its refusal and this look: only a batch that was sent after the topic was seen open is too
                        // large indeed.
                        Some(false) if !*seen_sealed => {
                            let late = *error == code::MESSAGE_TOO_LARGE
                                && !scope.memory.was_open(&wait.topic, self.begun, scope.now);
                            Some(if late { code::NOT_LEADER_OR_FOLLOWER } else { *error })
                        }
                        Some(false) => Some(code::NOT_LEADER_OR_FOLLOWER),
                        Some(true) => {
                            scope.memory.sealed(&wait.topic);
                            *seen_sealed = true;
                            // Behind a fence that has expired the seal may stay for long, and all other answers of this
                            // connection would wait behind this one.
                            let expired = topic.is_some_and(|topic| scope.world.fence_expired(topic));
                            if expired || scope.now >= self.until {
                                Some(code::NOT_LEADER_OR_FOLLOWER)
                            } else {
                                self.look_at = scope.now.saturating_add(SEAL_POLL);
                                hold = hold.min(self.look_at);
                                None
                            }
                        }
                        None if scope.now >= self.look_at => {
                            ask = true;
                            None
                        }
                        None => {
                            hold = hold.min(self.look_at);
                            None
                        }
                    }
                }
            };
            match verdict {
                Some(error) => self.set(&wait, error, &mut endpoints, scope.world),
                None => still.push(wait),
            }
        }
        self.endpoints = endpoints;
        self.waiting = still;
        if self.waiting.is_empty() {
            for topic in std::mem::take(&mut self.fused) {
                scope.memory.stops.told(&topic, scope.now);
            }
            return self.frame();
        }
        if ask { Settled::Ask(self.ask(scope.broker)) } else { Settled::Hold(hold) }
    }

    fn set(&mut self, wait: &Waiting, error: i16, endpoints: &mut Vec<Endpoint>, world: &World) {
        let topics = self.answer.responses.iter_mut().filter(|topic| topic.name.as_str() == &*wait.topic);
        for partition in topics.flat_map(|topic| &mut topic.partition_responses) {
            if partition.index != wait.partition {
                continue;
            }
            if partition.error_code == error {
                continue;
            }
            set(partition, refusal(world, &wait.topic, wait.partition, error, endpoints));
        }
    }

    fn frame(&mut self) -> Settled {
        let mut answer = std::mem::take(&mut self.answer);
        if self.head.version >= 10 {
            for endpoint in &self.endpoints {
                wire::add_endpoint(&mut answer, endpoint);
            }
        } else {
            for partition in answer.responses.iter_mut().flat_map(|topic| &mut topic.partition_responses) {
                partition.current_leader = <_>::default();
            }
        }
        match wire::encode(self.head.version, self.head.correlation_id, &answer) {
            Ok(bytes) => Settled::Frame(bytes),
            Err(_) => Settled::Close(CloseReason::BadAnswer),
        }
    }

    /// Is each topic that the broker refused to write sealed? Asked at the broker that refused: others may not know yet.
    fn ask(&self, broker: BrokerRef) -> Ask {
        let mut names: Vec<&Arc<str>> = Vec::new();
        for wait in &self.waiting {
            if matches!(wait.why, Why::Refused { .. }) && !names.contains(&&wait.topic) {
                names.push(&wait.topic);
            }
        }
        seal::ask(names.into_iter().map(|name| &**name), broker)
    }

    /// The sealed ones among the topics asked about. Without an answer: all, for an error that a move has caused must not
    /// reach a client, and the hold is bounded.
    fn seals(&self, reply: Reply, scope: &Scope<'_>) -> Vec<Arc<str>> {
        let asked = self.waiting.iter().filter(|wait| matches!(wait.why, Why::Refused { .. }));
        let seals = Seals::read(reply);
        let fenced = |name: &str| scope.world.model.topic(name).is_some_and(|topic| scope.world.fence(topic).is_some());
        asked
            .filter(|wait| fenced(&wait.topic) || seals.may_be_sealed(&wait.topic))
            .map(|wait| Arc::clone(&wait.topic))
            .collect()
    }
}
