//! Questions about single partitions of single segments, put together into as few requests as the leaders allow.

use std::collections::{BTreeMap, BTreeSet};

use kafka_protocol::messages::TopicName as WireTopicName;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};
use kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderEpochRequest, OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use kafka_protocol::messages::{BrokerId, ListOffsetsResponse, OffsetForLeaderEpochResponse};
use kafka_protocol::protocol::StrBytes;
use sluice_mesh::chain::EpochEnd;
use sluice_mesh::model::{ClusterIndex, World};

use crate::ask::{Ask, Call, Reply, Request, Response, Target};
use crate::outcome::{Outcome, Scope};

/// `ListOffsets`: the log end or high watermark.
pub(crate) const LATEST: i64 = -1;
/// `ListOffsets`: the log start.
pub(crate) const EARLIEST: i64 = -2;
/// `ListOffsets`: the record with the highest timestamp.
pub(crate) const MAX_TIMESTAMP: i64 = -3;

/// Time limit of each question of a client, milliseconds: an old cluster may be down.
const ASK_TIMEOUT: u64 = 2_000;

/// The most requests of one ask: the questions beyond are left unanswered. Epochs are chosen by the client, and every one
/// needs a request of its own.
const MAX_CALLS: usize = 256;

/// What is asked of a partition's leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum What {
    /// `ListOffsets` as a consumer.
    Offset { timestamp: i64, isolation: i8 },
    /// The log end, past the high watermark: asked as a broker, so that only the leader answers.
    LogEnd,
    /// Where an epoch ends.
    Epoch(i32),
}

/// One question, all physical.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Question {
    pub(crate) cluster: ClusterIndex,
    pub(crate) topic: String,
    pub(crate) partition: i32,
    pub(crate) what: What,
}

/// Its answer, all physical.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fact {
    /// To an offset question.
    Offset { offset: i64, timestamp: i64, epoch: i32 },
    /// To an epoch question.
    Epoch(EpochEnd),
    /// The broker's error.
    Error(i16),
    /// No leader is known, or it did not answer.
    Silent,
}

impl Fact {
    /// The offset, if that was answered.
    pub(crate) fn offset(self) -> Option<i64> {
        match self {
            Self::Offset { offset, .. } if offset >= 0 => Some(offset),
            _ => None,
        }
    }
}

/// Questions on their way.
#[derive(Debug)]
pub(crate) struct Asked {
    questions: Vec<Question>,
    /// The call that carries each; `None` if no leader is known.
    call_of: Vec<Option<usize>>,
}

/// The ask for these questions. Equal ones are asked once: segments of a chain that came back lie in one log, and a broker
/// refuses a request that names a partition twice. `None`: no leader is known for any.
pub(crate) fn ask(questions: Vec<Question>, world: &World, timeout_millis: u64) -> (Option<Ask>, Asked) {
    let mut groups: BTreeMap<(ClusterIndex, i32, What), Vec<usize>> = BTreeMap::new();
    for (position, question) in questions.iter().enumerate() {
        if let Some(leader) = leader(world, question.cluster, &question.topic, question.partition) {
            groups.entry((question.cluster, leader, question.what)).or_default().push(position);
        }
    }
    let mut call_of = vec![None; questions.len()];
    let mut calls = Vec::with_capacity(groups.len());
    for ((cluster, broker, what), members) in groups.into_iter().take(MAX_CALLS) {
        for position in &members {
            call_of[*position] = Some(calls.len());
        }
        let mut topics: BTreeMap<&str, BTreeSet<i32>> = BTreeMap::new();
        for question in members.iter().filter_map(|position| questions.get(*position)) {
            topics.entry(&question.topic).or_default().insert(question.partition);
        }
        calls.push(Call { cluster, to: Target::Broker(broker), request: request(what, topics), timeout_millis });
    }
    let ask = (!calls.is_empty()).then_some(Ask::Calls(calls));
    (ask, Asked { questions, call_of })
}

/// Goes on with the facts of these questions, asked where that is possible.
pub(crate) fn gather(
    questions: Vec<Question>,
    scope: &Scope<'_>,
    then: impl FnOnce(&[Fact], &World) -> Outcome + Send + 'static,
) -> Outcome {
    let (ask, asked) = ask(questions, scope.world, ASK_TIMEOUT);
    match ask {
        Some(ask) => Outcome::Ask(ask, Box::new(move |reply, scope| then(&asked.facts(Some(reply)), scope.world))),
        None => then(&asked.facts(None), scope.world),
    }
}

/// What belongs to the same topic as the entry before it, together: as answers list it.
pub(crate) fn by_topic<T>(entries: impl IntoIterator<Item = (WireTopicName, T)>) -> Vec<(WireTopicName, Vec<T>)> {
    let mut topics: Vec<(WireTopicName, Vec<T>)> = Vec::new();
    for (name, entry) in entries {
        match topics.last_mut() {
            Some((last, of_topic)) if *last == name => of_topic.push(entry),
            _ => topics.push((name, vec![entry])),
        }
    }
    topics
}

/// The physical leader as last seen.
pub(crate) fn leader(world: &World, cluster: ClusterIndex, topic: &str, partition: i32) -> Option<i32> {
    let seen = world.view(cluster)?.topic(topic)?.partition(partition)?;
    (seen.leader >= 0).then_some(seen.leader)
}

fn request(what: What, topics: BTreeMap<&str, BTreeSet<i32>>) -> Request {
    let name = |topic: &str| WireTopicName(StrBytes::from_string(topic.to_owned()));
    let (timestamp, isolation, replica) = match what {
        What::Offset { timestamp, isolation } => (timestamp, isolation, -1),
        What::LogEnd => (LATEST, 0, 0),
        What::Epoch(epoch) => {
            let topics = topics.into_iter().map(|(topic, partitions)| {
                let partitions = partitions.into_iter().map(|partition| {
                    OffsetForLeaderPartition::default()
                        .with_partition(partition)
                        .with_current_leader_epoch(-1)
                        .with_leader_epoch(epoch)
                });
                OffsetForLeaderTopic::default().with_topic(name(topic)).with_partitions(partitions.collect())
            });
            return Request::OffsetForLeaderEpoch(
                OffsetForLeaderEpochRequest::default().with_replica_id(BrokerId(-1)).with_topics(topics.collect()),
            );
        }
    };
    let topics = topics.into_iter().map(|(topic, partitions)| {
        let partitions = partitions.into_iter().map(|partition| {
            ListOffsetsPartition::default()
                .with_partition_index(partition)
                .with_current_leader_epoch(-1)
                .with_timestamp(timestamp)
        });
        ListOffsetsTopic::default().with_name(name(topic)).with_partitions(partitions.collect())
    });
    Request::ListOffsets(
        ListOffsetsRequest::default()
            .with_replica_id(BrokerId(replica))
            .with_isolation_level(isolation)
            .with_topics(topics.collect()),
    )
}

impl Asked {
    /// The facts, in the questions' order.
    pub(crate) fn facts(&self, reply: Option<Reply>) -> Vec<Fact> {
        let results = match reply {
            Some(Reply::Calls(results)) => results,
            Some(Reply::Refreshed) | None => Vec::new(),
        };
        let fact = |(question, call): (&Question, &Option<usize>)| {
            let answer = call.and_then(|call| results.get(call)).and_then(|result| result.as_ref().ok());
            let found = match answer {
                Some(Response::ListOffsets(answer)) => offset(answer, question),
                Some(Response::OffsetForLeaderEpoch(answer)) => epoch(answer, question),
                _ => None,
            };
            found.unwrap_or(Fact::Silent)
        };
        self.questions.iter().zip(&self.call_of).map(fact).collect()
    }
}

fn offset(answer: &ListOffsetsResponse, question: &Question) -> Option<Fact> {
    let topic = answer.topics.iter().find(|topic| topic.name.as_str() == question.topic)?;
    let found = topic.partitions.iter().find(|found| found.partition_index == question.partition)?;
    Some(match found.error_code {
        0 => Fact::Offset { offset: found.offset, timestamp: found.timestamp, epoch: found.leader_epoch },
        error => Fact::Error(error),
    })
}

fn epoch(answer: &OffsetForLeaderEpochResponse, question: &Question) -> Option<Fact> {
    let topic = answer.topics.iter().find(|topic| topic.topic.as_str() == question.topic)?;
    let found = topic.partitions.iter().find(|found| found.partition == question.partition)?;
    Some(match found.error_code {
        0 => Fact::Epoch(EpochEnd { epoch: found.leader_epoch, end: found.end_offset }),
        error => Fact::Error(error),
    })
}
