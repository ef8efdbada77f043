//! Answers to Produce: offsets and hints become virtual, and refused partitions get their verdict.

use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::messages::BrokerId;
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, ProduceResponse};
use kafka_protocol::protocol::StrBytes;
use sluice_mesh::model::{BrokerRef, ClusterIndex, TopicModel, World};
use sluice_wire::WireError;
use sluice_wire::walk::produce_answer::{self as wire, Endpoint, PartitionResult};

use self::kept::Waiting;
pub(crate) use self::kept::{Kept, Settled};
use super::{Note, ProduceSlot, What};
use crate::code;
use crate::fuse::Refusal;
use crate::memory::FirstSight;
use crate::outcome::{RequestHead, Scope};
use crate::route::{self, Hint};
use crate::step::CloseReason;

mod kept;

/// What becomes of the broker's answer.
#[derive(Debug)]
pub(crate) enum Answered {
    /// It goes to the client as it lies in its buffer now.
    AsItLies,
    /// This frame goes instead.
    Frame(Bytes),
    /// It is kept back.
    Kept(Box<Kept>),
    /// The broker's answer makes no sense.
    Close(CloseReason),
}

/// The answer to a swallowed frame.
pub(crate) fn local(head: RequestHead, notes: &[Note], world: &World) -> Result<Bytes, WireError> {
    let mut endpoints = Vec::new();
    let mut topics: Vec<(&str, Vec<PartitionResult>)> = Vec::new();
    for note in notes {
        let mut refused = |error| refusal(world, &note.topic, note.partition, error, &mut endpoints);
        let result = match &note.what {
            What::Refused(error) => refused(*error),
            What::Duplicate | What::First(_) => refused(code::NONE),
            What::Fenced { .. } => refused(code::NOT_LEADER_OR_FOLLOWER),
            What::Fused(stop) => stopped(note.partition, &stop.refusal()),
        };
        match topics.last_mut() {
            Some((name, results)) if *name == &*note.topic => results.push(result),
            _ => topics.push((&note.topic, vec![result])),
        }
    }
    let topics: Vec<(&str, &[PartitionResult])> = topics.iter().map(|(name, list)| (*name, list.as_slice())).collect();
    wire::encode(head.version, head.correlation_id, &wire::build(&topics, &endpoints))
}

/// The result of a partition that was not written; with a hint if clients are sent elsewhere.
fn refusal(world: &World, topic: &str, partition: i32, error: i16, endpoints: &mut Vec<Endpoint>) -> PartitionResult {
    let hint = (error == code::NOT_LEADER_OR_FOLLOWER).then(|| route::hint(world, topic, partition)).flatten();
    let leader = hint.as_ref().map(Hint::leader);
    if let Some(hint) = hint
        && !endpoints.contains(&hint.endpoint)
    {
        endpoints.push(hint.endpoint);
    }
    PartitionResult {
        index: partition,
        error_code: error,
        error_message: None,
        base_offset: -1,
        log_start_offset: -1,
        leader,
    }
}

/// The result of a partition that a fuse has stopped.
fn stopped(partition: i32, refusal: &Refusal) -> PartitionResult {
    PartitionResult {
        index: partition,
        error_code: refusal.error,
        error_message: refusal.message.as_ref().map(|message| StrBytes::from_string(message.to_string())),
        base_offset: -1,
        log_start_offset: -1,
        leader: None,
    }
}

/// The broker's whole answer is there: `body` follows its header.
pub(crate) fn begin(head: RequestHead, slot: ProduceSlot, body: &mut [u8], scope: &mut Scope<'_>) -> Answered {
    // The broker is done with the frame: from here on nothing of it can be appended.
    let ProduceSlot { lease, notes, timeout_ms, begun } = slot;
    drop(lease);
    let Ok(scan) = wire::scan(head.version, body) else {
        return Answered::Close(CloseReason::BadAnswer);
    };
    let simple = notes.iter().all(|note| matches!(note.what, What::First(_)));
    if scan.errors == 0 && simple {
        match in_place(head, &notes, body, scope) {
            Ok(true) => return Answered::AsItLies,
            Ok(false) => {}
            Err(_) => return Answered::Close(CloseReason::BadAnswer),
        }
    }
    let Ok(answer) = head.decode_answer::<ProduceResponse>(Bytes::copy_from_slice(body)) else {
        return Answered::Close(CloseReason::BadAnswer);
    };
    match Kept::new(head, &notes, timeout_ms, begun, answer, scope) {
        Ok(mut kept) => match kept.settle(None, scope) {
            Settled::Frame(bytes) => Answered::Frame(bytes),
            Settled::Close(reason) => Answered::Close(reason),
            Settled::Ask(_) | Settled::Hold(_) => Answered::Kept(Box::new(kept)),
        },
        Err(reason) => Answered::Close(reason),
    }
}

/// Success everywhere: offsets are mapped where they lie. `Ok(false)`: an acknowledgement may not be passed on.
fn in_place(head: RequestHead, notes: &[Note], body: &mut [u8], scope: &mut Scope<'_>) -> Result<bool, WireError> {
    let world = scope.world;
    if !world.model.topics.is_empty() {
        let mut valid = true;
        let mut changes = false;
        let cluster = scope.broker.cluster;
        wire::edit(head.version, body, |name, partition| {
            if let Some(topic) = world.model.topic(name) {
                changes |= !topic.chains.is_empty();
                valid &= acknowledged(topic, cluster, partition.index, partition.base_offset).is_some();
            }
        })?;
        if !valid {
            return Ok(false);
        }
        if changes {
            wire::edit(head.version, body, |name, partition| {
                if let Some(topic) = world.model.topic(name)
                    && let Some(shown) = acknowledged(topic, cluster, partition.index, partition.base_offset)
                {
                    partition.base_offset = shown;
                    partition.log_start_offset = log_start(topic, partition.index, partition.log_start_offset);
                }
            })?;
        }
    }
    for note in notes {
        if let What::First(key) = &note.what {
            scope.memory.set_producer(key.clone(), FirstSight::Done);
        }
    }
    Ok(true)
}

/// The virtual offset of an acknowledgement of a broker of `cluster`; `None` if the partition's chain says that the log
/// there had ended before: it must not be passed on.
fn acknowledged(topic: &TopicModel, cluster: ClusterIndex, partition: i32, base_offset: i64) -> Option<i64> {
    let Some(chain) = topic.chain(partition) else {
        // Without a chain the topic has always been where its entry says.
        return (topic.cluster == cluster || topic.chains.is_empty()).then_some(base_offset);
    };
    let mut here = chain.chain.segments().iter().zip(&chain.clusters).filter(|(_, at)| **at == cluster).peekable();
    if base_offset < 0 {
        // A duplicate whose offset the broker does not know any more.
        return here.peek().map(|_| base_offset);
    }
    here.find(|(segment, _)| {
        base_offset >= segment.physical_start && segment.physical_end.is_none_or(|end| base_offset < end)
    })
    .map(|(segment, _)| segment.to_virtual(base_offset))
}

fn log_start(topic: &TopicModel, partition: i32, physical: i64) -> i64 {
    match topic.chain(partition) {
        Some(chain) if chain.clusters.len() > 1 => chain.chain.start(),
        Some(chain) if physical >= 0 => physical.saturating_add(chain.chain.shift()),
        _ => physical,
    }
}

/// The topic is served by another cluster than the broker's.
fn moved_away(world: &World, broker: BrokerRef, topic: &str) -> bool {
    world.model.topic(topic).is_some_and(|topic| topic.cluster != broker.cluster)
}

/// A partition that went to the broker as it is: its result becomes virtual.
fn map_partition(
    name: &Arc<str>,
    partition: &mut PartitionProduceResponse,
    endpoints: &mut Vec<Endpoint>,
    waiting: &mut Vec<Waiting>,
    scope: &mut Scope<'_>,
) {
    let world = scope.world;
    let index = partition.index;
    let moved = moved_away(world, scope.broker, name);
    match partition.error_code {
        code::NONE => {
            let Some(topic) = world.model.topic(name) else {
                return;
            };
            match acknowledged(topic, scope.broker.cluster, index, partition.base_offset) {
                Some(shown) => {
                    partition.base_offset = shown;
                    partition.log_start_offset = log_start(topic, index, partition.log_start_offset);
                }
                None => set(partition, refusal(world, name, index, code::NOT_LEADER_OR_FOLLOWER, endpoints)),
            }
        }
        code::MESSAGE_TOO_LARGE | code::TOPIC_AUTHORIZATION_FAILED => {
            waiting.push(Waiting::refused(name, index, partition.error_code));
        }
        // Its old log is gone, or led by nobody: not the client's concern.
        _ if moved => set(partition, refusal(world, name, index, code::NOT_LEADER_OR_FOLLOWER, endpoints)),
        code::NOT_LEADER_OR_FOLLOWER | code::FENCED_LEADER_EPOCH => {
            scope.memory.stale = Some(scope.broker.cluster);
            map_hint(name, partition, endpoints, scope);
        }
        _ => partition.current_leader = <_>::default(),
    }
}

/// The broker's own hint, made virtual; none if the leader that it names is not shown to clients.
fn map_hint(name: &str, partition: &mut PartitionProduceResponse, endpoints: &mut Vec<Endpoint>, scope: &Scope<'_>) {
    let leader = partition.current_leader.leader_id.0;
    let model = &scope.world.model;
    let broker = BrokerRef { cluster: scope.broker.cluster, broker: leader };
    let shown = model.broker(broker).filter(|_| leader >= 0).and_then(|broker| {
        let (host, port) = broker.shown.clone()?;
        Some(Endpoint { node_id: broker.id, host, port, rack: broker.rack.clone() })
    });
    let Some(endpoint) = shown else {
        partition.current_leader = <_>::default();
        return;
    };
    partition.current_leader.leader_id = BrokerId(endpoint.node_id);
    if partition.current_leader.leader_epoch >= 0 {
        let shift = model.topic(name).map_or(0, |topic| topic.epoch_shift(partition.index));
        partition.current_leader.leader_epoch = partition.current_leader.leader_epoch.saturating_add(shift);
    }
    if !endpoints.contains(&endpoint) {
        endpoints.push(endpoint);
    }
}

fn set(partition: &mut PartitionProduceResponse, result: PartitionResult) {
    partition.error_code = result.error_code;
    partition.base_offset = result.base_offset;
    partition.log_append_time_ms = -1;
    partition.log_start_offset = result.log_start_offset;
    partition.record_errors.clear();
    partition.error_message = result.error_message;
    partition.current_leader = <_>::default();
    if let Some((leader, epoch)) = result.leader {
        partition.current_leader.leader_id = BrokerId(leader);
        partition.current_leader.leader_epoch = epoch;
    }
}
