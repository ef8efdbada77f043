//! Transactions that are under way.

use std::collections::BTreeMap;

use kafka_protocol::messages::describe_transactions_response::TransactionState;
use kafka_protocol::messages::{DescribeTransactionsRequest, ListTransactionsRequest, TransactionalId};

use super::string;
use crate::client::{CallError, Client, Target};
use crate::error_code::ErrorCode;

/// States in which a marker may still be written.
const UNDER_WAY: [&str; 4] = ["Ongoing", "PrepareCommit", "PrepareAbort", "PrepareEpochFence"];
/// So many are described by one request.
const DESCRIBE_AT_ONCE: usize = 500;

/// A transaction under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenTransaction {
    /// Transactional id.
    pub transactional_id: String,
    /// Its producer id.
    pub producer_id: i64,
    /// Its producer epoch.
    pub producer_epoch: i16,
    /// State: `Ongoing`, `PrepareCommit` or `PrepareAbort`.
    pub state: String,
    /// When it began, milliseconds since the Unix epoch.
    pub started_at: i64,
    /// Partitions of the topic that it names, also those not yet written.
    pub partitions: Vec<i32>,
}

/// All transactions under way that name a topic: asks every broker of the cluster, and fails if one does not answer.
/// Transactional ids that we have no right to describe are left out by brokers without a word.
pub async fn naming(client: &Client, topic: &str) -> Result<Vec<OpenTransaction>, CallError> {
    // Freshly: a broker that joined since would hold transactions that nobody asks for.
    client.metadata(Some(&[]), false).await?;
    let brokers = client.brokers().await?;
    let calls = brokers.iter().map(|broker| async move { under_way_at(client, broker.id).await });
    let mut found = BTreeMap::new();
    for answer in futures::future::join_all(calls).await {
        for state in answer? {
            if let Some(open) = naming_topic(&state, topic) {
                found.insert(open.transactional_id.clone(), open);
            }
        }
    }
    Ok(found.into_values().collect())
}

fn naming_topic(state: &TransactionState, topic: &str) -> Option<OpenTransaction> {
    if !UNDER_WAY.contains(&state.transaction_state.as_str()) {
        return None;
    }
    let mut partitions: Vec<i32> = state
        .topics
        .iter()
        .filter(|named| named.topic.as_str() == topic)
        .flat_map(|named| named.partitions.iter().copied())
        .collect();
    if partitions.is_empty() {
        return None;
    }
    partitions.sort_unstable();
    Some(OpenTransaction {
        transactional_id: state.transactional_id.as_str().to_owned(),
        producer_id: state.producer_id.0,
        producer_epoch: state.producer_epoch,
        state: state.transaction_state.to_string(),
        started_at: state.transaction_start_time_ms,
        partitions,
    })
}

/// All transactions under way whose coordinator is this broker.
async fn under_way_at(client: &Client, broker: i32) -> Result<Vec<TransactionState>, CallError> {
    let to = Target::Broker(broker);
    let what = || format!("listing transactions at broker {broker}");
    // No filter: a state that an older broker does not know would be left out of it in silence.
    let answer = client.call(&to, ListTransactionsRequest::default()).await?;
    if answer.error_code != 0 {
        return Err(CallError::refused(what(), answer.error_code, None));
    }
    let ids: Vec<TransactionalId> = answer
        .transaction_states
        .into_iter()
        .filter(|state| UNDER_WAY.contains(&state.transaction_state.as_str()))
        .map(|state| state.transactional_id)
        .collect();
    let mut states = Vec::new();
    for ids in ids.chunks(DESCRIBE_AT_ONCE) {
        let request = DescribeTransactionsRequest::default().with_transactional_ids(ids.to_vec());
        for state in client.call(&to, request).await?.transaction_states {
            match ErrorCode(state.error_code) {
                ErrorCode::NONE => states.push(state),
                // It has ended and was forgotten in between.
                ErrorCode::TRANSACTIONAL_ID_NOT_FOUND => {}
                // Its coordinator has moved: perhaps to a broker that had answered before.
                ErrorCode::NOT_COORDINATOR => states.push(describe_elsewhere(client, &state.transactional_id).await?),
                code => return Err(CallError::refused(what(), code, None)),
            }
        }
    }
    Ok(states)
}

async fn describe_elsewhere(client: &Client, id: &TransactionalId) -> Result<TransactionState, CallError> {
    let what = || format!("describing transactional id {:?}", id.as_str());
    let to = Target::Transaction(id.as_str().to_owned());
    let request = DescribeTransactionsRequest::default().with_transactional_ids(vec![string(id.as_str()).into()]);
    let answer = client.call(&to, request).await?;
    let state = answer.transaction_states.into_iter().next();
    let state = state.ok_or_else(|| CallError::nonsense(what(), "the id is not in it"))?;
    match ErrorCode(state.error_code) {
        ErrorCode::NONE | ErrorCode::TRANSACTIONAL_ID_NOT_FOUND => Ok(state),
        code => Err(CallError::refused(what(), code, None)),
    }
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::describe_transactions_response::TopicData;

    use super::*;
    use crate::admin::topic_name;

    fn state(name: &str, topic: &str) -> TransactionState {
        let topics = TopicData::default().with_topic(topic_name(topic)).with_partitions(vec![2, 0]);
        TransactionState::default().with_transaction_state(string(name)).with_topics(vec![topics])
    }

    #[test]
    fn only_transactions_under_way_that_name_the_topic() {
        for name in UNDER_WAY {
            let open = naming_topic(&state(name, "t"), "t").unwrap();
            assert_eq!((open.state.as_str(), &open.partitions[..]), (name, &[0, 2][..]));
            assert_eq!(naming_topic(&state(name, "t"), "u"), None);
        }
        for name in ["Empty", "CompleteCommit", "CompleteAbort", "Dead", ""] {
            assert_eq!(naming_topic(&state(name, "t"), "t"), None);
        }
    }
}
