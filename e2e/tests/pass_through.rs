//! One cluster behind Sluice: a client can tell by nothing but addresses and node ids that it is there.

#![allow(clippy::print_stderr, reason = "a test that takes minutes tells how far it is")]

use std::fmt::Debug;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use kafka_protocol::messages::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use kafka_protocol::messages::{
    BrokerId, CreateTopicsRequest, DeleteTopicsRequest, DescribeClusterRequest, GroupId, OffsetFetchRequest,
    OffsetForLeaderEpochRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use sluice_e2e::load::{Load, LoadSpec};
use sluice_e2e::stage::{Stage, StageSpec};
use sluice_net::admin::log_ends::{self, EARLIEST, LATEST};
use sluice_net::admin::records::{self, FetchOptions};
use sluice_net::batch::{NewRecord, ProducerStamp};
use sluice_net::{Client, ClientOptions, Target};

const TOPIC: &str = "orders";
const PARTITIONS: i32 = 4;

fn stage() -> Result<Stage> {
    let mut spec = StageSpec::new("e2e/pass-through", "127.0.11", 21_000)?;
    spec.clusters = 1;
    let stage = spec.start(|line| eprintln!("{line}"))?;
    stage.create_topic(TOPIC, PARTITIONS)?;
    Ok(stage)
}

fn client(bootstrap: &str) -> Client {
    Client::new(bootstrap.split(',').map(str::to_owned).collect(), ClientOptions::default())
}

fn name(text: &str) -> TopicName {
    TopicName(StrBytes::from_string(text.to_owned()))
}

/// The broker's answer and Sluice's are the same.
fn same<T: PartialEq + Debug>(what: &str, broker: &T, sluice: &T) -> Result<()> {
    ensure!(broker == sluice, "{what}: the broker says {broker:?}, Sluice says {sluice:?}");
    Ok(())
}

#[test]
#[ignore = "needs Kafka: run by make e2e-kafka"]
fn answers_are_the_brokers_own() -> Result<()> {
    let stage = stage()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let broker = client(&stage.clusters[0].bootstrap());
        let sluice = client(&stage.bootstrap());
        // A new topic is known to the proxies one after the other, as it is to brokers.
        let end = tokio::time::Instant::now() + Duration::from_secs(10);
        while let Err(error) = metadata(&broker, &sluice).await {
            ensure!(tokio::time::Instant::now() < end, "after 10 s: {error:#}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        versions(&broker, &sluice).await?;
        write_and_read(&broker, &sluice).await?;
        offsets(&broker, &sluice).await?;
        topics(&broker, &sluice).await?;
        groups(&broker, &sluice).await
    })?;
    Ok(())
}

async fn metadata(broker: &Client, sluice: &Client) -> Result<()> {
    let (a, b) = (broker.metadata(None, false).await?, sluice.metadata(None, false).await?);
    same("cluster id", &a.cluster_id, &b.cluster_id)?;
    same("brokers", &a.brokers.len(), &b.brokers.len())?;
    let shape = |answer: &kafka_protocol::messages::MetadataResponse| {
        let mut topics: Vec<_> = answer
            .topics
            .iter()
            .filter(|topic| topic.name.as_ref().is_some_and(|name| !name.starts_with("__")))
            .map(|topic| (topic.name.clone(), topic.topic_id, topic.partitions.len(), topic.is_internal))
            .collect();
        topics.sort();
        topics
    };
    same("topics", &shape(&a), &shape(&b))?;
    ensure!(
        !b.topics.iter().any(|topic| topic.name.as_ref().is_some_and(|name| name.as_str() == "__sluice_ledger")),
        "the ledger is shown"
    );
    let missing = ["no-such-topic".to_owned()];
    let error = |answer: kafka_protocol::messages::MetadataResponse| answer.topics[0].error_code;
    same(
        "an unknown topic",
        &error(broker.metadata(Some(&missing), false).await?),
        &error(sluice.metadata(Some(&missing), false).await?),
    )?;
    let describe = DescribeClusterRequest::default();
    let (a, b) = (broker.call(&Target::Any, describe.clone()).await?, sluice.call(&Target::Any, describe).await?);
    same(
        "DescribeCluster",
        &(a.error_code, a.cluster_id, a.brokers.len()),
        &(b.error_code, b.cluster_id, b.brokers.len()),
    )
}

/// Whatever Sluice offers, the broker does.
async fn versions(broker: &Client, sluice: &Client) -> Result<()> {
    let (theirs, ours) = (broker.api_versions(&Target::Any).await?, sluice.api_versions(&Target::Any).await?);
    let mut offered = 0;
    for key in 0..100_i16 {
        let Some((min, max)) = ours.api(key) else { continue };
        offered += 1;
        // Produce says 0 for the sake of one old client library, as brokers do.
        let Some((least, most)) = theirs.api(key) else { bail!("key {key} is offered by Sluice alone") };
        ensure!(min >= least && max <= most, "key {key}: {min}..={max} is offered, the broker has {least}..={most}");
    }
    ensure!(offered >= 19, "only {offered} keys are offered");
    ensure!(ours.api(1).is_some_and(|(_, max)| max <= 12), "Fetch is capped at 12");
    ensure!(ours.api(0).is_some_and(|(_, max)| max <= 11), "Produce is capped at 11");
    Ok(())
}

fn records(words: &[&str]) -> Vec<NewRecord> {
    let record = |word: &&str| NewRecord {
        key: Some(Bytes::copy_from_slice(format!("key of {word}").as_bytes())),
        value: Some(Bytes::copy_from_slice(word.as_bytes())),
    };
    words.iter().map(record).collect()
}

async fn write_and_read(broker: &Client, sluice: &Client) -> Result<()> {
    for partition in 0..PARTITIONS {
        // Written through each in turn, read through both.
        for (writer, words) in [(broker, ["a", "b"]), (sluice, ["c", "d"])] {
            let batch = sluice_net::batch::encode(&records(&words), 1_700_000_000_000, ProducerStamp::NONE)?;
            records::produce(writer, TOPIC, partition, batch, -1).await?;
        }
        let a = records::fetch(broker, TOPIC, partition, 0, FetchOptions::default()).await?;
        let b = records::fetch(sluice, TOPIC, partition, 0, FetchOptions::default()).await?;
        same("fetched batches", &a.batches, &b.batches)?;
        same("watermarks", &a.watermarks, &b.watermarks)?;
        let count: usize = b.batches.iter().filter_map(|batch| batch.records.as_ref()).map(Vec::len).sum();
        ensure!(count == 4, "{count} records instead of 4");
        let out_of_range = |error: &sluice_net::CallError| error.code();
        let a = records::fetch(broker, TOPIC, partition, 1_000_000, FetchOptions::default()).await;
        let b = records::fetch(sluice, TOPIC, partition, 1_000_000, FetchOptions::default()).await;
        same("an offset out of range", &a.as_ref().err().map(out_of_range), &b.as_ref().err().map(out_of_range))?;
    }
    Ok(())
}

async fn offsets(broker: &Client, sluice: &Client) -> Result<()> {
    let all: Vec<i32> = (0..PARTITIONS).collect();
    for timestamp in [EARLIEST, LATEST, 1_700_000_000_000, 1_600_000_000_000, 4_000_000_000_000] {
        let a = log_ends::list_offsets(broker, TOPIC, &all, timestamp).await;
        let b = log_ends::list_offsets(sluice, TOPIC, &all, timestamp).await;
        same(&format!("ListOffsets at {timestamp}"), &a, &b)?;
    }
    for epoch in [0, 7] {
        let partition = OffsetForLeaderPartition::default()
            .with_partition(0)
            .with_current_leader_epoch(-1)
            .with_leader_epoch(epoch);
        let topic = OffsetForLeaderTopic::default().with_topic(name(TOPIC)).with_partitions(vec![partition]);
        let request = OffsetForLeaderEpochRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topic]);
        let to = Target::Leader { topic: TOPIC.to_owned(), partition: 0 };
        let (a, b) = (broker.call(&to, request.clone()).await?, sluice.call(&to, request).await?);
        same("OffsetForLeaderEpoch", &a.topics, &b.topics)?;
    }
    Ok(())
}

async fn topics(broker: &Client, sluice: &Client) -> Result<()> {
    let create = |topic: &str| {
        let topic = CreatableTopic::default().with_name(name(topic)).with_num_partitions(2).with_replication_factor(1);
        CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(10_000)
    };
    let code = |answer: kafka_protocol::messages::CreateTopicsResponse| answer.topics[0].error_code;
    for bad in [TOPIC, "bad name", "..", &"x".repeat(250)] {
        let a = code(broker.call(&Target::Controller, create(bad)).await?);
        let b = code(sluice.call(&Target::Controller, create(bad)).await?);
        ensure!(a != 0, "{bad:?} was created");
        same(&format!("CreateTopics {bad:?}"), &a, &b)?;
    }
    let made = code(sluice.call(&Target::Controller, create("made")).await?);
    ensure!(made == 0, "CreateTopics through Sluice: error {made}");
    wait_topic(broker, "made", true).await?;
    let delete = |topic: &str| {
        let topic = DeleteTopicState::default().with_name(Some(name(topic)));
        DeleteTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(10_000)
    };
    let a = broker.call(&Target::Controller, delete("no-such-topic")).await?.responses[0].error_code;
    let b = sluice.call(&Target::Controller, delete("no-such-topic")).await?.responses[0].error_code;
    same("DeleteTopics of an unknown topic", &a, &b)?;
    let gone = sluice.call(&Target::Controller, delete("made")).await?.responses[0].error_code;
    ensure!(gone == 0, "DeleteTopics through Sluice: error {gone}");
    wait_topic(broker, "made", false).await
}

async fn wait_topic(client: &Client, topic: &str, there: bool) -> Result<()> {
    for _ in 0..100 {
        let answer = client.metadata(Some(&[topic.to_owned()]), false).await?;
        if (answer.topics[0].error_code == 0) == there {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    bail!("the topic {topic} is {}there after 5 s", if there { "not " } else { "still " })
}

async fn groups(broker: &Client, sluice: &Client) -> Result<()> {
    let topic = OffsetFetchRequestTopics::default().with_name(name(TOPIC)).with_partition_indexes(vec![0, 1]);
    let group = OffsetFetchRequestGroup::default()
        .with_group_id(GroupId(StrBytes::from_static_str("never-seen")))
        .with_topics(Some(vec![topic]));
    let request = OffsetFetchRequest::default().with_groups(vec![group]);
    let to = Target::Group("never-seen".to_owned());
    let mut answers = Vec::new();
    for client in [broker, sluice] {
        // The first coordinator of a cluster takes a moment to be there.
        let mut last = None;
        for _ in 0..100 {
            match client.call(&to, request.clone()).await {
                Ok(answer) if answer.groups.iter().all(|group| group.error_code == 0) => {
                    last = Some(answer.groups);
                    break;
                }
                _ => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
        answers.push(last.context("OffsetFetch has no good answer after 10 s")?);
    }
    same("OffsetFetch", &answers[0], &answers[1])
}

#[test]
#[ignore = "needs Kafka: run by make e2e-kafka"]
fn clients_of_both_families_work_through_it() -> Result<()> {
    let mut spec = StageSpec::new("e2e/pass-through-load", "127.0.12", 21_000)?;
    spec.clusters = 1;
    let stage = spec.start(|line| eprintln!("{line}"))?;
    stage.create_topic(TOPIC, PARTITIONS)?;
    let mut spec = LoadSpec::new(TOPIC, PARTITIONS, 1_000);
    spec.java_group = true;
    let mut load = Load::start(spec, &stage)?;
    load.wait_flowing(Duration::from_mins(1))?;
    std::thread::sleep(Duration::from_secs(5));
    let finished = load.finish(&stage, &mut [], |line| eprintln!("{line}"))?;
    ensure!(finished.is_good(), "{}\n{:?}", finished.verdict, finished.errors);
    Ok(())
}
