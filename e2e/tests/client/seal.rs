//! The seal, its probe and its barrier.

use std::time::Duration;

use sluice_net::admin::configs::{self, ConfigChange, MAX_MESSAGE_BYTES};
use sluice_net::admin::log_ends::{self, PartitionEpoch};
use sluice_net::admin::records;
use sluice_net::admin::seal::{self, Barrier, Probe};
use sluice_net::admin::topics::{self, NewTopic, TopicView};
use sluice_net::admin::{ByBroker, PerPartition};
use sluice_net::batch::ProducerStamp;
use sluice_net::{Client, ErrorCode, Target};

use super::{PATIENCE, client, drop_topic, new_topic, one_batch, replicas, unique};

async fn probe_until(client: &Client, topic: &TopicView, wanted: Probe) {
    let mut found = Vec::new();
    for _ in 0..500 {
        found = seal::probe(client, &topic.name, &topic.by_leader()).await;
        assert_eq!(found.len(), topic.partitions.len());
        if found.iter().all(|&(_, probe)| probe == wanted) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{found:?}, not all {wanted:?}");
}

async fn ends(client: &Client, topic: &TopicView) -> PerPartition<log_ends::LogEnd> {
    let mut asked = ByBroker::new();
    for p in &topic.partitions {
        let one = PartitionEpoch { partition: p.partition, epoch: p.epoch };
        asked.entry(p.leader).or_insert_with(Vec::new).push(one);
    }
    log_ends::log_ends(client, &topic.name, &asked).await
}

#[tokio::test]
#[ignore = "needs Kafka: run by make e2e-kafka"]
async fn a_seal_is_seen_by_the_probe_and_appends_nothing() {
    let client = client();
    let topic = new_topic(&client, "seal", 12).await;
    let name = &topic.name;
    for partition in 0..12 {
        let batch = one_batch(&["x"], ProducerStamp::NONE);
        records::produce(&client, name, partition, batch, -1).await.unwrap();
    }
    probe_until(&client, &topic, Probe::Open).await;
    let set = [ConfigChange::Set { name: MAX_MESSAGE_BYTES.to_owned(), value: "17".to_owned() }];
    configs::alter(&client, name, &set, true).await.unwrap();
    configs::alter(&client, name, &set, false).await.unwrap();
    probe_until(&client, &topic, Probe::Sealed).await;

    let brokers: Vec<i32> = topic.by_replica().into_keys().collect();
    for (broker, value) in seal::visible(&client, name, &brokers).await {
        assert_eq!(value.unwrap().as_deref(), Some("17"), "broker {broker}");
    }
    let barriers = seal::barrier(&client, name, &topic.by_replica()).await;
    assert_eq!(barriers.iter().map(|(broker, _)| *broker).collect::<Vec<_>>(), brokers);
    for (broker, results) in barriers {
        let results = results.unwrap();
        assert_eq!(results.len(), topic.by_replica()[&broker].len());
        assert!(results.iter().all(|&(_, barrier)| barrier == Barrier::Passed), "{results:?}");
    }
    let absent = ByBroker::from([(brokers[0], vec![0, 50])]);
    let results = seal::barrier(&client, name, &absent).await.remove(0).1.unwrap();
    assert_eq!(results, [(0, Barrier::Passed), (50, Barrier::NotHere)]);

    let refused = records::produce(&client, name, 0, one_batch(&["y"], ProducerStamp::NONE), -1).await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::MESSAGE_TOO_LARGE);
    for (_, end) in ends(&client, &topic).await {
        assert_eq!(end.unwrap().offset, 1);
    }
    let delete = [ConfigChange::Delete { name: MAX_MESSAGE_BYTES.to_owned() }];
    configs::alter(&client, name, &delete, false).await.unwrap();
    probe_until(&client, &topic, Probe::Open).await;
    records::produce(&client, name, 0, one_batch(&["y"], ProducerStamp::NONE), -1).await.unwrap();

    let elsewhere = ByBroker::from([(brokers[0], vec![99]), (99_999, vec![0])]);
    let unknown = seal::probe(&client, name, &elsewhere).await;
    let expected = [(0, ErrorCode::NETWORK_EXCEPTION), (99, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)];
    assert_eq!(unknown, expected.map(|(partition, code)| (partition, Probe::Unknown(code))));
    drop_topic(&client, &topic).await;
}

#[tokio::test]
#[ignore = "needs Kafka: run by make e2e-kafka"]
async fn a_topic_can_be_born_sealed() {
    let client = client();
    let name = unique("born-sealed");
    let configs = vec![(MAX_MESSAGE_BYTES.to_owned(), "2000000".to_owned())];
    let topic = NewTopic { name: name.clone(), partitions: 3, replication_factor: replicas(&client).await, configs };
    let id = topics::create_sealed(&client, &topic, 0).await.unwrap();
    let view = topics::wait_ready(&client, &name, id, PATIENCE).await.unwrap();
    let probes = seal::probe(&client, &name, &view.by_leader()).await;
    assert_eq!(probes, [(0, Probe::Sealed), (1, Probe::Sealed), (2, Probe::Sealed)], "from the first request on");
    let values = configs::describe(&client, &Target::Any, &name, Some(&[MAX_MESSAGE_BYTES])).await.unwrap();
    assert_eq!((values[0].value.as_deref(), values[0].overridden), (Some("0"), true));
    drop_topic(&client, &view).await;
}
