//! Our own Kafka client on real Kafka: its admin calls, the seal with its probe and barrier, the ledger's log and who may
//! write to it. One cluster serves all tests of the file; each makes topics of its own and deletes them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "the helpers of tests are tests too, and a test that takes a while tells how far it is"
)]

#[path = "client/admin.rs"]
mod admin;
#[path = "client/elections.rs"]
mod elections;
#[path = "client/log.rs"]
mod log;
#[path = "client/seal.rs"]
mod seal;

use std::sync::OnceLock;
use std::time::Duration;

use anyhow::Result;
use sluice_e2e::process;
use sluice_e2e::stage::{Stage, StageSpec};
use sluice_net::admin::topics::{self, NewTopic, TopicView};
use sluice_net::batch::{self, NewRecord, ProducerStamp};
use sluice_net::{Client, ClientOptions};

const PATIENCE: Duration = Duration::from_secs(30);

/// Three brokers, as many as a ledger has replicas, and nothing in front of them.
fn start() -> Result<Stage> {
    // Nobody drops what all tests share: the kernel ends it with us.
    process::require(&[("setpriv", "install util-linux")])?;
    let mut spec = StageSpec::new("e2e/client", "127.0.27", 21_000)?;
    (spec.clusters, spec.brokers, spec.mesh) = (1, 3, false);
    spec.start(|line| eprintln!("{line}"))
}

/// A client of the cluster, which the first test starts.
fn client() -> Client {
    static STAGE: OnceLock<Result<Stage, String>> = OnceLock::new();
    let stage = STAGE.get_or_init(|| start().map_err(|error| format!("{error:#}")));
    let bootstrap = stage.as_ref().expect("the cluster starts").bootstrap();
    let options = ClientOptions { client_id: "sluice-e2e".to_owned(), ..ClientOptions::default() };
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
