//! OffsetForLeaderEpoch: for a moved topic answered by the chain. A new home knows nothing of the old one's epochs, and
//! would call a reader's whole past truncated.

use kafka_protocol::messages::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderEpochResponse, OffsetForLeaderTopicResult,
};
use kafka_protocol::messages::{OffsetForLeaderEpochRequest, TopicName as WireTopicName};
use sluice_mesh::chain::{EpochEnd, EpochLookup};
use sluice_mesh::model::World;

use super::facts::{self, Fact, Question, What};
use super::pass;
use crate::code;
use crate::outcome::{Frame, Outcome, RequestHead, Scope};
use crate::route;
use crate::step::CloseReason;

struct Item {
    name: WireTopicName,
    partition: i32,
    epoch: i32,
    how: How,
}

enum How {
    Error(i16),
    Answer(EpochEnd),
    /// The broker's answer as it is.
    One(usize),
    /// The answer of the segment with this generation, or this one if there is none.
    Segment {
        question: usize,
        generation: u8,
        otherwise: Option<EpochEnd>,
    },
}

pub(super) fn decide(mut frame: Frame<'_>, scope: &mut Scope<'_>) -> Outcome {
    let head = frame.head;
    let request = match frame.decode::<OffsetForLeaderEpochRequest>() {
        Ok(request) => request,
        Err(error) => return error.into(),
    };
    if request.replica_id.0 >= 0 {
        return Outcome::Close(CloseReason::InterBroker);
    }
    let cluster = scope.broker.cluster;
    if request.topics.iter().all(|topic| route::place(scope.world, cluster, topic.topic.as_str()).is_plain()) {
        return pass();
    }
    let (items, questions) = plan(&request, scope);
    facts::gather(questions, scope, move |facts, world| answer(head, &items, facts, world))
}

fn plan(request: &OffsetForLeaderEpochRequest, scope: &Scope<'_>) -> (Vec<Item>, Vec<Question>) {
    let mut items = Vec::new();
    let mut questions = Vec::new();
    for topic in &request.topics {
        let name = topic.topic.as_str();
        let place = route::place(scope.world, scope.broker.cluster, name).entry();
        for asked in &topic.partitions {
            let mut put = |cluster, epoch| {
                let (topic, partition) = (name.to_owned(), asked.partition);
                questions.push(Question { cluster, topic, partition, what: What::Epoch(epoch) });
                questions.len() - 1
            };
            let how = match place {
                Err(error) => How::Error(error),
                Ok(entry) => match entry.and_then(|topic| topic.chain(asked.partition)) {
                    None => How::One(put(scope.broker.cluster, asked.leader_epoch)),
                    Some(chain) => match chain.chain.offset_for_epoch(asked.leader_epoch) {
                        EpochLookup::Answer(end) => How::Answer(end),
                        EpochLookup::Ask { index, epoch, otherwise } => match chain.segment(index) {
                            None => How::Error(code::LEADER_NOT_AVAILABLE),
                            Some((segment, cluster)) if scope.world.is_dead(segment, cluster, name) => {
                                otherwise.map_or(How::Error(code::LEADER_NOT_AVAILABLE), How::Answer)
                            }
                            Some((segment, cluster)) => How::Segment {
                                question: put(cluster, epoch),
                                generation: segment.generation,
                                otherwise,
                            },
                        },
                    },
                },
            };
            items.push(Item { name: topic.topic.clone(), partition: asked.partition, epoch: asked.leader_epoch, how });
        }
    }
    (items, questions)
}

fn answer(head: RequestHead, items: &[Item], facts: &[Fact], world: &World) -> Outcome {
    let fact = |question: usize| facts.get(question).copied().unwrap_or(Fact::Silent);
    let partitions = items.iter().map(|item| {
        let result = match &item.how {
            How::Error(error) => Err(*error),
            How::Answer(end) => Ok(*end),
            How::One(question) => match fact(*question) {
                Fact::Epoch(end) => Ok(end),
                Fact::Error(error) => Err(error),
                Fact::Offset { .. } | Fact::Silent => Err(code::LEADER_NOT_AVAILABLE),
            },
            How::Segment { question, generation, otherwise } => {
                let chain = world.model.topic(item.name.as_str()).and_then(|topic| topic.chain(item.partition));
                let segment = chain.and_then(|chain| Some((chain, chain.chain.by_generation(*generation)?.0)));
                match (fact(*question), segment, otherwise) {
                    (Fact::Epoch(found), Some((chain, index)), _) => {
                        Ok(chain.chain.epoch_answer(index, item.epoch, found))
                    }
                    (_, _, Some(end)) => Ok(*end),
                    (Fact::Error(error), _, None) => Err(error),
                    _ => Err(code::LEADER_NOT_AVAILABLE),
                }
            }
        };
        let partition = EpochEndOffset::default().with_partition(item.partition);
        let partition = match result {
            Ok(end) => partition.with_leader_epoch(end.epoch).with_end_offset(end.end),
            Err(error) => partition.with_error_code(error),
        };
        (item.name.clone(), partition)
    });
    let topics = facts::by_topic(partitions).into_iter();
    let topics = topics
        .map(|(name, partitions)| OffsetForLeaderTopicResult::default().with_topic(name).with_partitions(partitions));
    head.answer(&OffsetForLeaderEpochResponse::default().with_topics(topics.collect()))
}
