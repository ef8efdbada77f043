//! `TxnOffsetCommit`: offsets of a transaction. They wait for a missing placeholder as those of `OffsetCommit` do.

use bytes::Bytes;
use kafka_protocol::messages::txn_offset_commit_response::{
    TxnOffsetCommitResponse, TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use kafka_protocol::messages::{TopicName, TxnOffsetCommitRequest};
use sluice_wire::frame;

use super::offset_commit::{WAIT, lacks_placeholder};
use super::pass;
use crate::code;
use crate::outcome::{Frame, Outcome, RequestHead, Scope};
use crate::slot::SlotState;

pub(super) fn decide(mut frame: Frame<'_>, scope: &mut Scope<'_>) -> Outcome {
    let request = match frame.decode::<TxnOffsetCommitRequest>() {
        Ok(request) => request,
        Err(error) => return error.into(),
    };
    let lacking = request.topics.iter().any(|topic| lacks_placeholder(scope.world, topic.name.as_str()));
    if !lacking {
        return pass();
    }
    let until = scope.now.saturating_add(WAIT);
    let (head, client_id, whole) = (frame.head, std::mem::take(&mut frame.client_id), frame.copy());
    wait(head, client_id, whole, request, until, scope)
}

fn wait(
    head: RequestHead,
    client_id: String,
    whole: Bytes,
    mut request: TxnOffsetCommitRequest,
    until: u64,
    scope: &mut Scope<'_>,
) -> Outcome {
    let lacks = |name: &TopicName| lacks_placeholder(scope.world, name.as_str());
    if !request.topics.iter().any(|topic| lacks(&topic.name)) {
        return Outcome::Send(crate::step::Source::Main, whole, SlotState::Pass);
    }
    if scope.now < until {
        let retry = move |scope: &mut Scope<'_>| wait(head, client_id, whole, request, until, scope);
        return Outcome::Hold(until, Box::new(retry));
    }
    let (lacking, rest): (Vec<_>, Vec<_>) = request.topics.drain(..).partition(|topic| lacks(&topic.name));
    let refused: Vec<TxnOffsetCommitResponseTopic> = lacking
        .into_iter()
        .map(|topic| {
            let partitions = topic.partitions.iter().map(|partition| {
                TxnOffsetCommitResponsePartition::default()
                    .with_partition_index(partition.partition_index)
                    .with_error_code(code::COORDINATOR_LOAD_IN_PROGRESS)
            });
            TxnOffsetCommitResponseTopic::default().with_name(topic.name).with_partitions(partitions.collect())
        })
        .collect();
    if rest.is_empty() {
        return head.answer(&TxnOffsetCommitResponse::default().with_topics(refused));
    }
    request.topics = rest;
    let rewrite = move |body: Bytes| {
        let mut answer: TxnOffsetCommitResponse = head.decode_answer(body)?;
        answer.topics.extend(refused);
        frame::encode_answer(head.key, head.version, head.correlation_id, &answer)
    };
    head.send(&client_id, &request, SlotState::Rewrite(Box::new(rewrite)))
}
