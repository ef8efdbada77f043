//! `AddPartitionsToTxn`: a transaction never reaches two clusters. Topics that are not on the home cluster are refused in
//! the way that every client takes as "abort". Nor does it ever reach a sealed topic: the marker at its end would be refused,
//! and its transactional id would hang.

use kafka_protocol::messages::AddPartitionsToTxnRequest;
use kafka_protocol::messages::add_partitions_to_txn_response::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnResponse, AddPartitionsToTxnTopicResult,
};
use sluice_mesh::model::TopicModel;

use super::pass;
use crate::code;
use crate::outcome::{Frame, Outcome, RequestHead, Scope};
use crate::route::{self, Place};
use crate::seal::{self, Seals};
use crate::slot::SlotState;
use crate::step::Source;

pub(super) fn decide(mut frame: Frame<'_>, scope: &mut Scope<'_>) -> Outcome {
    let request = match frame.decode::<AddPartitionsToTxnRequest>() {
        Ok(request) => request,
        Err(error) => return error.into(),
    };
    let head = frame.head;
    if let Some(refused) = refuse(head, &request, scope) {
        return refused;
    }
    let expired = topics(&request, scope).filter(|topic| scope.world.fence_expired(topic));
    let doubtful: Vec<String> = expired.map(|topic| topic.name.as_str().to_owned()).collect();
    if doubtful.is_empty() {
        return pass();
    }
    // Whoever fenced them may have left them sealed.
    let whole = frame.copy();
    let ask = seal::ask(doubtful.iter().map(String::as_str), scope.broker);
    let then = move |reply, scope: &mut Scope<'_>| {
        let seals = Seals::read(reply);
        if !doubtful.iter().all(|topic| seals.is_open(topic)) {
            return answer(head, &request, |_| code::CONCURRENT_TRANSACTIONS);
        }
        // The world may be another one by now.
        refuse(head, &request, scope).unwrap_or(Outcome::Send(Source::Main, whole, SlotState::Pass))
    };
    Outcome::Ask(ask, Box::new(then))
}

/// The topics of the request that are served here and have an entry.
fn topics<'a>(
    request: &'a AddPartitionsToTxnRequest,
    scope: &Scope<'a>,
) -> impl Iterator<Item = &'a TopicModel> + use<'a> {
    let (world, cluster) = (scope.world, scope.broker.cluster);
    request.v3_and_below_topics.iter().filter_map(move |topic| {
        match route::place(world, cluster, topic.name.as_str()) {
            Place::Here(entry) => entry.map(AsRef::as_ref),
            Place::Elsewhere | Place::Hidden => None,
        }
    })
}

/// The refusal, if the request may not reach the coordinator.
fn refuse(head: RequestHead, request: &AddPartitionsToTxnRequest, scope: &Scope<'_>) -> Option<Outcome> {
    // A topic about to move must not enter a transaction: wait for it as for another transaction of the same id.
    if topics(request, scope).any(|topic| scope.world.fence(topic).is_some()) {
        return Some(answer(head, request, |_| code::CONCURRENT_TRANSACTIONS));
    }
    let foreign = |name: &str| match route::place(scope.world, scope.broker.cluster, name) {
        Place::Here(_) => None,
        Place::Elsewhere => Some(code::TOPIC_AUTHORIZATION_FAILED),
        Place::Hidden => Some(code::UNKNOWN_TOPIC_OR_PARTITION),
    };
    if request.v3_and_below_topics.iter().all(|topic| foreign(topic.name.as_str()).is_none()) {
        return None;
    }
    Some(answer(head, request, |name| foreign(name).unwrap_or(code::OPERATION_NOT_ATTEMPTED)))
}

/// Answers here: an error for each topic.
fn answer(head: RequestHead, request: &AddPartitionsToTxnRequest, error: impl Fn(&str) -> i16) -> Outcome {
    let results = request.v3_and_below_topics.iter().map(|topic| {
        let error = error(topic.name.as_str());
        let partitions = topic.partitions.iter().map(|partition| {
            AddPartitionsToTxnPartitionResult::default()
                .with_partition_index(*partition)
                .with_partition_error_code(error)
        });
        AddPartitionsToTxnTopicResult::default()
            .with_name(topic.name.clone())
            .with_results_by_partition(partitions.collect())
    });
    let answer = AddPartitionsToTxnResponse::default().with_results_by_topic_v3_and_below(results.collect());
    head.answer(&answer)
}
