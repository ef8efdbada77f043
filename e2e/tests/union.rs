//! Two clusters, one mesh: clients see both as one, whatever lives where.

#![allow(clippy::print_stderr, reason = "a test that takes minutes tells how far it is")]

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};
use rdkafka::{Offset, TopicPartitionList};
use sluice_e2e::load::{Load, LoadSpec};
use sluice_e2e::stage::{Stage, StageSpec};

fn stage(name: &str, subnet: &str) -> Result<Stage> {
    StageSpec::new(&format!("e2e/{name}"), subnet, 21_000)?.start(|line| eprintln!("{line}"))
}

/// Tries until it is so.
fn eventually(what: &str, mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let now = is_so();
        if matches!(now, Ok(true)) {
            return Ok(());
        }
        if Instant::now() > end {
            bail!("{what}: not so after 20 s ({now:?})");
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
#[ignore = "needs Kafka: run by make e2e-kafka"]
fn topics_of_both_clusters_are_shown_once() -> Result<()> {
    let mut stage = stage("union-topics", "127.0.15")?;
    stage.create_topic_on("east", "of-east", 2, &[])?;
    stage.create_topic_on("west", "of-west", 3, &[])?;
    // Both within one look: the operator may well see it on the other cluster only, and must not give it away for that.
    stage.cluster("east")?.admin()?.create_topic("of-both", 2, 2, &[])?;
    stage.cluster("west")?.admin()?.create_topic("of-both", 4, 2, &[])?;
    let admin = stage.admin()?;
    // Home wins where nothing else is said.
    eventually("the home cluster's topic is shown", || Ok(admin.wait_topic("of-both", 2).is_ok()))?;
    // A topic made behind Sluice's back comes to each proxy with its next look at the cluster, 5 s apart.
    eventually("every topic is shown once", || {
        let shown = admin.topics()?;
        for topic in ["of-east", "of-west", "of-both"] {
            let times = shown.iter().filter(|name| *name == topic).count();
            ensure!(times == 1, "{topic} is shown {times} times: {shown:?}");
        }
        ensure!(!shown.iter().any(|name| name == "__sluice_ledger"), "the ledger is shown");
        Ok(true)
    })?;
    // Through every proxy alike.
    for node in ["node-1", "node-2", "node-3", "node-4"] {
        let bootstrap = stage.mesh()?.bootstrap_of(node)?;
        sluice_e2e::kafka::Admin::new(&bootstrap)?.wait_topic("of-west", 3).with_context(|| format!("at {node}"))?;
    }
    let mesh = stage.mesh()?;
    eventually("the conflict is named in a status", || {
        let mut conflicts = Vec::new();
        for cluster in ["east", "west"] {
            conflicts.extend(mesh.cluster_status(cluster)?.map(|status| status.topic_conflicts).unwrap_or_default());
        }
        Ok(conflicts.iter().any(|conflict| conflict.topic == "of-both" && conflict.shown == "east"))
    })
}

#[test]
#[ignore = "needs Kafka: run by make e2e-kafka"]
fn topics_are_created_on_the_home_cluster_and_deleted_anywhere() -> Result<()> {
    let stage = stage("union-create", "127.0.16")?;
    let admin = stage.admin()?;
    admin.create_topic("made", 3, 2, &[("retention.ms", "3600000")])?;
    ensure!(stage.cluster("east")?.admin()?.topics()?.contains(&"made".to_owned()), "it is not on the home cluster");
    ensure!(!stage.cluster("west")?.admin()?.topics()?.contains(&"made".to_owned()), "it is on the other cluster too");
    let config = stage.cluster("east")?.admin()?.topic_config("made", "retention.ms")?;
    ensure!(config.as_deref() == Some("3600000"), "its configuration is {config:?}");
    stage.create_topic_on("west", "of-west", 2, &[])?;
    let again = admin.create_topic("of-west", 2, 2, &[]).err().map(|error| error.to_string()).unwrap_or_default();
    ensure!(
        again.contains("already exists") || again.contains("TopicAlreadyExists"),
        "a name was given twice: {again}"
    );
    for (topic, cluster) in [("made", "east"), ("of-west", "west")] {
        admin.delete_topic(topic)?;
        let own = stage.cluster(cluster)?.admin()?;
        eventually("a deleted topic is gone", || Ok(!own.topics()?.contains(&topic.to_owned())))?;
        eventually("a deleted topic is not shown", || Ok(!admin.topics()?.contains(&topic.to_owned())))?;
    }
    Ok(())
}

#[test]
#[ignore = "needs Kafka: run by make e2e-kafka"]
fn groups_commit_on_a_topic_that_lives_off_home() -> Result<()> {
    let stage = stage("union-groups", "127.0.17")?;
    stage.create_topic_on("west", "payments", 6, &[])?;
    let mut spec = LoadSpec::new("payments", 6, 1_000);
    spec.java_group = true;
    let mut load = Load::start(spec, &stage)?;
    load.wait_flowing(Duration::from_mins(1))?;
    std::thread::sleep(Duration::from_secs(5));
    let commits = load.recorder().counts().commits;
    ensure!(commits > 0, "nothing was committed");
    let finished = load.finish(&stage, &mut [], |line| eprintln!("{line}"))?;
    ensure!(finished.is_good(), "{}\n{:?}", finished.verdict, finished.errors);
    let placeholder = stage.cluster("east")?.admin()?.topic_config("payments", "max.message.bytes")?;
    ensure!(
        placeholder.as_deref().and_then(|value| value.parse::<u32>().ok()).is_some_and(|value| value <= 60),
        "the placeholder on the home cluster is not sealed: max.message.bytes is {placeholder:?}"
    );
    Ok(())
}

type Transactions = ThreadedProducer<DefaultProducerContext>;

fn transactional(bootstrap: &str, id: &str) -> Result<Transactions> {
    let producer: Transactions = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("transactional.id", id)
        .set("transaction.timeout.ms", "30000")
        .set("message.timeout.ms", "20000")
        .set_log_level(RDKafkaLogLevel::Error)
        .create()?;
    producer.init_transactions(Duration::from_secs(40)).context("init_transactions")?;
    Ok(producer)
}

fn send(producer: &Transactions, topic: &str, values: std::ops::Range<u32>) -> Result<()> {
    for value in values {
        let (key, value) = (value.to_string(), value.to_string());
        producer.send(BaseRecord::to(topic).key(&key).payload(&value)).map_err(|(error, _)| error)?;
    }
    Ok(())
}

/// Values that a reader of committed records sees.
fn committed(bootstrap: &str, topic: &str, partitions: i32) -> Result<BTreeSet<String>> {
    let reader: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "unused")
        .set("enable.auto.commit", "false")
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "true")
        .set_log_level(RDKafkaLogLevel::Error)
        .create()?;
    let mut list = TopicPartitionList::new();
    for partition in 0..partitions {
        list.add_partition_offset(topic, partition, Offset::Beginning)?;
    }
    reader.assign(&list)?;
    let mut left: BTreeSet<i32> = (0..partitions).collect();
    let mut values = BTreeSet::new();
    let end = Instant::now() + Duration::from_secs(30);
    while !left.is_empty() {
        ensure!(Instant::now() < end, "partitions {left:?} of {topic} are not read to their ends after 30 s");
        match reader.poll(Duration::from_millis(200)) {
            None => {}
            Some(Ok(message)) => {
                values.insert(String::from_utf8_lossy(message.payload().unwrap_or_default()).into_owned());
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                left.remove(&partition);
            }
            Some(Err(error)) => return Err(error).context("a read of committed records"),
        }
    }
    Ok(values)
}

#[test]
#[ignore = "needs Kafka: run by make e2e-kafka"]
fn transactions_work_at_home_and_are_refused_across_clusters() -> Result<()> {
    let stage = stage("union-transactions", "127.0.18")?;
    stage.create_topic("orders", 3)?;
    stage.create_topic_on("west", "payments", 3, &[])?;
    let bootstrap = stage.bootstrap();
    let producer = transactional(&bootstrap, "billing-1")?;
    let limit = Duration::from_secs(30);

    producer.begin_transaction()?;
    send(&producer, "orders", 0..20)?;
    producer.commit_transaction(limit).context("commit")?;

    producer.begin_transaction()?;
    send(&producer, "orders", 20..40)?;
    producer.flush(limit)?;
    producer.abort_transaction(limit).context("abort")?;

    // A topic on the other cluster: refused in a way that an application can end by aborting.
    producer.begin_transaction()?;
    send(&producer, "orders", 40..60)?;
    send(&producer, "payments", 60..80)?;
    let refused = producer.commit_transaction(limit);
    let Err(KafkaError::Transaction(error)) = &refused else { bail!("it was not refused: {refused:?}") };
    ensure!(error.txn_requires_abort() && !error.is_fatal(), "not an error to abort on: {error:?}");
    producer.abort_transaction(limit).context("abort after the refusal")?;

    // The producer goes on.
    producer.begin_transaction()?;
    send(&producer, "orders", 80..100)?;
    producer.commit_transaction(limit).context("commit after the refusal")?;

    let expected: BTreeSet<String> = (0..20).chain(80..100).map(|value: u32| value.to_string()).collect();
    let seen = committed(&bootstrap, "orders", 3)?;
    ensure!(seen == expected, "committed records: {seen:?}");
    let stray = committed(&bootstrap, "payments", 3)?;
    ensure!(stray.is_empty(), "records of a refused transaction: {stray:?}");
    // A successor with the same id fences it, as ever.
    let successor = transactional(&bootstrap, "billing-1")?;
    successor.begin_transaction()?;
    send(&successor, "orders", 100..101)?;
    successor.commit_transaction(limit)?;
    let fenced = producer
        .begin_transaction()
        .and_then(|()| send(&producer, "orders", 101..102).map_err(|_| KafkaError::Canceled))
        .and_then(|()| producer.commit_transaction(limit));
    ensure!(fenced.is_err(), "the old producer was not fenced");
    Ok(())
}
