//! A Produce frame that has been let go: its topics and partitions, one verdict each at the partition's batch header.

use std::collections::VecDeque;
use std::sync::Arc;

use kafka_protocol::messages::TopicName as WireTopicName;
use kafka_protocol::messages::describe_producers_request::{DescribeProducersRequest, TopicRequest};
use kafka_protocol::protocol::StrBytes;
use sluice_mesh::model::{TopicModel, World};
use sluice_mesh::name::TopicName;
use sluice_wire::batch::{self, BatchHeader};
use sluice_wire::walk::produce::Walker;

use super::start::fence_until;
use super::{MAX_NOTES, Note, ProduceSlot, What, answer, fused_topics};
use crate::ask::{Ask, Call, Reply, Request, Response, Target};
use crate::code;
use crate::fuse::{self, Asked};
use crate::memory::{FirstSight, ProducerKey};
use crate::outcome::{RequestHead, Scope};
use crate::route::{self, Place};
use crate::slot::{Slot, SlotState};
use crate::step::{CloseReason, Source};
use crate::verdict::{self, FirstBatch, Known, Sequence};

/// Bits of an upstream producer id that carry the segment's generation.
const GENERATION_SHIFT: u32 = 48;

/// Time limit of a question about producers, milliseconds.
const ASK_TIMEOUT: u64 = 2_000;

/// A frame that has been decided to start.
#[derive(Debug)]
pub(super) struct Current {
    /// The whole frame is decided under the world seen at its start.
    pub(super) world: World,
    /// Of that world's model: from the first decision on, for a part of the frame may be with the broker long before its
    /// end has come from the client.
    pub(super) lease: Arc<()>,
    /// Nothing of it goes on; it is answered here.
    pub(super) swallow: bool,
    pub(super) acks: i16,
    pub(super) asked: Asked,
    /// When it was, on the driver's clock.
    pub(super) begun: u64,
    /// Bytes of length and header that still lie in front of the body.
    pub(super) prefix: usize,
    pub(super) topic: TopicState,
    pub(super) partition: i32,
    pub(super) at_batch: bool,
    pub(super) notes: Vec<Note>,
}

/// The present topic.
#[derive(Debug)]
pub(super) enum TopicState {
    Plain,
    Here(Arc<TopicModel>),
    Refused { name: Arc<str>, what: What },
}

pub(super) enum BatchStep {
    Go,
    Ask(Ask),
    Full,
    Close(CloseReason),
}

impl Current {
    pub(super) fn enter_topic(&mut self, name: &str, scope: &mut Scope<'_>) {
        scope.memory.stops.carries(name);
        let refused = |what| TopicState::Refused { name: name.into(), what };
        self.topic = match route::place(&self.world, scope.broker.cluster, name) {
            Place::Here(topic) => {
                match fuse::write(name, self.asked, &self.world, scope.now, &mut scope.memory.stops) {
                    Some(stop) => refused(What::Fused(stop)),
                    None => match topic.map(|topic| (topic, self.world.fence(topic))) {
                        None => TopicState::Plain,
                        Some((topic, None)) => TopicState::Here(Arc::clone(topic)),
                        Some((topic, Some(fence))) => {
                            let until = fence_until(topic, fence, self.asked.timeout_ms, scope);
                            refused(What::Fenced { attempt: fence.attempt, until })
                        }
                    },
                }
            }
            Place::Elsewhere => refused(What::Refused(code::NOT_LEADER_OR_FOLLOWER)),
            Place::Hidden => refused(What::Refused(code::UNKNOWN_TOPIC_OR_PARTITION)),
        };
    }

    pub(super) fn enter_partition(&mut self, scope: &mut Scope<'_>) -> Option<CloseReason> {
        let TopicState::Refused { name, what } = &self.topic else {
            return None;
        };
        if self.notes.len() >= MAX_NOTES {
            return Some(CloseReason::Malformed);
        }
        if matches!(what, What::Fused(_)) {
            scope.memory.stops.write_stopped();
        }
        self.notes.push(Note { topic: Arc::clone(name), partition: self.partition, what: what.clone() });
        // Nobody waits for an answer that could say so: a broker closes too.
        (self.acks == 0).then_some(CloseReason::UnansweredRefused)
    }

    /// The verdict on a partition, at its batch header.
    pub(super) fn on_batch(
        &mut self,
        walker: &mut Walker,
        input: &mut [u8],
        reply: Option<Reply>,
        ring_is_empty: bool,
        scope: &mut Scope<'_>,
    ) -> BatchStep {
        let Some(bytes) = walker.batch(input) else {
            return BatchStep::Close(CloseReason::Malformed);
        };
        let topic = match &self.topic {
            TopicState::Plain => return BatchStep::Go,
            TopicState::Refused { .. } => {
                batch::flip_crc_bit(bytes);
                return BatchStep::Go;
            }
            TopicState::Here(topic) => Arc::clone(topic),
        };
        if self.notes.len() >= MAX_NOTES {
            return BatchStep::Close(CloseReason::Malformed);
        }
        let header = BatchHeader::read(bytes);
        if !header.is_v2() || !header.has_producer() || header.is_transactional() {
            return BatchStep::Go;
        }
        let generation = topic.generation(self.partition);
        let upstream = upstream_id(header.producer_id, generation);
        let verdict = if topic.cut.is_empty() {
            FirstBatch::Forward
        } else {
            let key = ProducerKey {
                topic: topic.name.clone(),
                partition: self.partition,
                generation,
                producer: header.producer_id,
            };
            match self.first_sight(&topic, key, &header, upstream, reply, ring_is_empty, scope) {
                Ok(verdict) => verdict,
                Err(step) => return step,
            }
        };
        let what = match verdict {
            FirstBatch::Forward => {
                if upstream != header.producer_id {
                    // A batch whose length field is wrong is refused by the broker as it is.
                    let _ = batch::set_producer_id(bytes, upstream);
                }
                return BatchStep::Go;
            }
            FirstBatch::Duplicate => What::Duplicate,
            FirstBatch::Gap => What::Refused(code::NOT_LEADER_OR_FOLLOWER),
            FirstBatch::OldEpoch => What::Refused(code::INVALID_PRODUCER_EPOCH),
        };
        if self.acks == 0 && what != What::Duplicate {
            return BatchStep::Close(CloseReason::UnansweredRefused);
        }
        batch::flip_crc_bit(bytes);
        self.notes.push(Note { topic: topic.name.as_str().into(), partition: self.partition, what });
        BatchStep::Go
    }

    /// The check of a producer's first batch on the partition's new home.
    #[allow(clippy::too_many_arguments, reason = "one call, and each is a plain fact of the batch at hand")]
    fn first_sight(
        &mut self,
        topic: &TopicModel,
        key: ProducerKey,
        header: &BatchHeader,
        upstream: i64,
        reply: Option<Reply>,
        ring_is_empty: bool,
        scope: &mut Scope<'_>,
    ) -> Result<FirstBatch, BatchStep> {
        let in_this_frame = || self.notes.iter().any(|note| matches!(&note.what, What::First(first) if *first == key));
        match scope.memory.producer(&key) {
            Some(FirstSight::Done) => return Ok(FirstBatch::Forward),
            Some(FirstSight::InFlight) if in_this_frame() => return Ok(FirstBatch::Gap),
            Some(FirstSight::InFlight) if !ring_is_empty => return Err(BatchStep::Full),
            Some(FirstSight::InFlight) | None => {}
        }
        let cut = topic.cut_producer(self.partition, header.producer_id);
        let sequence =
            Sequence { epoch: header.producer_epoch, base: header.base_sequence, last: header.last_sequence() };
        let verdict = match (verdict::without_asking(cut, sequence), reply) {
            (Some(verdict), _) => verdict,
            (None, None) => return Err(BatchStep::Ask(describe_producers(&topic.name, self.partition, scope))),
            (None, Some(reply)) => {
                let open_for = scope.unix_now.saturating_sub(topic.switched_at);
                match known_producer(reply, &topic.name, self.partition, upstream) {
                    Ok(known) => verdict::first_batch(known, cut, sequence, open_for < verdict::GAP_WINDOW_MILLIS),
                    // Nobody could say. The client will ask again.
                    Err(Unanswered) => FirstBatch::Gap,
                }
            }
        };
        if verdict == FirstBatch::Forward {
            if self.acks == 0 {
                scope.memory.set_producer(key, FirstSight::Done);
            } else {
                scope.memory.set_producer(key.clone(), FirstSight::InFlight);
                self.notes.push(Note {
                    topic: topic.name.as_str().into(),
                    partition: self.partition,
                    what: What::First(key),
                });
            }
        }
        Ok(verdict)
    }

    /// The frame's end: its slot.
    pub(super) fn finish(
        self,
        head: RequestHead,
        slots: &mut VecDeque<Slot>,
        scope: &mut Scope<'_>,
    ) -> Result<(), CloseReason> {
        if self.acks == 0 {
            return Ok(());
        }
        for topic in fused_topics(&self.notes) {
            if self.swallow {
                scope.memory.stops.refused(topic, scope.now);
            } else {
                scope.memory.stops.refused_in_place(topic);
            }
        }
        let (source, state) = if self.swallow {
            let bytes = answer::local(head, &self.notes, &self.world).map_err(|_| CloseReason::Malformed)?;
            (Source::Local, SlotState::Local(bytes))
        } else {
            let Self { lease, notes, asked, begun, .. } = self;
            let slot = ProduceSlot { lease, notes, timeout_ms: asked.timeout_ms, begun };
            (Source::Main, SlotState::Produce(slot))
        };
        slots.push_back(Slot { head, source, state });
        Ok(())
    }
}

/// The producer id under which a segment's home knows a producer: a cluster that knew it before the topic left and came
/// back would take its next batch for a gap.
fn upstream_id(id: i64, generation: u8) -> i64 {
    if generation == 0 {
        return id;
    }
    (id & !(0xff << GENERATION_SHIFT)) | (i64::from(generation) << GENERATION_SHIFT)
}

fn describe_producers(topic: &TopicName, partition: i32, scope: &Scope<'_>) -> Ask {
    let name = WireTopicName(StrBytes::from_string(topic.as_str().to_owned()));
    let topic = TopicRequest::default().with_name(name).with_partition_indexes(vec![partition]);
    Ask::Calls(vec![Call {
        cluster: scope.broker.cluster,
        to: Target::Broker(scope.broker.broker),
        request: Request::DescribeProducers(DescribeProducersRequest::default().with_topics(vec![topic])),
        timeout_millis: ASK_TIMEOUT,
    }])
}

/// No usable answer.
struct Unanswered;

/// What the new home knows of a producer. A broker that refuses to say (not the leader, no right to read) will refuse the
/// batch too, or has to be trusted to check it: as if it knew nothing.
fn known_producer(reply: Reply, topic: &TopicName, partition: i32, id: i64) -> Result<Option<Known>, Unanswered> {
    let Reply::Calls(results) = reply else {
        return Err(Unanswered);
    };
    let Some(Ok(Response::DescribeProducers(answer))) = results.into_iter().next() else {
        return Err(Unanswered);
    };
    let found = answer.topics.iter().find(|found| found.name.as_str() == topic.as_str());
    let found = found.and_then(|found| found.partitions.iter().find(|found| found.partition_index == partition));
    let found = found.ok_or(Unanswered)?;
    let producer = found.active_producers.iter().find(|producer| *producer.producer_id == id);
    Ok(producer.map(|producer| Known { epoch: producer.producer_epoch, last_sequence: producer.last_sequence }))
}
