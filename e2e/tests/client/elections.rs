//! The ledger's log while its leader changes all the time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_protocol::messages::alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic};
use kafka_protocol::messages::elect_leaders_request::TopicPartitions;
use kafka_protocol::messages::{AlterPartitionReassignmentsRequest, BrokerId, ElectLeadersRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use sluice_net::admin::topics;
use sluice_net::log::{AppendError, LedgerLog};
use sluice_net::{Client, Target};

use super::{PATIENCE, client, drop_topic, unique};

/// How long it is appended for.
const RUN: Duration = Duration::from_secs(8);

/// Makes each replica the preferred leader in turn, and the leader.
async fn rotate(client: &Client, topic: &str, stop: &AtomicBool) -> usize {
    let (mut changes, mut before) = (0, None);
    while !stop.load(Ordering::SeqCst) {
        tokio::time::sleep(Duration::from_millis(600)).await;
        // Whatever fails is tried again in the next round.
        let Ok(Some(view)) = topics::describe_one(client, topic).await else { continue };
        let leader = view.partitions[0].leader;
        changes += usize::from(before.replace(leader).is_some_and(|before| before != leader));
        let mut replicas = view.partitions[0].replicas.clone();
        replicas.sort_unstable();
        let at = replicas.iter().position(|&id| id == leader).unwrap_or(0);
        replicas.rotate_left((at + 1) % view.partitions[0].replicas.len());
        let name = || TopicName(StrBytes::from_string(topic.to_owned()));
        let replicas = replicas.into_iter().map(BrokerId).collect();
        let partition = ReassignablePartition::default().with_replicas(Some(replicas));
        let reassign = AlterPartitionReassignmentsRequest::default()
            .with_timeout_ms(3000)
            .with_topics(vec![ReassignableTopic::default().with_name(name()).with_partitions(vec![partition])]);
        let _ = client.call(&Target::Controller, reassign).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        let elect = ElectLeadersRequest::default()
            .with_timeout_ms(3000)
            .with_topic_partitions(Some(vec![TopicPartitions::default().with_topic(name()).with_partitions(vec![0])]));
        let _ = client.call(&Target::Controller, elect).await;
    }
    changes
}

#[tokio::test]
#[ignore = "needs Kafka: run by make e2e-kafka"]
async fn every_append_is_in_the_log_once_and_in_order_whoever_leads() {
    let client = client();
    assert!(client.brokers().await.unwrap().len() > 1, "a single broker has nobody to hand its leadership to");
    let log = LedgerLog::new(client.clone(), unique("ledger"));
    log.ensure_topic().await.unwrap();
    let mut writer = log.take_over(&unique("sluice-ledger"), PATIENCE).await.unwrap();

    let stop = Arc::new(AtomicBool::new(false));
    let (other, topic, stopped) = (client.separate(), log.topic().to_owned(), Arc::clone(&stop));
    let rotating = tokio::spawn(async move { rotate(&other, &topic, &stopped).await });

    let begin = Instant::now();
    let (mut acknowledged, mut unsettled, mut refused, mut slowest) = (Vec::new(), 0, 0, Duration::ZERO);
    let mut n = 0;
    while begin.elapsed() < RUN {
        n += 1;
        let record = (Bytes::from(format!("k{n}")), Some(Bytes::from(n.to_string())));
        let before = Instant::now();
        let mut result = writer.append(vec![record], Duration::from_secs(2)).await;
        while let Err(AppendError::Unknown(_)) = result {
            unsettled += 1;
            result = writer.settle(Duration::from_secs(2)).await.map(|offset| offset.expect("it was unsettled"));
        }
        slowest = slowest.max(before.elapsed());
        match result {
            Ok(offset) => acknowledged.push((offset, Bytes::from(format!("k{n}")))),
            Err(AppendError::NotAppended(_)) => refused += 1,
            Err(error) => panic!("{error}"),
        }
    }
    stop.store(true, Ordering::SeqCst);
    let changes = rotating.await.unwrap();
    eprintln!(
        "{} acknowledged, {unsettled} settled later, {refused} surely not appended, slowest {slowest:?}, {changes} leader changes",
        acknowledged.len()
    );
    assert!(acknowledged.len() > 20 && changes > 0);
    let end = acknowledged.last().unwrap().0 + 1;
    let read = log.read_to_end(end, PATIENCE).await.unwrap();
    let read: Vec<_> = read.into_iter().map(|record| (record.offset, record.key)).collect();
    assert_eq!(read, acknowledged, "all that was acknowledged, and nothing else");
    let view = topics::describe_one(&client, log.topic()).await.unwrap().unwrap();
    drop_topic(&client, &view).await;
}
