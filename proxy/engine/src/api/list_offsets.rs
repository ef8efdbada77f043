//! `ListOffsets`. Plain topics alone pass; with a moved one in the request all of it is answered from the brokers that have
//! the facts: the last segment for the end, the first living one for the start, the first one in order that knows a
//! timestamp.

use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::{ListOffsetsRequest, TopicName as WireTopicName};
use sluice_mesh::model::{ChainModel, World};

use super::facts::{self, EARLIEST, Fact, MAX_TIMESTAMP, Question, What};
use super::pass;
use crate::code;
use crate::outcome::{Frame, Outcome, RequestHead, Scope};
use crate::route;
use crate::step::CloseReason;

/// `isolation_level`: up to the high watermark.
const READ_UNCOMMITTED: i8 = 0;

/// One asked partition.
struct Item {
    name: WireTopicName,
    partition: i32,
    timestamp: i64,
    how: How,
}

/// How it is answered.
#[derive(Debug, Clone, Copy)]
enum How {
    Error(i16),
    /// By this question; nothing is mapped.
    One(usize),
    /// By these questions, one per segment from the first asked one on.
    Segments {
        first_question: usize,
        first_segment: usize,
        count: usize,
        /// The question for the end of the open segment, where that is needed too.
        end: Option<usize>,
    },
}

pub(super) fn decide(mut frame: Frame<'_>, scope: &mut Scope<'_>) -> Outcome {
    let head = frame.head;
    let request = match frame.decode::<ListOffsetsRequest>() {
        Ok(request) => request,
        Err(error) => return error.into(),
    };
    if request.replica_id.0 >= 0 {
        return Outcome::Close(CloseReason::InterBroker);
    }
    let cluster = scope.broker.cluster;
    if request.topics.iter().all(|topic| route::place(scope.world, cluster, topic.name.as_str()).is_plain()) {
        return pass();
    }
    let (items, questions) = plan(&request, scope);
    facts::gather(questions, scope, move |facts, world| answer(head, &items, facts, world))
}

fn plan(request: &ListOffsetsRequest, scope: &Scope<'_>) -> (Vec<Item>, Vec<Question>) {
    let mut items = Vec::new();
    let mut questions: Vec<Question> = Vec::new();
    let isolation = request.isolation_level;
    for topic in &request.topics {
        let name = topic.name.as_str();
        let place = route::place(scope.world, scope.broker.cluster, name).entry();
        for partition in &topic.partitions {
            let what = What::Offset { timestamp: partition.timestamp, isolation };
            let question =
                |cluster| Question { cluster, topic: name.to_owned(), partition: partition.partition_index, what };
            let how = match place {
                Err(error) => How::Error(error),
                Ok(entry) => {
                    let clusters = entry.and_then(|topic| topic.chain(partition.partition_index));
                    let clusters = clusters.map(|chain| chain.clusters.as_slice());
                    match clusters {
                        None => How::One(put(&mut questions, question(scope.broker.cluster))),
                        Some(clusters) => {
                            // The end is the last segment's alone; everything else may lie anywhere.
                            let ends = partition.timestamp == facts::LATEST || partition.timestamp < MAX_TIMESTAMP;
                            let first_segment = if ends { clusters.len().saturating_sub(1) } else { 0 };
                            let first_question = questions.len();
                            let asked = clusters.get(first_segment..).unwrap_or_default();
                            questions.extend(asked.iter().map(|cluster| question(*cluster)));
                            let latest = What::Offset { timestamp: facts::LATEST, isolation: READ_UNCOMMITTED };
                            let end = asked
                                .last()
                                .filter(|_| partition.timestamp == MAX_TIMESTAMP)
                                .map(|cluster| put(&mut questions, Question { what: latest, ..question(*cluster) }));
                            How::Segments { first_question, first_segment, count: asked.len(), end }
                        }
                    }
                }
            };
            items.push(Item {
                name: topic.name.clone(),
                partition: partition.partition_index,
                timestamp: partition.timestamp,
                how,
            });
        }
    }
    (items, questions)
}

fn put(questions: &mut Vec<Question>, question: Question) -> usize {
    questions.push(question);
    questions.len() - 1
}

fn answer(head: RequestHead, items: &[Item], all: &[Fact], world: &World) -> Outcome {
    let partitions = items.iter().map(|item| {
        let result = match item.how {
            How::Error(error) => Err(error),
            How::One(question) => match all.get(question) {
                Some(Fact::Offset { offset, timestamp, epoch }) => Ok(Found::new(*offset, *timestamp, *epoch)),
                Some(Fact::Error(error)) => Err(*error),
                _ => Err(code::LEADER_NOT_AVAILABLE),
            },
            How::Segments { first_question, first_segment, count, end } => {
                // The chain may have changed while the question was out: the segments are found by position only if not.
                let topic = world.model.topic(item.name.as_str());
                match topic.and_then(|topic| topic.chain(item.partition)) {
                    Some(chain) if chain.clusters.len() == first_segment + count => {
                        let facts = all.get(first_question..first_question + count).unwrap_or_default();
                        let facts = living(chain, first_segment, facts, item.name.as_str(), world);
                        stitched(chain, first_segment, &facts, end.and_then(|end| all.get(end)), item.timestamp)
                    }
                    _ => Err(code::LEADER_NOT_AVAILABLE),
                }
            }
        };
        let partition = ListOffsetsPartitionResponse::default().with_partition_index(item.partition);
        let mut partition = match result {
            Ok(found) => {
                partition.with_offset(found.offset).with_timestamp(found.timestamp).with_leader_epoch(found.epoch)
            }
            Err(error) => partition.with_error_code(error).with_offset(-1).with_timestamp(-1),
        };
        if head.version < 4 {
            partition.leader_epoch = -1;
        }
        (item.name.clone(), partition)
    });
    let topics = facts::by_topic(partitions).into_iter();
    let topics = topics
        .map(|(name, partitions)| ListOffsetsTopicResponse::default().with_name(name).with_partitions(partitions));
    head.answer(&ListOffsetsResponse::default().with_topics(topics.collect()))
}

/// A virtual answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Found {
    offset: i64,
    timestamp: i64,
    epoch: i32,
}

impl Found {
    fn new(offset: i64, timestamp: i64, epoch: i32) -> Self {
        Self { offset, timestamp, epoch }
    }
}

/// The facts of a chain's segments from `first` on. What was said of a log that is not the segment's any more counts as
/// beyond the segment's end.
fn living(chain: &ChainModel, first: usize, facts: &[Fact], name: &str, world: &World) -> Vec<Fact> {
    let dead = |position| {
        chain
            .segment(position)
            .is_some_and(|(segment, cluster)| !segment.is_open() && world.is_dead(segment, cluster, name))
    };
    let beyond = Fact::Offset { offset: i64::MAX, timestamp: -1, epoch: -1 };
    facts.iter().zip(first..).map(|(fact, position)| if dead(position) { beyond } else { *fact }).collect()
}

/// The answer for a chain, from the facts of its segments from `first` on; `end`: that of the open one, for the highest
/// timestamp.
fn stitched(
    chain: &ChainModel,
    first: usize,
    facts: &[Fact],
    end: Option<&Fact>,
    timestamp: i64,
) -> Result<Found, i16> {
    let segments = chain.chain.segments().get(first..).unwrap_or_default();
    let mut best: Option<Found> = None;
    for (segment, fact) in segments.iter().zip(facts) {
        let is_last = segment.is_open();
        let (offset, stamp, epoch) = match fact {
            Fact::Offset { offset, timestamp, epoch } => (*offset, *timestamp, *epoch),
            Fact::Error(error) if is_last => return Err(*error),
            // The start must not wait for an old cluster: what the chain says is true until it is trimmed.
            _ if timestamp == EARLIEST && !is_last => return Ok(Found::new(segment.start, -1, -1)),
            _ => return Err(code::LEADER_NOT_AVAILABLE),
        };
        let epoch = segment.epoch_to_virtual(epoch);
        let within = segment.physical_end.is_none_or(|end| offset < end);
        match timestamp {
            EARLIEST if within => {
                return Ok(Found::new(segment.to_virtual(offset.max(segment.physical_start)), stamp, epoch));
            }
            EARLIEST => {}
            // While its newest record is not replicated, a leader says that there is none (`Partition.fetchOffsetForTimestamp`).
            // Records before that one may have been named already: an older segment's would be a step back.
            MAX_TIMESTAMP if is_last && offset < 0 && end.is_none_or(|end| !is_at(end, segment.physical_start)) => {
                return Ok(Found::new(-1, -1, -1));
            }
            MAX_TIMESTAMP => {
                let mine = offset >= segment.physical_start && within;
                if mine && best.is_none_or(|best| stamp > best.timestamp) {
                    best = Some(Found::new(segment.to_virtual(offset), stamp, epoch));
                }
            }
            asked if asked >= 0 => {
                if offset >= 0 && within {
                    let offset = segment.to_virtual(offset.max(segment.physical_start));
                    return Ok(Found::new(offset, stamp, epoch));
                }
            }
            // The end, and what only tiered storage knows.
            _ if offset < 0 => return Ok(Found::new(offset, stamp, epoch)),
            _ => return Ok(Found::new(segment.to_virtual(offset).max(segment.start), stamp, epoch)),
        }
    }
    Ok(best.unwrap_or(Found::new(-1, -1, -1)))
}

/// Nothing of the segment is replicated yet.
fn is_at(end: &Fact, physical_start: i64) -> bool {
    end.offset().is_some_and(|end| end <= physical_start)
}

#[cfg(test)]
mod tests;
