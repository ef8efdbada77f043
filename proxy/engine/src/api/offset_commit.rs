//! `OffsetCommit`, and `TxnOffsetCommit` for the offsets of a transaction. A coordinator refuses commits for a topic that its
//! cluster lacks; while a topic's placeholder on the home cluster is not there yet, its commit waits for a moment and is then
//! answered by "try again".

use bytes::Bytes;
use kafka_protocol::messages::offset_commit_request::OffsetCommitRequestTopic;
use kafka_protocol::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use kafka_protocol::messages::txn_offset_commit_request::TxnOffsetCommitRequestTopic;
use kafka_protocol::messages::txn_offset_commit_response::{
    TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use kafka_protocol::messages::{
    OffsetCommitRequest, OffsetCommitResponse, TopicName, TxnOffsetCommitRequest, TxnOffsetCommitResponse,
};
use kafka_protocol::protocol::{Decodable, Encodable};
use sluice_mesh::model::World;
use sluice_wire::frame;

use super::pass;
use crate::code;
use crate::outcome::{Frame, Outcome, RequestHead, Scope};
use crate::slot::SlotState;
use crate::step::Source;

/// How long a commit waits for a placeholder, milliseconds.
const WAIT: u64 = 2_000;

/// What the two APIs call differently.
pub(super) trait Commit: Decodable + Encodable + Send + 'static {
    type Topic;
    type Answer: Decodable + Encodable + Default;
    type Refused: Send + 'static;

    fn topics(&mut self) -> &mut Vec<Self::Topic>;
    fn name(topic: &Self::Topic) -> &TopicName;
    fn refuse(topic: Self::Topic, error: i16) -> Self::Refused;
    fn answered(answer: &mut Self::Answer) -> &mut Vec<Self::Refused>;
}

macro_rules! commit {
    ($request:ident, $topic:ident, $answer:ident, $refused:ident, $partition:ident) => {
        impl Commit for $request {
            type Topic = $topic;
            type Answer = $answer;
            type Refused = $refused;

            fn topics(&mut self) -> &mut Vec<$topic> {
                &mut self.topics
            }

            fn name(topic: &$topic) -> &TopicName {
                &topic.name
            }

            fn refuse(topic: $topic, error: i16) -> $refused {
                let partitions = topic.partitions.iter().map(|partition| {
                    $partition::default().with_partition_index(partition.partition_index).with_error_code(error)
                });
                let partitions = partitions.collect();
                $refused::default().with_name(topic.name).with_partitions(partitions)
            }

            fn answered(answer: &mut $answer) -> &mut Vec<$refused> {
                &mut answer.topics
            }
        }
    };
}

commit!(
    OffsetCommitRequest,
    OffsetCommitRequestTopic,
    OffsetCommitResponse,
    OffsetCommitResponseTopic,
    OffsetCommitResponsePartition
);
commit!(
    TxnOffsetCommitRequest,
    TxnOffsetCommitRequestTopic,
    TxnOffsetCommitResponse,
    TxnOffsetCommitResponseTopic,
    TxnOffsetCommitResponsePartition
);

/// Commits for the topic would be refused by its group's coordinator although it is shown to clients.
fn lacks_placeholder(world: &World, topic: &TopicName) -> bool {
    world.locate(topic.as_str()).is_some_and(|located| {
        located.cluster != world.model.home && located.model.is_none_or(|topic| !topic.placeholder)
    })
}

fn is_complete<C: Commit>(request: &mut C, world: &World) -> bool {
    !request.topics().iter().any(|topic| lacks_placeholder(world, C::name(topic)))
}

pub(super) fn decide<C: Commit>(mut frame: Frame<'_>, scope: &mut Scope<'_>) -> Outcome {
    let mut request = match frame.decode::<C>() {
        Ok(request) => request,
        Err(error) => return error.into(),
    };
    if is_complete(&mut request, scope.world) {
        return pass();
    }
    let until = scope.now.saturating_add(WAIT);
    let (head, client_id, whole) = (frame.head, std::mem::take(&mut frame.client_id), frame.copy());
    wait(head, client_id, whole, request, until, scope)
}

fn wait<C: Commit>(
    head: RequestHead,
    client_id: String,
    whole: Bytes,
    mut request: C,
    until: u64,
    scope: &mut Scope<'_>,
) -> Outcome {
    if is_complete(&mut request, scope.world) {
        return Outcome::Send(Source::Main, whole, SlotState::Pass);
    }
    if scope.now < until {
        let retry = move |scope: &mut Scope<'_>| wait(head, client_id, whole, request, until, scope);
        return Outcome::Hold(until, Box::new(retry));
    }
    let lacks = |topic: &C::Topic| lacks_placeholder(scope.world, C::name(topic));
    let (lacking, rest): (Vec<_>, Vec<_>) = request.topics().drain(..).partition(lacks);
    let refused: Vec<_> =
        lacking.into_iter().map(|topic| C::refuse(topic, code::COORDINATOR_LOAD_IN_PROGRESS)).collect();
    if rest.is_empty() {
        let mut answer = C::Answer::default();
        *C::answered(&mut answer) = refused;
        return head.answer(&answer);
    }
    *request.topics() = rest;
    let rewrite = move |body: Bytes| {
        let mut answer: C::Answer = head.decode_answer(body)?;
        C::answered(&mut answer).extend(refused);
        frame::encode_answer(head.key, head.version, head.correlation_id, &answer)
    };
    head.send(&client_id, &request, SlotState::Rewrite(Box::new(rewrite)))
}
