//! Answers to Produce: offsets and hints become virtual, refused partitions get their verdict, and what a move alone has
//! caused is kept back until the client can be told where to go.

use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::messages::describe_configs_request::{DescribeConfigsRequest, DescribeConfigsResource};
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, ProduceResponse};
use kafka_protocol::messages::{BrokerId, DescribeConfigsResponse};
use kafka_protocol::protocol::StrBytes;
use sluice_mesh::model::{BrokerRef, ClusterIndex, TopicModel, World};
use sluice_wire::WireError;
use sluice_wire::walk::produce_answer::{self as wire, Endpoint, PartitionResult};

use super::{Note, ProduceSlot, What, longest_hold};
use crate::ask::{Ask, Call, Reply, Request, Response, Target};
use crate::code;
use crate::memory::FirstSight;
use crate::outcome::{RequestHead, Scope};
use crate::route::{self, Hint};
use crate::step::CloseReason;

/// How often a sealed topic is looked at, milliseconds.
const SEAL_POLL: u64 = 100;

/// Time limit of that look, milliseconds.
const ASK_TIMEOUT: u64 = 1_000;

/// A batch header alone is longer than this: a topic with such a limit is sealed.
const SEAL_MAX: i64 = 60;

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
    /// When the frame was decided to go.
    begun: u64,
    /// When waiting for a seal ends.
    until: u64,
    /// When the seal is looked at again.
    look_at: u64,
}

/// A partition whose answer is not known yet.
#[derive(Debug)]
struct Waiting {
    topic: Arc<str>,
    partition: i32,
    why: Why,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    /// Refused by us because of a fence.
    Fenced { attempt: u64, until: u64 },
    /// Refused by the broker with this error; it may be a seal.
    Refused { error: i16, seen_sealed: bool },
}

/// The answer to a swallowed frame.
pub(crate) fn local(head: RequestHead, notes: &[Note], world: &World) -> Result<Bytes, WireError> {
    let mut endpoints = Vec::new();
    let mut topics: Vec<(&str, Vec<PartitionResult>)> = Vec::new();
    for note in notes {
        let error = match note.what {
            What::Refused(error) => error,
            What::Duplicate | What::First(_) => code::NONE,
            What::Fenced { .. } => code::NOT_LEADER_OR_FOLLOWER,
        };
        let result = refusal(world, &note.topic, note.partition, error, &mut endpoints);
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
    PartitionResult { index: partition, error_code: error, base_offset: -1, log_start_offset: -1, leader }
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

impl Kept {
    /// Everything that can be answered at once is; the rest waits.
    fn new(
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
        Ok(Self { head, answer, endpoints, waiting, begun, until, look_at: scope.now })
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
            let verdict = match &mut wait.why {
                Why::Fenced { attempt, until } => {
                    let fence = scope.world.model.topic(&wait.topic).and_then(|topic| topic.fence.as_ref());
                    let fenced = !moved && fence.is_some_and(|fence| fence.attempt == *attempt);
                    if fenced && scope.now < *until {
                        hold = hold.min(*until);
                        None
                    } else {
                        Some(code::NOT_LEADER_OR_FOLLOWER)
                    }
                }
                Why::Refused { .. } if moved => Some(code::NOT_LEADER_OR_FOLLOWER),
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
                        Some(true) if scope.now >= self.until => Some(code::NOT_LEADER_OR_FOLLOWER),
                        Some(true) => {
                            scope.memory.sealed(&wait.topic);
                            *seen_sealed = true;
                            self.look_at = scope.now.saturating_add(SEAL_POLL);
                            hold = hold.min(self.look_at);
                            None
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
        let resources = names
            .into_iter()
            .map(|name| {
                DescribeConfigsResource::default()
                    .with_resource_type(2)
                    .with_resource_name(StrBytes::from_string(name.as_ref().to_owned()))
                    .with_configuration_keys(Some(vec![StrBytes::from_static_str("max.message.bytes")]))
            })
            .collect();
        Ask::Calls(vec![Call {
            cluster: broker.cluster,
            to: Target::Broker(broker.broker),
            request: Request::DescribeConfigs(DescribeConfigsRequest::default().with_resources(resources)),
            timeout_millis: ASK_TIMEOUT,
        }])
    }

    /// The sealed ones among the topics asked about. Without an answer: all, for an error that a move has caused must not
    /// reach a client, and the hold is bounded.
    fn seals(&self, reply: Reply, scope: &Scope<'_>) -> Vec<Arc<str>> {
        let asked = self.waiting.iter().filter(|wait| matches!(wait.why, Why::Refused { .. }));
        let answer = match reply {
            Reply::Calls(results) => results.into_iter().next().and_then(Result::ok),
            Reply::Refreshed => None,
        };
        let answer = match answer {
            Some(Response::DescribeConfigs(answer)) => Some(answer),
            _ => None,
        };
        let fenced = |name: &str| scope.world.model.topic(name).is_some_and(|topic| topic.fence.is_some());
        asked
            .filter(|wait| fenced(&wait.topic) || answer.as_ref().is_none_or(|answer| is_sealed(answer, &wait.topic)))
            .map(|wait| Arc::clone(&wait.topic))
            .collect()
    }
}

fn is_sealed(answer: &DescribeConfigsResponse, topic: &str) -> bool {
    let found = answer.results.iter().find(|result| result.resource_name.as_str() == topic);
    let value = found
        .and_then(|found| found.configs.iter().find(|config| config.name.as_str() == "max.message.bytes"))
        .and_then(|config| config.value.as_ref())
        .and_then(|value| value.as_str().parse::<i64>().ok());
    value.is_some_and(|value| value <= SEAL_MAX)
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
            let why = Why::Refused { error: partition.error_code, seen_sealed: false };
            waiting.push(Waiting { topic: Arc::clone(name), partition: index, why });
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
    partition.error_message = None;
    partition.current_leader = <_>::default();
    if let Some((leader, epoch)) = result.leader {
        partition.current_leader.leader_id = BrokerId(leader);
        partition.current_leader.leader_epoch = epoch;
    }
}
