//! `AddPartitionsToTxn`: a transaction never reaches two clusters. Topics that are not on the home cluster are refused in
//! the way that every client takes as "abort".

use kafka_protocol::messages::AddPartitionsToTxnRequest;
use kafka_protocol::messages::add_partitions_to_txn_response::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnResponse, AddPartitionsToTxnTopicResult,
};

use super::pass;
use crate::code;
use crate::outcome::{Frame, Outcome, Scope};
use crate::route::{self, Place};

pub(super) fn decide(mut frame: Frame<'_>, scope: &mut Scope<'_>) -> Outcome {
    let request = match frame.decode::<AddPartitionsToTxnRequest>() {
        Ok(request) => request,
        Err(error) => return error.into(),
    };
    let topics = &request.v3_and_below_topics;
    let place = |name: &str| route::place(scope.world, scope.broker.cluster, name);
    // A topic about to move must not enter a transaction: wait for it as for another transaction of the same id.
    let fenced = topics
        .iter()
        .any(|topic| matches!(place(topic.name.as_str()), Place::Here(Some(topic)) if topic.fence.is_some()));
    let foreign = |name: &str| match place(name) {
        Place::Here(_) => None,
        Place::Elsewhere => Some(code::TOPIC_AUTHORIZATION_FAILED),
        Place::Hidden => Some(code::UNKNOWN_TOPIC_OR_PARTITION),
    };
    if !fenced && topics.iter().all(|topic| foreign(topic.name.as_str()).is_none()) {
        return pass();
    }
    let results = topics.iter().map(|topic| {
        let error = if fenced {
            code::CONCURRENT_TRANSACTIONS
        } else {
            foreign(topic.name.as_str()).unwrap_or(code::OPERATION_NOT_ATTEMPTED)
        };
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
    frame.head.answer(&answer)
}
