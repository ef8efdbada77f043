//! The client, the admin calls and the ledger's log against real Apache Kafka. Each test makes its own topics on the cluster at
//! `SLUICE_TEST_BOOTSTRAP` (comma-separated `host:port`) and deletes them:
//!
//! `SLUICE_TEST_BOOTSTRAP=127.0.0.1:9092 cargo test -p sluice-net --test kafka -- --ignored`

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "the helpers of tests are tests too"
)]

mod admin;
mod elections;
mod log;
mod seal;

use std::time::Duration;

use sluice_net::admin::topics::{self, NewTopic, TopicView};
use sluice_net::batch::{self, NewRecord, ProducerStamp};
use sluice_net::{Client, ClientOptions};

const PATIENCE: Duration = Duration::from_secs(30);

/// A client of the cluster under test.
fn client() -> Client {
    let bootstrap = std::env::var("SLUICE_TEST_BOOTSTRAP").expect("set SLUICE_TEST_BOOTSTRAP to a Kafka cluster");
    let options = ClientOptions { client_id: "sluice-net-test".to_owned(), ..ClientOptions::default() };
    Client::new(bootstrap.split(',').map(str::to_owned).collect(), options)
}

/// A name that no other test has.
fn unique(prefix: &str) -> String {
    format!("{prefix}-{}", uuid::Uuid::new_v4().simple())
}

/// As many replicas as brokers, three at most.
async fn replicas(client: &Client) -> i16 {
    i16::try_from(client.brokers().await.unwrap().len().min(3)).unwrap()
}

async fn new_topic(client: &Client, prefix: &str, partitions: i32) -> TopicView {
    let name = unique(prefix);
    let replication_factor = replicas(client).await;
    let topic = NewTopic { name: name.clone(), partitions, replication_factor, configs: vec![] };
    let id = topics::create(client, &topic, false).await.unwrap();
    topics::wait_ready(client, &name, id, PATIENCE).await.unwrap()
}

async fn drop_topic(client: &Client, topic: &TopicView) {
    topics::delete(client, &topic.name, topic.topic_id).await.unwrap();
}

fn one_batch(values: &[&'static str], stamp: ProducerStamp) -> bytes::Bytes {
    let records: Vec<_> =
        values.iter().map(|&value| NewRecord { key: None, value: Some(value.as_bytes().into()) }).collect();
    batch::encode(&records, 1_700_000_000_000, stamp).unwrap()
}
