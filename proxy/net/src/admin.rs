//! Admin calls, one file per subject, with plain values as results. One call, one answer: none retries, none decides.

pub mod cluster;
pub mod configs;
mod epoch_ends;
pub mod log_ends;
pub mod producers;
pub mod records;
pub mod seal;
pub mod topics;
pub mod transactions;

use std::collections::BTreeMap;

use kafka_protocol::messages::TopicName;
use kafka_protocol::protocol::{Request, StrBytes};

use crate::client::{CallError, Client, Target};
use crate::error_code::ErrorCode;

/// Things grouped by the broker to ask.
pub type ByBroker<T> = BTreeMap<i32, Vec<T>>;

/// One result per partition, sorted by partition. A broker that gave no answer yields
/// [`ErrorCode::NETWORK_EXCEPTION`] for each of its partitions.
pub type PerPartition<T> = Vec<(i32, Result<T, ErrorCode>)>;

pub(crate) fn string(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn topic_name(topic: &str) -> TopicName {
    TopicName(string(topic))
}

/// How long a broker may work on a request: less than we wait for it.
fn broker_timeout_ms(client: &Client) -> i32 {
    let millis = client.options().request_timeout.as_millis().saturating_mul(9) / 10;
    i32::try_from(millis).unwrap_or(i32::MAX)
}

/// Asks all brokers at once. `request` makes a broker's request from its items, `read` takes the partitions out of the answer.
async fn ask<I, R, T>(
    client: &Client,
    by_broker: &ByBroker<I>,
    partition: impl Fn(&I) -> i32,
    request: impl Fn(&[I]) -> R,
    read: impl Fn(R::Response) -> Vec<(i32, Result<T, ErrorCode>)>,
) -> PerPartition<T>
where
    R: Request,
    T: Clone,
{
    let calls = by_broker.iter().map(|(&broker, items)| {
        let request = request(items);
        async move { (items, client.call(&Target::Broker(broker), request).await) }
    });
    let mut results = Vec::new();
    for (items, answer) in futures::future::join_all(calls).await {
        let found: BTreeMap<i32, Result<T, ErrorCode>> = match answer {
            Ok(answer) => read(answer).into_iter().collect(),
            Err(error) => {
                tracing::debug!(%error, "no answer for some partitions");
                let code = error.code();
                items.iter().map(|item| (partition(item), Err(code))).collect()
            }
        };
        for item in items {
            let index = partition(item);
            // An answer that leaves a partition out says nothing about it.
            let result = found.get(&index).cloned().unwrap_or(Err(ErrorCode::UNKNOWN_SERVER_ERROR));
            results.push((index, result));
        }
    }
    results.sort_by_key(|&(index, _)| index);
    results
}

/// Groups partitions by their leaders as the client last saw them; those without one come back with the reason.
pub async fn by_leader(client: &Client, topic: &str, partitions: &[i32]) -> (ByBroker<i32>, Vec<(i32, CallError)>) {
    let mut groups = ByBroker::new();
    let mut without = Vec::new();
    for &partition in partitions {
        match client.leader(topic, partition).await {
            Ok((leader, _)) => groups.entry(leader).or_default().push(partition),
            Err(error) => without.push((partition, error)),
        }
    }
    (groups, without)
}
